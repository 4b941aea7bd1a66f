"""Everything a run needs to be resumed, in one safetensors file; no pickle."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from softmine.checks import is_of
from softmine.domain import SoftmineError
from softmine.runs.files import replacing
from softmine.runs.os_errors import first_line
from softmine.training.trainer import Trainer

SCHEMA = 2
SHOWN = ("field", "sampler", "record")
"""What of a checkpoint a viewer looks at; the optimizer's state, which is most of it, is not read."""

Groups = dict[str, dict[str, Tensor]]
"""Tensors by the part of training that they belong to, and by their name there."""

_DAMAGED = (SafetensorError, OSError, KeyError, TypeError, ValueError)
"""What reading a damaged file raises."""


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint keeps of a field, its sampler and the record of its samples."""

    step: int
    seconds: float
    groups: Groups


def save(path: Path, trainer: Trainer) -> None:
    """Writes the state of ``trainer`` to ``path``, whole or not at all."""
    groups = {
        "field": trainer.field.state_dict(),
        "sampler": trainer.sampler.state_dict(),
        "record": trainer.record.state(),
    }
    tensors: dict[str, Tensor] = {
        f"{group}.{name}": tensor for group, state in groups.items() for name, tensor in state.items()
    }
    optimizer = trainer.optimizer.state_dict()
    for number, state in optimizer["state"].items():
        tensors |= {f"optimizer.{number}.{key}": value for key, value in state.items()}
    tensors["random.cpu"] = torch.get_rng_state()
    if trainer.device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(trainer.device)
    header = {
        "schema": SCHEMA,
        "step": trainer.step,
        "samples": trainer.samples,
        "seconds": trainer.clock.seconds,
        "optimizer": [{**group, "lr": float(group["lr"])} for group in optimizer["param_groups"]],
    }
    # Contiguous copies of their own, because safetensors refuses tensors that share memory.
    own = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(own, temporary, metadata={"softmine": json.dumps(header)})
        temporary.chmod(0o644)  # safetensors makes files that only their owner reads


def load(path: Path, trainer: Trainer) -> None:
    """Puts ``trainer`` back into the state that ``save`` wrote.

    Raises:
        SoftmineError: the file is damaged, or it belongs to another field, sampler or batch size.
    """
    with _naming(path, "cannot be read ({}): delete it to resume from the one before", _DAMAGED):
        header, groups = _read(path, ("field", "sampler", "record", "optimizer", "random"))
    if header.get("schema") != SCHEMA:
        raise SoftmineError(
            f"the checkpoint {path} has schema {header.get('schema')}, but this version reads {SCHEMA}"
        )
    with _naming(path, "does not fit this run: {}", (*_DAMAGED, RuntimeError, IndexError, AttributeError)):
        step, seconds = _count(header, "step"), _number(header, "seconds")
        samples = _count(header, "samples") if "samples" in header else step * trainer.sampler.batch_size
        _check_groups(header["optimizer"], trainer.optimizer)
        trainer.field.load_state_dict(groups["field"])
        trainer.sampler.load_state_dict(groups["sampler"])
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in groups["optimizer"].items():
            number, _, key = name.partition(".")
            state.setdefault(int(number), {})[key] = value
        trainer.optimizer.load_state_dict({"state": state, "param_groups": header["optimizer"]})
        _check_state(trainer.optimizer)
        trainer.record.load(groups["record"])
        random = groups["random"]
        torch.set_rng_state(random["cpu"])
        if trainer.device.type == "cuda" and "cuda" in random:
            torch.cuda.set_rng_state(random["cuda"], trainer.device)
    trainer.step, trainer.samples, trainer.clock.total = step, samples, seconds


def load_field(path: Path, field: nn.Module) -> None:
    """Puts the parameters that a checkpoint keeps into ``field``, and nothing else.

    Raises:
        SoftmineError: the file is damaged, or belongs to another field.
    """
    with _naming(path, "cannot be used: {}", (*_DAMAGED, RuntimeError)):
        field.load_state_dict(_read(path, ("field",))[1]["field"])


def read_snapshot(path: Path) -> Snapshot:
    """Reads what a viewer needs of a checkpoint.

    Raises:
        SoftmineError: it is damaged.
        FileNotFoundError: it is gone.
    """
    with _naming(path, "cannot be read ({}): delete it to look at the one before", _DAMAGED):
        header, groups = _read(path, SHOWN)
        return Snapshot(_count(header, "step"), _number(header, "seconds"), groups)


def _read(path: Path, wanted: Sequence[str]) -> tuple[dict[str, Any], Groups]:
    """The header of a checkpoint, and the tensors of the groups that are wanted; no others are read."""
    groups: Groups = {group: {} for group in wanted}
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["softmine"])
        if not isinstance(header, dict):
            raise ValueError("its header is no JSON object")
        for name in file.keys():  # noqa: SIM118
            group, _, rest = name.partition(".")
            if group in groups:
                groups[group][rest] = file.get_tensor(name)
    return header, groups


def _count(header: dict[str, Any], key: str) -> int:
    if not is_of(header[key], int) or not 0 <= header[key] < 2**62:
        raise ValueError(f"its '{key}' is {header[key]!s:.40}")
    return header[key]


def _number(header: dict[str, Any], key: str) -> float:
    if not is_of(header[key], float) or not 0 <= header[key] < math.inf:
        raise ValueError(f"its '{key}' is {header[key]!s:.40}")
    return float(header[key])


def _check_groups(groups: Any, optimizer: torch.optim.Optimizer) -> None:
    """Raises ValueError unless groups of parameters are like those of an optimizer; those of other versions may have more."""
    own = optimizer.state_dict()["param_groups"]
    whole = (
        isinstance(groups, list)
        and len(groups) == len(own)
        and all(isinstance(each, dict) for each in groups)
    )
    if not whole or any(
        group.get("params") != mine["params"] for group, mine in zip(groups, own, strict=True)
    ):
        raise ValueError("its optimizer has other parameters")
    for group, mine in zip(groups, own, strict=True):
        wrong = [key for key in group.keys() & mine.keys() if not _alike(group[key], mine[key])]
        if wrong:
            raise ValueError(f"its optimizer's '{wrong[0]}' is {group[wrong[0]]!s:.40}")


def _alike(value: Any, own: Any) -> bool:
    if isinstance(own, list | tuple):
        return isinstance(value, list) and len(value) == len(own) and all(map(_alike, value, own))
    if own is None or isinstance(own, bool | str):
        return type(value) is type(own)
    return is_of(value, float) and math.isfinite(value)


def _check_state(optimizer: torch.optim.Optimizer) -> None:
    """Raises ValueError where an optimizer keeps something of another shape than its parameter's, or of some only.

    What it keeps of tables' rows it looks at itself.
    """
    for group in optimizer.param_groups:
        if group.get("row_wise"):
            continue
        states = {parameter: optimizer.state.get(parameter, {}) for parameter in group["params"]}
        if len({frozenset(state) for state in states.values()}) > 1:
            raise ValueError("its optimizer's state is incomplete")
        for parameter, state in states.items():
            for name, value in state.items():
                if isinstance(value, Tensor) and value.numel() != 1 and value.shape != parameter.shape:
                    raise ValueError(f"its optimizer's '{name}' has the shape {tuple(value.shape)}")


@contextmanager
def _naming(path: Path, text: str, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Turns ``errors`` into a SoftmineError that names the checkpoint; one that is gone stays a FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except errors as error:
        raise SoftmineError(f"the checkpoint {path} {text.format(first_line(error))}") from error
