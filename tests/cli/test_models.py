"""The command that shows the networks."""

import pytest
from matplotlib import rc_context

from netzoo.cli.models import main
from netzoo.errors import UserError
from netzoo.models import create_model, model_entry
from netzoo.models.diagram import block_counts
from netzoo.models.summary import variable_shapes
from tests.conftest import slow


def test_list(capsys):
    """The list shows sizes of networks and accuracies of published weights."""
    main(["list", "alexnet*"])
    lines = capsys.readouterr().out.splitlines()
    (published,) = [line for line in lines if "alexnet_owt" in line]
    assert "61,100,840" in published and "56.5" in published
    (paper,) = [line for line in lines if "alexnet " in line]
    assert "227 px" in paper and "56.5" not in paper


def test_list_of_weights(capsys):
    """The list marks the default, and names networks for which nobody published weights."""
    main(["list", "vit_b*", "--weights"])
    lines = [line.split("│") for line in capsys.readouterr().out.splitlines() if "│" in line]
    rows = {name.strip(): [cell.strip() for cell in row] for _, name, *row, _ in lines}
    best = rows["vit_b16.augreg2_in21k_ft_in1k"]
    assert best[:5] == ["*", "1,000", "224", "0.90", "85.1"] and best[6] == "Apache-2.0"
    assert rows["vit_b16.augreg_in21k_ft_in1k_384"][:3] == ["", "1,000", "384"]
    assert rows["vit_b16.mae"][1] == "-" and rows["vit_b16.mae"][6] == "CC-BY-NC-4.0"
    main(["list", "alexnet*", "--weights"])
    assert "without published weights: alexnet\n" in capsys.readouterr().out


def test_show(capsys):
    """The number of classes and the image size change the numbers."""
    main(["show", "mobilenet_v1_025"])
    default = capsys.readouterr().out
    assert "224x224" in default and "49.8 %" in default
    main(["show", "mobilenet_v1_025", "--classes", "5", "--size", "128"])
    small = capsys.readouterr().out
    assert "5 classes, 128x128" in small and "1000 classes" not in small


@pytest.mark.parametrize(
    ("arguments", "last"),
    [(["vgg16", "--size", "64"], "logits"), (["transformer_tiny"], "logits")],
)
def test_rows_are_parts_of_the_network(arguments, last, capsys):
    """Protects the table from rows for single operations, such as the average of an image."""
    main(["show", *arguments])
    rows = [line.split("│") for line in capsys.readouterr().out.splitlines() if "│" in line]
    names = [row[1].strip() for row in rows]
    assert all(name.isidentifier() for name in names) and names[-1] == last


def test_show_layout(capsys):
    """Names and shapes of all tensors, as a state dict of the project has them."""
    main(["show", "vit_ti16", "--layout", "timm", "--classes", "5"])
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    found = {name: shape.strip() for name, *_, shape in lines}
    assert found["blocks.0.attn.qkv.weight"] == "576 x 192" and found["head.bias"] == "5"
    assert found["patch_embed.proj.weight"] == "192 x 3 x 16 x 16" and len(found) == 152
    with pytest.raises(UserError, match="torchvision, timm"):
        main(["show", "resnet18", "--layout", "caffe"])


def test_network_on_text_has_no_size():
    """An image size for a network on text is an error."""
    with pytest.raises(UserError, match="--size"):
        main(["show", "transformer_base", "--size", "224"])


@pytest.mark.parametrize("arguments", [["list", "nothing*"], ["show", "resnet5O"]])
def test_unknown_names(arguments):
    """An unknown pattern or name is an error with valid names."""
    with pytest.raises(UserError, match="resnet50"):
        main(arguments)


def test_figure(tmp_path, capsys):
    """The diagram names every stage, and the extension decides the format."""
    path = tmp_path / "network.svg"
    with rc_context({"svg.fonttype": "none"}):  # text stays text
        main(["show", "mobilenet_v2_035", "--classes", "5", "--figure", str(path)])
    text = path.read_text()
    parts = ["image", "stem", *(f"stage{stage}" for stage in range(1, 8)), "head", "logits"]
    assert [name for name in parts if f">{name}</text>" not in text] == []
    for shown in ("224\u00d7224\u00d73", "56\u00d756\u00d78", ">4 blocks<", "parameters"):
        assert shown in text
    assert f"written: {path}" in capsys.readouterr().out.replace("\n", "")
    with pytest.raises(UserError, match="expected a figure's extension"):
        main(["show", "mobilenet_v2_035", "--figure", str(tmp_path / "a.txt")])


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("resnet18", {"stage1": 2, "stage2": 2, "stage3": 2, "stage4": 2}),
        slow("vit_ti16", {"encoder": 12}),
        slow("transformer_tiny", {"encoder": 4, "decoder": 4}),
    ],
)
def test_blocks_are_counted(name, counts):
    size = model_entry(name).image_size
    assert block_counts(variable_shapes(create_model(name, 5), size)) == counts
