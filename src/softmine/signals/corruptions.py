"""Dirty data, made from clean: outliers, noise and compression, always the same for the same seed."""

from __future__ import annotations

import difflib
import hashlib
import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import PIL.Image
import torch

from softmine.domain import Cells
from softmine.errors import ArgumentError
from softmine.signals.grid import GridSignal
from softmine.signals.image import Image

S = TypeVar("S")
Block = tuple[Cells, np.ndarray]
"""Flat cells (M,) and what they hold now, (M, C) in [0, 1]."""

BLOCK = 2**18
"""Cells that become noisy at a time."""
LONGEST_JPEG = 65_535
"""Pixels that a side of a JPEG has at most."""


@dataclass(frozen=True)
class _Known:
    """What a name of a corruption stands for.

    Attributes:
        amount: what its number is: a ``share``, a ``sigma`` or a ``quality``.
        kinds: the kinds of signal that it suits, by the words of ``softmine fit``.
        text: what it does, with the amount as ``{}``.
    """

    amount: Literal["share", "sigma", "quality"]
    kinds: tuple[str, ...]
    text: str


GRIDS = ("image", "volume", "audio")
CORRUPTIONS: dict[str, _Known] = {
    "outliers": _Known("share", GRIDS, "{} of the cells set to an end of the range"),
    "gaussian": _Known("sigma", GRIDS, "Gaussian noise of sigma {} of the range"),
    "jpeg": _Known("quality", ("image",), "JPEG at quality {}"),
    "patches": _Known("share", ("nerf",), "an opaque patch in {} of the training views"),
    "exposure": _Known("share", ("nerf",), "another exposure in {} of the training views"),
}
"""Corruptions by name."""
COMMON: dict[str, tuple[str, ...]] = {
    "image": ("outliers=0.01", "outliers=0.05", "gaussian=0.05", "jpeg=30"),
    "volume": ("outliers=0.01", "outliers=0.05", "gaussian=0.05"),
    "audio": ("outliers=0.01", "outliers=0.05", "gaussian=0.05"),
    "nerf": ("patches=0.05", "exposure=0.1"),
}
"""What a study of dirty data tries on each kind of signal that it suits."""


@dataclass(frozen=True)
class Corruption:
    """One way of making a signal dirty.

    Attributes:
        name: one of ``CORRUPTIONS``.
        amount: a share of the cells or views, sigma as a share of the signal's range, or JPEG quality.
        seed: of the random numbers.

    Example:
        >>> Corruption.parse("outliers=0.05,seed=3")
        Corruption(name='outliers', amount=0.05, seed=3)
        >>> str(Corruption.parse("jpeg=30")), Corruption.parse("jpeg=30").text
        ('jpeg=30', 'JPEG at quality 30')
    """

    name: str
    amount: float
    seed: int = 0

    @classmethod
    def parse(cls, word: str) -> Corruption:
        """The corruption that a word describes: ``NAME=AMOUNT`` or ``NAME=AMOUNT,seed=N``.

        Raises:
            ArgumentError: there is none of that name, or its amount is out of range.
        """
        name, equals, rest = word.partition("=")
        if name not in CORRUPTIONS:
            near = difflib.get_close_matches(name, CORRUPTIONS, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(CORRUPTIONS)}"
            raise _wrong(word, f"there is no corruption '{name}'; {hint}")
        amount, _, seed = rest.partition(",")
        if not equals or not amount:
            raise _wrong(word, f"write it with its {CORRUPTIONS[name].amount}, as in {_example(name)}")
        if seed and not re.fullmatch(r"seed=[0-9]{1,18}", seed):
            raise _wrong(word, f"after the comma comes a seed, a whole number, as in {_example(name)},seed=1")
        return cls(name, _amount(word, CORRUPTIONS[name].amount, amount), int(seed[5:]) if seed else 0)

    def check_suits(self, kind: str, noun: str) -> None:
        """Raises ArgumentError unless it can be done to a kind of signal, which people call a ``noun``."""
        if kind in CORRUPTIONS[self.name].kinds:
            return
        fitting = [name for name, known in CORRUPTIONS.items() if kind in known.kinds]
        raise _wrong(
            str(self),
            f"{self.name} cannot be done to this kind of signal ({noun}); choose "
            f"{' or '.join(map(_example, fitting)) or 'an image, a volume, an audio clip or a scene'}",
        )

    def __str__(self) -> str:
        """The word that ``parse`` reads."""
        return f"{self.name}={self.amount:.12g}" + (f",seed={self.seed}" if self.seed else "")

    @property
    def text(self) -> str:
        """What is done, in words."""
        known = CORRUPTIONS[self.name]
        shown = f"{100 * self.amount:.4g}%" if known.amount == "share" else f"{self.amount:.4g}"
        return known.text.format(shown)

    def random(self) -> np.random.Generator:
        """New random numbers, always the same; those of other corruptions of the seed are independent."""
        return np.random.default_rng([self.seed, *self.name.encode()])

    def fingerprint(self, clean: str) -> str:
        """The fingerprint of what it makes of a signal with the fingerprint ``clean``."""
        return hashlib.sha256(f"{clean} {self}".encode()).hexdigest()


def corrupt(signal: S, corruption: Corruption) -> S:
    """A dirty copy of an image, volume or audio clip, with the same range, mask and name; the signal stays as it is.

    Outliers are drawn without repetition among the cells that hold data; all colors of one go to the same end of the
    range, and opacity stays. Noise is added to every channel and cut off at the ends of the range, as a file of the
    signal's type would hold it. JPEG has its usual subsampling of color, and opacity stays. What holds no data is left alone.

    Raises:
        SoftmineError: the signal's values are not in memory, or it is no image or too large for a JPEG.
    """
    if not isinstance(signal, GridSignal):
        raise _wrong(str(corruption), "what is no image, volume or audio clip cannot be made dirty")
    if not signal.in_memory:
        raise _wrong(
            str(corruption),
            f"the values of {signal.name!r} are not in memory, where they could be made dirty: choose a smaller signal or part",
        )
    blocks = {"outliers": _outliers, "gaussian": _gaussian, "jpeg": _jpeg}[corruption.name]
    return signal.with_cells(blocks(signal, corruption), corruption.fingerprint(signal.fingerprint))


def _outliers(signal: GridSignal, corruption: Corruption) -> Iterator[Block]:
    random, valid = corruption.random(), signal.domain.valid
    chosen = random.choice(valid, round(corruption.amount * valid), replace=False)
    cells = signal.domain.nth_valid(torch.from_numpy(chosen))
    values = signal.cell_values(cells)
    values[:, : _colors(signal)] = random.integers(0, 2, (len(cells), 1))
    yield cells, values


def _gaussian(signal: GridSignal, corruption: Corruption) -> Iterator[Block]:
    random, valid, colors = corruption.random(), signal.domain.valid, _colors(signal)
    for start in range(0, valid, BLOCK):
        cells = signal.domain.nth_valid(torch.arange(start, min(start + BLOCK, valid)))
        values = signal.cell_values(cells)
        noise = random.standard_normal((len(cells), colors), np.float32)
        values[:, :colors] = np.clip(values[:, :colors] + corruption.amount * noise, 0, 1)
        yield cells, values


def _jpeg(signal: GridSignal, corruption: Corruption) -> Iterator[Block]:
    if not isinstance(signal, Image):
        raise _wrong(str(corruption), "only an image can be a JPEG")
    height, width, _ = signal.shape
    if max(height, width) > LONGEST_JPEG:
        raise _wrong(
            str(corruption),
            f"the image has {width} x {height} pixels, and a JPEG at most {LONGEST_JPEG} a side",
        )
    values, colors = signal.rows(0, height), _colors(signal)
    if signal.valid is not None:  # gaps would blur into what surrounds them
        values = np.where(np.isnan(values), np.nanmean(values, (0, 1)), values).astype(np.float32)
    pixels = np.rint(np.clip(values[..., :colors], 0, 1) * 255).astype(np.uint8)
    file = io.BytesIO()
    PIL.Image.fromarray(pixels[..., 0] if colors == 1 else pixels).save(
        file, "JPEG", quality=int(corruption.amount)
    )
    with PIL.Image.open(file) as image:
        values[..., :colors] = np.asarray(image, np.float32).reshape(height, width, colors) / 255
    cells = signal.domain.nth_valid(torch.arange(signal.domain.valid))
    yield cells, values.reshape(height * width, -1)[cells.numpy()]


def _colors(signal: GridSignal) -> int:
    """Channels without an image's opacity."""
    return signal.channels - (isinstance(signal, Image) and signal.channels in (2, 4))


def _amount(word: str, kind: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if kind == "quality":
        if value not in range(1, 96):
            raise _wrong(word, "give a quality from 1 to 95, a whole number")
    elif not 0 <= value <= 1:
        raise _wrong(word, f"give a {kind} from 0 to 1")
    return value


def _example(name: str) -> str:
    return next(word for words in COMMON.values() for word in words if word.startswith(name))


def _wrong(word: str, advice: str) -> ArgumentError:
    return ArgumentError("{corrupt} is {given}: {advice}", given=word, advice=advice)
