"""Damages small files of every kind that softmine reads, some 20,000 times, and looks at what becomes of that.

    python benchmarks/fuzz.py --seed 0

Right is: the file is read, or refused in one sentence. Wrong is: another exception, a process that ends, more than 10 s, more
than 1 GiB of memory or of address space, memory that ran out, and a file outside of the input's folder that is opened, written
or left behind. Inputs are made from the seed and their number alone, so ``--only N --keep DIR`` makes one of them again.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import faulthandler
import io
import json
import multiprocessing
import multiprocessing.connection
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path.insert(0, str(TESTS))

import mutations  # noqa: E402
import small_files  # noqa: E402
from softmine.errors import SoftmineError  # noqa: E402

SECONDS = 10
BYTES = 2**30
FREE = (
    sys.prefix,
    sys.base_prefix,
    "/usr",
    "/lib",
    "/proc/self",
    "/dev/null",
    "/sys",
    "/etc/localtime",
    "/etc/ld.so.cache",
)
"""What Python and libraries read of their own."""


OF_KERNELS = ("numba", "copyreg", "numpy", "llvmlite")
"""Modules that numba's own files of compiled kernels name."""


class Finding(Exception):
    """Something that no input may do."""


@dataclass
class Sample:
    """A file that is damaged, and what reads it.

    Attributes:
        reader: the line of the table that it counts in.
        folder: all that belongs to it.
        file: what of that is damaged.
        mutate: how.
        read: given the folder, reads it.
        written: whether reading writes into the folder, which is then made anew each time.
    """

    reader: str
    folder: Path
    file: str
    mutate: mutations.Mutation
    read: Callable[[Path], Any]
    written: bool = False


# What is read.


def read_image(path: Path) -> None:
    """As ``softmine fit image`` does."""
    from softmine.signals.image import Image

    Image.read(path).preview(16)


def read_volume(path: Path) -> None:
    """As ``softmine fit volume`` does."""
    from softmine.signals.volume import Volume

    Volume.read(path)


def read_audio(path: Path) -> None:
    """As ``softmine fit audio`` does."""
    from softmine.signals.audio import Audio

    Audio.read(path)


def read_video(path: Path) -> None:
    """As ``softmine fit video`` does."""
    from softmine.signals.video import Video

    Video.read(path)


def read_shape(path: Path) -> None:
    """As ``softmine fit shape`` does."""
    from softmine.signals.shape import Shape

    Shape.read(path)


def read_scene(path: Path) -> None:
    """As ``softmine fit nerf`` does."""
    from softmine.radiance.photos import Photos
    from softmine.radiance.scenes import read_scene

    scene = read_scene(path)
    Photos(scene), Photos(scene, "test")


def command(folder: Path, words: tuple[str, ...]) -> None:
    """Runs the command line; RUN stands for the folder."""
    from softmine.cli.main import main

    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        code = main([word.replace("RUN", str(folder)) for word in words])
    lines = [line for line in error.getvalue().splitlines() if "compiling kernels" not in line]
    page = folder / "report.html"
    if page.exists() and any(each in page.read_text("utf-8") for each in ("<script>alert", "<img src=x")):
        raise Finding("the page holds markup of a name")
    if code == 0:
        return
    if code not in (1, 2) or len(lines) != 1 or not lines[0].startswith("softmine: "):
        raise Finding(f"exit code {code}, and said {lines}")
    if code == 2:
        raise SoftmineError(lines[0])


# The inputs.


def samples(folder: Path) -> list[Sample]:
    """Everything that is damaged; writes it into a folder."""
    found: list[Sample] = []
    groups: list[tuple[str, Callable[[Path], list[Path]], Callable[[Path], None]]] = [
        ("image", small_files.images, read_image),
        ("volume", small_files.volumes, read_volume),
        ("audio", small_files.clips, read_audio),
        ("video", small_files.videos, read_video),
        ("shape", small_files.meshes, read_shape),
    ]
    for name, write, read in groups:
        place = folder / name
        place.mkdir()
        for path in write(place):
            kind = "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
            if path.suffix == ".bin":
                continue
            own = folder / f"{name}-{path.name}"
            own.mkdir()
            shutil.copy(path, own)
            if path.name == "apart.gltf":
                shutil.copy(place / "buffer.bin", own)
            found.append(
                Sample(
                    f"{name} {kind[1:]}",
                    own,
                    path.name,
                    mutations.for_name(path.name),
                    partial(_file, read, path.name),
                )
            )
    stack = small_files.slices(folder / "slices")
    for file in sorted(stack.iterdir()):
        found.append(Sample("volume folder", stack, file.name, mutations.for_name(file.name), read_volume))
    (folder / "scenes").mkdir()
    for name, files in small_files.scenes(folder / "scenes").items():
        for file in files:
            inside = file.relative_to(folder / "scenes" / name).as_posix()
            found.append(
                Sample(
                    f"scene {name}", folder / "scenes" / name, inside, mutations.for_name(inside), read_scene
                )
            )
    return [*found, *_runs(folder)]


def _file(read: Callable[[Path], None], name: str, folder: Path) -> None:
    read(folder / name)


def _runs(folder: Path) -> list[Sample]:
    from softmine.cli.main import main
    from softmine.tasks.shape import task

    task.VIEW_CELLS = 16  # else half a minute goes into images of noise
    tiny = ["--log2-table-size", "4", "--batch-size", "64", "--steps", "2", "--evaluations", "1"]
    made = {
        "run image": ["fit", "image", folder / "image" / "rgba.png", *tiny],
        "run shape": ["fit", "shape", folder / "shape" / "cube.obj", *tiny],
        "run nerf": ["fit", "nerf", folder / "scenes" / "blender", *tiny],
        "comparison": [
            "compare",
            "image",
            folder / "image" / "rgba.png",
            "--samplers",
            "uniform",
            "auto",
            "--seeds",
            "1",
        ],
    }
    made["comparison"] += ["--log2-table-size", "4", "--batch-sizes", "64", "--steps", "2"]
    with contextlib.redirect_stdout(io.StringIO()):
        for name, words in made.items():
            code = main([str(word) for word in (*words, "--out", folder / name)])
            assert code == 0, name
    for unused in ("mesh.ply", "report.html"):
        for path in folder.glob(f"run */**/{unused}"):
            path.unlink()
    reads = [
        ("report", "run image", ("report", "RUN"), ("config.json", "metrics.jsonl", "status.json", "images/images.json", "png")),
        ("report", "run nerf", ("report", "RUN"), ("config.json", "metrics.jsonl")),
        ("report", "comparison", ("report", "RUN"), ("results.json", "results.json", "png")),
        ("resume fit", "run image", ("fit", "image", "--resume", "RUN", "--steps", "3"), ("config.json", "metrics.jsonl", "safetensors")),
        ("resume compare", "comparison", ("compare", "image", "--resume", "RUN"), ("results.json",)),
        ("render", "run nerf", ("render", "RUN", "--width", "8"), ("config.json", "safetensors")),
        ("export", "run shape", ("export", "RUN", "--resolution", "8"), ("config.json", "safetensors")),
    ]  # fmt: skip
    found = []
    for reader, name, words, files in reads:
        for file in files:
            chosen = (
                sorted((folder / name).rglob(f"*.{file}"))[-1:] if "." not in file else [folder / name / file]
            )
            for path in chosen:
                inside = path.relative_to(folder / name).as_posix()
                read = partial(command, words=words)
                found.append(
                    Sample(reader, folder / name, inside, mutations.for_name(inside), read, written=True)
                )
    return found


SHARES = {
    "image": 30, "volume": 18, "audio": 16, "video": 6, "shape": 12, "scene": 12, "report": 1.8, "resume fit": 0.7,
    "resume compare": 0.5, "render": 1, "export": 1,
}  # fmt: skip
"""Of the inputs, by the beginning of their reader."""


def chosen(found: list[Sample], number: int, seed: int) -> tuple[Sample, Random]:
    """The sample of an input, and the random numbers that damage it."""
    random = Random(f"{seed} {number}")
    share = random.choices([*SHARES], [*SHARES.values()])[0]
    fitting = [each for each in found if each.reader.startswith(share)]
    return random.choice(fitting), random


# A process that reads.


class Guard:
    """Notes what is opened, written, started or loaded besides what an input may."""

    def __init__(self) -> None:
        self.folder, self.found, self.reads_named = "", list[str](), False
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Called by Python before it does something."""
        if not self.folder:
            return
        if event == "pickle.find_class" and (
            str(arguments[0]).startswith(OF_KERNELS) or arguments == ("builtins", "object")
        ):
            return
        if event in (
            "subprocess.Popen",
            "os.system",
            "os.exec",
            "os.posix_spawn",
            "os.fork",
            "pickle.find_class",
        ) or (event.startswith("socket.") and event not in ("socket.__new__", "socket.gethostname")):
            self.found.append(f"{event} {arguments!s:.100}")
        if event in (
            "open",
            "os.listdir",
            "os.scandir",
            "os.remove",
            "os.rename",
            "os.mkdir",
            "os.symlink",
            "os.rmdir",
        ):
            for path in arguments[:2] if event == "os.rename" else arguments[:1]:
                if isinstance(path, str | bytes | os.PathLike):
                    mode = arguments[1:3] if event == "open" else (event, 0)
                    self._path(os.fsdecode(path), mode)

    def _path(self, path: str, mode: tuple[Any, ...]) -> None:
        path = os.path.realpath(path)
        if path.startswith((self.folder + os.sep, *self._own())) or path == self.folder:
            return
        writes = mode[0] not in ("r", "rb", None, "os.listdir", "os.scandir") or (
            mode[0] is None and mode[1] & (os.O_WRONLY | os.O_RDWR)
        )
        if path != os.devnull and (writes or not (self.reads_named or path.startswith(FREE))):
            self.found.append(f"{'wrote' if writes else 'read'} {path} {mode}")

    @staticmethod
    def _own() -> tuple[str, ...]:
        source = str(TESTS.parent / "src")
        # Compiled kernels lie beside their source or in numba's folder; temporary files in their own.
        return (
            source,
            str(TESTS),
            os.environ["TMPDIR"],
            str(Path.home() / ".cache"),
        )


class Memory(NamedTuple):
    """Of a process, in bytes.

    Attributes:
        resident: now.
        most_resident: at most since ``forget``.
        addresses: address space now.
        most_addresses: at most since the process began.
    """

    resident: int
    most_resident: int
    addresses: int
    most_addresses: int

    @classmethod
    def now(cls) -> Memory:
        """As it is."""
        text = Path("/proc/self/status").read_text()
        values = dict(line.split(":", 1) for line in text.splitlines())
        return cls(*(int(values[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM", "VmSize", "VmPeak")))

    @staticmethod
    def forget() -> None:
        """Begins to look for the most anew."""
        Path("/proc/self/clear_refs").write_text("5")


def work(found: list[Sample], numbers: list[int], seed: int, pipe: Any, log: Path, keep: Path | None) -> None:
    """Reads inputs one after another, in a process of its own, and sends what became of each."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends the process, whatever it does
    with log.open("w") as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
    traces = (log.with_suffix(".traces")).open("w")
    faulthandler.enable(traces)
    folder = Path(tempfile.mkdtemp(prefix="input-"))
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder.parent / "temporary")
    Path(tempfile.tempdir).mkdir(exist_ok=True)
    os.chdir(folder)
    guard = Guard()
    # What runs out of memory should not take the machine with it.
    most = Memory.now().addresses + 4 * BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    places: dict[Path, Path] = {}
    for number in numbers:
        sample, random = chosen(found, number, seed)
        place = places.get(sample.folder)
        if place is None or sample.written:
            place = places[sample.folder] = folder / sample.folder.name / "input"
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(sample.folder, place)
        content = (sample.folder / sample.file).read_bytes()
        damaged = sample.mutate(content, random)
        (place / sample.file).write_bytes(damaged)
        if keep:
            shutil.copytree(place, keep / str(number))
        pipe.send((number, None))
        before, told = set(_listing(place)), log.stat().st_size
        Memory.forget()
        memory, started = Memory.now(), time.monotonic()
        faulthandler.dump_traceback_later(SECONDS - 1, file=traces)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        # Runs name the file that they learn.
        guard.folder, guard.reads_named = str(place.resolve()), sample.written
        outcome, what = _outcome(sample, place)
        guard.folder = ""
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        after, seconds = Memory.now(), time.monotonic() - started
        used = after.most_resident - memory.resident
        # Addresses have no peak of their own; those of an earlier input were seen then.
        reserved = (
            after.most_addresses - memory.addresses if after.most_addresses > memory.most_addresses else 0
        )
        if guard.found and outcome in ("refused", "read"):
            outcome, what = "outside", "; ".join(guard.found[:3])
        guard.found.clear()
        if log.stat().st_size > told and outcome in ("refused", "read"):
            outcome, what = "noise", log.read_bytes()[told:].decode(errors="replace")[-300:]
        left = set(_listing(place)) - before
        if left and not sample.written:
            outcome, what = "left behind", ", ".join(sorted(left))
        if max(used, reserved) > BYTES and outcome in ("refused", "read"):
            outcome, what = (
                "memory",
                f"{used / 2**20:.0f} MiB used, {reserved / 2**20:.0f} MiB reserved: {what}",
            )
        pipe.send((number, (outcome, what, used, seconds)))
        if not sample.written:
            (place / sample.file).write_bytes(content)
    pipe.send((None, None))


def _outcome(sample: Sample, place: Path) -> tuple[str, str]:
    try:
        sample.read(place)
    except SoftmineError as error:
        ran_out = _memory_error(error)
        said = str(error)
        if ran_out:
            return "memory", f"{ran_out!r}: {said}"
        return (
            ("refused", said)
            if said.strip() and len(said) < 12_000
            else ("traceback", f"says {said[:200]!r}")
        )
    except Finding as error:
        return "traceback", str(error)
    except Exception as error:
        lines = traceback.format_exception(error)
        return "memory" if _memory_error(error) else "traceback", "".join(lines)[-3000:]
    return "read", ""


def _memory_error(error: BaseException | None) -> BaseException | None:
    """What ran out of memory, among the causes of an error."""
    while error is not None:
        # FFmpeg refuses absurd sizes in these words, and asks for none of it.
        if type(error).__module__ == "av.error":
            return None
        if isinstance(error, MemoryError) or "out of memory" in str(error):
            return error
        error = error.__cause__ or error.__context__
    return None


def _listing(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        yield path.relative_to(folder).as_posix()


# The table.


@dataclass
class Row:
    """What became of a reader's inputs."""

    inputs: int = 0
    refused: int = 0
    read: int = 0
    tracebacks: int = 0
    hangs: int = 0
    other: int = 0
    memory: int = 0
    seconds: float = 0.0


def run(
    found: list[Sample], numbers: list[int], seed: int, processes: int, folder: Path, keep: Path | None
) -> Any:
    """Reads all inputs; gives the table's rows by reader, and the findings by number."""
    rows: dict[str, Row] = collections.defaultdict(Row)
    findings: dict[int, tuple[str, str]] = {}
    context = multiprocessing.get_context("fork")
    waiting = [numbers[start::processes] for start in range(processes)]
    working: dict[Any, tuple[Any, list[int], int | None]] = {}
    files: dict[int, Path] = {}
    logs = iter(range(10**9))

    def start(part: list[int]) -> None:
        if part:
            ours, theirs = context.Pipe(duplex=False)
            log = folder / f"log-{next(logs)}"
            process = context.Process(target=work, args=(found, part, seed, theirs, log, keep))
            process.start()
            files[process.pid] = log
            theirs.close()
            working[ours] = process, part, None

    def count(number: int, outcome: str, what: str, used: int, seconds: float) -> None:
        row = rows[chosen(found, number, seed)[0].reader]
        row.inputs += 1
        row.memory, row.seconds = max(row.memory, used), max(row.seconds, seconds)
        if outcome in ("refused", "read"):
            setattr(row, outcome, getattr(row, outcome) + 1)
            return
        name = {"traceback": "tracebacks", "hang": "hangs"}.get(outcome, "other")
        setattr(row, name, getattr(row, name) + 1)
        findings[number] = outcome, what

    for part in waiting:
        start(part)
    done, shown = 0, time.monotonic()
    while working:
        for pipe in multiprocessing.connection.wait(list(working), timeout=5):
            process, part, at = working[pipe]
            try:
                number, result = pipe.recv()
            except EOFError:
                process.join()
                del working[pipe]
                if process.exitcode == 1:
                    raise RuntimeError(files[process.pid].read_text()[-2000:]) from None
                if at is not None:
                    killed = -(process.exitcode or 0)
                    outcome = "hang" if killed == signal.SIGALRM else "crash"
                    count(at, outcome, f"the process ended ({process.exitcode})", 0, SECONDS)
                    start(part[part.index(at) + 1 :])
                continue
            if number is None:
                process.join()
                del working[pipe]
                pipe.close()
            elif result is None:
                working[pipe] = process, part, number
            else:
                working[pipe] = process, part, None
                count(number, *result)
                done += 1
        if time.monotonic() - shown > 20:
            shown = time.monotonic()
            print(f"  {done:,} of {len(numbers):,}, {len(findings)} findings", file=sys.stderr, flush=True)
    return rows, findings


def main() -> int:
    """Prints the table and the findings; 1 where there are any."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=20_500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", type=int, nargs="*", help="the inputs of these numbers")
    parser.add_argument("--reader", default="", help="only inputs of readers whose names begin so")
    parser.add_argument("--keep", type=Path, help="copies the inputs there")
    parser.add_argument("--findings", type=Path, help="writes what was found there, as JSON")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    started = time.monotonic()
    sys.path[:] = [str(Path(each).resolve()) for each in sys.path]  # processes work elsewhere
    with tempfile.TemporaryDirectory(prefix="softmine-fuzz-") as name:
        folder = Path(name).resolve()
        (folder / "work").mkdir()
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "work")
        found = samples(folder)
        for sample in found:  # compiles and imports what all processes need
            with contextlib.suppress(SoftmineError):
                copy = folder / "work" / "first"
                shutil.copytree(sample.folder, copy)
                try:
                    sample.read(copy)
                finally:
                    shutil.rmtree(copy)
        numbers = list(range(args.inputs)) if args.only is None else args.only
        numbers = [
            each for each in numbers if chosen(found, each, args.seed)[0].reader.startswith(args.reader)
        ]
        rows, findings = run(found, numbers, args.seed, args.processes, folder, args.keep)
        readers = {number: chosen(found, number, args.seed)[0] for number in findings}
    names = ("reader", "inputs", "refused", "read", "tracebacks", "hangs", "other", "MiB", "seconds")
    print(" | ".join(f"{each:>{20 if each == 'reader' else 10}}" for each in names))
    total = Row()
    for reader in sorted(rows):
        row = rows[reader]
        for key in ("inputs", "refused", "read", "tracebacks", "hangs", "other"):
            setattr(total, key, getattr(total, key) + getattr(row, key))
        total.memory, total.seconds = max(total.memory, row.memory), max(total.seconds, row.seconds)
        _print(reader, row)
    _print("all", total)
    print(f"seed {args.seed}, {time.monotonic() - started:.0f} s")
    alike = collections.Counter(
        (readers[n].reader, kind, what.strip().splitlines()[-1][:160]) for n, (kind, what) in findings.items()
    )
    first = {
        (readers[n].reader, kind, what.strip().splitlines()[-1][:160]): n
        for n, (kind, what) in reversed(findings.items())
    }
    for key, amount in alike.most_common():
        print(f"{amount} x {' | '.join(key)} | such as input {first[key]}")
    if args.findings:
        args.findings.write_text(
            json.dumps({n: (readers[n].reader, readers[n].file, *findings[n]) for n in findings}, indent=1)
        )
    return int(bool(findings))


def _print(name: str, row: Row) -> None:
    cells = (row.inputs, row.refused, row.read, row.tracebacks, row.hangs, row.other)
    figures = (*(f"{each:>10,}" for each in cells), f"{row.memory / 2**20:>10.0f}", f"{row.seconds:>10.1f}")
    print(" | ".join((f"{name:>20}", *figures)))


if __name__ == "__main__":
    sys.exit(main())
