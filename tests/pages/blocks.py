"""Reads the code blocks of a page or a notebook, and runs them in the present folder.

    python -m tests.pages.blocks docs/notebook.md

Blocks of `sh` run in bash, and blocks of `python` share their variables as the cells of a notebook
do. A Python block that begins with the comment `# NAME.py` is a file that the reader saves. The
command `netzoo` is this checkout's, and `pip` is not run. Cells of a notebook are blocks of Python
or, if they begin with `%%bash`, of shell. A comment above a block says where the test departs from
the page:

    <!-- test: skip: REASON -->                     the block is not run
    <!-- test: train with: --config.KEY=VALUE -->   every `netzoo train` of it gets these arguments
    <!-- test: first: STATEMENT -->                 runs before the block
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

_BLOCK = re.compile(
    r"(?:^<!-- test: (?P<kind>[^:\n]+): (?P<value>[^\n]+) -->\n)?"
    r"^(?P<fence>```+)(?P<language>\w*)\n(?P<code>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
_BASH = "%%bash\n"
_FILE = re.compile(r"# (\w+\.py)\n")
KINDS = ("skip", "train with", "first")
# Functions, so that the commands of the block stay as they are printed.
_SHELL = """set -euo pipefail
read -ra more <<< "$TRAIN_WITH" || true
python() { "$PYTHON" "$@"; }
pip() { echo "not run: pip $*"; }
netzoo() {
  local more_arguments=()
  if [ "$1" = train ]; then more_arguments=("${more[@]}"); fi
  PYTHONPATH="$NETZOO_ROOT:${PYTHONPATH:-}" "$PYTHON" -m netzoo "$@" "${more_arguments[@]}"
}
"""


class Block(NamedTuple):
    """A fenced block of a page."""

    line: int  # of the page, or number of the cell
    language: str
    code: str
    kind: str | None  # what the comment above it asks for, one of KINDS
    value: str | None


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page in order."""
    text = page.read_text("utf-8")
    if page.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        return [_block(n, cell) for n, cell in enumerate(cells) if cell["cell_type"] == "code"]
    return [
        Block(text.count("\n", 0, m.start("code")), *m.group("language", "code", "kind", "value"))
        for m in _BLOCK.finditer(text)
    ]


def _block(number: int, cell: dict) -> Block:
    code = "".join(cell["source"])
    if code.startswith(_BASH):
        return Block(number, "sh", code.removeprefix(_BASH), None, None)
    return Block(number, "python", code, None, None)


def run_page(page: Path) -> None:
    """Run the blocks of a page; raise an error if a block fails."""
    namespace: dict = {"__name__": "__main__"}
    for block in blocks_of(page):
        if block.language not in ("sh", "python") or block.kind == "skip":
            continue
        print(f"{page.name}:{block.line}", flush=True)
        if block.language == "sh":
            _run_shell(block)
        elif file := _FILE.match(block.code):
            Path(file[1]).write_text(block.code)
        else:
            first = f"{block.value}\n" if block.kind == "first" else ""
            exec(compile(first + block.code, f"{page.name}:{block.line}", "exec"), namespace)


def _run_shell(block: Block) -> None:
    more = block.value if block.kind == "train with" else ""
    first = f"{block.value}\n" if block.kind == "first" else ""
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "TRAIN_WITH": more,
        "NETZOO_ROOT": str(Path(__file__).parents[2]),
    }
    subprocess.run(["bash", "-c", _SHELL + first + block.code], check=True, env=environment)


if __name__ == "__main__":
    run_page(Path(sys.argv[1]))
