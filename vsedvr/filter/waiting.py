"""Makes torch's threads sleep while they wait for work.

By default they spin, which takes the cores away from the kernels' own threads and from the encoder behind the pipe: a frame
takes up to 1.6 times as long. The setting only works before torch is loaded. A value that is already set is kept.
"""

import os
import sys

__all__ = ["THREADS_SPIN"]

THREADS_SPIN = "torch" in sys.modules and "OMP_WAIT_POLICY" not in os.environ
"""Whether torch was loaded before this module, so that its threads spin in spite of the setting."""

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
