"""Ready-made comparisons: the questions that readers of the paper ask, each a list of samplers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from softmine.registry import SAMPLERS
from softmine.study.matrix import CompareSettings

PAPER_BATCH = (512,)
"""The batch size of the paper's images (arXiv 2312.00075, project page)."""
EXACT = "multinomial:interval=10"
"""Exact sampling, from errors that are ten steps old at most: at every step it would take a laptop an hour."""
ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Study:
    """A named comparison.

    Args:
        text: its question, in a line.
        settings: its default settings.
        batch_share: its batch size as a share of the signal's cells, where it is not a number of samples.
    """

    text: str
    settings: Callable[[], CompareSettings]
    batch_share: float | None = None


def _paper(*samplers: str) -> CompareSettings:
    return CompareSettings(samplers=samplers, batch_sizes=PAPER_BATCH, steps=2000)


def _alpha() -> CompareSettings:
    words = (f"{start}alpha={alpha:.1f}" for start in ("langevin:", EXACT + ",") for alpha in ALPHAS)
    return _paper("uniform", *words)


def _langevin() -> CompareSettings:
    return _paper("uniform", "langevin", "langevin-published-code", "edges", EXACT)


def _reinit() -> CompareSettings:
    words = (
        f"langevin:reinit_share={reinit},uniform_share={uniform},prior={prior}"
        for prior in ("uniform", "edges")
        for reinit in (0.0, 0.1)
        for uniform in (0.0, 0.1)
    )
    return _paper("uniform", *words)


def _warmup() -> CompareSettings:
    return _paper("uniform", *(f"langevin:warmup={warmup}" for warmup in (0, 250, 500, 1000, 2000)))


def _peers() -> CompareSettings:
    # A batch of a fifth of the pixels is many times a hash grid's: by time, so that a laptop comes to an end. auto takes
    # its default batch size, and uniform its best.
    return CompareSettings(
        samplers=tuple(SAMPLERS),
        seconds=60.0,
        field="siren",
        learning_rate=1e-4,
        schedule="constant",
        tune_uniform=True,
    )


STUDIES: dict[str, Study] = {
    "alpha": Study(
        "how soft mining should be: alpha from 0 (hard) to 1 (unbiased), Langevin and exact", _alpha
    ),
    "langevin": Study("how far Langevin sampling is from uniform, edges and exact sampling", _langevin),
    "reinit": Study("what drawing samples anew is worth, from which prior, and the uniform share", _reinit),
    "warmup": Study("over how many steps alpha should grow to its target", _warmup),
    "peers": Study(
        "every sampler as its authors train: SIREN 3 x 256, a fifth of the pixels a step, constant rate 1e-4; auto at its "
        "own batch size, and uniform at its best, too",
        _peers,
        batch_share=0.2,
    ),
}
"""Studies by name."""
