"""From settings to a trainer that is ready to go."""

from __future__ import annotations

import contextlib

import torch

from softmine import fields, sampling
from softmine.signals import Image
from softmine.training.settings import FieldSettings
from softmine.training.trainer import Diverged, Trainer

_warm: set[tuple] = set()


def build_trainer(
    image: Image,
    settings: FieldSettings,
    *,
    sampler: str,
    batch_size: int,
    seed: int,
    device: torch.device,
) -> Trainer:
    """A trainer whose field, for one seed, starts from the same parameters whatever the sampler.

    What a process pays once (kernels compiled, libraries loaded, memory mapped) is paid here by a trainer that is
    thrown away, so that it is on nobody's clock.
    """
    kind = (settings.field, settings.log2_table_size, image.shape, sampler, batch_size, device)
    if kind not in _warm:
        warm = _build(image, settings, sampler, batch_size, seed, device)
        # The real run will say so in its own time.
        with contextlib.suppress(Diverged):
            warm.advance(lambda: warm.step >= 3)
        _warm.add(kind)
    return _build(image, settings, sampler, batch_size, seed, device)


def _build(
    image: Image, settings: FieldSettings, sampler: str, batch_size: int, seed: int, device: torch.device
) -> Trainer:
    torch.manual_seed(seed)
    field = fields.create(
        settings.field, image.shape[:2], image.channels, log2_table_size=settings.log2_table_size
    )
    rate = settings.learning_rate or fields.LEARNING_RATES[settings.field]
    chosen = sampling.create(sampler, image.domain, batch_size, seed=seed, edges=image.edges)
    if isinstance(chosen, torch.nn.Module):
        chosen.to(device)
    return Trainer(
        field.to(device),
        image,
        chosen,
        budget=settings.budget,
        learning_rate=rate,
        device=device,
        schedule=settings.schedule,
        snap=settings.snap,
    )
