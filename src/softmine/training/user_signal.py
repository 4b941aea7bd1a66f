"""A user-supplied signal: any function of coordinates, with a check of all values that it returns."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from softmine.domain import Box, Coords, SoftmineError, Values
from softmine.signals import HasEdges, HasSamplerDefaults
from softmine.training import devices
from softmine.training.protocols import able

SignalFunction = Callable[[Tensor], Tensor]
"""Values (N, C) at unit coordinates (N, D)."""
TRIAL = 1024
"""Coordinates at which a signal is checked before training."""


class UserSignal:
    """A user-supplied signal, with what training needs to know of it; checks the values that it returns."""

    def __init__(self, signal: SignalFunction, domain: Box, device: torch.device) -> None:
        self.signal, self.domain, self.device = signal, domain, device
        devices.move(signal, device)
        self.name = str(getattr(signal, "name", None) or getattr(signal, "__name__", type(signal).__name__))
        self.fingerprint = str(getattr(signal, "fingerprint", ""))
        # What it is able to do, this is too, and nothing else.
        if edged := able(signal, HasEdges):
            self.edges = edged.edges
        if brings := able(signal, HasSamplerDefaults):
            self.auto_options = brings.auto_options
        self.channels = 0
        self.channels = self.check(TRIAL)

    def __call__(self, coords: Coords) -> Values:
        """The signal's values (N, C), of the type of ``coords``."""
        values = self.signal(coords)
        if not isinstance(values, Tensor):
            raise SoftmineError(
                f"the signal returns a {type(values).__name__}, but training needs a tensor of shape (N, C): wrap it, "
                "as in torch.as_tensor(values, dtype=torch.float32)"
            )
        shape = tuple(values.shape)
        if len(shape) != 2 or shape[0] != len(coords) or shape[1] < 1 or self.channels not in (0, shape[1]):
            wanted = f"({len(coords)}, {self.channels or 'C'})"
            hint = "; add .unsqueeze(-1)" if shape == (len(coords),) else ""
            raise SoftmineError(
                f"the signal returns the shape {shape} at {len(coords)} coordinates, but it must return {wanted}{hint}"
            )
        if not values.is_floating_point():
            raise SoftmineError(f"the signal returns {values.dtype} values: convert them to float32")
        # On a CPU this check does not wait for the device; elsewhere it is done when the loss has turned bad.
        if values.device.type == "cpu":
            self._refuse_bad(coords, values)
        return values.to(coords.dtype)

    @torch.no_grad()
    def check(self, count: int) -> int:
        """Evaluates the signal at ``count`` random coordinates; returns its channels, raises SoftmineError for bad values."""
        random = torch.Generator().manual_seed(0)
        coords = self.domain.uniform(torch.rand(count, self.domain.dim, generator=random)).to(self.device)
        values = self(coords)
        self._refuse_bad(coords, values)
        return values.shape[1]

    def _refuse_bad(self, coords: Coords, values: Values) -> None:
        bad = ~values.detach().isfinite().all(-1)
        if bad.any():
            place = ", ".join(f"{number:.6g}" for number in coords[bad][0].tolist())
            raise SoftmineError(
                f"the signal is NaN or infinite at {int(bad.sum())} of {len(coords)} coordinates, first at ({place}): "
                "let it return finite values everywhere in its domain, or give a domain with a mask"
            )
