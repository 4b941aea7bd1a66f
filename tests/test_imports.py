"""What is imported for what: whoever draws samples in a loop of their own pays for no reports, pictures or command line."""

import subprocess
import sys

import pytest

HEAVY = (
    "matplotlib",
    "skimage",
    "scipy",
    "numba",
    "tyro",
    "rich",
    "jinja2",
    "viser",
    "trimesh",
    "nibabel",
    "av",
)
BOX = "softmine.Box((64, 64))"
USES = {
    "import": "",
    "Box": BOX,
    "Uniform": f"softmine.Uniform({BOX}, batch_size=64).draw()",
    "Shuffled": f"softmine.Shuffled({BOX}, batch_size=64).draw()",
    "Langevin": f"softmine.Langevin({BOX}, batch_size=64)",
    "ErrorMap": f"softmine.ErrorMap({BOX}, batch_size=64)",
    "QuotaMap": f"softmine.QuotaMap({BOX}, batch_size=64).draw()",
    "Image": "softmine.Image(torch.rand(8, 8, 3)).edges()",
    "Audio": "softmine.Audio(torch.zeros(8).numpy(), rate=8)",
    "Video": "softmine.Video(torch.zeros(2, 4, 4, 3, dtype=torch.uint8).numpy())",
    "Volume": "softmine.Volume(torch.rand(4, 4, 4))",
}


def heavy_after(code):
    """Which of ``HEAVY`` a fresh process has imported after running ``code``."""
    code = f"import sys, softmine\n{code}\nprint(*sys.modules.keys() & {HEAVY!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("use", USES)
def test_building_imports_nothing_heavy(use):
    assert heavy_after(f"import torch\n{USES[use]}") == set()


def test_the_check_sees_an_import():
    assert "numba" in heavy_after("import numba")


def test_importing_the_package_does_not_wait_for_torch():
    code = "import sys, softmine; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("room", ["baselines", "optim", "registry"])
def test_public_rooms_are_there_after_importing_softmine(room):
    script = f"import softmine; print(softmine.{room}.__name__)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == f"softmine.{room}", done.stderr
