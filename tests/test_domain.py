import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from softmine import Box, SoftmineError

shapes = st.lists(st.integers(1, 5000), min_size=1, max_size=4)


@settings(deadline=None)
@given(shape=shapes, data=st.data())
def test_cells_and_their_centres_agree(shape, data):
    box = Box(shape)
    cells = torch.tensor(data.draw(st.lists(st.integers(0, box.cells - 1), min_size=1, max_size=20)))
    centres = box.centres(cells)
    assert box.contains(centres).all()
    assert torch.equal(box.cell(centres), cells)


@settings(deadline=None)
@given(shape=shapes)
def test_native_units_are_cells(shape):
    box = Box(shape)
    corner = box.to_native(torch.ones(1, box.dim))
    assert corner.tolist() == [[float(size) for size in shape]]
    torch.testing.assert_close(box.to_unit(corner), torch.ones(1, box.dim))


@settings(deadline=None)
@given(shape=shapes)
def test_snapping_goes_to_the_centre_of_the_same_cell_and_lets_the_gradient_pass(shape):
    box = Box(shape)
    coords = torch.rand(20, box.dim, generator=torch.Generator().manual_seed(0)).requires_grad_()
    snapped = box.snap(coords)
    assert torch.equal(box.cell(snapped), box.cell(coords))
    torch.testing.assert_close(snapped.detach(), box.centres(box.cell(coords)))
    snapped.sum().backward()
    assert torch.equal(coords.grad, torch.ones_like(coords))


def test_the_box_is_half_open_and_nan_is_outside():
    box = Box((4, 4))
    coords = torch.tensor([[0.0, 0.0], [0.5, 1.0], [-1e-9, 0.5], [0.5, float("nan")], [0.99, 0.99]])
    assert box.contains(coords).tolist() == [True, False, False, False, True]


def test_cells_are_row_major():
    assert Box((3, 5)).cell(torch.tensor([[0.5, 0.9]])).item() == 1 * 5 + 4


@pytest.mark.parametrize("shape", [(), (0,), (3, -1), (1, 2, 3, 4, 5)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(SoftmineError, match="1 to 4 axes"):
        Box(shape)


@pytest.mark.parametrize("shape", [(7,), (5, 9), (3, 4, 5), (2, 3, 2, 3), (2**24,)])
@pytest.mark.parametrize("offset", [0.0, 0.5, 0.999999])
def test_a_coordinate_inside_a_cell_belongs_to_it(shape, offset):
    box = Box(shape)
    cells = torch.arange(0, box.cells, max(1, box.cells // 1000))
    coords = box.inside(cells, [torch.full((len(cells),), offset)] * box.dim)
    assert box.contains(coords).all()
    # Between the cells of the longest axis float32 has no places of its own.
    assert ((box.cell(coords) - cells).abs() <= (1 if max(shape) > 2**22 else 0)).all()


def test_the_scale_is_made_once_for_each_type():
    box = Box((3, 5))
    single, double = torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.float64)
    assert box.scale(single) is box.scale(single)
    assert box.scale(double).dtype == torch.float64
    assert box.scale(single).tolist() == [3, 5]
