"""Samplers by name, with their options in the same word: ``langevin:alpha=0.8,prior=edges@512/2.5``."""

from __future__ import annotations

import ast
import difflib
import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, get_args, get_type_hints, runtime_checkable

import torch
from torch import Tensor

from softmine import baselines
from softmine.domain import Box
from softmine.errors import ArgumentError, SoftmineError
from softmine.sampling import (
    Edges,
    ErrorMap,
    Langevin,
    PiecewiseConstant,
    PublishedLangevin,
    QuotaMap,
    Sampler,
    Shuffled,
    Uniform,
    edge_prior,
)
from softmine.sampling.base import check_batch_size, check_domain

AUTO = "auto"
DEFAULT_BATCH_SIZE = 2048
MOST_SHORTER = 100.0
"""A budget may be this many times shorter at most."""

SAMPLERS: dict[str, Callable[..., Sampler]] = {
    AUTO: QuotaMap,
    "uniform": Uniform,
    "shuffled": Shuffled,
    "langevin": Langevin,
    "langevin-published-code": PublishedLangevin,
    "quota-map": QuotaMap,
    "error-map": ErrorMap,
    "edges": Edges,
    "multinomial": baselines.Multinomial,
    "resampling": baselines.Resampling,
    "int": baselines.INT,
    "evos": baselines.EVOS,
    "nint": baselines.NINT,
    "expansive-supervision": baselines.ExpansiveSupervision,
    "torch-ngp-error-map": baselines.torch_ngp_error_map,
    "instant-ngp-error-map": baselines.instant_ngp_error_map,
}
"""Each takes a domain and a batch size, and its options as keywords."""
VIEWS: dict[str, Any] = {"cells": 2**16, "power": 1.0, "uniform_share": 0.3, "rate": 0.3}
"""What ``auto`` is on views of a scene. There are more pixels than rays in a run, so that a map cell is a patch of them, whose
errors differ; and what no ray has seen for long must not be forgotten."""


@runtime_checkable
class HasDomain(Protocol):
    """A signal that knows where its coordinates live."""

    domain: Box


@dataclass(frozen=True)
class Spec:
    """A sampler in a word: ``name:option=value,...@batch/shorter``.

    Attributes:
        name: one of ``SAMPLERS``.
        options: the sampler's own arguments.
        batch_size: samples of a batch, or None where the word does not say.
        shorter: how many times shorter a run's budget is than the comparison's. A run that is planned to end sooner decays its
            learning rate sooner, so that its end tells how long one must train to match another.
        sampler: the word without batch size and budget.

    Example:
        >>> spec = Spec.parse("langevin:alpha=0.8@512/2.5")
        >>> spec.name, spec.options, spec.batch_size, spec.shorter, spec.sampler
        ('langevin', {'alpha': 0.8}, 512, 2.5, 'langevin:alpha=0.8')
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int | None = None
    shorter: float = 1.0
    sampler: str = ""

    @staticmethod
    def parse(text: str) -> Spec:
        """Reads a word; raises SoftmineError where a name is unknown or a value cannot be read."""
        word, shorter = _split_shorter(text)
        sampler, batch_size = _split_batch(word)
        name, _, rest = sampler.partition(":")
        _check_name(name)
        return Spec(name, _read_options(sampler, name, rest), batch_size, shorter, sampler)

    @staticmethod
    def of_run(text: str) -> Spec:
        """Reads the word of a single run, in which ``@batch`` and ``/shorter`` mean nothing; raises SoftmineError for them."""
        spec = Spec.parse(text)
        if spec.batch_size is not None or spec.shorter != 1:
            raise SoftmineError(
                f"sampler '{text}': @ and / give the samplers of a comparison their batch size and budget; a single run has "
                f"a batch size, steps and seconds of its own: give {spec.sampler}"
            )
        return spec

    def check(self) -> None:
        """Raises SoftmineError where ``create`` would, without a signal at hand."""
        create(self, Box((2, 2)), batch_size=4, seed=0, edges=lambda: torch.ones(2, 2))


def create(
    spec: Spec | str,
    domain: Box,
    batch_size: int | None = None,
    *,
    seed: int | None = None,
    edges: Callable[[], Tensor] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> Sampler:
    """The sampler that a word describes.

    Args:
        spec: a name, or ``name:option=value,option=value``; the options are the sampler's own arguments.
        domain: where coordinates live.
        batch_size: samples of a batch; None is the spec's own, or ``default_batch_size``.
        seed: of the sampler's random stream.
        edges: gives the signal's gradient magnitude on a grid. Where it is given, samplers with a prior draw
            from edges unless told ``prior=uniform``, as the paper does for images.
        defaults: options of ``auto`` that fit the signal better than its own; those given in ``spec`` come first.

    Raises:
        SoftmineError: no sampler or option has that name (the nearest are offered), a value is out of range, or ``domain`` is
            no ``Box``.

    Example:
        >>> create("langevin:alpha=0.8", Box((64, 64)), 256, seed=0)
        Langevin(
          Box((64, 64)), batch_size=256
          (random): RandomStream()
        )
    """
    spec = _checked(spec)
    check_domain(domain)
    options = {**(_auto_options(domain, defaults) if spec.name == AUTO else {}), **spec.options}
    known = _options(spec.name)
    for key in options:
        if key not in known:
            raise SoftmineError(f"sampler '{spec.name}' has no option '{key}': {_suggest(str(key), known)}")
    if "prior" in known:
        options["prior"] = _prior(spec, options.get("prior"), edges)
    if batch_size is None:
        batch_size = spec.batch_size or default_batch_size(spec.name, domain)
    try:
        return SAMPLERS[spec.name](domain, batch_size, seed=seed, **options)
    except ArgumentError as error:
        # The options inside of a word are no arguments of whoever gives the word.
        raise error.only("batch_size", "seed") from error


def auto(
    signal: HasDomain,
    *,
    batch_size: int | None = None,
    snap: bool = True,
    seed: int | None = None,
    **options: Any,
) -> Sampler:
    """The default sampler for a signal: what ``softmine fit`` uses where nothing else is asked for.

    Args:
        signal: anything with a ``domain``; its ``edges()`` and ``auto_options``, if it has them, are used.
        batch_size: samples of a batch; None is ``default_batch_size``.
        snap: samples lie at the centers of cells, where images, audio and volumes are known; False for signals that
            are known everywhere.
        seed: of the sampler's random stream.
        options: of ``QuotaMap`` that are to be others: ``robust=False`` for signals whose single cells matter, such as stars
            of one pixel, which look like defects.

    Raises:
        SoftmineError: the signal has no domain, or one that is no ``Box``; there is no such option, or its value is out of range.

    Example:
        >>> import softmine
        >>> auto(softmine.Image(torch.rand(64, 64)), seed=0).batch_size
        1024
    """
    if not isinstance(signal, HasDomain):
        raise SoftmineError(
            f"auto() needs a signal with a domain, but a {type(signal).__name__} has none: build the sampler yourself, "
            "softmine.QuotaMap(softmine.Box((512, 512)), batch_size=8192)"
        )
    return create(
        AUTO,
        signal.domain,
        batch_size,
        seed=seed,
        edges=getattr(signal, "edges", None),
        defaults={"snapped": snap, **getattr(signal, "auto_options", {}), **options},
    )


def default_batch_size(sampler: str, domain: Box) -> int:
    """The batch size of a sampler's name, with or without options, where none is given: 2048, or for ``auto`` one for the domain.

    That is about one sample for 32 cells, a multiple of 1,024, but 4,096 where that is less and at most a sixteenth of the
    cells, from 1,024 to 32,768. A large batch costs less a sample, but of a small signal it would see the same cells again
    before the field has learned from them. With three axes or four, where a sample costs several times as much, 8,192 at
    most; with one 4,096, because there small batches cost little more a sample and are worth more.

    Example:
        >>> default_batch_size("auto", Box((512, 768))), default_batch_size("uniform", Box((512, 768)))
        (12288, 2048)
    """
    if sampler.partition(":")[0] != AUTO:
        return DEFAULT_BATCH_SIZE
    wanted = max(domain.valid // 32, min(4096, domain.valid // 16), 1024)
    largest = {1: 4096, 2: 32768}.get(domain.dim, 8192)
    return min(largest, wanted) // 1024 * 1024


def with_shorter(name: str, shorter: float) -> str:
    """A name that tells how many times shorter the budget is; the name alone where it is the whole budget.

    Example:
        >>> with_shorter("auto", 2.5), with_shorter("auto", 3.0), with_shorter("auto", 1.0)
        ('auto/2.5', 'auto/3', 'auto')
    """
    return name if shorter == 1 else f"{name}/{str(float(shorter)).removesuffix('.0')}"


def _checked(spec: Spec | str) -> Spec:
    """A description of a sampler that has one's name, or raises SoftmineError."""
    if isinstance(spec, str):
        return Spec.parse(spec)
    if not isinstance(spec, Spec):
        raise SoftmineError(
            f"the sampler is a {type(spec).__name__}, but it must be a word, such as 'langevin:alpha=0.8', or a Spec"
        )
    _check_name(spec.name)
    return spec


def _check_name(name: str) -> None:
    if name not in SAMPLERS:
        raise SoftmineError(f"unknown sampler '{name}': {_suggest(str(name), list(SAMPLERS))}")


def _auto_options(domain: Box, defaults: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"robust": True, **(VIEWS if domain.discrete else {}), **(defaults or {})}


def _prior(spec: Spec, prior: object, edges: Callable[[], Tensor] | None) -> PiecewiseConstant | None:
    if prior is None:
        prior = "edges" if edges is not None else "uniform"
    if prior == "uniform":
        return None
    if prior != "edges":
        raise SoftmineError(f"sampler '{spec.sampler}': the prior is 'uniform' or 'edges', not '{prior}'")
    if edges is None:
        raise SoftmineError(f"sampler '{spec.sampler}': this signal has no edges to draw from")
    magnitude = edges()
    if not isinstance(magnitude, Tensor):
        raise SoftmineError(
            f"the edges of the signal are a {type(magnitude).__name__}, but they must be a tensor: how fast the signal changes "
            "on a grid over its domain"
        )
    return edge_prior(magnitude)


def _split_shorter(word: str) -> tuple[str, float]:
    before, slash, number = word.rpartition("/")
    if not slash:
        return word, 1.0
    shorter = float(number) if re.fullmatch(r"[0-9]+(\.[0-9]+)?", number) else 0.0
    if not 1 < shorter <= MOST_SHORTER:
        raise SoftmineError(
            f"sampler '{word}': what follows the / says how many times shorter its budget is, a number above 1 and up "
            f"to {MOST_SHORTER:g} that ends the word, as in auto/2.5 or uniform@2048/2.5"
        )
    return before, shorter


def _split_batch(word: str) -> tuple[str, int | None]:
    sampler, at, number = word.rpartition("@")
    if not at:
        return word, None
    if not re.fullmatch(r"[0-9]{1,12}", number):
        raise SoftmineError(
            f"sampler '{word[:80]}': a batch size follows the @, a whole number, as in {(sampler or 'uniform')[:80]}@2048"
        )
    try:
        return sampler, check_batch_size(int(number))
    except ArgumentError as error:
        raise error.only() from error


def _read_options(spec: str, name: str, text: str) -> dict[str, Any]:
    known = _options(name)
    options: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        key = key.strip().replace("-", "_")
        if not equals:
            raise SoftmineError(f"sampler '{spec}': write options as {name}:option=value, not '{part}'")
        if key not in known:
            raise SoftmineError(f"sampler '{name}' has no option '{key}': {_suggest(key, known)}")
        if key in options:
            raise SoftmineError(f"sampler '{spec}': {key} is given twice: give it once")
        options[key] = _value(spec, key, value.strip(), known[key])
    return options


def _options(name: str) -> dict[str, tuple[type, ...]]:
    """Names of a sampler's options, and the plain types each may have; none where any word will do."""
    make = SAMPLERS[name]
    hints = get_type_hints(make.__init__ if inspect.isclass(make) else make)
    options: dict[str, tuple[type, ...]] = {}
    for parameter in inspect.signature(make).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name != "seed":
            hint = hints[parameter.name]
            kinds = get_args(hint) or (hint,)
            options[parameter.name] = tuple(kind for kind in kinds if kind in (bool, int, float, str))
    return options


def _value(spec: str, key: str, text: str, kinds: tuple[type, ...]) -> Any:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = text
    if value == "inf":
        value = math.inf
    if float in kinds and type(value) is int:
        value = float(value) if int not in kinds else value
    if kinds and value is not None and type(value) not in kinds:
        raise SoftmineError(f"sampler '{spec}': {key} needs a {kinds[0].__name__}, not '{text}'")
    return value


def _suggest(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    choices = f"choose one of {', '.join(known)}"
    return f"did you mean {' or '.join(near)}? ({choices})" if near else choices
