"""Errors that stand alone are told from those that can be learned."""

import itertools

import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

import softmine
from softmine import Box, HashGridField, Image, QuotaMap
from softmine.optim import RowAdam
from softmine.sampling.density.importance import MOST
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
def test_neighbors_are_ranked_as_by_a_rank_filter(shape, seed):
    error = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 4 + 0.05
    long = [size for size in shape if size > 1]
    footprint = np.ones([1 if size == 1 else (5 if len(long) == 1 else 3) for size in shape])
    wanted_ranks = (2, 2, 3) if len(long) == 1 else (2, 3, 4)
    for rank, found in zip(wanted_ranks, ranks(error.flatten(), shape), strict=True):
        wanted = ndimage.rank_filter(error.numpy(), -rank, footprint=footprint, mode="constant", cval=0.0)
        found = found.view(shape).numpy()
        # Where there are too few neighbors, anything is plausible.
        assert ((found == np.float32(MOST)) == (wanted == 0)).all()
        # Rounded down, to a sixteenth.
        relative = found[wanted > 0] / wanted[wanted > 0]
        assert (relative <= 1.0001).all()
        assert (relative > 1 - 1 / 16).all()


def test_along_discrete_axes_there_are_no_neighbors():
    error = torch.ones(3, 4, 4)
    error[1] = 8.0
    for found in ranks(error.flatten(), (3, 4, 4), discrete=(0,)):
        assert found.view(3, 4, 4)[0].max() == found.view(3, 4, 4)[2].max() == 1.0


def test_what_a_mask_leaves_out_is_no_neighbor():
    mask = torch.ones(5, 5, dtype=torch.bool)
    mask[:, 2] = False
    error = torch.ones(5, 5)
    error[:, 3:] = 8.0
    for found in ranks(error[mask], (5, 5), mask=mask):
        assert found.view(5, 4)[:, :2].max() == 1.0


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
        found.learn(cells, error, error, torch.ones(len(error)))


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
    found.learn(torch.arange(256), error, error, torch.ones(256))
    assert found.doubt == 1.0
    found.learn(torch.arange(256), error, error, torch.zeros(256))
    assert found.doubt == 1.0, "samples that tell nothing"


@pytest.mark.parametrize("ratio", [30.0, 3e3, 1e5])
def test_structure_is_none_however_large(ratio):
    error = torch.ones(64, 64) * 1e-3
    error[20:28, 30:38] *= ratio
    found = outliers_of((64, 64))
    learn(found, error.flatten())
    assert found.doubt < 0.01
    assert (found.limit(torch.arange(64 * 64)) > error.flatten()).all()


@pytest.mark.parametrize("kind", ["sparse", "curve", "discrete"])
def test_where_there_are_too_few_neighbors_none_is_doubted(kind):
    mask = None
    if kind == "sparse":
        mask = torch.rand(64, 64, generator=torch.Generator().manual_seed(1)) < 0.05
    elif kind == "curve":
        mask = torch.eye(64, dtype=torch.bool)
    error = torch.full((64, 64), 0.01)
    error[24:40, 24:40] = 0.5
    error = error.flatten() if mask is None else error[mask]
    found = outliers_of((64, 64), mask=mask, discrete=(0, 1) if kind == "discrete" else ())
    learn(found, error)
    assert found.doubt < 0.01
    assert (found.limit(torch.arange(len(error))) > error.max()).all()


@pytest.mark.parametrize(("block", "doubt"), [((16, 17), 0.0), ((13, 7), 0.5), ((2, 7), 1.0)])
def test_doubt_follows_the_share_of_squared_error_that_stands_alone(block, doubt):
    # Single errors, and a block of others that are large, too: of all squared error, 50, 75 and 95% stand alone.
    error = torch.full((64, 64), 1e-3)
    error[4:60:4, 4:32:4] = 1.0
    error[8 : 8 + block[0], 40 : 40 + block[1]] = 0.6
    found = outliers_of((64, 64))
    learn(found, error.flatten(), times=200)
    assert found.doubt.item() == pytest.approx(doubt, abs=0.02)


def left_behind(found, errors, single):
    """Sees errors fall from what the map remembers, everywhere but in single cells."""
    cells = torch.arange(len(errors[0]))
    found.first.fill_(0.5)
    for before, after in itertools.pairwise(errors):
        found.importance(before, torch.empty_like(before))
        found.learn(cells, before, torch.where(single, 0.5, after), torch.ones(len(after)))


def test_doubt_stays_while_what_is_large_is_left_by_all_that_falls():
    # The map is old: what it remembers of the neighbors is as large as the defects are, so that none stands alone yet.
    single = torch.zeros(64, 64, dtype=torch.bool)
    single[4:60:5, 4:60:5] = True
    falling = [torch.full((64 * 64,), 0.4 * 0.7**step) for step in range(12)]
    found = outliers_of((64, 64))
    left_behind(found, falling, single.flatten())
    assert found.doubt > 0.95
    # Structure is not left: large errors have neighbors that are.
    block = torch.zeros(64, 64, dtype=torch.bool)
    block[20:32, 20:32] = True
    fallen = [torch.where(block.flatten(), 0.5, each) for each in falling]
    found = outliers_of((64, 64))
    left_behind(found, fallen, block.flatten())
    assert found.doubt < 0.6


@pytest.mark.parametrize(("times", "least", "most"), [(10.0, 0.0, 0.5), (40.0, 0.9, 1.0)])
def test_doubt_stays_only_while_some_of_what_is_left_is_huge(times, least, most):
    single = torch.zeros(64, 64, dtype=torch.bool)
    single[4:60:11, 4:60:11] = True
    found, cells = outliers_of((64, 64)), torch.arange(64 * 64)
    for step in range(30):
        # All alike falls, and the single ones with it, from the second time on.
        before, after = (torch.full((64 * 64,), 0.4 * 0.7**each) for each in (step, step + 1))
        found.importance(before, torch.empty_like(before))
        seen = torch.where(single.flatten() & (step > 0), times * after, after)
        found.learn(cells, before, seen, torch.ones(len(after)))
    assert least <= found.doubt <= most


@pytest.mark.parametrize("large", [0.1, 0.5])
def test_doubt_goes_three_times_as_fast_where_what_is_large_is_structure(large):
    """An edge stays behind, as that of a field which learns slowly; with little in it nothing is told."""
    error = torch.full((64, 64), 0.1)
    side = round((large / (1 - large) * 64**2 * 0.1**2 / 0.6**2) ** 0.5)
    error[20 : 20 + side, 20 : 20 + side] = 0.6
    found = outliers_of((64, 64))
    # The usual error is far from a fifth of what it was.
    found.first.fill_(0.2)
    learn(found, error.flatten(), times=2)
    found.first.fill_(0.2)
    before = found.doubt.item()
    cells = torch.arange(64 * 64)
    found.learn(cells, error.flatten(), error.flatten(), torch.ones(64 * 64))
    kept = 1 - 0.1 * 3 if large == 0.5 else 1 - 0.1 / 4
    assert found.doubt.item() == pytest.approx(before * kept, rel=1e-3)


def test_doubt_goes_where_too_little_is_large_to_tell():
    error = torch.full((64, 64), 0.05)
    error[30, 30] = 0.5
    found = outliers_of((64, 64))
    learn(found, error.flatten(), times=60)
    assert found.doubt < 0.5


@pytest.mark.parametrize(("ratio", "stands_alone"), [(2.0, False), (3.4, False), (5.0, True), (20.0, True)])
def test_an_error_stands_alone_that_exceeds_its_neighbors_four_times(ratio, stands_alone):
    error = torch.full((64, 64), 1e-3)
    # Groups of three, two of them a quarter or a half as large: the second largest of the neighbors'.
    for row in range(4, 60, 8):
        for column in range(4, 60, 8):
            error[row, column] = 1.0
            error[row, column + 1] = error[row + 1, column] = 1.0 / ratio
    found = outliers_of((64, 64))
    learn(found, error.flatten(), times=200)
    assert found.doubt.item() == pytest.approx(1.0 if stands_alone else 0.0, abs=0.02)


def test_doubt_comes_within_two_passes_and_goes_in_many():
    error = torch.full((32, 32), 1e-2)
    defects = error.clone()
    defects[::6, ::5] = 0.8
    found = outliers_of((32, 32))
    learn(found, error.flatten(), times=300)
    assert found.doubt < 1e-3
    learn(found, defects.flatten(), times=3)
    assert found.doubt > 0.8
    learn(found, error.flatten(), times=5)
    assert 0.4 < found.doubt < 0.7, "a tenth at a time"
    # Nothing could stand out before the usual error had fallen: then a fourth of that.
    found.first.fill_(0.02)
    before = found.doubt.item()
    cells = torch.arange(32 * 32)
    found.learn(cells, error.flatten(), error.flatten(), torch.ones(32 * 32))
    assert found.doubt.item() == pytest.approx(before * 0.975, rel=1e-3)


@pytest.mark.parametrize(("doubt", "part"), [(1.0, 1.0), (0.5, 1.0), (0.25, 0.5)])
def test_what_stands_alone_counts_less_as_doubt_grows(doubt, part):
    error = torch.full((16, 16), 0.01)
    error[5, 5] = 1.0
    found, room = outliers_of((16, 16)), torch.empty(256)
    found.usual.fill_(0.01)
    found.doubt.fill_(doubt)
    counts = found.importance(error.flatten(), room).view(16, 16)
    assert counts[5, 5].item() == pytest.approx(1.0 + part * (0.01 - 1.0), abs=1e-3)


def test_without_doubt_neighbors_are_looked_at_in_every_fourth_period():
    found, room = outliers_of((16, 16)), torch.empty(256)
    found.doubt.zero_()
    error = torch.full((16, 16), 0.01)
    error[3:6, 3:6] = 0.1
    for _ in range(4):
        assert torch.equal(found.importance(error.flatten(), room), error.flatten())
    assert found._decoded(found.plausible).view(16, 16)[4, 4].item() == pytest.approx(0.1, rel=0.07)


@pytest.mark.parametrize("flight", [8, 9, 16])
def test_batches_in_flight_longer_than_a_period_keep_their_weights(flight):
    def error(coords):
        return 0.2 + 0.1 * (6 * coords).sin().sum(-1).abs()

    samplers = [
        QuotaMap(Box((64, 64)), 256, snapped=True, alpha=0.6, robust=robust, seed=0)
        for robust in (True, False)
    ]
    assert samplers[0].period == 4
    for _ in range(6):
        for sampler in samplers:
            batches = [sampler.draw() for _ in range(flight)]
            for batch in batches:
                full = batch.density ** -sampler.alpha_at(batch.step)
                torch.testing.assert_close(sampler.weigh(batch, error(batch.coords)), full)
            for batch in batches:
                sampler.update(batch, error(batch.coords))


@pytest.mark.parametrize("idle", [0.0, torch.nan, None])
def test_a_period_without_errors_teaches_nothing(idle):
    sampler = QuotaMap(Box((64, 64)), 256, snapped=True, alpha=0.0, robust=True, seed=0)
    for _ in range(sampler.period):
        batch = sampler.draw()
        if idle is not None:
            sampler.update(batch, torch.full((256,), idle))
    outliers = sampler.memory.outliers
    for _ in range(2 * sampler.period):
        batch = sampler.draw()
        assert sampler.weigh(batch, torch.full((256,), 0.3)).min() == 1.0
        sampler.update(batch, torch.full((256,), 0.3))
    assert outliers.first.item() == pytest.approx(0.3)


def test_limits_belong_to_the_cells_of_their_samples():
    box = Box((32, 32))
    sampler = QuotaMap(box, 128, period=3, alpha=0.0, snapped=True, robust=True, seed=0)
    error = (10 ** torch.linspace(-4, 0, 32)).expand(32, 32).flatten()
    for step in range(30):
        batch = sampler.draw()
        cells = box.cell(batch.coords)
        if step >= 27:
            torch.testing.assert_close(batch.limit, sampler.memory.outliers.limit(cells))
            assert len(batch.limit.unique()) > 3
        sampler.update(batch, error[cells])


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


def test_a_sampler_says_what_it_left_to_itself():
    sampler = QuotaMap(Box((32, 32)), 128, robust=True, seed=0)
    assert "train with robust=False" in sampler.remark()
    sampler.memory.outliers.doubt.fill_(0.4)
    assert sampler.remark() == ""
    assert QuotaMap(Box((32, 32)), 128, seed=0).remark() == ""
