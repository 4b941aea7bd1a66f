"""What a page shows of a run, whatever its kind: how far it is, and images for browsers' cameras."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from softmine.formatting import clock, decibels
from softmine.runs.checkpoint import Snapshot
from softmine.viewing.browser_camera import BrowserCamera
from softmine.viewing.frames import Frame
from softmine.viewing.server import Page

MOST_POINTS = 400
BLUE = "#0072b2"


class View(ABC):
    """What a page shows of one kind of run.

    Args:
        page: where all this appears.
        name: of what is fitted.
        measure: what its quality is called.
    """

    def __init__(self, page: Page, name: str, measure: str = "PSNR") -> None:
        self.page = page
        self.status = StatusPanel(page.gui, name, measure)

    @abstractmethod
    def paint(self, look: BrowserCamera, side: int, stop: Callable[[], bool]) -> Frame | None:
        """An image for a camera, or None where ``stop()`` said that it is not wanted any more."""

    @abstractmethod
    def renew(self, snapshot: Snapshot | None = None) -> None:
        """The field has changed; ``snapshot`` is the checkpoint it comes from, if it does."""

    def idle(self) -> bool:
        """Does a piece of work that can wait, if there is any; says whether there was."""
        return False


@dataclass(frozen=True)
class Status:
    """How far a run is.

    Attributes:
        state: ``running``, ``finished``, ``paused`` and so on.
        step: of what is shown, or None where nothing is shown yet.
        seconds: of training, up to there.
        psnr: of the newest evaluation up to there, in dB, or None.
        measured: the step of that evaluation.
        curve: seconds and PSNR of all evaluations.
    """

    state: str
    step: int | None = None
    seconds: float | None = None
    psnr: float | None = None
    measured: int | None = None
    curve: list[tuple[float, float]] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        state: str,
        evaluations: list[dict[str, Any]],
        step: int | None = None,
        seconds: float | None = None,
    ) -> Status:
        """The status at a step, from the lines of ``metrics.jsonl``."""
        curve = [(line.get("seconds", 0.0), _psnr(line)) for line in evaluations]
        past = [line for line in evaluations if step is not None and line["step"] <= step]
        measured = (_psnr(past[-1]), past[-1]["step"]) if past else (None, None)
        return cls(state, step, seconds, *measured, curve)


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


def _psnr(line: dict[str, Any]) -> float:
    """An exact fit has no finite PSNR, which JSON keeps as null."""
    return math.inf if line["psnr"] is None else float(line["psnr"])
