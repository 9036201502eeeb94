"""Gives hostile files to every tool that reads files, and reports the outcomes.

python -m reliability.hostile_files --out results/reliability

It makes the files itself. The decoder (whole images, and crops as in training) and a folder source
read the images one by one, each in its own child process. predict.py, eval.py and train.py then
read them all at once; for these, it first trains a small network on valid images. `netzoo prepare`
reads the archives. A refusal with a message is right. A traceback, a signal, too much memory or
time, or a file outside the given folder is a failure, and the exit status is 1.
"""

import argparse
import contextlib
import csv
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from netzoo.cli.prepare import main as prepare
from netzoo.data import Augmentation, EvalBatches, TrainBatches, decode_image, open_source
from netzoo.data.decode import LazyImage
from netzoo.data.files import read_file
from netzoo.errors import printable
from reliability.child import FAILED, READ, REFUSED, Outcome, in_child
from reliability.hostile_archives import archives
from reliability.hostile_images import encoded, picture, write_plain, write_specials

Row = tuple[str, str, Outcome]  # file, tool
SECONDS = 20.0
MEMORY_MB, ADDRESS_MB = 3_000, 8_000  # the largest allowed image takes 1.8 GB
COMMAND_MEMORY_MB = 5_000  # with JAX, and two threads that decode the largest image
TRAIN = (
    "train.py",
    "--config=configs/quickstart.py",
    "--config.train.epochs=1",
    "--config.data.train_split=train[:50%]",
    "--config.data.validation_split=train[50%:75%]",
    "--config.data.test_split=train[75%:]",
    "--config.data.image_size=32",
    "--config.train.batch_size=8",
    "--config.evaluation.batch_size=8",
    "--config.evaluation.top_k=2",
    "--config.schedule.warmup_epochs=0.0",
)


def _decoders(path: Path) -> dict[str, Callable[[], object]]:
    name = str(path)
    return {
        "decode": lambda: decode_image(read_file(path, name), name).shape,
        "crop": lambda: _upper_half(path),
        "folder source": lambda: _as_folder(path),
    }


def _upper_half(path: Path) -> tuple[int, ...]:
    image = LazyImage(read_file(path, str(path)), str(path))
    return image.crop(0, 0, image.height // 2 or 1, image.width).shape


def _as_folder(path: Path) -> str:
    """Read a file in a folder source, beside one valid image per class; the file is moved there."""
    with tempfile.TemporaryDirectory() as root:
        for class_name in ("daisy", "roses"):
            (Path(root) / class_name).mkdir()
            (Path(root) / class_name / "good.jpg").write_bytes(encoded(picture(), "JPEG"))
        path.rename(Path(root) / "roses" / path.name)
        try:
            source = open_source(f"folder:{root}", "train")
            augmentation = Augmentation((0.25, 1.0), (3 / 4, 4 / 3), True, 0, 0.0)
            settings = {"batch_size": 2, "image_size": 16, "num_threads": 0}
            count = sum(batch["mask"].sum() for batch in EvalBatches(source, **settings))
            next(iter(TrainBatches(source, seed=0, augmentation=augmentation, **settings)))
        finally:
            (Path(root) / "roses" / path.name).rename(path)
    return f"{count} of {len(source)} images"


def pictures_one_by_one(folder: Path) -> Iterator[Row]:
    """Try every file of a folder, each in its own child process."""
    for path in sorted(folder.iterdir()):
        for tool, function in _decoders(path).items():
            outcome = in_child(
                function, seconds=SECONDS, memory_mb=MEMORY_MB, address_mb=ADDRESS_MB
            )
            yield path.name, tool, outcome


def archives_one_by_one(folder: Path) -> Iterator[Row]:
    """Prepare a data set from every archive, and look for files written elsewhere."""
    escape = folder / "escape"
    (folder / "origin").mkdir(parents=True)
    for name, make in archives(escape).items():
        path = folder / "origin" / name
        make(path)
        data_dir = folder / f"data_{name}"
        outcome = in_child(
            lambda path=path, data_dir=data_dir: _prepare(path, data_dir),
            seconds=2 * SECONDS,
            memory_mb=MEMORY_MB,
            address_mb=ADDRESS_MB,
        )
        path.unlink()
        expected = {folder / "origin", *folder.glob("data_*")}
        if elsewhere := set(folder.iterdir()) - expected:
            outcome = outcome._replace(happened=FAILED, message=f"wrote {elsewhere}")
        yield name, "prepare", outcome


def _prepare(path: Path, data_dir: Path) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        prepare(["tf_flowers", "--from", str(path), "--data-dir", str(data_dir)])
    return next(line for line in said.getvalue().splitlines() if line.startswith("train"))


def write_classes(root: Path, names: tuple[str, ...]) -> Path:
    """Write a folder with 16 valid images for each class."""
    for name in names:
        (root / name).mkdir(parents=True)
        for index in range(16):
            data = encoded(picture(seed=index), "JPEG")
            (root / name / f"good_{index}.jpg").write_bytes(data)
    return root


def command(*arguments: object) -> tuple[subprocess.CompletedProcess, float, int]:
    """Run `python ARGUMENTS`; return its outputs, its seconds and its peak memory in MiB."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen([sys.executable, *map(str, arguments)], stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        for file in (out, err):
            file.seek(0)
        texts = [file.read().decode("utf-8", "surrogateescape") for file in (out, err)]
    done = subprocess.CompletedProcess(arguments, process.returncode, *texts)
    return done, time.monotonic() - began, usage.ru_maxrss // 1024


def predictions(workdir: Path, folder: Path, figure_file: Path) -> Iterator[Row]:
    """Give all files to one predict.py; yield whether it classified or named each."""
    files = [*sorted(folder.iterdir()), folder / "missing.jpg"]
    done, seconds, peak = command(
        "predict.py", "--workdir", workdir, "--json", "--figure", figure_file, *files
    )
    crashed = "Traceback" in done.stderr or peak > COMMAND_MEMORY_MB or done.returncode != 1
    happened = FAILED if crashed else READ
    answered = {entry["path"] for entry in json.loads(done.stdout)} if done.stdout else set()
    errors = [line for line in done.stderr.splitlines() if "error: " in line]
    message = f"status {done.returncode}, {len(answered)} answered, {len(errors)} named"
    yield "all at once", "predict.py", Outcome(happened, message, seconds, peak)
    for path in files:
        inside = [name for name in answered if Path(name) == path or path in Path(name).parents]
        named = [line for line in errors if printable(str(path)) in line]
        happened, message = (REFUSED, named[0]) if named else (READ, "")
        if not named and not inside and not (path.is_dir() and not any(path.iterdir())):
            happened, message = FAILED, "neither answered nor named"
        yield path.name, "predict.py", Outcome(happened, message, float("nan"), 0)


def runs(workdir: Path, folder: Path, scratch: Path) -> Iterator[Row]:
    """Evaluate and train on a folder of all files, with both `stop` and `skip`."""
    source = f"--config.data.source=folder:{folder}"
    elsewhere = ("--config.data.test_split=train", "--out", scratch / "evaluated")
    for tool, arguments in (
        ("eval.py", ("eval.py", "--workdir", workdir, *elsewhere)),
        ("train.py", (*TRAIN, "--workdir", scratch / "trained")),
    ):
        for choice in ("stop", "skip"):
            given = (source, f"--config.data.on_corrupt={choice}")
            done, seconds, peak = command(*arguments, *given)
            crashed = "Traceback" in done.stderr or peak > COMMAND_MEMORY_MB
            expected = 1 if choice == "stop" else 0
            happened = (READ if choice == "skip" else REFUSED) if not crashed else FAILED
            if done.returncode != expected:
                happened = FAILED
            said = done.stderr if choice == "stop" or happened == FAILED else done.stdout
            lines = [line for line in said.splitlines() if "error:" in line or "left out" in line]
            message = (lines or said.splitlines()[-1:] or [""])[0]
            yield "all at once", f"{tool}, {choice}", Outcome(happened, message, seconds, peak)


def _without_scratch(message: str) -> str:
    """Return a message without names of temporary folders, which differ between runs."""
    return re.sub(rf"{tempfile.gettempdir()}/[^/\s)]+/?", "", message)


def _write(rows: list[Row], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with (out / "hostile_files.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["file", "tool", "happened", "seconds", "peak_mb", "message"])
        for name, tool, (happened, message, seconds, peak) in rows:
            shown = "" if seconds != seconds else f"{seconds:.2f}"
            table.writerow([printable(name), tool, happened, shown, peak or "", message])


def _show(rows: list[Row]) -> None:
    table = Table("file", "tool", "happened", "s", "MiB", "message")
    for name, tool, (happened, message, seconds, peak) in rows:
        shown = "" if seconds != seconds else f"{seconds:.2f}"
        cells = (printable(name), tool, happened, shown, str(peak or ""), message[:100])
        table.add_row(*map(Text, cells), style="red" if happened == FAILED else None)
    Console(width=200).print(table)


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m reliability.hostile_files")
    parser.description, parser.formatter_class = __doc__, argparse.RawDescriptionHelpFormatter
    parser.add_argument("--out", type=Path, default=Path("results/reliability"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hostile_") as root:
        scratch = Path(root)
        write_plain(scratch / "pictures")
        write_specials(scratch / "pictures")
        rows = [*pictures_one_by_one(scratch / "pictures"), *archives_one_by_one(scratch / "tars")]
        workdir, sound = scratch / "run", write_classes(scratch / "sound", ("daisy", "roses"))
        done, *_ = command(*TRAIN, "--workdir", workdir, f"--config.data.source=folder:{sound}")
        if done.returncode:
            sys.exit(f"the small network was not trained: {done.stderr}")
        sheet = scratch / "sheet.png"
        rows += predictions(workdir, scratch / "pictures", sheet)
        hostile = write_classes(scratch / "hostile", ("daisy",))
        (scratch / "pictures").rename(hostile / "roses")
        rows += runs(workdir, hostile, scratch)
    rows = [
        (name, tool, outcome._replace(message=_without_scratch(outcome.message)))
        for name, tool, outcome in rows
    ]
    _show(rows)
    _write(rows, options.out)
    failures = sum(outcome.happened == FAILED for _, _, outcome in rows)
    unreadable = ", root reads files of mode 0 too" if os.geteuid() == 0 else ""
    print(f"{len(rows)} trials, {failures} failures{unreadable}; {options.out}/hostile_files.csv")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
