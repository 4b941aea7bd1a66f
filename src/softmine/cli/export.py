"""``softmine export``: what a finished run has learned, as a file for other programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from softmine.cli.console import PlainConsole
from softmine.cli.parse import parse
from softmine.cli.resume import trained
from softmine.errors import SoftmineError
from softmine.runs.interrupt import Interrupted, stop_if
from softmine.runs.progress import Progress
from softmine.runs.run_folder import RunFolder
from softmine.tasks import KINDS
from softmine.tasks.meshing import check_resolution, check_smallest, check_writable
from softmine.tasks.signal_task import ExportsMesh, ExportsRadiance
from softmine.training import devices

EXPORTS: dict[str, type[ExportsMesh] | type[ExportsRadiance]] = {
    "shape": ExportsMesh,
    "nerf": ExportsRadiance,
}
"""Kinds whose runs can be exported, and what their tasks can do for that."""


@dataclass(frozen=True)
class Export:
    """Write the surface that a run has learned as a mesh, in the units of the file it was trained on.

    Of a shape, or of a radiance field: there with colors, or as points that the photos see. Scenes without bounds are
    meshed in the unit ball around what the cameras look at; those in normalized device coordinates have points only. For
    images and films of a radiance field, see softmine render.
    """

    run: Annotated[Path, Positional, arg(metavar="RUN")]
    """A folder made by softmine fit shape or softmine fit nerf."""
    resolution: Annotated[int, arg(metavar="N")] = 256
    """Cells a side of the grid on which the field is evaluated."""
    level: Annotated[float | None, arg(metavar="D", help_behavior_hint="(default: half opaque a cell)")] = (
        None
    )
    """Density of a radiance field, per unit of its file, where its surface is."""
    smallest: Annotated[int, arg(metavar="N")] = 0
    """Leave out pieces of a radiance field's mesh that have fewer triangles, as specks in the air do."""
    points: Annotated[int | None, arg(metavar="N", help_behavior_hint="")] = None
    """Instead of a mesh of a radiance field, at most N points of what its photos see."""
    out: Annotated[
        Path | None, arg(metavar="FILE", help_behavior_hint="(default: mesh.ply or points.ply in RUN)")
    ] = None
    """The mesh; the end of its name says the format: ply, obj, glb or stl. Points: ply."""
    path: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """What the run was trained on, if it has moved since."""
    device: Annotated[str, arg(metavar="NAME")] = "auto"
    """Where to evaluate the field: auto, cpu, cuda (cuda:1 is the second GPU) or mps."""


def export_command(arguments: list[str], interrupted: Interrupted) -> int:
    """Runs ``softmine export`` and returns the exit code."""
    args = parse(Export, "softmine export", arguments)
    check_resolution(args.resolution)
    device = devices.choose(args.device)
    run = RunFolder.open(args.run)
    out = args.out or run.path / ("mesh.ply" if args.points is None else "points.ply")
    _check_file(args, out)
    kind = str(run.config.get("task"))
    if kind not in KINDS:
        raise SoftmineError(f"{run.path} is a run of '{kind}', which this version of softmine does not know")
    exports = EXPORTS.get(kind)
    if exports is None:
        raise SoftmineError(
            f"{run.path} is a run of softmine fit {kind}, which has no mesh to export; look into its images folder"
        )
    for flag, given in (("level", args.level), ("smallest", args.smallest or None), ("points", args.points)):
        if given is not None and exports is not ExportsRadiance:
            raise SoftmineError(f"--{flag} is for runs of softmine fit nerf, and {run.path} is one of {kind}")
    task, field = trained(run, args.path, device, interrupted)
    console = PlainConsole()
    progress = Progress(console, steps=None)
    doing = "meshing" if args.points is None else "looking for points"

    def report(share: float) -> None:
        stop_if(interrupted)
        progress.say(f"{doing} {share:.0%}")

    with progress:
        if not isinstance(task, ExportsRadiance):
            assert isinstance(task, ExportsMesh)
            wrote = task.export(field, out, device, args.resolution, report)
        elif args.points is not None:
            wrote = task.export_points(field, out, device, args.points, report)
        else:
            wrote = task.export(
                field, out, device, args.resolution, report, level=args.level, smallest=args.smallest
            )
    console.print(f"{out}: {wrote}")
    return 0


def _check_file(args: Export, out: Path) -> None:
    """Raises SoftmineError if the flags do not agree, or the file cannot be written."""
    check_smallest(args.smallest)
    if args.points is None:
        check_writable(out)
    elif args.level is not None or args.smallest:
        raise SoftmineError("--level and --smallest are for a mesh: leave them out beside --points")
    elif out.suffix.lower() != ".ply":
        raise SoftmineError(f"cannot write points to {out}: its name must end in ply")
    if args.out and out.exists():
        raise SoftmineError(f"{out} exists: give another --out, or delete it first")
    if not out.parent.is_dir():
        raise SoftmineError(f"cannot write {out}: there is no folder {out.parent}")
