"""Trains a network: `netzoo train` as a script.

python train.py --config configs/mobilenet_v2.py --workdir runs/v2
"""

import sys

from netzoo.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
