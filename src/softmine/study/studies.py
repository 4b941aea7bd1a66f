"""Ready-made comparisons: the questions that readers of the paper ask, each a list of samplers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from softmine.registry import SAMPLERS
from softmine.signals.corruptions import COMMON
from softmine.study.matrix import CompareSettings

PAPER_BATCH = (512,)
"""The batch size of the paper's images (arXiv 2312.00075, project page)."""
EXACT = "multinomial:interval=10"
"""Exact sampling, from errors that are ten steps old at most: at every step it would take a laptop an hour."""
ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


GRID_SAMPLERS = ("uniform", "shuffled", "langevin", "evos", "expansive-supervision", "auto")
VIEW_SAMPLERS = ("uniform", "shuffled", "langevin", "torch-ngp-error-map", "auto")
SIZES = ("512", "640", "704", "768", "1024", "1080x1920", "2048")


@dataclass(frozen=True)
class Study:
    """A named comparison.

    Args:
        text: its question, in a line.
        settings: its default settings, for a kind of signal where it takes several.
        batch_share: its batch size as a share of the signal's cells, where it is not a number of samples.
        kinds: of signal that it takes.
        varies: the option of the signal in which its comparisons differ, where it has several.
    """

    text: str
    settings: Callable[..., CompareSettings]
    batch_share: float | None = None
    kinds: tuple[str, ...] = ("image",)
    varies: Literal["corrupt", "crop"] | None = None


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


def _noise(kind: str = "image") -> CompareSettings:
    views = kind == "nerf"
    samplers = VIEW_SAMPLERS if views else GRID_SAMPLERS
    return CompareSettings(samplers=samplers, seconds=60.0 if views else 20.0, seeds=3)


def _sizes(kind: str = "image") -> CompareSettings:
    del kind
    return CompareSettings(samplers=("uniform", "shuffled", "auto"), seconds=20.0, seeds=3)


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
    "noise": Study(
        "what dirty data do to samplers, one comparison a corruption; quality is of the clean data. Images, volumes, audio and "
        "scenes",
        _noise,
        kinds=tuple(COMMON),
        varies="corrupt",
    ),
    "sizes": Study(
        "what auto gains over uniform and shuffled on larger and larger parts of an image, one comparison a size",
        _sizes,
        varies="crop",
    ),
}
"""Studies by name."""
