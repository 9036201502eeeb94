"""The command `netzoo sweep`: its runs, its processes and its table."""

import csv
import json
import shutil
import signal
import sys

import pytest

from netzoo.cli.main import main
from netzoo.cli.sweep import execute, figure
from netzoo.cli.sweep.execute import State, train_runs
from netzoo.cli.sweep.runs import check_runs, read_sweep
from netzoo.cli.sweep.table import show_table
from netzoo.config import save_config, validate
from netzoo.errors import UserError
from netzoo.figures import INK
from tests.pages.blocks import blocks_of
from tests.training.runs import ROOT, run

# Stands for `netzoo train`: its seed says whether it finishes, fails or is stopped.
STUB = """
import os, pathlib, signal, sys
values = sys.argv[1:]
folder = pathlib.Path(values[values.index("--workdir") + 1])
folder.mkdir(exist_ok=True)
(folder / "config.json").write_text("{}")
starts = folder / "starts"
starts.write_text(starts.read_text() + "x" if starts.exists() else "x")
print("training", flush=True)
if "--config.seed=1" in values:
    print("error: the loss is not finite", flush=True)
    sys.exit(1)
if "--config.seed=2" in values and starts.read_text() == "x":
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    os.kill(os.getppid(), signal.SIGINT)
    signal.sigwait([signal.SIGINT])
    (folder / "saved").touch()
    sys.exit(128 + signal.SIGINT)
if "--config.seed=3" in values:
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def write(tmp_path):
    """Write a configuration and the file of a sweep over it, and return its name."""
    config = tmp_path / "tiny.py"
    config.write_text("from tests.conftest import tiny_translation_config as get_config\n")

    def write(**entries):
        path = tmp_path / "sweep.py"
        text = json.dumps({"config": str(config), **entries})
        text = f"import json\n\ndef get_sweep():\n    return json.loads({text!r})\n"
        path.write_text(text)
        return str(path)

    return write


@pytest.fixture
def stub(monkeypatch):
    """Replace `netzoo train` by a process that computes nothing."""
    monkeypatch.setattr(execute, "launcher", lambda: [sys.executable, "-S", "-c", STUB])


def test_runs_are_rows_times_grid(write):
    """Protects what is trained: every combination, with a folder that names its own values."""
    sweep = read_sweep(
        write(
            set={"train.epochs": 2, "optimizer.b1": 0.8},
            rows=[{}, {"model.dropout_rate": 0.2, "optimizer.b1": 0.7}],
            grid={"optimizer.learning_rate": [1e-3, 3e-5], "data.lengths": [[8, 16]], "seed": [0]},
        )
    )
    assert [each.name for each in sweep.runs] == [
        "learning_rate=0.001,lengths=8-16,seed=0",
        "learning_rate=3e-05,lengths=8-16,seed=0",
        "dropout_rate=0.2,b1=0.7,learning_rate=0.001,lengths=8-16,seed=0",
        "dropout_rate=0.2,b1=0.7,learning_rate=3e-05,lengths=8-16,seed=0",
    ]
    last = sweep.runs[-1]
    assert last.overrides["data.lengths"] == "(8, 16)"
    config = last.config
    assert (config.train.epochs, config.optimizer.b1, config.data.lengths) == (2, 0.7, (8, 16))
    assert (config.optimizer.learning_rate, config.model.dropout_rate) == (3e-5, 0.2)
    assert sweep.runs[0].config.optimizer.b1 == 0.8, "the rows do not share a configuration"


def test_the_example_of_the_page_is_a_sweep(tmp_path):
    """Protects readers of docs/experiments.md, who copy its file."""
    [block] = [b for b in blocks_of(ROOT / "docs/experiments.md") if b.language == "python"]
    (tmp_path / "sweep.py").write_text(block.code)
    runs = read_sweep(str(tmp_path / "sweep.py")).runs
    assert len(runs) == 8
    assert runs[0].name == "base,learning_rate=0.002,seed=0"
    for each in runs:
        validate(each.config, training=True)


def test_rows_can_have_names(write):
    """Protects ablations: a row of long values has a short name."""
    rows = [{"name": "base"}, {"name": "frozen", "optimizer.lr_mults": [["logits/.*", 1.0]]}]
    names = [each.name for each in read_sweep(write(rows=rows, grid={"seed": [3, 4]})).runs]
    assert names == ["base,seed=3", "base,seed=4", "frozen,seed=3", "frozen,seed=4"]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"gird": {}}, "unknown entry of the sweep .* 'gird'; did you mean grid"),
        ({"rows": {}}, "'rows' is {}; expected a list"),
        ({"rows": [1]}, "a row is 1; expected a dict"),
        ({"grid": {"seed": 3}}, "seed is 3; expected a list"),
        ({"grid": {"seed": []}}, "expected a list"),
        ({"rows": [{"seed": 1}], "grid": {"seed": [1]}}, "seed is both in 'rows' and in 'grid'"),
        ({"rows": [{"name": "a"}, {}]}, "a 'name' in every row or in none"),
        ({"rows": [{"seed": 1}, {"seed": 1}]}, "2 runs have the name 'seed=1'"),
        ({"rows": [{"name": "../a"}]}, "would have the name '../a'"),
        ({"rows": [{"name": "lock"}]}, "would have the name 'lock'"),
        ({"rows": [{"train.epoch": 1}, {"sed": 1}]}, "(?s)'train.epoch'.*'sed'"),
    ],
)
def test_mistakes_in_the_file(write, entries, message):
    """Protects from a sweep other than the one that was meant."""
    with pytest.raises(UserError, match=message):
        read_sweep(write(**entries))


def test_every_row_is_checked_before_the_first_run(write, stub, tmp_path, capsys):
    """Protects from finding an error of the last row after hours."""
    rows = [{}, {"train.epochs": 0}, {"optimizer.name": "adamm"}, {"data.validation_split": None}]
    folder = tmp_path / "runs"
    assert main(["sweep", write(rows=rows), "--workdir", str(folder)]) == 1
    shown = capsys.readouterr().err
    assert "epochs=0: train.epochs is 0; expected at least 1" in shown
    assert "optimizer.name=adamm: unknown optimizer 'adamm'; did you mean adamw?" in shown
    assert "validation_split=None: expected a validation split" in shown
    assert not folder.exists()


def test_another_file_adds_runs_and_changes_none(write, tmp_path):
    """Protects the comparison: a finished run keeps the configuration of its row."""
    folder = tmp_path / "seed=0"
    folder.mkdir()
    runs = read_sweep(write(grid={"seed": [0]})).runs
    save_config(check_runs(runs, tmp_path)["seed=0"], folder)
    more = read_sweep(write(grid={"seed": [0, 1]})).runs
    assert [*check_runs(more, tmp_path)] == ["seed=0", "seed=1"]
    for key, value in (("optimizer.b1", 0.8), ("train.epochs", 9)):
        other = read_sweep(write(set={key: value}, grid={"seed": [0, 1]})).runs
        with pytest.raises(UserError, match=f"(?s)seed=0: .*{key}"):
            check_runs(other, tmp_path)


def test_a_crash_is_recorded_and_tried_again(write, stub, tmp_path, capsys):
    """Protects a night of runs: the sweep goes on, and only unfinished runs start again."""
    sweep = read_sweep(write(grid={"seed": [0, 1, 3, 4]}))
    assert train_runs(sweep, tmp_path) == 1
    state = State.load(tmp_path)
    assert state.finished == ["seed=0", "seed=4"]
    assert state.failed == {
        "seed=1": "exit status 1: error: the loss is not finite",
        "seed=3": "signal 9: training",
    }
    assert "run 2 of 4, seed=1: failed, exit status 1" in capsys.readouterr().out
    log = (tmp_path / "seed=1.log").read_text()
    assert log.startswith("$ netzoo train --config ") and "--config.seed=1" in log
    assert train_runs(sweep, tmp_path) == 1
    starts = [len((tmp_path / run.name / "starts").read_text()) for run in sweep.runs]
    assert starts == [1, 2, 2, 1]
    assert train_runs(read_sweep(write(grid={"seed": [0, 4, 5]})), tmp_path) == 0
    assert State.load(tmp_path).finished == ["seed=0", "seed=4", "seed=5"]


def test_a_signal_reaches_the_run_once(write, stub, tmp_path):
    """Protects Ctrl-C: the run saves its state, and the same call continues it."""
    sweep = read_sweep(write(grid={"seed": [0, 2, 4]}))
    assert train_runs(sweep, tmp_path) == 128 + signal.SIGINT
    assert (tmp_path / "seed=2" / "saved").exists()
    assert not (tmp_path / "seed=4").exists()
    assert State.load(tmp_path) == (["seed=0"], {})
    assert train_runs(sweep, tmp_path) == 0
    assert State.load(tmp_path).finished == ["seed=0", "seed=2", "seed=4"]


def write_log(folder, *scores, process="1"):
    """Write the log of a run that has one epoch for each score."""
    lines = []
    for epoch, score in enumerate(scores, start=1):
        at = {"step": epoch, "epoch": epoch}
        lines.append({"kind": "train", **at, "timing": {"process": process, "wall_seconds": 60}})
        lines.append({"kind": "eval", **at, "validation_token_accuracy": score})
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_table_is_best_first_over_seeds(write, tmp_path, capsys):
    """Protects the ranking: last scores of finished runs, averaged over seeds, by hand."""
    sweep = read_sweep(write(grid={"optimizer.b1": [0.7, 0.8, 0.9], "seed": [0, 1]}))
    scores = {"b1=0.7,seed=0": (0.4, 0.2), "b1=0.7,seed=1": (0.4, None), "b1=0.8,seed=0": (0.5,)}
    scores |= {"b1=0.8,seed=1": (0.6, 0.7), "b1=0.9,seed=0": (0.9,)}
    for name, values in scores.items():
        write_log(tmp_path / name, *values)
    State([*scores][:-1], {"b1=0.9,seed=0": "exit status 1: error: x"}).save(tmp_path)
    show_table(sweep, tmp_path)
    shown = capsys.readouterr()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.out.splitlines()]
    assert [row for row in rows if row] == [
        ["0.8", "60.00 ± 14.14", "+30.00", "60.00", "2 of 2", "0:01:00"],
        ["0.7", "20.00", "-", "40.00", "2 of 2", "0:01:00"],
        ["0.9", "-", "-", "-", "0 of 2", "-"],
    ]
    assert shown.err == "b1=0.9,seed=0: exit status 1: error: x\n"
    table = list(csv.DictReader((tmp_path / "table.csv").open()))
    assert [row["b1"] for row in table] == ["0.8", "0.7", "0.9"]
    assert float(table[0]["mean"]) == pytest.approx(0.6) and table[0]["lowest"] == "0.5"
    runs = {row["run"]: row for row in csv.DictReader((tmp_path / "runs.csv").open())}
    assert runs["b1=0.8,seed=1"]["seed"] == "1"
    assert [row["status"] for row in runs.values()] == [*4 * ["finished"], "failed", "unfinished"]


def test_differences_are_between_runs_of_the_same_seed_and_fold(write, tmp_path, monkeypatch):
    """Protects small gains: folds differ by more than variants, so each is compared with itself."""
    rows = [{"name": "base"}, {"name": "faster", "optimizer.b1": 0.8}]
    sweep = read_sweep(write(rows=rows, grid={"seed": [0, 1, 2]}))
    scores = {"base,seed=0": 0.4, "base,seed=1": 0.6, "base,seed=2": 0.8}
    scores |= {"faster,seed=0": 0.41, "faster,seed=1": 0.63}
    for name, score in scores.items():
        write_log(tmp_path / name, score)
    State([*scores], {}).save(tmp_path)
    drawn = []
    monkeypatch.setattr(figure, "draw", lambda *arguments: drawn.append(arguments))
    show_table(sweep, tmp_path)
    base, faster = csv.DictReader((tmp_path / "table.csv").open())
    assert (base["row"], base["difference"], base["difference_deviation"]) == ("base", "", "")
    assert float(faster["difference"]) == pytest.approx(0.02)
    assert float(faster["difference_deviation"]) == pytest.approx(0.02 / 2**0.5)
    [(by_variant, title, path)] = drawn
    assert by_variant["faster"] == {"seed 0": 0.41, "seed 1": 0.63}
    assert [*by_variant] == ["base", "faster"] and title == "validation token_accuracy, %"
    assert path == tmp_path / "table.png"


def test_the_figure_has_a_dot_for_every_run(tmp_path, monkeypatch):
    """Protects the picture: each score at its place, and the mean of a variant as a line."""
    figures = []
    monkeypatch.setattr(figure, "save", lambda shown, path: figures.append(shown))
    scores = {"best": {"seed 0": 0.9, "seed 1": 0.7}, "unfinished": {}, "other": {"seed 1": 0.6}}
    figure.draw(scores, "accuracy, %", tmp_path / "table.png")
    axes = figures[0].axes[0]
    dots = {each.get_label(): each.get_offsets().tolist() for each in axes.collections}
    assert dots == {"seed 0": [[90, 0]], "seed 1": [[70, 0], [60, 1]]}
    assert [text.get_text() for text in axes.get_yticklabels()] == ["best", "other"]
    means = [line.get_xdata()[0] for line in axes.lines if line.get_color() == INK]
    assert means == pytest.approx([80, 60])
    figure.draw({"unfinished": {}}, "accuracy, %", tmp_path / "table.png")


def test_the_ablation_on_the_page_is_what_its_runs_logged(tmp_path):
    """Protects docs/notes/design.md, and the record: its tables come from its logs."""
    record, page = ROOT / "results/ablation_mobilenet_v2", ROOT / "docs/notes/design.md"
    shutil.copytree(record, tmp_path, dirs_exist_ok=True)
    show_table(read_sweep(str(record / "sweep.py")), tmp_path)
    for name in ("table.csv", "runs.csv"):
        assert (tmp_path / name).read_text() == (record / name).read_text()
    [*rows] = csv.DictReader((record / "table.csv").open())
    shown = [line.split(" | ") for line in page.read_text("utf-8").splitlines()]
    for row in rows:
        [cells] = [cells for cells in shown if cells[0] == f"| `{row['row']}`"]
        mean, deviation, gain, spread = (
            100 * float(row[key] or 0)
            for key in ("mean", "deviation", "difference", "difference_deviation")
        )
        assert cells[2] == f"{mean:.2f} ± {deviation:.2f}"
        gained = "-" if row["row"] == "base" else f"{gain:+.2f} ± {spread:.2f}"
        assert cells[3] == f"{gained} |"
        assert row["finished"] == row["runs"] == "2"


def test_folders_of_others_are_left_alone(write, tmp_path, capsys):
    """Protects from runs in a folder that is not a sweep's, and explains --table before a sweep."""
    (tmp_path / "notes").mkdir()
    file = write(grid={"seed": [0]})
    assert main(["sweep", file, "--workdir", str(tmp_path)]) == 1
    assert "holds no sweep, but other files" in capsys.readouterr().err
    assert main(["sweep", file, "--workdir", str(tmp_path), "--table"]) == 1
    assert "holds no sweep; omit --table" in capsys.readouterr().err


@pytest.mark.slow
def test_command_trains_compares_and_finishes_once(write, tmp_path):
    """Protects the command as documented, with real runs."""
    file = write(set={"train.epochs": 1}, grid={"optimizer.b1": [0.8, 0.9], "seed": [0]})
    command = ("-m", "netzoo", "sweep", file, "--workdir", tmp_path / "runs")
    done = run(*command)
    assert done.returncode == 0, done.stderr
    assert "2 runs in" in done.stdout and done.stdout.count("finished") == 4
    rows = list(csv.DictReader((tmp_path / "runs" / "runs.csv").open()))
    assert [row["status"] for row in rows] == ["finished", "finished"]
    assert all(0 <= float(row["score"]) <= 1 for row in rows)
    assert not list((tmp_path / "runs").rglob("eval*.json")), "the test split stays unread"
    again = run(*command)
    assert again.returncode == 0, again.stderr
    assert "2 runs in" in again.stdout and "2 of them finished" in again.stdout
    assert "training" not in again.stdout
