"""How a field is trained: one optimizer for all of it, learning rates that decay, and steps as CUDA graphs.

With these a loop of your own trains as ``softmine fit`` does::

    optimizer = softmine.optim.RowAdam(field.parameters(), lr=1e-2, batch_size=sampler.batch_size)
    schedule = softmine.optim.CosineSchedule(optimizer, steps=steps)
    for step in range(steps):
        ...                       # loss from field, signal and sampler
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()           # or schedule.step(progress=seconds_spent / seconds_given)
"""

from __future__ import annotations

from softmine.optim.cuda_graph import CapturedStep, unchanged_places
from softmine.optim.row_adam import RowAdam
from softmine.optim.schedules import (
    SCHEDULES,
    ConstantSchedule,
    CosineSchedule,
    Schedule,
    cosine_decay,
    set_learning_rate,
)

__all__ = [
    "SCHEDULES",
    "CapturedStep",
    "ConstantSchedule",
    "CosineSchedule",
    "RowAdam",
    "Schedule",
    "cosine_decay",
    "set_learning_rate",
    "unchanged_places",
]
