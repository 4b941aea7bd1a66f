"""How samples are drawn from a density: independently, stratified, or by error diffusion."""

from __future__ import annotations

from torch import Tensor, nn

from softmine.checks import check_choice
from softmine.domain import Box, Cells, Coords, PerSample
from softmine.sampling.density.piecewise import PiecewiseConstant
from softmine.sampling.drawing.error_diffusion import ErrorDiffusion, default_period
from softmine.sampling.random import RandomStream

INDEPENDENT, STRATIFIED, ERROR_DIFFUSION = DRAWINGS = ("independent", "stratified", "error-diffusion")


class Drawing(nn.Module):
    """Draws batches from a piecewise constant density that may change between them.

    ``independent`` samples are what importance sampling usually means. ``stratified`` ones lie one in each of N parts of
    equal probability, in row-major order. ``error-diffusion`` remembers from batch to batch what each cell has accumulated,
    and so draws without replacement: counts differ from their expectation by less than one.

    Args:
        kind: one of ``DRAWINGS``.
        density: whose cells are drawn.
        domain: where coordinates live.
        batch_size: samples of a batch, N.
        random: where an allocation starts.
        longest: batches that error diffusion may draw ahead at most, because the density changes then.
    """

    def __init__(
        self,
        kind: str,
        density: PiecewiseConstant,
        domain: Box,
        batch_size: int,
        random: RandomStream,
        longest: int | None = None,
    ) -> None:
        super().__init__()
        self.kind, self.batch_size = check_choice("drawing", kind, DRAWINGS), batch_size
        self.diffusion: ErrorDiffusion | None = None
        if kind == ERROR_DIFFUSION:
            period = default_period(density.cells.count, batch_size)
            if longest is not None:
                # A divisor, so that a new density meets an empty supply.
                period = next(count for count in range(min(period, longest), 0, -1) if longest % count == 0)
            self.diffusion = ErrorDiffusion(density.cells, domain, batch_size, period, random)

    @property
    def period(self) -> int:
        """Batches drawn at once."""
        return 1 if self.diffusion is None else self.diffusion.period

    def draw(
        self, density: PiecewiseConstant, random: RandomStream
    ) -> tuple[Coords, PerSample, Cells | None, int | Tensor]:
        """Coordinates (N, D), density over uniform (N,), cells (N,) where they are known, and the batch's number."""
        if self.diffusion is None:
            coords, cells = density.draw_in_cells(self.batch_size, random, self.kind == STRATIFIED)
            return coords, density.density_in(cells), cells, 0
        # Single batches are drawn by compiled and recorded steps too.
        if self.period == 1 or self.diffusion.supply.used_up:
            self.diffusion.refill(density.values(), random)
        coords, relative, number = self.diffusion.take()
        return coords, relative, None, number

    def refresh(self, density: PiecewiseConstant, random: RandomStream, changed: bool = False) -> None:
        """Draws the next ``period`` batches, where they are drawn ahead and any of the last was taken, or the density has changed."""
        if self.diffusion is None or self.period == 1:
            return
        if changed or not self.diffusion.supply.untouched(self.period):
            self.diffusion.refill(density.values(), random)
