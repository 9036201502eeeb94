"""Edits that turn a reference network into a published variant that no library has.

Each takes a new model of torchvision and changes layers in place, before its weights are generated.
The names of tensors stay those of the library.
"""

import torch


def stride_in_first(model: torch.nn.Module) -> None:
    """Edit ResNet to "v1": a bottleneck halves the image in its first 1x1 (He et al., Table 1)."""
    for stage in (model.layer2, model.layer3, model.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)


def pointwise_third(model: torch.nn.Module) -> None:
    """Edit VGG16 to column C: the third convolution of stages 3 to 5 is 1x1 (Table 1)."""
    for index in (14, 21, 28):
        old = model.features[index]
        model.features[index] = torch.nn.Conv2d(old.in_channels, old.out_channels, 1)


def true_5x5(model: torch.nn.Module) -> None:
    """Edit GoogLeNet to the 5x5 and the overlapping last pool of the paper (Table 1)."""
    for name, module in model.named_children():
        if name.startswith("inception"):
            old = module.branch3[1].conv
            module.branch3[1].conv = torch.nn.Conv2d(
                old.in_channels, old.out_channels, 5, padding=2, bias=False
            )
    model.maxpool4 = torch.nn.MaxPool2d(3, stride=2, ceil_mode=True)
