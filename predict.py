"""Classifies or translates with a run: `netzoo predict` as a script.

python predict.py --workdir runs/v2 photo.jpg
"""

import sys

from netzoo.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
