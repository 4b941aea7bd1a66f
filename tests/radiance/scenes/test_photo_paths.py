"""Names that are not quite those of files, files that are no photos, and photos in another folder."""

import numpy as np
import pytest

from scene_files import nerfstudio, picture, write_blender, write_colmap, write_json, write_llff
from softmine import SoftmineError
from softmine.radiance.photos import Photos
from softmine.radiance.scenes import read_scene


def junk(folder):
    """What macOS and Windows leave in folders."""
    for name in ("._00.png", "._01.png", ".DS_Store", "Thumbs.db", ".hidden.jpg"):
        (folder / name).write_bytes(b"\0\5\x16\7")


@pytest.mark.parametrize("write", [write_llff, write_colmap])
def test_files_that_systems_leave_are_no_photos(tmp_path, write):
    write(tmp_path)
    expected = read_scene(tmp_path)
    junk(expected.views[0].image.parent)
    scene = read_scene(tmp_path)
    assert [view.image for view in scene.views] == [view.image for view in expected.views]
    assert scene.notes == expected.notes


def test_masks_of_what_moves_are_no_photos_of_llff(tmp_path):
    write_llff(tmp_path)
    picture(tmp_path / "images_4" / "dynamic_mask_03.png", channels=3)
    views = {view.name: view for view in read_scene(tmp_path).views}
    assert len(views) == 9
    assert views["images_4/03.png"].dynamic_mask == tmp_path / "images_4" / "dynamic_mask_03.png"


def named(content, change):
    for frame in content["frames"]:
        frame["file_path"] = change(frame["file_path"])
    return content


@pytest.mark.parametrize("ending", [".webp", ".tif", ".PNG", ".JPEG", ".bmp"])
def test_an_ending_may_be_left_out(tmp_path, ending):
    content = nerfstudio(tmp_path)
    for path in (tmp_path / "images").iterdir():
        path.rename(path.with_suffix(ending))
    write_json(tmp_path / "transforms.json", named(content, lambda name: name[:-4]))
    scene = read_scene(tmp_path)
    assert [view.image.suffix for view in scene.views] == [ending] * 10
    assert scene.notes == ()


@pytest.mark.parametrize(
    ("stated", "found", "note"),
    [
        (".jpg", ".JPG", "00.JPG is read for 00.jpg, which differs in case (and 9 more like it)"),
        (".PNG", ".png", "00.png is read for 00.PNG, which differs in case (and 9 more like it)"),
        (".jpg", ".png", "00.png is read for 00.jpg, which is not there (and 9 more like it)"),
    ],
)
def test_another_ending_is_found_and_noted(tmp_path, stated, found, note):
    content = nerfstudio(tmp_path / "a")
    for path in (tmp_path / "a" / "images").iterdir():
        path.rename(path.with_suffix(found))
    write_json(tmp_path / "a" / "transforms.json", named(content, lambda name: name[:-4] + stated))
    scene = read_scene(tmp_path / "a")
    assert scene.notes == (note,)
    assert [view.image.suffix for view in scene.views] == [found] * 10
    model, _ = write_colmap(tmp_path / "b", binary=False)
    for path in (tmp_path / "b" / "images").iterdir():
        path.rename(path.with_suffix(found))
    (model / "images.txt").write_text((model / "images.txt").read_text().replace(".png", stated))
    assert read_scene(tmp_path / "b").notes == (note,)


def test_of_two_files_for_one_name_one_is_read_and_noted(tmp_path):
    folder = write_blender(tmp_path)
    picture(folder / "train" / "r_1.jpg")
    scene = read_scene(folder)
    assert scene.views[1].image == folder / "train" / "r_1.png"
    assert scene.notes == ("r_1.png is read for r_1, not r_1.jpg",)


def test_one_file_for_two_names_is_refused(tmp_path):
    content = nerfstudio(tmp_path)
    content["frames"][3]["file_path"] = "images/02.jpg"
    write_json(tmp_path / "transforms.json", content)
    with pytest.raises(SoftmineError, match=r"02.png is read for \"images/02.png\" already"):
        read_scene(tmp_path)


def outside(tmp_path, change):
    """A scene whose photos lie beside its folder, in ``elsewhere``, and its names as ``change`` makes them of ``00.png``."""
    content = nerfstudio(tmp_path / "elsewhere")
    picture(tmp_path / "scene" / "masks" / "m.png")
    content["frames"][1]["mask_path"] = "masks/m.png"
    named(content, lambda name: change(name.rpartition("/")[2]))
    write_json(tmp_path / "scene" / "transforms.json", content)
    return tmp_path / "scene"


@pytest.mark.parametrize(
    "change",
    [
        lambda name: f"../elsewhere/images/{name}",
        lambda name: f"/data/of/another/machine/images/{name}",
        lambda name: f"C:\\photos\\{name}",
        lambda name: f"D:/a/scene/images/{name}",
        lambda name: f"\\\\server\\share\\images\\{name}",
        lambda name: f"images/{name}",
        lambda name: f"./{name[:-4]}",
    ],
)
@pytest.mark.parametrize("images", ["elsewhere", "elsewhere/images"])
def test_photos_outside_are_read_from_the_folder_that_is_named(tmp_path, change, images):
    folder = outside(tmp_path, change)
    if images == "elsewhere" and "images" not in change("").replace("\\", "/").split("/"):
        with pytest.raises(
            SoftmineError, match=r"10 of its 10 images are missing, the first is .*elsewhere/00"
        ):
            read_scene(folder, images=tmp_path / images)
        return
    scene = read_scene(folder, images=tmp_path / images)
    files = sorted(view.image.resolve() for view in scene.views)
    assert files == sorted((tmp_path / "elsewhere" / "images").iterdir())
    assert [view.mask for view in scene.views if view.mask] == [folder / "masks" / "m.png"]
    inner = read_scene_inside(tmp_path)
    assert [view.pose.tolist() for view in scene.views] == [view.pose.tolist() for view in inner.views]
    np.testing.assert_array_equal(Photos(scene).pixels, Photos(inner).pixels)


def read_scene_inside(tmp_path):
    write_json(tmp_path / "elsewhere" / "transforms.json", nerfstudio(tmp_path / "elsewhere"))
    return read_scene(tmp_path / "elsewhere")


def test_photos_outside_are_refused_where_no_folder_is_named(tmp_path):
    for place in (
        "../elsewhere/images/",
        "/home/a/scene/images/",
        "C:\\a\\scene\\images\\",
        "D:/images/",
        "\\\\server\\a\\",
    ):
        folder = outside(tmp_path, lambda name, place=place: f"{place}{name}")
        with pytest.raises(
            SoftmineError, match=r"leads out of .*: name the folder of the photos with images"
        ):
            read_scene(folder)
    for name in ("..", "./", "", "a\0b", 5):
        content = nerfstudio(tmp_path / "scene")
        content["frames"][2]["file_path"] = name
        write_json(folder / "transforms.json", content)
        for images in (None, tmp_path / "elsewhere"):
            with pytest.raises(SoftmineError, match="'file_path' of frame 2 is"):
                read_scene(folder, images=images)
    with pytest.raises(SoftmineError, match=r"images is .*nowhere, but there is no such folder"):
        read_scene(folder, images=tmp_path / "nowhere")


def test_names_in_folders_of_their_own_keep_apart(tmp_path):
    content = nerfstudio(tmp_path / "a")
    for index, frame in enumerate(content["frames"]):
        frame["file_path"] = f"/gone/camera_{index}/photo.png"
        picture(tmp_path / "photos" / f"camera_{index}" / "photo.png", seed=index)
    write_json(tmp_path / "a" / "transforms.json", content)
    scene = read_scene(tmp_path / "a", images=tmp_path / "photos")
    assert {view.name for view in scene.views} == {f"camera_{index}/photo.png" for index in range(10)}
    with pytest.raises(SoftmineError, match=r"is read for .* already; correct the names"):
        read_scene(tmp_path / "a", images=tmp_path / "photos" / "camera_0")


@pytest.mark.parametrize("write", [write_llff, write_colmap])
def test_llff_and_colmap_take_photos_from_the_folder_that_is_named(tmp_path, write):
    write(tmp_path / "scene")
    expected = read_scene(tmp_path / "scene")
    old = expected.views[0].image.parent
    new = tmp_path / old.name
    old.rename(new)
    scene = read_scene(tmp_path / "scene", images=new)
    assert [view.image for view in scene.views] == [new / view.image.name for view in expected.views]
    assert [view.camera for view in scene.views] == [view.camera for view in expected.views]
