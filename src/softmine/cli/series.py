"""Studies of several comparisons, such as ``softmine study noise``: one after the other, then one table of all."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from softmine.cli.compare import for_signal, with_room
from softmine.cli.complain import complain
from softmine.cli.console import PlainConsole
from softmine.cli.flags import Flag, about, checked_settings, default_folder, folder, kind_command, read, stem
from softmine.cli.parse import parse
from softmine.cli.resume import same_signal
from softmine.cli.signal_line import print_signal
from softmine.errors import ArgumentError, SoftmineError
from softmine.registry import AUTO
from softmine.reports import write_compare_report
from softmine.runs import files
from softmine.runs.interrupt import INTERRUPTED, Interrupted, at_once, stop_if
from softmine.runs.run_folder import RunFolder
from softmine.runs.task import Task, batch_size_for
from softmine.signals.corruptions import COMMON, Corruption
from softmine.study.compare import compare, is_complete, new_results
from softmine.study.json_fields import written
from softmine.study.matrix import CompareSettings
from softmine.study.results import Comparison, SignalInfo
from softmine.study.series import FILE, Part, Series, equal_axis, read_series, with_lines
from softmine.study.series_table import markdown
from softmine.study.stored import check_machine, check_tuned, grown, read_results, stored_settings
from softmine.study.studies import SIZES, Study
from softmine.tasks import BUILTIN, KINDS, kind_of, module, plain
from softmine.tasks.image.crops import parse_size
from softmine.tasks.signal_task import parse_corruption
from softmine.training import devices

CLEAN = "clean"
TABLE = "table.md"


def series_command(name: str, study: Study, arguments: list[str], interrupted: Interrupted) -> int:
    """Runs a study of several comparisons and returns the exit code.

    Args:
        name: of the study.
        study: what it varies, and its settings.
        arguments: a kind of signal, where the study takes several and PATH does not tell, then flags and PATH.
        interrupted: whether a person wants to stop.
    """
    program = f"softmine study {name}"
    command = shlex.join([*program.split(), *arguments])
    given, words = (
        (arguments[0], arguments[1:]) if arguments[:1] and arguments[0] in KINDS else (None, arguments)
    )
    if given is not None and given not in study.kinds:
        raise SoftmineError(f"{program} takes {_nouns(study)}, not {KINDS[given].name}")
    resumed = _value(words, "--resume")
    old = read_series(files.resolved(Path(resumed))) if resumed else None
    if old and (old.study, old.task) != (name, given or old.task):
        raise SoftmineError(
            f"{resumed} is a study of {old.task} called {old.study}: resume it with softmine study {old.study}"
        )
    kind = old.task if old else given or _kind(study, words)
    made = _Command(name, study, kind, program, words, command, interrupted)
    return made.resume(files.resolved(Path(str(resumed))), old) if old else made.start()


@dataclass(frozen=True)
class _Command:
    """What a person typed.

    Attributes:
        name: of the study.
        study: what it varies, and its settings.
        kind: of signal.
        program: the words before flags and PATH.
        words: flags and PATH.
        command: all of it.
        interrupted: whether a person wants to stop.
    """

    name: str
    study: Study
    kind: str
    program: str
    words: list[str]
    command: str
    interrupted: Interrupted

    def start(self) -> int:
        """Begins a study."""
        settings = with_room(self.study.settings(self.kind), self.words)
        args = self.parse(settings)
        settings = checked_settings(args, CompareSettings)
        if args.out:
            files.check_free(args.out)
        options = self.options(args)
        if self.study.varies == "corrupt":
            # Before anything is read, which may take long.
            parts = _corruptions(self.kind, args.corrupt or (CLEAN, *COMMON[self.kind]))
            task = self.read(args.path, options)
        else:
            sizes = tuple(args.sizes)
            for size in sizes:
                parse_size(size, "sizes")
            task = self.read(args.path, options)
            parts = _crops(task, sizes)
        described = task.describe()
        series = Series(
            study=self.name,
            task=self.kind,
            signal=SignalInfo.parse(described),
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            command=self.command,
            settings=asdict(settings),
            options=plain(options),
            device=devices.describe(devices.choose(settings.device)),
            versions=devices.versions(),
            own_batch_sizes=self.gives("--batch-sizes"),
            axis=equal_axis(settings.seconds, settings.steps),
            parts=parts,
        )
        # What cannot be done is said before a folder is made.
        for_signal(self.settings_of(settings, task, series.own_batch_sizes), task)
        folder = files.resolved(args.out or default_folder("study", self.name, stem(task)))
        files.check_free(folder)
        made = files.make_folder(folder, lambda path: files.write_json(path / FILE, series.to_json()))
        try:
            return self.run(folder, series, settings, args.path)
        except BaseException:
            # Where nothing was trained, nothing is left.
            if not any(_has_runs(folder / part.folder) for part in parts):
                files.take_away(folder, (FILE, *(part.folder for part in parts)), made)
            raise

    def resume(self, folder: Path, old: Series) -> int:
        """Goes on with a study: what is finished stays, and flags may add samplers, batch sizes, seeds and parts."""
        try:
            values: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value for key, value in old.settings.items()
            }
            stored = CompareSettings(**values)
            stored.check()
            options = module(self.kind).Options(**old.options)
        except (TypeError, ValueError, AttributeError) as error:
            raise SoftmineError(
                f"{folder / FILE} was written by another version of softmine and cannot be resumed: {error}"
            ) from error
        args = self.parse(stored, plain(options))
        if args.out and args.out.resolve() != folder.resolve():
            raise SoftmineError("--resume continues in its own folder: leave out --out")
        if self.options(args) != options:
            raise SoftmineError(
                "a study that is resumed keeps the options of its signal: start a new one for others"
            )
        settings = grown(folder, stored, checked_settings(args, CompareSettings))
        path = args.path or old.signal.path or BUILTIN + old.signal.name
        if self.study.varies == "corrupt":
            more = _corruptions(self.kind, args.corrupt)
        else:
            more = _crops(self.read(path, options), args.sizes) if args.sizes else ()
        parts = {part.name: part for part in (*old.parts, *more)}
        series = replace(
            old,
            settings=asdict(settings),
            parts=tuple(parts.values()),
            own_batch_sizes=old.own_batch_sizes or self.gives("--batch-sizes"),
            resumed=(*old.resumed, self.command),
        )
        files.remove_leftovers(folder)
        return self.run(folder, series, settings, path)

    def run(self, folder: Path, series: Series, settings: CompareSettings, path: str | None) -> int:
        """Makes what is missing of every part, then prints the table of all."""
        console, done = PlainConsole(), True
        for number, part in enumerate(series.parts, 1):
            if self.interrupted():
                if not series.lines:
                    stop_if(self.interrupted)
                done = False
                break
            options = module(self.kind).Options(**{**series.options, **part.options})
            console.print(f"{number}/{len(series.parts)}  {part.name}: {part.text}")
            results = self.run_part(folder / part.folder, options, series, settings, path, console)
            series = with_lines(series, part, Comparison.parse(written(results)))
            _write(folder, series)
            if results["runs"]:
                console.print(f"report: {write_compare_report(folder / part.folder)}")
            if not results["complete"]:
                done = False
                break
        series = replace(series, complete=done)
        _write(folder, series)
        console.print("\n" + markdown(series))
        console.print(f"table: {folder / TABLE}")
        if not done:
            complain(f"interrupted; continue with {self.program} --resume {folder}")
            return INTERRUPTED
        diverged = sorted({line.sampler for line in series.lines if line.diverged})
        if diverged:
            complain(f"the loss diverged with {', '.join(diverged)}: lower --learning-rate")
        return 1 if diverged else 0

    def run_part(
        self,
        folder: Path,
        options: Any,
        series: Series,
        wanted: CompareSettings,
        path: str | None,
        console: PlainConsole,
    ) -> dict[str, Any]:
        """Makes the runs that one comparison misses, and returns its results."""
        if (folder / "results.json").exists():
            results = read_results(folder)
            before = stored_settings(folder, results, self.kind)
            with at_once(self.interrupted):
                task = same_signal(RunFolder(folder, results), self.kind, path, options, options)
            # Its batch sizes are its own, where nobody chose them.
            sizes = wanted.batch_sizes if series.own_batch_sizes else before.batch_sizes
            settings = grown(folder, before, for_signal(replace(wanted, batch_sizes=sizes), task))
            settings.check()
            check_tuned(folder, results, before, settings)
            if not is_complete(settings, results):
                check_machine(folder, results, settings)
                results.setdefault("resumed", []).append(
                    {"command": self.command, "versions": devices.versions()}
                )
            elif results["complete"]:
                return results
        else:
            task = self.read(path, options)
            settings = for_signal(self.settings_of(wanted, task, series.own_batch_sizes), task)
            results = new_results(task, settings, self.command, plain(options))
            files.make_folder(folder, lambda place: files.write_json(place / "results.json", results))
        print_signal(console, task, folder)
        return compare(folder, task, settings, results, console, self.interrupted)

    def settings_of(self, settings: CompareSettings, task: Task, own_batch_sizes: bool) -> CompareSettings:
        """Settings with the batch size that ``auto`` has for a signal, for all samplers, unless a person chose others."""
        return settings if own_batch_sizes else replace(settings, batch_sizes=(batch_size_for(task, AUTO),))

    def read(self, path: str | None, options: Any) -> Task:
        """The signal that a PATH names."""
        with at_once(self.interrupted):
            return read(self.kind, path, options)

    def options(self, args: Any) -> Any:
        """The options of the signal in all parts."""
        made = module(self.kind).Options
        names = [field.name for field in fields(made) if field.name != self.study.varies]
        return made(**{name: getattr(args, name) for name in names})

    def gives(self, flag: str) -> bool:
        """Whether a flag was typed."""
        return flag in {word.partition("=")[0].replace("_", "-") for word in self.words}

    def parse(self, settings: CompareSettings, options: dict[str, Any] | None = None) -> Any:
        """Flags and PATH, with settings as the flags' defaults."""
        noun = KINDS[self.kind].name
        varies = str(self.study.varies)
        text = (
            f"A study of {noun}: {self.study.text}. Every comparison is in a folder of its own; {FILE} and {TABLE} have "
            "the figures of all. All samplers have the batch size that auto has for the signal, unless --batch-sizes is given."
        )
        flags = kind_command(CompareSettings, self.kind, text, self.flags(), (varies,))
        shared = {name: value for name, value in (options or {}).items() if name != varies}
        return parse(flags, self.program, self.words, flags(**asdict(settings), **shared))

    def flags(self) -> Sequence[Flag]:
        """The flags that only studies take."""
        if self.study.varies == "corrupt":
            common = " ".join((CLEAN, *COMMON[self.kind]))
            own = (
                "corrupt",
                f"Corruptions to compare; {CLEAN} is the data as they are. By default: {common}.",
                "NAME=AMOUNT ...",
            )
        else:
            own = (
                "sizes",
                f"Sizes of the parts of the image's middle, in pixels a side or HEIGHTxWIDTH. By default those of {' '.join(SIZES)} "
                "that the image holds.",
                "SIZE ...",
            )
        name, words, value = own
        return (
            folder(
                "out", f"Folder for {FILE}, {TABLE} and the comparisons. Default: a new folder under runs/."
            ),
            folder("resume", "Folder of a study to resume: what is finished stays, and flags may add to it."),
            (name, Annotated[tuple[str, ...], about(words, value, "")], ()),
        )


def _corruptions(kind: str, words: Sequence[str]) -> tuple[Part, ...]:
    parts = []
    for word in words:
        if word == CLEAN:
            parts.append(Part(CLEAN, "the data as they are", {"corrupt": None}))
            continue
        corruption = parse_corruption(word, kind)
        assert isinstance(corruption, Corruption)
        parts.append(Part(str(corruption), corruption.text, {"corrupt": str(corruption)}))
    return tuple({part.name: part for part in parts}.values())


def _crops(task: Task, sizes: Sequence[str]) -> tuple[Part, ...]:
    rows, columns = task.signal.domain.shape
    parts: dict[str, Part] = {}
    for word in sizes or SIZES:
        height, width = parse_size(word, "sizes")
        if height > rows or width > columns:
            if not sizes:
                continue
            raise ArgumentError(
                "{sizes} names {word}, but {name} has only {rows} rows and {columns} columns of pixels",
                word=word,
                name=task.describe()["name"],
                rows=rows,
                columns=columns,
            )
        name = f"{height}x{width}"
        parts[name] = Part(name, f"the middle {height} rows and {width} columns", {"crop": name})
    if not parts:
        raise ArgumentError(
            "the image has only {rows} rows and {columns} columns of pixels, less than any size of this study: choose "
            "smaller ones with {sizes}",
            rows=rows,
            columns=columns,
        )
    return tuple(parts.values())


def _kind(study: Study, words: Sequence[str]) -> str:
    """The kind of signal that the PATH among words looks like, an image where it does not tell."""
    for before, word in pairwise(["", *words]):
        if word.startswith("-") or before in ("--out", "--resume"):
            continue
        if "nerf" in study.kinds and Path(word).is_dir():
            return "nerf"
        kind = kind_of(word)
        if kind in study.kinds:
            return str(kind)
    return "image"


def _value(words: Sequence[str], flag: str) -> str | None:
    """What follows a flag."""
    for word, after in pairwise([*words, ""]):
        if word == flag and after:
            return after
        if word.startswith(f"{flag}="):
            return word.partition("=")[2] or None
    return None


def _nouns(study: Study) -> str:
    return " or ".join(KINDS[kind].name for kind in study.kinds)


def _has_runs(folder: Path) -> bool:
    return (folder / "results.json").exists() and bool(read_results(folder)["runs"])


def _write(folder: Path, series: Series) -> None:
    files.write_json(folder / FILE, series.to_json())
    files.write_text(folder / TABLE, markdown(series))
