"""The convolutions of a network, found by tracing."""

import netzoo
from netzoo.models.summary import model_summary
from netzoo.teaching import Convolution, convolutions


def test_the_convolutions_of_a_block():
    found = {conv.name: conv for conv in convolutions(netzoo.create_model("mobilenet_v1"), 64)}
    depthwise, pointwise = (found[f"stage2_block1/{name}"] for name in ("depthwise", "pointwise"))
    assert depthwise == Convolution(
        "stage2_block1/depthwise", (32, 32, 64), (16, 16, 64), kernel_size=3, stride=2, groups=64
    )
    assert depthwise.multiply_adds == 16 * 16 * 9 * 64
    assert pointwise.outputs == (16, 16, 128)
    assert pointwise.multiply_adds == 16 * 16 * 64 * 128


def test_the_costs_are_those_of_the_summary():
    model = netzoo.create_model("alexnet")
    found = convolutions(model, 64)
    parts = {part.name: part.macs for part in model_summary(model, 64).parts}
    dense_layers = parts["hidden1"] + parts["hidden2"] + parts["logits"]
    assert len(found) == 5
    assert sum(conv.multiply_adds for conv in found) == sum(parts.values()) - dense_layers
