"""What is noted of a video: what reading leaves out, and what frames do not mean that look as if they did."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import av
    import av.container

_TRANSFERS = {
    8: "linear light",
    9: "logarithmic light",
    10: "logarithmic light",
    16: "PQ, high dynamic range",
    17: "SMPTE 428",
    18: "HLG, high dynamic range",
}
"""Transfer characteristics (ITU-T H.273, table 3) that are far from those of a display."""
_PRIMARIES = {4: "NTSC of 1953", 8: "film", 9: "BT.2020", 10: "CIE XYZ", 11: "DCI-P3", 12: "Display P3"}
"""Color primaries (ITU-T H.273, table 2) that are far from those of sRGB."""


class Remarks:
    """Gathers notes while frames are decoded.

    Args:
        container: the open file.
        stream: the one that is decoded.

    Attributes:
        transparent: whether some pixel so far was not opaque.
    """

    def __init__(self, container: av.container.InputContainer, stream: Any) -> None:
        self.transparent = False
        self._interlaced = self._seen = False
        self._traits: dict[str, None] = {}
        self._times: list[int] = []
        self._streams = _of_streams(container, stream)
        self._tick = float(stream.time_base or 0)
        if container.format.name != "gif" and not (stream.average_rate or stream.guessed_rate):
            self._streams.append("it does not say its frame rate: 25 frames a second are assumed")

    def look(self, frame: av.VideoFrame) -> None:
        """Takes note of a frame."""
        self._interlaced |= frame.interlaced_frame
        if frame.pts is not None:
            self._times.append(frame.pts)
        if self._seen:
            return
        self._seen = True
        bits = max(component.bits for component in frame.format.components)
        if bits > 8:
            self._add(f"{bits} bits a channel rounded to 8")
        if (transfer := _TRANSFERS.get(int(frame.color_trc))) is not None:
            self._add(f"brightness is coded as {transfer}, and taken as it is, without tone mapping")
        if (primaries := _PRIMARIES.get(int(frame.color_primaries))) is not None:
            self._add(f"colors are of the primaries of {primaries}, and taken as they are")
        for extra in frame.side_data:
            kind = extra.type.name  # pyright: ignore[reportAttributeAccessIssue] -- no string, as its stub says
            self._add(_of_side_data(kind, bytes(extra)))  # pyright: ignore[reportArgumentType]

    def say(self, notes: Iterable[str]) -> None:
        """Takes notes that others made."""
        self._streams += notes

    def words(self, askew: bool, turned: bool = False) -> list[str]:
        """All notes, a line each; ``askew`` and ``turned`` as of ``Upright``."""
        found = [*self._streams, *self._traits]
        if self.transparent:
            found.append("its alpha left out: colors are those behind it")
        if self._interlaced:
            found.append("interlaced: each frame holds two moments, in every other row")
        if turned:
            found.append("turned or mirrored, as its display matrix says")
        if askew:
            found.append(
                "it asks for another turn or stretch than quarter turns and mirrors: the nearest of those is taken"
            )
        return [*found, *self._of_times()]

    def _add(self, words: str) -> None:
        if words:
            self._traits[words] = None

    def _of_times(self) -> list[str]:
        steps = np.diff(np.sort(self._times))
        if not len(steps):
            return []
        # Containers round times, Matroska to milliseconds.
        middle = float(np.median(steps))
        uneven = np.abs(steps - middle) > max(2.0, 0.1 * middle)
        if not uneven.any():
            return []
        low, high = steps.min() * self._tick * 1000, steps.max() * self._tick * 1000
        return [
            f"its frames follow each other after {low:.3g} to {high:.3g} ms, and are taken as evenly spaced"
        ]


def moving(container: av.container.InputContainer) -> list[Any]:
    """The streams of moving pictures; the cover of an album is none."""
    from av.stream import Disposition

    return [each for each in container.streams.video if not each.disposition & Disposition.attached_pic]


def _of_streams(container: av.container.InputContainer, stream: Any) -> list[str]:
    found = []
    if len(others := moving(container)) > 1:
        found.append(f"the first of its {len(others)} video streams")
    kinds = [kind for kind in ("audio", "subtitle") if any(each.type == kind for each in container.streams)]
    if kinds:
        words = {"audio": "audio", "subtitle": "subtitles"}
        found.append(f"its {' and '.join(words[kind] for kind in kinds)} left out")
    shape = stream.sample_aspect_ratio
    if shape and shape != 1:
        found.append(
            f"its pixels are not square ({shape.numerator}:{shape.denominator} as stored), and taken as if they were"
        )
    if any(key.lower() == "alpha_mode" and value == "1" for key, value in stream.metadata.items()):
        found.append("its alpha, which is stored apart, left out")
    return found


def _of_side_data(kind: str, content: bytes) -> str:
    if kind == "STEREO3D":
        return "stereo: frames hold both eyes, as they are stored" if any(content[:4]) else ""
    if kind == "SPHERICAL":
        return "a panorama (spherical video): frames are as stored, not unrolled"
    return "the Dolby Vision of its colors left out" if kind.startswith("DOVI") else ""
