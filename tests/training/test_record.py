"""The record of where samples fell, held against where they can."""

import numpy as np
import pytest
import torch

from softmine.domain import Box
from softmine.training.record import SampleRecord


def _box(shape: tuple[int, ...], gaps: bool) -> Box:
    mask = torch.ones(shape, dtype=torch.bool)
    if gaps:
        mask[: shape[0] // 3] = False
        mask.view(-1)[::7] = False
    return Box(shape, mask)


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("shape", [(500,), (40, 30), (100, 150), (401, 97), (50, 33, 20)])
def test_a_sample_in_every_cell_is_what_the_grid_holds(shape, gaps):
    box = _box(shape, gaps)
    record = SampleRecord(box, torch.device("cpu"))
    record.add(box.centers(box.nth_valid(torch.arange(box.valid))))
    record.close(1)
    counts = record.stretches[0][2].numpy()
    np.testing.assert_array_equal(counts, record.held)
    assert record.held.sum() == box.valid
    assert record.held.shape == record.grid.shape


def test_samples_anywhere_in_a_cell_count_where_its_center_lies():
    box = Box((150, 3))
    record = SampleRecord(box, torch.device("cpu"))
    # A cell of the grid is 1.5625 wide: the second holds the centers of cells 2 alone, the third those of 3 and 4.
    record.add(
        torch.tensor([[2.0, 0.0], [2.9, 0.0], [3.0, 0.0], [3.2, 0.0], [4.6, 0.0]]) / torch.tensor([150, 3])
    )
    record.close(1)
    assert record.stretches[0][2][:4, 0].tolist() == [0, 2, 3, 0]
    assert record.held[:4, 0].tolist() == [2, 1, 2, 1]
