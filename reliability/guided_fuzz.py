"""Coverage-guided fuzzing of the targets of `reliability.fuzz`, with Atheris.

python -m reliability.guided_fuzz --target decode --seconds 120

Atheris (`pip install atheris`) is in no extra of netzoo. It instruments the Python code of netzoo
and Pillow, and keeps and mutates the inputs that reach new code. The first exception other than a
UserError, hang of 10 s or use of 4 GB ends the process with an error. The last lines that libFuzzer
prints count the inputs.
"""

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["netzoo", "PIL"]):
    from netzoo.errors import UserError
    from reliability.fuzz_targets import TARGETS

GUIDED = [name for name, target in TARGETS.items() if target.make is None]


def main() -> None:
    """Fuzz until the time is over; libFuzzer then exits with status 0."""
    parser = argparse.ArgumentParser(prog="python -m reliability.guided_fuzz", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--target", choices=GUIDED, default="decode")
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1, help="at least 1")
    options = parser.parse_args()
    target = TARGETS[options.target]
    folder = Path(tempfile.mkdtemp(prefix="fuzz_"))
    seeds = target.seeds(folder)
    corpus = folder / "corpus"
    corpus.mkdir()
    for name, data in seeds.items():
        (corpus / name).write_bytes(data)
    name = next(iter(seeds))

    def one_input(data: bytes) -> None:
        with contextlib.suppress(UserError):
            target.call(name, data, folder)

    limits = ["-timeout=10", "-rss_limit_mb=4096", "-max_len=65536", "-print_final_stats=1"]
    time = [f"-max_total_time={options.seconds}", f"-seed={options.seed}"]
    atheris.Setup([sys.argv[0], str(corpus), *limits, *time], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
