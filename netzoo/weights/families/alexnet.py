"""Names of AlexNet's tensors in torchvision, which has the one-tower network."""

from netzoo.models.alexnet import DENSE_SIDE, AlexNet
from netzoo.weights.published import TORCHVISION_IMAGES, Family, Project
from netzoo.weights.state_dict import Layout, Names, flattened_dense, make_layout


def torchvision(model: AlexNet, shapes) -> Layout:
    """Return the layout of `features.N` and `classifier.N`; N also counts ReLUs, pools, dropout."""
    names: Names = {
        "stem": "features.0",
        "stage1_block1": "features.3",
        "stage2_block1": "features.6",
        "stage3_block1": "features.8",
        "stage4_block1": "features.10",
        "hidden1": "classifier.1",
        "hidden2": "classifier.4",
        "logits": "classifier.6",
    }
    flattened = flattened_dense(model.variant.channels[-1], DENSE_SIDE)
    return make_layout(shapes, names, transforms={"hidden1": flattened})


FAMILY = Family(
    AlexNet,
    {"torchvision": Project(torchvision, TORCHVISION_IMAGES)},
)
