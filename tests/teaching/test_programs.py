"""Programs that stop at an endpoint."""

import flax.linen as nn
import jax
import numpy as np

from netzoo.layers import endpoint
from netzoo.teaching import programs_until


class TwoLayers(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        x = endpoint(self, "stem", nn.Dense(4, use_bias=False)(x.mean((1, 2))))
        return nn.Dense(1000, use_bias=False)(x)


def test_a_program_computes_no_layer_behind_its_endpoint():
    images = np.ones((2, 4, 4, 3), np.float32)
    variables = TwoLayers().init(jax.random.key(0), images, train=False)
    programs = programs_until(TwoLayers(), variables, images, ["stem", "logits"])
    assert [programs[name]().shape for name in ("stem", "logits")] == [(2, 4), (2, 1000)]
    expected = variables["params"]["Dense_0"]["kernel"].sum(0)  # of inputs of 1
    # Sums of three float32 products.
    np.testing.assert_allclose(programs["stem"](), [expected, expected], rtol=1e-5, atol=1e-6)
    compiled = (program.func.lower(*program.args).compile() for program in programs.values())
    stem, logits = (program.cost_analysis()["flops"] for program in compiled)
    assert stem < 1000 < 2 * 2 * 4 * 1000 <= logits
