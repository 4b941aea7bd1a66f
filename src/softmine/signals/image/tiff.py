"""Reads TIFF files through tifffile: mapped where they are uncompressed, else decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from tifffile import COMPRESSION, PHOTOMETRIC

from softmine.domain import SoftmineError
from softmine.signals.files import check_length
from softmine.signals.image import pillow
from softmine.signals.image.memmap import MappedImage
from softmine.signals.image.pixels import DTYPES, check_layout, check_size, orient
from softmine.signals.libraries import logged_errors, silenced
from softmine.signals.memmap import MappedArray

_COLORS = (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB)
_PILLOW_COLORS = (PHOTOMETRIC.PALETTE, PHOTOMETRIC.SEPARATED, PHOTOMETRIC.YCBCR)
_PILLOW_DECODES = (COMPRESSION.LZW, COMPRESSION.PACKBITS, COMPRESSION.JPEG)
_BITS = (8, 16, 32, 64)
_KINDS = {1: "unsigned integer", 2: "signed integer", 3: "float"}


def read(path: Path, where: str) -> np.ndarray | MappedImage:
    """Pixels (H, W) or (H, W, C) of a TIFF with one page; previews and masks beside it are skipped.

    Raises:
        SoftmineError: the file is damaged, has several pages, needs the extra ``softmine[codecs]``,
            or holds samples that are not read.
    """
    try:
        with logged_errors("tifffile"), tifffile.TiffFile(path, is_ome=False) as file:
            page = _only_page(file, where)
            return _read_page(page, path, where)
    except SoftmineError:
        raise
    except Exception as error:
        raise SoftmineError(f"{where}: its TIFF data is truncated or damaged; get a complete copy") from error


def _only_page(file: tifffile.TiffFile, where: str) -> tifffile.TiffPage:
    pages = [page for page in file.pages if isinstance(page, tifffile.TiffPage)]
    beside = [page for page in pages if page.is_reduced or page.is_mask]
    page = next((page for page in pages if page not in beside), pages[0])
    # ImageJ and tifffile write stacks as one page and say so in its description only.
    stacked = file.series[0].size // page.size if file.is_imagej or file.is_shaped else 1
    count = max(len(file.pages) - len(beside), stacked, page.imagedepth)
    if count > 1:
        raise SoftmineError(f"{where}: it has {count} pages; save the one you want as a file")
    return page


def _read_page(page: tifffile.TiffPage, path: Path, where: str) -> np.ndarray | MappedImage:
    height, width, samples = page.imagelength, page.imagewidth, page.samplesperpixel
    if height < 1 or width < 1:
        check_size(height, width, where)
    check_length(path, max(o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)), where)
    colors = getattr(page.photometric, "name", page.photometric)
    if page.photometric in _PILLOW_COLORS or page.bitspersample in (1, 2, 4):
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
    if inverted and page.dtype.kind == "f":
        raise SoftmineError(f"{where}: its floats count from white to black; negate them")
    check_layout((height, width, samples), page.dtype, where)
    orientation = int(page.tags.valueof(274, 1))
    if page.is_final and not inverted and page.dataoffsets[0] > 0:  # at 0: nothing was stored
        dtype = page.dtype.newbyteorder(page.parent.byteorder)
        shape = (samples, height, width) if planar else (height, width, samples)
        axes = (1, 2, 0) if planar else (0, 1, 2)
        mapped = MappedArray(path, dtype, shape, page.dataoffsets[0], "C", axes)
        return MappedImage(mapped, orientation)
    check_size(height, width, where)
    try:
        array = page.asarray()
    except (KeyError, ValueError) as error:
        if "imagecodecs" not in str(error):
            raise
        return _without_codecs(page, path, where)
    if inverted:
        array = ~array  # of an unsigned integer: its maximum minus it
    array = np.moveaxis(array, 0, -1) if planar else array.reshape(height, width, samples)
    return orient(array, orientation)


def _by_pillow(page: tifffile.TiffPage, path: Path, where: str) -> np.ndarray:
    with silenced():
        return pillow.read_tiff_page(path, where, page.index)


def _without_codecs(page: tifffile.TiffPage, path: Path, where: str) -> np.ndarray:
    """Decode with Pillow what it reads without loss, else name the extra."""
    gray = page.samplesperpixel == 1 and page.photometric == PHOTOMETRIC.MINISBLACK
    lossless = page.dtype == np.uint8 or (page.dtype == np.uint16 and gray)
    if lossless and page.compression in _PILLOW_DECODES:
        return _by_pillow(page, path, where)
    compression = getattr(page.compression, "name", page.compression)
    raise SoftmineError(
        f"{where}: its {compression} compression needs the extra: pip install 'softmine[codecs]'"
    )
