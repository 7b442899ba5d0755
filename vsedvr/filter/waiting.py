"""How torch's threads wait for work: asleep.

By default they spin, which keeps the kernels' own threads, and the encoder behind the pipe, off the cores: a frame takes up
to 1.6 times as long. The setting must stand before torch is loaded. A value that is set already is kept.
"""

import os
import sys

__all__ = ["THREADS_SPIN"]

THREADS_SPIN = "torch" in sys.modules and "OMP_WAIT_POLICY" not in os.environ
"""Whether torch was loaded too early for it."""

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
