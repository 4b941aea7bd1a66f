"""The page of a radiance field: its image, the training cameras, and where the rays go."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from softmine.radiance.cameras import focus
from softmine.radiance.photos import Photos
from softmine.radiance.renderer import Renderer
from softmine.runs.checkpoint import Snapshot
from softmine.sampling import Sampler
from softmine.viewing.browser_camera import BrowserCamera, browser_camera_of, point, upward
from softmine.viewing.frames import Frame, Rgb, Style, render
from softmine.viewing.ray_map import RayMap, TooManyProbes, draw_batches
from softmine.viewing.server import Page
from softmine.viewing.view import View

MOST_CAMERAS = 200
"""Cameras that are drawn; of more, evenly spread ones."""
CAMERA_SIZE = 0.06
"""Of a camera on the page, over its distance from what it looks at."""
PHOTO_SIDE = 128
PANEL_SIDE = 480
MODES = ("photo", "rays over photo", "rays")
TRAIN_COLOR, CHOSEN_COLOR = (60, 66, 76), (230, 120, 20)


class RadianceView(View):
    """Builds the panel and the cameras, and paints what the field shows.

    Args:
        page: where all this appears.
        field: renders; on any device.
        photos: the training views.
        sampler: whose rays are shown.
        name: of the scene.
        snap: whether rays are trained at pixel centers.
    """

    def __init__(
        self,
        page: Page,
        field: Renderer,
        photos: Photos,
        sampler: Sampler,
        name: str,
        *,
        snap: bool,
    ) -> None:
        super().__init__(page, name, "test PSNR")
        self.field, self.photos, self.sampler, self.snap = field, photos, sampler, snap
        self.ray_map = RayMap(photos)
        self.ready = False
        self._heat_due = False
        self._lock = threading.Lock()
        gui, resolution = page.gui, page.requests.resolution
        with gui.add_folder("Image"):
            self._kind = gui.add_dropdown("show", ("color", "depth"))
            self._resolution = gui.add_slider("resolution", 64, 1536, 32, resolution)
            transparent = photos.channels == 4
            self._background = gui.add_slider(
                "background",
                0.0,
                1.0,
                0.05,
                1.0 if transparent else 0.5,
                disabled=not transparent,
                hint="gray behind what is transparent; photos have nothing transparent",
            )
        with gui.add_folder("Training views"):
            self._mode = gui.add_dropdown("show", MODES, initial_value=MODES[1])
            self._number = gui.add_slider(
                "view", 0, max(1, len(photos.views) - 1), 1, 0, disabled=len(photos.views) == 1
            )
            self._image = gui.add_image(self._drawn(self._chosen, PANEL_SIDE), format="jpeg", jpeg_quality=90)
            self._words = gui.add_markdown("")
            self._here = gui.add_button("look from here")
            self._cameras = gui.add_checkbox("cameras in space", initial_value=True)
        self._entered = 0
        self._frustums = self._add_frustums()
        self._show_cameras()
        self._react()
        self._show_view()
        poses = [view.pose for view in photos.views]
        page.start_at(self._look(0), point(focus(poses)), upward(poses))

    def paint(self, look: BrowserCamera, side: int, stop: Callable[[], bool]) -> Frame | None:
        """What the field shows; a blank image while nothing is trained."""
        if not self.ready:
            width, height = look.size(side)
            return Frame(np.full((height, width, 3), round(255 * self._background.value), np.uint8))
        style = Style(
            background=float(self._background.value),
            depth=self._kind.value == "depth",
            occlude=self._cameras.value,
        )
        device = next(self.field.parameters()).device
        return render(self.field, self.photos.scene, look, side, style, device=device, stop=stop)

    def renew(self, snapshot: Snapshot | None = None) -> None:
        """Notes that the field has changed; the rays are drawn anew when there is time."""
        del snapshot
        self.ready, self._heat_due = True, True

    def idle(self) -> bool:
        """Draws rays from the sampler, if that is due; says whether it was."""
        if not self._heat_due:
            return False
        self._heat_due = False
        try:
            batches = draw_batches(
                self.sampler,
                self.field,
                self.photos,
                snap=self.snap,
                stop=lambda: self.page.requests.closed,
            )
        except TooManyProbes:
            self._words.content = "This sampler looks at too many rays before it chooses to be asked here."
            return True
        with self._lock:
            self.ray_map.fade()
            for coords in batches:
                self.ray_map.add(coords)
        self._show_view()
        if self._mode.value != MODES[0]:
            self._show_frustums()
        return True

    def _react(self) -> None:
        requests = self.page.requests

        def restyle(_: Any) -> None:
            requests.resolution = int(self._resolution.value)
            requests.restyle()

        for handle in (self._kind, self._resolution, self._background):
            handle.on_update(restyle)

        @self._cameras.on_update
        def _(_: Any) -> None:
            self._show_cameras()
            requests.restyle()

        @self._mode.on_update
        def _(_: Any) -> None:
            self._show_view()
            self._show_frustums()

        self._number.on_update(lambda _: self._show_view())
        self._here.on_click(lambda event: self._go(event.client_id, self._chosen))

    @property
    def _chosen(self) -> int:
        return min(int(self._number.value), len(self.photos.views) - 1)

    def _look(self, view: int) -> BrowserCamera:
        return browser_camera_of(self.photos.views[view].camera, self.photos.views[view].pose)

    def _add_frustums(self) -> dict[int, Any]:
        views = self.photos.views
        step = -(-len(views) // MOST_CAMERAS)
        middle = focus([view.pose for view in views])
        scale = CAMERA_SIZE * float(np.median([np.linalg.norm(view.pose[:, 3] - middle) for view in views]))
        handles = {}
        for index in range(0, len(views), step):
            look = self._look(index)
            handles[index] = self.page.scene.add_camera_frustum(
                f"/cameras/{index:04d}",
                look.fov,
                look.aspect,
                scale=scale,
                color=TRAIN_COLOR,
                image=self._drawn(index, PHOTO_SIDE),
                format="jpeg",
                wxyz=look.wxyz,
                position=look.position,
            )
            handles[index].on_click(lambda event, index=index: self._click(event, index))
        return handles

    def _click(self, event: Any, index: int) -> None:
        self._number.value = index
        self._go(event.client_id, index)

    def _go(self, client: int | None, view: int) -> None:
        """Moves a browser to a training view, whose own photo must not be in the way then."""
        self._entered = view
        self._show_cameras()
        self.page.move(client, self._look(view))

    def _show_cameras(self) -> None:
        for index, handle in self._frustums.items():
            handle.visible = self._cameras.value and index != self._entered

    def _show_frustums(self) -> None:
        for index, handle in self._frustums.items():
            handle.image = self._drawn(index, PHOTO_SIDE)

    def _drawn(self, view: int, side: int) -> Rgb:
        mode = self._mode.value if self.ray_map.rays else MODES[0]
        with self._lock:
            return self.ray_map.image(view, side, mode)

    def _show_view(self) -> None:
        view = self._chosen
        self._image.image = self._drawn(self._chosen, PANEL_SIDE)
        name = self.photos.views[view].name
        words = f"`{name}`"
        if self.ray_map.rays:
            words += f", {self.ray_map.share(view):.2f} x its even share of rays"
        self._words.content = words
        for index, handle in self._frustums.items():
            handle.color = CHOSEN_COLOR if index == view else TRAIN_COLOR
