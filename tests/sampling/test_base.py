"""What all samplers share: softness, weights, checks of what they are given, and the count of updates."""

import pytest
import torch

from softmine import Box, Sampler, SoftmineError
from softmine.sampling import Batch, RandomStream, Uniform
from softmine.sampling.base import check_error

from helpers import unchecked_types


class Known(Sampler):
    """Draws uniformly and states a density."""

    def draw(self, probe=None):
        coords = self.domain.uniform(self.random.uniform(self.batch_size, self.domain.dim))
        return Batch(coords, self.step.clone(), torch.tensor([0.25, 1.0, 4.0]))


def make(**options):
    return Known(Box((8,)), 3, seed=0, **options)


def test_alpha_grows_linearly_and_then_stays():
    sampler = make(alpha=0.6, warmup=1000)
    found = [sampler.alpha_at(torch.tensor(step)).item() for step in (0, 250, 999, 1000, 5000)]
    assert found == pytest.approx([0.0, 0.15, 0.5994, 0.6, 0.6])
    assert make(alpha=0.6, warmup=0).alpha_at(torch.tensor(0)).item() == pytest.approx(0.6)
    sampler.step.fill_(500)
    assert sampler.alpha.item() == pytest.approx(0.3)


@pytest.mark.parametrize(("alpha", "weights"), [(0.0, [1, 1, 1]), (0.5, [2, 1, 0.5]), (1.0, [4, 1, 0.25])])
def test_weights_go_from_hard_to_unbiased(alpha, weights):
    sampler = make(alpha=alpha)
    assert sampler.weigh(sampler.draw(), torch.rand(3)).tolist() == weights


def test_weights_have_the_softness_of_the_draw():
    sampler = make(alpha=1.0, warmup=2)
    early = sampler.draw()
    for _ in range(2):
        sampler.update(sampler.draw(), torch.rand(3))
    assert sampler.weigh(early, torch.rand(3)).tolist() == [1, 1, 1]
    assert sampler.weigh(sampler.draw(), torch.rand(3)).tolist() == [4, 1, 0.25]


def test_only_updates_count():
    sampler = make()
    for _ in range(3):
        batch = sampler.draw()
        sampler.weigh(batch, torch.rand(3))
    assert sampler.updates == int(sampler.step) == 0
    sampler.update(batch, torch.rand(3))
    assert sampler.updates == int(sampler.step) == sampler._host_step == 1


def test_the_hosts_count_resumes():
    sampler, other = make(), make()
    for _ in range(3):
        sampler.update(sampler.draw(), torch.rand(3))
    other.load_state_dict(sampler.state_dict())
    assert other.updates == other._host_step == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": -0.1}, "alpha is -0.1"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"alpha": float("inf")}, "alpha is inf"),
        ({"warmup": -1}, "warmup is -1"),
        ({"warmup": 2**31}, "warmup is 2147483648"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(SoftmineError, match=message):
        make(**settings)


def test_a_loss_of_another_shape_is_named():
    batch = Uniform(Box((8,)), 16, seed=0).draw()
    with pytest.raises(SoftmineError, match="one loss for each of the 16 samples"):
        check_error(batch, torch.rand(16, 3), "loss")


@pytest.mark.parametrize("error", [None, 1.0, [1.0, 2.0, 3.0]])
def test_an_error_that_is_no_tensor_is_named(error):
    sampler = make()
    batch = sampler.draw()
    for verb in (sampler.weigh, sampler.update):
        with (
            unchecked_types(),
            pytest.raises(SoftmineError, match=r"error is a \w+, but it must be a tensor"),
        ):
            verb(batch, error)


@pytest.mark.parametrize("scale", [0, -1.0, None, "a", float("nan"), float("inf"), 10**400, torch.ones(2)])
def test_a_loss_scale_that_is_no_positive_number_is_named(scale):
    sampler = make()
    with unchecked_types(), pytest.raises(SoftmineError, match="loss_scale is"):
        sampler.update(sampler.draw(), torch.rand(3), loss_scale=scale)


def test_a_domain_that_is_a_shape_and_a_seed_that_is_no_number_are_named():
    with unchecked_types(), pytest.raises(SoftmineError, match=r"domain is a tuple.*softmine\.Box"):
        Uniform((8, 8), 4)
    with unchecked_types(), pytest.raises(SoftmineError, match="seed is a"):
        Uniform(Box((8, 8)), 4, seed="a")


def test_what_is_no_batch_is_named():
    sampler = make()
    coords = sampler.draw().coords
    for verb in (sampler.weigh, sampler.update):
        with (
            unchecked_types(),
            pytest.raises(SoftmineError, match=r"first argument is a Tensor, .*batch that draw\(\) returned"),
        ):
            verb(coords, torch.rand(3))


def test_a_sampler_prints_its_domain_and_batch_size():
    assert "Box((8,)), batch_size=3" in repr(make())
    assert "RandomStream" in repr(make())


def test_a_batch_has_as_many_samples_as_its_length():
    assert len(Uniform(Box((8, 8)), 5, seed=0).draw()) == 5


def test_the_base_draws_nothing_itself():
    with pytest.raises(TypeError, match=r"abstract.*draw"):
        Sampler(Box((8,)), 4)  # pyright: ignore[reportAbstractUsage]


def test_a_stream_is_the_samplers_own():
    assert isinstance(make().random, RandomStream)
    assert torch.equal(make().draw().coords, make().draw().coords)
