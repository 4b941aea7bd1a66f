"""Reads and writes volumes as TIFF stacks through tifffile, with the axes and the sizes of voxels that a file states."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from tifffile import PHOTOMETRIC, TiffPage

from softmine.domain import SoftmineError
from softmine.signals import tiff_codecs, tiff_tags
from softmine.signals.files import check_length, check_unpacked
from softmine.signals.grid import Number
from softmine.signals.libraries import logged_errors
from softmine.signals.memmap import MappedArray
from softmine.signals.volume.data import MAX_CHANNELS, VolumeData, check_layout, kept_bytes, last_axis_note

_IMAGEJ_KEPT = (
    "unit",
    "spacing",
    "finterval",
    "fps",
    "loop",
    "min",
    "max",
    "mode",
    "Info",
    "Labels",
    "Ranges",
    "LUTs",
)
_OME_KEPT = ("PhysicalSize", "TimeIncrement", "SignificantBits")


@dataclass(frozen=True)
class TiffStack:
    """How a file lays its voxels out, for one that is written like it.

    Attributes:
        axes: what tifffile calls them, in their order: ``ZCYX``.
        moved: which of them is the last one of the volume's array.
        kind: ``imagej``, ``ome`` or neither.
        metadata: what such a file says of its voxels.
        options: further arguments for tifffile, such as the resolution.
    """

    axes: str
    moved: int
    kind: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def shape(self, volume: tuple[int, ...]) -> tuple[int, ...]:
        """Lengths along the file's axes, from those of a volume's array (..., C)."""
        lengths = list(volume[: len(self.axes)])
        lengths.insert(self.moved, lengths.pop())
        return tuple(lengths)

    def voxel_size(self) -> tuple[tuple[float, ...] | None, str]:
        """Lengths of a voxel along the spatial axes, and their unit, as ImageJ and OME say; None where the file does not."""
        said, spatial = self.metadata, [letter for letter in self.axes if letter in "ZYX"]
        if self.kind == "ome":
            lengths = {letter: said.get(f"PhysicalSize{letter}") for letter in spatial}
            units = {str(said.get(f"PhysicalSize{letter}Unit", "µm")) for letter in spatial}
        else:
            across, down = (
                Fraction(*of) if of[1] else Fraction(0)
                for of in self.options.get("resolution", ((0, 1),) * 2)
            )
            lengths = {"X": across and 1 / across, "Y": down and 1 / down, "Z": said.get("spacing")}
            units = {str(said.get("unit", "")).replace("\\u00B5", "µ")} - {"", "pixel", "pixels"}
        found = [lengths.get(letter) for letter in spatial]
        if len(units) != 1 or not all(
            isinstance(each, (int, float, Fraction)) and each > 0 for each in found
        ):
            return None, ""
        return tuple(float(each) for each in found if each), units.pop()

    def places(self, flat: np.ndarray, volume: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Flat voxels and channels, (M,) each, of values (M,) in the order of the file.

        Example:
            >>> TiffStack("ZCYX", 1).places(np.array([0, 6, 12]), (2, 2, 3, 2))
            (array([0, 0, 6]), array([0, 1, 0]))
        """
        index = list(np.unravel_index(flat, self.shape(volume)))
        index.append(index.pop(self.moved))
        *cells, channel = index if len(index) == len(volume) else (*index, np.zeros_like(flat))
        return np.ravel_multi_index(cells, volume[:-1]), channel


def read(path: Path, where: str) -> VolumeData:
    """A stack of pages of one size, or a page that holds a stack, axes as the file says.

    Raises:
        SoftmineError: the file is damaged, or does not hold one volume.
    """
    tiff_codecs.install()
    damaged = f"{where}: its TIFF data is truncated or damaged; get a complete copy"
    with logged_errors("tifffile") as errors:
        try:
            with tifffile.TiffFile(path) as file:
                # Counted first, for where a page leads back to an earlier one, tifffile goes round and round.
                _ = len(file.pages)
                data = _stack(file, path, where)
        except MemoryError:
            raise
        except Exception as error:
            if "imagecodecs" in str(error):
                raise SoftmineError(
                    f"{where}: its compression needs the extra: pip install 'softmine[codecs]'"
                ) from error
            # What is left of a damaged file can look like another kind of stack.
            if isinstance(error, SoftmineError) and not errors:
                raise
            raise SoftmineError(damaged) from error
    if errors:  # tifffile reads on where pages are missing at the end
        raise SoftmineError(damaged)
    return data


def _stack(file: tifffile.TiffFile, path: Path, where: str) -> VolumeData:
    series, notes = _choose(file, where)
    page = series.keyframe
    if series.is_multifile:
        raise SoftmineError(f"{where}: its stack continues in other files; save it as one file")
    if page.photometric not in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB):
        colors = getattr(page.photometric, "name", page.photometric)
        raise SoftmineError(f"{where}: its colors are {colors}; save the stack as gray or RGB")
    if series.dtype is None:
        raise SoftmineError(
            f"{where}: it holds {page.bitspersample}-bit samples; convert them to uint8, uint16 or float32"
        )
    axes, shape = series.axes, tuple(int(n) for n in series.shape)
    channel = next((axes.index(letter) for letter in "SC" if letter in axes), None)
    if channel is not None and shape[channel] > MAX_CHANNELS:
        raise SoftmineError(
            f"{where}: it has {shape[channel]} channels, but a volume has 1 to 4; keep four at most"
        )
    if channel is not None and len(shape) == 3:
        raise SoftmineError(f"{where}: it is one flat image in color; fit it with softmine fit image")
    # Last come channels; else time, or what a file does not call anything else.
    moved = len(shape) - 1 if len(shape) != 4 else max(axes.find("T"), 0)
    moved = moved if channel is None else channel
    order = [axis for axis in range(len(shape)) if axis != moved] + [moved]
    check_layout(tuple(shape[axis] for axis in order), series.dtype, where)
    ends = [o + n for p in series.pages if p for o, n in zip(p.dataoffsets, p.databytecounts, strict=True)]
    check_length(path, max(ends), where)
    mapped = None
    if series.dataoffset is not None:
        dtype = np.dtype(series.dtype).newbyteorder(file.byteorder)
        mapped = MappedArray(path, dtype, tuple(series.shape), series.dataoffset, "C", order)
    else:
        values, dtype = math.prod(shape), np.dtype(series.dtype)
        size = values * dtype.itemsize
        peak = kept_bytes(size, dtype.newbyteorder("="), moved == len(shape) - 1)
        gaps = values if tiff_tags.nodata(page) is not None else 0
        check_unpacked(path, size, where, "voxels", peak=peak + gaps)
    array = mapped.array if mapped else np.moveaxis(series.asarray(), moved, -1)
    if channel is None and (axes[moved] != "T" or shape[moved] <= MAX_CHANNELS):
        notes += last_axis_note(array.shape)
    orientation = page.tags.valueof(274, 1)
    if orientation in range(2, 9):
        notes.append(f"its pages are as they are stored, not turned as their orientation {orientation} says")
    stack = TiffStack(axes, moved, *_described(file, series, page))
    voxel_size, unit = stack.voxel_size()
    return VolumeData(
        array, mapped, nodata=tiff_tags.nodata(page), layers=0, voxel_size=voxel_size, length_unit=unit, tiff=stack, notes=tuple(notes)
    )  # fmt: skip


def _choose(file: tifffile.TiffFile, where: str) -> tuple[tifffile.TiffPageSeries, list[str]]:
    """The stack to read, and what is left out: previews, masks and smaller levels."""
    full = [each for each in file.series if not (each.keyframe.is_reduced or each.keyframe.is_mask)]
    full = full or list(file.series)
    if len(full) > 1:
        sizes = ", ".join(str(series.shape) for series in full[:4])
        raise SoftmineError(
            f"{where}: it holds {len(full)} stacks of different shapes ({sizes}); save the one you want as a file"
        )
    notes, series = [], full[0]
    others = [str(each.shape) for each in file.series if each is not series]
    others += [str(level.shape) for level in series.levels[1:]]
    if others:
        shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        notes.append(f"read the stack {series.shape} of its TIFF; left out: reduced or masks {shown}")
    return series, notes


def _described(
    file: tifffile.TiffFile, series: tifffile.TiffPageSeries, page: TiffPage
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Kind, metadata and further options of what is written like a file."""
    options: dict[str, Any] = {"extratags": tiff_tags.place_tags(page)}
    across, down = (page.tags.valueof(code) for code in (282, 283))
    if across and down:
        options |= {"resolution": (across, down), "resolutionunit": page.tags.valueof(296, 1)}
    if series.kind == "imagej":
        said = file.imagej_metadata or {}
        return "imagej", {key: said[key] for key in _IMAGEJ_KEPT if key in said}, options
    if series.kind == "ome":
        return "ome", _ome_metadata(file.ome_metadata or ""), options
    return "", {}, options


def _ome_metadata(xml: str) -> dict[str, Any]:
    """Sizes of voxels and names of channels in the XML of an OME file."""
    image = tifffile.xml2dict(xml).get("OME", {}).get("Image", {})
    pixels = (image[0] if isinstance(image, list) else image).get("Pixels", {})
    found = {key: value for key, value in pixels.items() if key.startswith(_OME_KEPT)}
    channels = pixels.get("Channel", [])
    names = [each.get("Name") for each in (channels if isinstance(channels, list) else [channels])]
    return found | ({"Channel": {"Name": names}} if names and all(names) else {})


def write(
    path: Path,
    stack: TiffStack,
    volume: tuple[int, ...],
    dtype: np.dtype,
    nodata: Number | None,
    values: Callable[[np.ndarray, np.ndarray], np.ndarray],
    block: int,
) -> None:
    """Writes a volume as a TIFF, a page at a time.

    Args:
        path: the file.
        stack: how it is laid out.
        volume: shape of the volume, (..., C).
        dtype: type of its values.
        nodata: the value that means "no data", NaN among them; None where all are data.
        values: gives stored values (M,) of flat voxels (M,) in channels (M,).
        block: about how many it is asked for at a time.
    """
    shape, options = stack.shape(volume), dict(stack.options)
    sample = stack.axes.find("S")
    depth = 2 if sample < 0 else 3
    options["photometric"] = "rgb" if sample >= 0 and shape[sample] >= 3 else "minisblack"
    if sample >= 0:
        options["planarconfig"] = "contig" if sample == len(shape) - 1 else "separate"
    if nodata is not None:
        options["extratags"] = (*options.get("extratags", ()), *tiff_tags.nodata_tag(nodata))
    size = math.prod(shape[-depth:])

    def page(number: int) -> np.ndarray:
        content = np.empty(size, dtype)
        for start in range(0, size, block):
            flat = number * size + np.arange(start, min(start + block, size))
            content[start : start + len(flat)] = values(*stack.places(flat, volume))
        return content.reshape(shape[-depth:])

    count = math.prod(shape[:-depth])
    big = math.prod(shape) * dtype.itemsize > 2**32 - 2**25 and stack.kind != "imagej"
    with tifffile.TiffWriter(
        path, bigtiff=big, imagej=stack.kind == "imagej", ome=stack.kind == "ome"
    ) as file:
        # tifffile packs single bits of a whole array only.
        pages: Any = (page(number) for number in range(count))
        data = np.stack(list(pages)).reshape(shape) if dtype.kind == "b" else pages
        file.write(data, shape=shape, dtype=dtype, metadata={**stack.metadata, "axes": stack.axes}, **options)
