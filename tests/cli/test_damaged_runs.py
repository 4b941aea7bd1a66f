"""Runs and comparisons whose files are damaged, or made to harm: one sentence, and nothing changes."""

import json
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image as Pillow
from safetensors import safe_open
from safetensors.torch import save_file

from softmine.cli.main import main

TINY = ["--log2-table-size", "4", "--batch-size", "64", "--steps", "2", "--evaluations", "1"]
NASTY = "a\n<script>alert(1)</script>\x1b[2J'\"><img src=x onerror=alert(1)>.png"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run and a comparison on a small image."""
    folder = tmp_path_factory.mktemp("runs")
    pixels = np.random.default_rng(0).integers(0, 255, (8, 10, 3), dtype=np.uint8)
    Pillow.fromarray(pixels).save(folder / "picture.png")
    picture = str(folder / "picture.png")
    assert main(["fit", "image", picture, "--out", str(folder / "run"), *TINY]) == 0
    words = [
        "--samplers",
        "uniform",
        "auto",
        "--seeds",
        "1",
        "--batch-sizes",
        "64",
        *TINY[:2],
        "--steps",
        "2",
    ]
    assert main(["compare", "image", picture, "--out", str(folder / "comparison"), *words]) == 0
    return folder


@pytest.fixture
def run(runs, tmp_path):
    """A copy of the run that may be changed."""
    return shutil.copytree(runs / "run", tmp_path / "run")


@pytest.fixture
def comparison(runs, tmp_path):
    """A copy of the comparison that may be changed."""
    return shutil.copytree(runs / "comparison", tmp_path / "comparison")


class Tags(HTMLParser):
    """The names of a page's tags and of all their attributes."""

    def __init__(self):
        super().__init__()
        self.names, self.attributes = [], []

    def handle_starttag(self, tag, attributes):
        self.names.append(tag)
        self.attributes += [name for name, _ in attributes]


def change(path, edit):
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def change_header(path, edit):
    """Changes what a checkpoint says of its training, in its metadata."""
    with safe_open(path, framework="pt") as file:
        said = json.loads(file.metadata()["softmine"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    edit(said, tensors)
    save_file(tensors, path, metadata={"softmine": json.dumps(said)})


def refused(capsys, *words):
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("softmine: ")
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize("value", [3, ["512"], 0.5, {}])
def test_options_of_another_type_are_refused(run, comparison, capsys, value):
    for folder, file, words in (
        (run, "config.json", ["fit", "image"]),
        (comparison, "results.json", ["compare", "image"]),
    ):
        change(folder / file, lambda content: content["options"].update(crop=value))
        assert "is damaged: its option 'crop' is " in refused(capsys, *words, "--resume", folder)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda said, tensors: said.update(optimizer=1.5), "its optimizer has other parameters"),
        (lambda said, tensors: said.update(optimizer=[7]), "its optimizer has other parameters"),
        (lambda said, tensors: said["optimizer"][0].update(params=[9]), "its optimizer has other parameters"),
        (lambda said, tensors: said["optimizer"][0].update(lr="x"), "its optimizer's 'lr' is x"),
        (lambda said, tensors: said["optimizer"][0].update(lr=float("nan")), "its optimizer's 'lr' is nan"),
        (lambda said, tensors: said["optimizer"][0].update(betas=[0.9]), "its optimizer's 'betas' is [0.9]"),
        (lambda said, tensors: said.update(step=None), "its 'step' is None"),
        (lambda said, tensors: said.update(step=-4), "its 'step' is -4"),
        (lambda said, tensors: said.update(seconds="3"), "its 'seconds' is 3"),
        (lambda said, tensors: said.pop("seconds"), "seconds"),
        (lambda said, tensors: said.clear(), "schema None"),
        (lambda said, tensors: tensors.pop("random.cpu"), "cpu"),
    ],
)
def test_checkpoint_that_says_something_else_is_refused(run, capsys, edit, message):
    newest = sorted((run / "checkpoints").iterdir())[-1]
    change_header(newest, edit)
    said = refused(capsys, "fit", "image", "--resume", run, "--steps", "3")
    assert message in said
    assert f"the checkpoint {newest}" in said


def test_names_in_reports_are_text(run, comparison, capsys):
    def rename(value):
        if isinstance(value, dict):
            return {key: rename(item) for key, item in value.items()}
        if isinstance(value, list):
            return [rename(item) for item in value]
        return NASTY if isinstance(value, str) else value

    for file in ("config.json", "status.json"):
        change(run / file, lambda content: content.update(rename({**content, "state": ""}), schema=1))
    change(comparison / "results.json", lambda content: content.update(rename(content), schema=1))
    assert main(["report", str(run), str(comparison)]) == 0
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out + printed.err
    for folder in (run, comparison):
        page = (folder / "report.html").read_text("utf-8")
        assert "&lt;script&gt;alert(1)" in page
        tags = Tags()
        tags.feed(page)
        assert tags.names.count("script") == 1  # the page's own
        assert not [name for name in tags.attributes if name.startswith("on")]


def test_names_of_files_tell_the_terminal_nothing(tmp_path, capsys):
    folder = tmp_path / "a\x1b[2Jb\nc"
    folder.mkdir()
    said = refused(capsys, "fit", "image", folder / "no.png")
    assert "\\x1b[2Jb c" in said
    assert "\x1b" not in said


def test_images_of_reports_stay_in_their_folder(comparison, tmp_path):
    Pillow.new("RGB", (400, 400), (1, 2, 3)).save(tmp_path / "secret.png")

    def edit(content):
        content["runs"][0]["images"] = {
            "reconstruction": "../secret.png",
            "error": "\ud800",
            "samples": ["/etc/passwd"],
        }

    change(comparison / "results.json", edit)
    before = {path.name for path in tmp_path.iterdir()}
    assert main(["report", str(comparison)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == before


def test_report_of_runs_without_an_evaluation(comparison):
    def edit(content):
        for each in content["runs"]:
            each["curve"] = []

    change(comparison / "results.json", edit)
    assert main(["report", str(comparison)]) == 0


@pytest.mark.parametrize("value", [None, "softmine fit", {}])
def test_what_resumed_a_run_must_be_a_list(run, capsys, value):
    change(run / "config.json", lambda content: content.update(resumed=value))
    before = (run / "config.json").read_bytes()
    assert "is damaged: 'resumed' is " in refused(capsys, "fit", "image", "--resume", run, "--steps", "3")
    assert (run / "config.json").read_bytes() == before
