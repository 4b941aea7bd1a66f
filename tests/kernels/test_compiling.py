"""What compiled loops are made with."""

import numpy as np
import pytest

from softmine.kernels import set_threads, team
from softmine.kernels.compiling import compiled, compiled_sum, take


@compiled
def count_parts(queue, taken):
    while True:
        part = take(queue)
        if part >= len(taken):
            break
        taken[part] += 1


@compiled_sum
def total(values):
    result = 0.0
    for value in values:
        result += value
    return result


@pytest.mark.parametrize("threads", [1, 3])
def test_each_part_is_taken_once(threads):
    taken = np.zeros(100_000, np.int64)
    set_threads(threads)
    try:
        team.run(count_parts, taken, parts=len(taken))
    finally:
        set_threads(None)
    assert (taken == 1).all()


def test_sums_are_right_in_any_order():
    assert total(np.arange(1000.0)) == 499_500
