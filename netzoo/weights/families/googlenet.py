"""Names of GoogLeNet's tensors in torchvision."""

from netzoo.models.googlenet import HEADS, STAGES, GoogLeNet
from netzoo.weights.published import TORCHVISION_IMAGES, Family, Project
from netzoo.weights.state_dict import Layout, Names, flattened_dense, make_layout


def torchvision(model: GoogLeNet, shapes) -> Layout:
    """Return the layout with names such as `inception3a.branch2.1.bn`, `aux1.fc1` and `fc`.

    The auxiliary classifiers of the published weights are not trained. A network without them
    ignores their tensors.
    """
    units = {"stem/conv1": "conv1", "stem/conv2_reduce": "conv2", "stem/conv2": "conv3"}
    for stage, blocks in STAGES.items():
        for block in range(len(blocks)):
            ours, theirs = f"stage{stage}_block{block + 1}", f"inception{stage}{'abcde'[block]}"
            units[f"{ours}/branch1"] = f"{theirs}.branch1"
            for branch in (2, 3):
                units[f"{ours}/branch{branch}_reduce"] = f"{theirs}.branch{branch}.0"
                units[f"{ours}/branch{branch}"] = f"{theirs}.branch{branch}.1"
            units[f"{ours}/branch4"] = f"{theirs}.branch4.1"
    names: Names = {"logits": "fc"}
    transforms = {}
    for head in HEADS.values():
        units[f"{head}/conv"] = f"{head}.conv"
        names |= {f"{head}/hidden": f"{head}.fc1", f"{head}/logits": f"{head}.fc2"}
        transforms[f"{head}/hidden"] = flattened_dense(128, 4)
    names |= {ours: (f"{theirs}.conv", f"{theirs}.bn") for ours, theirs in units.items()}
    return make_layout(shapes, names, transforms=transforms, head=("logits", *HEADS.values()))


FAMILY = Family(
    GoogLeNet,
    {"torchvision": Project(torchvision, TORCHVISION_IMAGES, {"norm_epsilon": 1e-3})},
    reported={"googlenet": (68.7, "readme of Caffe's bvlc_googlenet")},
)
