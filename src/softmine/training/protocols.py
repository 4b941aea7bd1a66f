"""What fields may be able to do, and training makes use of where they are."""

from __future__ import annotations

from typing import Protocol, TypeVar, cast, runtime_checkable

from torch import Tensor

from softmine.domain import Coords, Values

P = TypeVar("P")


@runtime_checkable
class Regularized(Protocol):
    """A field that asks for a loss besides that of its values."""

    def regularization(self) -> Tensor | None:
        """A loss () that the last forward pass with gradient asks for, or None; it is added to that of the values."""
        ...


@runtime_checkable
class FollowsSteps(Protocol):
    """A field that does something after each step: an occupancy grid is refreshed there."""

    def after_step(self, step: int) -> None:
        """Called after training step ``step``; the first is 1."""
        ...


@runtime_checkable
class KnownAtCells(Protocol):
    """A signal on a grid, which can look up the cells that hold coordinates without their neighbors."""

    def at_cells(self, coords: Coords) -> tuple[Coords, Values] | None:
        """Centers (N, D) of the cells that hold coordinates (N, D), and the values there (N, C); None where it cannot here."""
        ...


@runtime_checkable
class Recordable(Protocol):
    """A field that says whether CUDA graphs can repeat what it does.

    They can where it decides nothing by numbers that the host holds and changes. One that consists of torch's and
    softmine's modules alone need not say so.

    Attributes:
        recordable: whether they can.
    """

    recordable: bool


def able(thing: object, ability: type[P]) -> P | None:
    """``thing`` if it has what a Protocol declares, else None.

    Unlike ``isinstance``, also finds what a wrapper passes on, as ``torch.compile`` does with a field's methods.
    """
    names = {*vars(ability), *ability.__annotations__}
    declared = [name for name in names if not name.startswith("_")]
    return cast(P, thing) if all(hasattr(thing, name) for name in declared) else None
