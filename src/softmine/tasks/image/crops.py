"""The middle of an image."""

from __future__ import annotations

import re

import numpy as np

from softmine.errors import ArgumentError
from softmine.signals import Image
from softmine.signals.image.data import ImageData


def parse_size(text: str, name: str = "crop") -> tuple[int, int]:
    """Height and width that a word gives: ``512`` is a square, ``1080x1920`` has 1080 rows.

    Args:
        text: the word.
        name: of the argument that it was given for.

    Raises:
        ArgumentError: it gives none.
    """
    if not re.fullmatch(r"[0-9]{1,9}(x[0-9]{1,9})?", text) or 0 in (found := _numbers(text)):
        raise ArgumentError(
            f"{{{name}}} is {{given}}: give a side in pixels, as in 512, or HEIGHTxWIDTH, as in 1080x1920",
            given=text,
        )
    return found[0], found[-1]


def crop(image: Image, text: str) -> Image:
    """The middle of an image, of a size in words (see ``parse_size``), as the image's own type.

    Raises:
        ArgumentError: the image is smaller.
    """
    height, width = parse_size(text)
    rows, columns, _ = image.shape
    if height > rows or width > columns:
        raise ArgumentError(
            "{crop} is {given}, but {name} has only {rows} rows and {columns} columns of pixels",
            given=text,
            name=image.name,
            rows=rows,
            columns=columns,
        )
    top, left = (rows - height) // 2, (columns - width) // 2
    mask = None if image.valid is None else image.valid[top : top + height, left : left + width].numpy()
    pixels = image.to_raw(image.rows(top, top + height)[:, left : left + width], mask)
    data = ImageData(
        np.ascontiguousarray(pixels),
        image.nodata,
        mask,
        image.icc_profile,
        image.layout,
        notes=(*image.read_notes, f"the middle {width} x {height} of {columns} x {rows} pixels"),
    )
    return Image(data, image.name, path=image.path, copy=False)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split("x")]
