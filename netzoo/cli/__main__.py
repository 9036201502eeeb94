"""`python -m netzoo.cli`, which is `netzoo` where the package is not installed."""

import sys

from netzoo.cli.main import main

sys.exit(main())
