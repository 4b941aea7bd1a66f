"""Read before torch is: threads that spin while they wait make small steps on a busy machine many times slower.

Property tests try the same cases on every machine, so that a change is judged by what it changes;
``pytest --hypothesis-profile wide`` looks for new ones.
"""

import os

os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from hypothesis import settings

settings.register_profile("same", derandomize=True, database=None, max_examples=80, deadline=None)
settings.register_profile("wide", max_examples=2000, deadline=None)
settings.load_profile("same")
