"""The default sampler: a map of the error, drawn by error diffusion."""

from __future__ import annotations

from softmine.sampling.quota_map.sampler import QuotaMap

__all__ = ["QuotaMap"]
