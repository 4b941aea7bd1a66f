"""``softmine view``: a run in the browser, or a radiance field with the viewer beside its training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from torch import nn
from tyro.conf import Positional, arg

from softmine.cli.console import PlainConsole
from softmine.cli.fit import fit_command
from softmine.cli.flags import Host, Port, stem
from softmine.cli.parse import parse
from softmine.cli.resume import stored_task
from softmine.errors import SoftmineError
from softmine.radiance.photos import Photos
from softmine.radiance.renderer import Renderer
from softmine.runs.build import with_batch_size
from softmine.runs.fit import Prepared
from softmine.runs.interrupt import Interrupted, stop_if
from softmine.runs.run_folder import RunFolder
from softmine.runs.task import Task
from softmine.sampling import Sampler
from softmine.signals.libraries import require
from softmine.tasks import KINDS
from softmine.training import devices
from softmine.training.sampler import make_sampler
from softmine.training.settings import FitSettings
from softmine.viewing.follow import Follower, Watcher, watch
from softmine.viewing.image_view import ImageView
from softmine.viewing.live import Live, train_in_slices
from softmine.viewing.radiance_view import RadianceView
from softmine.viewing.requests import Requests
from softmine.viewing.server import Page, free_port
from softmine.viewing.view import View

VIEWABLE = ("nerf", "image")


@dataclass(frozen=True)
class ViewRun:
    """Look at a run in the browser: a radiance field from any side, or an image, its error and its samples.

    A run that is still being trained is followed. To train with the viewer beside it: softmine view nerf [PATH].
    """

    run: Annotated[Path, Positional, arg(metavar="RUN")]
    """A folder made by softmine fit nerf or softmine fit image."""
    port: Port = 8080
    host: Host = "127.0.0.1"
    path: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """What the run was trained on, if it has moved since."""
    device: Annotated[str, arg(metavar="NAME")] = "auto"
    """Where to render: auto, cpu, cuda (cuda:1 is the second GPU) or mps."""


def view_command(arguments: list[str], interrupted: Interrupted) -> int:
    """Runs ``softmine view`` and returns the exit code: that of the training, or 130, since only Ctrl-C ends it."""
    kind = arguments[0] if arguments else ""
    if kind in KINDS and not (Path(kind) / "config.json").exists():
        return _train(kind, arguments[1:], interrupted)
    args = parse(ViewRun, "softmine view", arguments)
    free_port(args.host, args.port)
    device = devices.choose(args.device)
    run = RunFolder.open(args.run)
    kind = str(run.config.get("task"))
    if kind not in VIEWABLE:
        what = KINDS[kind].name if kind in KINDS else f"'{kind}'"
        raise SoftmineError(
            f"{run.path} is a run on {what}, but softmine view shows those of softmine fit nerf and softmine fit image: "
            "look at its report.html"
        )
    _need_viser()
    task, settings = stored_task(run, args.path, interrupted)
    field = task.make_field(settings).to(device)
    modules: dict[str, nn.Module] = {"field": field}
    size = with_batch_size(settings, task).batch_size
    sampler = make_sampler(settings.sampler, task.signal, size, seed=settings.seed)
    if kind == "nerf":
        devices.move(task.signal, device)
        modules["sampler"] = sampler.to(device)
    follower = Follower(run, **modules)
    # A damaged checkpoint should not open a page.
    follower.check()
    stop_if(interrupted)
    with Page(args.host, args.port, "softmine", Requests()) as page:
        view: View
        if kind == "nerf":
            view = _radiance_view(page, task, settings, field, sampler)
        else:
            view = ImageView(page, field, task, device)
        _announce(page)
        watch(Watcher(page, view, follower), interrupted)
    stop_if(interrupted)
    return 0


def _train(kind: str, arguments: list[str], interrupted: Interrupted) -> int:
    if kind != "nerf":
        raise SoftmineError(
            f"softmine view trains radiance fields only (softmine view nerf PATH): for {KINDS[kind].name}, give the "
            "folder of a run"
        )

    @contextlib.contextmanager
    def beside(args: Any, run: RunFolder, prepared: Prepared) -> Iterator[None]:
        trainer = prepared.trainer
        with Page(args.host, args.port, "softmine", Requests()) as page:
            view = _radiance_view(page, prepared.task, prepared.settings, trainer.field, trainer.sampler)
            live = Live(page, view, trainer, run, interrupted)
            train_in_slices(trainer, live.between)
            _announce(page)
            yield
            live.close()
            if not interrupted():
                PlainConsole().print(f"trained; the page stays open until Ctrl-C: {page.url}")
                watch(Watcher(page, view, Follower(run, field=trainer.field)), interrupted)

    def check(args: Any) -> None:
        _need_viser()
        free_port(args.host, args.port)

    return fit_command(
        kind,
        arguments,
        interrupted,
        program=f"softmine view {kind}",
        more=(("port", Port, ViewRun.port), ("host", Host, ViewRun.host)),
        check=check,
        beside=beside,
    )


def _radiance_view(
    page: Page, task: Task, settings: FitSettings, field: nn.Module, sampler: Sampler
) -> RadianceView:
    assert isinstance(task.signal, Photos)
    assert isinstance(field, Renderer)
    snap = settings.snap and task.snaps
    return RadianceView(page, field, task.signal, sampler, stem(task), snap=snap)


def _need_viser() -> None:
    require("viser", "view", "a run in the browser", "softmine view")


def _announce(page: Page) -> None:
    console = PlainConsole()
    if page.moved_from is not None:
        console.print(f"port {page.moved_from} is taken, so this is {page.port}")
    console.print(f"viewer: {page.url}  (Ctrl-C ends it)")
