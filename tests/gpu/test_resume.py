"""A run is resumed on another device: from a GPU on a CPU, and back."""

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file

from gpu.fake_gpu import FakeGpu
from softmine.cli.main import main


def run(words, device, steps):
    with FakeGpu(count=2) if device != "cpu" else torch.enable_grad():
        assert main([*words, "--steps", str(steps), "--device", device]) == 0


def resumed(path, out, devices):
    """What a run holds that is resumed on each of these devices in turn."""
    flags = ["--log2-table-size", "8", "--batch-size", "32", "--evaluations", "1"]
    for index, device in enumerate(devices):
        new = ["fit", "image", str(path), "--out", str(out), *flags]
        run(new if index == 0 else ["fit", "image", "--resume", str(out)], device, 4 + 3 * index)
    return load_file(max(out.rglob("*.safetensors")))


@pytest.mark.parametrize("kernels", ["torch", ""])
def test_a_run_is_resumed_on_another_device(kernels, tmp_path, monkeypatch):
    monkeypatch.setenv("SOFTMINE_KERNELS", kernels)
    path = tmp_path / "p.png"
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(path)
    moved = resumed(path, tmp_path / "moved", ["cuda", "cpu", "cuda:1", "cpu"])
    stayed = resumed(path, tmp_path / "stayed", ["cpu"] * 4)
    assert moved.keys() == stayed.keys()
    assert moved["sampler.step"] == 13
    # The fused step's products are of bfloat16, which comes to change what the map draws.
    for name in moved:
        if kernels and name.startswith(("field", "sampler")):
            torch.testing.assert_close(moved[name], stayed[name], rtol=1e-2, atol=1e-4)
        elif name.startswith("field"):
            assert (moved[name] - stayed[name]).norm() <= 0.15 * stayed[name].norm()
