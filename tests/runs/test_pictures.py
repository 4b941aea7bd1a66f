"""Maps of where samples fell."""

import numpy as np
import pytest

from softmine.runs import pictures


@pytest.mark.parametrize(("mean", "side"), [(5.0, 1), (3.9, 2), (1.01, 2), (0.9, 4), (0.1, 8)])
def test_a_map_is_as_fine_as_its_counts_allow(mean, side):
    counts = np.random.default_rng(0).poisson(mean, (200, 256))
    density = pictures._density(counts)
    assert density.shape == counts.shape
    # Cells of side x side are of one colour, and neighbours are not.
    blocks = density.reshape(200 // side, side, 256 // side, side)
    assert np.array_equal(blocks, np.broadcast_to(blocks[:, :1, :, :1], blocks.shape))
    assert np.mean(blocks[1:, 0, :, 0] != blocks[:-1, 0, :, 0]) > 0.5
    assert density.mean() == pytest.approx(1)


def test_the_coarsest_map_has_eight_cells_a_side():
    counts = np.zeros((64, 64))
    counts[0, 0] = 1
    assert np.count_nonzero(pictures._density(counts)) == 64
