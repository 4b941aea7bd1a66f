"""Masks in folders beside photos: which are found, for which photos, and what is said of the others."""

import numpy as np
import PIL.Image
import pytest

from scene_files import nerfstudio, picture, write_blender, write_colmap, write_json, write_llff
from softmine.radiance.photos import Photos
from softmine.radiance.scenes import read_scene

MASK = np.zeros((6, 8), bool)
MASK[:, 3:] = True
MASK[4, 5] = False


def write_masks(folder, count=9, name="{:02d}.png", mask=MASK):
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        PIL.Image.fromarray(mask.astype(np.uint8) * 255).save(folder / name.format(index), quality=100)


def masks(scene):
    """Which pixels count, by the names of views."""
    photos = Photos(scene)
    return {view.name[-6:-4]: photos.valid(index) for index, view in enumerate(photos.views)}


def used(count, folder):
    return f"{count} masks in {folder} are used: what is black in them does not count"


@pytest.mark.parametrize(
    "name", ["{:02d}.png", "{:02d}.PNG", "{:02d}.png.png", "{:02d}.png.PNG", "{:02d}.tif", "{:02d}.jpg"]
)
@pytest.mark.parametrize("folder", ["masks", "mask", "Masks"])
def test_masks_are_found_as_photos_are(tmp_path, name, folder):
    write_colmap(tmp_path, count=9)
    write_masks(tmp_path / folder, name=name)
    scene = read_scene(tmp_path)
    assert scene.notes == (used(9, tmp_path / folder),)
    for valid in masks(scene).values():
        np.testing.assert_array_equal(valid, MASK)


def test_a_scene_of_llff_uses_masks_too(tmp_path):
    write_llff(tmp_path)
    write_masks(tmp_path / "masks_4", 4)
    scene = read_scene(tmp_path)
    assert scene.notes[-1] == used(4, tmp_path / "masks_4") + "; 5 of the 9 photos have none and count whole"
    found = masks(scene)
    assert [name for name, valid in found.items() if valid is not None] == ["01", "02", "03"]
    np.testing.assert_array_equal(found["02"], MASK)


@pytest.mark.parametrize("downscale", [1, 2])
def test_masks_of_full_size_are_reduced_for_smaller_photos(tmp_path, downscale):
    write_llff(tmp_path)  # 8 x 6 of 32 x 24 pixels, in images_4
    large = np.kron(MASK, np.ones((4, 4))) > 0
    large[1, 17] = False
    write_masks(tmp_path / "masks", mask=large)
    scene = read_scene(tmp_path, 4 * downscale)
    assert scene.notes[-1] == used(9, tmp_path / "masks")
    expected = MASK.copy()
    expected[0, 4] = False
    expected = expected.reshape(6 // downscale, downscale, 8 // downscale, downscale).all((1, 3))
    np.testing.assert_array_equal(masks(scene)["01"], expected)
    # Those of the photos' own size go before them.
    write_masks(tmp_path / "masks_4", mask=~MASK)
    scene = read_scene(tmp_path, 4 * downscale)
    assert scene.notes[-2:] == (
        used(9, tmp_path / "masks_4"),
        f"the masks in {tmp_path / 'masks'} are not used: those in {tmp_path / 'masks_4'} are",
    )
    expected = (~MASK).reshape(6 // downscale, downscale, 8 // downscale, downscale).all((1, 3))
    np.testing.assert_array_equal(masks(scene)["01"], expected)


def test_masks_beside_a_folder_that_is_named_are_used_where_that_is_the_scenes(tmp_path):
    write_colmap(tmp_path / "scene", count=9)
    (tmp_path / "scene" / "images").rename(tmp_path / "scene" / "photos")
    write_masks(tmp_path / "scene" / "masks")
    scene = read_scene(tmp_path / "scene", images=tmp_path / "scene" / "photos")
    np.testing.assert_array_equal(masks(scene)["01"], MASK)
    (tmp_path / "scene" / "photos").rename(tmp_path / "photos")
    scene = read_scene(tmp_path / "scene", images=tmp_path / "photos")
    np.testing.assert_array_equal(masks(scene)["01"], MASK)
    (tmp_path / "scene" / "masks").rename(tmp_path / "masks")
    scene = read_scene(tmp_path / "scene", images=tmp_path / "photos")
    assert scene.notes == (
        f"the masks in {tmp_path / 'masks'} are not used: {tmp_path} lies outside of the folders that were named; copy them into one",
    )
    assert masks(scene)["01"] is None


def test_masks_with_other_names_are_noted(tmp_path):
    write_colmap(tmp_path, count=9)
    write_masks(tmp_path / "masks", name="mask-{:02d}.png")
    scene = read_scene(tmp_path)
    assert scene.notes == (
        f"the masks in {tmp_path / 'masks'} are not used: none has the name of a photo (for 00.png that is 00.png.png or 00.png)",
    )
    assert masks(scene)["01"] is None


def test_of_several_masks_for_a_photo_one_is_used_and_noted(tmp_path):
    write_colmap(tmp_path, count=9)
    write_masks(tmp_path / "masks", name="{:02d}.tif")
    write_masks(tmp_path / "masks", 2, name="{:02d}.jpg", mask=~MASK)
    scene = read_scene(tmp_path)
    assert scene.notes == (
        used(9, tmp_path / "masks"),
        f"2 photos have several masks in {tmp_path / 'masks'}: 00.jpg is used, not 00.tif",
    )
    np.testing.assert_array_equal(masks(scene)["01"], ~MASK)
    np.testing.assert_array_equal(masks(scene)["02"], MASK)


@pytest.mark.parametrize("kind", ["nerfstudio", "blender"])
def test_masks_that_no_frame_names_are_noted(tmp_path, kind):
    if kind == "blender":
        write_blender(tmp_path, channels=3)
        write_masks(tmp_path / "masks", name="r_{}.png")
    else:
        content = nerfstudio(tmp_path)
        write_json(tmp_path / "transforms.json", content)
        write_masks(tmp_path / "masks")
    scene = read_scene(tmp_path)
    note = f"the masks in {tmp_path / 'masks'} are not used: no frame names one ('mask_path')"
    assert scene.notes == (note,)
    assert Photos(scene).domain.mask is None
    if kind == "nerfstudio":
        content["frames"][1]["mask_path"] = "masks/01.png"
        write_json(tmp_path / "transforms.json", content)
        scene = read_scene(tmp_path)
        assert scene.notes == ()
        np.testing.assert_array_equal(masks(scene)["01"], MASK)


def test_a_folder_of_masks_for_what_is_no_photo_is_left_alone(tmp_path):
    content = nerfstudio(tmp_path)
    write_json(tmp_path / "transforms.json", content)
    picture(tmp_path / "masks" / "other.png")
    assert read_scene(tmp_path).notes == ()
