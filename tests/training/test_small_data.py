"""A user's own photographs: two classes, thirty files, and no adapted keys."""

import shutil

from netzoo import Predictor
from netzoo.config import load_config
from netzoo.training import train
from netzoo.training.evaluate_run import evaluate_run
from tests.conftest import tiny_config


def test_thirty_photographs_of_two_classes(pictures, tmp_path, capsys):
    """Protects the first try of a new user: a recipe for thousands of images works with thirty."""
    for name in ("daisy", "roses"):
        for number, path in enumerate(sorted((pictures / "train" / name).iterdir())):
            target = tmp_path / "photos" / name / f"{number}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    photos = sorted((tmp_path / "photos").rglob("*.png"))
    for number in range(30 - len(photos)):
        shutil.copyfile(photos[number], photos[number].with_stem(f"{number}_more"))
    config = tiny_config(tmp_path / "photos")
    config.data.update(train_split=None, validation_split=None, test_split=None)
    config.train.epochs, config.train.batch_size = 2, 32
    config.schedule.warmup_epochs = 5.0
    config.evaluation.batch_size = 32
    workdir = tmp_path / "run"
    assert train(config, workdir) == 0
    layout, *said = capsys.readouterr().err.splitlines()
    assert "2 classes (daisy, roses); 30 images" in layout and len(said) == 2
    assert said[0].startswith("train.batch_size is 32") and "22" in said[0]
    assert said[1].startswith("schedule.warmup_epochs is 5")
    # The saved configuration has the user's values, so that the same command continues the run.
    saved = load_config(workdir)
    assert (saved.train.batch_size, saved.schedule.warmup_epochs) == (32, 5.0)
    assert train(config, workdir) == 0
    assert "training is complete at step 2" in capsys.readouterr().out
    report = evaluate_run(workdir)
    assert (report["count"], report["top2_accuracy"]) == (6, 1.0)
    probabilities = Predictor.from_run(workdir)(photos[0])
    assert probabilities.shape == (1, 2)
