"""What compiled loops are made with."""

import importlib

import numpy as np
import pytest

from softmine.kernels import set_threads, thread_pool
from softmine.kernels.cpu import jit
from softmine.kernels.cpu.jit import compiled, compiled_sum, take


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
        thread_pool.run(count_parts, taken, parts=len(taken))
    finally:
        set_threads(None)
    assert (taken == 1).all()


def test_sums_are_right_in_any_order():
    assert total(np.arange(1000.0)) == 499_500


def test_a_loop_is_loaded_from_disk_until_a_file_of_shared_loops_changes(tmp_path, monkeypatch):
    text = "from softmine.kernels.cpu.jit import compiled\n\n@compiled\ndef double(x):\n    return 2 * x\n"
    (tmp_path / "loops_of_a_test.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    loops = importlib.import_module("loops_of_a_test")

    def loaded():
        importlib.reload(loops)
        assert loops.double(3) == 6
        return sum(loops.double.stats.cache_hits.values())

    assert [loaded(), loaded()] == [0, 1]
    monkeypatch.setattr(jit, "SHARED", jit.SHARED + 1)
    assert [loaded(), loaded()] == [0, 1]


def test_the_checksum_follows_the_text_of_every_loop(tmp_path):
    sums = []
    for name, text in [("jit", ""), ("row_loops", "one"), ("row_loops", "two"), ("jit", "x")]:
        (tmp_path / f"{name}.py").write_text(text)
        sums.append(jit.checksum(tmp_path))
    assert len(set(sums)) == 4
