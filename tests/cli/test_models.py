"""The command that shows the networks."""

from netzoo.cli.models import main


def test_list(capsys):
    """Sizes come from the network, accuracies from the published weights."""
    assert main(["list", "alexnet*"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (published,) = [line for line in lines if "alexnet_owt" in line]
    assert "61,100,840" in published and "56.5" in published
    (paper,) = [line for line in lines if "alexnet " in line]
    assert "227 px" in paper and "56.5" not in paper


def test_show(capsys):
    """The number of classes and the image size change the figures."""
    assert main(["show", "mobilenet_v1_025"]) == 0
    default = capsys.readouterr().out
    assert "224x224" in default and "49.8 %" in default
    assert main(["show", "mobilenet_v1_025", "--classes", "5", "--size", "128"]) == 0
    small = capsys.readouterr().out
    assert "5 classes, 128x128" in small and "1000 classes" not in small


def test_unknown_names(capsys):
    """An unknown pattern or name is an error that gives names."""
    assert main(["list", "nothing*"]) == 1
    assert "resnet50" in capsys.readouterr().err
    assert main(["show", "resnet5O"]) == 1
    assert "resnet50" in capsys.readouterr().err
