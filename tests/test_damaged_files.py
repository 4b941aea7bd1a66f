"""Damaged files of every kind are read, or refused in a sentence; ``benchmarks/fuzz.py`` tries many more."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mutations
import small_files
from softmine.errors import SoftmineError
from softmine.radiance.photos import Photos
from softmine.radiance.scenes import read_scene
from softmine.signals.audio import Audio
from softmine.signals.image import Image
from softmine.signals.shape import files as mesh_files
from softmine.signals.video import Video
from softmine.signals.volume import Volume

WRITERS = {
    "image": (small_files.images, Image.read),
    "volume": (small_files.volumes, Volume.read),
    "audio": (small_files.clips, Audio.read),
    "video": (small_files.videos, Video.read),
    "shape": (small_files.meshes, mesh_files.read),
}
EXAMPLES = {"image": 120, "volume": 80, "audio": 60, "video": 15, "shape": 80}


def said(read: Callable[[Path], object], path: Path) -> str | None:
    """What was said where a file was refused; None where it was read."""
    try:
        read(path)
    except SoftmineError as error:
        return str(error)
    return None


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Paths of small files by kind."""
    found = {}
    for kind, (write, _) in WRITERS.items():
        folder = tmp_path_factory.mktemp(kind)
        found[kind] = [path for path in write(folder) if path.suffix != ".bin"]
    return found


@pytest.mark.parametrize("kind", WRITERS)
def test_damaged_file_is_read_or_refused(kind, originals, tmp_path):
    @settings(
        max_examples=EXAMPLES[kind],
        deadline=10_000,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
        database=None,
        derandomize=True,
    )
    @given(st.sampled_from(originals[kind]), st.integers(0, 2**32))
    def check(original: Path, seed: int) -> None:
        path = tmp_path / original.name
        damage = mutations.for_name(path.name)
        path.write_bytes(damage(original.read_bytes(), Random(seed)))
        refusal = said(WRITERS[kind][1], path)
        assert refusal is None or refusal.startswith(f"cannot read {path}")
        assert [each.name for each in tmp_path.iterdir()] == [path.name]
        path.unlink()

    check()


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Folders of scenes, and the files that say where their cameras are."""
    folder = tmp_path_factory.mktemp("scenes")
    return [(folder / name, file) for name, files in small_files.scenes(folder).items() for file in files]


def test_damaged_scene_is_read_or_refused(scenes, tmp_path):
    @settings(
        max_examples=60,
        deadline=10_000,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
        database=None,
        derandomize=True,
    )
    @given(st.sampled_from(scenes), st.integers(0, 2**32))
    def check(scene: tuple[Path, Path], seed: int) -> None:
        folder, file = scene
        copy = tmp_path / folder.name
        shutil.copytree(folder, copy)
        damaged = mutations.for_name(file.name)(file.read_bytes(), Random(seed))
        (copy / file.relative_to(folder)).write_bytes(damaged)
        assert said(lambda path: Photos(read_scene(path)), copy) != ""
        shutil.rmtree(copy)

    check()
