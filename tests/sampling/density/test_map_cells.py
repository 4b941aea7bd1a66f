"""Maps whose cells are blocks of whole cells of the domain, at every size and dimension."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softmine import Box, ErrorMap, QuotaMap
from softmine.sampling import PiecewiseConstant, RandomStream
from softmine.sampling.density.map_cells import AT_A_TIME, MAX_AXIS, MapCells, map_shape

from helpers import FALSE_ALARM, chi_square_p


@st.composite
def maps(draw):
    """The shapes of a domain and of a map that is nowhere finer."""
    fine = draw(st.lists(st.integers(1, 13), min_size=1, max_size=4))
    return fine, [draw(st.integers(1, size)) for size in fine]


@given(shapes=maps())
def test_every_domain_cell_belongs_to_one_block(shapes):
    fine, coarse = shapes
    box, cells = Box(fine), MapCells(coarse, Box(fine))
    found, valid = cells.find(box.centers(torch.arange(box.cells)))
    assert valid is None
    held = torch.bincount(found, minlength=cells.count)
    assert (held > 0).all()
    # A block: along each axis one run of cells, whose lengths differ by at most one.
    found = found.view(fine)
    for axis, (size, many) in enumerate(zip(fine, coarse, strict=True)):
        behind = math.prod(coarse[axis + 1 :])
        along = found.movedim(axis, 0).reshape(size, -1) // behind % many
        assert (along == along[:, :1]).all()
        assert torch.equal(along[:, 0].unique(), torch.arange(many))
        widths = torch.bincount(along[:, 0])
        assert (along[:, 0].diff() >= 0).all()
        assert widths.max() - widths.min() <= (size % many > 0)
    # Volumes count the cells, and sum to the domain.
    if cells.volume is None:
        assert (held == held[0]).all()
    else:
        expected = held.float() * (cells.count / box.cells)
        torch.testing.assert_close(cells.volume, expected, rtol=1e-6, atol=0)
        assert torch.equal(cells.volume_of(torch.arange(cells.count)), cells.volume)
    values = torch.rand(cells.count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert cells.mean(values).item() == pytest.approx(values[found.flatten()].mean().item(), rel=1e-6)


@given(shapes=maps(), offset=st.floats(0, 0.9999999))
def test_what_is_inside_a_block_is_found_there(shapes, offset):
    fine, coarse = shapes
    box = Box(fine)
    cells = MapCells(coarse, box)
    every = torch.arange(cells.count)
    coords = cells.inside(every, [torch.tensor([offset])] * box.dim)
    assert torch.equal(cells.find(coords)[0], every)
    assert torch.equal(cells.find(box.snap(coords))[0], every)
    assert torch.equal(cells.find(cells.centers())[0], every)


@given(shapes=maps(), seed=st.integers(0, 99))
def test_masked_and_whole_domains_have_the_same_blocks(shapes, seed):
    fine, coarse = shapes
    mask = torch.rand(fine, generator=torch.Generator().manual_seed(seed)) < 0.8
    mask.view(-1)[0] = True
    box = Box(fine)
    masked, whole = MapCells(coarse, Box(fine, mask)), MapCells(coarse, box)
    valid = mask.flatten().nonzero().squeeze(-1)
    centers = box.centers(valid)
    found = whole.find(centers)[0]
    numbers = found.unique()
    assert torch.equal(numbers[masked.find(centers)[0]], found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_mean_of_many_blocks_counts_their_sizes(dtype):
    cells = MapCells((299, 290), Box((300, 300)))
    assert cells.count > 2 * AT_A_TIME
    values = torch.rand(cells.count, generator=torch.Generator().manual_seed(0), dtype=dtype)
    expected = (values.double() * cells.volume).mean().item()
    assert cells.mean(values).item() == pytest.approx(expected, rel=1e-6)
    assert cells.volume.double().mean().item() == pytest.approx(1, rel=1e-6)


BORDERS = (0.0, 2.0**-24, 0.5, 1 - 2.0**-24)


@pytest.mark.parametrize(
    ("size", "many"),
    [
        (768, 724),
        (MAX_AXIS, MAX_AXIS - 1),
        (MAX_AXIS + 1, MAX_AXIS // 2 + 1),
        (2 * MAX_AXIS - 1, MAX_AXIS),
        (2**24 + 1, 2**21 + 3),
        (3_000_000_001, MAX_AXIS),
        (3_000_000_001, 524_287),
        (2**33 - 1, 7),
    ],
)
def test_float32_does_not_round_across_borders(size, many):
    cells = MapCells((many,), Box((size,)))
    every = torch.arange(many)
    for offset in BORDERS:
        coords = cells.inside(every, [torch.tensor([offset])])
        assert coords.dtype == torch.float32
        assert ((coords >= 0) & (coords < 1)).all()
        assert torch.equal(cells.find(coords)[0], every)


@pytest.mark.parametrize(
    ("fine", "coarse"),
    [((61,), (9,)), ((13, 18), (4, 18)), ((7, 9, 8), (3, 2, 5)), ((2, 3, 5, 7), (2, 2, 3, 4))],
)
def test_cells_of_a_block_are_drawn_alike(fine, coarse):
    """Samples drawn against the density of every domain cell, snapped or not: a false alarm of 1e-5 each."""
    box = Box(fine)
    weights = torch.rand(coarse, generator=torch.Generator().manual_seed(5)) + 0.1
    density = PiecewiseConstant(weights, domain=box)
    centers = box.centers(torch.arange(box.cells))
    stated = density.density(centers)
    assert stated.mean().item() == pytest.approx(1.0, abs=1e-6)
    assert torch.equal(stated, density.values()[density.cells.find(centers)[0]])
    ratio = stated / weights.flatten()[density.cells.find(centers)[0]]
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))
    coords = density.draw(60_000, RandomStream(0))
    drawn = torch.bincount(box.cell(coords), minlength=box.cells)
    assert torch.equal(drawn, torch.bincount(box.cell(box.snap(coords)), minlength=box.cells))
    assert chi_square_p(drawn, stated) > FALSE_ALARM
    assert chi_square_p(drawn, np.ones(box.cells)) < 1e-20, "the test can fail"
    within = (coords * box.scale(coords)).frac().flatten()
    assert chi_square_p(np.histogram(within.numpy(), bins=10, range=(0, 1))[0], np.ones(10)) > FALSE_ALARM


@pytest.mark.parametrize("snapped", [False, True])
@pytest.mark.parametrize("shape", [(101,), (23, 31), (7, 9, 11), (3, 5, 4, 7)])
def test_a_uniform_quota_map_visits_all_domain_cells_alike(shape, snapped):
    """Error diffusion varies less than independent draws, so that the chi-square test of 1e-5 passes more easily."""
    box = Box(shape)
    sampler = QuotaMap(box, 64, cells=box.cells // 3, power=0.0, snapped=snapped, seed=1)
    assert sampler.cells.volume is not None, "blocks of different sizes"
    drawn = torch.zeros(box.cells, dtype=torch.int64)
    for _ in range(600):
        batch = sampler.draw()
        torch.testing.assert_close(batch.density, torch.ones(64))
        drawn += torch.bincount(box.cell(batch.coords), minlength=box.cells)
        sampler.update(batch, torch.ones(64))
    assert chi_square_p(drawn, np.ones(box.cells)) > FALSE_ALARM


@pytest.mark.parametrize("shape", [(101,), (23, 31), (7, 9, 11), (3, 5, 4, 7)])
def test_the_density_of_a_sample_is_its_domain_cells(shape):
    box = Box(shape)
    sampler = QuotaMap(box, 32, cells=box.cells // 3, snapped=True, period=2, seed=0)
    values = torch.rand(box.cells, generator=torch.Generator().manual_seed(1)) ** 3
    centers = box.centers(torch.arange(box.cells))
    for _ in range(40):
        density = sampler.memory.density(sampler.uniform_share, math.inf, sampler.cells).clone()
        assert density[sampler.cells.find(centers)[0]].mean().item() == pytest.approx(1, abs=1e-5)
        for _ in range(2):
            batch = sampler.draw()
            assert torch.equal(batch.coords, centers[box.cell(batch.coords)])
            sampler.update(batch, values[box.cell(batch.coords)])


@pytest.mark.parametrize("shape", [(61,), (13, 18), (7, 9, 8), (3, 4, 5, 6)])
@pytest.mark.parametrize("drawing", ["independent", "stratified"])
def test_full_weight_is_unbiased_on_unequal_blocks(shape, drawing):
    """The mean over runs of different seeds is within 4.5 standard errors: a false alarm of 7e-6 each."""
    box = Box(shape)
    values = torch.rand(box.cells, generator=torch.Generator().manual_seed(11)) ** 4
    means = []
    for seed in range(200):
        sampler = ErrorMap(box, 32, cells=box.cells // 5, alpha=1.0, warmup=0, drawing=drawing, seed=seed)
        assert sampler.density.cells.volume is not None, "blocks of different sizes"
        for _ in range(4):
            batch = sampler.draw()
            error = values[box.cell(batch.coords)]
            weighted = (sampler.weigh(batch, error) * error).mean().item()
            sampler.update(batch, error)
        means.append(weighted)
    standard_error = np.std(means) / len(means) ** 0.5
    assert abs(np.mean(means) - values.mean().item()) < 4.5 * standard_error


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((640, 640), (640, 640)),
        ((704, 704), (704, 704)),
        ((768, 768), (768, 384)),
        ((1024, 1024), (1024, 512)),
        ((1080, 1920), (540, 960)),
        ((2048, 2048), (683, 683)),
        ((4344, 4408), (724, 630)),
        ((128, 136, 148), (64, 68, 74)),
        ((256, 256, 256), (86, 86, 64)),
        ((132, 720, 1280), (22, 120, 183)),
        ((1_323_000,), (441_000,)),
        ((2**33,), (2**19,)),
        ((54, 18, 432), (54, 18, 432)),
        ((12, 30, 40, 50), (12, 30, 40, 25)),
    ],
)
def test_quota_map_cells_are_the_smallest_blocks(shape, expected):
    assert map_shape(Box(shape), 2**19) == expected


def test_map_cells_are_nearly_cubic():
    assert map_shape(Box((400, 800)), 200) == (10, 20)
    assert map_shape(Box((1000, 10, 1000)), 100) == (10, 1, 10)
    assert map_shape(Box((4, 8)), 2**14) == (4, 8)
    assert map_shape(Box((512,)), 2**14) == (512,)
    assert map_shape(Box((6, 6)), 9) == (3, 3)
    assert map_shape(Box((6, 6)), 18) == (6, 3)


def test_an_axis_has_no_more_map_cells_than_float32_places():
    assert map_shape(Box((2**30,)), 2**26) == (MAX_AXIS,)
    assert map_shape(Box((2**23, 2)), 2**30) == (MAX_AXIS, 2)
    assert map_shape(Box((2**23, 2), discrete=[0]), 2**30) == (MAX_AXIS, 2)


@given(shape=st.lists(st.integers(1, 3000), min_size=1, max_size=4), cells=st.integers(1, 2**14))
def test_a_map_has_at_most_the_cells_wanted_and_half_of_them(shape, cells):
    found = map_shape(Box(shape), cells)
    assert all(1 <= part <= whole for part, whole in zip(found, shape, strict=True))
    wanted = min(cells, math.prod(shape))
    assert wanted / 2 <= math.prod(found) <= wanted


def test_half_precision_does_not_touch_a_density_on_unequal_blocks():
    density = PiecewiseConstant(torch.rand(3, 4), domain=Box((10, 13)))
    before = density.values()
    assert torch.equal(density.half().values(), before)
