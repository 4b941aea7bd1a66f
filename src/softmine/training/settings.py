"""What can be chosen about a run, and the ranges of all of it."""

from __future__ import annotations

from dataclasses import dataclass

from softmine.checks import check_choice, check_count, check_not_negative, check_positive, out_of_range
from softmine.fields import FIELDS
from softmine.optim import SCHEDULES
from softmine.registry import Spec
from softmine.sampling.base import check_batch_size
from softmine.training.budget import Budget

DEFAULT_SECONDS = 60.0


@dataclass(frozen=True)
class FieldSettings:
    """The field, and how it is trained.

    Attributes:
        steps: the run ends after so many.
        seconds: it ends after so many of training; with ``steps`` too, whichever comes first, with neither 60.
        field: ``hashgrid``, ``siren`` or ``fourier``.
        learning_rate: Adam's at the start; None for the default of the field.
        schedule: of the learning rate: ``cosine`` or ``constant``.
        log2_table_size: base-2 logarithm of the entries of each hashed level of a hash grid, 1 to 24.
        snap: whether to train at the centers of cells only, where quality is measured.
        evaluations: spread evenly over the run, 1 to 10,000; a few more come early.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` and so on, or ``mps``.
    """

    steps: int | None = None
    seconds: float | None = None
    field: str = "hashgrid"
    learning_rate: float | None = None
    schedule: str = "cosine"
    log2_table_size: int = 19
    snap: bool = True
    evaluations: int = 20
    device: str = "auto"

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
        check_choice("field", self.field, FIELDS)
        check_count("log2_table_size", self.log2_table_size, 1, 24)
        if self.learning_rate is not None:
            check_positive("learning_rate", self.learning_rate)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_count("evaluations", self.evaluations, 1, 10_000)
        _ = self.budget


@dataclass(frozen=True)
class FitSettings(FieldSettings):
    """Everything that defines one run.

    Attributes:
        sampler: where to train: a sampler's name, with options as in ``langevin:alpha=0.8``.
        batch_size: coordinates per step; None for the default of signal and sampler.
        seed: random seed of field and sampler, 0 to 2^63 - 1.
        checkpoint_every: seconds between checkpoints, by the wall clock; 0 writes only the last.
    """

    sampler: str = "auto"
    batch_size: int | None = None
    seed: int = 0
    checkpoint_every: float = 30.0

    def check(self) -> None:
        """Raises SoftmineError if a setting is out of range."""
        super().check()
        Spec.of_run(self.sampler).check()
        if self.batch_size is not None:
            check_batch_size(self.batch_size)
        if not 0 <= self.seed < 2**63:
            raise out_of_range("seed", self.seed, "give a whole number from 0 to 2^63 - 1")
        check_not_negative("checkpoint_every", self.checkpoint_every)
