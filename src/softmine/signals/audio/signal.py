"""Audio clips as signals."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float

from softmine.domain import Cells, Coords, PerSample, SoftmineError, Values
from softmine.signals.audio import files as audio_files
from softmine.signals.files import hash_array, hash_file
from softmine.signals.grid import GridSignal, coarse_shape, survey
from softmine.signals.synthetic.formulas import CHIMES_RATE, chimes, find

DTYPES = ("int16", "int32", "float32", "float64")
MAX_CHANNELS = 64
MAX_SAMPLES = 2**23
"""Longer clips have samples that single-precision coordinates cannot tell apart."""


class Audio(GridSignal):
    """An audio clip, linear between its samples.

    Silence is 0.5; 0 and 1 are minus and plus the loudest sample (*peak*), so that a quiet recording fills the range of
    a field like a loud one. PSNR, whose peak is 1, is then relative to twice the loudest sample; the
    signal-to-noise ratio does not depend on the range.

    Args:
        samples: the clip, shape (S,) or (S, C) with 1 to 64 channels; int16, int32, float32 or float64.
        rate: samples a second.
        name: what to call it in reports.
        path: the file it came from.
        fingerprint: a hash of its content; by default of its dtype, shape and bytes.
        copy: whether to copy the samples; if not, they must not be changed afterwards.
        notes: what reading it left out, a line each.

    Attributes:
        shape: (S, C).
        channels: C.
        domain: ``Box((S,))``; the coordinate is the share of the clip that has passed.
        rate: samples a second.
        dtype: name of the stored type, such as ``int16``.
        value_range: stored values that map to 0 and to 1: minus and plus the peak; for a clip that is zero throughout, its
            type's full scale.

    Raises:
        SoftmineError: the samples are not an audio clip, too many, or some are NaN or infinite.

    Example:
        >>> audio = Audio(np.array([0, 200, -100, 0], dtype=np.int16), rate=8000)
        >>> audio(torch.tensor([[0.125], [0.25], [0.375]]))
        tensor([[0.5000],
                [0.7500],
                [1.0000]])
    """

    takes: ClassVar[str] = "an audio clip takes float"
    exact: ClassVar[float] = math.inf  # 24 bits are all that 32 hold: files shift them up

    def __init__(
        self,
        samples: np.ndarray,
        rate: int,
        name: str = "audio",
        *,
        path: Path | None = None,
        fingerprint: str | None = None,
        copy: bool = True,
        notes: Sequence[str] = (),
    ) -> None:
        where = f"cannot read {path}" if path else f"cannot use the samples of {name!r}"
        if rate < 1:
            raise SoftmineError(f"{where}: its sample rate is {rate}, but it must be at least 1 a second")
        samples = samples.reshape(_check_layout(samples, rate, where))
        peak = _peak(samples, where)
        super().__init__(
            name,
            samples.shape,
            samples.dtype,
            (-peak, peak),
            path=path,
            fingerprint=fingerprint or hash_array(samples),
            stored=samples,
            copy=copy,
        )
        self.rate, self.peak, self.notes = rate, peak, list(notes)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Audio:
        """Read an audio file that libsndfile knows: WAV, FLAC, OGG, MP3, AIFF and their like.

        The format follows from the content, not by the file's name. Integers of up to 16 bits are kept as int16, longer
        ones as int32, and what is stored as floats or compressed with loss as floats.

        Raises:
            SoftmineError: the file is missing, damaged, too long or no audio; the message says which file, what is
                wrong with it and what to do.
        """
        path = Path(path)
        samples, rate, notes = audio_files.read(path, MAX_SAMPLES)
        return cls(samples, rate, path.stem, path=path, fingerprint=hash_file(path), copy=False, notes=notes)

    @classmethod
    def builtin(cls, name: str = "chimes") -> Audio:
        """Four seconds made on the fly: plucked notes, a rest, a chirp and a burst of noise.

        Raises:
            SoftmineError: there is none of that name.
        """
        make = find("audio clip", name, {"chimes": chimes})
        return cls(make(), CHIMES_RATE, name, copy=False)

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.shape[0] / self.rate

    def extra_repr(self) -> str:
        """What ``repr`` shows."""
        return f"{self.name!r}, shape={self.shape}, rate={self.rate}, dtype={self.dtype}"

    def _position(self, coords: Coords, work: torch.dtype) -> Coords:
        """Coordinates as near to a center as rounding leaves it count as the center, so that long clips are learned as they are."""
        # Float32 has few digits left between two of a million samples. Apple's GPUs have no float64.
        position = super()._position(coords, coords.dtype if coords.device.type == "mps" else torch.float64)
        # Half a step of the coordinates, and a little: so far may rounding have moved the center of a sample.
        slack = 0.26 * torch.finfo(coords.dtype).eps * self.shape[0]
        short = position.detach().round() - position.detach()
        return position + torch.where(short.abs() <= slack, short, 0.0)

    def sample_values(self, cells: Cells) -> Values:
        """Values (N, C) of samples (N,), float32 in [0, 1], without the rounding of coordinates."""
        return (self._at(cells, self._work) / self._span).float()

    def edges(self, max_cells: int = 2**20) -> PerSample:
        """Magnitude of the local slope (cells,), in unit values a sample, on at most ``max_cells`` equal cells, on the CPU.

        The slope is the central difference (x[i+1] - x[i-1]) / 2, one-sided at both ends; the mean over channels and
        over the samples of a cell is taken.

        Raises:
            SoftmineError: ``max_cells`` is below 1.
        """
        size, (count,) = self.shape[0], coarse_shape(self.shape[:1], max_cells)
        values = self.sample_values(torch.arange(size, device=self.stored.device)).cpu().double()
        padded = torch.cat((values[:1], values, values[-1:]))
        slope = (padded[2:] - padded[:-2]).abs().mean(-1) / 2
        if size == count:
            return slope.float()
        # Cells need not hold a whole number of samples, so what lies below their borders is subtracted.
        below = np.concatenate(([0.0], np.cumsum(slope.numpy())))
        borders = np.interp(np.arange(count + 1) * (size / count), np.arange(size + 1), below)
        return torch.from_numpy(np.diff(borders).clip(min=0) * (count / size)).float()

    def to_raw(self, values: Float[np.ndarray, ...], valid: np.ndarray | None = None) -> np.ndarray:
        """As of any signal; NaN becomes silence."""
        return super().to_raw(np.nan_to_num(values, nan=0.5), valid)


def _check_layout(samples: np.ndarray, rate: int, where: str) -> tuple[int, int]:
    """Refuse what is no audio clip; return its shape (S, C)."""
    if samples.dtype.name not in DTYPES:
        raise SoftmineError(
            f"{where}: its samples are {samples.dtype.name}; convert them to one of {', '.join(DTYPES)}"
        )
    if samples.ndim not in (1, 2):
        raise SoftmineError(
            f"{where}: it has shape {samples.shape}, but an audio clip has shape (samples,) or (samples, channels)"
        )
    if samples.size == 0:
        raise SoftmineError(f"{where}: it has no samples; get a complete copy")
    length, channels = (*samples.shape, 1)[:2]
    if channels > MAX_CHANNELS:
        hint = "looks channels-first; transpose it" if length < channels else "has too many channels"
        raise SoftmineError(
            f"{where}: its shape {samples.shape} {hint} (an audio clip has 1 to {MAX_CHANNELS})"
        )
    if length > MAX_SAMPLES:
        raise SoftmineError(audio_files.too_long(where, MAX_SAMPLES, rate))
    return length, channels


def _peak(samples: np.ndarray, where: str) -> float:
    """The largest magnitude of samples (S, C), or the type's full scale where all are zero."""
    found = survey(samples, where, "sample", ("sample",))
    peak = max(found.high, -found.low)
    if peak > np.finfo(np.float64).max / 4:
        raise SoftmineError(f"{where}: its samples are larger than can be computed with; scale them down")
    if peak >= np.finfo(np.float64).tiny:
        return peak
    return 1.0 if samples.dtype.kind == "f" else -float(np.iinfo(samples.dtype).min)
