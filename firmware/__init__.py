"""The recorder's own mind. Knows no device."""

import os

# Read by numpy when it loads: its linear algebra would start a spinning thread per core for vectors far too short.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
