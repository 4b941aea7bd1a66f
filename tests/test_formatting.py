"""Numbers as plain text."""

import math

import pytest

from softmine import formatting


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (formatting.count(5000), "5,000"),
        (formatting.count(None), "-"),
        (formatting.compact(12_599_920), "12.6 M"),
        (formatting.fixed(-0.001, 2), "0.00"),
        (formatting.fixed(math.inf, 2), "inf"),
        (formatting.signed(-0.001), "+0.00"),
        (formatting.signed(-0.4), "-0.40"),
        (formatting.decibels(31.9), "31.90 dB"),
        (formatting.level(31.57, 0.1), "31.57 \u00b1 0.10"),
        (formatting.level(31.57, None), "31.57"),
        (formatting.level(None, None, "diverged"), "diverged"),
        (formatting.percent(0.42), "42%"),
        (formatting.percent(-0.001, sign=True), "+0%"),
        (formatting.speedup(2.6), "2.60x"),
        (formatting.speedup(None), "never"),
        (formatting.duration(0.25), "250 ms"),
        (formatting.duration(725), "12 min 5 s"),
        (formatting.duration(math.inf), "forever"),
        (formatting.clock(42.4), "42 s"),
        (formatting.clock(200), "3:20"),
        (formatting.clock(3900), "1:05:00"),
        (formatting.clock(math.inf), "forever"),
        (formatting.budget(60.0, None), "60 s"),
        (formatting.budget(None, 5000), "5,000 steps"),
        (formatting.several(1, "seed"), "1 seed"),
        (formatting.several(3, "entry", "entries"), "3 entries"),
    ],
)
def test_numbers_are_written(written, expected):
    assert written == expected
