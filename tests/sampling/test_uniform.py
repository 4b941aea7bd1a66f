import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softmine import Box, SoftmineError, Uniform

from helpers import FALSE_ALARM, chi_square_p, histogram


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("shape", [(50,), (40, 60), (9, 10, 11)])
def test_draws_cover_the_domain_evenly(shape, stratified):
    sampler = Uniform(Box(shape), 500, stratified=stratified, seed=0)
    counts = sum(histogram(sampler.draw().coords, 5) for _ in range(200))
    # Strata make counts more even than chance, so that the test is one-sided for both.
    assert chi_square_p(counts, np.ones_like(counts)) > FALSE_ALARM


def test_strata_are_each_hit_once():
    sampler = Uniform(Box((64, 64)), 64, stratified=True, seed=0)
    assert sampler.strata.tolist() == [8, 8]
    assert (histogram(sampler.draw().coords, 8) == 1).all()


@given(
    shape=st.lists(st.integers(1, 3000), min_size=1, max_size=4),
    batch=st.integers(1, 300),
    stratified=st.booleans(),
)
def test_any_shape_and_batch_gives_coordinates_inside(shape, batch, stratified):
    box = Box(shape)
    coords = Uniform(box, batch, stratified=stratified, seed=1).draw().coords
    assert coords.shape == (batch, len(shape))
    assert box.contains(coords).all()


def test_weights_are_one_and_update_moves_nothing():
    sampler = Uniform(Box((8,)), 4, seed=0)
    batch = sampler.draw()
    # Whatever the caller does to those of another step.
    sampler.weigh(batch, torch.rand(4)).zero_()
    assert sampler.weigh(batch, torch.rand(4)).tolist() == [1, 1, 1, 1]
    before = sampler.random.counter.clone()
    sampler.update(batch, torch.rand(4))
    sampler.check()
    assert torch.equal(sampler.random.counter, before)
    assert sampler.updates == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_does_not_merge_strata(dtype):
    sampler = Uniform(Box((10**6,)), 4096, stratified=True, seed=0).to(dtype)
    assert (sampler.draw().coords[:, 0] * 4096).long().unique().numel() == 4096


@pytest.mark.parametrize("batch", [0, -1, 10**9])
def test_an_absurd_batch_size_is_refused(batch):
    with pytest.raises(SoftmineError, match="batch_size is"):
        Uniform(Box((8,)), batch)
