"""The sampler ``auto``: what is best today, at a batch size that suits the signal (measured in docs/evidence.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from softmine.domain import Box
from softmine.sampling.quota_map import QuotaMap

DEFAULT_BATCH_SIZE = 2048
AUTO = "auto"
Auto = QuotaMap
VIEWS: dict[str, Any] = {
    "cells": 2**16,
    "power": 1.0,
    "uniform_share": 0.3,
    "rate": 0.3,
}
"""What ``auto`` is on views of a scene. There are more pixels than rays in a run, so that a map cell is a patch of them, whose
errors differ; and what no ray has seen for long must not be forgotten."""


def defaults(spec: str, domain: Box, suited: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Options of a sampler's description that suit a domain better than the sampler's own; none but for ``auto``.

    Args:
        spec: the description; options that it gives come before these.
        domain: where coordinates live.
        suited: what is known to suit the signal, which comes before what suits its domain.
    """
    if spec.partition(":")[0] != AUTO:
        return {}
    return {**(VIEWS if domain.discrete else {}), **(suited or {})}


def default_batch_size(spec: str, domain: Box) -> int:
    """The batch size of a sampler's description where nobody chose one: 2048, or for ``auto`` what suits the signal.

    That is about one sample for 32 cells, a multiple of 1,024, but 8,192 where that is less and at most an eighth of the
    cells, from 1,024 to 32,768. A large batch costs less a sample, but of a small signal it would see the same cells again
    before the field has learned from them. With three axes or four, where a sample costs several times as much, 8,192 at
    most; with one 4,096, because there small batches cost little more a sample and are worth more.

    Example:
        >>> default_batch_size("auto", Box((512, 768))), default_batch_size("uniform", Box((512, 768)))
        (12288, 2048)
    """
    if spec.partition(":")[0] != AUTO:
        return DEFAULT_BATCH_SIZE
    wanted = max(domain.valid // 32, min(8192, domain.valid // 8), 1024)
    largest = {1: 4096, 2: 32768}.get(domain.dim, 8192)
    return min(largest, wanted) // 1024 * 1024
