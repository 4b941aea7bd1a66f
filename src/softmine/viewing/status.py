"""How far a run is, on the page."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from softmine.formatting import clock, decibels
from softmine.viewing.follow import Status

MOST_POINTS = 400
BLUE = "#0072b2"


class StatusPanel:
    """Name, state, step, seconds and PSNR, and the PSNR over time.

    Args:
        gui: the panel of the page.
        name: of what is fitted.
        measure: what its quality is called.
    """

    def __init__(self, gui: Any, name: str, measure: str = "PSNR") -> None:
        self.gui, self.name, self.measure = gui, name, measure
        self._text = gui.add_markdown(f"**{name}**")
        self._chart: Any = None
        self._last: Status | None = None

    def show(self, status: Status) -> None:
        """Shows another status."""
        if status == self._last:
            return
        self._last = status
        self._text.content = words(self.name, status, self.measure)
        self._draw([point for point in status.curve if all(map(math.isfinite, point))])

    def _draw(self, curve: list[tuple[float, float]]) -> None:
        if len(curve) < 2:
            return
        every = -(-len(curve) // MOST_POINTS)
        kept = np.array(curve[::-1][::every][::-1])
        data = (np.ascontiguousarray(kept[:, 0]), np.ascontiguousarray(kept[:, 1]))
        if self._chart is not None:
            self._chart.data = data
            return
        self._chart = self.gui.add_uplot(
            data,
            series=({"label": "seconds"}, {"label": "PSNR (dB)", "stroke": BLUE, "width": 2}),
            scales={"x": {"time": False}},
            legend={"show": False},
            axes=({"size": 26}, {"size": 36}),
            height=130,
            order=self._text.order + 0.5,
        )


def words(name: str, status: Status, measure: str = "PSNR") -> str:
    """The status in Markdown."""
    if status.step is None or status.seconds is None:
        return f"**{name}** is {status.state}; it is shown as soon as there is a first checkpoint"
    text = (
        f"**{name}** is {status.state}  \nstep **{status.step:,}** after {clock(status.seconds)} of training"
    )
    if status.psnr is not None:
        measured = "" if status.measured == status.step else f" at step {status.measured:,}"
        text += f"  \n{measure} **{decibels(status.psnr)}**{measured}"
    return text
