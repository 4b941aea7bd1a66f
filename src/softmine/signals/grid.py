"""Signals on a grid: values in memory, in a file or computed, linear between the centers of cells."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import forward_ad

from softmine.checks import out_of_range
from softmine.domain import Box, Cells, Coords, SoftmineError, Values
from softmine.kernels import bookkeeping_on_device

G = TypeVar("G", bound="GridSignal")
Number = int | float
"""Whole numbers stay whole: the longest are none of float64's."""

_LEAST = 1e-30
"""Weights below this are none."""
EXTREME = 1e30
"""Floats from here on are compared with the one that means "no data" less strictly."""
_NEAR = 1e-5
_FILLERS = (-9999.0, -99999.0, -999999.0, -32767.0, -32768.0)
_FILLED = 1e20
"""Values that often mean "no data": these, and what is at least this large."""
BLOCK_VALUES = 2**21
"""Values read at a time when a signal is streamed: 8 MB as float32, which stays in the cache."""


class GridSignal(torch.nn.Module):
    """What signals on a grid share: where values are kept, the look-up between cells, and the way back to stored values.

    Values are kept as their file stores them and become floats a batch at a time. In memory they are a buffer, so
    ``.to(device)`` moves them (it is no part of the ``state_dict``). Those that stay in their file, or are computed, are
    read where a batch needs them and sent to its device.

    Args:
        name: what to call it in reports.
        shape: cells along the axes of the domain, then C.
        dtype: stored type.
        value_range: stored values that map to 0 and to 1.
        path: the file it came from.
        fingerprint: a hash of its content.
        stored: the values in memory, ``shape``; None where they are elsewhere.
        copy: whether to copy them; if not, they must not be changed afterwards.
        source: what gives values that are not in memory.
        mask: which cells hold data; None is all.
        nodata: the stored value that means "no data", as ``as_stored`` gives it.
        notes: what was chosen, converted or left out when it was read, one sentence each.

    Attributes:
        valid: which cells hold data, bool over the domain's shape, on the CPU; None where all do.
        nodata: the stored value that means "no data"; None where there is none, or only NaN.
        notes: as given.
    """

    takes: ClassVar[str]
    """How the error about other coordinates begins."""
    exact: ClassVar[float] = 2.0**24
    """Integers up to here are looked up in float32."""

    stored: Tensor
    size: Tensor
    known: Tensor

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: np.dtype,
        value_range: tuple[float, float],
        *,
        path: Path | None,
        fingerprint: str,
        stored: np.ndarray | None = None,
        copy: bool = True,
        source: Any = None,
        mask: np.ndarray | None = None,
        nodata: Number | None = None,
        notes: Iterable[str] = (),
    ) -> None:
        super().__init__()
        self.name, self.path, self.fingerprint, self.source = name, path, fingerprint, source
        self.shape, self.channels, self.dtype = shape, shape[-1], dtype.name
        self.domain = Box(shape[:-1], mask=mask)
        self.valid = None if mask is None else torch.from_numpy(mask)
        # Names in files may hold anything.
        self.nodata, self.notes = nodata, ["".join(c for c in note if c.isprintable()) for note in notes]
        self.value_range = low, high = value_range
        self._zero, self._span = low, high - low
        # Ranges that float32 cannot divide by, or values finer than it resolves.
        extreme = max(abs(low), self._span, 1 / self._span) > 1e30
        exact = dtype.kind == "f" or max(abs(low), abs(high)) <= self.exact
        single = exact and not extreme and dtype != np.float64
        self._work = torch.float32 if single else torch.float64
        if stored is not None and stored.dtype.kind == "u" and high < shift(stored.dtype):
            # Signed as they are, because small values would be rounded against the shift.
            stored = stored.view(stored.dtype.str.replace("u", "i"))
        self._shift = 0 if stored is None else shift(stored.dtype)
        buffer = torch.empty(0) if stored is None else to_buffer(stored, copy)
        self.register_buffer("stored", buffer, persistent=False)
        self.register_buffer("size", torch.tensor(shape[:-1]), persistent=False)
        known = torch.empty(0, dtype=torch.bool) if self.valid is None else self.valid.view(-1)
        self.register_buffer("known", known, persistent=False)

    @property
    def in_memory(self) -> bool:
        """Whether the values are in memory, or stay in a file, or are computed."""
        return self.source is None

    def extra_repr(self) -> str:
        """What ``repr`` shows."""
        return f"{self.name!r}, shape={self.shape}, dtype={self.dtype}, in_memory={self.in_memory}"

    def forward(self, coords: Coords) -> Values:
        """Values (N, C) at unit coordinates (N, D), in [0, 1] and in the dtype of ``coords``.

        Cell i of an axis with n has its center at (i + 0.5)/n. Values are linear between centers, constant beyond the
        outermost ones, and differentiable with respect to ``coords``. NaN coordinates give NaN.

        Raises:
            SoftmineError: ``coords`` is not a float tensor of shape (N, D).
        """
        check_coords(coords, self.domain.dim, self.takes)
        return self._look_up(coords, torch.promote_types(coords.dtype, self._work)).to(coords.dtype)

    def at_cells(self, coords: Coords) -> tuple[Coords, Values] | None:
        """Centers (N, D) of the cells that hold coordinates (N, D), and the values there (N, C), in one launch on a GPU.

        None where that is not possible: values that are not in memory or need float64, coordinates that want a gradient,
        no Triton. Then ``domain.snap`` and a call give the same.
        """
        check_coords(coords, self.domain.dim, self.takes)
        if coords.requires_grad or not self.in_memory or self._work != torch.float32:
            return None
        if coords.dtype != torch.float32 or not bookkeeping_on_device(coords):
            return None
        from softmine.kernels.triton.cells import STORED, gather_cells

        if self.stored.dtype not in STORED:
            return None
        known = None if self.valid is None else self.known
        zero = self._zero - self._shift
        return gather_cells(coords, self.domain.shape, self.stored, known, zero, self._span)

    def _look_up(self, coords: Coords, work: torch.dtype) -> Values:
        """Values in [0, 1] of type ``work``."""
        position, size = self._position(coords, work), self.size.to(coords.device)
        # Centers need no neighbors, each of which may be read from a file or computed; on a GPU, the check would wait.
        here = not self.in_memory or coords.device.type == "cpu"
        cells = centers(position, size, coords.dtype) if here else None
        values = self._between(position, size, work) if cells is None else self._at(cells, work)
        return values / self._span

    def _position(self, coords: Coords, work: torch.dtype) -> Coords:
        """Coordinates in cells, counted from the center of the first."""
        size = self.size.to(coords.device)
        return (coords.to(work) * size - 0.5).clamp(min=0).minimum(size - 1)

    def _at(self, cells: Cells, work: torch.dtype) -> Values:
        """Stored values (N, C) of flat cells (N,), less the one that maps to 0; 0 where there is no data."""
        values = self._gather(cells, work) - self._zero
        if self.valid is None:
            return values
        return torch.where(self.known.to(cells.device)[cells].unsqueeze(-1), values, 0.0)

    def _between(self, position: Coords, size: Tensor, work: torch.dtype) -> Values:
        """Stored values (N, C) at positions (N, D) in cells, less the one that maps to 0.

        The weights of the cells around a position that hold data are scaled to a sum of 1; where none of those with a
        weight does, the value is 0.
        """
        cells, fraction = corners(position, size)
        if self.valid is None:
            values = self._gather(cells.reshape(-1), work).view(*cells.shape, self.channels)
            return interpolate(values, fraction) - self._zero
        known = self.known.to(cells.device)[cells].unsqueeze(-1)
        # Relative to the zero, because what is divided by a small weight must not be rounded against a large one.
        values = self._at(cells.reshape(-1), work).view(*cells.shape, self.channels)
        # Where nothing is known both sides are 0.
        return interpolate(values, fraction) / interpolate(known.to(work), fraction).clamp(min=_LEAST)

    def _gather(self, cells: Cells, work: torch.dtype) -> Values:
        """Stored values (M, C) at flat cells (M,)."""
        if self.in_memory:
            values = gather(self.stored, cells, work)
            return values + self._shift if self._shift else values
        values = self._read(cells.numpy(force=True), self._numpy_work)
        return torch.from_numpy(values).to(cells.device, work)

    def _read(self, cells: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Values (M, C) that are not in memory, as ``dtype``."""
        return self.source.gather(cells, dtype)

    def _block(self, cut: tuple[slice, ...]) -> np.ndarray:
        """Stored values of a block in memory, channels last, of the type to work in."""
        block = self.stored.view(self.shape)[cut].numpy(force=True).astype(self._numpy_work)
        return block + self._shift if self._shift else block

    def stored_range(self) -> tuple[Number, Number]:
        """The least and the greatest stored value that is data, of a signal in memory."""
        stored = self.stored if self.valid is None else self.stored.view(self.shape)[self.valid]
        low, high = (end.item() + self._shift for end in stored.aminmax())
        return low, high

    def _to_unit(self, block: np.ndarray) -> Float[np.ndarray, ...]:
        """Stored values, which are changed in place, as float32 in [0, 1]."""
        with np.errstate(invalid="ignore"):  # NaN may be of the signaling kind
            block -= self._zero
            block /= self._span
        return block.astype(np.float32, copy=False)

    def cell_values(self, cells: Cells) -> np.ndarray:
        """Values (M, C) of flat cells (M,), float32 in [0, 1], without the rounding of coordinates; 0 where there is no data."""
        return (self._at(cells, self._work) / self._span).float().numpy(force=True)

    def with_cells(self: G, blocks: Iterable[tuple[Cells, np.ndarray]], fingerprint: str) -> G:
        """A copy in which some cells hold other values; name, range, mask and all other cells are those of the signal.

        Args:
            blocks: flat cells (M,), and their new values (M, C) in [0, 1].
            fingerprint: of the copy.

        Raises:
            SoftmineError: the values are not in memory.
        """
        if not self.in_memory:
            raise SoftmineError(f"the values of {self.name!r} are not in memory, and cannot be changed")
        stored = self.stored.clone()
        for cells, values in blocks:
            raw = self.to_raw(values)
            # Where there is no shift, unsigned values may be kept as signed ones.
            kept = raw if self._shift else raw.astype(torch.empty(0, dtype=self.stored.dtype).numpy().dtype)
            stored[cells.to(stored.device)] = to_buffer(kept, copy=False).to(stored.device)
        twin = copy.copy(self)
        twin._buffers = {**self._buffers, "stored": stored}
        twin.fingerprint = fingerprint
        return twin

    def to_raw(self, values: Float[np.ndarray, ...], valid: np.ndarray | None = None) -> np.ndarray:
        """Values in [0, 1], any shape, as the signal's file would store them.

        They are clipped to what the stored type holds. Integers and booleans are rounded, and NaN becomes 0 among them.
        None is the value that means "no data": what would be is moved to the nearest other one.

        Args:
            values: (..., C) where ``valid`` is given.
            valid: (...), False where the result is to say that there is no data; None is nowhere.
        """
        raw = self._to_stored(values)
        if self.nodata is not None:
            same = raw == self.nodata
            if same.any():
                raw[same] = _beside(self.nodata, raw.dtype, sum(self.value_range) / 2)
        if valid is not None:
            raw[~valid] = self.gap
        return raw

    @property
    def gap(self) -> Number:
        """What is stored where there is no data: the declared value, NaN among floats, else 0, beside which a mask is needed."""
        if self.nodata is not None:
            return self.nodata
        return math.nan if np.dtype(self.dtype).kind == "f" else 0

    def _to_stored(self, values: Float[np.ndarray, ...]) -> np.ndarray:
        dtype, (low, high) = np.dtype(self.dtype), self.value_range
        fine = np.float64 if dtype.kind in "iu" and dtype.itemsize > 2 else self._numpy_work
        raw = values.astype(np.promote_types(values.dtype, fine)) * (high - low) + low
        if dtype.kind == "f":
            limit = float(np.finfo(dtype).max)
            return np.clip(raw, -limit, limit).astype(dtype)
        least, most = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        if most >= 2**53:  # which float64 rounds up, beyond it
            most = np.nextafter(float(most), 0.0)
        return np.rint(np.clip(np.nan_to_num(raw), least, most)).astype(dtype)

    @property
    def _numpy_work(self) -> np.dtype:
        return np.dtype(np.float64 if self._work == torch.float64 else np.float32)


def runs_eagerly(tensor: Tensor) -> bool:
    """Whether torch runs the operations on a tensor one by one, for their values alone or a gradient backward.

    If so, code may look at values to choose what to do. A transform of ``torch.func``, a derivative forward, and what is
    compiled or traced for other values need operations that hold for all of them.
    """
    return not (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
        # What torch's own autograd functions check; there is no public place for it.
        or torch._C._are_functorch_transforms_active()
        or forward_ad.unpack_dual(tensor).tangent is not None
    )


def check_coords(coords: Tensor, dim: int, takes: str) -> None:
    """Raise a SoftmineError if these are no float coordinates (N, ``dim``); ``takes``: ``an image takes float (row, column)``."""
    if coords.ndim != 2 or coords.shape[1] != dim or not coords.is_floating_point():
        raise SoftmineError(
            f"{takes} coordinates of shape (N, {dim}), not {tuple(coords.shape)} {coords.dtype}"
        )


def corners(
    position: Float[Tensor, "n d"], size: Int[Tensor, "*each d"]
) -> tuple[Int[Tensor, "*corners n"], Float[Tensor, "n d 1"]]:
    """Flat cells (2, ..., 2, N) around each position, and how far along each axis it lies between them, 0 to 1.

    The cells at index 0 of axis d are those before the position along it, at index 1 those after. NaN positions have the
    first cells, and NaN fractions.

    Args:
        position: in cells, counted from the center of the first, (N, D), from 0 to ``size`` - 1.
        size: cells along each axis, (D,), or (N, D) where each position has its own grid.

    Example:
        >>> corners(torch.tensor([[0.0, 1.25]]), torch.tensor([2, 3]))[0].squeeze(-1)
        tensor([[1, 2],
                [4, 5]])
    """
    first = position.detach().nan_to_num(0.0).long()
    ends = torch.stack((first, (first + 1).minimum(size - 1)))
    cells = ends[..., 0]
    for axis in range(1, position.shape[1]):
        cells = cells.unsqueeze(-2) * size[..., axis] + ends[..., axis]
    return cells, (position - first).unsqueeze(-1)


def centers(
    position: Float[Tensor, "n d"], size: Int[Tensor, " d"], given: torch.dtype | None = None
) -> Cells | None:
    """Flat cells (N,), if all positions are centers as far as their precision tells, and no derivative is wanted, or None.

    Then a look-up can do without their neighbors, which is worth checking where each takes long. It waits for the device.

    Args:
        position: as of ``corners``.
        size: cells along each axis, (D,).
        given: type of the unit coordinates that the positions were made from, by default their own. Coordinates shorter
            than float32 are taken as they are.
    """
    if position.requires_grad or not runs_eagerly(position):
        return None
    precision = torch.promote_types(given or position.dtype, torch.float32)
    nearest = position.round()
    # The coordinate, its place among the cells and half a cell less are rounded, by half an epsilon each at most.
    if not ((position - nearest).abs() <= size * (2 * torch.finfo(precision).eps)).all():
        return None
    cells, *rest = nearest.long().unbind(-1)
    for length, place in zip(size[1:], rest, strict=True):
        cells = cells * length + place
    return cells


def interpolate(values: Tensor, fraction: Tensor) -> Values:
    """Values (N, C) from those (2, ..., 2, N, C) at the corners of cells, at fractions (N, D, 1) along their axes."""
    for axis in range(fraction.shape[1]):
        values = torch.lerp(values[0], values[1], fraction[:, axis].to(values.dtype))
    return values


def gather(stored: Tensor, cells: Cells, work: torch.dtype) -> Values:
    """Raw values (M, C), of type ``work``, of stored cells (V, C) at flat cells (M,)."""
    if stored.shape[1] == 1:  # a flat look-up takes half the time of one of rows
        return stored.view(-1).index_select(0, cells).unsqueeze(-1).to(work)
    return stored.index_select(0, cells).to(work)


def shift(dtype: np.dtype) -> int:
    """What ``to_buffer`` takes off values of a type: half the range of the longer unsigned integers, else 0."""
    return 2 ** (8 * dtype.itemsize - 1) if dtype.kind == "u" and dtype.itemsize > 1 else 0


def to_numpy(tensor: Tensor, dtypes: tuple[str, ...], where: str) -> np.ndarray:
    """A tensor, on any device, as an array.

    Raises:
        SoftmineError: its type is none of ``dtypes``; numpy does not know all that torch has.
    """
    name = str(tensor.dtype).removeprefix("torch.")
    if name not in dtypes:
        raise SoftmineError(f"{where}: its values are {name}; convert them to one of {', '.join(dtypes)}")
    return tensor.numpy(force=True)


def to_buffer(array: np.ndarray, copy: bool = True) -> Tensor:
    """Values (..., C) as torch keeps them, (V, C), less ``shift``.

    Args:
        array: the values, in any byte order.
        copy: whether to copy what would do as it is; if not, ``array`` must not be changed afterwards.
    """
    native = array.dtype.newbyteorder("=")
    if shift(array.dtype):
        # torch has few operations on long unsigned integers; signed ones hold them in the same space, shifted.
        half = array.dtype.type(shift(array.dtype))
        array = array.astype(native, order="C")
        array ^= half
        array = array.view(f"i{native.itemsize}")
    elif copy or not array.flags.writeable:  # torch warns of memory it may not write
        array = np.array(array, native, order="C")
    else:
        array = np.ascontiguousarray(array, native)
    return torch.from_numpy(array).view(-1, array.shape[-1])


def slowest_axis(array: np.ndarray) -> int:
    """The axis of values (..., C) along which a block is one piece of memory, or nearly."""
    return int(np.argmax(np.abs(array.strides[:-1])))


def block_ranges(shape: tuple[int, ...], axis: int) -> Iterator[tuple[int, int]]:
    """Ranges [start, stop) along ``axis`` of at most ``BLOCK_VALUES`` values, or one layer; ``shape`` is (..., C)."""
    step = max(1, BLOCK_VALUES * shape[axis] // math.prod(shape))
    for start in range(0, shape[axis], step):
        yield start, min(start + step, shape[axis])


def along(axis: int, start: int, stop: int) -> tuple[slice, ...]:
    """The index that cuts [start, stop) out of ``axis``."""
    return (*[slice(None)] * axis, slice(start, stop))


def coarse_shape(shape: tuple[int, ...], max_cells: int) -> tuple[int, ...]:
    """The finest grid of at most ``max_cells`` cells with the proportions of ``shape``, no finer than it.

    Raises:
        SoftmineError: ``max_cells`` is below 1.
    """
    if max_cells < 1:
        raise SoftmineError(f"an edge map needs max_cells of at least 1, not {max_cells}")
    few, many, best = 0.0, 1.0, (1,) * len(shape)
    for scale in (1.0, *([None] * 50)):
        middle = (few + many) / 2 if scale is None else scale
        grid = tuple(max(1, math.floor(size * middle)) for size in shape)
        if math.prod(grid) <= max_cells:
            few, best = middle, grid
        else:
            many = middle
    return best


@dataclass(frozen=True)
class Survey:
    """What one pass over values tells.

    Attributes:
        low: the least value.
        high: the greatest.
        valid: which cells hold data; None where all do.
        notes: what means that there is no data, or looks as if it did, one sentence each.
    """

    low: float
    high: float
    valid: np.ndarray | None = None
    notes: tuple[str, ...] = ()


def survey(
    array: np.ndarray,
    where: str,
    unit: str,
    axes: tuple[str, ...],
    *,
    gaps: bool = False,
    nodata: Number | None = None,
    mask: np.ndarray | None = None,
    release: Callable[[], None] = lambda: None,
) -> Survey:
    """Range of values (..., C), block by block; a cell counts as missing where any channel is.

    Of unsigned integers, which are colors or labels, all channels must have the value that means "no data": a channel of 0 alone
    is dark (as GDAL's mask of a file has it).

    Args:
        array: the values.
        where: how an error begins.
        unit: what a cell is called: ``pixel``.
        axes: what the axes are called; one name for all where there are more of them.
        gaps: whether NaN means that there is no data.
        nodata: a value that means the same.
        mask: which cells (...) may hold data; None is all.
        release: called after each block.

    Raises:
        SoftmineError: a value is not finite and no gap, there is none, or they span more than a float64 holds.
    """
    low, high, valid, axis = math.inf, -math.inf, None, slowest_axis(array)
    bad, first, found, gone = 0, (array.shape[0],), set(), 0
    whole = array.dtype.kind == "u" and array.shape[-1] > 1
    for start, stop in block_ranges(array.shape, axis):
        cut = along(axis, start, stop)
        block = array[cut]
        if nodata is not None or mask is not None or not np.isfinite([block.min(), block.max()]).all():
            missing = np.isnan(block) if gaps and block.dtype.kind == "f" else np.zeros(block.shape, bool)
            if missing.any():
                found.add("NaN")
            if nodata is not None:
                declared = _means_none(block, nodata)
                declared = declared.all(-1, keepdims=True) if whole else declared
                if declared.any():
                    missing |= declared
                    found.add(as_text(nodata))
            gone += int(missing.any(-1).sum())
            if mask is not None:
                missing |= ~mask[cut][..., None]
            wrong = ~(np.isfinite(block) | missing).all(-1)
            known = ~missing.any(-1)
            if wrong.any():
                place = np.argwhere(wrong)[0]
                place[axis] += start
                bad, first = bad + int(wrong.sum()), min(first, tuple(place.tolist()))
            if not known.all():
                valid = np.ones(array.shape[:-1], bool) if valid is None else valid
                valid[cut] = known
            block = block[known & ~wrong]
        if block.size:
            low, high = min(low, float(block.min())), max(high, float(block.max()))
        release()
    if bad:
        named = len(axes) == len(first)
        place = (
            ", ".join(f"{n} {i}" for n, i in zip(axes, first, strict=True)) if named else f"{axes[0]} {first}"
        )
        raise SoftmineError(
            f"{where}: {bad:,} of its {unit}s are {'infinite' if gaps else 'NaN or infinite'}, the first at {place} "
            f"(counted from 0); replace them with numbers{', or with NaN where there is no data' if gaps else ''}"
        )
    if low > high:
        raise SoftmineError(
            f"{where}: it has no data, every {unit} is NaN or its no-data value; check the file"
        )
    if not math.isfinite(high - low):
        raise SoftmineError(f"{where}: its values span more than a float64 holds; scale them down")
    notes = []
    if found:
        what, amount = "a value is", ""
        if whole:
            what, amount = "all values are", f": {gone:,} of {math.prod(array.shape[:-1]):,} {unit}s"
        notes.append(f"no data where {what} {' or '.join(sorted(found))}{amount}")
    if nodata is not None and as_text(nodata) not in found:
        notes.append(f"no {unit} has the value that is declared to mean no data, {as_text(nodata)}")
    if nodata is None and gaps and array.dtype.kind in "if":
        notes += _fillers(array, low, high, unit, release)
    return Survey(low, high, valid, tuple(notes))


def _means_none(block: np.ndarray, nodata: Number) -> np.ndarray:
    """Where values are the one that means "no data", as ``as_stored`` gives it.

    Extreme ones are often declared in a few digits, or as those of a longer type: up to ``_NEAR`` of them is as good, and at a
    type's end what is beyond it.
    """
    size = abs(nodata)
    limit = float(np.finfo(block.dtype).max) if block.dtype.kind == "f" else math.inf
    if size < min(EXTREME, limit * (1 - _NEAR)):
        return block == nodata
    # Bounds are rounded outwards to the type, which ends at its limit.
    least = block.dtype.type(size * (1 - _NEAR))
    most = block.dtype.type(size * (1 + _NEAR)) if size < limit * (1 - _NEAR) else math.inf
    side = block if nodata > 0 else -block
    return (side >= least) & (side <= most)


def _fillers(
    array: np.ndarray, low: float, high: float, unit: str, release: Callable[[], None]
) -> Iterator[str]:
    """Notes on values at an end of the range that usually mean "no data", far from all others."""
    for end, others in ((low, high), (high, low)):
        if not (end in _FILLERS or abs(end) >= _FILLED):
            continue
        count, nearest, axis = 0, others, slowest_axis(array)
        for start, stop in block_ranges(array.shape, axis):
            block = array[along(axis, start, stop)]
            same = block == end
            count += int(same.any(-1).sum())
            rest = block[~same & np.isfinite(block)]
            if rest.size:
                nearest = min(nearest, float(rest.min())) if end == low else max(nearest, float(rest.max()))
            release()
        if abs(nearest - end) > 0.1 * abs(others - nearest):
            shown = as_text(int(end) if array.dtype.kind == "i" else end)
            yield f"{count:,} {unit}s of {shown} look as if they meant no data, but nothing says so: they count as values"


def as_text(value: Number) -> str:
    """A number for a note: integers in full, floats in up to nine digits."""
    return str(value) if isinstance(value, int) else f"{value:.9g}"


def range_text(low: float, high: float) -> str:
    """``low to high`` in as few digits as tell both to a thousandth of what lies between them.

    Example:
        >>> range_text(-5.5, 20.0), range_text(1000000.0, 1000003.5)
        ('-5.5 to 20', '1000000 to 1000003.5')
    """
    digits = 6
    while digits < 17 and any(abs(float(f"{x:.{digits}g}") - x) > 1e-3 * (high - low) for x in (low, high)):
        digits += 1
    return f"{low:.{digits}g} to {high:.{digits}g}"


def as_stored(nodata: Number | None, dtype: np.dtype) -> Number | None:
    """A value that means "no data" as a type stores it; None where it cannot, and for NaN, which means it anyway.

    Example:
        >>> as_stored(-9999.0, np.dtype(np.int16)), as_stored(-9999.0, np.dtype(np.uint8))
        (-9999, None)
    """
    if nodata is None or math.isnan(nodata) or dtype.kind not in "iuf":
        return None
    if dtype.kind == "f":
        limit = float(np.finfo(dtype).max)  # files of float32 declare the least float64, too
        return float(dtype.type(min(max(nodata, -limit), limit)))
    limits = np.iinfo(dtype)
    whole = math.isfinite(nodata) and nodata == int(nodata)
    return int(nodata) if whole and limits.min <= nodata <= limits.max else None


def unstored_note(declared: Number | None, stored: Number | None, dtype: np.dtype) -> tuple[str, ...]:
    """The note on a declared value that its type cannot hold, as ``as_stored`` tells."""
    if declared is None or stored is not None or math.isnan(declared):
        return ()
    return (
        f"{as_text(declared)} is declared to mean no data, but {dtype.name} does not hold it: all are values",
    )


def declare_nodata(data: Any, nodata: Number | None, dtype: np.dtype) -> Any:
    """What a reader hands over, with another value that means "no data" than its file declares; as it is for None.

    Raises:
        ArgumentError: no value of the type is that, or it is not finite.
    """
    if nodata is None:
        return data
    value = as_stored(nodata, dtype) if math.isfinite(nodata) else None
    if value is None:
        advice = "NaN means no data anyway" if math.isnan(nodata) else f"give a value that {dtype} can hold"
        raise out_of_range("nodata", nodata, advice)
    before = as_stored(data.nodata, dtype)
    note = (
        ()
        if before in (None, value)
        else (f"the no-data value that it declares, {before:.9g}, counts as data",)
    )
    return replace(data, nodata=nodata, notes=(*data.notes, *note))


def _beside(value: Number, dtype: np.dtype, middle: Number) -> Number:
    """The nearest other value of a type, on the side of ``middle``."""
    if dtype.kind == "f":
        return float(np.nextafter(dtype.type(value), dtype.type(middle)))
    return value + (1 if value < middle else -1)


def widen(low: float, high: float) -> tuple[float, float]:
    """A range that can be divided by: that of a constant is widened to hold 0 and 1."""
    return (min(low, 0.0), max(high, 1.0)) if high - low < np.finfo(np.float64).tiny else (low, high)
