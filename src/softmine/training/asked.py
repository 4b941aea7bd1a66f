"""A signal of somebody else's: any function of coordinates, and a check of all that it answers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from softmine.domain import Box, Coords, SoftmineError, Values
from softmine.signals import HasEdges, HasSamplerDefaults
from softmine.training import devices

Ask = Callable[[Tensor], Tensor]
"""Values (N, C) at unit coordinates (N, D)."""
TRIAL = 1024
"""Coordinates at which a signal is tried before training."""


class Asked:
    """A signal of somebody else's, with what training needs to know of it; checks what it answers."""

    def __init__(self, signal: Ask, domain: Box, device: torch.device) -> None:
        self.signal, self.domain, self.device = signal, domain, device
        devices.move(signal, device)
        self.name = str(getattr(signal, "name", None) or getattr(signal, "__name__", type(signal).__name__))
        self.fingerprint = str(getattr(signal, "fingerprint", ""))
        self.edges = signal.edges if isinstance(signal, HasEdges) else None
        self.auto_options = signal.auto_options if isinstance(signal, HasSamplerDefaults) else None
        self.channels = 0
        self.channels = self.check(TRIAL)

    def __call__(self, coords: Coords) -> Values:
        """The signal's values (N, C), of the type of ``coords``."""
        values = self.signal(coords)
        if not isinstance(values, Tensor):
            raise SoftmineError(
                f"the signal answers a {type(values).__name__}, but training needs a tensor of shape (N, C): wrap it, "
                "as in torch.as_tensor(values, dtype=torch.float32)"
            )
        shape = tuple(values.shape)
        if len(shape) != 2 or shape[0] != len(coords) or shape[1] < 1 or self.channels not in (0, shape[1]):
            wanted = f"({len(coords)}, {self.channels or 'C'})"
            hint = "; add .unsqueeze(-1)" if shape == (len(coords),) else ""
            raise SoftmineError(
                f"the signal answers the shape {shape} at {len(coords)} coordinates, but it must answer {wanted}{hint}"
            )
        if not values.is_floating_point():
            raise SoftmineError(f"the signal answers {values.dtype} values: convert them to float32")
        # To look costs nothing where nobody runs ahead; elsewhere it is done when the loss has turned bad.
        if values.device.type == "cpu":
            self._refuse_bad(coords, values)
        return values.to(coords.dtype)

    @torch.no_grad()
    def check(self, count: int) -> int:
        """Asks at ``count`` random coordinates, raises SoftmineError for a bad answer, and returns its channels."""
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
                "let it answer finite values everywhere in its domain, or give a domain with a mask"
            )
