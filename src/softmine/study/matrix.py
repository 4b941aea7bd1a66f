"""What a comparison consists of: its settings, and the runs that follow from them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from softmine.checks import out_of_range
from softmine.domain import Box
from softmine.errors import ArgumentError, SoftmineError
from softmine.registry import AUTO, Spec, default_batch_size
from softmine.sampling.base import check_batch_size
from softmine.study.shorter import shorter_of, split_shorter, with_shorter
from softmine.training.settings import FieldSettings, FitSettings


@dataclass(frozen=True)
class CompareSettings(FieldSettings):
    """What is compared with what.

    Attributes:
        samplers: as in ``langevin:alpha=0.8@512/2.5``: options, a batch size of its own, and how many times shorter its
            budget is; uniform is the baseline.
        batch_sizes: coordinates per step; every sampler without a batch size of its own runs at each.
        seeds: everything runs with the seeds 0 to ``seeds`` - 1.
        tune_uniform: whether a short search first finds the best batch size for uniform, which then also runs at that.
    """

    samplers: tuple[str, ...] = ("uniform", "langevin", "auto")
    batch_sizes: tuple[int, ...] = (2048,)
    seeds: int = 1
    tune_uniform: bool = False

    def check(self) -> None:
        """Raises SoftmineError if a setting is out of range."""
        super().check()
        if not self.samplers or not self.batch_sizes:
            raise SoftmineError("a comparison needs at least one sampler and one batch size")
        for batch_size in self.batch_sizes:
            check_batch_size(batch_size)
        for name, values in (("samplers", self.samplers), ("batch_sizes", self.batch_sizes)):
            twice = sorted({str(value) for value in values if values.count(value) > 1})
            if twice:
                raise ArgumentError(f"{{{name}}} names {{names}} twice", names=", ".join(twice))
        found = entries(self)
        for sampler in dict.fromkeys(entry.sampler for entry in found):
            Spec.parse(sampler).check()
        for entry in found:
            check_batch_size(entry.batch_size)
            if found.count(entry) > 1:
                name = with_shorter(entry.sampler, entry.shorter)
                raise ArgumentError(
                    "{samplers} names {name} at batch size {size} twice: {spellings}",
                    name=name,
                    size=entry.batch_size,
                    spellings=self._spellings(entry),
                )
            _ = shortened(self, entry.shorter)
        if not 1 <= self.seeds <= 1000:
            raise out_of_range("seeds", self.seeds, "give how many seeds to run, 1 to 1000")

    def _spellings(self, entry: Entry) -> str:
        """The words that both name an entry."""
        sized = with_shorter(f"{entry.sampler}@{entry.batch_size}", entry.shorter)
        if entry.shorter == 1:
            return f"once by itself and once as {sized}"
        words = [word for word in self.samplers if split(word)[::2] == (entry.sampler, entry.shorter)]
        return "once as " + " and once as ".join(
            word for word in words if split(word)[1] in (None, entry.batch_size)
        )


@dataclass(frozen=True)
class Entry:
    """A sampler at a batch size, with the budget or one that is ``shorter`` times shorter: what runs once a seed."""

    sampler: str
    batch_size: int
    shorter: float = 1.0


def entries(settings: CompareSettings) -> list[Entry]:
    """Samplers and batch sizes that run for every seed, in the order in which they were named.

    Raises:
        SoftmineError: what follows an @ is no whole number, or what follows a / no number above 1.
    """
    found = []
    for number, batch_size in enumerate(settings.batch_sizes):
        for word in settings.samplers:
            sampler, own, shorter = split(word)
            if own is None:
                found.append(Entry(sampler, batch_size, shorter))
            elif number == 0:
                found.append(Entry(sampler, own, shorter))
    return found


def split(word: str) -> tuple[str, int | None, float]:
    """A sampler, its own batch size and how many times shorter its budget is, from ``langevin:alpha=0.8@512/2.5``.

    The batch size is None where it has none of its own, and the last 1 where it has the whole budget.

    Raises:
        SoftmineError: what follows the @ is no whole number, or what follows the / no number above 1.
    """
    before, shorter = split_shorter(word)
    sampler, at, size = before.rpartition("@")
    if not at:
        return before, None, shorter
    if not size.isascii() or not size.isdecimal():
        raise SoftmineError(
            f"sampler '{word}': a batch size follows the @, as in {sampler or 'uniform'}@2048"
        )
    return sampler, int(size), shorter


def shortened(settings: CompareSettings, shorter: float) -> CompareSettings:
    """The settings of a run whose budget is ``shorter`` times shorter, steps rounded.

    Raises:
        SoftmineError: no step is left.
    """
    steps = None if settings.steps is None else round(settings.steps / shorter)
    if steps == 0:
        raise ArgumentError(
            "{steps} is {given}, of which a budget {shorter:g} times shorter leaves none: give more steps",
            given=settings.steps,
            shorter=shorter,
        )
    seconds = None if settings.seconds is None else settings.seconds / shorter
    return settings if shorter == 1 else replace(settings, steps=steps, seconds=seconds)


def run_settings(settings: CompareSettings, entry: Entry, seed: int) -> FitSettings:
    """The settings of one run of a comparison."""
    short = shortened(settings, entry.shorter)
    shared = {field.name: getattr(short, field.name) for field in fields(FieldSettings)}
    return FitSettings(**shared, sampler=entry.sampler, batch_size=entry.batch_size, seed=seed)


def sized(settings: CompareSettings, domain: Box, batch_size: int | None = None) -> CompareSettings:
    """Settings in which ``auto`` without a batch size of its own has the one that suits the signal.

    That is ``batch_size`` where the signal's kind has one for all.
    """
    words = []
    for word in settings.samplers:
        sampler, own, shorter = split(word)
        if own is None and sampler.partition(":")[0] == AUTO:
            own = batch_size or default_batch_size(sampler, domain)
        words.append(with_shorter(sampler if own is None else f"{sampler}@{own}", shorter))
    return replace(settings, samplers=tuple(words))


def entry_of(run: dict[str, Any]) -> Entry:
    """What a run of ``results.json`` is a run of."""
    return Entry(run["sampler"], run["batch_size"], shorter_of(run))


def ended(run: dict[str, Any]) -> bool:
    """Whether a run of ``results.json`` came to its end: its budget spent, or its loss diverged."""
    return bool(run["finished"]) or run["diverged_at"] is not None


def missing(found: list[Entry], seed: int, runs: list[dict[str, Any]]) -> list[Entry]:
    """The entries that have no run of ``seed`` that came to its end."""
    there = {entry_of(run) for run in runs if run["seed"] == seed and ended(run)}
    return [entry for entry in found if entry not in there]
