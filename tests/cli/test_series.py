"""``softmine study noise`` and ``softmine study sizes`` as people run them."""

import json

import numpy as np
import pytest

from scene_files import write_blender
from softmine.cli.main import main
from softmine.runs.interrupt import INTERRUPTED

TINY = ["--steps", "4", "--evaluations", "2", "--log2-table-size", "8", "--batch-sizes", "16", "--seeds", "1"]
THREE = ["--samplers", "uniform", "shuffled", "auto@16"]


def study_of(folder):
    return json.loads((folder / "study.json").read_text())


def results_of(folder):
    return json.loads((folder / "results.json").read_text())


def one_line(capsys):
    printed = capsys.readouterr()
    assert printed.err.startswith("softmine: ")
    assert printed.err.count("\n") == 1
    return printed.err


def test_noise_compares_samplers_on_every_corruption(picture, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["study", "noise", str(picture), "--out", str(out), *TINY, *THREE]) == 0
    found = study_of(out)
    names = ["clean", "outliers=0.01", "outliers=0.05", "gaussian=0.05", "jpeg=30"]
    assert [part["name"] for part in found["parts"]] == names
    assert [(line["part"], line["sampler"]) for line in found["lines"]] == [
        (name, sampler) for name in names for sampler in ("uniform", "shuffled", "auto")
    ]
    assert found["complete"]
    assert (out / "table.md").read_text() in capsys.readouterr().out
    for name in names:
        part = results_of(out / name.replace("=", "-"))
        assert part["options"]["corrupt"] == (None if name == "clean" else name)
        assert part["signal"].get("corruption", {}).get("name") == (
            None if name == "clean" else name.split("=")[0]
        )
        assert ("clean signal" in part["measured"]) == (name != "clean")
        assert (out / name.replace("=", "-") / "report.html").exists()
    page = (out / "jpeg-30" / "report.html").read_text()
    assert "corrupted: JPEG at quality 30" in page


def test_a_study_resumes_and_grows(picture, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["study", "noise", str(picture), "--out", str(out), *TINY, "--samplers", "uniform"]
    assert main([*words, "--corrupt", "clean", "outliers=0.1,seed=3"]) == 0
    before = study_of(out)
    again = ["study", "noise", "--resume", str(out)]
    assert main([*again, "--seeds", "2", "--samplers", "shuffled", "--corrupt", "gaussian=0.1"]) == 0
    found = study_of(out)
    assert [part["name"] for part in found["parts"]] == ["clean", "outliers=0.1,seed=3", "gaussian=0.1"]
    assert {(line["sampler"], tuple(line["seeds"])) for line in found["lines"]} == {
        ("uniform", (0, 1)),
        ("shuffled", (0, 1)),
    }
    assert len(found["lines"]) == 6
    assert found["resumed"][0].startswith("softmine study noise --resume")
    old, new = before["lines"][0]["moments"][0], found["lines"][0]["moments"][0]
    assert old["low"] in (new["low"], new["high"])
    capsys.readouterr()
    assert main([*again, "--field", "siren"]) == 2
    assert "--field hashgrid" in one_line(capsys)
    assert main(["study", "sizes", "--resume", str(out)]) == 2
    assert "resume it with softmine study noise" in one_line(capsys)


def test_a_study_without_batch_sizes_has_those_of_auto_and_keeps_them(tmp_path):
    np.save(tmp_path / "image.npy", np.random.default_rng(0).random((200, 200)).astype(np.float32))
    out, words = (
        tmp_path / "out",
        ["--steps", "2", "--evaluations", "1", "--log2-table-size", "8", "--seeds", "1"],
    )
    start = [
        "study",
        "sizes",
        str(tmp_path / "image.npy"),
        "--out",
        str(out),
        "--sizes",
        "100",
        "192x200",
        *words,
    ]
    assert main(start) == 0
    sizes = {line["part"]: line["batch_size"] for line in study_of(out)["lines"]}
    assert sizes == {"100x100": 1024, "192x200": 2048}
    assert main(["study", "sizes", "--resume", str(out), "--seeds", "2", "--sizes", "150"]) == 0
    found = study_of(out)
    assert {line["part"] for line in found["lines"]} == {"100x100", "192x200", "150x150"}
    assert all(line["seeds"] == [0, 1] for line in found["lines"])


def test_the_parts_of_a_study_of_sizes_are_crops(picture, tmp_path, capsys):
    out = tmp_path / "out"
    assert (
        main(["study", "sizes", str(picture), "--out", str(out), "--sizes", "8", "10x20", *TINY, *THREE]) == 0
    )
    assert results_of(out / "8x8")["signal"]["shape"] == [8, 8, 3]
    assert results_of(out / "10x20")["signal"]["shape"] == [10, 20, 3]
    assert "over shuffled" in capsys.readouterr().out


def test_an_interrupted_study_goes_on(picture, tmp_path, capsys, monkeypatch):
    import softmine.cli.series as series

    out, compare, calls = tmp_path / "out", series.compare, []

    def once(*args):
        calls.append(args[0].name)
        return compare(*args[:5], lambda: len(calls) > 1)

    monkeypatch.setattr(series, "compare", once)
    words = ["--corrupt", "clean", "jpeg=30", *TINY, "--samplers", "uniform"]
    assert main(["study", "noise", str(picture), "--out", str(out), *words]) == INTERRUPTED
    assert f"continue with softmine study noise --resume {out}" in capsys.readouterr().err
    assert not study_of(out)["complete"]
    monkeypatch.setattr(series, "compare", compare)
    assert main(["study", "noise", "--resume", str(out)]) == 0
    assert study_of(out)["complete"]
    assert [line["part"] for line in study_of(out)["lines"]] == ["clean", "jpeg=30"]


def test_noise_finds_the_kind_of_a_file(tmp_path):
    import soundfile

    soundfile.write(tmp_path / "clip.wav", np.random.default_rng(0).normal(0, 0.1, 2000), 8000)
    scene = write_blender(tmp_path / "scene")
    np.save(tmp_path / "scan.npy", np.random.default_rng(0).random((6, 7, 8)))
    for words, kind, corrupt in (
        ([str(tmp_path / "clip.wav")], "audio", "gaussian=0.05"),
        (["volume", str(tmp_path / "scan.npy")], "volume", "outliers=0.05"),
        ([str(scene)], "nerf", "patches=0.3"),
    ):
        out = tmp_path / kind
        tiny = [*TINY, "--samplers", "uniform", "shuffled"]
        assert main(["study", "noise", *words, "--corrupt", corrupt, "--out", str(out), *tiny]) == 0
        assert study_of(out)["task"] == kind
        assert len(study_of(out)["lines"]) == 2


def test_a_corrupted_run_goes_on_with_the_same_data(picture, tmp_path, capsys):
    out = tmp_path / "run"
    tiny = ["--sampler", "uniform", "--log2-table-size", "8", "--batch-size", "16", "--evaluations", "1"]
    words = ["--corrupt", "outliers=0.2", "--crop", "12x16"]
    assert main(["fit", "image", str(picture), *words, "--out", str(out), "--steps", "2", *tiny]) == 0
    before = json.loads((out / "config.json").read_text())
    assert before["options"] == {
        "full_tiff": False,
        "nodata": None,
        "crop": "12x16",
        "corrupt": "outliers=0.2",
    }
    assert before["signal"]["corruption"]["amount"] == 0.2
    assert "20% of the cells" in (out / "report.html").read_text()
    assert main(["fit", "image", "--resume", str(out), "--steps", "3"]) == 0
    capsys.readouterr()
    assert main(["fit", "image", "--resume", str(out), "--steps", "4", "--corrupt", "outliers=0.3"]) == 2
    assert "keeps its --corrupt outliers=0.2" in one_line(capsys)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["noise", "PICTURE", "--corrupt", "patches=0.1"],
            "patches cannot be done to this kind of signal (image)",
        ),
        (
            ["noise", "PICTURE", "--corrupt", "outliers=2"],
            "--corrupt is outliers=2: give a share from 0 to 1",
        ),
        (["noise", "PICTURE", "--corrupt", "jpeg=96"], "give a quality from 1 to 95"),
        (["noise", "PICTURE", "--corrupt", "blur=1"], "there is no corruption 'blur'"),
        (["noise", "volume", "none.npy", "--corrupt", "jpeg=30"], "choose outliers=0.01 or gaussian=0.05"),
        (["noise", "video", "clip.mp4"], "not a video"),
        (["noise", "missing.png"], "missing.png"),
        (["noise", "PICTURE", "--samplers", "unifrom"], "uniform"),
        (["noise", "--resume", "nowhere"], "there is no study at nowhere"),
        (["sizes", "PICTURE"], "only 20 rows and 24 columns"),
        (["sizes", "PICTURE", "--sizes", "8", "25"], "--sizes names 25"),
        (["sizes", "PICTURE", "--sizes", "8x"], "--sizes is 8x: give a side in pixels"),
        (["sizes", "PICTURE", "--crop", "8"], "unknown flag '--crop'"),
    ],
)
def test_bad_input_is_a_sentence_and_leaves_nothing(words, message, picture, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    given = [str(picture) if word == "PICTURE" else word for word in words]
    more = [] if "--resume" in words else ["--out", str(tmp_path / "out")]
    assert main(["study", *given, *more]) == 2
    assert message in one_line(capsys)
    assert sorted(tmp_path.iterdir()) == before


def test_bad_options_of_fit_and_compare_are_sentences(picture, capsys):
    assert main(["fit", "image", str(picture), "--corrupt", "patches=0.1", "--steps", "1"]) == 2
    assert "patches cannot be done" in one_line(capsys)
    assert main(["compare", "image", str(picture), "--crop", "21"]) == 2
    assert "--crop is 21, but picture has only 20 rows" in one_line(capsys)


@pytest.mark.parametrize("name", ["noise", "sizes"])
def test_the_help_names_the_flags_of_a_study(name, capsys):
    with pytest.raises(SystemExit):
        main(["study", name, "--help"])
    shown = capsys.readouterr().out
    assert ("--corrupt" if name == "noise" else "--sizes") in shown
    assert "--resume" in shown
