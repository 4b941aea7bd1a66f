import math

import numpy as np
import pytest
import torch
from torch import nn

from softmine.domain import Box
from softmine.tasks.evaluation import CellEvaluator, psnr, ssim
from softmine.training import evaluation as rules

CPU = torch.device("cpu")


class Ramp(nn.Module):
    """Values that grow along the first axis."""

    channels = 1
    name, fingerprint = "ramp", ""

    def __init__(self, domain, offset=0.0):
        super().__init__()
        self.domain, self.offset = domain, offset

    def forward(self, coords):
        return coords[:, :1] + self.offset


def test_psnr_is_that_of_the_mean_squared_error_over_all_cells():
    domain = Box((40, 5))
    found = CellEvaluator(Ramp(domain), "cells", CPU)(Ramp(domain, offset=0.001))
    assert found.psnr == pytest.approx(60.0, abs=0.01)
    assert (found.samples, found.subset) == (200, False)


def test_predictions_are_clipped_first():
    domain = Box((10,))
    found = CellEvaluator(Ramp(domain), "cells", CPU)(Ramp(domain, offset=5.0))
    expected = ((1 - domain.centers(torch.arange(10))) ** 2).mean().item()
    assert found.psnr == pytest.approx(-10 * math.log10(expected), abs=1e-3)


def test_cells_without_data_do_not_count():
    mask = torch.zeros(10, 10, dtype=torch.bool)
    mask[:3] = True
    domain = Box((10, 10), mask=mask)

    class WrongElsewhere(Ramp):
        def forward(self, coords):
            return torch.where(coords[:, :1] < 0.3, coords[:, :1], 1.0)

    evaluator = CellEvaluator(Ramp(domain), "voxels", CPU)
    assert evaluator(WrongElsewhere(domain)).psnr == math.inf
    assert evaluator.describe() == "PSNR over all 30 voxels"


def test_of_many_cells_the_same_few_count(monkeypatch):
    monkeypatch.setattr(rules, "ALL", 100)
    monkeypatch.setattr(rules, "SUBSET", 50)
    domain = Box((30, 30))
    one, other = (CellEvaluator(Ramp(domain), "cells", CPU) for _ in range(2))
    assert one.subset
    assert torch.equal(one.cells, other.cells)
    assert one.describe() == "PSNR over a fixed subset of 50 of 900 cells"
    assert one(Ramp(domain, 0.01)).subset


def test_more_measures_see_prediction_and_signal():
    domain = Box((10,))

    def largest(prediction, target):
        return {"largest": (prediction - target).abs().max().item()}

    evaluator = CellEvaluator(Ramp(domain), "cells", CPU, measures="PSNR and more", more=largest)
    assert evaluator(Ramp(domain, 0.01)).more["largest"] == pytest.approx(0.01, abs=1e-6)
    assert evaluator.describe() == "PSNR and more over all 10 cells"


def test_an_infinite_prediction_has_no_psnr():
    domain = Box((10,))
    assert math.isnan(CellEvaluator(Ramp(domain), "cells", CPU)(Ramp(domain, math.inf)).psnr)


def test_psnr_of_arrays():
    target = np.zeros((4, 5, 3), np.float32)
    assert psnr(target + np.float32(0.1), target) == pytest.approx(20, abs=1e-5)
    assert psnr(target, target) == np.inf
    assert np.isnan(psnr(np.full_like(target, np.nan), target))


@pytest.mark.parametrize(("gaussian", "least"), [(False, 7), (True, 11)])
def test_ssim_needs_room_for_its_window(gaussian, least):
    random = np.random.default_rng(0)
    target = random.random((least, least + 1, 3), np.float32)
    assert ssim(target, target, gaussian=gaussian) == pytest.approx(1)
    assert ssim(1 - target, target, gaussian=gaussian) < 0.5
    assert ssim(target[1:], target[1:], gaussian=gaussian) is None
