"""Read before torch is: threads that spin while they wait make small steps on a busy machine many times slower."""

import os

os.environ.setdefault("GOMP_SPINCOUNT", "1000")
