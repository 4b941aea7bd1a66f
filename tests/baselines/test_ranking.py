import pytest
import torch

from softmine import Box, FieldProbe, Image, SoftmineError
from softmine.baselines.ranking import Shuffle
from softmine.registry import create
from softmine.sampling import RandomStream

from helpers import FALSE_ALARM, chi_square_p

RANKING = ["int", "evos", "nint", "expansive-supervision"]


def make_shuffle(count, seed=0):
    shuffle = Shuffle(torch.arange(count))
    shuffle.again(RandomStream(seed))
    return shuffle


def test_a_round_holds_every_cell_once():
    shuffle = make_shuffle(12)
    drawn = torch.cat([shuffle.next(3) for _ in range(4)]).tolist()
    assert sorted(drawn) == list(range(12))
    assert drawn != sorted(drawn)


def test_a_draw_across_the_end_of_the_order_repeats_no_cell():
    shuffle = make_shuffle(10)
    shuffle.next(7)
    assert len(set(shuffle.next(9).tolist())) == 9


@pytest.mark.parametrize("count", [24, 25, 210])
def test_no_round_repeats_the_draws_of_another(count):
    shuffle = make_shuffle(count)
    drawn = [tuple(sorted(shuffle.next(5).tolist())) for _ in range(3 * count // 5)]
    assert len(set(drawn)) == len(drawn)
    assert all(len(set(cells)) == 5 for cells in drawn)


def test_draws_with_an_exception_are_uniform_among_the_rest():
    random = RandomStream(1)
    shuffle = Shuffle(torch.arange(20))
    taken = torch.tensor([0, 1, 7, 13])
    counts = torch.zeros(20)
    for _ in range(4000):
        shuffle.again(random)
        shuffle.next_except(2, taken)
        drawn = shuffle.next_except(3, taken)
        assert len(set(drawn.tolist())) == 3
        counts[drawn] += 1
    assert (counts[taken] == 0).all()
    rest = counts[counts > 0]
    assert len(rest) == 16
    # Cells of one draw exclude each other, so that counts spread less than independent ones: a careful test.
    assert chi_square_p(rest, torch.ones(16)) > FALSE_ALARM


def test_draws_with_an_exception_go_through_all_others_before_one_comes_again():
    shuffle, taken = make_shuffle(11), torch.tensor([2, 5, 8])
    drawn = torch.cat([shuffle.next_except(2, taken) for _ in range(4)]).tolist()
    assert sorted(drawn) == [0, 1, 3, 4, 6, 7, 9, 10]


def test_everything_that_is_not_taken_can_be_drawn_at_once():
    taken = torch.tensor([1, 3])
    assert sorted(make_shuffle(5).next_except(3, taken).tolist()) == [0, 2, 4]
    assert sorted(make_shuffle(5).next_except(5, taken[:0]).tolist()) == list(range(5))
    assert make_shuffle(5).next_except(0, taken).tolist() == []


@pytest.mark.parametrize("name", RANKING)
def test_a_batch_of_more_cells_than_there_are_is_refused(name):
    with pytest.raises(SoftmineError, match="batch size 65 is above the 64 cells"):
        create(name, Box((8, 8)), 65, edges=lambda: torch.ones(8, 8))


@pytest.mark.parametrize("name", RANKING)
def test_a_domain_of_too_many_cells_is_refused_before_it_takes_memory(name):
    with pytest.raises(SoftmineError, match=r"measures every cell, but .* has 536,870,912"):
        create(name, Box((2**15, 2**14)), 16, edges=lambda: torch.ones(8, 8))


@pytest.mark.parametrize("name", ["int", "evos", "nint"])
def test_a_draw_before_any_pass_asks_for_a_probe(name):
    with pytest.raises(SoftmineError, match=f"the sampler {name} measures every cell"):
        create(name, Box((8, 8)), 16).draw()


@pytest.mark.parametrize(("name", "method"), [("evos", "residual"), ("nint", "influence")])
def test_a_probe_that_answers_too_little_is_named(name, method):
    with pytest.raises(SoftmineError, match=rf"calls its probe's {method}\(\).*softmine\.FieldProbe"):
        create(name, Box((8, 8)), 16).draw(lambda coords: coords[:, 0])


def test_a_probe_that_keeps_its_channels_is_named():
    with pytest.raises(SoftmineError, match="one error for each of N coordinates"):
        create("int", Box((8, 8)), 16).draw(lambda coords: coords)


@pytest.mark.parametrize("name", RANKING)
def test_weights_are_float32_and_errors_one_a_sample(name):
    sampler = create(name, Box((8, 8)), 16, seed=0, edges=lambda: torch.rand(8, 8))
    batch = sampler.draw(FieldProbe(torch.nn.Linear(2, 1), Image(torch.rand(8, 8))))
    assert sampler.weigh(batch, torch.rand(16, dtype=torch.bfloat16)).dtype == torch.float32
    with pytest.raises(SoftmineError, match="reduce channels first"):
        sampler.weigh(batch, torch.rand(17))


def host_state(sampler):
    """Everything that a recorded graph would not change when it is replayed."""
    return {
        (name, key): (value.data_ptr() if isinstance(value, torch.Tensor) else repr(value))
        for name, module in sampler.named_modules()
        for kept in (vars(module), module._buffers)
        for key, value in kept.items()
        # What a recording holds is counted for its replays.
        if not key.startswith(("_parameters", "_buffers", "_modules", "_recorded_updates"))
    }


@pytest.mark.parametrize("name", RANKING)
def test_a_recorded_step_depends_on_nothing_that_the_host_counts(name, monkeypatch):
    image = Image(torch.rand(12, 18, 1, generator=torch.Generator().manual_seed(0)))
    torch.manual_seed(0)
    probe = FieldProbe(torch.nn.Linear(2, 1), image)
    samplers = [create(name, image.domain, 30, seed=0, edges=image.edges) for _ in range(2)]
    rounds = []
    # Nothing is recorded on a CPU: what asks whether it is, is told so. Each round is longer than a random order of all cells.
    for sampler, recorded in zip(samplers, (False, True), strict=True):
        found = []
        for _ in range(3):
            sampler.refresh(probe)
            with monkeypatch.context() as patch:
                if recorded:
                    for module in (
                        "sampling.drawing.supply",
                        "sampling.base",
                        "baselines.full_pass",
                        "baselines.int",
                    ):
                        patch.setattr(f"softmine.{module}.in_graph", lambda tensor: True)
                for step in range(getattr(sampler, "period", 20)):
                    before = host_state(sampler)
                    batch = sampler.draw()
                    error = (5 * batch.coords).sin().abs().mean(-1)
                    weights = sampler.weigh(batch, error)
                    sampler.update(batch, error)
                    found += [batch.coords, weights]
                    # The first may set what says that there are graphs at all.
                    assert not recorded or step == 0 or host_state(sampler) == before
        rounds.append(found)
    assert len(rounds[0]) >= 12
    assert all(torch.equal(one, other) for one, other in zip(*rounds, strict=True))
