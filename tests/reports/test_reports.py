"""Reports: self-contained, escaped, and written from whatever a folder holds."""

from __future__ import annotations

import copy
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from softmine import SoftmineError
from softmine.reports import charts, images, write_compare_report, write_fit_report
from softmine.reports.verdict import Row, verdict
from softmine.reports.verdict import table as rows_of
from softmine.study.results import Comparison

NASTY = "a<script>alert(1)</script>&\"quoted'.png"


class Page(HTMLParser):
    """What a browser would load, and the text a reader sees."""

    VOID = frozenset({"meta", "link", "img", "br", "input"})

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.html = path.read_text(encoding="utf-8")
        self.feed(self.html)
        self.close()
        assert self.open == []
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)


def table(data: dict[str, Any]) -> list[Row]:
    return rows_of(Comparison.parse(data))


def picture(height: int, width: int, channels: int = 3, seed: int = 0) -> Image.Image:
    rough = np.random.default_rng(seed).integers(0, 256, (8, 8, channels), dtype=np.uint8)
    image = Image.fromarray(rough[..., 0] if channels == 1 else rough)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def config(**changes: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "task": "image",
        "created": "2026-11-22T09:06:00+00:00",
        "command": "softmine fit image pluto.jpg",
        "signal": {
            "name": "pluto.jpg",
            "path": "/data/pluto.jpg",
            "shape": [64, 48, 3],
            "dtype": "uint8",
            "fingerprint": "abc",
            "value_range": [0, 255],
        },
        "settings": {
            "sampler": "langevin:alpha=0.8",
            "field": "hashgrid",
            "steps": 400,
            "seconds": None,
            "batch_size": 2048,
            "learning_rate": 0.01,
            "obscure_key": [1, {"deep": None}],
        },
        "seed": 0,
        "device": {"type": "cpu", "name": "AMD EPYC", "threads": 2},
        "versions": {"softmine": "0.1.0"},
        "parameters": 1234567,
        **changes,
    }


def metrics(count: int = 4, subset: bool = False) -> list[dict[str, Any]]:
    return [
        {
            "step": 100 * i,
            "seconds": 2.0 * i,
            "psnr": 20.0 + 3 * math.sqrt(i),
            "ssim": 0.2 * i,
            "loss": 0.1 / i,
            "samples": 204800 * i,
            "evaluated": 1024,
            "subset": subset,
        }
        for i in range(1, count + 1)
    ]


def write_run(run: Path, lines: list[dict[str, Any]] | None = None, **changes: Any) -> Path:
    run.mkdir(exist_ok=True)
    (run / "config.json").write_text(json.dumps(config(**changes)))
    rows = metrics() if lines is None else lines
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run / "status.json").write_text(json.dumps({"state": "finished", "step": 400, "seconds": 8.0}))
    return run


def write_images(run: Path, shape: tuple[int, int], channels: int = 3, **notes: Any) -> None:
    folder = run / "images"
    folder.mkdir()
    picture(*shape, channels).save(folder / "target.png")
    picture(*shape, channels, seed=1).save(folder / "reconstruction.png")
    picture(*shape, 1).save(folder / "error.png")
    for name in ("early", "middle", "late"):
        picture(*shape, 1).save(folder / f"samples_{name}.png")
    (folder / "images.json").write_text(json.dumps(notes))


def one_run(sampler: str, final: float, seed: int = 0, batch: int = 2048) -> dict[str, Any]:
    curve = [
        {"step": 100 * i, "seconds": 2.0 * i, "psnr": final - 6 / i + 1.5 + seed / 100, "ssim": 0.5}
        for i in range(1, 5)
    ]
    return {
        "sampler": sampler,
        "seed": seed,
        "batch_size": batch,
        "steps": 400,
        "train_seconds": 8.0,
        "step_ms_median": 20.0,
        "sampler_ms_median": 0.4,
        "peak_rss_mb": 900,
        "curve": curve,
    }


def results(finals: dict[str, float], seeds: int = 2, **changes: Any) -> dict[str, Any]:
    baseline = finals.get("uniform", math.inf)
    return {
        "schema": 1,
        "task": "image",
        "created": "2026-11-22T09:06:00+00:00",
        "command": "softmine compare image",
        "signal": {"name": "pluto.jpg", "shape": [64, 48, 3]},
        "settings": {"samplers": list(finals), "batch_sizes": [2048], "seconds": 8.0, "steps": None},
        "device": {"type": "cpu", "name": "AMD EPYC", "threads": 2},
        "versions": {"softmine": "0.1.0"},
        "runs": [one_run(name, psnr, seed) for name, psnr in finals.items() for seed in range(seeds)],
        "summary": [
            {
                "sampler": name,
                "batch_size": 2048,
                "psnr_mean": psnr,
                "psnr_std": 0.02 if seeds > 1 else 0.0,
                "speedup_seconds": 2.0 if psnr > baseline else (1.0 if name == "uniform" else None),
                "speedup_steps": 2.5 if psnr > baseline else (1.0 if name == "uniform" else None),
                "overhead": 0.25,
            }
            for name, psnr in finals.items()
        ],
        **changes,
    }


def tuned(finals: dict[str, float], **changes: Any) -> dict[str, Any]:
    """Results with everything that a comparison may add: a search for uniform's batch size, groups, exact sampling."""
    data = results(finals, **changes)
    data["runs"] += [one_run("uniform", 27.0, seed, 8192) for seed in range(2)]
    data["summary"].append({"sampler": "uniform", "batch_size": 8192, "psnr_mean": 27.0, "psnr_std": 0.0})
    for line in data["summary"]:
        line.update(baseline_batch_size=8192, worst_deficit=0.3, oracle_share=0.42)
    for run in data["runs"]:
        run["race"] = 1 + run["seed"]
    searched = [{"race": 1, "batch_size": size, "steps": 40, "psnr": 20.0} for size in (2048, 8192)]
    data["tuning"] = {"batch_size": 8192, "steps": None, "seconds": 1.5, "runs": searched}
    return data


def write_comparison(folder: Path, data: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "results.json").write_text(json.dumps(data))
    return folder


def fit(run: Path) -> Page:
    return Page(write_fit_report(run))


def compare(folder: Path, finals: dict[str, float], **more: Any) -> Page:
    return Page(write_compare_report(write_comparison(folder, results(finals, **more))))


def assert_self_contained(page: Page) -> None:
    assert all(link.startswith("data:") for link in page.links)
    assert not {"iframe", "object", "embed", "base"} & set(page.tags)
    assert not re.search(r"url\((?!#)", page.html)
    assert "@import" not in page.html
    assert not re.search(r"https?://", page.html)


def test_fit_report_says_the_result_and_needs_no_other_file(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    write_images(run, (64, 48), error_scale=0.2, reconstruction_note="every pixel")
    page = fit(run)
    assert_self_contained(page)
    assert page.tags.count("img") == 6
    for words in (
        "26.0 dB after 400 steps, 8 s of training",
        "langevin (alpha=0.8)",
        "hash grid",
        "AMD EPYC (CPU, 2 threads)",
        "20% of the value range, or more (51 in a range of 0 to 255)",
        "The clock counts training only",
        "Obscure key",
        "softmine fit image pluto.jpg",
    ):
        assert words in page.text
    assert "interrupted" not in page.text


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("interrupted", "This run was interrupted at step 250, after 5 s of training."),
        ("stopped-nan", "no longer a number (NaN)"),
        ("running", "was not finished"),
        (None, "left no record of how it ended"),
    ],
)
def test_fit_report_says_how_the_run_ended(tmp_path: Path, state: str | None, words: str) -> None:
    run = write_run(tmp_path / "run", metrics(1))
    if state is None:
        (run / "status.json").unlink()
    else:
        status = {"state": state, "step": 250, "seconds": 5.0, "message": "see <here>"}
        (run / "status.json").write_text(json.dumps(status))
    page = fit(run)
    assert words in page.text
    assert "too few evaluations for a curve" in page.text
    told = f"Continue with --resume {run}" if state == "interrupted" else "See <here>"
    assert state is None or told in page.text


def test_fit_report_says_when_figures_are_of_a_subset(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", metrics(subset=True))
    assert "fixed subset of 1,024 pixels, 33% of all, not on all pixels" in fit(run).text
    status = {"state": "finished", "step": 400, "seconds": 8.0, "psnr_in_all": 25.5}
    (run / "status.json").write_text(json.dumps(status))
    page = fit(run)
    assert "25.5 dB after 400 steps" in page.text
    assert "during training it was measured on a fixed subset" in page.text


def test_fit_report_survives_damaged_files(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 500, "seconds": 10, "psnr": null}\n{"step": 600}\nnonsense\n[1]\n')
        file.write('{"step": 700, "seconds": 14, "psnr": NaN, "ssim": "x"}\n{"step": 800, "se')
    (run / "status.json").write_text("{")
    (run / "images").mkdir()
    (run / "images" / "images.json").write_text("[]")
    (run / "images" / "target.png").write_bytes(b"not a picture")
    page = fit(run)
    assert "26.0 dB after 400 steps" in page.text
    assert "img" not in page.tags


def test_fit_report_of_an_empty_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert "No quality was measured" in fit(tmp_path).text


def test_names_are_escaped(tmp_path: Path) -> None:
    signal = {**config()["signal"], "name": NASTY, "path": NASTY, "fingerprint": NASTY}
    run = write_run(tmp_path / "run", signal=signal, command=NASTY, versions={NASTY: NASTY})
    (run / "images").mkdir()
    (run / "images" / "images.json").write_text(json.dumps({"reconstruction_note": NASTY}))
    picture(8, 8).save(run / "images" / "target.png")
    page = fit(run)
    assert page.tags.count("script") == 1
    assert NASTY in page.text
    data = results({"uniform": 25.0, NASTY: 26.0}, command=NASTY)
    page = Page(write_compare_report(write_comparison(tmp_path / "compare", data)))
    assert page.tags.count("script") == 1


def test_a_detail_is_shown_only_at_full_size(tmp_path: Path) -> None:
    signal = {**config()["signal"], "shape": [640, 700, 1]}
    run = write_run(tmp_path / "run", signal=signal)
    write_images(run, (640, 700), 1)
    damaged = np.array(Image.open(run / "images" / "target.png"))
    damaged[320:576, 384:640] ^= 128
    Image.fromarray(damaged).save(run / "images" / "reconstruction.png")
    assert "pixels at row 320, column 384, at full size" in fit(run).text
    write_run(run, signal={**signal, "shape": [1280, 1400, 1]})
    assert "at full size" not in fit(run).text


@pytest.mark.parametrize(("shape", "channels"), [((24, 16), 3), ((40, 400), 2), ((1, 1), 4), ((9, 7), 1)])
def test_pictures_of_any_shape(tmp_path: Path, shape: tuple[int, int], channels: int) -> None:
    run = write_run(tmp_path / "run")
    write_images(run, shape, channels)
    page = fit(run)
    assert page.tags.count("img") == 6
    assert ('class="frame see-through"' in page.html) == (channels in (2, 4))


def test_large_pictures_are_reduced_and_do_not_trip_the_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1500, 900, 3), np.uint8))
    image.save(tmp_path / "noise.png")
    opened = images.open_image(tmp_path / "noise.png")
    assert opened is not None
    assert Image.MAX_IMAGE_PIXELS == 1000
    embedded = images.embed(opened, 1200, limit=100_000)
    assert max(embedded.width, embedded.height) <= 1200
    assert len(embedded.uri) < 140_000


def test_sixteen_bit_pictures_are_opened(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 257, 65535]], np.uint16)).save(tmp_path / "deep.png")
    opened = images.open_image(tmp_path / "deep.png")
    assert opened is not None
    assert np.asarray(opened).tolist() == [[0, 1, 255]]


@pytest.mark.parametrize("write", [write_fit_report, write_compare_report])
def test_missing_and_damaged_inputs_are_named(tmp_path: Path, write: Any) -> None:
    name = "config.json" if write is write_fit_report else "results.json"
    with pytest.raises(SoftmineError, match="there is no folder"):
        write(tmp_path / "nowhere")
    with pytest.raises(SoftmineError, match=f"holds no {name}"):
        write(tmp_path)
    (tmp_path / name).write_text('{"schema": 1,\n  broken')
    with pytest.raises(SoftmineError, match=r"not valid JSON \(line 2, column 3\)"):
        write(tmp_path)
    (tmp_path / name).write_text("[]")
    with pytest.raises(SoftmineError, match="should hold a JSON object"):
        write(tmp_path)
    (tmp_path / name).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SoftmineError, match="cannot be read"):
        write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_failed_write_leaves_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "run")
    before = write_fit_report(run).read_bytes()
    files = sorted(path.name for path in run.iterdir())

    def fail(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(SoftmineError, match="No space left on device"):
        write_fit_report(run)
    assert (run / "report.html").read_bytes() == before
    assert sorted(path.name for path in run.iterdir()) == files


def test_names_that_utf8_cannot_hold(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", signal={**config()["signal"], "name": "caf\udce9.png"})
    assert "caf?.png" in fit(run).text


def test_winner_and_time(tmp_path: Path) -> None:
    page = compare(tmp_path / "c", {"uniform": 26.5, "langevin": 27.7})
    assert_self_contained(page)
    assert "langevin reaches uniform\u2019s final 26.5 dB in 0.50 of the time" in page.text
    assert "It ends 1.20 dB higher: 27.70 against 26.50 dB after 8 s of training each." in page.text
    assert page.html.count('<tr class="first">') == 1
    assert "+25%" in page.text


def test_equal_steps_are_named_with_their_overhead(tmp_path: Path) -> None:
    settings = {"seconds": None, "steps": 400}
    page = compare(tmp_path / "c", {"uniform": 26.5, "langevin": 27.7}, settings=settings)
    assert "in 0.40 of the steps" in page.text
    assert "Its steps take +25% time." in page.text


@pytest.mark.parametrize(
    ("finals", "words"),
    [
        (
            {"uniform": 26.5, "edges": 26.0},
            "No sampler beats uniform: the next, edges, ends lower by 0.50 dB",
        ),
        ({"uniform": 26.5, "edges": 26.52}, "No clear winner: edges and uniform end within 0.05 dB"),
        ({"uniform": 26.5}, "uniform ends at 26.5 dB"),
        ({"edges": 26.0}, "There is no result of uniform sampling"),
        ({}, "No run of this comparison was evaluated"),
    ],
)
def test_headlines_are_honest(tmp_path: Path, finals: dict[str, float], words: str) -> None:
    assert words in compare(tmp_path / "c", finals).text


def test_a_gain_within_the_spread_is_a_tie() -> None:
    data = results({"uniform": 26.5, "edges": 26.8})
    for line in data["summary"]:
        line["psnr_std"] = 0.3
    assert not verdict(table(data), 8.0, None).clear


def test_one_seed_is_named_as_a_doubt(tmp_path: Path) -> None:
    page = compare(tmp_path / "c", {"uniform": 26.5, "langevin": 27.7}, seeds=1)
    assert "how much of this is chance is not known" in page.text
    assert "\u00b1" not in page.text
    assert 'class="band"' not in page.html


def test_seeds_that_do_not_count_are_in_no_figure(tmp_path: Path) -> None:
    data = results({"uniform": 26.5, "langevin": 27.7}, complete=False)
    for run in data["runs"]:
        run["race"] = 1 + run["seed"]
        if run["seed"] == 1:
            run["curve"] = run["curve"][:1]
    for line in data["summary"]:
        line.update(seeds=[0], psnr_std=0.0)
    page = Page(write_compare_report(write_comparison(tmp_path / "c", data)))
    assert "2 samplers, 1 seed each" in page.text
    assert "how much of this is chance is not known" in page.text
    assert "\u00b1" not in page.text
    assert 'class="band"' not in page.html
    assert "was added to" not in page.text
    assert "4 runs" in page.text
    # Files of before lines had their seeds.
    for line in data["summary"]:
        del line["seeds"]
    page = Page(write_compare_report(write_comparison(tmp_path / "c", data)))
    assert "2 samplers, 2 seeds each" in page.text


@pytest.mark.parametrize(
    ("settings", "had", "words"),
    [
        ({"seconds": 8.0, "steps": None}, {}, "after 8 s of training each"),
        ({"seconds": None, "steps": 400}, {}, "after 400 steps each"),
        ({"seconds": 60.0, "steps": 400}, {}, "after 400 steps each"),
        ({"seconds": 8.0, "steps": 10**6}, {}, "after 8 s of training each"),
        ({"seconds": 60.0, "steps": None}, {}, "after 8 s of training each"),
        ({"seconds": None, "steps": 400}, {"steps": 4}, "after 4 steps each"),
        ({"seconds": None, "steps": 400}, {"steps": 1}, "after 1 step each"),
        ({"seconds": None, "steps": 1}, {"steps": 1}, "after 1 step each"),
        ({"seconds": 60.0, "steps": 10**6}, {}, "after 8 s of training each"),
    ],
)
def test_what_runs_had_is_told_not_what_they_might_have_had(
    tmp_path: Path, settings: dict[str, Any], had: dict[str, Any], words: str
) -> None:
    data = results({"uniform": 26.5, "langevin": 27.7}, settings=settings)
    for run in data["runs"]:
        run.update(had)
    page = Page(write_compare_report(write_comparison(tmp_path / "c", data)))
    assert words in page.text.replace("\u00a0", " ")
    if None not in settings.values():
        assert "was given at most" in page.text


def test_of_a_tuned_uniform_with_fewer_steps_the_others_steps_are_told() -> None:
    data = results({"uniform": 26.5, "langevin": 27.7})
    for run in data["runs"]:
        run["steps"] = 300 if run["sampler"] == "uniform" else 400
    assert "after 400 steps each" in verdict(table(data), None, 400.0).rest


def test_versions_that_changed_when_it_was_resumed_are_shown(tmp_path: Path) -> None:
    again = {"command": "softmine compare image --resume new", "versions": {"softmine": "0.2.0"}}
    page = compare(tmp_path / "c", {"uniform": 26.5}, resumed=["softmine compare image --resume old", again])
    assert "0.1.0, then 0.2.0" in page.text
    for words in ("old", "new"):
        assert words in page.text.split("Reproduce")[1]
    assert "0.2.0" not in page.text.split("Reproduce")[1]
    run = write_run(tmp_path / "run", resumed=[again, again])
    assert "0.1.0, then 0.2.0" in fit(run).text


@pytest.mark.parametrize(
    ("exact", "words"),
    [
        (("uniform", "langevin"), "No clear winner: langevin and uniform end within"),
        (("langevin",), "langevin ends \u221e dB above uniform"),
        (("uniform",), "No sampler beats uniform: the next, langevin, ends lower by \u221e dB"),
    ],
)
def test_an_exact_fit_is_no_missing_figure(tmp_path: Path, exact: tuple[str, ...], words: str) -> None:
    data = results({"uniform": 26.5, "langevin": 27.7})
    for run in data["runs"]:
        if run["sampler"] in exact:
            run["curve"][-1]["psnr"] = None
    for line in data["summary"]:
        line.update(diverged=0, speedup_seconds=None)
        if line["sampler"] in exact:
            line.update(psnr_mean=None, psnr_std=None)
    page = Page(write_compare_report(write_comparison(tmp_path / "c", data)))
    text = page.text.replace("\u00a0", " ")
    assert words in text
    assert "no evaluation" not in text
    assert "nan" not in text.lower()


def test_without_a_baseline_nobody_is_said_to_be_slow(tmp_path: Path) -> None:
    data = results({"uniform": 26.5, "langevin": 27.7})
    for run in data["runs"]:
        run["diverged_at"] = 4 if run["sampler"] == "uniform" else None
    data["summary"][0].update(psnr_mean=None, diverged=2)
    data["summary"][1].update(speedup_seconds=None, speedup_steps=None, baseline_batch_size=None)
    page = Page(write_compare_report(write_comparison(tmp_path / "c", data)))
    assert "never" not in page.text
    assert "1 \u00d7" not in page.text


def test_twelve_samplers_interrupted(tmp_path: Path) -> None:
    finals = {"uniform": 26.5, **{f"sampler-{i}": 26 + i / 5 for i in range(11)}}
    data = results(finals, complete=False)
    for run in data["runs"][:3]:
        run["curve"] = []
    data["runs"][5]["curve"] = [{"step": 1, "seconds": 0.1, "psnr": None}]
    data["runs"][7]["diverged_at"] = 123
    del data["summary"][4:]
    page = Page(write_compare_report(write_comparison(tmp_path / "c", data)))
    assert "This comparison was not finished." in page.text
    # A null is no missing figure: JSON has no infinity for the PSNR of an exact fit.
    assert "3 runs of 24 hold no evaluation" in page.text
    assert "\u221e" in page.text
    assert "diverged at step 123" in page.text


def test_several_batch_sizes_are_compared_with_the_best_uniform() -> None:
    data = results({"uniform": 26.5, "langevin": 26.4})
    data["runs"] += [one_run("uniform", 26.9, seed, 8192) for seed in range(2)]
    data["summary"].append({"sampler": "uniform", "batch_size": 8192, "psnr_mean": 26.9, "psnr_std": 0})
    rows = table(data)
    assert [(row.label, row.baseline) for row in rows] == [
        ("uniform 8,192", True),
        ("uniform 2,048", False),
        ("langevin", False),
    ]
    assert rows[2].gain == pytest.approx(-0.5)


def test_a_tuned_baseline_at_another_batch_size_gives_speedups_from_the_curves() -> None:
    data = results({"langevin": 28.0})
    data["runs"] += [one_run("uniform", 26.0, seed, 8192) for seed in range(2)]
    langevin, uniform = table(data)
    assert uniform.baseline
    assert langevin.speedup_seconds == pytest.approx(8 / 3.5, rel=0.2)
    assert "8,192 samples a step" in verdict([langevin, uniform], 8.0, None).rest


def test_all_are_measured_against_the_tuned_uniform(tmp_path: Path) -> None:
    data = tuned({"uniform": 27.5, "langevin": 27.7})
    rows = table(data)
    # The one that the figures are against, not which uniform happened to end highest.
    assert [(row.label, row.baseline) for row in rows] == [
        ("langevin", False),
        ("uniform 2,048", False),
        ("uniform 8,192", True),
    ]
    assert rows[0].speedup_seconds == 2.0
    assert rows[0].gain == pytest.approx(0.7)
    page = Page(write_compare_report(write_comparison(tmp_path, data)))
    for words in (
        "at its best batch size, 8,192, as a short search found",
        "Minimum margin, dB",
        "\u22120.30",
        "42%",
        "The search for uniform\u2019s batch size",
        "chosen",
    ):
        assert words in page.text
    assert "was added to" not in page.text
    for run in data["runs"][:2]:
        run["race"] += 2
    assert "was added to" in Page(write_compare_report(write_comparison(tmp_path, data))).text


def with_shorter_runs(finals: dict[str, float], shorter: dict[tuple[str, float], float]) -> dict[str, Any]:
    """Results of 8 seconds in which some runs had a budget that many times shorter."""
    data = results(finals, seeds=1)
    for (sampler, times), final in shorter.items():
        run = one_run(sampler, final)
        for point in run["curve"]:
            point["seconds"] /= times
        data["runs"].append({**run, "shorter": times, "train_seconds": 8.0 / times})
        line = {"sampler": sampler, "batch_size": 2048, "shorter": times, "psnr_mean": final, "psnr_std": 0.0}
        data["summary"].append(
            {**line, "speedup_seconds": 4.0 if final > finals.get("uniform", 99) else None}
        )
    return data


def test_shorter_runs_have_rows_of_their_own_and_are_told_with_their_time(tmp_path: Path) -> None:
    data = with_shorter_runs(
        {"uniform": 26.5, "auto": 28.0}, {("auto", 2.5): 27.1, ("uniform", 2.0): 26.0, ("auto", 4.0): 26.52}
    )
    rows = table(data)
    assert [(row.label, row.baseline) for row in rows] == [
        ("auto", False),
        ("auto/2.5", False),
        ("auto/4", False),
        ("uniform", True),
        ("uniform/2", False),
    ]
    assert rows[1].gain == pytest.approx(0.6)
    assert rows[1].by_seconds is not None
    assert rows[1].by_seconds.x[-1] == pytest.approx(3.2)
    result = verdict(rows, 8.0, None)
    assert result.lead == "auto reaches uniform\u2019s final 26.5\u00a0dB in 0.50 of the time"
    assert result.rest.endswith(
        " Runs with a shorter budget end, against uniform with the whole one: auto/2.5 (3.2\u00a0s) 0.60\u00a0dB above, "
        "auto/4 (2\u00a0s) within 0.05\u00a0dB, uniform/2 (4\u00a0s) 0.50\u00a0dB below."
    )
    page = Page(write_compare_report(write_comparison(tmp_path, data)))
    assert_self_contained(page)
    assert "given 3.2 s" in page.text.replace("\u00a0", " ")
    assert "uniform/2 (4 s)" in page.text.replace("\u00a0", " ")
    # A shorter uniform did not reach what the whole one did.
    assert page.html.count("<td>1 \u00d7</td>") == 2
    assert page.html.count('<tr class="first">') == 1


def test_of_two_limits_both_are_told() -> None:
    rows = table(with_shorter_runs({"uniform": 26.5}, {("auto", 2.5): 27.1}))
    lead = verdict(rows, 60.0, 1000.0).lead.replace("\u00a0", " ")
    assert lead.endswith("trained for at most 24 s or 400 steps instead of at most 60 s or 1,000 steps")


def test_where_all_budgets_are_shorter_these_are_the_result() -> None:
    data = with_shorter_runs({}, {("uniform", 2.0): 26.0, ("uniform", 3.0): 25.0})
    found = verdict(table(data), 8.0, None)
    assert found.lead == "uniform/2 ends highest, at 26.0\u00a0dB after 4\u00a0s"


def test_who_loses_with_the_whole_budget_may_have_won_with_less() -> None:
    data = with_shorter_runs({"uniform": 26.5, "auto": 24.0}, {("auto", 2.0): 28.0})
    found = verdict(table(data), 8.0, None)
    assert found.lead.startswith("No sampler with the whole budget beats uniform: the next, auto, ends lower")
    assert "auto/2 (4\u00a0s) 1.50\u00a0dB above" in found.rest


def test_the_baseline_is_the_one_that_the_summary_names() -> None:
    data = tuned({"uniform": 27.5, "langevin": 27.7})
    data["runs"] = [one_run("uniform", 20.0, 0, 16), *data["runs"]]
    assert [row.label for row in table(data) if row.baseline] == ["uniform 8,192"]


def test_the_winner_is_among_equals_even_where_a_shorter_run_ends_higher(tmp_path: Path) -> None:
    data = with_shorter_runs({"uniform": 26.5, "auto": 28.0}, {("auto", 2.0): 28.5})
    assert verdict(table(data), 8.0, None).lead.startswith("auto reaches")
    page = Page(write_compare_report(write_comparison(tmp_path, data)))
    first = page.html.split('<tr class="first">')[1].split("</tr>")[0]
    assert "auto/2" not in first


@pytest.mark.parametrize(
    ("final", "words", "clear"),
    [
        (27.1, "auto/2.5 ends 0.60 dB above uniform, trained for 3.2 s instead of 8 s", True),
        (26.1, "auto/2.5 ends 0.40 dB below uniform, trained for 3.2 s instead of 8 s", False),
        (26.52, "auto/2.5 ends within 0.05 dB of uniform, trained for 3.2 s instead of 8 s", False),
    ],
)
def test_a_shorter_run_alone_is_never_called_worse_without_its_time(
    final: float, words: str, clear: bool
) -> None:
    rows = table(with_shorter_runs({"uniform": 26.5}, {("auto", 2.5): final}))
    result = verdict(rows, 8.0, None)
    assert result.lead.replace("\u00a0", " ") == words
    assert result.clear is clear
    assert ("in 0.25 of the time" in result.rest) == (final > 26.5)


def test_without_the_whole_uniform_there_is_no_gain() -> None:
    rows = table(with_shorter_runs({}, {("uniform", 2.0): 26.0, ("auto", 2.0): 27.0}))
    assert not any(row.baseline for row in rows)
    assert all(row.gain is None for row in rows)
    result = verdict(rows, 8.0, None)
    assert result.lead.replace("\u00a0", " ") == "auto/2 ends highest, at 27.0 dB after 4 s"
    assert "uniform/2 (4\u00a0s) at 26.00\u00a0dB" in result.rest


def test_compare_pictures_side_by_side(tmp_path: Path) -> None:
    data = results({"uniform": 26.5, "langevin": 27.7}, signal={"name": "a", "shape": [620, 640, 1]})
    (tmp_path / "images").mkdir()
    for index, name in enumerate(("uniform", "langevin")):
        stem = f"images/{name}"
        picture(620, 640, 1, seed=index).save(tmp_path / f"{stem}.png")
        data["runs"][2 * index]["images"] = {
            "reconstruction": f"{stem}.png",
            "error": f"{stem}.png",
            "error_scale": 0.1,
            "samples": [f"{stem}.png", "images/missing.png", "../outside.png"],
        }
    page = Page(write_compare_report(write_comparison(tmp_path, data)))
    assert page.tags.count("img") == 2 + 2 + 2 + 2
    assert "10% of the value range" in page.text
    assert "Pixel for pixel, where langevin and uniform differ most" in page.text


def test_pictures_outside_the_folder_are_not_read(tmp_path: Path) -> None:
    picture(8, 8).save(tmp_path / "secret.png")
    run = write_run(tmp_path / "run")
    (run / "images").mkdir()
    samples = [{"file": name} for name in ("../../secret.png", str(tmp_path / "secret.png"), 3, "")]
    (run / "images" / "images.json").write_text(json.dumps({"samples": samples}))
    assert "img" not in fit(run).tags


JUNK: tuple[Any, ...] = (None, "x<y", [], {}, -1, math.nan, 10**400, True, [[]], [None], {"a": []})


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = [path] if path else []
    for key, item in items:
        inner = (*path, key)
        found += leaves(item, inner) if isinstance(item, dict | list) else [inner]
    return found


def replaced(value: Any, path: tuple[Any, ...], junk: Any) -> Any:
    value = copy.deepcopy(value)
    place = value
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = junk
    return value


@pytest.fixture
def charts_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts of the same lines are drawn once, which is most of what hundreds of pages take."""
    drawn: dict[str, str] = {}
    draw = charts._svg

    def once(*words: Any) -> str:
        key = repr(words)
        drawn[key] = drawn.get(key) or draw(*words)
        return drawn[key]

    monkeypatch.setattr(charts, "_svg", once)


@pytest.mark.usefixtures("charts_drawn_once")
def test_no_value_in_any_place_breaks_the_reports(tmp_path: Path) -> None:
    data = tuned({"uniform": 26.5, "langevin": 27.7}, seeds=1)
    for run in data["runs"]:
        del run["curve"][1:3]
    for turn, path in enumerate(leaves(data)):
        folder = write_comparison(tmp_path / "c", replaced(data, path, JUNK[turn % len(JUNK)]))
        write_compare_report(folder)
    for turn, path in enumerate(leaves(config())):
        run = write_run(tmp_path / "run")
        changed = replaced(config(), path, JUNK[turn % len(JUNK)])
        (run / "config.json").write_text(json.dumps(changed))
        write_fit_report(run)
    lines = metrics(2)
    for turn, path in enumerate(leaves(lines)):
        write_fit_report(write_run(tmp_path / "run", replaced(lines, path, JUNK[turn % len(JUNK)])))


def test_colors_are_explained_by_what_the_files_say(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    write_images(
        run, (64, 48), error_scale=0.2, density_range=[0.125, 8], reconstruction_note="reduced to 48 x 64"
    )
    page = fit(run)
    assert "linear-gradient(to right" not in page.html
    assert "Reconstruction: reduced to 48 x 64." in page.text
    notes = json.loads((run / "images" / "images.json").read_text())
    notes.update(color_maps={"error": "magma", "samples": "RdBu_r"}, reduced_to=[48, 64])
    (run / "images" / "images.json").write_text(json.dumps(notes))
    page = fit(run)
    assert page.html.count("linear-gradient(to right") == 2
    for words in ("1/8 of uniform", "8 times uniform", "where it is blue, fewer", "The image is large, so"):
        assert words in page.text
    notes.update(color_maps={"error": "unknown", "samples": "magma"})
    (run / "images" / "images.json").write_text(json.dumps(notes))
    assert "linear-gradient(to right" not in fit(run).html


def test_pixels_without_data_are_in_no_figure(tmp_path: Path) -> None:
    shape = [40, 80, 1]
    signal = {
        **config()["signal"],
        "shape": shape,
        "valid": 800,
        "value_range": [-5.0, 4080.5],
        "notes": ["no data where a value is -9999"],
    }
    run = write_run(tmp_path / "run", signal=signal)
    write_images(run, (40, 80), error_scale=0.2, color_maps={"samples": "RdBu_r"})
    page = fit(run)
    assert "80 \u00d7 40 pixels, 1 channel, 75% of its pixels without data" in page.text
    assert "Samples per pixel 1,020" in page.text
    assert page.text.index("no data where a value is -9999") < page.text.index("Training time")
    table = page.text[page.text.index("Fingerprint") - 400 :]
    assert "Without data 75% of its pixels" in table
    assert "Counts as 0 to 1 \u22125 to 4080.5" in table
    assert page.text.count("Slate gray: no data.") == 2
    data = {**results({"uniform": 25.0}), "signal": signal}
    other = Page(write_compare_report(write_comparison(tmp_path / "comparison", data)))
    assert "Without data 75% of its pixels" in other.text
    assert other.text.index("no data where a value is -9999") < other.text.index("Summary")
