"""Evaluates a run: `netzoo eval` as a script.

python eval.py --workdir runs/v2
"""

import sys

from netzoo.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["eval", *sys.argv[1:]]))
