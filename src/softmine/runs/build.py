"""From a task and the settings of a run to a trainer that is ready to start."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import torch

from softmine import fields
from softmine.optim.cuda_graph import EAGER
from softmine.runs.task import Task, batch_size_for
from softmine.training.sampler import make_sampler
from softmine.training.settings import FitSettings
from softmine.training.trainer import Diverged, Trainer

WARM = 2
"""Steps after which everything is compiled and loaded,"""
RECORDED = EAGER + 2
"""and after which a graph was recorded and replayed too."""
_warm: set[tuple] = set()


def build_run(task: Task, settings: FitSettings, device: torch.device) -> Trainer:
    """A trainer whose field, for one seed, starts from the same parameters whatever the sampler.

    What a process pays once (kernels compiled, libraries loaded, memory mapped) is paid here by a trainer that is
    thrown away, so that it is not timed.
    """
    settings = with_batch_size(settings, task)
    shape = (task.signal.domain.shape, task.signal.channels)
    kind = (task.kind, settings.field, settings.log2_table_size, shape, settings.sampler, settings.batch_size)
    if (*kind, device) not in _warm:
        warm = _build(task, settings, device)
        # The real run will say so in its own time.
        steps = RECORDED if device.type == "cuda" else WARM
        with contextlib.suppress(Diverged):
            warm.advance(lambda: warm.step >= steps)
        _warm.add((*kind, device))
    return _build(task, settings, device)


def with_batch_size(settings: FitSettings, task: Task) -> FitSettings:
    """Settings whose batch size is the default for task and sampler where they have none."""
    return replace(settings, batch_size=settings.batch_size or batch_size_for(task, settings.sampler))


def _build(task: Task, settings: FitSettings, device: torch.device) -> Trainer:
    torch.manual_seed(settings.seed)
    field, snap = task.make_field(settings), settings.snap and task.snaps
    return Trainer(
        field,
        task.signal,
        make_sampler(settings.sampler, task.signal, settings.batch_size, seed=settings.seed, snap=snap),
        budget=settings.budget,
        learning_rate=settings.learning_rate or fields.LEARNING_RATES[settings.field],
        device=device,
        schedule=settings.schedule,
        snap=snap,
    )
