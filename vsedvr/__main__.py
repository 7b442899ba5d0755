"""Runs the command line of vsedvr for `python -m vsedvr`."""

import sys

from vsedvr.cli import main

sys.exit(main())
