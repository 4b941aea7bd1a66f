"""What a comparison consists of: its settings, and the runs that follow from them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from softmine.checks import check_count, out_of_range
from softmine.domain import Box
from softmine.errors import ArgumentError, SoftmineError
from softmine.registry import AUTO, Spec, default_batch_size, with_shorter
from softmine.sampling.base import MAX_BATCH_SIZE
from softmine.study.results import Entry, RunResult
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
            check_count("batch_sizes", batch_size, most=MAX_BATCH_SIZE)
        for name, values in (("samplers", self.samplers), ("batch_sizes", self.batch_sizes)):
            twice = sorted({str(value) for value in values if values.count(value) > 1})
            if twice:
                raise ArgumentError(f"{{{name}}} names {{names}} twice", names=", ".join(twice))
        found = entries(self)
        for sampler in dict.fromkeys(entry.sampler for entry in found):
            Spec.parse(sampler).check()
        for entry in found:
            if found.count(entry) > 1:
                raise ArgumentError(
                    "{samplers} names {name} at batch size {size} twice: {spellings}",
                    name=entry.name,
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
        specs = {word: Spec.parse(word) for word in self.samplers}
        return "once as " + " and once as ".join(
            word
            for word, spec in specs.items()
            if (spec.sampler, spec.shorter) == (entry.sampler, entry.shorter)
            and spec.batch_size in (None, entry.batch_size)
        )


def entries(settings: CompareSettings) -> list[Entry]:
    """Samplers and batch sizes that run for every seed, in the order in which they were named.

    Raises:
        SoftmineError: a sampler cannot be read.
    """
    specs = list(map(Spec.parse, settings.samplers))
    return [
        Entry(spec.sampler, spec.batch_size or batch_size, spec.shorter)
        for number, batch_size in enumerate(settings.batch_sizes)
        for spec in specs
        if spec.batch_size is None or number == 0
    ]


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
    """Settings in which ``auto`` without a batch size of its own has the default for the signal.

    That is ``batch_size`` where the signal's kind has one for all.
    """
    words = []
    for word in settings.samplers:
        spec = Spec.parse(word)
        size = spec.batch_size
        if size is None and spec.name == AUTO:
            size = batch_size or default_batch_size(spec.name, domain)
        words.append(with_shorter(spec.sampler if size is None else f"{spec.sampler}@{size}", spec.shorter))
    return replace(settings, samplers=tuple(words))


def missing(found: list[Entry], seed: int, runs: list[RunResult]) -> list[Entry]:
    """The entries that have no run of ``seed`` that came to its end."""
    there = {run.entry for run in runs if run.seed == seed and run.ended}
    return [entry for entry in found if entry not in there]
