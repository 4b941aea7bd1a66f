"""One run as typed records, parsed once from the files of its folder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from softmine.reports.page import read_lines, read_object, read_optional
from softmine.study import json_fields as fields
from softmine.study.results import Resumption, SignalInfo, parse_range


@dataclass(frozen=True)
class Evaluation:
    """One line of ``metrics.jsonl``; a figure that is missing or no number is ``None``.

    Args:
        step: steps made.
        seconds: training time.
        psnr: in dB.
        ssim: structural similarity.
        loss: of the last step.
        samples: drawn until then.
        evaluated: cells that were measured.
        step_ms: median time of a step.
        subset: whether not every cell was measured.
        more: measures that only some kinds of signal have, such as ``iou``.
    """

    step: int
    seconds: float
    psnr: float | None
    ssim: float | None
    loss: float | None
    samples: float | None
    evaluated: float | None
    step_ms: float | None
    subset: bool
    more: Mapping[str, float]

    @staticmethod
    def parse(item: Mapping[str, Any]) -> Evaluation | None:
        """The record of a line; ``None`` without numbers for step and seconds."""
        known = ("psnr", "ssim", "loss", "samples", "evaluated", "step_ms_median")
        step, seconds = fields.whole(item.get("step")), fields.number(item.get("seconds"))
        if step is None or seconds is None:
            return None
        other = {*known, "step", "seconds", "subset", "sampler_ms_median"}
        more = {
            key: value for key in item if key not in other and (value := fields.number(item[key])) is not None
        }
        figures = [fields.number(item.get(key)) for key in known]
        return Evaluation(step, seconds, *figures, subset=item.get("subset") is True, more=more)


@dataclass(frozen=True)
class Status:
    """``status.json``: how far a run came, and how it ended.

    Args:
        state: running, finished, interrupted, stopped-nan or failed; empty where the file does not say.
        step: steps made.
        seconds: training time.
        message: what a person must know of its end.
        psnr_in_all: PSNR in dB over every cell, where that was measured at the end.
    """

    state: str
    step: int | None
    seconds: float | None
    message: str
    psnr_in_all: float | None

    @staticmethod
    def parse(item: Mapping[str, Any]) -> Status:
        """The record of a JSON object."""
        return Status(
            fields.text(item.get("state")),
            fields.whole(item.get("step")),
            fields.number(item.get("seconds")),
            fields.text(item.get("message")),
            fields.number(item.get("psnr_in_all")),
        )


@dataclass(frozen=True)
class Run:
    """A run folder.

    Args:
        folder: where it lies.
        task: the kind of signal.
        signal: what was fitted.
        path: the signal's file; empty for one that is built in.
        dtype: the type of the file's values.
        fingerprint: of the file's content.
        value_range: least and greatest value that the file's type can hold.
        measured_cells: how many cells there are to measure; ``None`` where that is not known.
        measured_unit: what those are called, in the plural.
        settings: of the run, by name.
        seed: random seed.
        parameters: of the field.
        device: where it was begun.
        versions: of packages, by name.
        created: when it was begun, as ISO 8601 text.
        command: what began it.
        resumed: what resumed it.
        evaluations: by step, rising.
        status: how it ended.
    """

    folder: Path
    task: str
    signal: SignalInfo
    path: str
    dtype: str
    fingerprint: str
    value_range: tuple[float, float] | None
    measured_cells: float | None
    measured_unit: str
    settings: Mapping[str, Any]
    seed: object
    parameters: float | None
    device: Mapping[str, Any]
    versions: Mapping[str, Any]
    created: str
    command: str
    resumed: tuple[Resumption, ...]
    evaluations: tuple[Evaluation, ...]
    status: Status

    @property
    def sampler(self) -> str:
        """The sampler with its options."""
        return fields.text(self.settings.get("sampler"))

    @property
    def cells(self) -> float | None:
        """Cells of the signal; ``None`` where its shape is not known."""
        return float(math.prod(self.signal.shape[:-1])) if len(self.signal.shape) > 1 else None

    @staticmethod
    def read(folder: Path) -> Run:
        """The record of a folder, of which only ``config.json`` is needed.

        Raises:
            SoftmineError: the folder or its ``config.json`` is missing or damaged.
        """
        config = read_object(folder / "config.json")
        signal = fields.mapping(config.get("signal"))
        info = SignalInfo.parse(signal, config.get("unit"))
        measured = fields.mapping(signal.get("measured"))
        found = map(Evaluation.parse, read_lines(folder / "metrics.jsonl"))
        # A resumed run may repeat an evaluation: the newer one counts.
        by_step = {one.step: one for one in found if one is not None}
        return Run(
            folder=folder,
            task=fields.text(config.get("task"), "signal"),
            signal=info,
            path=fields.text(signal.get("path"), "built in" if signal else ""),
            dtype=fields.text(signal.get("dtype")),
            fingerprint=fields.text(signal.get("fingerprint")),
            value_range=parse_range(signal.get("value_range")),
            measured_cells=fields.number(measured.get("cells")),
            measured_unit=fields.text(measured.get("unit"), info.unit),
            settings=fields.mapping(config.get("settings")),
            seed=config.get("seed"),
            parameters=fields.number(config.get("parameters")),
            device=fields.mapping(config.get("device")),
            versions=fields.mapping(config.get("versions")),
            created=fields.text(config.get("created")),
            command=fields.text(config.get("command")),
            resumed=tuple(map(Resumption.parse, fields.listing(config.get("resumed")))),
            evaluations=tuple(by_step[step] for step in sorted(by_step)),
            status=Status.parse(read_optional(folder / "status.json")),
        )
