"""What the tests on a fake GPU train: small images, and steps as a user writes them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from softmine import Box, FieldProbe, HashGridField, Image
from softmine.optim import RowAdam
from softmine.registry import create
from softmine.sampling import Sampler
from softmine.training.budget import Budget
from softmine.training.trainer import Trainer

SHAPE = (24, 32)


def image_of(masked: bool = False) -> Image:
    image = Image(np.random.default_rng(0).random((*SHAPE, 3)).astype(np.float32))
    if masked:
        image.domain = Box(SHAPE, np.random.default_rng(1).random(SHAPE) < 0.6)
    return image


def field_of(dim: int = 2, channels: int = 3) -> HashGridField:
    torch.manual_seed(0)
    return HashGridField(dim, channels, log2_table_size=8, levels=4, finest_resolution=32)


def trainer_of(name: str, *, masked: bool = False, device: str = "cuda", field=None) -> Trainer:
    """The trainer that commands use."""
    image = image_of(masked).to(device)
    sampler = create(name, image.domain, 64, seed=0, edges=image.edges)
    options = {"budget": Budget(steps=1000), "learning_rate": 1e-2, "device": torch.device(device)}
    return Trainer(field or field_of(), image, sampler, snap=True, **options)


def loop_of(
    name: str, device: str = "cuda", **options
) -> tuple[HashGridField, Sampler, RowAdam, Callable[[], Tensor]]:
    """Field, sampler, optimizer and step of a user's own loop."""
    image, field = image_of().to(device), field_of().to(device)
    sampler = create(name, image.domain, 64, seed=0, edges=image.edges).to(device)
    probe = FieldProbe(field, image)
    rate = torch.tensor(1e-2, device=device)
    optimizer = RowAdam(field.parameters(), lr=rate, batch_size=64, **options)

    def step() -> Tensor:
        batch = sampler.draw(probe if sampler.needs_probe else None)
        residual = field(batch.coords) - image(batch.coords)
        loss, error = residual.square().mean(-1), residual.detach().abs().mean(-1)
        objective = (sampler.weigh(batch, error) * loss).mean()
        optimizer.zero_grad()
        objective.backward()
        sampler.update(batch, error, loss=loss.detach())
        optimizer.step()
        return objective.detach()

    return field, sampler, optimizer, step
