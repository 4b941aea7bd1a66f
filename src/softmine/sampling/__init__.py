"""Samplers: where to train. Each is an ``nn.Module`` that speaks draw, weigh, update."""

from __future__ import annotations

from softmine.sampling.auto import default_batch_size
from softmine.sampling.edges import Edges, edge_prior
from softmine.sampling.error_map import ErrorMap
from softmine.sampling.error_map_settings import ERROR_MAP_PRESETS, ErrorMapSettings
from softmine.sampling.evolutionary import Evolutionary
from softmine.sampling.expansive import Expansive
from softmine.sampling.hardest import Hardest
from softmine.sampling.langevin import Langevin
from softmine.sampling.langevin_settings import PRESETS, LangevinSettings
from softmine.sampling.multinomial import Multinomial
from softmine.sampling.ntk import Ntk
from softmine.sampling.piecewise import PiecewiseConstant
from softmine.sampling.protocol import Probe, Sampler
from softmine.sampling.quota_map import QuotaMap
from softmine.sampling.random import RandomStream
from softmine.sampling.registry import SAMPLERS, check_spec, create, parse
from softmine.sampling.resampling import Resampling
from softmine.sampling.shuffled import Shuffled
from softmine.sampling.uniform import Uniform

__all__ = [
    "ERROR_MAP_PRESETS",
    "PRESETS",
    "SAMPLERS",
    "Edges",
    "ErrorMap",
    "ErrorMapSettings",
    "Evolutionary",
    "Expansive",
    "Hardest",
    "Langevin",
    "LangevinSettings",
    "Multinomial",
    "Ntk",
    "PiecewiseConstant",
    "Probe",
    "QuotaMap",
    "RandomStream",
    "Resampling",
    "Sampler",
    "Shuffled",
    "Uniform",
    "check_spec",
    "create",
    "default_batch_size",
    "edge_prior",
    "parse",
]
