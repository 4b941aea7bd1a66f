"""A sound that needs no file: synthesised, the same on every machine."""

from __future__ import annotations

import numpy as np

RATE = 16_000
SECONDS = 4.0

_NOTES = ((0.0, 60), (0.3, 64), (0.6, 67), (0.9, 72), (1.2, 59), (1.2, 62), (1.2, 67))
"""Start in seconds and pitch as a MIDI note number: an arpeggio, then a chord."""


def chimes() -> np.ndarray:
    """The sound, int16, shape (64000,): plucked notes, a rest, a rising chirp, a burst of noise, a low note that fades.

    It has what makes samplers differ: loud beside quiet, slow beside fast, tones beside noise, and silence.
    """
    time = np.arange(int(RATE * SECONDS)) / RATE
    sound = np.zeros_like(time)
    for start, pitch in _NOTES:
        sound += 0.3 * _note(time - start, pitch)
    sound += 0.35 * _chirp(time - 2.2, 0.7, 150.0, 5000.0)
    sound += 0.3 * _burst(time - 3.0, 0.15)
    sound += 0.4 * _note(time - 3.25, 45)
    # Nothing jumps at the end.
    sound *= np.clip((SECONDS - time) / 0.05, 0.0, 1.0)
    return np.rint(sound / np.abs(sound).max() * 0.8 * 32767).astype(np.int16)


def _note(time: np.ndarray, pitch: int) -> np.ndarray:
    """A plucked string: harmonics that fade the sooner the higher they are; silent before time 0 and after 0.85 s."""
    frequency = 440.0 * 2.0 ** ((pitch - 69) / 12)
    sound = np.zeros_like(time)
    since = np.clip(time, 0.0, None)
    for harmonic in range(1, 9):
        fade = np.exp(-since * (3.0 + 2.5 * harmonic))
        sound += fade / harmonic * np.sin(2 * np.pi * harmonic * frequency * time)
    attack = np.clip(time / 0.004, 0.0, 1.0)
    release = np.clip((0.85 - time) / 0.1, 0.0, 1.0)
    return sound * attack * release


def _chirp(time: np.ndarray, length: float, low: float, high: float) -> np.ndarray:
    """A sine whose pitch rises exponentially, with a smooth beginning and end."""
    inside = (time >= 0) & (time < length)
    growth = np.log(high / low) / length
    since = np.where(inside, time, 0.0)
    phase = 2 * np.pi * low * np.expm1(growth * since) / growth
    return np.where(inside, np.sin(np.pi * since / length) ** 2 * np.sin(phase), 0.0)


def _burst(time: np.ndarray, length: float) -> np.ndarray:
    """White noise that dies away."""
    noise = np.random.default_rng(0).standard_normal(len(time))
    return np.where((time >= 0) & (time < length), noise * np.exp(-np.clip(time, 0.0, None) * 25.0), 0.0)
