"""Reads and writes audio files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from softmine.domain import SoftmineError
from softmine.signals.audio.remarks import left_out
from softmine.signals.files import check_file, check_unpacked
from softmine.signals.libraries import require, silenced

_BLOCK = 2**17
"""Values read at a time, of all channels together."""
_LONGEST_PAGE = 65_307
_SHORT = ("PCM_S8", "PCM_U8", "PCM_16", "DWVW_12", "DWVW_16", "DPCM_8", "DPCM_16", "ALAC_16")
_LONG = ("PCM_24", "PCM_32", "DWVW_24", "ALAC_20", "ALAC_24", "ALAC_32")
_KEPT_AS_IT_IS = {"PCM_16": "int16", "PCM_32": "int32", "FLOAT": "float32", "DOUBLE": "float64"}
_TRUNCATED = "it is truncated: it has fewer samples than its header promises; get a complete copy"
_UNKNOWN = 0x7FFFF000
"""Programs that write to a pipe cannot know the length, and put a number from here on in its place."""


def read(path: Path, most: int) -> tuple[np.ndarray, int, list[str]]:
    """Samples (S, C) of an audio file, its rate, and what was left out of it, in words.

    Integers of up to 16 bits come as int16, longer ones as int32 (24 bits in the upper three bytes), doubles as float64,
    everything else, compressed with loss or not, as float32.

    Args:
        path: the file.
        most: samples that it may have.

    Raises:
        SoftmineError: the file is missing, damaged, longer than ``most`` samples, or no audio that can be read.
    """
    where = f"cannot read {path}"
    check_file(path, "audio", where)
    soundfile = require("soundfile", "audio", "audio files", where)
    try:
        # A number for a name, because from that of a file soundfile takes it for one without a header.
        with path.open("rb") as file, open(file.fileno(), "rb", closefd=False) as nameless, silenced():
            with soundfile.SoundFile(nameless) as clip:
                samples, log = _read(clip, most, path, where), clip.extra_info
            if clip.format == "OGG" and not _ogg_ends(path):
                raise SoftmineError(f"{where}: {_TRUNCATED}")
            notes = left_out(path, clip.format, len(samples), log)
            if _KEPT_AS_IT_IS.get(clip.subtype) != samples.dtype.name:
                notes.append(f"its {clip.subtype_info} is kept and written as {samples.dtype.name}")
            return samples, clip.samplerate, notes
    except soundfile.SoundFileError as error:
        if (several := _data_chunks(path)) > 1:
            raise SoftmineError(
                f"{where}: it has {several} chunks of samples where WAV files have one; join them with an audio editor"
            ) from error
        raise SoftmineError(f"{where}: {_explain(error)}") from error


def write(path: Path, samples: np.ndarray, rate: int) -> None:
    """Writes samples (S, C), int16, int32, float32 or float64, as a WAV file of that type."""
    from scipy.io import wavfile

    wavfile.write(path, rate, samples[:, 0] if samples.shape[1] == 1 else samples)


def too_long(where: str, most: int, rate: int) -> str:
    """What to say of a clip of more than ``most`` samples."""
    return (
        f"{where}: it has more than {most:,} samples, which single-precision coordinates cannot tell apart; cut it to "
        f"{most // rate:,} seconds, or resample it to a lower rate"
    )


def _read(file: Any, most: int, path: Path, where: str) -> np.ndarray:
    dtype = "float32"
    if file.subtype in _SHORT:
        dtype = "int16"
    elif file.subtype in _LONG:
        dtype = "int32"
    elif file.subtype == "DOUBLE":
        dtype = "float64"
    blocks, length = [], 0
    while len(block := file.read(max(1, _BLOCK // file.channels), dtype=dtype, always_2d=True)):
        blocks.append(block)
        length += len(block)
        size = length * block[0].nbytes
        check_unpacked(path, size, where, "samples", peak=2 * size)
        if length > most:
            raise SoftmineError(too_long(where, most, file.samplerate))
    if length < file.frames < _UNKNOWN or _cut_short(file.extra_info):
        raise SoftmineError(f"{where}: {_TRUNCATED}")
    if not length:
        hint = " (a recording that broke off says so, too: repair its header)" if file.format == "WAV" else ""
        raise SoftmineError(f"{where}: it has no samples{hint}; get a complete copy")
    return np.concatenate(blocks)


def _cut_short(log: str) -> bool:
    """Whether libsndfile noted that a file has fewer bytes of samples than its header says."""
    for said, found in re.findall(r"(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", log):
        if int(found) < int(said) < _UNKNOWN:
            return True
    return False


def _ogg_ends(path: Path) -> bool:
    """Whether an Ogg file's last page is whole and says that it is the last (RFC 3533, section 6)."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _LONGEST_PAGE))
        tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < 27:
        return False
    segments = page[27 : 27 + page[26]]
    return bool(page[5] & 4) and len(page) >= 27 + page[26] + sum(segments)


def _data_chunks(path: Path) -> int:
    """How many chunks of samples a WAV file has."""
    with path.open("rb") as file:
        start, found = file.read(12), 0
        if start[:4] != b"RIFF" or start[8:] != b"WAVE":
            return 0
        while len(head := file.read(8)) == 8:
            length = int.from_bytes(head[4:], "little")
            found += head[:4] == b"data"
            file.seek(length + length % 2, 1)
    return found


def _explain(error: Exception) -> str:
    """A sentence about what libsndfile said."""
    said = str(getattr(error, "error_string", error)).rstrip(".")
    if "not recognised" in said:
        return "it is no audio file that libsndfile knows (WAV, FLAC, OGG, MP3, AIFF, ...); convert it to WAV"
    # What it says of an MP3 without an end, and of what it did not expect.
    if "does not exist" in said or "Internal error" in said:
        return "it is truncated or damaged; get a complete copy"
    # A WAV file of a codec that it does not know is one with a malformed 'fmt ' chunk to libsndfile.
    if any(word in said for word in ("unimplemented", "unsupported", "'fmt ' chunk")):
        return f"its codec is not one that libsndfile can decode ({said}); convert it to WAV or FLAC"
    return f"it is truncated or damaged ({said}); get a complete copy"
