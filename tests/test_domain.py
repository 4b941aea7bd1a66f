import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from softmine import Box, SoftmineError

from helpers import FALSE_ALARM, chi_square_p, unchecked_types

shapes = st.lists(st.integers(1, 5000), min_size=1, max_size=4)


@given(shape=shapes, data=st.data())
def test_cells_and_their_centers_agree(shape, data):
    box = Box(shape)
    cells = torch.tensor(data.draw(st.lists(st.integers(0, box.cells - 1), min_size=1, max_size=20)))
    centers = box.centers(cells)
    assert box.contains(centers).all()
    assert torch.equal(box.cell(centers), cells)


@given(shape=shapes)
def test_native_units_are_cells(shape):
    box = Box(shape)
    corner = box.to_native(torch.ones(1, box.dim))
    assert corner.tolist() == [[float(size) for size in shape]]
    torch.testing.assert_close(box.to_unit(corner), torch.ones(1, box.dim))


@given(shape=shapes)
def test_snapping_goes_to_the_center_of_the_same_cell_and_lets_the_gradient_pass(shape):
    box = Box(shape)
    coords = torch.rand(20, box.dim, generator=torch.Generator().manual_seed(0)).requires_grad_()
    snapped = box.snap(coords)
    assert torch.equal(box.cell(snapped), box.cell(coords))
    torch.testing.assert_close(snapped.detach(), box.centers(box.cell(coords)))
    snapped.sum().backward()
    assert torch.equal(coords.grad, torch.ones_like(coords))


def test_the_box_is_half_open_and_nan_is_outside():
    box = Box((4, 4))
    coords = torch.tensor([[0.0, 0.0], [0.5, 1.0], [-1e-9, 0.5], [0.5, float("nan")], [0.99, 0.99]])
    assert box.contains(coords).tolist() == [True, False, False, False, True]


def test_cells_are_row_major():
    assert Box((3, 5)).cell(torch.tensor([[0.5, 0.9]])).item() == 1 * 5 + 4


@pytest.mark.parametrize(
    "shape",
    [
        (torch.tensor(4.0), 4),
        (True, 4),
        (torch.tensor(True), 4),
        b"ab",
        "44",
        {8, 4},
        {4: 4},
        (4.0,),
        4,
        None,
    ],
)
def test_a_shape_of_no_whole_numbers_is_refused(shape):
    with (
        unchecked_types(),
        pytest.raises(SoftmineError, match=r"the shape of a Box is .*: give its whole numbers"),
    ):
        Box(shape)


@pytest.mark.parametrize("discrete", [(1.5,), "0", 3, None, (True,), {0}, (None,)])
def test_discrete_axes_that_are_no_whole_numbers_are_refused(discrete):
    with unchecked_types(), pytest.raises(SoftmineError, match=r"discrete is .*: give the numbers of axes"):
        Box((4, 4), discrete=discrete)


def test_whole_numbers_of_any_kind_are_taken():
    with unchecked_types():
        box = Box(torch.Size((4, 5)), discrete=[np.int64(1)])
        assert (box.shape, box.discrete) == ((4, 5), (1,))
        assert Box(np.array([4, 5])).shape == Box((torch.tensor(4), 5)).shape == box.shape
    assert all(type(size) is int for size in box.shape)


@pytest.mark.parametrize("shape", [(), (0,), (3, -1), (1, 2, 3, 4, 5)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(SoftmineError, match="1 to 4 axes"):
        Box(shape)


@pytest.mark.parametrize(
    "shape",
    [(7,), (5, 9), (3, 4, 5), (2, 3, 2, 3), (2**24,), (2**16, 3, 2**20), (2**8, 2**22, 2**20), (2**20,) * 3],
)
@pytest.mark.parametrize("offset", [0.0, 0.5, 0.999999])
def test_a_coordinate_inside_a_cell_belongs_to_it(shape, offset):
    box = Box(shape)
    cells = torch.arange(0, box.cells, max(1, box.cells // 1000))
    row_ends = cells - cells % shape[-1] + shape[-1] - 1
    cells = torch.cat((cells, row_ends))
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


def odd_mask(shape):
    """Holes everywhere, at least one cell of each kind if there are two cells."""
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.4
    mask.view(-1)[0], mask.view(-1)[-1] = False, True
    return mask


@pytest.mark.parametrize("shape", [(300,), (13, 18), (7, 9, 8), (3, 4, 5, 6)])
def test_uniform_numbers_become_uniform_coordinates_in_valid_cells(shape):
    """Cells by a chi-square test, offsets in them by Kolmogorov and Smirnov's: false alarms of 1e-5 each."""
    mask = odd_mask(shape)
    box = Box(shape, mask)
    coords = box.uniform(torch.rand(60_000, len(shape), generator=torch.Generator().manual_seed(1)))
    assert box.contains(coords).all()
    counts = torch.bincount(box.cell(coords), minlength=box.cells)[mask.flatten()]
    assert chi_square_p(counts, np.ones(box.valid)) > FALSE_ALARM
    for offsets in (box.to_native(coords) % 1).T:
        assert stats.kstest(offsets.double().numpy(), "uniform").pvalue > FALSE_ALARM


def test_without_a_mask_uniform_numbers_are_the_coordinates():
    numbers = torch.rand(5, 2)
    for box in (Box((3, 4)), Box((3, 4), torch.ones(3, 4, dtype=torch.bool)), Box((3, 4), discrete=[0])):
        assert box.uniform(numbers) is numbers
        assert not box.masked
        assert box.mask is None
        assert box.valid == 12


@given(shape=st.lists(st.integers(1, 40), min_size=1, max_size=3), seed=st.integers(0, 99))
def test_valid_cells_are_numbered_in_row_major_order(shape, seed):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.3
    mask.view(-1)[seed % mask.numel()] = True
    box = Box(shape, mask.numpy())
    assert box.valid == int(mask.sum())
    assert torch.equal(box.nth_valid(torch.arange(box.valid)), mask.flatten().nonzero().squeeze(-1))
    assert torch.equal(box.contains(box.centers(torch.arange(box.cells))), mask.flatten())
    assert (box.mask is None) == bool(mask.all())
    assert box.mask is None or torch.equal(box.mask, mask)


def test_a_mask_is_the_boxes_own():
    mask = torch.tensor([True, False, True])
    box = Box((3,), mask)
    mask[1] = True
    assert box.mask.tolist() == [True, False, True]
    assert repr(box) == "Box((3,), valid=2)"
    outside = torch.tensor([[0.1], [0.5], [1.2], [float("nan")], [float("inf")]])
    assert box.contains(outside).tolist() == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (
            torch.ones(3, 4, dtype=torch.bool),
            "shape \\(3, 4\\), but a Box of shape \\(4, 3\\) needs one truth",
        ),
        (np.zeros((4, 3), dtype=bool), "False everywhere"),
    ],
)
def test_masks_that_do_not_fit_are_refused(mask, message):
    with pytest.raises(SoftmineError, match=message):
        Box((4, 3), mask)


def test_a_mask_finer_than_coordinates_is_refused():
    mask = torch.zeros(2**22 + 1, dtype=torch.bool)
    mask[5] = True
    with pytest.raises(SoftmineError, match="too large"):
        Box(mask.shape, mask)


@pytest.mark.parametrize("discrete", [[2], [-1]])
def test_discrete_axes_must_exist(discrete):
    with pytest.raises(SoftmineError, match="has the axes 0 to 1"):
        Box((4, 3), discrete=discrete)


def test_samples_do_not_move_along_discrete_axes():
    box = Box((5, 4, 3), discrete=[2, 0])
    assert box.discrete == (0, 2)
    assert box.mobility(torch.zeros(1)).tolist() == [0.0, 1.0, 0.0]
    assert repr(box) == "Box((5, 4, 3), discrete=(0, 2))"


def test_a_deep_mask_finds_every_cell():
    """Many blocks, and numbers beyond the digits of float32."""
    mask = torch.zeros(5, 3000, 2000, dtype=torch.bool)
    mask.view(-1)[::7] = True
    box = Box(mask.shape, mask)
    numbers = torch.tensor([0, 1, box.valid // 2, box.valid - 1])
    assert torch.equal(box.nth_valid(numbers), 7 * numbers)
    first, last = box.uniform(torch.tensor([[0.0] * 3, [1 - 2.0**-24] * 3]))
    assert box.cell(first[None]).item() == 0
    assert box.cell(last[None]).item() == 7 * (box.valid - 1)


def test_what_a_box_keeps_serves_training_even_if_inference_asked_first():
    box, coords = Box((4, 6), discrete=(0,)), torch.full((3, 2), 0.4, requires_grad=True)
    with torch.inference_mode():
        box.to_native(coords)
        box.mobility(coords)
    (box.to_native(coords) * box.mobility(coords)).sum().backward()
    assert coords.grad[0].tolist() == [0, 6]
