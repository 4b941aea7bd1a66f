"""What signals on a grid share: the cells around a coordinate, and how their values are kept."""

import itertools

import numpy as np
import pytest
import torch
from torch.autograd import forward_ad

from softmine.errors import SoftmineError
from softmine.signals.grid import centers, check_coords, corners, gather, runs_eagerly, shift, to_buffer

DTYPES = ("bool", "uint8", "uint16", "uint32", "uint64", "int16", "int64", "float16", "float32", "float64")


@pytest.mark.parametrize("size", [(5,), (4, 6), (3, 1, 4), (2, 3, 4, 5)])
def test_positions_lie_between_their_corners(size):
    random = torch.Generator().manual_seed(0)
    position = torch.rand(50, len(size), generator=random) * (torch.tensor(size) - 1)
    cells, fraction = corners(position, torch.tensor(size))
    assert cells.shape == (*[2] * len(size), 50)
    for corner in itertools.product((0, 1), repeat=len(size)):
        places = torch.stack(torch.unravel_index(cells[corner], size), -1)
        # The last cell of an axis is also the one after it.
        after = (position.floor() + torch.tensor(corner)).minimum(torch.tensor(size) - 1)
        assert torch.equal(places.float(), after)
    assert torch.allclose(position.floor() + fraction.squeeze(-1), position)


def test_positions_may_each_have_a_grid_of_their_own():
    position = torch.tensor([[0.5, 1.5], [0.5, 1.5]])
    sizes = torch.tensor([[2, 3], [4, 10]])
    together, _ = corners(position, sizes)
    for index in range(2):
        alone, _ = corners(position[index : index + 1], sizes[index])
        assert torch.equal(together[..., index], alone[..., 0])


def test_a_position_that_is_no_number_has_the_first_cells_and_no_fraction():
    cells, fraction = corners(torch.tensor([[float("nan"), 1.0]]), torch.tensor([3, 3]))
    assert cells[..., 0].tolist() == [[1, 2], [4, 5]]
    assert fraction[0, 0].isnan()


def test_all_positions_must_be_centers_and_want_no_gradient():
    size = torch.tensor([100, 30])
    place = torch.cartesian_prod(torch.arange(100), torch.arange(30))
    # As coordinates that single precision has rounded.
    position = ((place + 0.5) / size).float() * size - 0.5
    found = centers(position, size)
    assert found is not None
    assert torch.equal(found, torch.arange(3000))
    assert centers(position.clone().requires_grad_(), size) is None
    for wrong in (0.001, float("nan")):
        position[7, 1] = 3 + wrong
        assert centers(position, size) is None


@pytest.mark.parametrize("size", [(7,), (1000, 30), (3, 1023, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("work", [torch.float32, torch.float64])
def test_as_far_as_the_precision_of_the_coordinates_tells(size, dtype, work):
    sizes = torch.tensor(size)
    work = torch.promote_types(dtype, work)
    place = torch.cartesian_prod(*(torch.arange(length) for length in size)).view(-1, len(size))
    coords = ((place.double() + 0.5) / sizes).to(dtype)
    position = (coords.to(work) * sizes - 0.5).clamp(min=0).minimum(sizes - 1)
    found = centers(position, sizes, dtype)
    assert found is not None
    assert torch.equal(found, torch.arange(len(place)))
    beside = position.clone()
    beside[-2, -1] += 8 * torch.finfo(dtype).eps * size[-1]
    assert centers(beside, sizes, dtype) is None


def test_short_coordinates_are_taken_as_they_are():
    coords = ((torch.arange(1000.0) + 0.5) / 1000).unsqueeze(1)
    size = torch.tensor([1000])
    for dtype in (torch.float16, torch.bfloat16):
        position = (coords.to(dtype).float() * size - 0.5).clamp(min=0).minimum(size - 1)
        assert (position != position.round()).any()
        assert centers(position, size, dtype) is None


def asked(tensor, answers):
    """``tensor``, after a note of whether code may look at its values."""
    answers.append(runs_eagerly(tensor))
    return tensor * 1.0


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # torch's, which uses it forward
def test_values_may_be_looked_at_unless_operations_must_hold_for_others_too():
    tensor, answers = torch.zeros(3, 2), []
    asked(tensor, answers)
    asked(tensor.clone().requires_grad_(), answers)
    with torch.no_grad():
        asked(tensor, answers)
    with torch.inference_mode():
        asked(tensor, answers)
    with forward_ad.dual_level():
        asked(tensor, answers)
    assert answers == [True] * 5
    answers.clear()
    with forward_ad.dual_level():
        asked(forward_ad.make_dual(tensor, tensor), answers)
    torch.func.jvp(lambda given: asked(given, answers), (tensor,), (tensor,))
    torch.func.vmap(lambda given: asked(given, answers))(tensor)
    torch.func.grad(lambda given: asked(given, answers).sum())(tensor)
    torch.jit.trace(lambda given: asked(given, answers), tensor, check_trace=False)
    assert answers == [False] * 5


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("copy", [True, False])
def test_a_buffer_holds_every_value(dtype, order, copy):
    most = 1000 if np.dtype(dtype).kind == "f" else 2**63
    array = np.random.default_rng(0).integers(0, most, (3, 4, 2), np.uint64).astype(dtype)
    array.flat[:2] = (0, 1) if dtype == "bool" else (array.max(), array.min())
    given = array.astype(array.dtype.newbyteorder(order))
    given.flags.writeable = copy
    kept = to_buffer(given, copy)
    assert kept.shape == (12, 2)
    assert kept.element_size() == array.itemsize
    stored = kept.numpy().astype(object) + shift(array.dtype)
    assert (stored.reshape(array.shape) == array.astype(object)).all()


def test_a_buffer_shares_memory_only_where_it_may():
    array = np.zeros((2, 3), np.float32)
    kept, shared = to_buffer(array), to_buffer(array, copy=False)
    array[0, 0] = 1
    assert kept[0, 0] == 0
    assert shared[0, 0] == 1


@pytest.mark.parametrize("channels", [1, 3])
def test_cells_are_gathered_in_the_type_of_the_work(channels):
    stored = torch.arange(5 * channels, dtype=torch.uint8).view(5, channels)
    values = gather(stored, torch.tensor([3, 0, 3]), torch.float64)
    assert values.dtype == torch.float64
    assert torch.equal(values, stored[[3, 0, 3]].double())


@pytest.mark.parametrize("coords", [torch.zeros(2), torch.zeros(2, 3), torch.zeros(2, 2, dtype=torch.long)])
def test_other_coordinates_are_refused(coords):
    check_coords(torch.zeros(0, 2), 2, "a plan takes float (row, column)")
    with pytest.raises(
        SoftmineError, match=r"^a plan takes float \(row, column\) coordinates of shape \(N, 2\)"
    ):
        check_coords(coords, 2, "a plan takes float (row, column)")
