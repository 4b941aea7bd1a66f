"""Reads TIFF files through tifffile: mapped where they are uncompressed, else decoded."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile
from tifffile import COMPRESSION, PHOTOMETRIC, TiffPage

from softmine.domain import SoftmineError
from softmine.signals import tiff_codecs, tiff_tags
from softmine.signals.files import check_length, check_unpacked
from softmine.signals.grid import Number
from softmine.signals.image import pillow
from softmine.signals.image.data import ImageData, fitting_profile
from softmine.signals.image.memmap import MappedImage
from softmine.signals.image.pixels import DTYPES, check_layout, check_size, orient, turned
from softmine.signals.libraries import logged_errors, silenced
from softmine.signals.memmap import MappedArray

_COLORS = (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB)
_RAW = (PHOTOMETRIC.CFA, PHOTOMETRIC.LINEAR_RAW)
_MASK, _OTHER = PHOTOMETRIC.MASK, (PHOTOMETRIC.DEPTH_MAP, PHOTOMETRIC.SEMANTIC_MASK)
_PILLOW_COLORS = (PHOTOMETRIC.PALETTE, PHOTOMETRIC.SEPARATED, PHOTOMETRIC.YCBCR)
_PILLOW_DECODES = (COMPRESSION.LZW, COMPRESSION.PACKBITS, COMPRESSION.JPEG)
_BITS = (8, 16, 32, 64)
_KINDS = {1: "unsigned integer", 2: "signed integer", 3: "float"}
_OLD_SUBFILE_TYPE, _REDUCED, _ORIENTATION = 255, 2, 274
_INVERTED = "its values count from white to black, and were turned round"
_NESTED = 2
"""How deep SubIFDs within SubIFDs are looked into."""
_SMALLER = 0.5
"""A page with at most this share of another's pixels is a version of it, not another image."""


def read(path: Path, where: str) -> ImageData:
    """Pixels (H, W) or (H, W, C) of the largest image in a TIFF or DNG, wherever in it that lies.

    Versions that are smaller, or marked as reduced, are left out. A transparency mask of the image's size says where it
    holds data, as GDAL's masks do.

    Raises:
        SoftmineError: the file is damaged, holds several images or camera raw, needs the extra ``softmine[codecs]``,
            or holds samples that are not read.
    """
    tiff_codecs.install()
    try:
        with logged_errors("tifffile"), tifffile.TiffFile(path, is_ome=False) as file:
            page, mask, notes = _choose(file, where)
            data = _with_gaps(_read_page(page, path, where), page, where)
            if mask is not None:
                known = _upright(mask, where, _orientation(page))
                data = replace(data, mask=known if data.mask is None else known & data.mask)
                notes.append("pixels outside its transparency mask hold no data")
            return replace(data, notes=(*notes, *data.notes))
    except (SoftmineError, MemoryError):
        raise
    except Exception as error:
        raise SoftmineError(f"{where}: its TIFF data is truncated or damaged; get a complete copy") from error


def _choose(file: tifffile.TiffFile, where: str) -> tuple[TiffPage, TiffPage | None, list[str]]:
    """The image to read, its mask if it has one, and what is left out."""
    pages = list(_all_pages(file))
    photos = [page for page in pages if not _is_mask(page) and page.photometric not in _OTHER] or pages
    full = [page for page in photos if not _is_reduced(page)] or photos
    page = max(full, key=_area)
    if page.photometric in _RAW or any(
        each.photometric in _RAW and _area(each) >= _area(page) for each in full
    ):
        raw = "linear" if page.photometric == PHOTOMETRIC.LINEAR_RAW else "CFA, a mosaic of colors"
        raise SoftmineError(f"{where}: it is camera raw ({raw}); develop it to TIFF or PNG first")
    alike = [each for each in full if _area(each) > _SMALLER * _area(page)]
    count = max(len(alike), _stacked(file, page), page.imagedepth)
    if count > 1:
        raise SoftmineError(
            f"{where}: it has {count} pages; save the one you want as a file, or fit all as a volume"
        )
    masks = [each for each in pages if _is_mask(each) and each is not page and _size(each) == _size(page)]
    mask = next((each for each in masks if not _is_reduced(each) and each.photometric not in _OTHER), None)
    others = [each for each in pages if each is not page and each is not mask]
    notes = []
    if others:
        place = "in a SubIFD" if page.is_subifd else f"on page {page.index}"
        shown = ", ".join(_words(each) for each in others[:3]) + (", ..." if len(others) > 3 else "")
        notes.append(f"read the image of {_words(page)} {place} of its TIFF; left out: {shown}")
    return page, mask, notes


def _all_pages(file: tifffile.TiffFile) -> Iterator[TiffPage]:
    """Pages and those in their SubIFDs, each once."""
    seen: set[int] = set()

    def with_nested(page: TiffPage | tifffile.TiffFrame, depth: int) -> Iterator[TiffPage]:
        if not isinstance(page, TiffPage):
            return
        yield page
        if depth and page.subifds and page.pages is not None:
            for number, offset in enumerate(page.subifds):
                if offset not in seen:
                    seen.add(offset)
                    yield from with_nested(page.pages[number], depth - 1)

    # Counted first, for where a page leads back to an earlier one, tifffile goes round and round.
    for page in (file.pages[number] for number in range(len(file.pages))):
        seen.add(page.offset)
        yield from with_nested(page, _NESTED)


def _orientation(page: TiffPage) -> int:
    """How a page lies, 1 to 8; a photo in a SubIFD of a DNG as the first page says."""
    found = page.tags.valueof(_ORIENTATION)
    if found is None and page.is_subifd and isinstance(page.parent, tifffile.TiffFile):
        found = page.parent.pages.first.tags.valueof(_ORIENTATION)
    return int(found) if found is not None and found in range(1, 9) else 1


def _is_reduced(page: TiffPage) -> bool:
    return page.is_reduced or page.tags.valueof(_OLD_SUBFILE_TYPE) == _REDUCED


def _is_mask(page: TiffPage) -> bool:
    return page.is_mask or page.photometric == _MASK


def _size(page: TiffPage) -> tuple[int, int]:
    return page.imagelength, page.imagewidth


def _area(page: TiffPage) -> int:
    return page.imagelength * page.imagewidth


def _words(page: TiffPage) -> str:
    kind = " mask" if _is_mask(page) else " (reduced)" if _is_reduced(page) else ""
    return f"{page.imagewidth} x {page.imagelength}{kind}"


def _stacked(file: tifffile.TiffFile, page: TiffPage) -> int:
    """Images in a page: ImageJ and tifffile write stacks as one page and say so in its description only."""
    if not (file.is_imagej or file.is_shaped):
        return 1
    sizes = [series.size for series in file.series if series.keyframe.offset == page.offset]
    return max(sizes, default=page.size) // page.size


def _read_page(page: TiffPage, path: Path, where: str) -> ImageData:
    height, width, samples = page.imagelength, page.imagewidth, page.samplesperpixel
    if height < 1 or width < 1:
        check_size(height, width, where)
    check_length(path, max(o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)), where)
    colors = getattr(page.photometric, "name", page.photometric)
    if page.photometric in _PILLOW_COLORS or page.bitspersample in (1, 2, 4):
        if page.photometric == PHOTOMETRIC.SEPARATED and samples != 4:
            raise SoftmineError(
                f"{where}: its colors are {samples} inks (CMYK is 4; a fifth may be opacity); convert it to RGB or RGBA"
            )
        if page.bitspersample not in (1, 2, 4, 8):
            raise SoftmineError(
                f"{where}: it holds {page.bitspersample}-bit {colors} colors; convert it to RGB"
            )
        return _by_pillow(page, path, where)
    if page.photometric not in _COLORS or page.axes not in ("YX", "YXS", "SYX"):
        raise SoftmineError(f"{where}: its colors are {colors}; convert it to gray or RGB")
    if page.dtype is None or page.dtype.name not in DTYPES or page.bitspersample not in _BITS:
        kind = _KINDS.get(int(page.sampleformat), "sample")
        raise SoftmineError(
            f"{where}: it holds {page.bitspersample}-bit {kind}s; convert them to uint8, uint16 or float32"
        )
    planar, inverted = page.axes == "SYX", page.photometric == PHOTOMETRIC.MINISWHITE
    if inverted and page.dtype.kind != "u":
        numbers = "floats" if page.dtype.kind == "f" else "integers"
        raise SoftmineError(f"{where}: its {numbers} count from white to black; negate them")
    check_layout((height, width, samples), page.dtype, where)
    data = _described(page, samples)
    orientation = _orientation(page)
    if page.is_final and not inverted and page.dataoffsets[0] > 0:  # at 0: nothing was stored
        dtype = page.dtype.newbyteorder(page.parent.byteorder)
        shape = (samples, height, width) if planar else (height, width, samples)
        axes = (1, 2, 0) if planar else (0, 1, 2)
        mapped = MappedArray(path, dtype, shape, page.dataoffsets[0], "C", axes)
        return replace(data, pixels=MappedImage(mapped, orientation))
    try:
        array = _decode(page, path, where)
    except (KeyError, ValueError) as error:
        if "imagecodecs" not in str(error):
            raise
        found = _without_codecs(page, path, where)
        return replace(data, pixels=found.pixels)  # which are upright
    if inverted:
        np.invert(array, out=array)  # of an unsigned integer: its maximum minus it
    array = np.moveaxis(array, 0, -1) if planar else array.reshape(height, width, samples)
    return replace(data, pixels=orient(array, orientation))


def _described(page: TiffPage, samples: int) -> ImageData:
    """What a page says beside its pixels."""
    notes = []
    rgb, extra = page.photometric == PHOTOMETRIC.RGB, [int(kind) for kind in page.extrasamples]
    colors = 3 if rgb else 1
    if not rgb and samples > 2:
        colors = 0
        shown = "red, green and blue" + (" and opacity" if samples == 4 else "")
        notes.append(f"its {samples} channels have no stated colors, and are shown as {shown}")
    elif samples == colors + 1 and extra[-1:] == [1]:
        notes.append("its colors are multiplied by opacity, and are learned and written so")
    elif samples == colors + 1 and extra[-1:] != [2]:
        notes.append(f"its channel {samples} has no stated meaning, and is shown as opacity")
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        notes.append(_INVERTED)
    orientation = _orientation(page)
    if orientation in range(2, 9):
        notes.append(turned(orientation))
    extra = extra or [0] * (samples - (3 if rgb else 1))
    return ImageData(
        np.empty(0),
        icc_profile=fitting_profile(tiff_tags.icc_profile(page), colors, notes),
        layout={
            "photometric": "rgb" if rgb else "minisblack",
            "extrasamples": extra or None,
            "planarconfig": "contig" if samples > 1 else None,
        },
        tags=tiff_tags.place_tags(page) if orientation == 1 else (),
        notes=tuple(notes),
    )


def _with_gaps(data: ImageData, page: TiffPage, where: str) -> ImageData:
    """The image with what its file declares to mean "no data", which is a value as it was before any conversion."""
    nodata = tiff_tags.nodata(page)
    if nodata is None:
        return data
    if page.photometric == PHOTOMETRIC.PALETTE or page.bitspersample in (1, 2, 4):
        known = _upright(page, where, _orientation(page), nodata)
        if known.all():
            note = f"no pixel has the value that is declared to mean no data, {nodata}"
            return replace(data, notes=(*data.notes, note))
        amount = f"{(~known).sum():,} of {known.size:,} pixels"
        return replace(data, mask=known, notes=(*data.notes, f"pixels of {nodata} hold no data: {amount}"))
    if page.photometric in _PILLOW_COLORS:
        note = f"its no-data value of {nodata} is one of colors before they were converted, and is left out"
        return replace(data, notes=(*data.notes, note))
    if page.photometric == PHOTOMETRIC.MINISWHITE and page.dtype is not None:
        nodata = int(np.iinfo(page.dtype).max) - nodata
    return replace(data, nodata=nodata)


def _upright(page: TiffPage, where: str, orientation: int, nodata: Number = 0) -> np.ndarray:
    """Where a page's values, as they are stored, are not ``nodata`` in any channel, upright, (H, W)."""
    known = _decode(page, Path(page.parent.filehandle.path), where) != nodata
    if page.axes == "SYX":
        known = np.moveaxis(known, 0, -1)
    known = known.reshape(*_size(page), -1).all(-1)
    return np.ascontiguousarray(orient(known, orientation))


def _decode(page: TiffPage, path: Path, where: str) -> np.ndarray:
    """All values of a page, which take no more memory than its file can justify."""
    check_size(*_size(page), where)
    # A tile may be larger than its image.
    values = max(page.size, math.prod(page.chunks))
    size = values * (page.dtype.itemsize if page.dtype else 1)
    # To turn it, or to reorder its channels, takes as much again.
    check_unpacked(path, size, where, "pixels", peak=2 * size)
    return page.asarray()


def _by_pillow(page: TiffPage, path: Path, where: str) -> ImageData:
    with silenced():
        if page.is_subifd:
            # Pillow knows the pages of the file's list alone, so it is given a file whose list begins with this one.
            content = bytearray(path.read_bytes())
            start, length = (8, 8) if page.parent.is_bigtiff else (4, 4)
            order = "little" if page.parent.byteorder == "<" else "big"
            content[start : start + length] = page.offset.to_bytes(length, order)
            data = pillow.read_tiff_page(path, where, 0, bytes(content))
        else:
            data = pillow.read_tiff_page(path, where, page.index)
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        data = replace(data, notes=(*data.notes, _INVERTED))
    orientation = _orientation(page)
    if orientation == 1:
        return replace(data, tags=tiff_tags.place_tags(page))
    if _ORIENTATION in page.tags:
        return data  # Pillow turned it
    return replace(
        data, pixels=orient(np.asarray(data.pixels), orientation), notes=(*data.notes, turned(orientation))
    )


def _without_codecs(page: TiffPage, path: Path, where: str) -> ImageData:
    """Decode with Pillow what it reads without loss, else name the extra."""
    gray = page.samplesperpixel == 1 and page.photometric == PHOTOMETRIC.MINISBLACK
    lossless = page.dtype == np.uint8 or (page.dtype == np.uint16 and gray)
    if lossless and page.compression in _PILLOW_DECODES:
        return _by_pillow(page, path, where)
    compression = getattr(page.compression, "name", page.compression)
    raise SoftmineError(
        f"{where}: its {compression} compression needs the extra: pip install 'softmine[codecs]'"
    )
