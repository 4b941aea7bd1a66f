"""Samplers by name, with their options in the same word: ``langevin:alpha=0.8,prior=edges``."""

from __future__ import annotations

import ast
import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from softmine.domain import Box, SoftmineError
from softmine.sampling.auto import AUTO, Auto, defaults
from softmine.sampling.edges import Edges, edge_prior
from softmine.sampling.error_map import ErrorMap
from softmine.sampling.error_map_settings import ErrorMapSettings
from softmine.sampling.evolutionary import Evolutionary
from softmine.sampling.expansive import Expansive
from softmine.sampling.hardest import Hardest
from softmine.sampling.langevin import Langevin
from softmine.sampling.langevin_settings import LangevinSettings
from softmine.sampling.multinomial import Multinomial
from softmine.sampling.ntk import Ntk
from softmine.sampling.piecewise import PiecewiseConstant
from softmine.sampling.protocol import Sampler
from softmine.sampling.quota_map import QuotaMap
from softmine.sampling.resampling import Resampling
from softmine.sampling.shuffled import Shuffled
from softmine.sampling.uniform import Uniform

SAMPLERS: dict[str, Callable[..., Sampler]] = {
    "uniform": Uniform,
    "shuffled": Shuffled,
    "langevin": Langevin,
    "multinomial": Multinomial,
    "error-map": ErrorMap,
    "edges": Edges,
    "hardest": Hardest,
    "evolutionary": Evolutionary,
    "ntk": Ntk,
    "expansive": Expansive,
    "resampling": Resampling,
    "quota-map": QuotaMap,
    AUTO: Auto,
}

_SETTINGS = {"langevin": LangevinSettings, "error-map": ErrorMapSettings}


def create(
    spec: str,
    domain: Box,
    batch_size: int,
    *,
    seed: int | None = None,
    edges: Callable[[], Tensor] | None = None,
    suited: Mapping[str, Any] | None = None,
) -> Sampler:
    """The sampler that a word describes.

    Args:
        spec: a name, or ``name:option=value,option=value``; the options are the sampler's own arguments.
        domain: where coordinates live.
        batch_size: coordinates a draw.
        seed: of the sampler's random stream.
        edges: gives the signal's gradient magnitude on a grid. Where it is given, samplers with a prior draw
            from edges unless told ``prior=uniform``, as the paper does for pictures.
        suited: options of ``auto`` that suit the signal better than its own; those given in ``spec`` come first.

    Raises:
        SoftmineError: no sampler or option has that name (the nearest are offered), or a value is out of range.

    Example:
        >>> create("langevin:alpha=0.8,preset=paper", Box((64, 64)), 256, seed=0)
        Langevin(
          Box((64, 64)), batch_size=256, preset='paper'
          (random): RandomStream()
        )
    """
    name, given = parse(spec)
    options = {**defaults(spec, domain, suited), **given}
    if "prior" in _options(name):
        options["prior"] = _prior(spec, options.get("prior"), edges)
    return SAMPLERS[name](domain, batch_size, seed=seed, **options)


def _prior(spec: str, prior: object, edges: Callable[[], Tensor] | None) -> PiecewiseConstant | None:
    if prior is None:
        prior = "edges" if edges is not None else "uniform"
    if prior == "uniform":
        return None
    if prior != "edges":
        raise SoftmineError(f"sampler '{spec}': the prior is 'uniform' or 'edges', not '{prior}'")
    if edges is None:
        raise SoftmineError(f"sampler '{spec}': this signal has no edges to draw from")
    return edge_prior(edges())


def parse(spec: str) -> tuple[str, dict[str, Any]]:
    """Name and options of a sampler's description; raises SoftmineError where either is unknown."""
    name, _, rest = spec.partition(":")
    if name not in SAMPLERS:
        raise SoftmineError(f"unknown sampler '{name}': {_suggest(name, list(SAMPLERS))}")
    known = _options(name)
    options: dict[str, Any] = {}
    for part in filter(None, rest.split(",")):
        key, equals, text = part.partition("=")
        key = key.strip().replace("-", "_")
        if not equals:
            raise SoftmineError(f"sampler '{spec}': write options as {name}:option=value, not '{part}'")
        if key not in known:
            raise SoftmineError(f"sampler '{name}' has no option '{key}': {_suggest(key, known)}")
        options[key] = _value(text.strip())
        kind = known[key]
        if kind is float and isinstance(options[key], int):
            options[key] = float(options[key])
        if kind is not None and (type(options[key]) is not kind):
            raise SoftmineError(f"sampler '{spec}': {key} needs a {kind.__name__}, not '{text}'")
    return name, options


def check_spec(spec: str) -> None:
    """Raises SoftmineError where ``create`` would, without a signal at hand."""
    create(spec, Box((2, 2)), batch_size=4, seed=0, edges=lambda: torch.ones(2, 2))


def _options(name: str) -> dict[str, type | None]:
    """Names of a sampler's options, and the type each must have where that is plain."""
    plain = {"float": float, "int": int, "bool": bool, "str": str}
    options: dict[str, type | None] = {}
    for parameter in inspect.signature(SAMPLERS[name]).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name != "seed":
            options[parameter.name] = plain.get(str(parameter.annotation))
        elif parameter.kind is parameter.VAR_KEYWORD:
            for field in _SETTINGS[name].__dataclass_fields__.values():
                options[field.name] = plain.get(str(field.type).removesuffix(" | None"))
    return options


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _suggest(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    choices = f"choose one of {', '.join(known)}"
    return f"did you mean {' or '.join(near)}? ({choices})" if near else choices
