import pytest

from softmine import Box, SoftmineError
from softmine.study.matrix import CompareSettings, Entry, entries, missing, sized


def pairs(*samplers, batch_sizes=(64,)):
    settings = CompareSettings(samplers=samplers, batch_sizes=batch_sizes)
    settings.check()
    return [(entry.sampler, entry.batch_size) for entry in entries(settings)]


def test_a_sampler_with_its_own_batch_size_runs_at_that_alone():
    assert pairs("uniform", "langevin:alpha=0.8@512", batch_sizes=(64, 128)) == [
        ("uniform", 64),
        ("langevin:alpha=0.8", 512),
        ("uniform", 128),
    ]
    assert pairs("uniform@8", "uniform@16") == [("uniform", 8), ("uniform", 16)]


def test_auto_runs_at_a_size_that_suits_the_picture_unless_told():
    settings = CompareSettings(samplers=("uniform", "auto", "auto:power=1.0@64"), batch_sizes=(8, 16))
    fitting = sized(settings, Box((512, 768)))
    assert fitting.samplers == ("uniform", "auto@8192", "auto:power=1.0@64")
    named = [(entry.sampler, entry.batch_size) for entry in entries(fitting)]
    assert named == [("uniform", 8), ("auto", 8192), ("auto:power=1.0", 64), ("uniform", 16)]
    assert sized(fitting, Box((512, 768))) == fitting
    assert sized(settings, Box((3, 3))).samplers[1] == "auto@1024"
    assert sized(settings, Box((100_000, 100_000))).samplers[1] == "auto@32768"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("uniform", "uniform@64"), "uniform at batch size 64 twice"),
        (("uniform@", "langevin"), "a batch size follows the @"),
        (("uniform@-4",), "a batch size follows the @"),
        (("uniform@0",), "batch size 0 is out of range"),
        (("unifrom@64",), "unknown sampler 'unifrom'"),
        (("@64",), "unknown sampler ''"),
    ],
)
def test_what_is_no_batch_size_is_said(words, message):
    with pytest.raises(SoftmineError, match=message):
        pairs(*words)


def test_missing_runs_are_those_that_did_not_end():
    def run(sampler, seed, finished=True, diverged_at=None):
        return {
            "sampler": sampler,
            "seed": seed,
            "batch_size": 64,
            "finished": finished,
            "diverged_at": diverged_at,
        }

    found = [Entry(name, 64) for name in ("a", "b", "c", "d")]
    runs = [run("a", 0), run("b", 0, finished=False), run("c", 0, False, diverged_at=3), run("d", 1)]
    assert [entry.sampler for entry in missing(found, 0, runs)] == ["b", "d"]
    assert [entry.sampler for entry in missing(found, 1, runs)] == ["a", "b", "c"]
