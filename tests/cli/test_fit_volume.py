"""``softmine fit volume`` from file to run folder, and its refusals."""

import json
import sys

import nibabel
import numpy as np
import pytest
import tifffile
import torch

from softmine.cli.main import main

TINY = ["--log2-table-size", "8", "--batch-size", "64", "--steps", "6", "--evaluations", "2"]


def voxels_of(shape=(6, 9, 12)):
    return np.random.default_rng(0).integers(0, 200, shape).astype(np.uint8)


@pytest.mark.parametrize("sampler", ["auto", "uniform", "langevin", "edges"])
def test_a_volume_with_gaps(tmp_path, capsys, sampler):
    voxels = voxels_of().astype(np.float32)
    voxels[:, 2:5, 3:9] = np.nan
    np.savez(tmp_path / "sea.npz", sst=voxels)
    out = tmp_path / "run"
    words = ["fit", "volume", str(tmp_path / "sea.npz"), "--out", str(out), "--sampler", sampler, *TINY]
    assert main(words) == 0, capsys.readouterr().err
    config = json.loads((out / "config.json").read_text())
    assert config["task"] == "volume"
    assert config["signal"]["shape"] == [6, 9, 12, 1]
    assert "17% without data" in capsys.readouterr().out
    line = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    assert line["step"] == 6
    assert np.isfinite(line["psnr"])
    written = np.load(out / "images" / "reconstruction.npy")
    np.testing.assert_array_equal(np.isnan(written), np.isnan(voxels))
    assert np.nanmin(written) >= np.nanmin(voxels)
    for picture in ("target", "reconstruction", "error"):
        assert (out / "images" / f"{picture}.png").exists()
    assert (out / "report.html").exists()


def test_nifti_and_the_built_in_volume(tmp_path, monkeypatch, capsys):
    nibabel.save(nibabel.Nifti1Image(voxels_of(), np.diag([2.0, 2, 5, 1])), tmp_path / "a.nii.gz")
    out = tmp_path / "run"
    assert main(["fit", "volume", str(tmp_path / "a.nii.gz"), "--out", str(out), *TINY]) == 0
    again = nibabel.load(out / "images" / "reconstruction.nii.gz")
    assert again.shape == (6, 9, 12)
    np.testing.assert_array_equal(again.affine, np.diag([2.0, 2, 5, 1]))
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "volume", *TINY]) == 0
    assert "phantom" in capsys.readouterr().out


@pytest.mark.parametrize("whole", [True, False])
def test_stacks_and_slices_come_back_as_tiff(tmp_path, monkeypatch, capsys, whole):
    if not whole:  # as for volumes that are not held in memory
        monkeypatch.setattr("softmine.tasks.volume.task.WHOLE", 10)
        monkeypatch.setattr("softmine.tasks.volume.task.BLOCK", 50)
    stack = np.random.default_rng(0).integers(0, 200, (5, 2, 6, 7)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, metadata={"axes": "ZCYX", "spacing": 3.0})
    (tmp_path / "slices").mkdir()
    for number in range(9, 13):
        tifffile.imwrite(tmp_path / "slices" / f"s{number}.tif", stack[number - 9, 0])
    for path, axes, shape in (("a.tif", "ZCYX", (5, 2, 6, 7)), ("slices", "ZYX", (4, 6, 7))):
        out = tmp_path / f"run-{path}"
        assert main(["fit", "volume", str(tmp_path / path), "--out", str(out), *TINY]) == 0
        with tifffile.TiffFile(out / "images" / "reconstruction.tif") as file:
            assert (file.series[0].axes, file.series[0].shape) == (axes, shape)
            assert file.series[0].dtype == np.uint8
            assert file.is_imagej == (path == "a.tif")
        assert main(["fit", "volume", "--resume", str(out), "--steps", "8"]) == 0
        assert json.loads((out / "status.json").read_text())["step"] == 8
    assert "4 slices, s9.tif to s12.tif" in capsys.readouterr().out
    assert "4 slices, s9.tif to s12.tif" in (tmp_path / "run-slices" / "report.html").read_text()
    notes = json.loads((tmp_path / "run-slices" / "config.json").read_text())["signal"]["notes"]
    low, high = stack[:4, 0].min(), stack[:4, 0].max()
    assert notes == ["4 slices, s9.tif to s12.tif", f"values from {low} to {high} count as 0 to 1"]


def test_every_voxel_of_a_stack_is_where_it_was(tmp_path):
    from softmine.signals.volume import Volume
    from softmine.tasks.volume.task import VolumeTask

    stack = np.random.default_rng(0).integers(0, 200, (5, 2, 6, 7)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, metadata={"axes": "ZCYX"})
    volume, cpu = Volume.read(tmp_path / "a.tif"), torch.device("cpu")
    task = VolumeTask(volume)
    for small in (False, True):  # all in memory, or evaluated as it is written
        result = task.reconstruct(volume, cpu, small=small)
        (output,) = task.write_output(volume, result, tmp_path, cpu)
        assert output.file == "reconstruction.tif"
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "reconstruction.tif"), stack)


def test_nifti_with_axes_of_one_comes_back_with_them(tmp_path):
    nibabel.save(nibabel.Nifti1Image(voxels_of((6, 9, 12, 1, 1)), np.eye(4)), tmp_path / "a.nii")
    out = tmp_path / "run"
    assert main(["fit", "volume", str(tmp_path / "a.nii"), "--out", str(out), *TINY]) == 0
    assert nibabel.load(out / "images" / "reconstruction.nii").shape == (6, 9, 12, 1, 1)


def bad_files(folder):
    """Files that are no volumes, and words of the sentence about each."""
    np.save(folder / "plane.npy", voxels_of((5, 6)))
    np.save(folder / "nan.npy", np.full((3, 3, 3), np.nan))
    np.save(folder / "inf.npy", np.where(voxels_of() > 190, np.inf, 0.0))
    np.save(folder / "complex.npy", voxels_of().astype(np.complex64))
    np.save(folder / "pickle.npy", np.full((2, 2, 2), None), allow_pickle=True)
    np.savez(folder / "two.npz", ct=voxels_of(), mask=voxels_of())
    (folder / "empty.nii").write_bytes(b"")
    (folder / "text.nii.gz").write_bytes(b"\x1f\x8bnot gzip")
    return {
        "plane.npy": "2 axes",
        "nan.npy": "no data",
        "inf.npy": "infinite",
        "complex.npy": "complex numbers",
        "pickle.npy": "never loaded",
        "two.npz": "2 arrays (ct, mask)",
        "empty.nii": "empty",
        "text.nii.gz": "truncated or damaged",
        "missing.nii.gz": "no such file",
        "": "folder",
    }


@pytest.mark.parametrize("command", ["fit", "compare"])
def test_bad_files_are_refused_in_one_sentence(tmp_path, capsys, command):
    for name, message in bad_files(tmp_path).items():
        assert main([command, "volume", str(tmp_path / name), "--out", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert error.startswith("softmine: ")
        assert message in error
    assert not (tmp_path / "out").exists()


def test_a_missing_library_is_named(tmp_path, capsys, monkeypatch):
    nibabel.save(nibabel.Nifti1Image(voxels_of(), np.eye(4)), tmp_path / "a.nii")
    monkeypatch.setitem(sys.modules, "nibabel", None)
    assert main(["fit", "volume", str(tmp_path / "a.nii"), "--out", str(tmp_path / "out")]) == 2
    assert "pip install 'softmine[volume]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
