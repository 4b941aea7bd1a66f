import pytest
import torch

from softmine import Box, SoftmineError
from softmine.sampling import Hardest

LINE = Box((8,))


def passes(sampler, steps):
    """Steps that begin with a pass."""
    seen = []

    def probe(coords):
        seen.append(sampler.schedule.host_step)
        return coords[:, 0]

    for _ in range(steps):
        sampler.draw(probe)
        sampler.update()
    return seen


def test_incremental_passes_come_at_the_sources_steps():
    # A quarter of 200 steps, then fifths of 30 steps each, of 10, 20, 30, 40 and 50 steps between passes.
    expected = [*range(50), 50, 60, 70, 80, 100, 120, 160]
    assert passes(Hardest(LINE, 2, steps=200), 200) == expected
    # After the run the last interval stays.
    assert passes(Hardest(LINE, 2, steps=200), 320) == [*expected, 200, 250, 300]


def test_the_sources_default_run_has_1422_passes():
    # Every step of 1,250; then the multiples of 10, 20, 30, 40 and 50 in stretches of 750 steps.
    assert len(passes(Hardest(LINE, 2), 5000)) == 1250 + 75 + 38 + 25 + 19 + 15


def test_decremental_passes_come_at_the_sources_steps():
    expected = [
        0,
        90,
        160,
        210,
        280,
        300,
        360,
        400,
        450,
        520,
        560,
        *range(600, 700, 30),
        *range(700, 800, 20),
    ]
    expected += [*range(800, 900, 10), *range(900, 1050)]
    assert passes(Hardest(LINE, 2, interval="decremental", steps=1000), 1050) == expected


@pytest.mark.parametrize(
    ("interval", "expected"), [("dense", [0, 1, 2, 3, 4, 5, 6]), (3, [0, 3, 6]), (1, [*range(7)])]
)
def test_dense_and_fixed_intervals(interval, expected):
    assert passes(Hardest(LINE, 2, interval=interval), 7) == expected


def test_a_batch_is_the_worst_cells_of_the_pass():
    box = Box((40, 50))
    error = torch.rand(2000, generator=torch.Generator().manual_seed(0))
    sampler = Hardest(box, 100)
    cells = box.cell(sampler.draw(lambda coords: error[box.cell(coords)]))
    assert cells.tolist() == error.argsort(descending=True)[:100].tolist()
    torch.testing.assert_close(sampler.draw(), box.centres(cells), rtol=0.0, atol=0.0)


def test_the_batch_stays_between_passes_and_follows_the_next():
    sampler = Hardest(LINE, 3, interval=2)
    draws = []
    for step in range(4):
        # The error moves: at steps 0 and 1 it is largest on the left, at 2 and 3 on the right.
        draws.append(LINE.cell(sampler.draw(lambda x, sign=1 if step >= 2 else -1: sign * x[:, 0])).tolist())
        sampler.update()
    assert draws == [[0, 1, 2], [0, 1, 2], [7, 6, 5], [7, 6, 5]]


def test_every_weight_is_one():
    sampler = Hardest(LINE, 3)
    sampler.draw(lambda x: x[:, 0])
    assert sampler.weigh(torch.rand(3)).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        # Of 100 cells, at steps 0, 5, 10, 55, 99 and 100 of 100, beginning with 20.
        ("constant", [20, 20, 20, 20, 20, 20]),
        ("step", [20, 20, 28, 60, 92, 92]),
        ("linear", [20, 24, 28, 64, 99, 100]),
        ("cosine", [20, 20, 21, 66, 99, 100]),
        ("reverse-cosine", [20, 20, 20, 20, 20, 20]),
    ],
)
def test_batches_grow_as_the_source_says(ratio, expected):
    sampler = Hardest(Box((10, 10)), 20, interval="dense", ratio=ratio, steps=100)
    found = {}
    for step in range(102):
        coords = sampler.draw(lambda x: x[:, 0])
        assert len(coords.unique(dim=0)) == len(coords)
        assert sampler.weigh(coords[:, 0]).shape == (len(coords),)
        found[step] = len(coords)
        sampler.update()
    assert [found[step] for step in (0, 5, 10, 55, 99, 100)] == expected
    assert found[101] == expected[-1]


def test_the_reverse_cosine_ends_at_a_fifth():
    sampler = Hardest(Box((10, 10)), 80, interval="dense", ratio="reverse-cosine", steps=10)
    counts = []
    for _ in range(11):
        counts.append(len(sampler.draw(lambda x: x[:, 0])))
        sampler.update()
    assert (counts[0], counts[5], counts[10]) == (80, 50, 20)
    assert counts == sorted(counts, reverse=True)


def test_a_grown_batch_resumes():
    def probe(coords):
        return (50 * coords[:, 0]).sin()

    first = Hardest(Box((10, 10)), 20, interval=4, ratio="linear", steps=20)
    for _ in range(10):
        first.draw(probe)
        first.update()
    second = Hardest(Box((10, 10)), 20, interval=4, ratio="linear", steps=20)
    second.load_state_dict(first.state_dict())
    for _ in range(6):
        one, other = first.draw(probe), second.draw(probe)
        assert len(one) > 20
        assert torch.equal(one, other)
        first.update()
        second.update()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"interval": "sparse"}, "interval 'sparse' is unknown: choose incremental"),
        ({"interval": 0}, "interval is 0"),
        ({"ratio": "square"}, "ratio 'square' is unknown: choose one of constant, step"),
        ({"steps": 0}, "steps is 0"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(SoftmineError, match=message):
        Hardest(LINE, 2, **options)


def test_an_interval_that_no_run_is_long_enough_for_is_refused():
    with pytest.raises(SoftmineError, match="from 1 to 100,000"):
        Hardest(Box((8, 8)), 4, interval=2_000_000_000)
