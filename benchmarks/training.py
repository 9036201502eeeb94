r"""Trains configurations with several seeds to records, within a limit of time.

python -m benchmarks.training flowers_160:mobilenet_v1 flowers_160:mobilenet_v2 --seeds 0 1 2 \
    --minutes 9 --workdir runs/flowers_160 --out results

For each run, it calls `netzoo train`, `netzoo eval` and `netzoo record`, in folders of --workdir
and --out that are named after configuration and seed. When the time is up, the run saves a
checkpoint and stops; evaluating and recording a finished run may take a minute longer. The same
command continues: it skips runs that have a record. Other arguments, such as --config.KEY=VALUE, go
to `netzoo train`.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from netzoo.console import say

NETZOO = (sys.executable, "-m", "netzoo")


def runs(configs: Sequence[str], seeds: Sequence[int]) -> Iterator[tuple[str, str, int]]:
    """Yield the name, the configuration and the seed of each run, all networks of a seed first."""
    for seed in seeds:
        for config in configs:
            path, _, argument = config.partition(":")
            parts = (Path(path).stem, argument, f"seed{seed}")
            yield "_".join(part for part in parts if part), config, seed


def train(command: Sequence[str], seconds: float) -> bool:
    """Train for at most `seconds`, and return whether training is complete.

    Raises:
      SystemExit: Training failed.
    """
    process = subprocess.Popen(command)
    try:
        status = process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.terminate()  # saves a checkpoint
        process.wait()
        return False
    if status:
        sys.exit(status)
    return True


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, evaluate and record what has no record yet.

    Raises:
      SystemExit: The time was up before the last record (status 1), or a command failed.
    """
    parser = argparse.ArgumentParser("python -m benchmarks.training", description=__doc__)
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="as for netzoo train --config")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="default: 0")
    parser.add_argument("--minutes", type=float, default=9, help="limit for training (default: 9)")
    parser.add_argument("--workdir", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--out", type=Path, required=True, help="folder of the records")
    options, overrides = parser.parse_known_args(arguments)
    end = time.monotonic() + 60 * options.minutes
    planned = [*runs(options.configs, options.seeds)]
    for number, (name, config, seed) in enumerate(planned, start=1):
        workdir, record = str(options.workdir / name), options.out / name
        if record.exists():
            continue
        say(f"{number} of {len(planned)}: {name}")
        flags = ["--config", config, "--workdir", workdir, f"--config.seed={seed}", *overrides]
        left = end - time.monotonic()
        if left <= 0 or not train([*NETZOO, "train", *flags], left):
            sys.exit(f"stopped after {options.minutes:g} minutes; the same command continues")
        subprocess.run([*NETZOO, "eval", "--workdir", workdir], check=True)
        subprocess.run([*NETZOO, "record", workdir, "--out", str(record)], check=True)


if __name__ == "__main__":
    main()
