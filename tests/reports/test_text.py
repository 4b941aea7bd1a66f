"""The words of a page."""

from __future__ import annotations

import math

import pytest

from softmine.reports import text


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (text.duration(48.2), "48 s"),
        (text.duration(0.25), "250 ms"),
        (text.duration(725), "12 min 5 s"),
        (text.duration(7260), "2 h 1 min"),
        (text.compact(12_599_920), "12.6 M"),
        (text.compact(999_999), "1 M"),
        (text.speedup(2.6), "2.60 \u00d7"),
        (text.speedup(None), "never"),
        (text.percent(0.25, sign=True), "+25%"),
        (text.fixed(math.inf, 2), "\u221e"),
        (text.fixed(-math.inf, 2), "\u2212\u221e"),
        (text.significant(2133.0), "2,130"),
        (text.signed(-0.001), "+0.00"),
        (text.signed(0.4), "+0.40"),
        (text.signed(-0.4), "\u22120.40"),
        (text.decibels(None), text.NOTHING),
        (text.moment("2026-11-22T09:06:00Z"), "22 November 2026, 09:06 UTC"),
        (text.moment("yesterday"), "yesterday"),
        (text.short_names(["edges:a=1,b=2", "edges:b=2"])["edges:a=1,b=2"], "edges a=1"),
    ],
)
def test_words(written: str, expected: str) -> None:
    assert written.replace(text.GLUE, " ") == expected
