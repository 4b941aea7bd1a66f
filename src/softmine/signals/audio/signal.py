"""Sounds as signals."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from softmine.domain import Box, Cells, Coords, PerSample, SoftmineError, Values
from softmine.signals.audio import files as audio_files
from softmine.signals.fingerprint import hash_array, hash_file
from softmine.signals.grid import check_coords, gather, to_buffer
from softmine.signals.synthetic import chimes as audio_builtin
from softmine.signals.synthetic.names import find

DTYPES = ("int16", "int32", "float32", "float64")
MAX_CHANNELS = 64
MAX_SAMPLES = 2**23
"""Longer sounds have samples that single-precision coordinates cannot tell apart."""


class Audio(torch.nn.Module):
    """A sound that answers at any time, by linear look-up between its samples.

    Samples are kept as their file stores them and become floats a batch at a time. They are a buffer, so
    ``.to(device)`` moves them; they are not part of the ``state_dict``.

    Silence is 0.5; 0 and 1 are minus and plus the loudest sample (*peak*), so that a quiet recording fills the range of
    a field like a loud one. PSNR, whose peak is 1, is then relative to twice the loudest sample; the
    signal-to-noise ratio does not depend on the range.

    Args:
        samples: the sound, shape (S,) or (S, C) with 1 to 64 channels; int16, int32, float32 or float64.
        rate: samples a second.
        name: what to call it in reports.
        path: the file it came from.
        fingerprint: a hash of its content; by default of its dtype, shape and bytes.
        copy: whether to copy the samples; if not, they must not be changed afterwards.

    Attributes:
        shape: (S, C).
        channels: C.
        domain: ``Box((S,))``; the coordinate is the share of the sound that has passed.
        rate: samples a second.
        dtype: name of the stored type, such as ``int16``.
        value_range: raw values that map to 0 and to 1: minus and plus the peak; for a sound that is zero throughout, its
            type's full scale.

    Raises:
        SoftmineError: the samples are not a sound, too many, or some are NaN or infinite.

    Example:
        >>> audio = Audio(np.array([0, 200, -100, 0], dtype=np.int16), rate=8000)
        >>> audio(torch.tensor([[0.125], [0.25], [0.375]]))
        tensor([[0.5000],
                [0.7500],
                [1.0000]])
    """

    samples: Tensor

    def __init__(
        self,
        samples: np.ndarray,
        rate: int,
        name: str = "audio",
        *,
        path: Path | None = None,
        fingerprint: str | None = None,
        copy: bool = True,
    ) -> None:
        super().__init__()
        where = f"cannot read {path}" if path else f"cannot use the samples of {name!r}"
        if rate < 1:
            raise SoftmineError(f"{where}: its sample rate is {rate}, but it must be at least 1 a second")
        self.name, self.path, self.rate = name, path, rate
        self.shape = _check_layout(samples, rate, where)
        self.channels = self.shape[1]
        self.domain = Box(self.shape[:1])
        self.dtype = samples.dtype.name
        samples = samples.reshape(self.shape)
        self.fingerprint = fingerprint or hash_array(samples)
        self.peak = _peak(samples, where)
        # Peaks that float32 cannot divide by, or values finer than it resolves.
        extreme = not 1e-30 < self.peak < 1e30
        self._work = torch.float64 if extreme or self.dtype == "float64" else torch.float32
        self.register_buffer("samples", to_buffer(samples, copy), persistent=False)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Audio:
        """Read a sound file that libsndfile knows: WAV, FLAC, OGG, MP3, AIFF and their like.

        The format is told by the content, not by the file's name. Integers of up to 16 bits are kept as int16, longer
        ones as int32, and what is stored as floats or compressed with loss as floats.

        Raises:
            SoftmineError: the file is missing, damaged, too long or not a sound; the message says which file, what is
                wrong with it and what to do.
        """
        path = Path(path)
        samples, rate = audio_files.read(path, MAX_SAMPLES)
        return cls(samples, rate, path.stem, path=path, fingerprint=hash_file(path), copy=False)

    @classmethod
    def builtin(cls, name: str = "chimes") -> Audio:
        """Four seconds made on the fly: plucked notes, a rest, a chirp and a burst of noise.

        Raises:
            SoftmineError: there is none of that name.
        """
        make = find("sound", name, {"chimes": audio_builtin.chimes})
        return cls(make(), audio_builtin.RATE, name, copy=False)

    @property
    def value_range(self) -> tuple[float, float]:
        """Raw values that map to 0 and to 1."""
        return -self.peak, self.peak

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.shape[0] / self.rate

    def extra_repr(self) -> str:
        """What ``repr`` shows."""
        return f"{self.name!r}, shape={self.shape}, rate={self.rate}, dtype={self.dtype}"

    def forward(self, coords: Coords) -> Values:
        """Values (N, C) at unit coordinates (N, 1), in [0, 1] and in the dtype of ``coords``.

        Sample i has its centre at (i + 0.5)/S; values are linear between centres, constant beyond the outermost ones,
        and differentiable with respect to ``coords``. Coordinates as near to a centre as rounding leaves it count as the
        centre, so that long sounds are learned as they are. NaN coordinates give NaN.

        Raises:
            SoftmineError: ``coords`` is not a float tensor of shape (N, 1).
        """
        check_coords(coords, 1, "a sound is asked at float")
        last = self.shape[0] - 1
        # Float32 has few digits left between two of a million samples. Apple's GPUs have no float64.
        exact = coords.dtype if coords.device.type == "mps" else torch.float64
        position = (coords.to(exact) * self.shape[0] - 0.5).clamp(0, last)
        # Half a step of the coordinates, and a little: so far may rounding have moved the centre of a sample.
        slack = 0.26 * torch.finfo(coords.dtype).eps * self.shape[0]
        short = position.detach().round() - position.detach()
        position = position + torch.where(short.abs() <= slack, short, 0.0)
        first = position.detach().nan_to_num(0.0).long()
        fraction = (position - first).to(torch.promote_types(coords.dtype, self._work))
        before = gather(self.samples, first[:, 0], fraction.dtype)
        after = gather(self.samples, (first[:, 0] + 1).clamp(max=last), fraction.dtype)
        values = torch.lerp(before, after, fraction)
        return self._to_unit(values).to(coords.dtype)

    def sample_values(self, cells: Cells) -> Values:
        """Values (N, C) of samples (N,), float32 in [0, 1], without the rounding of coordinates."""
        return self._to_unit(gather(self.samples, cells, self._work)).float()

    def edges(self, max_cells: int = 2**20) -> PerSample:
        """Magnitude of the local slope (cells,), in unit values a sample, on at most ``max_cells`` equal cells, on the CPU.

        The slope is the central difference (x[i+1] - x[i-1]) / 2, one-sided at both ends; the mean over channels and
        over the samples of a cell is taken.

        Raises:
            SoftmineError: ``max_cells`` is below 1.
        """
        if max_cells < 1:
            raise SoftmineError(f"edges need max_cells of at least 1, not {max_cells}")
        size = self.shape[0]
        values = self.sample_values(torch.arange(size, device=self.samples.device)).cpu().double()
        padded = torch.cat((values[:1], values, values[-1:]))
        slope = (padded[2:] - padded[:-2]).abs().mean(-1) / 2
        if size <= max_cells:
            return slope.float()
        # Cells need not hold a whole number of samples, so what lies below their borders is subtracted.
        below = np.concatenate(([0.0], np.cumsum(slope.numpy())))
        borders = np.interp(np.arange(max_cells + 1) * (size / max_cells), np.arange(size + 1), below)
        return torch.from_numpy(np.diff(borders).clip(min=0) * (max_cells / size)).float()

    def to_raw(self, values: Float[np.ndarray, ...]) -> np.ndarray:
        """Values in [0, 1], any shape, as the sound's file would store them.

        Integers are rounded and clipped to their type's range, floats clipped to what theirs holds; NaN becomes silence.
        """
        dtype = np.dtype(self.dtype)
        raw = (np.nan_to_num(values.astype(np.float64), nan=0.5) - 0.5) * 2.0 * self.peak
        if dtype.kind == "f":
            limit = float(np.finfo(dtype).max)
            return np.clip(raw, -limit, limit).astype(dtype)
        limits = np.iinfo(dtype)
        return np.rint(np.clip(raw, limits.min, limits.max)).astype(dtype)

    def _to_unit(self, raw: Values) -> Values:
        return raw / self.peak * 0.5 + 0.5


def _check_layout(samples: np.ndarray, rate: int, where: str) -> tuple[int, int]:
    """Refuse what is not a sound; return its shape (S, C)."""
    if samples.dtype.name not in DTYPES:
        raise SoftmineError(
            f"{where}: its samples are {samples.dtype.name}; convert them to one of {', '.join(DTYPES)}"
        )
    if samples.ndim not in (1, 2):
        raise SoftmineError(
            f"{where}: it has shape {samples.shape}, but a sound has shape (samples,) or (samples, channels)"
        )
    if samples.size == 0:
        raise SoftmineError(f"{where}: it has no samples; get a complete copy")
    length, channels = (*samples.shape, 1)[:2]
    if channels > MAX_CHANNELS:
        hint = "looks channels-first; transpose it" if length < channels else "has too many channels"
        raise SoftmineError(f"{where}: its shape {samples.shape} {hint} (a sound has 1 to {MAX_CHANNELS})")
    if length > MAX_SAMPLES:
        raise SoftmineError(audio_files.too_long(where, MAX_SAMPLES, rate))
    return length, channels


def _peak(samples: np.ndarray, where: str) -> float:
    """The largest magnitude of samples (S, C), or the type's full scale where all are zero."""
    if samples.dtype.kind == "f" and not np.isfinite(samples).all():
        bad = ~np.isfinite(samples).all(-1)
        raise SoftmineError(
            f"{where}: {int(bad.sum()):,} of its samples are NaN or infinite, the first at sample {int(bad.argmax())} "
            "(counted from 0); replace them with numbers"
        )
    peak = max(float(samples.max()), -float(samples.min()))
    if peak > np.finfo(np.float64).max / 4:
        raise SoftmineError(f"{where}: its samples are larger than can be computed with; scale them down")
    if peak >= np.finfo(np.float64).tiny:
        return peak
    return 1.0 if samples.dtype.kind == "f" else -float(np.iinfo(samples.dtype).min)
