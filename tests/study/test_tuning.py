import itertools
import math

import pytest

from softmine.study.tuning import climb, limits


def search(peak, start, least=512, most=65_536):
    """What climb finds where the score falls with the distance from ``peak`` in factors of 2, and what it measured."""
    races = []

    def measure(sizes):
        races.append(sizes)
        return {size: -abs(math.log2(size / peak)) for size in sizes}

    return climb(measure, start, least, most), races


@pytest.mark.parametrize("peak", [512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536])
@pytest.mark.parametrize("start", [512, 2048, 65_536])
def test_the_peak_is_found_from_anywhere(peak, start):
    assert search(peak, start)[0] == peak


def test_a_peak_beyond_the_limits_gives_the_limit():
    assert search(4, 2048)[0] == 512
    assert search(2**22, 2048)[0] == 65_536
    assert search(2**22, 64, least=64, most=480)[0] == 256


def test_a_new_size_is_never_measured_alone():
    _, races = search(65_536, 512)
    assert all(len(sizes) > 1 for sizes in races)
    for earlier, later in itertools.pairwise(races):
        assert set(earlier) & set(later)


def test_the_search_is_short():
    assert sum(map(len, search(8192, 2048)[1])) <= 8


def test_where_nothing_else_is_allowed_nothing_is_measured():
    assert search(2048, 64, least=64, most=64) == (64, [])


def test_no_more_samples_than_the_picture_has_pixels():
    assert limits(64, 480) == (64, 480)
    assert limits(2048, 2**24) == (512, 65_536)
    assert limits(4096, 480) == (512, 4096)
