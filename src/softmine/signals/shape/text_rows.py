"""Rows of numbers in the text files of meshes."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from softmine.signals.shape.polygons import damaged

_COMMENT = re.compile(rb"(?<!\.)#[^\n]*")  # 1.#IND is how Windows writes NaN
_SPACES = bytes.maketrans(b"\t\v\f", b"   ")


def read_lines(path: Path) -> list[bytes]:
    """Lines of a file without their ends, comments (``#``), tabs and byte order mark; a backslash at its end joins a line
    with the next.
    """
    text = path.read_bytes().removeprefix(b"\xef\xbb\xbf").translate(_SPACES)
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if b"#" in text:
        text = _COMMENT.sub(b"", text)
    if b"\\" in text:
        text = re.sub(rb"\\ *\n", b" ", text)
    return text.split(b"\n")


def numbers(
    rows: list[bytes], dtype: type, where: str, what: str
) -> tuple[np.ndarray, Int[np.ndarray, " row"]]:
    """All numbers of rows, one after another, and how many each row has.

    Args:
        rows: text between spaces.
        dtype: ``np.float64`` or ``np.int64``.
        where: how an error begins.
        what: what a row describes, in a word: ``vertex``.

    Raises:
        SoftmineError: something is no number; the message shows its row.
    """
    widths = np.fromiter((len(row.split()) for row in rows), np.int64, len(rows))
    values = parse(b" ".join(rows), dtype)
    if values is not None:
        return values, widths
    index = next((index for index, row in enumerate(rows) if parse(row, dtype) is None), 0)
    shown = rows[index].strip()[:40].decode(errors="replace")
    raise damaged(where, f"its {what} {index:,}, counted from 0, is {shown!r}")


def columns(
    rows: list[bytes], count: int, where: str, what: str
) -> tuple[Float[np.ndarray, "row column"], np.ndarray, np.ndarray]:
    """The first ``count`` numbers of each row, (N, count); then all as of ``numbers``.

    Raises:
        SoftmineError: something is no number, or a row has fewer.
    """
    values, widths = numbers(rows, np.float64, where, what)
    if len(rows) and widths.min() < count:
        raise damaged(
            where,
            f"its {what} {int((widths < count).argmax()):,}, counted from 0, has fewer than {count} numbers",
        )
    return values[(np.cumsum(widths) - widths)[:, None] + np.arange(count)], values, widths


def spread(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """All places from each start on, as many as its size, one after another."""
    first = np.cumsum(sizes) - sizes
    return np.repeat(starts - first, sizes) + np.arange(sizes.sum())


def whole(values: np.ndarray) -> np.ndarray:
    """Values as int64; -1 for what is no whole number, or too large for one."""
    fit = np.abs(values) < 2.0**53
    integers = np.where(fit, values, -1).astype(np.int64)
    return np.where(integers == values, integers, -1)


def parse(text: bytes, dtype: type) -> np.ndarray | None:
    """The numbers of a text between spaces, (N,), or None where some word is no number."""
    seen = np.frombuffer(text, np.uint8) > ord(" ")
    words = int(seen[:1].sum() + (seen[1:] & ~seen[:-1]).sum())
    if not words:
        return np.empty(0, dtype)
    with warnings.catch_warnings():
        # numpy warns of text that is no number, and stops there; of 1-2 it makes two.
        warnings.simplefilter("ignore")
        try:
            values = np.fromstring(text, dtype, sep=" ")
        except ValueError:
            return None
    return values if len(values) == words else None
