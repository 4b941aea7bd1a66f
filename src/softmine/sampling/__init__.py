"""Samplers: where to train. Each draws a batch, weighs its loss, and learns from its errors."""

from __future__ import annotations

from softmine.sampling.base import Batch, Probe, Sampler
from softmine.sampling.density.piecewise import PiecewiseConstant
from softmine.sampling.density.prior import edge_prior
from softmine.sampling.drawing.from_density import DRAWINGS
from softmine.sampling.edges import Edges
from softmine.sampling.error_map import ErrorMap
from softmine.sampling.langevin import Langevin, PublishedLangevin
from softmine.sampling.quota_map import QuotaMap
from softmine.sampling.random import RandomStream
from softmine.sampling.shuffled import Shuffled
from softmine.sampling.uniform import Uniform

__all__ = [
    "DRAWINGS",
    "Batch",
    "Edges",
    "ErrorMap",
    "Langevin",
    "PiecewiseConstant",
    "Probe",
    "PublishedLangevin",
    "QuotaMap",
    "RandomStream",
    "Sampler",
    "Shuffled",
    "Uniform",
    "edge_prior",
]
