"""One call that fits a field to any signal: ``softmine.fit``."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from softmine import fields
from softmine.checks import check_choice, check_count, check_positive
from softmine.domain import Box, SoftmineError
from softmine.optim import SCHEDULES
from softmine.sampling import Sampler
from softmine.training import devices
from softmine.training.budget import Budget, evaluation_points
from softmine.training.sampler import make_sampler
from softmine.training.trainer import Diverged, Point, Trainer, train_and_evaluate
from softmine.training.user_signal import TRIAL, SignalFunction, UserSignal

_KINDS = {fields.HashGridField: "hashgrid", fields.Siren: "siren", fields.FourierField: "fourier"}
_OTHER_RATE = 1e-3
MOST_EVALUATIONS = 10_000
"""Points of a curve, at most."""


@dataclass(frozen=True)
class Fitted:
    """What ``fit`` returns.

    Attributes:
        field: the trained field, on the device it was trained on.
        sampler: what chose the coordinates, as it is at the end.
        curve: points in order, the last at the end.
        not_fused: why the parts of a step ran as kernels of their own, as on every CPU; empty where they ran as one on a GPU.
    """

    field: nn.Module
    sampler: Sampler
    curve: list[Point[float | None]] = dataclasses.field(default_factory=list)
    not_fused: str = ""

    @property
    def device(self) -> torch.device:
        """Where it was trained."""
        return next(self.field.parameters()).device

    @property
    def steps(self) -> int:
        """Steps done."""
        return self.curve[-1].step

    @property
    def seconds(self) -> float:
        """Seconds of training."""
        return self.curve[-1].seconds

    @property
    def loss(self) -> float:
        """Of the last batch."""
        return self.curve[-1].loss

    @property
    def value(self) -> float | None:
        """What ``evaluate`` returned at the end, or None."""
        return self.curve[-1].value


def fit(
    field: nn.Module | str,
    signal: SignalFunction,
    sampler: Sampler | str = "auto",
    *,
    domain: Box | None = None,
    steps: int | None = None,
    seconds: float | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    schedule: str = "cosine",
    device: str | torch.device = "auto",
    snap: bool = False,
    seed: int = 0,
    evaluate: Callable[[nn.Module], float] | None = None,
    evaluations: int = 20,
    report: Callable[[Point[float | None]], None] | None = None,
) -> Fitted:
    """Fits a field to any function of 1 to 4 coordinates, trained where a sampler says.

    Args:
        field: a module from coordinates (N, D) to values (N, C), which is trained in place; or ``hashgrid``, ``siren`` or
            ``fourier`` for a new one that is sized for the domain.
        signal: called with unit coordinates (N, D), float32 in [0, 1)^D, returns values (N, C), which need not lie in
            [0, 1]. A module is moved to the device. If its values have a gradient in the coordinates, ``langevin`` uses it.
        sampler: a sampler, or a name with options as in ``langevin:alpha=0.8``.
        domain: where the coordinates live: the finer the grid, the finer the steps of samplers and the cells of maps.
            By default ``signal.domain``.
        steps: end after so many steps.
        seconds: end after so many seconds of training; with ``steps`` too, whichever comes first. In a new process the
            first step may compile kernels, which counts.
        batch_size: coordinates per step; by default the sampler's own, or 2048, or with ``auto`` the default for the
            domain.
        learning_rate: Adam's at the start; by default that of the field, 0.001 for one of yours.
        schedule: of the learning rate: ``cosine`` decays to a twentieth over the budget, ``constant`` stays.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` and so on, ``mps`` or a torch device.
        snap: train at the centers of cells only, for signals that are known there.
        seed: of a new field's parameters and of a new sampler, 0 to 2^63 - 1.
        evaluate: measures the field now and then, without gradient and not timed.
        evaluations: how many points of the curve there are, evenly over the budget, at most 10,000; a few more come early.
        report: receives each point as it is reached.

    Raises:
        SoftmineError: there is neither a budget nor a domain; an argument is out of range; signal and field do not return
            (N, C) each; the signal is NaN or infinite somewhere, and where; or the loss diverges.

    Example:
        >>> def ring(coords):                       # coords (N, 2) to values (N, 1)
        ...     return torch.exp(-((coords - 0.5).norm(dim=-1, keepdim=True) - 0.3).square() * 1e4)
        >>> fitted = fit("hashgrid", ring, domain=Box((256, 256)), steps=3)
        >>> fitted.field(torch.rand(5, 2)).shape, fitted.steps
        (torch.Size([5, 1]), 3)
    """
    budget = _budget(steps, seconds)
    points = evaluation_points(check_count("evaluations", evaluations, most=MOST_EVALUATIONS))
    check_count("seed", seed, least=0, most=2**63 - 1)
    for name, function in (("evaluate", evaluate), ("report", report)):
        if function is not None and not callable(function):
            raise SoftmineError(f"{name} is {function}, but it must be a function that is called, or None")
    where = device if isinstance(device, torch.device) else devices.choose(device)
    source = UserSignal(signal, _domain(signal, sampler, domain), where)
    check_choice("schedule", schedule, SCHEDULES)
    model, kind = _field(field, source, seed)
    chosen = _sampler(sampler, source, batch_size, seed, snap)
    rate = fields.LEARNING_RATES.get(kind, _OTHER_RATE)
    if learning_rate is not None:
        rate = check_positive("learning_rate", learning_rate)
    trainer = Trainer(
        model,
        source,
        chosen,
        budget=budget,
        learning_rate=rate,
        device=where,
        schedule=schedule,
        snap=snap,
    )
    _check_field(trainer.field, source)
    fitted = Fitted(trainer.field, chosen, not_fused=trainer.not_fused)

    def measure(field: nn.Module) -> float | None:
        return None if evaluate is None else _number(evaluate(field))

    try:
        for point in train_and_evaluate(trainer, points, measure):
            if point is None:
                continue
            fitted.curve.append(point)
            if report is not None:
                report(point)
    except Diverged as error:
        source.check(TRIAL * 64)
        raise SoftmineError(
            f"the loss turned NaN or infinite at step {error.step}: start again with a lower learning_rate than {rate:g}"
        ) from error
    return fitted


def _number(value: object) -> float:
    """What ``evaluate`` returned; raises SoftmineError where it is no number."""
    # A tensor, an array or a number of any kind, but no text that reads like one.
    if not isinstance(value, (str, bytes, bytearray)):
        with contextlib.suppress(TypeError, ValueError, RuntimeError):
            return float(value)  # pyright: ignore[reportArgumentType]
    raise SoftmineError(f"evaluate returned a {type(value).__name__}, but it must return one number")


def _budget(steps: int | None, seconds: float | None) -> Budget:
    if steps is None and seconds is None:
        raise SoftmineError("fit does not know when to end: give steps, seconds or both")
    return Budget(steps, seconds)


def _domain(signal: SignalFunction, sampler: Sampler | str, domain: Box | None) -> Box:
    found = domain or getattr(signal, "domain", None)
    if found is None and not isinstance(sampler, str):
        found = sampler.domain
    if not isinstance(found, Box):
        raise SoftmineError(
            "fit does not know where the signal lives: give a domain, such as softmine.Box((512, 512)) for one of two "
            "coordinates that is to be resolved 512 times along each"
        )
    return found


def _field(given: nn.Module | str, source: UserSignal, seed: int) -> tuple[nn.Module, str]:
    """The field, and which of ours it is, if any."""
    if isinstance(given, str):
        # Nobody else's random numbers are touched. A field is made on the CPU, whose generator is the only one it needs.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return fields.create(given, source.domain.shape, source.channels), given
    if not any(parameter.requires_grad for parameter in given.parameters()):
        raise SoftmineError(f"the field {type(given).__name__} has no parameters to train")
    return given, _KINDS.get(type(given), "")


def _sampler(
    given: Sampler | str, source: UserSignal, batch_size: int | None, seed: int, snap: bool
) -> Sampler:
    if isinstance(given, str):
        return make_sampler(given, source, batch_size, seed=seed, snap=snap)
    if batch_size not in (None, given.batch_size):
        raise SoftmineError(
            f"the sampler draws {given.batch_size} coordinates, but batch_size is {batch_size}: leave it out"
        )
    if given.domain.shape != source.domain.shape:
        raise SoftmineError(
            f"the sampler lives on {given.domain}, but the signal on {source.domain}: make one of them with the "
            "other's domain"
        )
    return given


@torch.no_grad()
def _check_field(model: nn.Module, source: UserSignal) -> None:
    """Raises SoftmineError where the field does not return as many values as the signal."""
    # Two coordinates, because a field may treat one in its own way.
    coords = source.domain.uniform(torch.full((2, source.domain.dim), 0.5)).to(source.device)
    shape = tuple(model(coords).shape)
    if shape != (2, source.channels):
        raise SoftmineError(
            f"the field returns the shape {shape} at 2 coordinates, but the signal has {source.channels} values at each: "
            f"it must return (2, {source.channels})"
        )
