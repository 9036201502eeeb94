"""The types in training steps for an accelerator in bfloat16, read from the traced programs."""

import re
from collections import Counter

import jax
import pytest

from netzoo import kernels
from netzoo.config import default_config
from netzoo.config.tasks import task_module
from netzoo.mesh import create_mesh
from netzoo.tasks import create_task, resolve_config
from netzoo.training.step import build_train_program
from tests.conftest import fast_only, tiny_translation_config
from tests.jaxprs import operations

# One network per family, with every kind of layer that the family has.
NETWORKS = {
    **{"alexnet": 64, "vgg11_bn": 32, "googlenet_tv": 64, "mobilenet_v1_025": 32},
    **{"mobilenet_v2_035": 32, "mobilenet_v3_small_075": 32, "resnet18": 32},
    **{"resnext50_32x4d": 32, "vit_ti16": 32, "r_ti16": 64, "transformer_tiny": 0},
}
FAST = ("resnet18", "vit_ti16")
# Statistics, softmax, cross-entropy and accuracy consist of these.
_ONLY_WIDE = ("rsqrt", "sqrt", "log", "reduce_max", "argmax")
# Products after the mean over all positions are small.
_WIDE_KERNEL = re.compile(r"logits|squeeze_excite").search
WIDE, NARROW = "float32", "bfloat16"


def traced(name):
    """Return the parts of a run, and its traced step with an average of the weights, for a TPU."""
    if size := NETWORKS[name]:
        config = default_config()
        config.update_from_flattened_dict(
            {"data.image_size": size, "train.batch_size": 4, "train.ema_decay": 0.9}
        )
        config.model.name = name
    else:
        config = tiny_translation_config()
    config.model.dtype = NARROW
    config = resolve_config(config, open_data=not size)
    if size:
        task, batch = task_module(config.task, "task").task_class(config).without_data(config, 5)
    else:
        task = create_task(config)
        batch = next(task.train_iterator())
    with kernels.use_backend("native"):
        program = build_train_program(config, task, create_mesh())
        return program, program.step.trace(program.state, batch, ())


@pytest.mark.parametrize("name", fast_only(NETWORKS, FAST))
def test_types_of_a_step_in_bfloat16(name):
    """Protects accuracy and speed on accelerators, which no test on a CPU measures."""
    program, step = traced(name)
    types = {str(x.dtype) for x in jax.tree.leaves(step.out_info)}
    assert NARROW not in types, "parameters, statistics, optimizer, average, metrics"
    arguments = jax.tree_util.tree_leaves_with_path(program.state)
    labels = {
        variable: jax.tree_util.keystr(path)
        for (path, _), variable in zip(arguments, step.jaxpr.jaxpr.invars, strict=False)
        if path[0].name == "params"
    }
    multiplied = {name for name in labels.values() if name.endswith("['kernel']")}
    casts = Counter()
    for operation in operations(step.jaxpr.jaxpr, labels):
        if not operation.origins:
            continue
        origin, (before, after) = operation.origins[0], operation.dtypes()
        assert "callback" not in operation.name
        if operation.name in _ONLY_WIDE:
            assert before == WIDE, operation
        if operation.name == "reduce_sum" and before == NARROW:
            # Only the gradients of values that were broadcast, such as biases.
            assert "transpose" in operation.scope and "norm" not in operation.scope, operation
        if operation.name == "convert_element_type" and (before, after) == (WIDE, NARROW):
            if isinstance(origin, str):
                casts[origin] += 1
            elif origin and origin.name == "convert_element_type":
                assert origin.dtypes() != (NARROW, WIDE), f"back and forth in {operation.scope}"
    assert casts and set(casts.values()) == {1}, casts.most_common(3)
    if name != "r_ti16":  # its kernels are standardised before they are cast
        assert {kernel for kernel in multiplied - casts.keys() if not _WIDE_KERNEL(kernel)} == set()
    text = step.lower(lowering_platforms=("tpu",)).as_text()
    assert "stablehlo.case" not in text and "f64" not in text
    assert not re.findall(r"custom_call @(\w+)", text)
