"""Scenes with dirty training views."""

import numpy as np
import pytest

from scene_files import write_blender
from softmine.errors import ArgumentError
from softmine.radiance.photos import Photos
from softmine.radiance.scenes import procedural, read_scene
from softmine.radiance.scenes.corruptions import corrupt_scene
from softmine.signals.corruptions import Corruption


@pytest.fixture(scope="module")
def scene():
    return procedural(24, 20, 3)


def dirty_views(scene, dirty):
    return [
        (before, after)
        for before, after in zip(scene.views, dirty.views, strict=True)
        if not np.array_equal(before.pixels, after.pixels)
    ]


@pytest.mark.parametrize("name", ["patches", "exposure"])
@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.01, 1), (0.1, 2), (1.0, 20)])
def test_a_share_of_the_training_views_is_dirty(scene, name, share, count):
    dirty = corrupt_scene(scene, Corruption(name, share))
    changed = dirty_views(scene, dirty)
    assert len(changed) == count
    assert all(after.split == "train" for _, after in changed)
    assert [view.name for view in dirty.views] == [view.name for view in scene.views]


def test_a_patch_is_one_opaque_rectangle(scene):
    for before, after in dirty_views(scene, corrupt_scene(scene, Corruption("patches", 1.0))):
        rows, columns = np.nonzero((before.pixels != after.pixels).any(-1))
        patch = after.pixels[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert (patch == patch[0, 0]).all()
        assert all(6 <= side <= 12 for side in patch.shape[:2])
        if patch.shape[2] == 4:
            assert patch[0, 0, 3] == 255


def test_an_exposure_is_one_factor_of_the_colors(scene):
    for before, after in dirty_views(scene, corrupt_scene(scene, Corruption("exposure", 1.0))):
        old, new = before.pixels[..., :3].astype(float), after.pixels[..., :3].astype(float)
        whole = (old > 60) & (new < 255)
        factors = new[whole] / old[whole]
        assert factors.max() - factors.min() < 0.04
        assert 0.58 < factors.mean() < 1.62
        assert (before.pixels[..., 3:] == after.pixels[..., 3:]).all()


def test_a_scene_of_files_is_dirty_the_same_way_again(tmp_path):
    scene = read_scene(str(write_blender(tmp_path / "scene")))
    found = [corrupt_scene(scene, Corruption("patches", 0.5, seed)) for seed in (0, 0, 1)]
    prints = [Photos(one, "train").fingerprint for one in found]
    assert prints[0] == prints[1]
    assert len({Photos(scene, "train").fingerprint, *prints}) == 3
    assert [view.image is None for view in found[0].views].count(True) == 2
    clean, dirty = Photos(scene, "train"), Photos(found[0], "train")
    changed = [i for i in range(4) if not np.array_equal(clean.image(i), dirty.image(i))]
    assert len(changed) == 2
    assert np.array_equal(Photos(scene, "test").pixels, Photos(found[0], "test").pixels)


def test_what_is_for_images_is_refused(scene):
    with pytest.raises(ArgumentError, match="choose patches"):
        corrupt_scene(scene, Corruption("jpeg", 30.0))
