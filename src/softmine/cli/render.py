"""``softmine render``: images and films of a radiance field that a run has learned."""

from __future__ import annotations

import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from softmine.cli.console import PlainConsole
from softmine.cli.parse import parse
from softmine.cli.resume import trained
from softmine.errors import SoftmineError
from softmine.formatting import clock
from softmine.runs import files
from softmine.runs.interrupt import Interrupted, stop_if
from softmine.runs.progress import Progress
from softmine.runs.run_folder import RunFolder
from softmine.training import devices

VIEWS = ("test", "train", "orbit", "spiral")
MOST_FRAMES, MOST_PIXELS = 100_000, 8192


@dataclass(frozen=True)
class Render:
    """Render what a run of softmine fit nerf has learned: its photos' views as PNG, or a flight as MP4.

    For a mesh or points, which other programs can open, see softmine export.
    """

    run: Annotated[Path, Positional, arg(metavar="RUN")]
    """A folder made by softmine fit nerf."""
    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: renders-VIEWS in RUN)")] = (
        None
    )
    """A new folder for what is rendered."""
    views: Annotated[str, arg(metavar="NAME")] = "test"
    """From where: test or train (the photos' places), orbit (around the scene) or spiral (before it)."""
    frames: Annotated[int, arg(metavar="N")] = 120
    """Frames of an orbit or spiral."""
    fps: Annotated[float, arg(metavar="N")] = 30.0
    """Frames a second."""
    width: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: the photos')")] = None
    """Pixels across; the height follows where it is not given."""
    height: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: the photos')")] = None
    """Pixels down."""
    depth: bool = False
    """Depths too: of photos as 16-bit PNG and in colors, of a flight as a film."""
    background: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: the run's)")] = None
    """What is seen through what is transparent: white or black."""
    lpips: bool = False
    """How far views are from their photos to a network's eye (LPIPS), into views.json; needs the extra softmine[lpips] and
    at first a download."""
    path: Annotated[Path | None, arg(metavar="PATH", help_behavior_hint="")] = None
    """The photos that the run was trained on, if they have moved since."""
    device: Annotated[str, arg(metavar="NAME")] = "auto"
    """Where to render: auto, cpu, cuda (cuda:1 is the second GPU) or mps."""


def render_command(arguments: list[str], interrupted: Interrupted) -> int:
    """Runs ``softmine render`` and returns the exit code."""
    args = parse(Render, "softmine render", arguments)
    _check(args)
    device = devices.choose(args.device)
    run = RunFolder.open(args.run)
    kind = run.config.get("task")
    if kind != "nerf":
        raise SoftmineError(
            f"{run.path} is a run of softmine fit {kind}, which has no views to render; look into its images folder"
        )
    out = files.resolved(args.out or run.path / f"renders-{args.views}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SoftmineError(f"{out} exists: give another --out, or delete it first")
    files.check_free(out)
    from softmine.radiance.renderer import Renderer
    from softmine.signals.libraries import require
    from softmine.tasks.nerf import evaluation as nerf_evaluation
    from softmine.tasks.nerf import task as nerf
    from softmine.tasks.nerf.render_files import Stage, write_flight, write_photos

    if args.views in ("orbit", "spiral"):
        require("av", "video", "or writing a video", f"cannot write a film of the {args.views}")
    task, field = trained(run, args.path, device, interrupted)
    assert isinstance(task, nerf.NerfTask)
    assert isinstance(field, Renderer)
    background = nerf.BACKGROUNDS[args.background] if args.background else task.background
    stage = Stage(field, task.scene, background, device, args.depth)
    lpips = None
    if args.lpips:
        photos = task.test if args.views == "test" else task.signal
        lpips = nerf_evaluation.lpips_to(photos, background, device)
    console = PlainConsole()
    progress = Progress(console, steps=None)
    started, told = time.monotonic(), 0

    def pause(share: float) -> None:
        nonlocal told
        stop_if(interrupted)
        passed = time.monotonic() - started
        left = f"  ETA {clock(passed * (1 - share) / share)}" if share > 0 else ""
        progress.say(f"rendering {share:.0%}{left}")
        if int(10 * share) > told:
            told = int(10 * share)
            progress.line(f"rendering {share:4.0%}{left}")

    wrote = ""

    def fill(folder: Path) -> None:
        nonlocal wrote
        size = (args.width, args.height)
        if args.views in ("orbit", "spiral"):
            rate = Fraction(args.fps).limit_denominator(1001)
            wrote = write_flight(stage, args.views, size, args.frames, rate, folder, pause)
        else:
            wrote = write_photos(stage, args.views, size, folder, pause, lpips)

    with progress:
        # All of it appears at once: an interruption leaves nothing.
        files.make_folder(out, fill)
    console.print(f"{out}: {wrote}")
    return 0


def _check(args: Render) -> None:
    """Raises SoftmineError if a flag is out of range."""
    if args.views not in VIEWS:
        raise SoftmineError(f"--views is {args.views}: choose one of {', '.join(VIEWS)}")
    if args.background not in (None, "white", "black"):
        raise SoftmineError(f"--background is {args.background}: choose white or black")
    if not 1 <= args.frames <= MOST_FRAMES:
        raise SoftmineError(f"--frames is {args.frames}: give a number from 1 to {MOST_FRAMES}")
    if not 0.1 <= args.fps <= 240:
        raise SoftmineError(f"--fps is {args.fps}: give a number from 0.1 to 240")
    if args.lpips and args.views not in ("test", "train"):
        raise SoftmineError(
            f"--lpips compares views with photos, and --views {args.views} has none: use test or train"
        )
    if args.lpips and (args.width or args.height):
        raise SoftmineError(
            "--lpips compares views with photos of their size: leave out --width and --height"
        )
    for name, value in (("width", args.width), ("height", args.height)):
        if value is not None and not 2 <= value <= MOST_PIXELS:
            raise SoftmineError(f"--{name} is {value}: give a number of pixels from 2 to {MOST_PIXELS}")
