"""Charts: inline SVG for a page, whatever the lines are."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from softmine.reports import charts


def test_labels_keep_apart_and_in_order() -> None:
    placed = charts.place_labels([50.0, 52.0, 51.0, 200.0, 0.0], 17.0, 300.0)
    assert sorted(placed) == [placed[i] for i in (4, 0, 2, 1, 3)]
    assert min(np.diff(sorted(placed))) >= 17.0 - 1e-9
    assert placed[3] == 200.0
    assert np.mean([placed[i] for i in (0, 1, 2)]) == pytest.approx(51.0)
    assert max(charts.place_labels([299.0] * 5, 17.0, 300.0)) <= 300.0


def test_charts_of_little_data() -> None:
    empty = charts.Line("none", [], [])
    assert charts.draw([empty], title="t", note="n", across="x") is None
    one = charts.draw([empty, charts.Line("one", [0.0], [25.0])], title="t", note="n", across="x")
    assert one is not None
    assert one.spoken == "t (n), against x. one ends at 25.0."
    for svg in (one.wide, one.narrow):
        assert "nan" not in svg
        assert svg.count('class="label"') == 1


def test_charts_have_bands_tooltips_and_whole_names() -> None:
    name = "langevin alpha=0.8 prior=edges $x_1$ <&>"
    band = charts.Line(name, [0.0, 1.0], [20.0, 25.0], [19.0, 24.0], [21.0, 26.0], value="25.0")
    dots = charts.Line("dots", [0.0, 0.5], [20.0, 22.0], marks=["first", "last <b>"], hollow=[True, False])
    chart = charts.draw([band, dots], title="t", note="n", across="time")
    assert chart is not None
    assert chart.wide != chart.narrow
    for svg in (chart.wide, chart.narrow):
        root = ElementTree.fromstring(svg)
        assert len(root.findall(".//g[@class='band']")) == 1
        assert [one.findtext("title") for one in root.findall(".//g[@class='mark']")] == ["first", "last <b>"]
        labels = root.findall(".//g[@class='label']")
        assert labels[0].findtext("title") == name
        assert [one.text for one in labels[0].iter("tspan")] == ["25.0"]
        assert "\u2026" in "".join(labels[0].itertext())
        assert "time" in "".join(root.itertext())
        assert not root.findall(".//style")


def test_charts_of_a_page_share_no_identifiers() -> None:
    line = charts.Line("one", [0.0, 1.0], [20.0, 25.0])
    drawn = [charts.draw([line], title=title, note="n", across="x") for title in ("a", "b")]
    svgs = [svg for chart in drawn if chart is not None for svg in (chart.wide, chart.narrow)]
    found = [set(re.findall(r'id="([^"]+)"', svg)) for svg in svgs]
    assert len(found) == 4
    assert len(set.union(*found)) == sum(map(len, found))
