"""Posed pictures as a signal: look-up, opacity, masks, sizes, rays and edges."""

import dataclasses

import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import pytest
import tifffile
import torch

from scene_files import nerfstudio, picture, write_blender, write_json
from softmine import SoftmineError
from softmine.radiance.background import over_background, to_channels
from softmine.radiance.photo_files import load_mask
from softmine.radiance.photos import Photos
from softmine.radiance.scenes import Scene, procedural, read_scene
from softmine.signals import Signal
from softmine.signals.image import files as image_files
from softmine.signals.image.pixels import orient


def centers(photos):
    return photos.domain.centers(torch.arange(photos.domain.cells), torch.float64)


def small():
    return procedural(16, 5, 2)


def resize(scene: Scene, index, height, width) -> Scene:
    """The scene with one view cut to a smaller picture."""
    view = scene.views[index]
    camera = dataclasses.replace(view.camera, width=width, height=height)
    cut = dataclasses.replace(view, camera=camera, pixels=view.pixels[:height, :width])
    views = [cut if each is view else each for each in scene.views]
    return dataclasses.replace(scene, views=tuple(views))


def test_pixel_centers_give_the_premultiplied_pixels():
    scene = small()
    photos = Photos(scene)
    assert isinstance(photos, Signal)
    assert (photos.channels, photos.domain.shape, photos.domain.discrete) == (4, (5, 16, 16), (0,))
    assert photos.domain.mask is None
    values = photos(centers(photos)).view(5, 16, 16, 4)
    assert 0 <= values.min() <= values.max() <= 1
    stored = torch.from_numpy(np.stack([view.pixels for view in scene.split("train")])).double() / 255
    opacity = stored[..., 3]
    expected = to_channels((stored[..., :3] * opacity[..., None]).view(-1, 3), opacity.view(-1))
    torch.testing.assert_close(values.view(-1, 4), expected, rtol=0, atol=0.76 / 255)  # half a step of each
    white = over_background(values.view(-1, 4), 1.0)
    torch.testing.assert_close(white[opacity.view(-1) == 0], torch.ones_like(white[opacity.view(-1) == 0]))
    for view in range(5):
        torch.testing.assert_close(photos.image(view).double(), values[view], rtol=0, atol=1e-6)


def test_color_of_what_is_transparent_does_not_show():
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[:, 0] = (255, 0, 0, 255)  # opaque red beside transparent green
    pixels[:, 1] = (0, 255, 0, 0)
    scene = small()
    views = [
        dataclasses.replace(view, pixels=pixels, camera=dataclasses.replace(view.camera, width=2, height=2))
        for view in scene.views
    ]
    photos = Photos(dataclasses.replace(scene, views=tuple(views)))
    middle = photos(torch.tensor([[0.1, 0.5, 0.5]], dtype=torch.float64))
    black = over_background(middle, 0.0)
    torch.testing.assert_close(black, torch.tensor([[0.5, 0.0, 0.0]], dtype=torch.float64))


def test_values_are_linear_within_a_view_and_never_mix_views():
    photos = Photos(small()).double()
    random = torch.Generator().manual_seed(0)
    coords = torch.rand(300, 3, generator=random, dtype=torch.float64)
    native = coords[:, 1:] * 16 - 0.5
    low = native.floor().clamp(0, 15).long()
    high = (low + 1).clamp(max=15)
    share = (native.clamp(0, 15) - low).unsqueeze(-1)
    view = (coords[:, 0] * 5).long()
    pixels = torch.stack([photos.image(each) for each in range(5)]).double()
    upper = torch.lerp(pixels[view, low[:, 0], low[:, 1]], pixels[view, low[:, 0], high[:, 1]], share[:, 1])
    lower = torch.lerp(pixels[view, high[:, 0], low[:, 1]], pixels[view, high[:, 0], high[:, 1]], share[:, 1])
    torch.testing.assert_close(photos(coords), torch.lerp(upper, lower, share[:, 0]), rtol=0, atol=1e-6)


def test_gradients_of_colors_and_rays_in_row_and_column():
    photos = Photos(small()).double()
    coords = torch.rand(20, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    view, inner = coords[:, :1], coords[:, 1:].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda each: photos(torch.cat((view, each), -1)), inner)
    assert torch.autograd.gradcheck(lambda each: photos.rays(torch.cat((view, each), -1)).directions, inner)


def test_views_of_different_sizes():
    scene = resize(small(), 1, 10, 12)
    photos = Photos(scene)
    mask = photos.domain.mask
    assert mask is not None
    assert mask.sum() == 4 * 256 + 120
    assert mask[1, :10, :12].all()
    whole = Photos(small())
    coords = centers(photos).view(5, 16, 16, 3)
    torch.testing.assert_close(
        photos(coords[1, :10, :12].reshape(-1, 3)), whole(coords[1, :10, :12].reshape(-1, 3))
    )
    torch.testing.assert_close(photos(coords[4].view(-1, 3)), whole(coords[4].view(-1, 3)))
    assert photos.view_shape(1) == (10, 12)
    shown = torch.cat(list(photos.view_coords(1)))
    torch.testing.assert_close(shown, coords[1, :10, :12].reshape(-1, 3).float())
    assert photos.domain.contains(shown).all()
    edges = photos.edges(10**6)
    assert edges.shape == (5, 16, 16)
    assert (edges[1, 10:] == 0).all()
    assert (edges[1, :, 12:] == 0).all()


def test_every_stride_goes_through_a_view_evenly():
    photos = Photos(small())
    for stride in (1, 2, 3, 5, 16, 40):
        height, width = photos.view_shape(2, stride)
        parts = list(photos.view_coords(2, stride, chunk=7))
        assert all(len(part) <= 7 for part in parts)
        coords = torch.cat(parts)
        assert len(coords) == height * width == max(1, round(16 / stride + 1e-9)) ** 2
        torch.testing.assert_close(
            photos(coords).view(height, width, 4), photos.image(2, stride), rtol=0, atol=1e-5
        )


def test_rays_hit_what_the_pictures_show():
    """The built-in scene is traced along the signal's own rays: color and opacity agree where a pixel is of one kind."""
    from softmine.radiance.scenes.procedural import trace

    photos = Photos(procedural(24, 3, 1), "test")
    coords = centers(photos)
    origins, directions = photos.rays(coords)
    color, opacity = trace(origins.float().numpy(), directions.float().numpy())
    expected = to_channels(torch.from_numpy(color), torch.from_numpy(opacity)).double()
    error = (photos(coords) - expected).abs().amax(-1)
    # Pixels are means of nine rays, so those on an edge differ from the one in their middle.
    assert error.median() < 0.01
    assert (error < 0.1).double().mean() > 0.6
    shifted = trace(origins.float().numpy(), directions.roll(1, 0).float().numpy())
    wrong = (photos(coords) - to_channels(*map(torch.from_numpy, shifted)).double()).abs().amax(-1)
    assert error.square().mean() < 0.5 * wrong.square().mean()


def test_downscaling_averages_premultiplied_color(tmp_path):
    folder = write_blender(tmp_path)
    photos = Photos(read_scene(folder, 2))
    assert photos.domain.shape == (4, 3, 4)
    stored = np.asarray(PIL.Image.open(folder / "train" / "r_1.png")).astype(float) / 255
    stored[..., :3] *= stored[..., 3:]
    means = torch.from_numpy(stored.reshape(3, 2, 4, 2, 4).mean((1, 3))).float()
    expected = to_channels(means[..., :3].reshape(-1, 3), means[..., 3].reshape(-1))
    torch.testing.assert_close(
        photos.image(1).view(-1, 4), expected, rtol=0, atol=0.76 / 255
    )  # half a step of each


def test_photos_have_plain_colors_and_masks(tmp_path):
    content = nerfstudio(tmp_path)
    mask = np.full((6, 8), 255, np.uint8)
    mask[2:4, 3:] = 0
    (tmp_path / "masks").mkdir()
    PIL.Image.fromarray(mask).save(tmp_path / "masks" / "1.png")
    content["frames"][1]["mask_path"] = "masks/1.png"
    write_json(tmp_path / "transforms.json", content)
    photos = Photos(read_scene(tmp_path))
    assert photos.channels == 3
    assert photos.views[0].name == "images/01.png"
    expected = np.asarray(PIL.Image.open(tmp_path / "images" / "01.png")) / np.float32(255)
    torch.testing.assert_close(photos.image(0), torch.from_numpy(expected))
    assert photos.domain.mask is not None
    assert torch.equal(photos.domain.mask[0], torch.from_numpy(mask > 0))
    assert photos.domain.mask[1:].all()
    halved = Photos(read_scene(tmp_path, 2)).domain.mask
    assert halved is not None
    assert halved[0].tolist() == [[True] * 4, [True, False, False, False], [True] * 4]
    assert (photos.edges(10**6)[0, 2:4, 3:] == 0).all()


def test_pictures_are_read_as_stored_whatever_exif_says_is_upright(tmp_path):
    content = nerfstudio(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    for orientation in range(1, 9):
        exif = PIL.Image.Exif()
        exif[0x0112] = orientation
        PIL.Image.fromarray(pixels).save(tmp_path / "images" / f"{orientation:02d}.png", exif=exif)
    write_json(tmp_path / "transforms.json", content)
    photos = Photos(read_scene(tmp_path))
    for index in range(7):
        torch.testing.assert_close(photos.image(index), torch.from_numpy(pixels / np.float32(255)))


def test_pictures_are_read_as_stored_wherever_a_png_keeps_its_orientation(tmp_path):
    content = nerfstudio(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    by_imagemagick, by_xmp = PIL.PngImagePlugin.PngInfo(), PIL.PngImagePlugin.PngInfo()
    code = exif.tobytes()
    by_imagemagick.add_text("Raw profile type exif", f"\nexif\n{len(code):8}\n{code.hex()}\n")
    by_xmp.add_itxt("XML:com.adobe.xmp", '<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>')
    for index, info in ((1, by_imagemagick), (2, by_xmp)):
        path = tmp_path / "images" / f"{index:02d}.png"
        PIL.Image.fromarray(pixels).save(path, pnginfo=info)
        # Other programs do turn it.
        assert image_files.read(path).shape == (8, 6, 3)
    write_json(tmp_path / "transforms.json", content)
    photos = Photos(read_scene(tmp_path))
    for index in range(2):
        torch.testing.assert_close(photos.image(index), torch.from_numpy(pixels / np.float32(255)))


@pytest.mark.parametrize("compression", [None, "zlib", "by Pillow"])
def test_pictures_are_read_as_stored_whatever_a_tiff_says_is_upright(tmp_path, compression):
    content = nerfstudio(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    palette = PIL.Image.fromarray(pixels).quantize(16)
    if compression == "by Pillow":
        pixels = np.asarray(palette.convert("RGB"))
    for orientation in range(1, 9):
        path = tmp_path / "images" / f"{orientation:02d}.tif"
        if compression == "by Pillow":
            palette.save(path, tiffinfo={274: orientation})
        else:
            tags = [(274, "H", 1, orientation, True)]
            tifffile.imwrite(path, pixels, compression=compression, photometric="rgb", extratags=tags)
        content["frames"][orientation]["file_path"] = f"images/{orientation:02d}.tif"
    write_json(tmp_path / "transforms.json", content)
    scene = read_scene(tmp_path)
    photos = Photos(scene), Photos(scene, "test")
    stored = torch.from_numpy(pixels / np.float32(255))
    found = {view.name: each.image(index) for each in photos for index, view in enumerate(each.views)}
    for orientation in range(1, 9):
        torch.testing.assert_close(found[f"images/{orientation:02d}.tif"], stored)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "float32"])
def test_all_of_a_mask_but_zero_counts(tmp_path, dtype):
    content = nerfstudio(tmp_path)
    mask = np.array([[0, 0, 1, 1, 2, 100, 254, 255]] * 6)
    counts = mask > 0
    tifffile.imwrite(
        tmp_path / "mask.tif", counts if dtype == "bool" else mask.astype(dtype), photometric="minisblack"
    )
    for frame in content["frames"]:
        frame["mask_path"] = "mask.tif"
    write_json(tmp_path / "transforms.json", content)
    found = Photos(read_scene(tmp_path)).domain.mask
    assert found is not None
    np.testing.assert_array_equal(found[0], counts)


def test_every_mask_counts_by_its_own_values(tmp_path):
    content = nerfstudio(tmp_path)
    inside = np.zeros((6, 8), bool)
    inside[1:5, 2:7] = True
    full = inside * np.uint8(255)
    white = np.full((6, 8), 255, np.uint8)
    masks = {
        1: inside.astype(np.uint8), 2: full, 3: inside * np.uint16(65535), 4: np.stack([full] * 3, -1),
        5: np.stack([white] * 3 + [full], -1), 6: np.stack([full] * 3 + [white], -1), 7: np.stack([full * 0] * 3 + [full], -1),
        9: np.zeros((6, 8), np.uint8),
    }  # fmt: skip
    for index, mask in masks.items():
        PIL.Image.fromarray(mask).save(tmp_path / f"{index}.png")
        content["frames"][index]["mask_path"] = f"{index}.png"
    write_json(tmp_path / "transforms.json", content)
    photos = Photos(read_scene(tmp_path))
    for index, view in enumerate(photos.views):
        number = int(view.name[-6:-4])
        np.testing.assert_array_equal(photos.valid(index), inside if number != 9 else inside & False)
    assert photos.notes == ("masks leave no pixel of 1 view to train, the first is images/09.png",)
    block = Photos(read_scene(tmp_path, 2)).valid(0)
    np.testing.assert_array_equal(block, inside.reshape(3, 2, 4, 2).all((1, 3)))


def test_what_moves_by_a_mask_beside_the_photo_does_not_count(tmp_path):
    content = nerfstudio(tmp_path)
    moving = np.zeros((6, 8, 3), np.uint8)
    moving[2:, 5:] = 255
    mask = np.ones((6, 8), np.uint8)
    mask[0] = 0
    PIL.Image.fromarray(moving).save(tmp_path / "images" / "dynamic_mask_03.png")
    PIL.Image.fromarray(mask).save(tmp_path / "mask.png")
    content["frames"][3]["mask_path"] = "mask.png"
    write_json(tmp_path / "transforms.json", content)
    scene = read_scene(tmp_path)
    assert scene.notes == (
        "1 masks of what moves (dynamic_mask_*.png) are used: what is white in them does not count",
    )
    photos = Photos(scene)
    index = [view.name for view in photos.views].index("images/03.png")
    np.testing.assert_array_equal(photos.valid(index), (mask > 0) & (moving[..., 0] == 0))
    before = photos.fingerprint
    PIL.Image.fromarray(moving[::-1]).save(tmp_path / "images" / "dynamic_mask_03.png")
    assert Photos(read_scene(tmp_path)).fingerprint != before


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_photos_are_turned_by_exif_where_their_cameras_are(tmp_path, orientation):
    content = nerfstudio(tmp_path)
    upright = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    inverse = {5: 5, 6: 8, 7: 7, 8: 6}[orientation]
    exif = PIL.Image.Exif()
    exif[274] = orientation
    PIL.Image.fromarray(np.ascontiguousarray(orient(upright, inverse))).save(
        tmp_path / "images" / "02.png", exif=exif
    )
    mask = np.ones((8, 6), np.uint8)
    mask[0] = 0
    PIL.Image.fromarray(mask).save(tmp_path / "mask.png")
    content["frames"][2].update(w=6, h=8, cx=3.0, cy=4.0, mask_path="mask.png")
    write_json(tmp_path / "transforms.json", content)
    scene = read_scene(tmp_path)
    assert scene.notes == ("1 photos are turned by EXIF, as their cameras are, the first is 02.png",)
    photos = Photos(scene)
    index = [view.name for view in photos.views].index("images/02.png")
    np.testing.assert_array_equal((photos.image(index) * 255).round(), upright)
    np.testing.assert_array_equal(photos.valid(index), mask > 0)
    behind = PIL.PngImagePlugin.PngInfo()  # as ImageMagick keeps it
    behind.add_text("Raw profile type exif", f"\nexif\n{len(exif.tobytes()):8d}\n{exif.tobytes().hex()}\n")
    image = PIL.Image.open(tmp_path / "images" / "02.png")
    image.info.pop("exif")
    PIL.Image.fromarray(np.array(image)).save(tmp_path / "images" / "02.png", pnginfo=behind)
    np.testing.assert_array_equal((Photos(read_scene(tmp_path)).image(index) * 255).round(), upright)
    PIL.Image.fromarray(np.array(image)).save(tmp_path / "images" / "02.png", exif=exif)
    content["frames"][2].update(w=8, h=6, cx=4.0, cy=3.0, mask_path=None)
    write_json(tmp_path / "transforms.json", content)
    stored = read_scene(tmp_path)
    assert "not turned by EXIF" in stored.notes[0]
    np.testing.assert_array_equal((Photos(stored).image(index) * 255).round(), orient(upright, inverse))
    content["frames"][2].update(w=7, h=6)
    write_json(tmp_path / "transforms.json", content)
    with pytest.raises(
        SoftmineError, match=r"02.png is 8 x 6 pixels \(turned by EXIF: 6 x 8\), but .* states 7 x 6"
    ):
        read_scene(tmp_path)


def test_edges_are_of_each_view_alone_and_coarse():
    photos = Photos(small())
    fine, coarse = photos.edges(10**6), photos.edges(5 * 4)
    assert fine.shape == (5, 16, 16)
    assert coarse.shape == (5, 2, 2)
    torch.testing.assert_close(fine.view(5, 2, 8, 2, 8).mean((2, 4)), coarse)
    assert fine.sum() > 0
    assert photos.edges(1).shape == (5, 1, 1)
    with pytest.raises(SoftmineError, match="max_cells of at least 1"):
        photos.edges(0)
    # A view alone has the same edges as among others.
    scene = small()
    alone = dataclasses.replace(scene, views=scene.views[3:4])
    torch.testing.assert_close(Photos(alone).edges(10**6)[0], fine[3])


def test_fingerprint_tells_pictures_poses_and_scale(tmp_path):
    folder = write_blender(tmp_path)
    first = Photos(read_scene(folder)).fingerprint
    assert Photos(read_scene(folder)).fingerprint == first
    assert Photos(read_scene(folder, 2)).fingerprint != first
    assert Photos(read_scene(folder), "test").fingerprint != first
    picture(folder / "train" / "r_1.png", 8, 6, 4, seed=99)
    assert Photos(read_scene(folder)).fingerprint != first


def test_bad_pictures_are_refused(tmp_path):
    folder = write_blender(tmp_path)
    scene = read_scene(folder)
    path = folder / "train" / "r_1.png"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(SoftmineError, match=r"r_1.png: it is a truncated or damaged PNG"):
        Photos(scene)
    picture(path, 9, 9, 4)
    with pytest.raises(
        SoftmineError, match=r"r_1.png is 9 x 9 pixels, which at downscale 1 is not the 8 x 6"
    ):
        Photos(scene)
    with pytest.raises(SoftmineError, match="has no view to val"):
        Photos(scene, "val")


def test_masks_that_leave_nothing_are_refused(tmp_path):
    content = nerfstudio(tmp_path, count=2)
    PIL.Image.fromarray(np.zeros((6, 8), np.uint8)).save(tmp_path / "black.png")
    for frame in content["frames"]:
        frame["mask_path"] = "black.png"
    write_json(tmp_path / "transforms.json", content)
    with pytest.raises(SoftmineError, match="leave out every pixel of train"):
        Photos(read_scene(tmp_path))


def test_what_is_converted_is_noted_with_the_number_of_photos(tmp_path):
    content = nerfstudio(tmp_path)
    for index in (1, 2, 3):
        path = tmp_path / "images" / f"{index:02d}.png"
        PIL.Image.open(path).quantize(16).save(path)
    path = tmp_path / "images" / "04.png"
    PIL.Image.open(path).convert("CMYK").save(path.with_suffix(".jpg"))
    path.unlink()
    write_json(tmp_path / "transforms.json", content)
    photos = Photos(read_scene(tmp_path))
    assert photos.notes == (
        "each of 3 photos to train: its palette became RGB",
        "each of 1 photos to train: its CMYK colors became RGB",
    )
    palette = np.array(PIL.Image.open(tmp_path / "images" / "02.png").convert("RGB"))
    np.testing.assert_allclose(photos.image(1) * 255, palette, atol=1e-4)


@pytest.mark.parametrize("size", [(7, 9), (6, 8), (5, 7)])
@pytest.mark.parametrize("downscale", [1, 2])
def test_a_mask_larger_than_its_image_counts_by_whole_blocks(tmp_path, size, downscale):
    image = [round(side / 2 + 0.01) for side in size]
    mask = np.random.default_rng(1).random(size) > 0.15
    mask[:4, :4], mask[0, 4] = True, False
    PIL.Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "m.png")
    view = small().views[0]
    height, width = (side // downscale for side in image)
    camera = dataclasses.replace(view.camera, height=height, width=width)
    view = dataclasses.replace(view, camera=camera, mask=tmp_path / "m.png", mask_factor=2)
    found = load_mask(view, downscale)
    side = 2 * downscale
    expected = [
        [mask[y * side : (y + 1) * side, x * side : (x + 1) * side].all() for x in range(width)]
        for y in range(height)
    ]
    np.testing.assert_array_equal(found, expected)
    assert 0 < np.mean(found) < 1
    with pytest.raises(SoftmineError, match="which is not 3 times the size of its image"):
        load_mask(dataclasses.replace(view, mask_factor=3), downscale)


def test_wrong_coordinates_are_refused():
    with pytest.raises(SoftmineError, match=r"coordinates of shape \(N, 3\)"):
        Photos(small())(torch.zeros(4, 2))
