"""The leaderboard, from records."""

import json
from pathlib import Path

import pytest

from netzoo.cli import leaderboard
from netzoo.errors import UserError
from netzoo.models import create_model
from netzoo.models.summary import model_summary
from netzoo.tasks.classification.leaderboard import read_runs, recipe, rows_of
from netzoo.tasks.classification.predictions import Prediction, write_predictions
from tests.cli.test_record import OLD_RECORD

ROOT = Path(__file__).parents[2]
OPTIONS = {"name": "mobilenet_v1", "width_multiplier": 0.25, "dtype": "float32"}


def add(results, name, right, *, seed=0, log=1, lr=0.1, machine=None, images=8):
    """Write the record of a run that is right on the images `right` of `images`."""
    folder = results / name
    folder.mkdir(parents=True)
    config = {"task": "image_classification", "seed": seed, "model": OPTIONS, "profile": bool(seed)}
    config |= {"optimizer": {"learning_rate": lr}, "data": {"num_threads": seed + 1}}
    accuracy = len(right) / images
    record = {**OLD_RECORD, "model": "mobilenet_v1", "seed": seed, "accuracy": accuracy}
    record |= {"num_examples": images, "image_size": 32, "parameters": 214_000}
    record |= {"wall_seconds": 1800 * (seed + 1), "command": f"train.py --config configs/{name}.py"}
    cpu = {"cores": 2, "devices": ["1 x cpu"], "platform": "cpu"}
    record["machine"] = machine or cpu
    evaluation = {"class_names": ["a", "b"]}
    if log:
        record["test_split_log"] = {"evaluations": log, "different": log}
        evaluation["without_duplicates"] = {"accuracy": accuracy - 0.01}
        evaluation["calibration"] = {"expected_calibration_error": 0.02 * (seed + 1)}
        kept = (
            Prediction(f"{i}.jpg", "a", "a" if i in right else "b", 0.5, 0.5) for i in range(images)
        )
        write_predictions(folder / "eval_predictions.csv", kept)
    for file, value in (("config", config), ("record", record), ("eval", evaluation)):
        (folder / f"{file}.json").write_text(json.dumps(value))


@pytest.fixture
def results(tmp_path):
    """Two recipes, one with two seeds; an old record; one that chose on the test split."""
    results = tmp_path / "results"
    add(results, "good_1", [0, 1, 2, 3, 4, 5], seed=1)
    add(results, "good", [0, 1, 2, 3, 4, 5, 6, 7])
    add(results, "fair", [0, 1, 2, 3, 4], lr=0.2)
    add(results, "old", [0, 1, 2, 3, 4, 5, 6], log=0)
    add(results, "tried", [0, 1, 2, 3, 4, 5, 6], log=3)
    return results


def cells(line):
    return [cell.strip() for cell in line.strip("| ").split("|")]


def test_seeds_share_a_row_and_the_protocol_decides_the_table(results):
    """Protects every figure: means and spread over seeds, Wilson's interval, cost, and links."""
    rows = rows_of(read_runs(results), lambda run: 1_234_000)
    text = leaderboard.sections(rows, "../results")
    kept, apart = text.split("### Apart from the protocol")
    lines = [cells(line) for line in kept.splitlines() if line.startswith("| mobilenet")]
    assert [line[4] for line in lines] == ["0, 1", "0"]
    # Wilson (1927) gives 0.529 to 0.978 for 7 of 8.
    assert lines[0][5:7] == ["87.50 ± 17.68", "52.9 to 97.8"]
    assert lines[0][7:12] == ["86.50", "3.0", "0.21 M", "1 M", "1.50"]
    assert lines[0][12] == "[good](../results/good), [good_1](../results/good_1)"
    assert lines[0][3] == "good, 2 epochs"
    assert lines[1][5:7] == ["62.50", "30.6 to 86.3"]
    reasons = {cells(line)[-1] for line in apart.splitlines() if "mobilenet" in line}
    assert reasons == {"made before the protocol", "the test split was evaluated in 3 ways"}


def test_neighbours_are_compared_on_the_same_images(results):
    """The difference of the means over seeds, and McNemar's test of the lowest seeds."""
    rows = rows_of(read_runs(results), lambda run: None)
    line = next(x for x in leaderboard.sections(rows, "r").splitlines() if "good and fair" in x)
    _, difference, alone, p_value = cells(line)
    assert difference.startswith("25.00 (") and alone == "3 and 0" and p_value == "0.250"


def test_other_images_are_not_compared(results):
    """Protects from pairing predictions of different test splits."""
    path = results / "fair" / "eval_predictions.csv"
    path.write_text(path.read_text().replace("0.jpg", "other.jpg"))
    rows = rows_of(read_runs(results), lambda run: None)
    assert "good and fair" not in leaderboard.sections(rows, "r")


def test_an_accelerator_has_hours_instead_of_core_hours(tmp_path):
    """Hours of a GPU and of a core are not the same cost."""
    machine = {"cores": 16, "devices": ["1 x H200"], "platform": "gpu"}
    add(tmp_path, "gpu", [0, 1], machine=machine)
    rows = rows_of(read_runs(tmp_path), lambda run: None)
    assert "0.50 h on 1 x H200" in leaderboard.sections(rows, "r")


def test_the_page_keeps_its_head(results, tmp_path, capsys, monkeypatch):
    """One command renews the tables and the picture; the text above stays."""
    monkeypatch.setattr(leaderboard, "multiply_adds", lambda run: 1)
    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    page.write_text("# Page\n\nText.\n\n## Results\n\nold\n")
    for _ in range(2):
        leaderboard.main([str(results), "--page", str(page)])
    text = page.read_text()
    assert text.startswith("# Page\n\nText.\n\n## Results\n\n![") and "old\n" not in text
    assert "(../results/good)" in text and text.count("### Apart") == 1
    assert (page.parent / "images" / "page.png").stat().st_size > 10_000
    page.write_text("# Page\n")
    with pytest.raises(UserError, match="lacks the line '## Results'"):
        leaderboard.main([str(results), "--page", str(page)])
    with pytest.raises(UserError, match="found none"):
        leaderboard.main([str(tmp_path)])


def test_multiply_adds_are_those_of_the_recorded_network(tmp_path):
    """Protects from numbers of another network: the parameters must agree."""
    network = create_model("mobilenet_v1", num_classes=2, width_multiplier=0.25)
    summary = model_summary(network, 32)
    add(tmp_path, "run", [0])
    (run,) = read_runs(tmp_path)
    run.record["parameters"] = summary.parameters
    run.config["model.old_rate"] = 0.1
    assert leaderboard.multiply_adds(run) == summary.macs
    run.record["parameters"] += 1
    assert leaderboard.multiply_adds(run) is None
    run.config["model.no_such_option"] = 1
    assert leaderboard.multiply_adds(run) is None


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("python train.py --config configs/vit.py --config.seed=1 --workdir x", "vit"),
        ("netzoo train --config=a/b.py:head --workdir x", "b:head"),
        ("netzoo train --workdir x", "own"),
        ("netzoo 'train", "own"),
    ],
)
def test_the_recipe_is_the_file_of_the_command(command, name):
    """Records name the file that they started from."""
    assert recipe(command) == name


@pytest.mark.slow
def test_the_page_in_the_repository_is_up_to_date():
    """A new record needs the command of docs/leaderboard.md."""
    rows = rows_of(read_runs(ROOT / "results"), leaderboard.multiply_adds)
    assert leaderboard.sections(rows, "../results") in (ROOT / "docs/leaderboard.md").read_text()
