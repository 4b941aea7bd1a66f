"""Published competitors, under their papers' names."""

from __future__ import annotations

from softmine.baselines.error_maps import instant_ngp_error_map, torch_ngp_error_map
from softmine.baselines.evos import EVOS
from softmine.baselines.expansive_supervision import ExpansiveSupervision
from softmine.baselines.int import INT
from softmine.baselines.multinomial import Multinomial
from softmine.baselines.nint import NINT
from softmine.baselines.resampling import Resampling

__all__ = [
    "EVOS",
    "INT",
    "NINT",
    "ExpansiveSupervision",
    "Multinomial",
    "Resampling",
    "instant_ngp_error_map",
    "torch_ngp_error_map",
]
