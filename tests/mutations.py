"""Damages files as bad disks and attackers do: cut, overwritten, with other sizes and offsets, with other words and numbers."""

from __future__ import annotations

import copy
import gzip
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

Mutation = Callable[[bytes, Random], bytes]

HEAD = 256
"""Most of what readers believe stands in the first bytes."""
INTEGERS = (
    *(0, 1, 2, 3, 4, 5, 8, 16, 31, 64, 255, 256, 1000, 1024, 4096, 32767, 32768, 65535, 65536),
    *(2**20, 2**24, 2**28, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1),
)
NUMBERS = (
    *("0", "-0", "1", "-1", "2", "3", "7", "255", "65536", "2147483647", "4294967296", "9223372036854775807"),
    *("18446744073709551616", "1e308", "-1e308", "1e400", "1e-320", "nan", "-nan", "inf", "-inf", "0x10"),
    *("1e", "1_0", "--1", "9" * 30, "9" * 5000, "", "1.5", "-2147483648"),
)
TEXTS = (
    *("", " ", ".", "..", "/", "../outside/secret.png", "../outside/secret.bin", "/etc/passwd", "/dev/zero"),
    *("file:///etc/passwd", "http://127.0.0.1:9/a.png", "a\0b", "a\nb", "\x1b[2Jb", "\ud800", "%s%n{0}{x}"),
    *("<script>alert(1)</script>", "'\"><img src=x onerror=alert(1)>", "}}{{7*7}}", "a" * 5000, "CON", "-"),
)
VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        1.5,
        -0.5,
        1e308,
        -1e308,
        1e-320,
        2**31,
        2**63,
        2**64,
        -(2**63),
        10**30,
    ),
    *([], {}, [[]], [0], [1, 2], ["x"], {"a": 1}, float("nan"), float("inf"), [float("nan")] * 3, 10**400),
)


def mutate(data: bytes, random: Random, text: bool = False) -> bytes:
    """A file with one to four faults; ``text`` ones are of words and numbers, too."""
    for _ in range(random.choice((1, 1, 1, 2, 2, 4))):
        chosen = _TEXT if text and random.random() < 0.7 else _BYTES
        data = random.choice(chosen)(data, random)
    return data


def _place(data: bytes, random: Random) -> int:
    kind = random.random()
    if kind < 0.6:
        return random.randrange(min(len(data), HEAD) or 1)
    if kind < 0.75:
        return max(0, len(data) - 1 - random.randrange(HEAD))
    return random.randrange(len(data) or 1)


def cut(data: bytes, random: Random) -> bytes:
    """A file that ends too early."""
    return data[: _place(data, random)]


def flip(data: bytes, random: Random) -> bytes:
    """Some bits turned over."""
    found = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8)) if found else 0):
        found[_place(data, random)] ^= 1 << random.randrange(8)
    return bytes(found)


def overwrite(data: bytes, random: Random) -> bytes:
    """A size or an offset replaced by another one."""
    size = random.choice((1, 2, 4, 4, 8))
    place = _place(data, random)
    if random.random() < 0.7:
        place -= place % min(size, 4)
    value = random.choice(INTEGERS)
    if random.random() < 0.3:
        value = len(data) + random.randrange(-16, 17)
    order = random.choice(("little", "big"))
    return data[:place] + (value % 256**size).to_bytes(size, order) + data[place + size :]


def shift(data: bytes, random: Random) -> bytes:
    """A size or an offset that is a little off."""
    size = random.choice((1, 2, 4, 8))
    place = _place(data, random)
    order = random.choice(("little", "big"))
    value = int.from_bytes(data[place : place + size], order) + random.choice(
        (-1, 1, -8, 8, 255, -256, 65536)
    )
    return data[:place] + (value % 256**size).to_bytes(size, order) + data[place + size :]


def drop(data: bytes, random: Random) -> bytes:
    """Some bytes lost."""
    place = _place(data, random)
    return data[:place] + data[place + random.choice((1, 2, 4, 16, 100)) :]


def insert(data: bytes, random: Random) -> bytes:
    """Some bytes too many."""
    place = _place(data, random)
    more = random.choice(
        (b"\0", b"\xff", b"\0" * 16, b"\xff" * 16, random.randbytes(16), data[place : place + 64])
    )
    return data[:place] + more + data[place:]


def blank(data: bytes, random: Random) -> bytes:
    """A sector of zeros, as of a bad disk."""
    place = _place(data, random)
    size = random.choice((4, 16, 64, 512))
    return (
        data[:place] + random.choice((b"\0", b"\xff")) * min(size, len(data) - place) + data[place + size :]
    )


def double(data: bytes, random: Random) -> bytes:
    """All of it twice, or random bytes after its end."""
    return data + random.choice((data, random.randbytes(64), b"\0" * 4096))


_BYTES: tuple[Mutation, ...] = (
    cut,
    flip,
    flip,
    overwrite,
    overwrite,
    overwrite,
    shift,
    drop,
    insert,
    blank,
    double,
)


def other_number(data: bytes, random: Random) -> bytes:
    """A number of a text replaced by another one."""
    found = list(re.finditer(rb"[-+]?\d[\d.eE+-]*", data))
    if not found:
        return data
    match = random.choice(found[:40] if random.random() < 0.5 else found)
    return data[: match.start()] + random.choice(NUMBERS).encode() + data[match.end() :]


def other_word(data: bytes, random: Random) -> bytes:
    """A word of a text replaced by another one."""
    found = list(re.finditer(rb"[^\s\"',:]+", data))
    if not found:
        return data
    match = random.choice(found[:40] if random.random() < 0.5 else found)
    word = random.choice((*TEXTS, *(each[0].decode("latin-1") for each in found[:40])))
    return data[: match.start()] + word.encode("utf-8", "surrogatepass") + data[match.end() :]


def other_lines(data: bytes, random: Random) -> bytes:
    """Lines lost, repeated, exchanged or joined."""
    lines = data.split(b"\n")
    first, second = random.randrange(len(lines)), random.randrange(len(lines))
    kind = random.randrange(4)
    if kind == 0:
        del lines[first]
    elif kind == 1:
        lines.insert(first, lines[second])
    elif kind == 2:
        lines[first], lines[second] = lines[second], lines[first]
    else:
        lines[first] += random.choice((b" ", b"\\", b"\r", b"#", b"\0", b"\xff"))
    return b"\n".join(lines)


_TEXT: tuple[Mutation, ...] = (other_number, other_number, other_word, other_lines)


def mutate_value(value: Any, random: Random) -> Any:
    """A JSON value with one to four faults in it."""
    value = copy.deepcopy(value)
    for _ in range(random.choice((1, 1, 2, 4))):
        value = _one_fault(value, random)
    return value


def _one_fault(value: Any, random: Random) -> Any:
    places = [*_places(value)]
    if not places:
        return random.choice(VALUES)
    parent, key = random.choice(places)
    old = parent[key]
    kind = random.random()
    if kind < 0.12:
        del parent[key]
    elif kind < 0.2 and isinstance(old, list) and old:
        old.insert(random.randrange(len(old)), random.choice(old))
    elif kind < 0.4 and isinstance(old, str):
        parent[key] = random.choice((*TEXTS, old + random.choice(TEXTS)))
    elif kind < 0.6 and isinstance(old, int | float):
        parent[key] = random.choice((*INTEGERS, *(-each for each in INTEGERS), old * 2, old + 1, -old))
    elif kind < 0.65:
        other, name = random.choice(places)
        parent[key] = copy.deepcopy(other[name]) if name in other or isinstance(other, list) else None
    elif kind < 0.7:
        parent[key] = random.choice(TEXTS)
    else:
        parent[key] = copy.deepcopy(random.choice(VALUES))
    return value


def _places(value: Any) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield value, key
        yield from _places(item)


def dump(value: Any) -> bytes:
    """JSON as Python writes it, NaN and lone surrogates included."""
    return json.dumps(value).encode()


def mutate_json(data: bytes, random: Random) -> bytes:
    """A JSON file whose values, or, more seldom, whose bytes are wrong."""
    if random.random() < 0.25:
        return mutate(data, random, text=True)
    return dump(mutate_value(json.loads(data), random))


def mutate_json_lines(data: bytes, random: Random) -> bytes:
    """A file of one JSON object a line."""
    lines = data.splitlines()
    index = random.randrange(len(lines))
    lines[index] = mutate_json(lines[index], random)
    return b"\n".join(lines)


def mutate_png(data: bytes, random: Random) -> bytes:
    """A PNG with faults inside its chunks, whose checksums are right."""
    if random.random() < 0.25:
        return mutate(data, random)
    chunks, place = [], 8
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    index = random.choice((0, 0, random.randrange(len(chunks))))
    kind, body = chunks[index]
    choice = random.random()
    if choice < 0.1:
        chunks.insert(random.randrange(len(chunks)), chunks[index])
    elif choice < 0.2:
        del chunks[index]
    elif choice < 0.35 and kind in (b"IDAT", b"zTXt", b"iCCP", b"fdAT"):
        chunks[index] = kind, _repacked(body, random)
    else:
        chunks[index] = kind, mutate(body, random)
    return data[:8] + b"".join(png_chunk(*chunk) for chunk in chunks)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _repacked(body: bytes, random: Random) -> bytes:
    try:
        return zlib.compress(mutate(zlib.decompress(body), random))
    except zlib.error:
        return mutate(body, random)


def mutate_gzip(data: bytes, random: Random) -> bytes:
    """A gzip file with faults in what is packed."""
    if random.random() < 0.3:
        return mutate(data, random)
    return gzip.compress(mutate(gzip.decompress(data), random), mtime=0)


def mutate_zip(data: bytes, random: Random) -> bytes:
    """An archive with faults in one of its files, or in its names."""
    if random.random() < 0.4:
        return mutate(data, random)
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = mutate(old.read(name), random)
            new.writestr(
                name if random.random() < 0.9 else random.choice(TEXTS).replace("\ud800", "") or "x", content
            )
    return result.getvalue()


def mutate_glb(data: bytes, random: Random) -> bytes:
    """A binary glTF whose JSON says something else."""
    if random.random() < 0.3:
        return mutate(data, random)
    length = int.from_bytes(data[12:16], "little")
    text = dump(mutate_value(json.loads(data[20 : 20 + length]), random))
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    total = 20 + len(text) + len(rest)
    return data[:8] + struct.pack("<II", total, len(text)) + b"JSON" + text + rest


def mutate_safetensors(data: bytes, random: Random) -> bytes:
    """A file of tensors whose header says something else."""
    if random.random() < 0.3:
        return mutate(data, random)
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    said = header.get("__metadata__", {})
    if "softmine" in said and random.random() < 0.6:
        said["softmine"] = dump(mutate_value(json.loads(said["softmine"]), random)).decode()
    elif random.random() < 0.4:
        # Tensors of the same bytes that are others: renamed, of another type or shape.
        names = [name for name in header if name != "__metadata__"]
        name = random.choice(names)
        entry = header[name]
        kind = random.randrange(4)
        if kind == 0:
            header[random.choice((name + "x", "optimizer.x.y", "field", "", ".", random.choice(names)))] = (
                header.pop(name)
            )
        elif kind == 1:
            entry["shape"] = [*entry["shape"], 1]
        elif kind == 2:
            size = entry["data_offsets"][1] - entry["data_offsets"][0]
            entry.update(dtype="U8", shape=[size])
        else:
            del header[name]
    else:
        header = mutate_value(header, random)
    text = dump(header)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


BY_ENDING: dict[str, Mutation] = {
    ".png": mutate_png,
    ".gz": mutate_gzip,
    ".npz": mutate_zip,
    ".glb": mutate_glb,
    ".gltf": mutate_json,
    ".json": mutate_json,
    ".jsonl": mutate_json_lines,
    ".safetensors": mutate_safetensors,
}
TEXTUAL = (".obj", ".off", ".txt", ".ply", ".stl", ".ppm", ".pgm")


def for_name(name: str) -> Mutation:
    """How a file is damaged, by its name's end."""
    ending = Path(name).suffix
    return BY_ENDING.get(ending, partial(mutate, text=ending in TEXTUAL))
