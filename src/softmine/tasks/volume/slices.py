"""Volumes as images: slices side by side, the way people who work with them look at them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import matplotlib
import numpy as np
import torch
from torch import nn

from softmine.runs.images import NOT_MEASURED
from softmine.runs.task import Array, Reconstruction, Report, mean_error, silent
from softmine.signals.volume import Volume
from softmine.tasks.contact_sheet import in_rows
from softmine.tasks.grids import predict, spread
from softmine.training.evaluation import values_at

SLICES = 9
MOMENTS = 3
"""Positions of a fourth axis that are shown."""
TILE_SIDE, SMALL_TILE_SIDE = 640, 240
ASPECT = 4 / 3
NO_DATA = (0.86, 0.84, 0.80)
"""A light, warm gray: no gray of a scan and no color of viridis."""
NO_DATA_AMONG_GRAYS = NOT_MEASURED
"""A dark slate blue, which is no gray."""
BETWEEN = 1.0


@dataclass(frozen=True)
class View:
    """How a volume is cut: slices across ``axis``, with ``down`` and ``right`` as axes of the image.

    ``flip_down`` and ``flip_right`` turn an axis round; ``name`` says in words what is seen.
    """

    axis: int
    down: int
    right: int
    flip_down: bool = False
    flip_right: bool = False
    name: str = ""


def choose_view(volume: Volume) -> View:
    """The view that people expect of a volume.

    Slices follow the axis that the file stacks them along (pages of a TIFF, the thickest voxels of a NIfTI). Else,
    where the gaps in the data are the same all along one axis, that axis is taken for time, because land does
    not move, and slices are maps. Else they are cut across the shortest axis, so that they show most.

    Where the file says how the axes lie in a body, slices are seen as radiologists do: head or front up, the
    patient's right on the left.
    """
    shape, axis = volume.domain.shape, volume.data.layers
    if axis is None:
        axis = _time(volume)
    if axis is None:
        axis = min(range(min(3, len(shape))), key=lambda each: (shape[each], -each))
    down, right = [each for each in range(3) if each != axis]
    codes = volume.data.orientation
    if codes is None:
        return View(axis, down, right)
    # Superior is up in every view that shows it, else anterior.
    rank = {"S": 0, "I": 0, "A": 1, "P": 1, "R": 2, "L": 2}
    down, right = sorted((down, right), key=lambda each: rank[codes[each]])
    name = {"S": "axial", "I": "axial", "A": "coronal", "P": "coronal"}.get(codes[axis], "sagittal")
    side = "the patient's right" if codes[right] in "RL" else "the front"
    return View(axis, down, right, codes[down] in "SA", codes[right] in "RA", f"{name}, {side} on the left")


def montage(
    volume: Volume, field: nn.Module, device: torch.device, small: bool = False, report: Report = silent
) -> Reconstruction:
    """Up to nine slices of ``field`` and of the volume, evenly spaced along an axis (see ``choose_view``).

    Of a volume with four axes, three slices at three positions of the fourth. One channel is gray, or viridis
    where floats come without a scanner's header; three are RGB; two or four are set side by side in gray.
    Voxels without data have a color of their own, also on the error map. Slices of many voxels are reduced.
    """
    view = choose_view(volume)
    cuts = _cuts(volume, view)
    reduce = min(1.0, (SMALL_TILE_SIDE if small else TILE_SIDE) / max(_sides(volume, view)))
    height, width = (max(1, round(side * reduce)) for side in _sides(volume, view))
    rows, columns = _arrangement(
        len(cuts), height, width * (1 if volume.channels in (1, 3) else volume.channels)
    )
    images, targets, errors = [], [], []
    for number, fixed in enumerate(cuts):
        cells = _cells(volume, view, fixed, height, width)
        coords = volume.domain.centers(torch.from_numpy(cells.ravel()))
        shape = (height, width, volume.channels)
        values = predict(field, coords, device).numpy().reshape(shape)
        target = values_at(volume, coords, device).numpy().reshape(shape)
        valid = None if volume.valid is None else volume.valid.view(-1).numpy()[cells]
        error = mean_error(values, target)
        images.append(_paint(volume, values, valid))
        targets.append(_paint(volume, target, valid))
        errors.append(_beside(volume, error if valid is None else np.where(valid, error, np.nan)))
        report((number + 1) / len(cuts))
    note = f"{len(cuts)} slices across axis {view.axis}" + (f", {view.name}" if view.name else "")
    if reduce < 1:
        note += f", reduced to {width} x {height}"
    return Reconstruction(
        _join(images, rows, columns, BETWEEN),
        _join(targets, rows, columns, BETWEEN),
        _join(errors, rows, columns, 0.0),
        None,
        note,
    )


def _time(volume: Volume) -> int | None:
    """The only axis along which the gaps in the data do not change, if there is one."""
    if volume.valid is None:
        return None
    mask = volume.valid
    still = [axis for axis in range(mask.ndim) if bool((mask == mask.narrow(axis, 0, 1)).all())]
    return still[0] if len(still) == 1 and still[0] < 3 else None


def _cuts(volume: Volume, view: View) -> list[tuple[int, ...]]:
    """Positions on ``view.axis``, and on a fourth axis, of each slice."""
    shape = volume.domain.shape
    if len(shape) == 3:
        return [(index,) for index in spread(shape[view.axis], SLICES)]
    slices = spread(shape[view.axis], SLICES // MOMENTS)
    return [(index, moment) for moment in spread(shape[3], MOMENTS) for index in slices]


def _sides(volume: Volume, view: View) -> tuple[int, int]:
    return volume.domain.shape[view.down], volume.domain.shape[view.right]


def _arrangement(count: int, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of tiles whose image comes nearest to the aspect of a screen, none of them short."""
    choices = [(rows, count // rows) for rows in range(1, count + 1) if count % rows == 0]
    return min(choices, key=lambda each: abs(math.log(each[1] * width / (each[0] * height) / ASPECT)))


def _cells(volume: Volume, view: View, fixed: tuple[int, ...], height: int, width: int) -> Array:
    """Flat indices of the voxels in one slice, (height, width)."""
    shape = volume.domain.shape
    down = (2 * np.arange(height) + 1) * shape[view.down] // (2 * height)
    right = (2 * np.arange(width) + 1) * shape[view.right] // (2 * width)
    down, right = down[:: -1 if view.flip_down else 1], right[:: -1 if view.flip_right else 1]
    index: list[Array | int] = [0] * len(shape)
    index[view.down], index[view.right], index[view.axis] = down[:, None], right[None, :], fixed[0]
    if len(shape) == 4:
        index[3] = fixed[1]
    return np.ravel_multi_index(np.broadcast_arrays(*index), shape)


def _paint(volume: Volume, values: Array, valid: Array | None) -> Array:
    """A slice (h, w, C) as people look at it: (h, w, 1) gray, or (h, w, 3)."""
    field = volume.channels == 1 and np.dtype(volume.dtype).kind == "f" and volume.data.nifti is None
    if field:
        values = matplotlib.colormaps["viridis"](values[..., 0])[..., :3].astype(np.float32)
    elif volume.channels in (2, 4):
        values = np.concatenate([values[..., channel : channel + 1] for channel in range(volume.channels)], 1)
        valid = None if valid is None else np.concatenate([valid] * volume.channels, 1)
    if valid is None:
        return values
    color = np.array(NO_DATA if field else NO_DATA_AMONG_GRAYS, np.float32)
    return np.where(valid[..., None], values, color)


def _beside(volume: Volume, error: Array) -> Array:
    return np.concatenate([error] * volume.channels, 1) if volume.channels in (2, 4) else error


def _join(tiles: list[Array], rows: int, columns: int, between: float) -> Array:
    """Tiles of one size on a grid with gaps, enlarged by a whole number where they are small."""
    height, width = tiles[0].shape[:2]
    enlarge = max(1, TILE_SIDE // max(rows * height, columns * width))
    return in_rows([tile.repeat(enlarge, 0).repeat(enlarge, 1) for tile in tiles], columns, between)
