"""Views that hold far more error than the others are drawn evenly."""

import pytest
import torch

from softmine import Box, QuotaMap
from softmine.sampling.density.map_cells import MapCells, map_shape
from softmine.sampling.quota_map.views import MUCH, SOME, Views


def cells_of(shape, most=2**19, mask=None):
    domain = Box(shape, discrete=(0,), mask=mask)
    return MapCells(map_shape(domain, most), domain)


@pytest.mark.parametrize(
    ("ratio", "unlike"), [(1.0, 0.0), (SOME, 0.0), ((SOME + MUCH) / 2, 0.5), (MUCH, 1.0), (50.0, 1.0)]
)
def test_a_view_is_unlike_the_others_by_how_much_more_it_holds(ratio, unlike):
    importance = torch.rand(12, 6, 5, generator=torch.Generator().manual_seed(0))
    importance /= importance.mean((1, 2), keepdim=True)
    wanted = importance.clone()
    importance[3] *= ratio
    wanted[3] = ratio * wanted[3] * (1 - unlike) + unlike
    views = Views(cells_of((12, 6, 5)))
    found = views.even_out(importance.flatten())
    torch.testing.assert_close(found.view(12, 6, 5), wanted)
    assert views.unlike.tolist() == pytest.approx([unlike * (view == 3) for view in range(12)], abs=1e-5)


def test_a_scene_whose_views_are_hard_in_different_ways_is_left_as_it_is():
    importance = torch.linspace(1.0, 1.4, 20).repeat_interleave(30)
    assert torch.equal(Views(cells_of((20, 6, 5))).even_out(importance.clone()), importance)


@pytest.mark.parametrize("kind", ["few views", "no error"])
def test_where_nothing_can_be_told_nothing_is_changed(kind):
    views = 4 if kind == "few views" else 12
    importance = torch.ones(views, 30) if kind == "few views" else torch.zeros(views, 30)
    importance[0] *= 100
    found = Views(cells_of((views, 6, 5)))
    assert torch.equal(found.even_out(importance.flatten().clone()), importance.flatten())
    assert found.named() == []


def test_what_a_mask_leaves_of_views_is_compared():
    """One has half of its cells and twice their importance, another none."""
    mask = torch.ones(12, 6, 5, dtype=torch.bool)
    mask[2, :3] = False
    mask[7] = False
    cells = cells_of((12, 6, 5), mask=mask)
    importance = torch.ones(12, 6, 5)
    importance[2] = 1.4
    importance[5] = 20.0
    views = Views(cells)
    found = views.even_out(importance[mask].clone())
    importance[5] = 1.0
    torch.testing.assert_close(found, importance[mask])
    assert views.named() == ["5"]


def test_coarse_maps_have_whole_views():
    views = Views(cells_of((10, 40, 40), most=10 * 25))
    assert len(views.view) == 250
    assert views.sizes.tolist() == [25.0] * 10


@pytest.mark.parametrize("robust", [True, False])
def test_a_view_with_somebody_in_it_draws_its_share_and_no_more(robust):
    """Its patch keeps its error, all others' errors fall as they are seen."""
    box = Box((16, 12, 12), discrete=(0,))
    sampler = QuotaMap(box, 128, robust=robust, snapped=True, seed=0)
    error = torch.rand(16, 12, 12, generator=torch.Generator().manual_seed(1)) * 0.1
    error[4, 2:8, 2:8] = 0.6
    drawn = torch.zeros(box.cells)
    for step in range(400):
        batch = sampler.draw()
        cells = box.cell(batch.coords)
        if step > 200:
            drawn.index_add_(0, cells, torch.ones(128))
        sampler.update(batch, error.flatten()[cells])
    share = drawn.view(16, -1)[4].sum() / drawn.sum()
    if robust:
        assert 0.5 / 16 < share < 2 / 16
        assert "of 16 views 4 (counted from 0) had far more error" in sampler.remark()
    else:
        assert share > 0.25
        assert sampler.remark() == ""
