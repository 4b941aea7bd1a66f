"""Errors that stand alone are told from those that can be learned."""

import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import softmine
from softmine import Box, HashGridField, Image, QuotaMap
from softmine.optim import RowAdam
from softmine.sampling.density.map_cells import MapCells
from softmine.sampling.quota_map.outliers import KEPT, LOOSE, Outliers, usual_error


def outliers_of(shape, error=None, mask=None, discrete=()):
    cells = MapCells(shape, Box(shape, mask=mask, discrete=discrete))
    found = Outliers(cells, torch.ones(cells.count) if error is None else error)
    return found


def ranks(error, shape, mask=None, discrete=()):
    found = outliers_of(shape, mask=mask, discrete=discrete)
    found.usual.fill_(1.0)
    return [found._decoded(codes) for codes in found._neighbors(error)]


@given(
    shape=st.sampled_from([(7,), (1, 9), (5, 6), (2, 3), (4, 3, 5), (2, 2, 2, 3)]),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=40)
def test_neighbors_are_ranked_as_by_a_rank_filter(shape, seed):
    error = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 4 + 0.05
    long = [size for size in shape if size > 1]
    footprint = np.ones([1 if size == 1 else (5 if len(long) == 1 else 3) for size in shape])
    first = 2 if len(long) == 1 else 3
    for rank, found in zip((first, first + 1), ranks(error.flatten(), shape), strict=True):
        wanted = ndimage.rank_filter(error.numpy(), -rank, footprint=footprint, mode="constant", cval=0.0)
        # Rounded down, to a sixteenth; where there are too few neighbors, to the least of the codes.
        relative = found.view(shape).numpy() / np.maximum(wanted, 1 / 64)
        assert (relative <= 1.0001).all()
        assert (relative > 1 - 1 / 16).all()


def test_along_discrete_axes_there_are_no_neighbors():
    error = torch.ones(3, 4, 4)
    error[1] = 8.0
    third, fourth = ranks(error.flatten(), (3, 4, 4), discrete=(0,))
    assert third.view(3, 4, 4)[0].max() == fourth.view(3, 4, 4)[2].max() == 1.0


def test_what_a_mask_leaves_out_is_no_neighbor():
    mask = torch.ones(5, 5, dtype=torch.bool)
    mask[:, 2] = False
    error = torch.ones(5, 5)
    error[:, 3:] = 8.0
    third, _ = ranks(error[mask], (5, 5), mask=mask)
    assert third.view(5, 4)[:, :2].max() == 1.0


def test_usual_errors_are_not_moved_by_a_few_large_ones():
    seen = torch.full((1000,), 0.1)
    seen[:50] = 5.0
    share = torch.ones(1000)
    assert seen.mean() > 0.3
    assert usual_error(seen, share).item() == pytest.approx(0.1, rel=0.15)
    # Samples count by the share of the domain that they stand for.
    halves, shares = (
        torch.cat((torch.ones(10), 2 * torch.ones(90))),
        torch.cat((torch.full((10,), 9.0), torch.ones(90))),
    )
    assert usual_error(halves, shares).item() == pytest.approx(1.5)


def learn(found, error, times=80):
    """Sees the same errors again and again, after larger ones."""
    cells = torch.arange(len(error))
    found.first.fill_(1.0)
    for _ in range(times):
        found.importance(error, torch.empty_like(error))
        found.learn(cells, error, torch.ones(len(error)))


def test_doubt_starts_whole_stays_with_defects_and_goes_with_structure():
    noise = torch.rand(32, 32, generator=torch.Generator().manual_seed(0)) * 0.02 + 0.005
    defects, lines = noise.clone(), noise.clone()
    defects[::6, ::5] = 0.8
    lines[:, 10] = 0.8
    lines[torch.arange(32), torch.arange(32)] = 0.8
    for error, doubt in ((defects, 1.0), (lines, 0.0), (noise, 0.0)):
        found = outliers_of((32, 32))
        assert found.doubt == 1.0
        learn(found, error.flatten())
        assert found.doubt.item() == pytest.approx(doubt, abs=0.01)
        counts = found.importance(error.flatten(), torch.empty(32 * 32)).view(32, 32)
        if doubt:
            assert counts.max() <= 0.025, "none counts more than what is plausible"
            limit = found.limit(torch.arange(32 * 32)).view(32, 32)
            assert ((error > limit) == (error == 0.8)).all()
        else:
            assert torch.equal(counts, error)
            assert (found.limit(torch.arange(32 * 32)) > error.max()).all()


def test_what_is_seen_for_the_first_time_changes_no_doubt():
    found = outliers_of((16, 16))
    error = torch.full((256,), 0.01)
    found.first.fill_(1.0)
    found.importance(error, torch.empty_like(error))
    found.learn(torch.arange(256), error, torch.ones(256))
    assert found.doubt == 1.0
    found.learn(torch.arange(256), error, torch.zeros(256))
    assert found.doubt == 1.0, "samples that tell nothing"


def test_weights_of_what_stands_alone_are_a_fiftieth():
    box = Box((16, 16))
    sampler = QuotaMap(box, 256, period=1, alpha=0.0, snapped=True, robust=True, seed=0)
    error = torch.full((256,), 0.01)
    error[100] = 1.0
    sampler.memory.outliers.first.fill_(1.0)
    for _ in range(20):
        batch = sampler.draw()
        cells = box.cell(batch.coords)
        weights = sampler.weigh(batch, error[cells])
        sampler.update(batch, error[cells])
    torch.testing.assert_close(weights, torch.where(cells == 100, KEPT, 1.0))
    assert (cells == 100).sum() <= 2, "it is visited as its neighbors are"
    outliers = sampler.memory.outliers
    limit = outliers.limit(torch.tensor([100])).item()
    assert 0.01 * LOOSE < limit < 1.0


def test_without_robust_every_error_counts():
    sampler = QuotaMap(Box((16, 16)), 64, seed=0)
    assert sampler.memory.outliers is None
    assert sampler.draw().limit is None
    assert softmine.auto(Image(torch.rand(16, 16)), seed=0).memory.outliers is not None
    assert softmine.registry.create("auto:robust=False", Box((8, 8)), 16).memory.outliers is None


def qualities(clean, dirty, sampler, steps=240):
    """PSNR against the clean picture after a quarter, a half and all of the steps."""
    torch.manual_seed(0)
    image = Image(dirty)
    sampler = softmine.registry.create(sampler, image.domain, 1024, seed=0, edges=image.edges)
    field = HashGridField(2, 3, log2_table_size=13, finest_resolution=128)
    optimizer = RowAdam(field.parameters(), lr=1e-2, batch_size=1024)
    found, cells = [], image.domain.centers(torch.arange(image.domain.cells))
    for step in range(1, steps + 1):
        batch = sampler.draw()
        points = image.domain.snap(batch.coords)
        residual = field(points) - image(points)
        error = residual.detach().abs().mean(-1)
        loss = (sampler.weigh(batch, error) * residual.square().mean(-1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        sampler.update(batch, error)
        if step in (steps // 4, steps // 2, steps):
            with torch.no_grad():
                found.append(-10 * (field(cells).view(clean.shape) - clean).square().mean().log10().item())
    return found


def test_a_picture_with_defects_is_learned_without_them():
    clean = torch.from_numpy(skimage.data.astronaut()[60:188, 160:288].copy()).float() / 255
    dirty = clean.clone()
    defects = torch.rand(128, 128, generator=torch.Generator().manual_seed(1)) < 0.01
    dirty[defects] = 1.0
    shuffled, auto, plain = (
        qualities(clean, dirty, name)
        for name in ("shuffled", "auto:snapped=True", "auto:snapped=True,robust=False")
    )
    assert max(auto) > max(shuffled) + 1
    assert auto[-1] > shuffled[-1] + 3
    assert max(plain) < max(shuffled), "what doubt is for"
    assert qualities(clean, clean, "auto:snapped=True")[-1] > qualities(clean, clean, "shuffled")[-1]
