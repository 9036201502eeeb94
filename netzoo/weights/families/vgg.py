"""Names of VGG's tensors in torchvision and timm."""

from netzoo.models.vgg import DENSE_SIDE, STAGE_CHANNELS, VGG
from netzoo.weights.published import (
    TIMM_IMAGES,
    TORCHVISION_IMAGES,
    Family,
    Project,
)
from netzoo.weights.state_dict import Layout, Names, covering_conv, flattened_dense, make_layout


def torchvision(model: VGG, shapes) -> Layout:
    """Return the layout of `features.N` and `classifier.N`; N also counts norms, ReLUs, pools."""
    names: Names = {"hidden1": "classifier.0", "hidden2": "classifier.3", "logits": "classifier.6"}
    flattened = flattened_dense(STAGE_CHANNELS[-1], DENSE_SIDE)
    return make_layout(shapes, names | _features(model), transforms={"hidden1": flattened})


def timm(model: VGG, shapes) -> Layout:
    """Return names in which the hidden layers are a 7x7 and a 1x1 convolution."""
    names: Names = {"hidden1": "pre_logits.fc1", "hidden2": "pre_logits.fc2", "logits": "head.fc"}
    transforms = {"hidden1": covering_conv(DENSE_SIDE), "hidden2": covering_conv(1)}
    return make_layout(shapes, names | _features(model), transforms=transforms)


def _features(model: VGG) -> Names:
    names: Names = {}
    number = 0
    for stage, depth in enumerate(model.variant.depths, start=1):
        for block in range(1, depth + 1):
            names[f"stage{stage}_block{block}"] = (f"features.{number}", f"features.{number + 1}")
            number += 3 if model.variant.batch_norm else 2
        number += 1
    return names


FAMILY = Family(
    VGG,
    {
        "torchvision": Project(torchvision, TORCHVISION_IMAGES, {"norm_epsilon": 1e-5}),
        "timm": Project(timm, TIMM_IMAGES, {"norm_epsilon": 1e-5}),
    },
)
