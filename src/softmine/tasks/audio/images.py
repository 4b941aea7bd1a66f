"""Images of audio: waveform over spectrogram, and the error over time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from softmine.runs.task import Array
from softmine.signals import Audio

SIZE = (960, 600)
SMALL_SIZE = (640, 440)
"""Width and height in pixels, of a run and of a comparison."""
WINDOW_SECONDS = 0.03
DECIBELS = 80.0
"""How far below the loudest tone a spectrogram reaches."""
STRIP = (96, 960)

_WAVE, _ERROR = "#3b6fb6", "#d1495b"


def draw(values: Array, target: Array, audio: Audio, start: int, small: bool) -> tuple[Array, Array]:
    """Images (h, w, 3) in [0, 1] of a reconstruction and of its target, on the same scales.

    Args:
        values: the reconstruction, (S, C) in [0, 1]; images show the mean of the channels.
        target: the clip, (S, C).
        audio: what they are of: its rate and its value range.
        start: the first sample's place in the whole clip.
        small: whether to draw for a small place on a page.
    """
    # Fractions of the loudest sample, -1 to 1.
    value, truth = (2 * one.mean(-1) - 1 for one in (values, target))
    reference = max(float(_spectrum(truth, audio.rate)[0].max()), 1e-12)
    size = SMALL_SIZE if small else SIZE
    mixed = f", mean of {audio.channels} channels" if audio.channels > 1 else ""
    begin = start / audio.rate
    return (
        _draw(value, value - truth, audio.rate, begin, reference, size, f"reconstruction{mixed}"),
        _draw(truth, None, audio.rate, begin, reference, size, f"target{mixed}"),
    )


def error_strip(error: Array) -> Array:
    """Mean absolute error (S,) over time as a strip (h, w) whose columns are equal spans, at most 960 of them."""
    height, width = STRIP
    if len(error) >= width:
        borders = np.arange(width + 1) * len(error) // width
        columns = np.add.reduceat(error.astype(np.float64), borders[:-1]) / np.diff(borders)
    else:
        columns = error[np.arange(width) * len(error) // width]
    return np.broadcast_to(columns, (height, width)).astype(np.float32)


def _draw(
    clip: Array,
    error: Array | None,
    rate: int,
    begin: float,
    reference: float,
    size: tuple[int, int],
    title: str,
) -> Array:
    """One image (h, w, 3): the waveform, with the error on it where there is one, over the spectrogram."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    dpi = 100
    figure = Figure(figsize=(size[0] / dpi, size[1] / dpi), dpi=dpi, layout="constrained", facecolor="white")
    canvas = FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
    end = begin + len(clip) / rate
    _waveform(upper, clip, begin, rate, size[0], _WAVE, title)
    if error is not None:
        _waveform(upper, error, begin, rate, size[0], _ERROR, "error")
    upper.set(xlim=(begin, end), ylim=(-1.05, 1.05), yticks=(-1, 0, 1), ylabel="share of the peak")
    upper.grid(True, alpha=0.25, linewidth=0.6)
    # Above the axes, where it hides nothing.
    upper.legend(
        loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, fontsize=9, frameon=False, borderpad=0.1
    )
    power, hertz = _spectrum(clip, rate)
    image = lower.imshow(
        10 * np.log10(np.maximum(power / reference, 1e-12)),
        origin="lower",
        aspect="auto",
        interpolation="bilinear",
        cmap="magma",
        vmin=-DECIBELS,
        vmax=0.0,
        extent=(begin, end, 0.0, hertz / 1000),
    )
    lower.set(xlabel="seconds", ylabel="frequency in kHz")
    figure.colorbar(image, ax=lower, label="dB", pad=0.01, fraction=0.05, aspect=15)
    for axes in (upper, lower):
        axes.tick_params(labelsize=9)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(np.float32) / 255


def _waveform(axes: Any, clip: Array, begin: float, rate: int, width: int, color: str, label: str) -> None:
    """A line where samples are few, else the span between the least and the greatest of each column."""
    if len(clip) <= 2 * width:
        time = begin + (np.arange(len(clip)) + 0.5) / rate
        axes.plot(time, clip, color=color, linewidth=0.9, label=label)
        return
    borders = np.arange(width) * len(clip) // width
    low, high = np.minimum.reduceat(clip, borders), np.maximum.reduceat(clip, borders)
    # Silence is a line, too.
    thin = 0.004
    axes.fill_between(
        begin + borders / rate, low - thin, high + thin, step="post", color=color, linewidth=0, label=label
    )


def _spectrum(clip: Array, rate: int) -> tuple[Array, float]:
    """Power (frequencies, times) by a Hann-windowed Fourier transform of short spans, and the highest frequency in Hz."""
    window = min(
        2 ** round(math.log2(max(rate * WINDOW_SECONDS, 16))), 2 ** int(math.log2(max(len(clip), 2)))
    )
    clip = np.pad(clip, (window // 2, window // 2 + 1))
    count = min(2 * SIZE[0], len(clip) - window)
    starts = np.linspace(0, len(clip) - window - 1, max(count, 1)).astype(np.int64)
    spans = clip[starts[:, None] + np.arange(window)] * np.hanning(window + 1)[:-1].astype(np.float32)
    return np.square(np.abs(np.fft.rfft(spans, axis=1))).T, rate / 2
