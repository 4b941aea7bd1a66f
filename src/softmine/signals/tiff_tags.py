"""What a TIFF says beside its values, and what of that its reconstruction is to say again."""

from __future__ import annotations

import re
from typing import Any

from tifffile import TiffFrame, TiffPage

from softmine.signals.grid import Number

NODATA = 42113
"""The tag in which GDAL declares, as text, the value that means "no data"."""
_ICC_PROFILE = 34675
_PLACE = (33550, 33922, 34264, 34735, 34736, 34737, 42112)
"""Tags that say where on Earth pixels lie, and GDAL's names, units and scales of bands."""

Tags = tuple[tuple[int, int, int, Any, bool], ...]
"""Tags as tifffile writes them: code, type, count, value, and whether only a file's first page has it."""


def nodata(page: TiffPage | TiffFrame) -> Number | None:
    """The value that GDAL's tag declares to mean "no data", where there is one beside NaN."""
    text = str(page.tags.valueof(NODATA, "")).strip("\0 ") if isinstance(page, TiffPage) else ""
    try:
        value = int(text) if re.fullmatch("[+-]?[0-9]{1,20}", text) else float(text)
    except ValueError:
        return None
    return None if value != value else value


def nodata_tag(value: Number) -> Tags:
    """The tag that declares a value to mean "no data"."""
    text = str(value) if isinstance(value, int) else f"{value:.17g}"
    return ((NODATA, 2, 0, text, True),)


def place_tags(page: TiffPage) -> Tags:
    """The tags of a page that hold as long as its pixels lie as they did."""
    return tuple(
        (tag.code, int(tag.dtype), tag.count, tag.value, True) for tag in page.tags if tag.code in _PLACE
    )


def icc_profile(page: TiffPage) -> bytes | None:
    """The ICC profile of a page's colors."""
    profile = page.tags.valueof(_ICC_PROFILE)
    return bytes(profile) if profile else None
