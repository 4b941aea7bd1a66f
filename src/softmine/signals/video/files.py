"""Reads video files through PyAV (FFmpeg): every frame upright, in RGB, decoded once."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from softmine.domain import SoftmineError
from softmine.errors import ArgumentError
from softmine.signals.files import check_file, check_length
from softmine.signals.libraries import require
from softmine.signals.video import gif
from softmine.signals.video.orientation import Upright
from softmine.signals.video.remarks import Remarks, moving
from softmine.signals.video.store import Frames, FrameStore

if TYPE_CHECKING:
    import av
    import av.container

FALLBACK_RATE = Fraction(25)
"""Frames a second where a file does not say."""

_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")
_EBML = b"\x1a\x45\xdf\xa3"
_PNG = b"\x89PNG\r\n\x1a\n"
_BT709 = 1
_UNTAGGED = 2
_HD_LINES = 720
FRAME_BYTES = 2**26
"""A frame in RGB may take this many bytes in any file, and beyond ``FRAME_RATIO`` times its file."""
FRAME_RATIO = 256
FRAMES_BYTES = 2**34
"""All frames may, and beyond ``FRAMES_RATIO`` times their file; what memory does not hold goes to a temporary file."""
FRAMES_RATIO = 4096
"""Much more than of images: what does not move costs next to nothing."""
_REFERRING = {
    *(
        "hls",
        "concat",
        "dash",
        "webm_dash_manifest",
        "imf",
        "image2",
        "image2pipe",
        "vobsub",
        "avisynth",
        "vapoursynth",
    ),
    *(
        "sdp",
        "rtsp",
        "rtp",
        "sap",
        "lavfi",
        "alsa",
        "oss",
        "fbdev",
        "kmsgrab",
        "x11grab",
        "video4linux2,v4l2",
    ),
}
"""Formats whose files name other files, addresses or devices, which FFmpeg would open."""
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<MPD", b"v=0", b"[playlist]")
_NO_VIDEO = ("image2", "_pipe", "tty", "hls", "concat", "dash", "txt", "srt", "webvtt", "ffmetadata")


@dataclass(frozen=True)
class Decoded:
    """The frames of a video.

    Attributes:
        frames: (F, H, W, 3), uint8; an ``np.memmap`` where they do not lie in memory.
        rate: frames a second, the mean where it varies.
        notes: what was left out, assumed or taken as it is, for people.
    """

    frames: Frames
    rate: Fraction
    notes: list[str]


def read(
    path: Path,
    *,
    downscale: int = 1,
    frames: tuple[int, int | None] = (0, None),
    report: Callable[[float], None] = lambda share: None,
) -> Decoded:
    """Decodes the first video stream of a file, in the order in which its frames are shown.

    Whatever the stored format (planar, 10 bits, gray, palette), frames become 8-bit RGB by the file's own color
    matrix; where it names none, BT.709 from 720 lines on and BT.601 below, as players do. They are turned and
    mirrored as the file asks for. Alpha and audio are dropped, pixels that are not square, high dynamic range and wide
    colors are taken as they are stored; notes say so.

    Args:
        path: the file.
        downscale: width and height are divided by this, rounded; pixels are averaged.
        frames: first frame, and the one after the last, or None for all that follow.
        report: receives the share that is done, 0 to 1.

    Raises:
        SoftmineError: there is no such file, it is no video, damaged or of an unknown codec, it has no such frames,
            or they fit neither memory nor disk; the message says which file, what is wrong with it and what to do.
    """
    where = f"cannot read {path}"
    first, stop = frames
    if downscale < 1:
        raise SoftmineError(f"{where}: downscale is {downscale}; give a whole number, 1 or more")
    if first < 0 or (stop is not None and stop <= first):
        wanted = f"{first}:{'' if stop is None else stop}"
        raise SoftmineError(f"{where}: the frames {wanted} are none; give A:B with 0 <= A < B")
    start = check_file(path, "video", where)
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(_PLAYLISTS) or b"<MPD" in start[:1024]:
        raise SoftmineError(
            f"{where}: it is no video but a playlist, which only names some; name one of those"
        )
    _check_complete(path, where)
    require("av", "video", "a video", where)
    with _open(path, where) as container:
        stream = _video_stream(container, path, where)
        rate = stream.average_rate or stream.guessed_rate
        rate = Fraction(rate) if rate else FALLBACK_RATE
        delays = gif.delays(path) if start.startswith(gif.MAGIC) else []
        rate = gif.rate(delays) if delays else rate
        count = stream.frames or round(float(container.duration or 0) / 1e6 * float(rate))
        last = min(count, stop) if stop is not None and count else count or stop or 0
        store: FrameStore | None = None
        remarks, upright = Remarks(container, stream), Upright()
        seen = 0
        try:
            for frame in _frames(container, stream, where):
                seen += 1
                if seen > first:
                    remarks.look(frame)
                    array = upright(frame, _to_rgb(frame, downscale, where, remarks))
                    if store is None:
                        # What the header says is known before all is decoded.
                        _check_total(path, max(0, last - first) * array.nbytes, where)
                        store = FrameStore(where, array.shape[:2], max(0, last - first))
                    store.add(array)
                    _check_total(path, store.count * array.nbytes, where)
                report(min(1.0, seen / last) if last else 0.0)
                if seen == stop:
                    break
            remarks.say(gif.notes(delays, seen if stop is None else None))
            if store is None:
                what = f"only {seen} frames, none of those from {first} on" if seen else "no frames"
                raise SoftmineError(f"{where}: it has {what}; {'give others' if seen else 'record it again'}")
            report(1.0)
            return Decoded(store.finish(), rate, remarks.words(upright.askew, upright.turned))
        except BaseException:
            if store is not None:
                store.close()
            raise


@contextlib.contextmanager
def _open(path: Path, where: str) -> Iterator[av.container.InputContainer]:
    import av
    from av.error import FFmpegError

    try:
        # Playlists may name any file or address; this one alone is opened.
        container = av.open(
            str(path.absolute()),
            container_options={"protocol_whitelist": "file", "format_whitelist": _formats()},
        )
    except (FFmpegError, ValueError) as error:
        raise SoftmineError(
            f"{where}: it is no video that can be read, or is truncated or damaged; convert it to MP4 (H.264)"
        ) from error
    with container:
        name = container.format.name
        if name == "webp_pipe":
            raise SoftmineError(
                f"{where}: WebP cannot be read as a video; convert it to MP4, GIF or animated PNG"
            )
        if any(part in name.split(",") or name.endswith(part) for part in _NO_VIDEO):
            raise SoftmineError(f"{where}: it is no video but {name!r}; name a video file such as MP4")
        yield container


@functools.cache
def _formats() -> str:
    import av

    return ",".join(sorted(av.formats_available - _REFERRING))


def _video_stream(container: av.container.InputContainer, path: Path, where: str) -> Any:
    """The first stream of moving pictures."""
    streams = moving(container)
    if not streams:
        kinds = " and ".join(sorted({each.type for each in container.streams}))
        only = f", only {kinds}" if kinds else ""
        raise SoftmineError(f"{where}: it has no video stream{only}; name a video file")
    stream = streams[0]
    if stream.codec_context is None:
        raise SoftmineError(
            f"{where}: its codec is unknown to the installed FFmpeg; convert it to MP4 (H.264)"
        )
    most = max(FRAME_BYTES, FRAME_RATIO * path.stat().st_size) // 3
    if stream.codec_context.width * stream.codec_context.height > most:
        raise SoftmineError(
            f"{where}: its frames of {stream.codec_context.width} x {stream.codec_context.height} pixels would take over "
            f"{FRAME_RATIO} times as much memory as the file; re-encode it with smaller ones"
        )
    # Frames may be larger than the container says.
    stream.codec_context.options = {"max_pixels": str(most)}
    stream.thread_type = "AUTO"
    return stream


def _check_total(path: Path, size: int, where: str) -> None:
    """Raises a SoftmineError where frames of ``size`` bytes in all are more than their file can be expected to hold."""
    if size > max(FRAMES_BYTES, FRAMES_RATIO * path.stat().st_size):
        raise ArgumentError(
            "{where}: its frames take {size} GB or more, over {ratio} times as much as the file; read fewer with {frames} or "
            "smaller ones with {downscale}",
            where=where,
            size=f"{size / 1e9:.1f}",
            ratio=f"{FRAMES_RATIO:,}",
        )


def _frames(container: av.container.InputContainer, stream: Any, where: str) -> Iterator[av.VideoFrame]:
    """The frames of a stream, none of them damaged."""
    from av.error import DecoderNotFoundError, FFmpegError, PatchWelcomeError

    seen = 0
    try:
        for frame in container.decode(stream):
            if frame.is_corrupt:
                raise _damaged(where, seen)
            yield frame
            seen += 1
    except (DecoderNotFoundError, PatchWelcomeError, NotImplementedError) as error:
        raise SoftmineError(
            f"{where}: its codec {stream.codec_context.name} cannot be decoded here; convert it to MP4 (H.264)"
        ) from error
    except FFmpegError as error:
        raise _damaged(where, seen) from error


def _damaged(where: str, seen: int) -> SoftmineError:
    return SoftmineError(
        f"{where}: it is truncated or damaged after {seen} frames; get a complete copy, or re-encode it"
    )


def _to_rgb(frame: av.VideoFrame, downscale: int, where: str, remarks: Remarks) -> np.ndarray:
    """A frame (H, W, 3), uint8, as it is stored."""
    from av.error import FFmpegError

    width, height = (max(1, round(side / downscale)) for side in (frame.width, frame.height))
    matrix = _BT709 if frame.colorspace == _UNTAGGED and frame.height >= _HD_LINES else None
    alpha = _has_alpha(frame.format.name)
    try:
        converted = frame.reformat(
            width, height, "rgba" if alpha else "rgb24", src_colorspace=matrix, interpolation="AREA"
        )
    except FFmpegError as error:
        raise SoftmineError(
            f"{where}: its colors ({frame.format.name}, matrix {int(frame.colorspace)}) cannot be converted to RGB; "
            "re-encode it as BT.709"
        ) from error
    rgb = converted.to_ndarray()
    if alpha:
        remarks.transparent |= bool(rgb[..., 3].min() < 255)
        rgb = rgb[..., :3]
    return rgb


@functools.cache
def _has_alpha(pixels: str) -> bool:
    """Whether a pixel format has opacity; asking for each frame would take as long as decoding a tenth of it."""
    import av

    return any(component.is_alpha for component in av.VideoFormat(pixels).components)


def _check_complete(path: Path, where: str) -> None:
    """Refuse an MP4, MOV, Matroska, WebM or AVI file that ends before its last part does: decoders just end earlier.

    So for animated PNG files. Other containers, and parts whose size is left open (live recordings), are taken as they are.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(12)
        file.seek(0)
        if start[4:8] in _BOXES:
            promised = _end_of_boxes(file, size)
        elif start.startswith(_EBML):
            promised = _end_of_elements(file, size)
        elif start.startswith(b"RIFF"):
            promised = _end_of_chunks(file, size)
        elif start.startswith(_PNG):
            promised = _end_of_png(file, size)
        else:
            return
    check_length(path, promised, where)


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """Where the last top-level box of an ISO media file (ISO/IEC 14496-12, 4.2) ends."""
    position = 0
    while position < size:
        file.seek(position)
        head = file.read(16)
        length, smallest = int.from_bytes(head[:4], "big"), 8
        if length == 1:
            length, smallest = int.from_bytes(head[8:], "big"), 16
        if length == 0:  # up to the end of the file
            return size
        if length < smallest:  # no box: what players would skip
            return size
        position += length
    return position


def _end_of_elements(file: BinaryIO, size: int) -> int:
    """Where the last top-level element of an EBML file (RFC 8794, 6) ends."""
    position = 0
    while position < size:
        file.seek(position)
        _vint(file, keep_marker=True)
        length = _vint(file, keep_marker=False)
        if length is None:  # open, as in a live recording
            return size
        position = file.tell() + length
    return position


def _vint(file: BinaryIO, *, keep_marker: bool) -> int | None:
    """A number of variable length; None where its bits are all one, which means unknown, or there is none."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    rest = file.read(more)
    if len(rest) < more:
        return None
    bits = int.from_bytes(first + rest, "big")
    marker = 1 << (7 * (more + 1))
    if keep_marker:
        return bits
    return None if bits == 2 * marker - 1 else bits - marker


def _end_of_png(file: BinaryIO, size: int) -> int:
    """Where a PNG file ends: behind its chunk IEND, which is behind its end where it has none."""
    position = len(_PNG)
    while position < size:
        file.seek(position)
        head = file.read(8)
        position += 12 + int.from_bytes(head[:4], "big")
        if head[4:] == b"IEND":
            return position
    return max(position, size + 12)


def _end_of_chunks(file: BinaryIO, size: int) -> int:
    """Where the last top-level chunk of a RIFF file ends; chunks begin at even positions."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        head = file.read(8)
        length = int.from_bytes(head[4:], "little")
        if head[:4] != b"RIFF" or length in (0, 2**32 - 1):
            return size
        position += 8 + length
        if position < size:
            position += length % 2
    return position
