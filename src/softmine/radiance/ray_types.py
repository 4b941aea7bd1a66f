"""Names for the shapes of what belongs to rays and to their packed points."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

PerRay = Float[Tensor, "n"]
"""One number a ray, shape (N,)."""
Counts = Int[Tensor, "n"]
"""One whole number a ray, shape (N,)."""
PerPoint = Float[Tensor, "p"]
"""One number a packed point, shape (P,)."""
RayOfPoint = Int[Tensor, "p"]
"""The ray of each packed point, shape (P,)."""
Starts = Int[Tensor, "starts"]
"""Points ``starts[n]`` up to ``starts[n + 1]`` belong to ray n; shape (N + 1,)."""
