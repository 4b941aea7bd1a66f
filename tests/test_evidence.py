"""The tables of docs/evidence.md are those of the files."""

import importlib
import json
import re
import statistics
import sys
from pathlib import Path

import pytest

from softmine.study.results import Comparison
from softmine.study.summary import baseline

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


@pytest.fixture
def evidence(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield importlib.import_module("evidence")
    for name in ("evidence", "table"):
        sys.modules.pop(name, None)


def comparison():
    """A comparison of uniform and langevin, one seed."""
    data = json.loads((RESULTS / "compare-kodim19.json").read_text())
    for name in ("runs", "summary"):
        data[name] = [item for item in data[name] if item["sampler"] in ("uniform", "langevin")]
    return data


def page():
    return (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")


def test_the_page_has_the_tables_that_the_files_give(evidence):
    for name in evidence.SECTIONS:
        assert evidence.section(name, RESULTS) in page()
    assert evidence.filled(page(), RESULTS) == page()


def test_the_page_links_to_files_that_exist():
    for link in re.findall(r"\]\(([^)#]+)\)", page()):
        if not link.startswith("http"):
            assert (ROOT / "docs" / link).exists(), link


def test_a_section_without_a_file_says_so(evidence, tmp_path):
    for name in evidence.SECTIONS:
        assert f"there is no `benchmarks/results/{name}-*.json`" in evidence.section(name, tmp_path)


def test_every_section_can_show_a_comparison(evidence, tmp_path):
    text = page()
    for name in [name for name, make in evidence.SECTIONS.items() if make not in evidence.TOGETHER]:
        (tmp_path / f"{name}-kodim19.json").write_text(json.dumps(comparison()))
        shown = evidence.section(name, tmp_path)
        assert "No result yet" not in shown
        parts = (part.strip().splitlines() for part in shown.split("\n\n"))
        tables = [[line for line in part if line.startswith("|")] for part in parts]
        assert any(tables)
        for rows in filter(None, tables):
            assert len({line.count("|") for line in rows}) == 1
            assert len(rows) == 4
        assert shown in evidence.filled(text, tmp_path)


def test_photos_share_a_table_that_ends_in_their_mean(evidence, tmp_path):
    data = comparison()
    for run in data["runs"] + data["summary"]:
        run["sampler"] = run["sampler"].replace("langevin", "auto")
    for number in (1, 2):
        data["signal"]["name"] = f"kodim{number:02}.png"
        (tmp_path / f"kodak-{number}.json").write_text(json.dumps(data))
        rows = [line for line in evidence.section("kodak", tmp_path).splitlines() if line.startswith("|")]
        assert len(rows) == 3 + number
    gain = data["summary"][1]["psnr_mean"] - data["summary"][0]["psnr_mean"]
    assert gain < 0, "so that uniform's level was never reached"
    assert rows[3].startswith("| kodim02 | 2,048 |")
    assert f" | {gain:+.2f} | never | -" in rows[3]
    assert f"| mean |  |  |  |  |  | {gain:+.2f} | at most 1.00x | -" in rows[-1]


def test_a_run_without_replacement_stands_beside_the_baseline(evidence, tmp_path):
    data = comparison()
    data["summary"].append({**data["summary"][0], "sampler": "shuffled"})
    for run in data["runs"] + data["summary"]:
        run["sampler"] = run["sampler"].replace("langevin", "auto")
    for run in [run for run in data["runs"] if run["sampler"] == "uniform"]:
        higher = [{**point, "psnr": point["psnr"] + 2} for point in run["curve"]]
        data["runs"].append({**run, "sampler": "shuffled", "curve": higher})
    (tmp_path / "kodak-1.json").write_text(json.dumps(data))
    rows = [line for line in evidence.section("kodak", tmp_path).splitlines() if line.startswith("|")]
    assert rows[2].split(" | ")[3] == "+2.00"
    assert rows[3].startswith("| mean |  |  | +2.00 |  |  | ")


def test_runs_with_a_shorter_budget_have_rows_of_their_own(evidence, tmp_path):
    data = comparison()
    short = [run for run in data["runs"] if run["sampler"] == "langevin"]
    short = [
        {**run, "shorter": 2.0, "curve": [p for p in run["curve"] if p["step"] <= 2500]} for run in short
    ]
    ends = [run["curve"][-1]["psnr"] for run in short]
    data["runs"] += short
    (line,) = (line for line in data["summary"] if line["sampler"] == "langevin")
    data["summary"].append({**line, "shorter": 2.0, "psnr_mean": 99.0})
    # Higher than all, and still no baseline.
    data["summary"].append({**data["summary"][0], "shorter": 2.0, "psnr_mean": 98.0})
    data["runs"] += [{**run, "shorter": 2.0} for run in data["runs"] if run["sampler"] == "uniform"]
    data = Comparison.parse(data)
    assert baseline(data) is data.lines[0]
    shown = list(evidence.standing(data))
    assert [line.split(" | ")[0] for line in shown[2:4]] == ["| langevin/2", "| uniform/2"]
    assert list(evidence.timed(data))[4].split(" | ")[5] == f"{statistics.median(ends):.2f}"
    head, _, *lines = (line.strip("| ").split(" | ") for line in evidence.by_steps(data))
    at, langevin, halved = head.index("2,500"), lines[1], lines[2]
    assert halved[0] == "langevin/2"
    assert halved[at] == langevin[at]
    assert len(langevin) == len(head)
    table = importlib.import_module("table")
    (told,) = (line for line in table.rows(data) if "| langevin/2 |" in line)
    assert told.split(" | ")[5].startswith(f"{statistics.median(ends):.2f} (")


def test_the_mean_speed_up_is_geometric_and_says_where_some_never_came(evidence):
    assert evidence.geometric([1.0, 4.0]) == "2.00x"
    assert evidence.geometric([1.0, 4.0, None]) == "at most 1.59x"


def test_the_headline_is_against_the_tuned_uniform(evidence, tmp_path):
    data = comparison()
    first, other = data["summary"]
    first.update(psnr_mean=30.0)
    data["summary"] = [
        first,
        {**first, "batch_size": 8192, "psnr_mean": 29.0},
        {**other, "psnr_mean": 31.5, "worst_deficit": 0.25, "oracle_share": 0.4},
        {**other, "sampler": "x", "psnr_mean": None},
    ]
    data["tuning"] = {"batch_size": 8192}
    for line in data["summary"]:
        line["baseline_batch_size"] = 8192
    data["complete"] = False
    (tmp_path / "headline-a.json").write_text(json.dumps(data))
    shown = evidence.section("headline", tmp_path)
    assert "**Not finished.**" in shown
    rows = [line.split(" | ") for line in shown.splitlines() if line.startswith("|")][2:]
    assert [row[0] for row in rows] == ["| langevin", "| uniform", "| uniform", "| x"]
    assert [row[3] for row in rows] == ["+2.50", "+1.00", "baseline", ""]
    assert rows[0][6] == "-0.25"
    assert rows[0][8] == "40% |"
    assert rows[3][2] == "diverged"
