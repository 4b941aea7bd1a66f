"""Images of a run: their colors, and maps of where samples fell."""

import numpy as np
import pytest
import torch

from softmine.domain import Box
from softmine.runs.images import (
    DENSITY_RANGE,
    NOT_MEASURED,
    density,
    density_colors,
    error_colors,
    to_bytes,
    write_samples,
)
from softmine.training.record import SampleRecord


@pytest.mark.parametrize(("mean", "side"), [(5.0, 1), (3.9, 2), (1.01, 2), (0.9, 4), (0.1, 8)])
def test_a_map_is_as_fine_as_its_counts_allow(mean, side):
    counts = np.random.default_rng(0).poisson(mean, (200, 256))
    relative = density(counts, np.ones_like(counts))
    assert relative.shape == counts.shape
    # Cells of side x side are of one color, and neighbors are not.
    blocks = relative.reshape(200 // side, side, 256 // side, side)
    assert np.array_equal(blocks, np.broadcast_to(blocks[:, :1, :, :1], blocks.shape))
    assert np.mean(blocks[1:, 0, :, 0] != blocks[:-1, 0, :, 0]) > 0.5
    assert relative.mean() == pytest.approx(1)


def test_the_coarsest_map_has_eight_cells_a_side():
    counts = np.zeros((64, 64))
    counts[0, 0] = 1
    assert np.count_nonzero(density(counts, np.ones((64, 64)))) == 64


@pytest.mark.parametrize("mean", [50, 1])
def test_uniform_samples_are_even_over_what_holds_data(mean):
    held = np.full((32, 32), 4)
    held[:16] = 0
    held[20, :8] = 1
    counts = np.random.default_rng(0).poisson(held * mean)
    relative = density(counts, held)
    np.testing.assert_array_equal(np.isnan(relative), held == 0)
    assert relative[16:].mean() == pytest.approx(1, abs=0.1)
    assert np.median(relative[20, :8]) == pytest.approx(1, abs=0.6)
    colors = density_colors(relative)
    assert (colors[:16] == to_bytes(np.array(NOT_MEASURED))).all()
    assert (colors[16:] != to_bytes(np.array(NOT_MEASURED))).any(-1).all()


@pytest.mark.parametrize(
    ("ends", "labels"),
    [
        ([1], ["all that were counted: steps 0 to 1"]),
        ([1, 100], ["early: steps 0 to 1", "middle and late: steps 1 to 100"]),
        ([10, 50, 100], ["early: steps 0 to 10", "middle: steps 10 to 100", "late: steps 50 to 100"]),
    ],
)
def test_a_short_run_has_no_stretch_twice(tmp_path, ends, labels):
    record = SampleRecord(Box((8, 8)), torch.device("cpu"))
    for end in ends:
        for _ in range(4):
            record.add(torch.rand(64, 2))
        record.close(end)
    entries = write_samples(record, tmp_path)
    assert [entry["label"] for entry in entries] == labels
    assert len({entry["file"] for entry in entries}) == len(labels) == len(list(tmp_path.iterdir()))


def test_to_bytes_rounds_and_clips():
    assert to_bytes(np.array([-1.0, 0.0, 0.5, 1.0, 2.0, np.nan, 0.4 / 255, 0.6 / 255])).tolist() == [
        0, 0, 128, 255, 255, 0, 0, 1,
    ]  # fmt: skip


def test_error_colors_end_at_the_scale():
    colors = error_colors(np.array([[0.0, 0.1, 0.2, 9.0]]), 0.2).astype(int)
    assert colors[0, 0].sum() < 10
    assert (colors[0, 2] == colors[0, 3]).all()
    assert colors[0].sum(-1).tolist() == sorted(colors[0].sum(-1))


def test_density_colors_are_white_at_the_mean():
    colors = density_colors(np.array([[0.0, 1 / DENSITY_RANGE, 1.0, DENSITY_RANGE, 99.0]])).astype(int)[0]
    assert (colors[0] == colors[1]).all()
    assert (colors[3] == colors[4]).all()
    assert colors[2].min() > 240
    assert colors[3][0] > colors[3][2]
    assert colors[0][2] > colors[0][0]
