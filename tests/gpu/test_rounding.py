"""What CUDA rounds otherwise than a CPU."""

import pytest
import torch

from gpu.fake_gpu import FakeGpu
from softmine import Box


@pytest.mark.parametrize("shape", [(7_999_993,), (3, 2_999_999), (1, 1_048_583)])
@pytest.mark.parametrize("offset", [0.0, 0.5, 1.0])
def test_samples_stay_in_their_cells(shape, offset):
    box = Box(shape)
    with FakeGpu():
        cells = torch.arange(0, box.cells, 37, device="cuda")
        offsets = [torch.full((1,), offset, device="cuda")] * box.dim
        found = box.cell(box.inside(cells, offsets))
        assert (found != cells).sum().item() == 0
