"""The page on formats, held against what readers take."""

import re
from pathlib import Path

import pytest

from softmine.radiance.scenes.colmap import LENSES
from softmine.radiance.scenes.photo_paths import ENDINGS
from softmine.signals.audio.signal import MAX_SAMPLES
from softmine.signals.image.pillow import FORMATS
from softmine.signals.memmap import LOAD_BYTES
from softmine.signals.shape import files as meshes
from softmine.tasks import KINDS
from softmine.tasks.meshing import FORMATS as WRITTEN
from softmine.tasks.meshing import MOST

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def page():
    return (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")


def part(page, title):
    return page[page.index(f"\n## {title}") :].partition("\n## ")[2].partition("\n## ")[0]


def test_every_extra_is_in_the_table(page):
    table = (
        (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project.optional-dependencies]")[2]
    )
    extras = re.findall(r"^(\w+) = \[", table.partition("\n[")[0], re.MULTILINE)
    assert "exr" in extras
    found = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert sorted(found) == sorted(set(extras) - {"test"})


def test_every_kind_has_its_command(page):
    assert [word for word in re.findall(r"^`softmine fit (\w+) PATH`", page, re.MULTILINE)] == list(KINDS)


def test_formats_are_those_of_the_readers(page):
    for name in FORMATS:
        assert name.replace("WEBP", "WebP") in part(page, "Images"), name
    for name in meshes.FORMATS:
        assert name.strip(".").upper() in part(page, "Shapes"), name
    for name in WRITTEN:
        assert name.upper() in part(page, "Shapes"), name
    scenes = part(page, "Scenes")
    for name in ENDINGS:
        assert {".jpg": "JPEG", ".tif": "TIFF", ".webp": "WebP"}.get(name, name[1:].upper()) in scenes, name
    for name in LENSES:
        assert name in scenes or "PINHOLE" in name, name


def test_limits_are_those_of_the_code(page):
    assert f"{MAX_SAMPLES:,} samples" in page
    assert f"{meshes.MOST_TRIANGLES // 10**6} million triangles" in page
    assert f"up to {MOST}" in page
    assert f"above {LOAD_BYTES // 2**20} MB" in page
    assert "docs/formats.md" in (ROOT / "README.md").read_text(encoding="utf-8")
