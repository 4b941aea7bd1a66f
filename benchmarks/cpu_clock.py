"""Runs a softmine command by the CPU time of its own process, for comparisons on a machine that others use.

    OMP_NUM_THREADS=1 python benchmarks/cpu_clock.py study noise image photo.png --seconds 6

Seconds in its results are CPU seconds of all its threads: with one thread, what the wall clock of a quiet machine would show.
"""

import sys
import time

if __name__ == "__main__":
    time.perf_counter = time.process_time

    from softmine.cli.main import main

    sys.exit(main())
