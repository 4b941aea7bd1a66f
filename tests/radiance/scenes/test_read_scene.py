"""What is said of the split of a scene, and of folders that hold none."""

import pytest

from scene_files import nerfstudio, picture, write_blender, write_colmap, write_json, write_llff
from softmine.domain import SoftmineError
from softmine.radiance.scenes import read_scene
from softmine.tasks.nerf.task import Options, read


def test_where_the_split_is_from_is_said(tmp_path):
    names = [f"images/{index:02d}.png" for index in range(10)]
    write_json(tmp_path / "free" / "transforms.json", nerfstudio(tmp_path / "free"))
    lists = {"train_filenames": names[:6], "test_filenames": names[6:]}
    write_json(tmp_path / "listed" / "transforms.json", nerfstudio(tmp_path / "listed", **lists))
    write_colmap(tmp_path / "colmap")
    write_llff(tmp_path / "llff")
    every = "no split is given: every eighth view (2 of {}) is for testing"
    assert read_scene(tmp_path / "free").divided == every.format(10)
    assert read_scene(tmp_path / "listed").divided == "the split of transforms.json is used"
    assert read_scene(tmp_path / "colmap").divided == every.format(10)
    assert read_scene(tmp_path / "llff", 4).divided == every.format(9)
    assert read_scene(write_blender(tmp_path / "blender")).divided == ""
    task = read(str(tmp_path / "free"), Options(test_views=1))
    notes = (every.format(10), "measured on 1 of 2 test views")
    assert task.notes[:2] == notes
    assert task.size().startswith("8 views of 8 x 6 RGB, 1 to test on; " + "; ".join(notes))


@pytest.mark.parametrize("ending", ["txt", "bin"])
def test_a_model_without_cameras_is_named(tmp_path, ending):
    (tmp_path / "sparse" / "0").mkdir(parents=True)
    (tmp_path / "sparse" / "0" / f"images.{ending}").write_text("")
    with pytest.raises(
        SoftmineError, match=r"sparse/0 has the images of a COLMAP model, but cameras.bin or cameras.txt is"
    ):
        read_scene(tmp_path)


@pytest.mark.parametrize(("place", "hint"), [(".", True), ("images", True), ("other", False)])
def test_photos_without_poses_need_them(tmp_path, place, hint):
    picture(tmp_path / place / "a.png")
    with pytest.raises(SoftmineError, match=r"it holds no scene.*cameras.bin or .txt") as caught:
        read_scene(tmp_path)
    assert ("run COLMAP or ns-process-data first" in str(caught.value)) == hint
