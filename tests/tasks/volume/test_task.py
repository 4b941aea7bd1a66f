"""A volume as a task: what is measured, how it is shown, and what is written."""

import nibabel
import numpy as np
import pytest
import torch

from softmine import SoftmineError
from softmine.signals.volume import Volume
from softmine.signals.volume.data import VolumeData
from softmine.tasks.volume import slices
from softmine.tasks.volume import task as volumes
from softmine.tasks.volume.slices import View, choose_view
from softmine.tasks.volume.task import Options, VolumeTask, read
from softmine.training import evaluation as rules
from softmine.training.evaluation import evaluated_cells
from softmine.training.settings import FieldSettings

CPU = torch.device("cpu")


def voxels_of(shape=(6, 9, 12), dtype="uint8"):
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def sea(shape=(4, 9, 12)):
    """Floats with land that does not move along the first axis."""
    voxels = voxels_of(shape, "float32")
    voxels[:, 2:5, 3:9] = np.nan
    return voxels


def written_by(task, folder):
    """What a task writes of a field that has learned its signal."""
    result = task.reconstruct(task.signal, CPU, small=True)
    return task.write_output(task.signal, result, folder, CPU)


class Constant(torch.nn.Module):
    def __init__(self, value, channels=1):
        super().__init__()
        self.value, self.channels = value, channels

    def forward(self, coords):
        return torch.full((len(coords), self.channels), self.value)


def test_only_voxels_with_data_are_measured():
    volume = Volume(sea())
    evaluator = VolumeTask(volume).make_evaluator(CPU)
    assert evaluator.describe() == f"PSNR over all {4 * (108 - 18)} voxels with data"
    low, high = volume.value_range
    values = (sea() - low) / (high - low)
    evaluation = evaluator(Constant(0.25))
    assert evaluation.psnr == pytest.approx(-10 * np.log10(np.nanmean((values - 0.25) ** 2)), abs=1e-4)
    assert evaluation.samples == 4 * (108 - 18)
    assert not evaluation.subset
    assert evaluator(volume).psnr == np.inf
    # Beyond the range counts as at its end.
    assert evaluator(Constant(-7.0)).psnr == evaluator(Constant(0.0)).psnr


@pytest.mark.parametrize("voxels", [voxels_of(), sea()])
def test_of_many_voxels_a_fixed_subset_with_data_is_measured(monkeypatch, voxels):
    monkeypatch.setattr(rules, "ALL", 100)
    monkeypatch.setattr(rules, "SUBSET", 90)
    volume = Volume(voxels)
    (cells, _), count = evaluated_cells(volume.domain), volume.domain.valid
    assert count == np.isfinite(voxels).sum()
    assert len(cells) == len(cells.unique()) == 90
    assert np.isfinite(voxels.ravel()[cells.numpy()]).all()
    torch.testing.assert_close(cells, evaluated_cells(volume.domain)[0])
    evaluation = VolumeTask(volume).make_evaluator(CPU)(Constant(0.5))
    assert evaluation.subset
    assert evaluation.samples == 90


def test_views():
    cases = [
        (Volume(voxels_of((6, 9, 5))), View(2, 0, 1)),
        (Volume(voxels_of((5, 9, 5))), View(2, 0, 1)),
        (Volume(sea((9, 6, 12))), View(0, 1, 2)),
        (Volume(VolumeData(voxels_of(), layers=1)), View(1, 0, 2)),
    ]
    for volume, view in cases:
        assert choose_view(volume) == view


@pytest.mark.parametrize(
    ("codes", "layers", "down", "right", "corner"),
    [
        # Axial: the front is up, and the patient's right is on the left.
        ("RAS", 2, 1, 0, "RA"),
        ("LPS", 2, 1, 0, "RA"),
        ("ALI", 2, 0, 1, "RA"),
        # Coronal and sagittal: the head is up.
        ("RAS", 1, 2, 0, "RS"),
        ("RAS", 0, 2, 1, "AS"),
        ("LPI", 0, 2, 1, "AS"),
    ],
)
def test_bodies_are_seen_as_radiologists_see_them(codes, layers, down, right, corner):
    voxels = np.arange(6 * 9 * 12, dtype=np.int16).reshape(6, 9, 12)
    volume = Volume(VolumeData(voxels, layers=layers, orientation=tuple(codes)))
    view = choose_view(volume)
    assert (view.axis, view.down, view.right) == (layers, down, right)
    # The upper left voxel lies furthest towards the corner's two ends.
    cells = slices._cells(volume, view, (2,), volume.domain.shape[down], volume.domain.shape[right])
    index = np.unravel_index(cells[0, 0], voxels.shape)
    assert index[layers] == 2
    for axis in (down, right):
        towards = codes[axis] in corner
        assert index[axis] == (voxels.shape[axis] - 1 if towards else 0)


@pytest.mark.parametrize(
    ("shape", "colors"),
    [((6, 9, 12), 1), ((6, 9, 12, 2), 1), ((6, 9, 12, 3), 3), ((6, 9, 12, 4), 1), ((6, 9, 12, 7), 1)],
)
def test_a_perfect_field_is_shown_as_the_volume_is(shape, colors):
    volume = Volume(voxels_of(shape))
    for small in (False, True):
        result = VolumeTask(volume).reconstruct(volume, CPU, small=small)
        assert result.target is not None
        assert result.values.shape == (*result.error.shape, colors)
        np.testing.assert_array_equal(result.values, result.target)
        assert result.error.max() == 0
        assert result.values.min() >= 0
        assert result.values.max() <= 1


def test_slices_hold_the_volumes_voxels():
    voxels = voxels_of((30, 40, 27))
    volume = Volume(voxels)
    result = VolumeTask(volume).reconstruct(Constant(0.0), CPU, small=True)
    assert result.note == "9 slices across axis 2"
    assert result.psnr is None
    assert result.target is not None
    enlarge = (result.error.shape[0] + 4) // 3 // 30
    low, high = volume.value_range
    # The first of nine parts of 27 layers has layer 1 in its middle.
    tile = result.target[: 30 * enlarge : enlarge, : 40 * enlarge : enlarge, 0]
    np.testing.assert_allclose(tile, (voxels[:, :, 1] - low) / (high - low), atol=1e-6)
    np.testing.assert_allclose(
        result.error[: 30 * enlarge : enlarge, : 40 * enlarge : enlarge], tile, atol=1e-6
    )


def test_voxels_without_data_have_a_color_of_their_own_and_are_not_measured():
    volume = Volume(sea((1, 9, 12)))
    result = VolumeTask(volume).reconstruct(Constant(1.0), CPU)
    assert result.target is not None
    step = result.error.shape[0] // 9
    land = np.isnan(sea((1, 9, 12))[0])
    for picture in (result.values, result.target):
        np.testing.assert_allclose(picture[::step, ::step][land], np.broadcast_to(slices.NO_DATA, (18, 3)))
        assert not np.isclose(picture[::step, ::step][~land], slices.NO_DATA, atol=0.02).all(-1).any()
    np.testing.assert_array_equal(np.isnan(result.error[::step, ::step]), land)


def test_large_slices_are_reduced(monkeypatch):
    monkeypatch.setattr(slices, "TILE_SIDE", 20)
    result = VolumeTask(Volume(voxels_of((30, 80, 4)))).reconstruct(Constant(0.5), CPU)
    assert result.note == "4 slices across axis 2, reduced to 20 x 8"


@pytest.mark.parametrize("shape", [(6, 9, 12), (6, 9, 12, 3), (3, 4, 5, 6)])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_the_whole_reconstruction_is_written(tmp_path, shape, dtype):
    voxels = voxels_of(shape, dtype)
    if dtype == "float32":
        voxels[1, 2] = np.nan
    volume = Volume(voxels)
    (output,) = written_by(VolumeTask(volume), tmp_path)
    written = np.load(tmp_path / output.file)
    assert written.dtype == dtype
    np.testing.assert_allclose(written, voxels, rtol=0, atol=1e-4 if dtype == "float32" else 0)
    assert [path.name for path in tmp_path.iterdir()] == [output.file]


@pytest.mark.parametrize("shape", [(6, 9, 12), (6, 9, 12, 3), (3, 4, 5, 6)])
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("block", [50, 10_000])
def test_a_run_says_the_psnr_of_all_voxels_with_data(monkeypatch, shape, gaps, block):
    monkeypatch.setattr(volumes, "BLOCK", block)
    voxels = voxels_of(shape, "float32")
    if gaps:
        voxels[1, 2] = np.nan
    task, field = VolumeTask(Volume(voxels)), Constant(0.3, channels=3 if shape[-1] == 3 else 1)
    shares = []
    result = task.reconstruct(field, CPU, report=shares.append)
    assert result.psnr == pytest.approx(task.make_evaluator(CPU)(field).psnr, abs=1e-4)
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert task.reconstruct(field, CPU, small=True).psnr is None
    assert task.reconstruct(task.signal, CPU).psnr == np.inf
    assert np.isnan(task.reconstruct(Constant(np.nan, field.channels), CPU).psnr)


class Exaggerated(torch.nn.Module):
    """A signal with its values three times as far from their middle, most of them beyond the range."""

    def __init__(self, signal):
        super().__init__()
        self.signal, self.channels = signal, signal.channels

    def forward(self, coords):
        return (self.signal(coords) - 0.5) * 3 + 0.5


@pytest.mark.parametrize("shape", [(6, 9, 12), (6, 9, 12, 3), (3, 4, 5, 6)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_run_clips_values_beyond_the_range_as_its_evaluator_does(shape, dtype):
    task = VolumeTask(Volume(voxels_of(shape, dtype)))
    field = Exaggerated(task.signal)
    coords = task.signal.domain.centers(torch.arange(task.signal.domain.cells))
    learned, target = field(coords), task.signal(coords)
    assert ((learned < 0) | (learned > 1)).float().mean() > 0.5

    def psnr(values):
        return -10 * (values - target).square().mean().log10().item()

    clipped = psnr(learned.clamp(0, 1))
    assert clipped > psnr(learned) + 3
    assert task.make_evaluator(CPU)(field).psnr == pytest.approx(clipped, abs=1e-4)
    assert task.reconstruct(field, CPU).psnr == pytest.approx(clipped, abs=1e-4)


@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("shape", [(6, 9, 12), (6, 9, 12, 1, 2), (3, 4, 5, 6)])
def test_what_is_written_does_not_depend_on_whether_it_was_held(tmp_path, monkeypatch, shape, header):
    monkeypatch.setattr(volumes, "BLOCK", 50)
    path = tmp_path / ("a.nii" if header else "a.npy")
    voxels = voxels_of(shape if header else shape[:3], "float32")
    voxels[1, 2] = np.nan
    if header:
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)
    else:
        np.save(path, voxels)
    task, written = read(str(path), Options()), []
    field = task.make_field(FieldSettings(steps=1, log2_table_size=6))
    for most in (volumes.WHOLE, 10):
        monkeypatch.setattr(volumes, "WHOLE", most)
        result = task.reconstruct(field, CPU)
        assert (result.psnr is None) == (most == 10)
        folder = tmp_path / str(most)
        folder.mkdir()
        (output,) = task.write_output(field, result, folder, CPU)
        written.append((folder / output.file).read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
@pytest.mark.parametrize("shape", [(6, 9, 12), (6, 9, 12, 3), (6, 9, 12, 1, 2), (3, 4, 5, 6)])
@pytest.mark.parametrize("dtype", ["int16", ">f4"])
def test_nifti_is_written_under_the_same_header(tmp_path, ending, shape, dtype):
    voxels = voxels_of(shape, dtype)
    if voxels.dtype.kind == "f":
        voxels[1, 2] = np.nan
    header = nibabel.Nifti1Header(endianness=">" if voxels.dtype.byteorder == ">" else "<")
    header.set_data_dtype(voxels.dtype)
    image = nibabel.Nifti1Image(
        voxels, np.array([[0, 2, 0, 5], [-2, 0, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1.0]]), header
    )
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"kept"))
    image.header.set_xyzt_units("mm", "sec")
    if voxels.dtype.kind == "i":
        image.header.set_slope_inter(2.0, -1000.0)
    nibabel.save(image, tmp_path / f"a.{ending}")
    task = read(str(tmp_path / f"a.{ending}"), Options())
    out = tmp_path / "out"
    out.mkdir()
    (output,) = written_by(task, out)
    assert output.file == f"reconstruction.{ending}"
    again = nibabel.load(out / output.file)
    np.testing.assert_array_equal(again.affine, image.affine)
    given = nibabel.load(tmp_path / f"a.{ending}")
    assert again.header == given.header
    assert again.dataobj.slope == given.dataobj.slope
    np.testing.assert_allclose(again.dataobj, given.dataobj, rtol=0, atol=1e-4)


def test_what_a_run_says_of_its_volume(tmp_path):
    data = VolumeData(sea(), voxel_size=(0.8125, 0.8125, 2.397), length_unit="mm")
    task = VolumeTask(Volume(data))
    words = (
        "4 x 9 x 12 float32, voxels of 0.81 x 0.81 x 2.4 mm, 17% without data; no data where a value is NaN"
    )
    low, high = task.signal.value_range
    assert task.size() == f"{words}; values from {low:.6g} to {high:.6g} count as 0 to 1"
    assert (
        task.describe()["notes"][-1]
        == f"values from {np.nanmin(sea()):.6g} to {np.nanmax(sea()):.6g} count as 0 to 1"
    )
    assert task.describe()["shape"] == [4, 9, 12, 1]
    assert task.describe()["valid"] == 360
    assert task.describe()["measured"] == {"cells": 360, "unit": "voxels with data"}
    assert "measured" not in VolumeTask(Volume(voxels_of())).describe()
    colors = VolumeTask(Volume(voxels_of((5, 6, 7, 3)) // 2)).size()
    assert colors.startswith("5 x 6 x 7 uint8, 3 channels; values from ")
    plain = VolumeTask(Volume(VolumeData(sea() > 0, voxel_size=(1.0, 1.0, 2.0)))).size()
    assert plain == "4 x 9 x 12 bool, voxels of 1 x 1 x 2 in no stated unit"
    assert read(None, Options()).signal.name == "phantom"
    with pytest.raises(SoftmineError, match="no built-in volume"):
        read("builtin:brain", Options())


@pytest.mark.parametrize("shape", [(175, 248, 58), (9, 8, 7, 6)])
def test_the_finest_grid_has_a_cell_for_a_voxel(shape):
    volume = Volume(np.zeros(shape, np.uint8))
    field = VolumeTask(volume).make_field(FieldSettings(steps=1, log2_table_size=6))
    assert field.encoding.resolutions[-1].tolist() == list(shape)
    assert field(torch.rand(5, len(shape))).shape == (5, 1)
