"""From settings to a trainer that is ready to go."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from softmine import fields, sampling
from softmine.sampling import Sampler
from softmine.signals import HasEdges, HasSamplerDefaults, Signal
from softmine.training.settings import FieldSettings
from softmine.training.task import Task
from softmine.training.trainer import Diverged, Trainer

_warm: set[tuple] = set()
_edges: weakref.WeakKeyDictionary[Any, Tensor] = weakref.WeakKeyDictionary()


def build_trainer(
    task: Task,
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
    shape = (task.signal.domain.shape, task.signal.channels)
    kind = (task.kind, settings.field, settings.log2_table_size, shape, sampler, batch_size, device)
    if kind not in _warm:
        warm = _build(task, settings, sampler, batch_size, seed, device)
        # The real run will say so in its own time.
        with contextlib.suppress(Diverged):
            warm.advance(lambda: warm.step >= 2)
        _warm.add(kind)
    return _build(task, settings, sampler, batch_size, seed, device)


def edges_of(signal: Signal) -> Callable[[], Tensor] | None:
    """The edges of a signal, for samplers with a prior; looked for once, however many samplers ask. None if it has none."""
    if not isinstance(signal, HasEdges):
        return None

    def known() -> Tensor:
        if signal not in _edges:
            _edges[signal] = signal.edges()
        return _edges[signal]

    return known


def make_sampler(task: Task, sampler: str, batch_size: int, seed: int, snap: bool = False) -> Sampler:
    """The sampler that a description names, with the edges of the task's signal and what is known to suit it.

    With ``snap``, samples will be moved to the centres of cells.
    """
    signal = task.signal
    defaults = signal.auto_options if isinstance(signal, HasSamplerDefaults) else {}
    suited = {"snapped": snap, **defaults}
    return sampling.create(
        sampler, signal.domain, batch_size, seed=seed, edges=edges_of(signal), suited=suited
    )


def _build(
    task: Task, settings: FieldSettings, sampler: str, batch_size: int, seed: int, device: torch.device
) -> Trainer:
    torch.manual_seed(seed)
    field, signal = task.make_field(settings), task.signal
    rate = settings.learning_rate or fields.LEARNING_RATES[settings.field]
    snap = settings.snap and task.snaps
    chosen = make_sampler(task, sampler, batch_size, seed, snap)
    if isinstance(chosen, torch.nn.Module):
        chosen.to(device)
    return Trainer(
        field.to(device),
        signal,
        chosen,
        budget=settings.budget,
        learning_rate=rate,
        device=device,
        schedule=settings.schedule,
        snap=snap,
    )
