"""What signals on a grid share: the cells around a coordinate, and how their raw values are kept."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import forward_ad

from softmine.domain import Cells, SoftmineError, Values


def as_they_come(tensor: Tensor) -> bool:
    """Whether torch runs the operations on a tensor one by one, for their values alone or a gradient backward.

    If so, code may look at values to choose what to do. A transform of ``torch.func``, a derivative forward, and what is
    compiled or traced for other values need operations that hold for all of them.
    """
    return not (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
        # What torch's own autograd functions ask; there is no public place for it.
        or torch._C._are_functorch_transforms_active()
        or forward_ad.unpack_dual(tensor).tangent is not None
    )


def check_coords(coords: Tensor, dim: int, asked: str) -> None:
    """Refuse what are no float coordinates of shape (N, ``dim``).

    Args:
        coords: what a signal was asked at.
        dim: numbers a coordinate has.
        asked: how the error begins: ``a picture is asked at float (row, column)``.

    Raises:
        SoftmineError: they are something else.
    """
    if coords.ndim != 2 or coords.shape[1] != dim or not coords.is_floating_point():
        raise SoftmineError(
            f"{asked} coordinates of shape (N, {dim}), not {tuple(coords.shape)} {coords.dtype}"
        )


def corners(
    position: Float[Tensor, "n d"], size: Int[Tensor, "*each d"]
) -> tuple[Int[Tensor, "*corners n"], Float[Tensor, "n d 1"]]:
    """Flat cells (2, ..., 2, N) around each position, and how far along each axis it lies between them, 0 to 1.

    The cells at index 0 of axis d are those before the position along it, at index 1 those after. NaN positions have the
    first cells, and NaN fractions.

    Args:
        position: in cells, counted from the centre of the first, (N, D), from 0 to ``size`` - 1.
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


def centres(
    position: Float[Tensor, "n d"], size: Int[Tensor, " d"], given: torch.dtype | None = None
) -> Cells | None:
    """Flat cells (N,), if all positions are centres as far as their precision tells, and no derivative is wanted, or None.

    Then a look-up can do without their neighbours, which is worth asking where each takes long. It waits for the device.

    Args:
        position: as of ``corners``.
        size: cells along each axis, (D,).
        given: type of the unit coordinates that the positions were made from, by default their own. Coordinates shorter
            than float32 are taken as they are.
    """
    if position.requires_grad or not as_they_come(position):
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
        array = (array.astype(native, order="C") ^ half).view(f"i{native.itemsize}")
    elif copy or not array.flags.writeable:  # torch warns of memory it may not write
        array = np.array(array, native, order="C")
    else:
        array = np.ascontiguousarray(array, native)
    return torch.from_numpy(array).view(-1, array.shape[-1])
