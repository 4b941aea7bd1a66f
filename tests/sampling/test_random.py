import numpy as np
import pytest
import torch
from scipy import stats

from softmine.sampling import RandomStream
from softmine.sampling.random import to_chance, to_uniform

from helpers import FALSE_ALARM, chi_square_p


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniform_numbers_are_uniform_in_every_axis_and_jointly(dtype):
    numbers = RandomStream(seed=3).uniform(200_000, 2, dtype=dtype)
    assert numbers.dtype == dtype
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = np.histogram2d(*numbers.T.numpy(), bins=32, range=[[0, 1], [0, 1]])[0]
    assert chi_square_p(counts, np.ones(1024)) > FALSE_ALARM


def test_normal_numbers_are_standard_normal():
    numbers = RandomStream(seed=4).normal(100_001, 1).flatten().numpy()
    assert stats.kstest(numbers, "norm").pvalue > FALSE_ALARM


def test_the_two_halves_of_box_muller_are_independent():
    numbers = RandomStream(seed=5).normal(200_000, 1).flatten().numpy()
    first, second = numbers[:100_000], numbers[100_000:]
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(100_000)
    assert abs(np.corrcoef(first**2, second**2)[0, 1]) < 5 / np.sqrt(100_000)


def test_low_and_high_bits_are_fair():
    bits = RandomStream(seed=6).bits(100_000)
    for position in (0, 1, 31, 32, 62, 63):
        ones = int(((bits >> position) & 1).sum())
        assert stats.binomtest(ones, 100_000).pvalue > FALSE_ALARM


def test_neighboring_seeds_give_unrelated_streams():
    streams = torch.stack([RandomStream(seed).uniform(50_000, 1).flatten() for seed in range(4)])
    correlation = np.corrcoef(streams.numpy()) - np.eye(4)
    assert np.abs(correlation).max() < 5 / np.sqrt(50_000)


def test_a_stream_resumes_from_its_state():
    stream = RandomStream(seed=1)
    stream.uniform(7, 3)
    other = RandomStream(seed=2)
    other.load_state_dict(stream.state_dict())
    assert torch.equal(stream.normal(11, 2), other.normal(11, 2))


def test_without_a_seed_torch_rules():
    torch.manual_seed(9)
    first = RandomStream().uniform(4, 1)
    torch.manual_seed(9)
    assert torch.equal(first, RandomStream().uniform(4, 1))
    assert not torch.equal(first, RandomStream().uniform(4, 1))


def test_peeking_takes_nothing_and_skipping_takes_as_much_as_drawing():
    stream, other = RandomStream(seed=7), RandomStream(seed=7)
    ahead = stream.peek(30)
    assert torch.equal(stream.bits(10), ahead[:10])
    other.skip(10)
    assert torch.equal(other.bits(20), ahead[10:])


def test_both_halves_of_a_word_are_uniform_and_independent():
    pairs = to_uniform(RandomStream(seed=8).bits(200_000)).view(2, -1)
    assert pairs.min() >= 0
    assert pairs.max() < 1
    counts = np.histogram2d(*pairs.numpy(), bins=32, range=[[0, 1], [0, 1]])[0]
    assert chi_square_p(counts, np.ones(1024)) > FALSE_ALARM


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_largest_word_is_below_one(dtype):
    assert 0.999999 < to_chance(torch.tensor([-1]), dtype).item() < 1
    assert to_uniform(torch.tensor([-1])).max() < 1


def test_streams_of_seeds_a_step_apart_share_no_word():
    """Were a seed itself the place on the cycle, one whose distance is the step would repeat its neighbor, one word on."""
    step = 0x9E3779B97F4A7C15
    words = torch.cat([RandomStream(seed).bits(1000) for seed in (0, 1, step, 2 * step, step + 1)])
    assert len(words.unique()) == 5000
