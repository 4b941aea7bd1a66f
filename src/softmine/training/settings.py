"""What can be chosen about a run. The texts under the fields are the command line's help."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from softmine.errors import SoftmineError
from softmine.fields import FIELDS
from softmine.optim import SCHEDULES
from softmine.registry import Spec
from softmine.sampling.base import check_batch_size
from softmine.training.budget import Budget

DEFAULT_SECONDS = 60.0


@dataclass(frozen=True)
class FieldSettings:
    """The field, and how it is trained."""

    steps: Annotated[int | None, arg(metavar="N", help_behavior_hint="")] = None
    """End after this many steps."""
    seconds: Annotated[float | None, arg(metavar="S", help_behavior_hint="")] = None
    """End after this many seconds of training. With --steps too, whichever comes first; with neither, 60."""
    field: Annotated[str, arg(metavar="NAME")] = "hashgrid"
    """What learns the signal: hashgrid, siren or fourier."""
    learning_rate: Annotated[
        float | None, arg(metavar="RATE", help_behavior_hint="(default: the field's own)")
    ] = None
    """Adam's learning rate at the start."""
    schedule: Annotated[str, arg(metavar="NAME")] = "cosine"
    """How the learning rate goes on: cosine falls to a twentieth over the budget, constant stays."""
    log2_table_size: Annotated[int, arg(metavar="N")] = 19
    """Base-2 logarithm of the rows of each hashed level of a hash grid."""
    snap: bool = True
    """Train at pixel centres, where quality is measured; --no-snap trains on the interpolation between them too."""
    evaluations: Annotated[int, arg(metavar="N")] = 20
    """Evaluations spread evenly over the run (a few more come early)."""
    device: Annotated[str, arg(metavar="NAME")] = "auto"
    """Where to train: auto, cpu, cuda or mps."""

    def __post_init__(self) -> None:
        if self.steps is None and self.seconds is None:
            # Kept in the settings, so that what is written down is what was done.
            object.__setattr__(self, "seconds", DEFAULT_SECONDS)

    @property
    def budget(self) -> Budget:
        """When a run ends."""
        return Budget(self.steps, self.seconds)

    def check(self) -> None:
        """Raises SoftmineError if a setting is out of range."""
        if self.field not in FIELDS:
            raise SoftmineError(f"unknown field '{self.field}': choose one of {', '.join(FIELDS)}")
        if not 1 <= self.log2_table_size <= 24:
            raise SoftmineError(f"--log2-table-size is {self.log2_table_size}: give a number from 1 to 24")
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise SoftmineError(f"--learning-rate is {self.learning_rate}: it must be a positive number")
        if self.schedule not in SCHEDULES:
            raise SoftmineError(f"unknown schedule '{self.schedule}': choose one of {', '.join(SCHEDULES)}")
        if not 1 <= self.evaluations <= 10_000:
            raise SoftmineError(f"--evaluations is {self.evaluations}: give a number from 1 to 10000")
        _ = self.budget


@dataclass(frozen=True)
class FitSettings(FieldSettings):
    """Everything that defines one run."""

    sampler: Annotated[str, arg(metavar="NAME")] = "auto"
    """Where to train: auto, uniform, shuffled, langevin, resampling, error-map, multinomial, edges, int, evos,
    nint, expansive-supervision or quota-map, which auto is made of. Options follow a colon: langevin:alpha=0.8,prior=edges."""
    batch_size: Annotated[
        int | None,
        arg(metavar="N", help_behavior_hint="(default: 2048, of rays 1024; with auto, what suits a signal)"),
    ] = None
    """Coordinates a step."""
    seed: Annotated[int, arg(metavar="N")] = 0
    """Of the field's first parameters and of the sampler."""
    checkpoint_every: Annotated[float, arg(metavar="S")] = 30.0
    """Seconds between checkpoints, by the wall clock; 0 writes only the last."""

    def check(self) -> None:
        """Raises SoftmineError if a setting is out of range."""
        super().check()
        Spec.parse(self.sampler).check()
        if self.batch_size is not None:
            check_batch_size(self.batch_size)
        if not 0 <= self.checkpoint_every < math.inf:
            raise SoftmineError(f"--checkpoint-every is {self.checkpoint_every}: give seconds, 0 or more")
