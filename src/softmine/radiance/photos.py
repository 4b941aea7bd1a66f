"""The images of a scene as one signal."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from softmine.domain import Box, Coords, SoftmineError, Values
from softmine.formatting import several
from softmine.radiance import gpu
from softmine.radiance.background import to_channels
from softmine.radiance.cameras import Camera, Cameras, Rays, Views, strided, to_ndc
from softmine.radiance.photo_files import load_mask, read_photo, reduce
from softmine.radiance.scenes.scene import Scene, View
from softmine.signals.files import hash_array, hash_file
from softmine.signals.grid import check_coords, corners, gather
from softmine.signals.image.maps import Pool, gray, sobel

CHUNK = 2**14
_DEEP = "its 16 bits are rounded to 8"
TAKES = "photos take float (view, row, column)"


class Photos(nn.Module):
    """Posed images that answer at any (view, row, column), by bilinear look-up within a view.

    Pixels stay uint8, with premultiplied color, and become floats a batch at a time. They are buffers, so
    ``.to(device)`` moves them; they are not part of the ``state_dict``.

    Images with opacity have 4 channels: color before mid-gray and half the opacity, whose squared error is that
    before a random background (see ``softmine.radiance.background``). Photos have 3, their colors.

    Args:
        scene: what ``read_scene`` gives.
        split: which of its views: ``train`` or ``test``.

    Attributes:
        name: the scene's.
        path: the scene's folder or file, or None where it is made here.
        channels: 3 or 4.
        domain: ``Box((V, H, W), discrete=(0,))`` with H and W those of the largest view; pixels beyond smaller views
            and those that a scene's masks leave out are masked.
        fingerprint: hash of the poses, the files used, and ``downscale``.
        views: the V views.
        cameras: where they were taken from.
        notes: what a user may want to know of how the pixels were read, one sentence each.

    Raises:
        SoftmineError: an image is damaged or not of its camera's size, or the split is empty.
    """

    pixels: Tensor
    starts: Tensor
    sizes: Tensor

    def __init__(self, scene: Scene, split: str = "train") -> None:
        super().__init__()
        self.scene, self.name, self.path, self.split = scene, scene.name, scene.path, split
        self.views = scene.split(split)
        self.channels = 4 if scene.has_alpha else 3
        self.cameras = Cameras(
            [view.camera for view in self.views],
            [view.pose for view in self.views],
            [view.name for view in self.views],
        )
        sizes = [(view.camera.height, view.camera.width) for view in self.views]
        lengths = [height * width for height, width in sizes]
        pixels = np.empty((sum(lengths), self.channels), np.uint8)
        starts = np.cumsum([0, *lengths[:-1]])
        said: Counter[str] = Counter()
        for view, start, length in zip(self.views, starts, lengths, strict=True):
            stored, notes = read_photo(view)
            said.update([*notes, *([_DEEP] if stored.dtype.itemsize > 1 else [])])
            reduced = reduce(stored, view, scene.downscale, scene.has_alpha)
            pixels[start : start + length] = reduced.reshape(length, -1)
        self.register_buffer("pixels", torch.from_numpy(pixels), persistent=False)
        self.register_buffer("starts", torch.from_numpy(starts), persistent=False)
        self.register_buffer("sizes", torch.tensor(sizes), persistent=False)
        height, width = (max(side) for side in zip(*sizes, strict=True))
        masks = {index: load_mask(view, scene.downscale) for index, view in enumerate(self.views)}
        self._masks = {index: mask for index, mask in masks.items() if mask is not None}
        opacity = [pixels[start : start + length, 3:] for start, length in zip(starts, lengths, strict=True)]
        self.notes = (*self._photo_notes(said), *self._opacity_notes(opacity), *self._mask_notes())
        uneven = any(size != (height, width) for size in sizes)
        mask = self._make_mask(height, width) if uneven or self._masks else None
        self.domain = Box((len(self.views), height, width), mask=mask, discrete=(0,))
        self.fingerprint = self._hash()

    def extra_repr(self) -> str:
        """What ``repr`` shows."""
        return f"{self.name!r}, shape={self.domain.shape}, channels={self.channels}"

    def forward(self, coords: Coords) -> Values:
        """Values (N, C) at unit coordinates (N, 3), in [0, 1] and in the dtype of ``coords``.

        Linear between the centers of a view's pixels, constant beyond the outermost ones; differentiable in row and
        column. A view is the whole cell of the first axis.

        Raises:
            SoftmineError: ``coords`` is not a float tensor of shape (N, 3).
        """
        if self._in_one_kernel(coords):
            return gpu.photo_pixels(coords, self.pixels, self.starts, self.sizes, self.domain.shape)
        view, native = self.locate(coords)
        work = torch.promote_types(coords.dtype, torch.float32)
        size = self.sizes[view]
        position = (native.to(work) - 0.5).clamp(min=0).minimum(size - 1)
        cells, fraction = corners(position, size)
        cells = cells + self.starts[view]
        values = gather(self.pixels, cells.view(-1), work).view(*cells.shape, self.channels)
        values = torch.lerp(values[:, 0], values[:, 1], fraction[:, 1])
        values = torch.lerp(values[0], values[1], fraction[:, 0]) / 255
        return self._to_channels(values).to(coords.dtype)

    def locate(self, coords: Coords) -> tuple[Views, Float[Tensor, "n 2"]]:
        """View (N,) and pixel (row, column), (N, 2), in native units, of unit coordinates (N, 3).

        Raises:
            SoftmineError: ``coords`` is not a float tensor of shape (N, 3).
        """
        check_coords(coords, 3, TAKES)
        count = len(self.views)
        view = (coords[:, 0].detach() * count).nan_to_num(0.0).long().clamp(0, count - 1)
        return view, coords[:, 1:] * self.domain.scale(coords)[1:]

    def rays(self, coords: Coords) -> Rays:
        """Rays through unit coordinates (N, 3): origins (N, 3), directions (N, 3); differentiable in row and column.

        Directions have length 1, but for a scene in normalized device coordinates, where rays run from t = 0 to 1.
        """
        ndc = self.scene.ndc
        if self._in_one_kernel(coords) and self.cameras.lenses == {"perspective"}:
            return Rays(*gpu.photo_rays(coords, self.cameras, self.domain.shape, ndc))
        rays = self.cameras.rays(*self.locate(coords))
        return to_ndc(rays, ndc.scale, ndc.near) if ndc else rays

    def view_coords(self, view: int, stride: int = 1, chunk: int = CHUNK) -> Iterator[Coords]:
        """Unit coordinates of a view's pixel centers, row by row, in pieces of at most ``chunk`` (N, 3).

        Args:
            view: index into ``views``.
            stride: take every ``stride``-th row and column only; see ``view_shape``.
            chunk: coordinates a piece.
        """
        _, height, width = self.domain.shape
        rows, columns = self._strided(view, stride)
        for flat in torch.arange(len(rows) * len(columns)).split(chunk):
            row, column = rows[flat // len(columns)], columns[flat % len(columns)]
            yield self.domain.centers((view * height + row) * width + column)

    def view_shape(self, view: int, stride: int = 1) -> tuple[int, int]:
        """Rows and columns that ``view_coords`` goes through."""
        rows, columns = self._strided(view, stride)
        return len(rows), len(columns)

    def image(self, view: int, stride: int = 1) -> Float[Tensor, "h w c"]:
        """A view's values, (h, w, C), float32 on the CPU: the pixels of ``view_coords``."""
        camera, start = self.views[view].camera, int(self.starts[view])
        rows, columns = self._strided(view, stride)
        pixels = self.pixels[start : start + camera.height * camera.width].view(
            camera.height, camera.width, -1
        )
        chosen = pixels[rows[:, None].to(pixels.device), columns.to(pixels.device)].cpu()
        values = self._to_channels(chosen.float().view(-1, self.channels) / 255)
        return values.view(len(rows), len(columns), self.channels)

    def edges(self, max_cells: int = 2**20) -> Float[Tensor, "views h w"]:
        """Sobel magnitude of each view on a coarse grid over the domain, (V, h, w), on the CPU.

        Of the gray image, and with opacity of that too. No difference is taken across views; cells beyond a smaller
        view hold 0, and masked pixels count as 0. A view has at least one cell, even if ``max_cells`` is fewer.

        Raises:
            SoftmineError: ``max_cells`` is below 1.
        """
        if max_cells < 1:
            raise SoftmineError(f"an edge map needs max_cells of at least 1, not {max_cells}")
        count, height, width = self.domain.shape
        shrink = min(1.0, math.sqrt(max_cells / count / (height * width)))
        h, w = max(1, math.floor(height * shrink)), max(1, math.floor(width * shrink))
        maps = np.zeros((count, h, w), np.float32)
        for index, camera in enumerate(view.camera for view in self.views):
            values = self.image(index).numpy()
            magnitude = sobel(np.pad(gray(values[..., :3]), 1, mode="edge"))
            if self.channels == 4:
                magnitude = np.hypot(magnitude, sobel(np.pad(2 * values[..., 3], 1, mode="edge")))
            if index in self._masks:
                magnitude = magnitude * self._masks[index]
            whole = np.zeros((height, width, 1), np.float32)
            whole[: camera.height, : camera.width, 0] = magnitude
            pool = Pool(height, width, h, w, 1)
            pool.add(0, whole)
            maps[index] = pool.total[..., 0]
        return torch.from_numpy(maps)

    def _in_one_kernel(self, coords: Coords) -> bool:
        """Whether coordinates (N, 3) are on a GPU, in float32, and want no gradient."""
        check_coords(coords, 3, TAKES)
        follow = coords.requires_grad and torch.is_grad_enabled()
        return coords.dtype == torch.float32 and not follow and gpu.takes(coords)

    def _to_channels(self, values: Values) -> Values:
        return values if self.channels == 3 else to_channels(values[:, :3], values[:, 3])

    def _photo_notes(self, said: Counter[str]) -> list[str]:
        """What was converted or left out, and in how many photos."""
        deep = said.pop(_DEEP, 0)
        notes = [f"{deep} photos of 16 bits to {self.split} are rounded to 8"] if deep else []
        return [*notes, *(f"each of {count} photos to {self.split}: {note}" for note, count in said.items())]

    def _opacity_notes(self, opacity: Sequence[np.ndarray]) -> list[str]:
        """Views that show no object, or nothing but it, by the opacity of their pixels.

        Raises:
            SoftmineError: no view shows anything.
        """
        if self.channels == 3:
            return []
        clear = [view.name for view, each in zip(self.views, opacity, strict=True) if not each.any()]
        if len(clear) == len(self.views):
            raise SoftmineError(
                f"the photos of the scene {self.name!r} are transparent everywhere in all {len(clear)} views to {self.split}; "
                "save them with the object's opacity, or without a channel of opacity"
            )
        full = [view.name for view, each in zip(self.views, opacity, strict=True) if each.min() == 255]
        notes = []
        if clear:
            notes.append(
                f"opacity leaves nothing of {len(clear)} of the {len(self.views)} views to {self.split}, the first is {clear[0]}"
            )
        if full:
            notes.append(
                f"{len(full)} of the {len(self.views)} views to {self.split} are opaque everywhere, as if the object filled them, "
                f"the first is {full[0]}"
            )
        return notes

    def _mask_notes(self) -> list[str]:
        """Views that masks leave nothing of, or whose lens shows a circle."""
        notes = []
        empty = [self.views[index].name for index, mask in self._masks.items() if not mask.any()]
        if empty:
            notes.append(
                f"masks leave no pixel of {several(len(empty), 'view')} to {self.split}, the first is {empty[0]}"
            )
        circles = [index for index, view in enumerate(self.views) if view.camera.image_circle() is not None]
        if circles:
            notes.append(
                f"pixels beyond the circle that the lens shows do not count, in {several(len(circles), 'view')} to {self.split}"
            )
        return notes

    def _make_mask(self, height: int, width: int) -> Tensor:
        mask = torch.zeros((len(self.views), height, width), dtype=torch.bool)
        for index, view in enumerate(self.views):
            rows, columns = view.camera.height, view.camera.width
            valid = torch.from_numpy(self._masks[index]) if index in self._masks else True
            mask[index, :rows, :columns] = valid
        if not mask.any():
            raise SoftmineError(f"the masks of the scene {self.name!r} leave out every pixel of {self.split}")
        return mask

    def valid(self, view: int, stride: int = 1) -> Bool[np.ndarray, "h w"] | None:
        """Which of the pixels of ``image`` a view's mask leaves; None where it has no mask."""
        mask = self._masks.get(view)
        if mask is None:
            return None
        rows, columns = self._strided(view, stride)
        return mask[rows.numpy()[:, None], columns.numpy()]

    def _strided(self, view: int, stride: int) -> tuple[Tensor, Tensor]:
        camera = self.views[view].camera
        return strided(camera.height, stride), strided(camera.width, stride)

    def _hash(self) -> str:
        digest = hashlib.sha256(f"{self.split} {self.scene.downscale}".encode())
        for file in self.scene.files:
            digest.update(hash_file(file).encode())
        # The other split too: what is measured belongs to what a run was.
        for view in self.scene.views:
            digest.update(f"{view.name} {_camera_text(view.camera)} {view.pose.tolist()}".encode())
            digest.update(_hash_image(view).encode())
            for mask in (view.mask, view.dynamic_mask):
                if mask:
                    digest.update(hash_file(mask).encode())
            if view.upright:
                digest.update(b"upright")
        return digest.hexdigest()


def _camera_text(camera: Camera) -> str:
    """What a camera adds to a fingerprint; it must stay as it is, or runs would not find their scenes again."""
    lens = "" if camera.lens == "perspective" else f", lens={camera.lens}, circle={camera.circle}"
    return (
        f"Camera(width={camera.width}, height={camera.height}, focal={camera.focal}, "
        f"centre={camera.center}, distortion={camera.distortion}{lens})"
    )


def _hash_image(view: View) -> str:
    if view.image:
        return hash_file(view.image)
    assert view.pixels is not None
    return hash_array(view.pixels)
