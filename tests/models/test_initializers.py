"""Every tensor starts as the paper or the reference says: mean and standard deviation by family.

The initializers are noted while a network is traced. Each is called for its smallest and its
largest tensor.
"""

import math
import re

import flax.linen as nn
import jax
import numpy as np
import pytest

from netzoo.models import create_model
from netzoo.models.summary import variable_shapes


def fans(shape):
    """Return the fan-in and the fan-out of a kernel."""
    return math.prod(shape[:-1]), math.prod(shape) // shape[-2]


def he_fan_out(shape):
    """He et al., arXiv:1502.01852, "backward"; torchvision's kaiming_normal_(mode="fan_out")."""
    return math.sqrt(2 / fans(shape)[1])


def torch_default(shape):
    """PyTorch's layers: uniform up to 1 / sqrt(inputs)."""
    return 1 / math.sqrt(3 * fans(shape)[0])


def lecun(shape):
    return math.sqrt(1 / fans(shape)[0])


def xavier(shape):
    """Glorot and Bengio 2010."""
    return math.sqrt(2 / sum(fans(shape)))


BATCH_NORM = [(r".*norm\d?/scale", (1.0, 0.0)), (r".*norm\d?/bias", 0.0)]
ZERO_BIAS = (r".*/bias", 0.0)
ONE_PERCENT = (r"logits/kernel", 0.01)
# Rows are tried in their order: pattern of the path, and the standard deviation, as a number or as
# a function of the shape, or the pair of mean and deviation.
TABLE = {
    # Krizhevsky et al. 2012, section 5.
    ("alexnet", 67): [
        (r"(stage[134]_block1|hidden\d)/bias", (1.0, 0.0)),
        ZERO_BIAS,
        (r".*/kernel", 0.01),
    ],
    # torchvision/models/alexnet.py sets nothing: PyTorch's own initializers.
    ("alexnet_owt", 64): [(r".*/kernel", torch_default)],
    # torchvision/models/vgg.py.
    ("vgg11_bn", 32): [
        *BATCH_NORM,
        ZERO_BIAS,
        (r"stage.*/kernel", he_fan_out),
        (r".*/kernel", 0.01),
    ],
    # bvlc_googlenet/train_val.prototxt: "xavier" of Caffe counts inputs alone; biases 0.2.
    ("googlenet", 64): [
        (r"(stem|stage.*|aux\d)/(.*/)?conv.*/bias|stage.*/bias", (0.2, 0.0)),
        ZERO_BIAS,
        (r".*/kernel", lecun),
    ],
    # torchvision/models/googlenet.py: truncated normal of 0.01.
    ("googlenet_tv", 64): [*BATCH_NORM, ZERO_BIAS, (r".*/kernel", 0.01)],
    # torchvision/models/mobilenetv2.py: the fan-out of all groups. The paper of V1 does not say.
    ("mobilenet_v1_025", 32): [*BATCH_NORM, ZERO_BIAS, ONE_PERCENT, (r".*/kernel", he_fan_out)],
    ("mobilenet_v2_035", 32): [*BATCH_NORM, ZERO_BIAS, ONE_PERCENT, (r".*/kernel", he_fan_out)],
    # torchvision/models/mobilenetv3.py; squeeze-excite is a convolution there.
    ("mobilenet_v3_small", 32): [
        *BATCH_NORM,
        ZERO_BIAS,
        ONE_PERCENT,
        (r"pre_logits/kernel", 0.01),
        (r".*/kernel", he_fan_out),
    ],
    # torchvision/models/resnet.py; the classifier has PyTorch's kernel, and a bias of 0 here.
    ("resnet50", 32): [
        *BATCH_NORM,
        ZERO_BIAS,
        (r"logits/kernel", torch_default),
        (r".*/kernel", he_fan_out),
    ],
    # vit_jax/models_vit.py.
    ("vit_ti16", 32): [
        (r".*norm/scale", (1.0, 0.0)),
        (r".*/mlp/.*/bias", 1e-6),
        ZERO_BIAS,
        (r"class_token|logits/kernel", 0.0),
        (r"position_embedding", 0.02),
        (r"(embedding|pre_logits)/kernel", lecun),
        (r"encoder/.*/kernel", xavier),
    ],
    # vit_jax/models_resnet.py.
    ("r26_s32", 64): [
        (r".*norm3/scale", (0.0, 0.0)),
        (r".*norm\d?/scale", (1.0, 0.0)),
        (r".*/mlp/.*/bias", 1e-6),
        ZERO_BIAS,
        (r"class_token|logits/kernel", 0.0),
        (r"position_embedding", 0.02),
        (r"encoder/.*/kernel", xavier),
        (r".*/kernel", lecun),
    ],
    # Vaswani et al., arXiv:1706.03762, section 3.4, and tensor2tensor.
    ("transformer_tiny", 0): [
        (r".*norm/scale", (1.0, 0.0)),
        ZERO_BIAS,
        (r".*embedding", lambda shape: shape[-1] ** -0.5),
        (r".*/kernel", xavier),
    ],
}
OPTIONS = {name: {"hidden_features": 64} for name in ("alexnet", "alexnet_owt", "vgg11_bn")}
OPTIONS["vit_ti16"] = {"representation_size": 48}


def initializers(name, size, monkeypatch):
    """Return the path of each parameter with its initializer and shape."""
    found, plain = {}, nn.Module.param

    def noting(module, leaf, init, *arguments, **options):
        found["/".join((*module.path, leaf))] = (init, arguments)
        return plain(module, leaf, init, *arguments, **options)

    monkeypatch.setattr(nn.Module, "param", noting)
    variable_shapes(create_model(name, num_classes=64, **OPTIONS.get(name, {})), size)
    return found


@pytest.mark.parametrize(("name", "size"), TABLE)
def test_initial_tensors(name, size, monkeypatch):
    """Protects the start of training, of which other tests see only the first loss."""
    found = initializers(name, size, monkeypatch)
    cases = {}  # the shapes of each initializer and what it should start with
    for path, (init, (shape, *rest)) in found.items():
        rows = (value for pattern, value in TABLE[name, size] if re.fullmatch(pattern, path))
        value = next(rows, None)
        if value is None:  # PyTorch's bias, whose bound is that of its kernel
            kernel = found[f"{path.removesuffix('bias')}kernel"][1][0]
            value = torch_default(kernel)
        cases.setdefault((init, value, *rest), {})[tuple(shape)] = path
    wrong = []
    for (init, value, *rest), shapes in cases.items():
        mean, deviation = value if isinstance(value, tuple) else (0.0, value)
        for shape in {min(shapes, key=math.prod), max(shapes, key=math.prod)}:
            expected = deviation(shape) if callable(deviation) else deviation
            values = np.asarray(init(jax.random.key(0), shape, *rest))
            # Five standard errors of a normal distribution; those of the others are smaller.
            error = 5 * expected / math.sqrt(values.size) + 1e-7
            if abs(values.mean() - mean) > error or abs(values.std() - expected) > error:
                start = float(values.mean()), float(values.std())
                wrong.append((shapes[shape], shape, start, mean, expected))
    assert not wrong
