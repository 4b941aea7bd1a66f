"""Reading the files behind a report and writing the page."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from softmine.domain import SoftmineError
from softmine.reports import text
from softmine.runs.files import write_bytes

TEMPLATES = Path(__file__).parent / "templates"


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        SoftmineError: the folder or the file is missing, or holds something else.
    """
    if not path.parent.is_dir():
        raise SoftmineError(f"cannot write a report: there is no folder {path.parent}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SoftmineError(
            f"cannot write a report: {path.parent} holds no {path.name}, "
            "so it is not a softmine result folder"
        ) from None
    except json.JSONDecodeError as error:
        raise SoftmineError(
            f"cannot write a report: {path} is not valid JSON (line {error.lineno}, column {error.colno})"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise SoftmineError(f"cannot write a report: {path} cannot be read ({error})") from None
    if not isinstance(value, dict):
        raise SoftmineError(f"cannot write a report: {path} should hold a JSON object")
    return value


def read_optional(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty when there is none or it is damaged."""
    if not path.is_file():
        return {}
    try:
        return read_object(path)
    except SoftmineError:
        return {}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects in a file of one a line; damaged lines are left out."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def columns(amount: int) -> int:
    """How many columns, two to five, show ``amount`` images in rows as even as can be."""
    rows = -(-amount // 5)
    return max(2, -(-amount // rows)) if rows else 2


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    for function in (
        columns, text.compact, text.count, text.decibels, text.duration, text.fixed,
        text.moment, text.percent, text.several, text.signed, text.speedup,
    ):  # fmt: skip
        environment.filters[function.__name__] = function
    return environment


def write_page(template: str, context: Mapping[str, Any], path: Path) -> Path:
    """Render a template and put the page in place in one step: no reader sees half of it."""
    script = (TEMPLATES / "slider.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = (
        _environment().get_template(template).render(**context, script=script, script_hash=f"sha256-{digest}")
    )
    # File names from other systems can hold what UTF-8 cannot.
    payload = page.encode("utf-8", "replace")
    write_bytes(path, payload)
    return path
