"""Signals that need no file: computed from formulas, the same on every machine."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from itertools import product
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8

from softmine.domain import SoftmineError

T = TypeVar("T")


def find(what: str, name: str, known: Mapping[str, T]) -> T:
    """What the built-in ``what`` called ``name`` is made of.

    Raises:
        SoftmineError: there is none of that name; the message suggests similar ones.
    """
    if name not in known:
        near = difflib.get_close_matches(name, known) or list(known)
        raise SoftmineError(f"there is no built-in {what} {name!r}; try {', '.join(near)}")
    return known[name]


CHIMES_RATE = 16_000
_SECONDS = 4.0

_NOTES = ((0.0, 60), (0.3, 64), (0.6, 67), (0.9, 72), (1.2, 59), (1.2, 62), (1.2, 67))
"""Start in seconds and pitch as a MIDI note number: an arpeggio, then a chord."""


def chimes() -> np.ndarray:
    """An audio clip, int16, 16 kHz, shape (64000,): plucked notes, a rest, a rising chirp, a burst of noise, a low note that fades.

    It has what makes samplers differ: loud beside quiet, slow beside fast, tones beside noise, and silence.
    """
    time = np.arange(int(CHIMES_RATE * _SECONDS)) / CHIMES_RATE
    wave = np.zeros_like(time)
    for start, pitch in _NOTES:
        wave += 0.3 * _note(time - start, pitch)
    wave += 0.35 * _chirp(time - 2.2, 0.7, 150.0, 5000.0)
    wave += 0.3 * _burst(time - 3.0, 0.15)
    wave += 0.4 * _note(time - 3.25, 45)
    # Nothing jumps at the end.
    wave *= np.clip((_SECONDS - time) / 0.05, 0.0, 1.0)
    return np.rint(wave / np.abs(wave).max() * 0.8 * 32767).astype(np.int16)


def _note(time: np.ndarray, pitch: int) -> np.ndarray:
    """A plucked string: harmonics that decay the faster the higher they are; silent before time 0 and after 0.85 s."""
    frequency = 440.0 * 2.0 ** ((pitch - 69) / 12)
    wave = np.zeros_like(time)
    since = np.clip(time, 0.0, None)
    for harmonic in range(1, 9):
        fade = np.exp(-since * (3.0 + 2.5 * harmonic))
        wave += fade / harmonic * np.sin(2 * np.pi * harmonic * frequency * time)
    attack = np.clip(time / 0.004, 0.0, 1.0)
    release = np.clip((0.85 - time) / 0.1, 0.0, 1.0)
    return wave * attack * release


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


# Center (row, column), reach of the path, radius, turns in the whole clip, cells of the texture: in heights.
_DISCS = (
    (0.50, 0.40, 0.22, 0.20, 1.0, 9.0),
    (0.45, 0.95, 0.28, 0.15, -1.0, 21.0),
    (0.62, 0.68, 0.30, 0.10, 2.0, 34.0),
    (0.30, 0.70, 0.15, 0.06, -3.0, 55.0),
)
_COLORS = np.array([[0.9, 0.25, 0.2], [0.15, 0.55, 0.9], [0.95, 0.8, 0.2], [0.2, 0.75, 0.4]], np.float32)


def moving_discs(
    frames: int = 32, height: int = 120, width: int = 160
) -> UInt8[np.ndarray, "frames height width 3"]:
    """The clip, (frames, height, width, 3): fine and coarse textures, smooth ground, sharp moving borders."""
    row, column = (np.mgrid[:height, :width].astype(np.float32) + np.float32(0.5)) / np.float32(height)
    ground = np.stack([0.15 + 0.3 * row, 0.2 + 0.2 * column, 0.5 - 0.3 * row], -1).astype(np.float32)
    clip = np.empty((frames, height, width, 3), np.uint8)
    for index in range(frames):
        image = ground
        for (middle, across, reach, radius, turns, fineness), color in zip(_DISCS, _COLORS, strict=True):
            angle = 2 * math.pi * turns * (index + 0.5) / frames
            down = row - (middle + reach * math.sin(angle))
            right = column - (across + reach * math.cos(angle))
            # The texture turns with the disc; the border is a pixel wide, so that it moves smoothly.
            along = math.cos(angle) * down + math.sin(angle) * right
            over = math.cos(angle) * right - math.sin(angle) * down
            waves = np.sin(math.pi * fineness * along) * np.sin(math.pi * fineness * over)
            shade = 0.7 + 0.3 * np.tanh(4 * waves)
            cover = np.clip((radius - np.hypot(down, right)) * height + 0.5, 0, 1)[..., None]
            image = image * (1 - cover) + cover * shade[..., None] * color
        clip[index] = np.rint(image * 255)
    return clip


def phantom() -> np.ndarray:
    """A soft body with a hard shell, a sponge in one half and a thin coil in the other, (64, 64, 48) uint8.

    Smooth regions, sharp borders and fine detail in one volume, so that samplers have something to choose between.
    """
    axes = [(np.arange(n) + 0.5) / n * 2 - 1 for n in (64, 64, 48)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt((x / 0.85) ** 2 + (y / 0.75) ** 2 + (z / 0.9) ** 2)
    inside = 1 / (1 + np.exp((radius - 0.9) * 60))
    shell = np.exp(-(((radius - 0.92) / 0.04) ** 2))
    value = 0.35 * inside * (1 - 0.5 * radius) + 0.75 * shell
    # A gyroid: sin a cos b + sin b cos c + sin c cos a = 0 cuts space into two equal labyrinths.
    a, b, c = 17 * x, 17 * y, 17 * z
    labyrinth = np.sin(a) * np.cos(b) + np.sin(b) * np.cos(c) + np.sin(c) * np.cos(a)
    sponge = (x < -0.05) & (radius < 0.75)
    value = value + 0.35 * sponge / (1 + np.exp(-labyrinth * 8))
    coil = (x - 0.38 - 0.2 * np.cos(11 * z)) ** 2 + (y - 0.3 * np.sin(11 * z)) ** 2
    value = value + 0.6 * np.exp(-coil / 0.05**2) * (radius < 0.8)
    return np.rint(np.clip(value, 0, 1) * 255).astype(np.uint8)


def knot() -> tuple[np.ndarray, np.ndarray]:
    """A grooved tube along the (2, 3) torus knot, 76,800 triangles."""
    along, around = 1200, 32
    t = np.arange(along) * (2 * np.pi / along)
    path = np.stack(
        [(2 + np.cos(3 * t)) * np.cos(2 * t), (2 + np.cos(3 * t)) * np.sin(2 * t), 1.5 * np.sin(3 * t)], -1
    )
    tangent = np.roll(path, -1, 0) - np.roll(path, 1, 0)
    tangent /= np.linalg.norm(tangent, axis=-1, keepdims=True)
    # Frames that lean on the torus close by themselves, whereas those of the curve's bend would twist.
    middle = np.stack([2 * np.cos(2 * t), 2 * np.sin(2 * t), 0 * t], -1)
    side = path - middle
    side -= (side * tangent).sum(-1, keepdims=True) * tangent
    side /= np.linalg.norm(side, axis=-1, keepdims=True)
    third = np.cross(tangent, side)
    angle = np.arange(around) * (2 * np.pi / around)
    # Grooves wind along the tube, and beads follow one another.
    twist = angle[None] + 9 * t[:, None]
    radius = 0.42 + 0.05 * np.cos(4 * twist) + 0.04 * np.cos(60 * t[:, None])
    ring = np.cos(angle)[None, :, None] * side[:, None] + np.sin(angle)[None, :, None] * third[:, None]
    return (path[:, None] + radius[..., None] * ring).reshape(-1, 3), _grid_faces(along, around)


def _grid_faces(rows: int, columns: int) -> np.ndarray:
    """Triangles of a grid of vertices that closes in both directions."""
    row, column = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    below, right = (row + 1) % rows, (column + 1) % columns
    a, b = row * columns + column, below * columns + column
    c, d = below * columns + right, row * columns + right
    return np.stack([np.stack([a, c, b], -1), np.stack([a, d, c], -1)], 2).reshape(-1, 3)


def ball() -> tuple[np.ndarray, np.ndarray]:
    """A sphere with bumps in three directions, 12,288 triangles."""
    steps = 32
    line = np.tan(np.linspace(-np.pi / 4, np.pi / 4, steps + 1))
    vertices, faces = [], []
    for axis, sign in product(range(3), (-1, 1)):
        u, v = np.meshgrid(line, line, indexing="ij")
        face = np.roll(np.stack([np.full_like(u, sign), u, v], -1), axis, -1).round(12)
        square = np.arange(steps)[:, None] * (steps + 1) + np.arange(steps) + len(vertices) * (steps + 1) ** 2
        a, b, c, d = square, square + steps + 1, square + steps + 2, square + 1
        quads = np.stack([a, b, c, a, c, d], -1).reshape(-1, 3)
        vertices.append(face.reshape(-1, 3))
        faces.append(quads if sign > 0 else quads[:, ::-1])
    direction = np.concatenate(vertices)
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    bumps = np.cos(9 * direction).sum(-1, keepdims=True) / 3
    return direction * (1 + 0.12 * bumps), np.concatenate(faces)


SURFACES: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {"knot": knot, "ball": ball}
"""Makers of vertices (V, 3) and triangles (F, 3), by name."""
