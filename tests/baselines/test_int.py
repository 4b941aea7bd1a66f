import pytest
import torch

from softmine import Box, SoftmineError
from softmine.baselines import INT

LINE = Box((8,))


def passes(sampler, steps):
    """Steps that begin with a pass."""
    seen = []

    def probe(coords):
        seen.append(sampler.updates)
        return coords[:, 0]

    for _ in range(steps):
        sampler.update(sampler.draw(probe), torch.ones(sampler.batch_size))
    return seen


def test_incremental_passes_come_at_the_sources_steps():
    # A quarter of 200 steps, then fifths of 30 steps each, of 10, 20, 30, 40 and 50 steps between passes.
    expected = [*range(50), 50, 60, 70, 80, 100, 120, 160]
    assert passes(INT(LINE, 2, steps=200), 200) == expected
    # After the run the last interval stays.
    assert passes(INT(LINE, 2, steps=200), 320) == [*expected, 200, 250, 300]


def test_the_sources_default_run_has_1422_passes():
    # Every step of 1,250; then the multiples of 10, 20, 30, 40 and 50 in stretches of 750 steps.
    assert len(passes(INT(LINE, 2), 5000)) == 1250 + 75 + 38 + 25 + 19 + 15


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
    assert passes(INT(LINE, 2, interval="decremental", steps=1000), 1050) == expected


@pytest.mark.parametrize(
    ("interval", "expected"), [("dense", [0, 1, 2, 3, 4, 5, 6]), (3, [0, 3, 6]), (1, [*range(7)])]
)
def test_dense_and_fixed_intervals(interval, expected):
    assert passes(INT(LINE, 2, interval=interval), 7) == expected


def test_a_batch_is_the_worst_cells_of_the_pass():
    box = Box((40, 50))
    error = torch.rand(2000, generator=torch.Generator().manual_seed(0))
    sampler = INT(box, 100)
    batch = sampler.draw(lambda coords: error[box.cell(coords)])
    cells = box.cell(batch.coords)
    assert cells.tolist() == error.argsort(descending=True)[:100].tolist()
    torch.testing.assert_close(batch.coords, box.centers(cells), rtol=0.0, atol=0.0)


def test_the_batch_stays_between_passes_and_follows_the_next():
    sampler = INT(LINE, 3, interval=2)
    draws = []
    for step in range(4):
        # The error moves: at steps 0 and 1 it is largest on the left, at 2 and 3 on the right.
        batch = sampler.draw(lambda x, sign=1 if step >= 2 else -1: sign * x[:, 0])
        draws.append(LINE.cell(batch.coords).tolist())
        sampler.update(batch, torch.ones(3))
    assert draws == [[0, 1, 2], [0, 1, 2], [7, 6, 5], [7, 6, 5]]


def test_batches_in_flight_hold_the_next_cells_of_the_ranking():
    sampler = INT(LINE, 3, interval=10)
    first, second, third = (sampler.draw(lambda x: x[:, 0]) for _ in range(3))
    drawn = [LINE.cell(batch.coords).tolist() for batch in (first, second, third)]
    # After the last cell come the first again.
    assert drawn == [[7, 6, 5], [4, 3, 2], [1, 0, 7]]
    for batch, cells in ((second, [4, 3, 2]), (first, [7, 6, 5])):
        sampler.update(batch, torch.ones(3))
        assert LINE.cell(sampler.draw().coords).tolist() == cells


def test_no_two_batches_in_flight_are_the_same():
    sampler, flying = INT(Box((24,)), 4, interval=7), []
    # Three at a time, one of which is updated before the next is drawn, across several passes.
    for _ in range(40):
        flying.append(sampler.draw(lambda x: x[:, 0]))
        held = [
            set(batch.coords.flatten().tolist())
            for batch in flying[-3:]
            if batch.number >= flying[-1].number // 4096 * 4096
        ]
        assert all(not one & other for i, one in enumerate(held) for other in held[:i])
        if len(flying) >= 3:
            sampler.update(flying[-3], torch.ones(4))


def test_draws_that_are_never_updated_go_on_to_differ():
    sampler = INT(Box((24,)), 4, interval=10)
    drawn = {tuple(sorted(sampler.draw(lambda x: x[:, 0]).coords.flatten().tolist())) for _ in range(24)}
    assert len(drawn) == 24


def test_every_weight_is_one():
    sampler = INT(LINE, 3)
    batch = sampler.draw(lambda x: x[:, 0])
    assert sampler.weigh(batch, torch.rand(3)).tolist() == [1, 1, 1]


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
    sampler = INT(Box((10, 10)), 20, interval="dense", ratio=ratio, steps=100)
    found = {}
    for step in range(102):
        batch = sampler.draw(lambda x: x[:, 0])
        coords = batch.coords
        assert len(coords.unique(dim=0)) == len(coords)
        assert sampler.weigh(batch, coords[:, 0]).shape == (len(coords),)
        found[step] = len(coords)
        sampler.update(batch, coords[:, 0])
    assert [found[step] for step in (0, 5, 10, 55, 99, 100)] == expected
    assert found[101] == expected[-1]


def test_the_reverse_cosine_ends_at_a_fifth():
    sampler = INT(Box((10, 10)), 80, interval="dense", ratio="reverse-cosine", steps=10)
    counts = []
    for _ in range(11):
        batch = sampler.draw(lambda x: x[:, 0])
        counts.append(len(batch))
        sampler.update(batch, torch.ones(len(batch)))
    assert (counts[0], counts[5], counts[10]) == (80, 50, 20)
    assert counts == sorted(counts, reverse=True)


def test_a_grown_batch_resumes():
    def probe(coords):
        return (50 * coords[:, 0]).sin()

    first = INT(Box((10, 10)), 20, interval=4, ratio="linear", steps=20)
    for _ in range(10):
        batch = first.draw(probe)
        first.update(batch, torch.ones(len(batch)))
    second = INT(Box((10, 10)), 20, interval=4, ratio="linear", steps=20)
    second.load_state_dict(first.state_dict())
    for _ in range(6):
        one, other = first.draw(probe), second.draw(probe)
        assert len(one) > 20
        assert torch.equal(one.coords, other.coords)
        first.update(one, torch.ones(len(one)))
        second.update(other, torch.ones(len(other)))


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
        INT(LINE, 2, **options)


def test_an_interval_that_no_run_is_long_enough_for_is_refused():
    with pytest.raises(SoftmineError, match="from 1 to 100000"):
        INT(Box((8, 8)), 4, interval=2_000_000_000)
