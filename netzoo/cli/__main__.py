"""`python -m netzoo.cli`, which is the command `netzoo`."""

import sys

from netzoo.cli.main import main

sys.exit(main())
