"""Fitting a radiance field to posed photos."""

from __future__ import annotations

import functools
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from softmine.checks import check_count, out_of_range
from softmine.errors import ArgumentError, SoftmineError
from softmine.formatting import several
from softmine.radiance.compositing import check_device
from softmine.radiance.field import field_for
from softmine.radiance.photos import Photos
from softmine.radiance.renderer import Renderer
from softmine.radiance.scenes import Scene, procedural, read_scene
from softmine.radiance.scenes.corruptions import corrupt_scene
from softmine.runs.images import write_image
from softmine.runs.task import Array, Output, Reconstruction, Report, mean_error, silent
from softmine.signals.corruptions import Corruption
from softmine.tasks import KINDS, builtin_name
from softmine.tasks.contact_sheet import contact_sheet
from softmine.tasks.grids import spread
from softmine.tasks.meshing import write_mesh, write_points
from softmine.tasks.nerf import evaluation
from softmine.tasks.nerf.export import surface, visible_points
from softmine.tasks.nerf.rendering import RenderedView, depth_colors, render_view
from softmine.tasks.nerf.scene_notes import lens_notes, mask_notes
from softmine.tasks.signal_task import SignalTask, parse_corruption
from softmine.training.settings import FieldSettings

DEFAULT = "still-life"
BACKGROUNDS = {"white": 1.0, "black": 0.0}
SHEET, TILE = 8, 400
SMALL_SHEET, SMALL_TILE = 4, 200
"""Test views on a contact sheet, and pixels of their longer side, for a run and for a comparison."""


@dataclass(frozen=True)
class Options:
    """What only radiance fields take.

    Attributes:
        downscale: averages the photos over so many pixels a side as they are read.
        background: what transparent photos are measured and shown before: ``white``, as published figures are, or ``black``.
        test_views: to measure on so many test views only, spread evenly; None for all.
        corrupt: how to make the training views dirty, as ``patches=0.05``; None to leave them clean.
        images: the folder of the photos, where the scene's files lead out of its own; None where they do not. It is kept as
            an absolute path.
    """

    downscale: int = 1
    background: str = "white"
    test_views: int | None = None
    corrupt: str | None = None
    images: str | None = None

    def __post_init__(self) -> None:
        if self.images is not None:
            object.__setattr__(self, "images", os.path.abspath(self.images))  # noqa: PTH100  (links are kept)


def read(path: str | None, options: Options, report: Report = silent) -> NerfTask:
    """The scene that a PATH names: a folder or file, or the built-in one for None or ``builtin:still-life``.

    Raises:
        SoftmineError: it cannot be read.
    """
    if options.background not in BACKGROUNDS:
        raise out_of_range("background", options.background, "choose white or black")
    if options.test_views is not None:
        check_count("test_views", options.test_views)
    del report
    corruption = parse_corruption(options.corrupt, "nerf")
    name = builtin_name(path, DEFAULT)
    if name is None:
        scene = read_scene(str(path), options.downscale, options.images)
    elif name != DEFAULT:
        raise SoftmineError(f"there is no built-in scene '{name}'; try {DEFAULT}")
    elif options.downscale != 1 or options.images is not None:
        raise ArgumentError("{downscale} and {images} are for photos from files: give a PATH")
    else:
        scene = procedural()
    return NerfTask(_with_test_views(scene, options.test_views), options.background, corruption)


def _with_test_views(scene: Scene, count: int | None) -> Scene:
    """The scene with ``count`` of its test views, spread evenly; with all of them for None or where it has no more."""
    found = [view for view in scene.views if view.split == "test"]
    if count is None or count >= len(found):
        return scene
    kept = tuple(found[index] for index in spread(len(found), count))
    views = tuple(view for view in scene.views if view.split != "test") + kept
    return replace(
        scene, views=views, notes=(*scene.notes, f"measured on {count} of {several(len(found), 'test view')}")
    )


@dataclass(frozen=True, kw_only=True)
class Views(Reconstruction):
    """A contact sheet of test views, and what was measured of all of them.

    Attributes:
        shots: what is on the sheet, in full size: number of the view and its image.
        quality: of every test view; empty in comparisons.
        depth: the sheet's depths as colors, (h, w, 3).
    """

    shots: list[tuple[int, RenderedView]]
    quality: list[evaluation.ViewQuality]
    depth: Array


class NerfTask(SignalTask[Photos]):
    """A scene whose radiance field is to be fitted (see ``runs/task.py``).

    Trained on rays through the pixels of the training views, measured on the test views.
    """

    kind = "nerf"
    unit = "pixels"
    batch_size = KINDS["nerf"].batch_size

    def __init__(self, scene: Scene, background: str = "white", corruption: Corruption | None = None) -> None:
        # Test views, on which quality is measured, stay clean.
        super().__init__(Photos(corrupt_scene(scene, corruption) if corruption else scene, "train"))
        self.scene, self.corruption = scene, corruption
        self.background = BACKGROUNDS[background]

    @functools.cached_property
    def test(self) -> Photos:
        """The test views, which stay on the CPU."""
        return Photos(self.scene, "test")

    @functools.cached_property
    def notes(self) -> tuple[str, ...]:
        """What a user may want to know of the scene and of how its photos were read, one sentence each."""
        lenses = lens_notes(view.camera for view in self.scene.views)
        return (
            *([self.scene.divided] if self.scene.divided else []),
            *self.scene.notes,
            *lenses,
            *mask_notes((self.signal, self.test)),
            *self.signal.notes,
            *self.test.notes,
        )

    def size(self) -> str:
        """As in ``100 views of 200 x 200 RGBA, 200 to test on``; what else one may want to know of the scene follows."""
        count, height, width = self.signal.domain.shape
        words = f"{count} views of {width} x {height} {'RGBA' if self.signal.channels == 4 else 'RGB'}"
        return "; ".join([f"{words}, {len(self.scene.split('test'))} to test on", *self.notes]) + self.dirt

    def describe(self) -> dict[str, Any]:
        """What a run must remember of its scene; ``centre`` and ``scale`` lead from the file's world to the scene's."""
        scene = self.scene
        return super().describe() | {
            "dtype": "uint8",
            "value_range": [0.0, 255.0],
            "measured": {
                "cells": self.test.domain.valid,
                "unit": f"pixels of {several(len(self.test.views), 'test view')}",
            },
            "bounds": scene.bounds.kind,
            "centre": list(scene.center),
            "scale": scene.scale,
            "notes": list(self.notes),
        }

    def make_field(self, settings: FieldSettings) -> Renderer:
        """An untrained radiance field, whose cells and steps are about as fine as the photos' pixels.

        Raises:
            SoftmineError: another field than a hash grid is chosen.
        """
        if settings.field != "hashgrid":
            raise ArgumentError(
                "{field} is {given}, but a radiance field is learned by hashgrid alone", given=settings.field
            )
        across = pixels_across(self.scene)
        radiance = field_for(
            self.scene.bounds,
            log2_table_size=settings.log2_table_size,
            finest_resolution=2 ** round(math.log2(min(max(2 * across, 128), 2048))),
            steps=round(min(max(1.25 * across, 128), 1024)),
        )
        return Renderer(radiance, self.signal)

    def make_evaluator(self, device: torch.device) -> evaluation.NerfEvaluator:
        """PSNR on the test views.

        Raises:
            SoftmineError: the device cannot render.
        """
        check_device(device)
        return evaluation.NerfEvaluator(self.test, device, self.background)

    def reconstruct(
        self, field: nn.Module, device: torch.device, *, small: bool = False, report: Report = silent
    ) -> Views:
        """Test views beside their photos; unless ``small``, all are rendered and measured, and some of them shown."""
        assert isinstance(field, Renderer)
        test, count = self.test, len(self.test.views)
        chosen = spread(count, SMALL_SHEET if small else SHEET)
        longest = max(test.domain.shape[1:])
        step = max(1, -(-longest // (SMALL_TILE if small else TILE)))
        shots, quality = [], []
        values, targets, errors, depths = [], [], [], []
        wanted = chosen if small else range(count)
        for done, index in enumerate(wanted):
            stride = step if small else 1
            view = test.views[index]
            shot = render_view(
                field, self.scene, view.camera, view.pose,
                background=self.background, device=device, stride=stride,
            )  # fmt: skip
            target, valid = evaluation.photo(test, index, self.background, stride)
            if not small:
                quality.append(evaluation.measure_view(view.name, shot.color, target, valid))
            if index in chosen:
                shots.append((index, shot))
                part = slice(None) if small else slice(step // 2, None, step)
                values.append(shot.color[part, part])
                targets.append(target[part, part])
                error = mean_error(values[-1], targets[-1])
                errors.append(error if valid is None else np.where(valid[part, part], error, np.nan))
                depths.append(shot.depth[part, part])
            report((done + 1) / len(wanted))
        names = ", ".join(test.views[index].name for index in chosen)
        note = f"test views {names}" + (f", at 1/{step} of their size" if step > 1 else "")
        return Views(
            contact_sheet(values),
            contact_sheet(targets),
            contact_sheet(errors, fill=0.0),
            None if small else evaluation.over_all(quality),
            note,
            shots=shots,
            quality=quality,
            depth=contact_sheet(depth_colors(depths)),
        )

    def write_output(
        self,
        field: nn.Module,
        result: Reconstruction,
        folder: Path,
        device: torch.device,
        report: Report = silent,
    ) -> list[Output]:
        """Rendered test views, eight at most, the depths of the sheet, and what was measured of every view."""
        del field, device, report
        if not isinstance(result, Views) or not result.quality:
            return []
        write_image(result.depth, folder / "depth.png")
        outputs = [Output("depth.png", "depth of the test views shown, near to far from yellow to blue")]
        for index, shot in result.shots:
            write_image(shot.color, folder / f"test_{index:03d}.png")
            view = result.quality[index]
            outputs.append(Output(f"test_{index:03d}.png", f"test view {view.name}, PSNR {view.psnr:.2f} dB"))
        evaluation.write_views(result.quality, self.background, folder / "test_views.json")
        worst = min(result.quality, key=lambda view: view.psnr)
        ssim = evaluation.mean_ssim(result.quality)
        label = f"each test view in numbers: PSNR {evaluation.mean_psnr(result.quality):.2f} dB on average"
        label += f" ({worst.psnr:.2f} dB in the worst, {worst.name})"
        label += "" if ssim is None else f", SSIM {ssim:.4f}"
        return [*outputs, Output("test_views.json", label)]

    def export(
        self,
        field: nn.Module,
        path: Path,
        device: torch.device,
        resolution: int,
        report: Report = silent,
        *,
        level: float | None = None,
        smallest: int = 0,
    ) -> str:
        """Writes the surface where the field's density is ``level``, with colors, to ``path``; says what it wrote."""
        assert isinstance(field, Renderer)
        vertices, faces, colors, level = surface(
            field, self.scene, device, resolution, level=level, smallest=smallest, report=report
        )
        write_mesh(path, vertices, faces, colors)
        where = ", of the unit ball around what the cameras look at" if field.field.contracts else ""
        where += ", without colors, for which STL has no place" if path.suffix.lower() == ".stl" else ""
        return (
            f"{len(vertices):,} vertices and {len(faces):,} triangles where the density is {level:.3g}{where}"
        )

    def export_points(
        self, field: nn.Module, path: Path, device: torch.device, count: int, report: Report = silent
    ) -> str:
        """Writes at most ``count`` points of what the training views see, with colors, as PLY; says what it wrote."""
        assert isinstance(field, Renderer)
        points, colors = visible_points(field, self.signal, device, count, report)
        write_points(path, points, colors)
        frame = " (right, up and back of the mean camera, from where it stands)" if self.scene.ndc else ""
        return f"{len(points):,} points{frame}"


def pixels_across(scene: Scene) -> float:
    """How many of a photo's pixels the field's cube is wide, seen from where the cameras stand (the median of them)."""
    views, bounds = scene.split("train"), scene.bounds
    side = max(high - low for low, high in zip(bounds.low, bounds.high, strict=True))
    if bounds.kind == "ndc":
        # What a camera sees is 2 wide.
        return float(np.median([view.camera.width for view in views])) * side / 2
    if bounds.kind == "unbounded":
        # All of space is drawn into a ball of twice the size.
        side *= 2
    center = (np.array(bounds.low) + np.array(bounds.high)) / 2
    distances = [float(np.linalg.norm(view.pose[:, 3] - center)) for view in views]
    return side * float(
        np.median([view.camera.focal[0] / max(d, 1e-3) for view, d in zip(views, distances, strict=True)])
    )
