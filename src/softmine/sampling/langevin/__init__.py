"""Soft mining by Langevin Monte Carlo, and with the arithmetic of its authors' release."""

from __future__ import annotations

from softmine.sampling.langevin.published_code import PublishedLangevin
from softmine.sampling.langevin.sampler import Langevin

__all__ = ["Langevin", "PublishedLangevin"]
