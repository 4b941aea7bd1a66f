"""The coarse grids over masked fine ones, against what counting one by one says."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softmine import Box, masks
from softmine.masks import MaskedGrid, SetCells


@st.composite
def grids(draw):
    """A mask and the shape of a grid that is nowhere finer."""
    shape = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    coarse = [draw(st.integers(1, size)) for size in shape]
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 99)))) < 0.3
    mask.view(-1)[draw(st.integers(0, mask.numel() - 1))] = True
    return mask, coarse


@given(grid=grids(), data=st.data())
def test_every_cell_belongs_to_the_piece_that_its_center_lies_in(grid, data):
    mask, shape = grid
    # In parts of any size, it is put in order all the same.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masks, "AT_A_TIME", data.draw(st.integers(1, 100)))
        pieces = MaskedGrid(mask, shape)
    box, every = Box(mask.shape), torch.arange(mask.numel())
    # In double precision, and a little above: a center may lie on a border.
    coarse = Box(shape).cell(box.centers(every, torch.float64) + 1e-9)
    occupied = coarse[mask.flatten()].unique()
    assert pieces.count == len(occupied)
    assert torch.equal(pieces.counts, torch.bincount(coarse[mask.flatten()])[occupied])
    found, valid = pieces.find(every)
    assert torch.equal(valid, mask.flatten())
    assert torch.equal(occupied[found[valid]], coarse[valid])


@given(grid=grids(), offset=st.floats(0, 0.9999999))
def test_what_is_inside_a_piece_is_set_and_belongs_to_it(grid, offset):
    mask, shape = grid
    pieces = MaskedGrid(mask, shape)
    every = torch.arange(pieces.count)
    cells, within = pieces.inside(every, [torch.tensor([offset])] * mask.ndim)
    assert mask.flatten()[cells].all()
    assert torch.equal(pieces.find(cells)[0], every)
    assert all(((each >= 0) & (each < 1)).all() for each in within)


@pytest.mark.parametrize("length", [1, 63, 64, 65, 1000])
@pytest.mark.parametrize("share", [0.02, 0.5, 1.0])
@pytest.mark.parametrize("listed", [True, False])
def test_set_cells_are_numbered_in_order(monkeypatch, length, share, listed):
    if not listed:
        monkeypatch.setattr(masks, "LISTED", 0)
    flags = torch.rand(length, generator=torch.Generator().manual_seed(length)) < share
    flags[-1] = True
    cells = SetCells(flags)
    assert bool(len(cells.listed)) == listed
    expected = flags.nonzero().squeeze(-1)
    assert cells.count == len(expected)
    assert torch.equal(cells.nth(torch.arange(cells.count)), expected)
    assert torch.equal(cells.number(torch.arange(length)), flags.cumsum(0) - flags.long())
    assert torch.equal(cells.has(torch.arange(length)), flags)
    assert torch.equal(cells.flags, flags)
