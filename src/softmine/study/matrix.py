"""What a comparison consists of: its settings, and the runs that follow from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

from tyro.conf import arg

from softmine.domain import Box, SoftmineError
from softmine.sampling import check_spec, default_batch_size
from softmine.sampling.auto import AUTO
from softmine.sampling.protocol import check_batch_size
from softmine.training.settings import FieldSettings


@dataclass(frozen=True)
class CompareSettings(FieldSettings):
    """What is compared with what."""

    samplers: Annotated[tuple[str, ...], arg(metavar="NAME ...")] = ("uniform", "langevin", "auto")
    """Samplers to compare; uniform is the baseline. Options follow a colon, a batch size of its own follows @:
    langevin:alpha=0.8,prior=edges@512."""
    batch_sizes: Annotated[tuple[int, ...], arg(metavar="N ...")] = (2048,)
    """Coordinates a step; every sampler without a batch size of its own runs at every size. auto has one that suits
    the signal."""
    seeds: Annotated[int, arg(metavar="K")] = 1
    """Repeat everything with this many seeds: 0, 1, ..."""
    tune_uniform: bool = False
    """Find the batch size that suits uniform best by a short search first; uniform then also runs at that size, which
    is what every sampler's speed-up is measured against."""

    def check(self) -> None:
        """Raises SoftmineError if a setting is out of range."""
        super().check()
        if not self.samplers or not self.batch_sizes:
            raise SoftmineError("a comparison needs at least one sampler and one batch size")
        for batch_size in self.batch_sizes:
            check_batch_size(batch_size)
        for name, values in (("--samplers", self.samplers), ("--batch-sizes", self.batch_sizes)):
            twice = sorted({str(value) for value in values if values.count(value) > 1})
            if twice:
                raise SoftmineError(f"{name} names {', '.join(twice)} twice")
        found = entries(self)
        for sampler in dict.fromkeys(entry.sampler for entry in found):
            check_spec(sampler)
        for entry in found:
            check_batch_size(entry.batch_size)
            if found.count(entry) > 1:
                raise SoftmineError(
                    f"--samplers names {entry.sampler} at batch size {entry.batch_size} twice: once by itself and "
                    f"once as {entry.sampler}@{entry.batch_size}"
                )
        if not 1 <= self.seeds <= 1000:
            raise SoftmineError(f"--seeds is {self.seeds}: give how many seeds to run, 1 to 1000")


@dataclass(frozen=True)
class Entry:
    """A sampler at a batch size: what runs once a seed."""

    sampler: str
    batch_size: int


def entries(settings: CompareSettings) -> list[Entry]:
    """Samplers and batch sizes that run for every seed, in the order in which they were named.

    Raises:
        SoftmineError: what follows an @ is no whole number.
    """
    found = []
    for number, batch_size in enumerate(settings.batch_sizes):
        for word in settings.samplers:
            sampler, own = split(word)
            if own is None:
                found.append(Entry(sampler, batch_size))
            elif number == 0:
                found.append(Entry(sampler, own))
    return found


def split(word: str) -> tuple[str, int | None]:
    """A sampler and its own batch size, from ``langevin:alpha=0.8@512``; None where it has none.

    Raises:
        SoftmineError: what follows the @ is no whole number.
    """
    sampler, at, size = word.rpartition("@")
    if not at:
        return word, None
    if not size.isascii() or not size.isdecimal():
        raise SoftmineError(
            f"sampler '{word}': a batch size follows the @, as in {sampler or 'uniform'}@2048"
        )
    return sampler, int(size)


def sized(settings: CompareSettings, domain: Box, batch_size: int | None = None) -> CompareSettings:
    """Settings in which ``auto`` without a batch size of its own has the one that suits the signal.

    That is ``batch_size`` where the signal's kind has one for all.
    """
    words = []
    for word in settings.samplers:
        sampler, own = split(word)
        if own is None and sampler.partition(":")[0] == AUTO:
            own = batch_size or default_batch_size(sampler, domain)
        words.append(word if own is None else f"{sampler}@{own}")
    return replace(settings, samplers=tuple(words))


def ended(run: dict[str, Any]) -> bool:
    """Whether a run of ``results.json`` came to its end: its budget spent, or its loss diverged."""
    return bool(run["finished"]) or run["diverged_at"] is not None


def missing(found: list[Entry], seed: int, runs: list[dict[str, Any]]) -> list[Entry]:
    """The entries that have no run of ``seed`` that came to its end."""
    there = {Entry(run["sampler"], run["batch_size"]) for run in runs if run["seed"] == seed and ended(run)}
    return [entry for entry in found if entry not in there]
