"""Runs the command `netzoo` as `python -m netzoo`."""

import sys

from netzoo.cli.main import main

sys.exit(main())
