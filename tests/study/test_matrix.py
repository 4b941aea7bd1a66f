import pytest

from softmine import Box, SoftmineError
from softmine.study.matrix import CompareSettings, entries, missing, shortened, sized
from softmine.study.results import Entry, RunResult


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
    assert fitting.samplers == ("uniform", "auto@12288", "auto:power=1.0@64")
    named = [(entry.sampler, entry.batch_size) for entry in entries(fitting)]
    assert named == [("uniform", 8), ("auto", 12288), ("auto:power=1.0", 64), ("uniform", 16)]
    assert sized(fitting, Box((512, 768))) == fitting
    assert sized(settings, Box((3, 3))).samplers[1] == "auto@1024"
    assert sized(settings, Box((100_000, 100_000))).samplers[1] == "auto@32768"


def test_a_shorter_budget_makes_another_run_of_the_same_sampler():
    settings = CompareSettings(
        samplers=("uniform", "uniform/2", "auto", "auto/2.50", "langevin:alpha=0.8@512/3"),
        batch_sizes=(64, 128),
    )
    fitting = sized(settings, Box((512, 768)))
    fitting.check()
    assert fitting.samplers == (
        "uniform",
        "uniform/2",
        "auto@12288",
        "auto@12288/2.5",
        "langevin:alpha=0.8@512/3",
    )
    assert entries(fitting) == [
        Entry("uniform", 64),
        Entry("uniform", 64, 2.0),
        Entry("auto", 12288),
        Entry("auto", 12288, 2.5),
        Entry("langevin:alpha=0.8", 512, 3.0),
        Entry("uniform", 128),
        Entry("uniform", 128, 2.0),
    ]
    assert sized(fitting, Box((512, 768))) == fitting


def test_steps_and_seconds_are_both_shortened_and_nothing_else():
    settings = CompareSettings(steps=100, seconds=60.0)
    assert shortened(settings, 1.0) == settings
    assert shortened(settings, 2.5) == CompareSettings(steps=40, seconds=24.0)
    assert shortened(CompareSettings(steps=100), 3.0) == CompareSettings(steps=33)
    assert shortened(CompareSettings(seconds=1.0), 4.0).seconds == 0.25
    with pytest.raises(SoftmineError, match="leaves none"):
        CompareSettings(samplers=("uniform", "uniform/4"), steps=2).check()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("uniform", "uniform@64"), "uniform at batch size 64 twice"),
        (("uniform@", "langevin"), "a batch size follows the @"),
        (("uniform@-4",), "a batch size follows the @"),
        (("uniform@0",), "batch_size is 0: give a number from 1 to 4194304"),
        (("unifrom@64",), "unknown sampler 'unifrom'"),
        (("@64",), "unknown sampler ''"),
        (
            ("auto/2.5", "auto/2.50"),
            "auto/2.5 at batch size 64 twice: once as auto/2.5 and once as auto/2.50",
        ),
        (("uniform/2", "uniform@64/2"), "twice: once as uniform/2 and once as uniform@64/2"),
        (("auto/2", "auto/2"), "samplers names auto/2 twice"),
        (("auto@64/2/3",), "a batch size follows the @"),
        (("unifrom/2",), "unknown sampler 'unifrom'"),
    ],
)
def test_what_is_no_batch_size_is_said(words, message):
    with pytest.raises(SoftmineError, match=message):
        pairs(*words)


def test_missing_runs_are_those_that_did_not_end():
    def run(sampler, seed, finished=True, diverged_at=None, **more):
        record = {
            "sampler": sampler,
            "seed": seed,
            "batch_size": 64,
            "finished": finished,
            "diverged_at": diverged_at,
        }
        return RunResult.parse({**record, **more})

    # As files hold them that were written before there were shorter budgets.
    found = [Entry(name, 64) for name in ("a", "b", "c", "d")]
    runs = [run("a", 0), run("b", 0, finished=False), run("c", 0, False, diverged_at=3), run("d", 1)]
    assert [entry.sampler for entry in missing(found, 0, runs)] == ["b", "d"]
    assert [entry.sampler for entry in missing(found, 1, runs)] == ["a", "b", "c"]
    shorter = Entry("a", 64, 2.5)
    assert missing([found[0], shorter], 0, runs) == [shorter]
    assert missing([found[0], shorter], 0, [run("a", 0, shorter=2.5)]) == [found[0]]
