"""Volumes answer between voxels, keep their types, and never let missing data in."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.autograd import forward_ad

from softmine import SoftmineError
from softmine.signals import grid, memmap
from softmine.signals.volume import Volume

INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")


def random_voxels(shape, dtype="float32", seed=0):
    random = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return random.normal(3, 5, shape).astype(dtype)
    if dtype == "bool":
        return random.random(shape) < 0.5
    info = np.iinfo(dtype)
    return random.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


def with_gaps(shape, share=0.4, seed=1):
    voxels = random_voxels(shape, seed=seed)
    voxels[np.random.default_rng(seed).random(shape[:3]) < share] = np.nan
    return voxels


@pytest.mark.parametrize("shape", [(5, 6, 7), (5, 6, 7, 3), (4, 1, 6), (3, 4, 5, 6)])
def test_values_are_linear_between_voxels(shape):
    voxels = random_voxels(shape, "float64")
    volume = Volume(voxels)
    dim = len(volume.domain.shape)
    coords = torch.rand(500, dim, dtype=torch.float64) * 1.2 - 0.1
    positions = (coords.numpy() * volume.domain.shape - 0.5).T
    low, high = voxels.min(), voxels.max()
    channels = voxels.reshape(volume.shape)
    expected = [
        ndimage.map_coordinates(channels[..., c], positions, order=1, mode="nearest")
        for c in range(volume.channels)
    ]
    np.testing.assert_allclose(
        volume(coords).numpy(), (np.stack(expected, -1) - low) / (high - low), atol=1e-9
    )


@pytest.mark.parametrize("gaps", [False, True])
def test_the_gradient_is_that_of_the_values(gaps):
    voxels = with_gaps((4, 5, 6, 2)) if gaps else random_voxels((4, 5, 6, 2))
    volume = Volume(voxels.astype(np.float64))
    # A tenth of a voxel away from centers, where values have kinks, and between voxels that are all there.
    cells = torch.randint(0, 60, (200,), generator=torch.Generator().manual_seed(0))
    coords = volume.domain.centers(cells, torch.float64)
    coords = coords + (torch.rand(200, 3, dtype=torch.float64) * 0.3 + 0.1) / torch.tensor([4, 5, 6])
    assert torch.autograd.gradcheck(volume, coords.requires_grad_(), eps=1e-7, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # torch's own use of it
@pytest.mark.parametrize("gaps", [False, True])
def test_derivatives_at_centers_are_the_differences_to_the_next(gaps):
    # Sides are powers of two, so that float64 holds the centers and nothing lies before them.
    shape = (4, 8, 2)
    voxels = with_gaps(shape) if gaps else random_voxels(shape)
    volume = Volume(voxels.astype(np.float64))
    coords = volume.domain.centers(torch.arange(64), torch.float64)
    # A voxel without data has no value of its own to differ from.
    held = volume.domain.contains(coords)
    backward = coords.clone().requires_grad_()
    volume(backward).sum().backward()
    forward = torch.func.vmap(torch.func.jacfwd(lambda coord: volume(coord[None])[0, 0]))(coords)
    for axis, length in enumerate(shape):
        direction = torch.zeros_like(coords)
        direction[:, axis] = 1
        # Near voxels without data values are not linear, so a short step.
        step = 2.0**-20
        expected = (volume(coords + direction * (step / length)) - volume(coords)) * (length / step)
        assert expected[held].any()
        slopes = torch.func.jvp(volume, (coords,), (direction,))[1]
        with forward_ad.dual_level():
            dual = forward_ad.unpack_dual(volume(forward_ad.make_dual(coords, direction))).tangent
        for found in (slopes, dual, backward.grad[:, axis, None], forward[:, axis, None]):
            torch.testing.assert_close(found[held], expected[held], rtol=0, atol=1e-6)


def test_a_batch_of_batches_of_centers():
    volume = Volume(random_voxels((4, 8, 2, 3)))
    coords = volume.domain.centers(torch.arange(64))
    together = torch.func.vmap(volume)(coords.view(8, 8, 3))
    torch.testing.assert_close(together.view(64, 3), volume(coords), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [*INTEGERS, "float16", "float32", "float64", "bool"])
@pytest.mark.parametrize("byteorder", "<>")
def test_every_type_is_kept_and_written_back(dtype, byteorder):
    voxels = random_voxels((4, 5, 6), dtype)
    volume = Volume(voxels.astype(np.dtype(dtype).newbyteorder(byteorder)))
    assert volume.dtype == dtype
    assert volume.stored.element_size() == np.dtype(dtype).itemsize
    assert volume.value_range == (
        (0.0, 1.0) if dtype == "bool" else (float(voxels.min()), float(voxels.max()))
    )
    coords = volume.domain.centers(torch.arange(120), torch.float64)
    values = volume(coords).numpy()
    assert (values.min(), values.max()) == pytest.approx((0, 1), abs=1e-12)
    np.testing.assert_allclose(volume.slab(1, 3).ravel(), values[30:90, 0], atol=1e-6)
    raw = volume.to_raw(values)
    assert raw.dtype == dtype
    # Doubles hold 53 bits.
    slack = 2**12 if "64" in dtype and dtype != "float64" else 0 if dtype != "float16" else 1e-2
    difference = raw.ravel().astype(np.longdouble) - voxels.ravel().astype(np.longdouble)
    assert np.abs(difference).max() <= max(slack, 1e-6 if np.dtype(dtype).kind == "f" else 0)


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "uint64"])
@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 5, 6, 3)])
def test_small_values_of_long_unsigned_types_are_not_rounded(dtype, shape):
    voxels = random_voxels(shape, "uint8")
    volume, short = Volume(voxels.astype(dtype)), Volume(voxels)
    assert volume.dtype == dtype
    assert volume.stored.element_size() == np.dtype(dtype).itemsize
    coords = torch.rand(300, 3, generator=torch.Generator().manual_seed(0))
    for asked in (coords, volume.domain.centers(torch.arange(120))):
        assert torch.equal(volume(asked), short(asked))
    np.testing.assert_array_equal(volume.slab(0, 4), short.slab(0, 4))
    assert torch.equal(volume.edges(), short.edges())
    raw = volume.to_raw(volume.slab(0, 4))
    assert raw.dtype == dtype
    np.testing.assert_array_equal(raw, voxels.reshape(volume.shape))


def test_a_no_data_value_at_the_end_of_a_long_unsigned_type():
    voxels = random_voxels((4, 5, 6), "uint8").astype("uint32")
    voxels[1:3, 2] = 2**32 - 1
    volume = Volume(voxels, nodata=2.0**32 - 1)
    known = voxels < 2**32 - 1
    values = volume.slab(0, 4)[..., 0]
    np.testing.assert_array_equal(np.isnan(values), ~known)
    assert (values[known].min(), values[known].max()) == (0, 1)
    coords = torch.rand(300, 3, generator=torch.Generator().manual_seed(0))
    assert ((volume(coords) >= 0) & (volume(coords) <= 1)).all()


def test_missing_voxels_do_not_count_near_them():
    voxels = with_gaps((5, 6, 7, 2)).astype(np.float64)
    volume = Volume(voxels)
    low, high = volume.value_range
    assert (low, high) == (np.nanmin(voxels), np.nanmax(voxels))
    coords = torch.rand(400, 3, dtype=torch.float64)
    answers = volume(coords).numpy()
    for coord, answer in zip(coords.numpy(), answers, strict=True):
        position = np.clip(coord * (5, 6, 7) - 0.5, 0, np.array((5, 6, 7)) - 1)
        first = np.floor(position).astype(int)
        total, weight = np.zeros(2), 0.0
        for corner in itertools.product((0, 1), repeat=3):
            value = voxels[tuple(np.minimum(first + corner, np.array((5, 6, 7)) - 1))]
            if not np.isnan(value).any():
                share = np.prod(np.where(corner, position - first, 1 - (position - first)))
                total, weight = total + share * value, weight + share
        expected = (total / weight - low) / (high - low) if weight > 0 else np.zeros(2)
        np.testing.assert_allclose(answer, expected, atol=1e-9)


def test_a_voxel_without_data_has_a_finite_value():
    voxels = np.full((4, 4, 4), np.nan, np.float32)
    voxels[0, 0, 0], voxels[3, 3, 3] = 289.0, 304.0
    volume = Volume(voxels)
    centers = volume.domain.centers(torch.arange(64))
    assert volume(centers)[1:-1].eq(0).all()
    coords = torch.rand(1000, 3, requires_grad=True)
    volume(coords).sum().backward()
    assert volume(coords).isfinite().all()
    assert coords.grad is not None
    assert coords.grad.isfinite().all()
    # However little the weight of the one voxel that is there.
    near = torch.tensor([[0.6250001, 0.6250001, 0.6250001], [0.63, 0.7, 0.8]])
    torch.testing.assert_close(volume(near), torch.ones(2, 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("gaps", [False, True])
def test_a_batch_of_centers_has_the_voxels_themselves(gaps):
    random = np.random.default_rng(3)
    voxels = random.random((6, 5, 7)).astype(np.float32)
    if gaps:
        voxels[random.random(voxels.shape) < 0.3] = np.nan
    volume = Volume(voxels)
    cells = torch.randperm(voxels.size, generator=torch.Generator().manual_seed(0))
    coords = volume.domain.centers(cells)
    expected = torch.from_numpy(np.nan_to_num(volume.slab(0, 6).reshape(-1, 1)[cells.numpy()], nan=0.0))
    assert torch.equal(volume(coords), expected)
    # One coordinate elsewhere, and all are interpolated.
    among = volume(torch.cat((coords, torch.full((1, 3), 0.1234))))[:-1]
    torch.testing.assert_close(among, expected, atol=1e-4, rtol=0.0)


def test_the_domain_leaves_out_what_is_missing():
    voxels = with_gaps((5, 6, 7, 2))
    voxels[0, 0, 0, 1] = np.nan
    volume = Volume(voxels)
    valid = ~np.isnan(voxels).any(-1)
    assert volume.valid is not None
    np.testing.assert_array_equal(volume.valid.numpy(), valid)
    assert volume.domain.valid == valid.sum()
    cells = torch.arange(volume.domain.cells)
    np.testing.assert_array_equal(volume.domain.contains(volume.domain.centers(cells)).numpy(), valid.ravel())
    whole = Volume(random_voxels((3, 3, 3)))
    assert whole.valid is None
    assert whole.domain.valid == 27


def test_a_declared_value_means_no_data():
    voxels = random_voxels((4, 5, 6), "int16")
    voxels[1:3, 2] = -32768
    volume = Volume(voxels, nodata=-32768.0)
    assert volume.domain.valid == 120 - 12
    assert volume.value_range[0] == voxels[voxels > -32768].min()
    assert volume.valid is not None
    raw = volume.to_raw(np.zeros((4, 5, 6, 1)), volume.valid.numpy())
    assert (raw[..., 0][voxels == -32768] == -32768).all()
    assert (raw[..., 0][voxels != -32768] == volume.value_range[0]).all()


def test_layouts():
    for shape, spatial, channels in (
        ((4, 5, 6), (4, 5, 6), 1),
        ((4, 5, 6, 1), (4, 5, 6), 1),
        ((4, 5, 6, 4), (4, 5, 6), 4),
        ((4, 5, 6, 5), (4, 5, 6, 5), 1),
    ):
        volume = Volume(random_voxels(shape))
        assert volume.domain.shape == spatial
        assert volume.channels == channels
        assert volume(torch.rand(7, len(spatial))).shape == (7, channels)


@pytest.mark.parametrize("shape", [(5,), (5, 6), (3, 4, 5, 6, 7)])
def test_other_numbers_of_axes_are_refused(shape):
    with pytest.raises(SoftmineError, match=rf"it has {len(shape)} ax.s.*volume has 3, or 4"):
        Volume(random_voxels(shape))


@pytest.mark.parametrize(
    ("voxels", "message"),
    [
        (np.zeros((3, 0, 4), np.uint8), "has no voxels"),
        (np.zeros((3, 3, 3), np.complex64), "complex numbers"),
        (np.zeros((3, 3, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "records"),
        (np.full((3, 3, 3), None), "its values are object"),
        (
            torch.zeros(3, 3, 3, dtype=torch.bfloat16),
            "values are bfloat16; convert them to one of bool, uint8",
        ),
        (np.full((3, 3, 3), np.nan, np.float32), "no data, every voxel"),
        (np.array([-1.7e308, 1.7e308] * 4).reshape(2, 2, 2), "span more than a float64 holds"),
    ],
)
def test_what_is_no_volume_is_refused(voxels, message):
    with pytest.raises(SoftmineError, match=message):
        Volume(voxels)


@pytest.mark.parametrize("block", [7, 10**6])
def test_infinite_values_are_found(monkeypatch, block):
    monkeypatch.setattr(grid, "BLOCK_VALUES", block)
    voxels = with_gaps((4, 5, 6))
    voxels[2, 3, 1] = -np.inf
    with pytest.raises(SoftmineError, match=r"1 of its voxels are infinite, the first at voxel \(2, 3, 1\)"):
        Volume(voxels)


def test_a_constant_volume_has_a_range():
    for value, expected in ((0.0, (0.0, 1.0)), (0.5, (0.0, 1.0)), (7.0, (0.0, 7.0)), (-3.0, (-3.0, 1.0))):
        volume = Volume(np.full((3, 3, 3), value))
        assert volume.value_range == expected
        assert volume(torch.rand(5, 3)).isfinite().all()


def test_nan_coordinates_give_nan_and_wrong_ones_are_refused():
    for volume in (Volume(random_voxels((3, 4, 5))), Volume(with_gaps((3, 4, 5)))):
        assert volume(torch.tensor([[0.5, float("nan"), 0.5]])).isnan().all()
        for wrong in (torch.rand(5, 2), torch.rand(5, 4)):
            with pytest.raises(SoftmineError, match=r"shape \(N, 3\)"):
                volume(wrong)


def save_npy(path, voxels):
    np.save(path, voxels)


def save_fortran_npy(path, voxels):
    np.save(path, np.asfortranarray(voxels))


@pytest.mark.parametrize("save", [save_npy, save_fortran_npy])
@pytest.mark.parametrize("dtype", ["u1", ">u2", "<i2", ">f4", "<f8"])
@pytest.mark.parametrize("shape", [(7, 5, 6), (5, 6, 7, 3), (3, 4, 5, 6)])
def test_mapped_equals_in_memory(tmp_path, monkeypatch, save, dtype, shape):
    monkeypatch.setattr(grid, "BLOCK_VALUES", 50)
    voxels = random_voxels(shape, np.dtype(dtype).name).astype(dtype)
    if np.dtype(dtype).kind == "f":
        voxels[1, 2:4, 3] = np.nan
    save(tmp_path / "a.npy", voxels)
    mapped = Volume.read(tmp_path / "a.npy", in_memory=False)
    loaded = Volume.read(tmp_path / "a.npy", in_memory=True)
    assert not mapped.in_memory
    assert loaded.in_memory
    assert mapped.value_range == loaded.value_range
    coords = torch.rand(200, len(mapped.domain.shape))
    torch.testing.assert_close(mapped(coords), loaded(coords), rtol=0, atol=1e-6)
    torch.testing.assert_close(mapped.edges(40), loaded.edges(40), rtol=1e-5, atol=1e-6)
    for other in (copy.deepcopy(mapped), pickle.loads(pickle.dumps(mapped))):
        torch.testing.assert_close(other(coords), mapped(coords), rtol=0, atol=0)
    assert len(pickle.dumps(mapped)) < 20_000


def test_large_files_stay_in_their_file(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", random_voxels((5, 5, 5), "uint8"))
    assert Volume.read(tmp_path / "a.npy").in_memory
    monkeypatch.setattr(memmap, "LOAD_BYTES", 124)
    assert not Volume.read(tmp_path / "a.npy").in_memory


def naive_edges(volume):
    """Magnitude of change, a voxel at a time."""
    values = np.concatenate([volume.slab(i, i + 1) for i in range(volume.shape[0])]).astype(float)
    result = np.full(values.shape[:-1], np.nan)
    for index in np.ndindex(*result.shape):
        if np.isnan(values[index]).any():
            continue
        total = 0.0
        for axis in range(result.ndim):
            squares = []
            for step in (-1, 1):
                neighbor = list(index)
                neighbor[axis] += step
                inside = 0 <= neighbor[axis] < result.shape[axis]
                if inside and not np.isnan(values[tuple(neighbor)]).any():
                    squares.append(np.mean((values[tuple(neighbor)] - values[index]) ** 2))
            total += np.mean(squares) if squares else 0.0
        result[index] = np.sqrt(total)
    return result


@pytest.mark.parametrize("block", [11, 10**6])
@pytest.mark.parametrize("shape", [(5, 6, 7), (6, 3, 4, 2), (3, 4, 2, 5)])
@pytest.mark.parametrize("gaps", [False, True])
def test_edges_are_the_change_to_the_neighbors(monkeypatch, block, shape, gaps):
    monkeypatch.setattr(grid, "BLOCK_VALUES", block)
    volume = Volume(with_gaps(shape) if gaps else random_voxels(shape))
    naive = naive_edges(volume)
    np.testing.assert_allclose(volume.edges().numpy(), np.nan_to_num(naive), atol=1e-5)
    coarse = volume.edges(10).numpy()
    assert coarse.size <= 10
    placed = [(2 * np.arange(n) + 1) * m // (2 * n) for n, m in zip(naive.shape, coarse.shape, strict=True)]
    for cell in np.ndindex(*coarse.shape):
        held = naive[np.ix_(*[np.flatnonzero(g == c) for g, c in zip(placed, cell, strict=True)])]
        expected = np.nanmean(held) if (~np.isnan(held)).any() else 0.0
        np.testing.assert_allclose(coarse[cell], expected, atol=1e-5)


def test_a_step_between_two_voxels():
    volume = Volume(np.repeat(np.array([0, 0, 9, 9], np.int16), 9).reshape(4, 3, 3))
    expected = torch.tensor([0.0, 0.5**0.5, 0.5**0.5, 0.0])
    torch.testing.assert_close(volume.edges(), expected[:, None, None].expand(4, 3, 3))


@pytest.mark.parametrize("shape", [(175, 248, 58), (1, 4000, 4000), (9, 1, 2, 700)])
@pytest.mark.parametrize("cells", [1, 2, 1000, 2**20])
def test_a_coarse_grid_has_the_volumes_proportions(shape, cells):
    coarse = grid.coarse_shape(shape, cells)
    assert np.prod(coarse) <= cells
    assert all(1 <= few <= many for few, many in zip(coarse, shape, strict=True))
    if np.prod(shape) <= cells:
        assert coarse == shape
    elif min(coarse) > 10:
        assert np.prod(coarse) > 0.8 * cells


def test_an_edge_map_of_nothing_is_refused():
    with pytest.raises(SoftmineError, match="max_cells of at least 1"):
        Volume(random_voxels((3, 3, 3))).edges(0)


def test_the_built_in_volume():
    volume = Volume.builtin()
    assert volume.shape == (64, 64, 48, 1)
    assert volume.dtype == "uint8"
    assert volume.fingerprint == Volume.builtin("phantom").fingerprint
    edges = volume.edges().flatten().sort(descending=True).values
    # Much of its change lies in few of its voxels, else there would be nothing to choose.
    assert edges[: len(edges) // 5].sum() > 0.6 * edges.sum()
    with pytest.raises(SoftmineError, match="no built-in volume 'phantm'; try phantom"):
        Volume.builtin("phantm")
