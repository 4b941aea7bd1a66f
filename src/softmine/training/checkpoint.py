"""Everything a run needs to go on, in one safetensors file; no pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from softmine.domain import SoftmineError
from softmine.training.files import replacing
from softmine.training.trainer import Trainer

SCHEMA = 1


def save(path: Path, trainer: Trainer) -> None:
    """Writes the state of ``trainer`` to ``path``, whole or not at all."""
    tensors: dict[str, Tensor] = {}
    tensors.update(_prefixed("field", trainer.field.state_dict()))
    tensors.update(_prefixed("sampler", _state(trainer.sampler)))
    tensors.update(_prefixed("record", trainer.record.state()))
    plain: dict[str, Any] = {}
    for number, optimizer in enumerate(trainer.optimizers):
        for index, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                name = f"{number}.{index}.{key}"
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{name}"] = value
                else:
                    plain[name] = value
    tensors["random.cpu"] = torch.get_rng_state()
    if trainer.device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(trainer.device)
    header = {
        "schema": SCHEMA,
        "step": trainer.step,
        "samples": trainer.samples,
        "seconds": trainer.clock.seconds,
        "optimizer": plain,
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
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads(file.metadata()["softmine"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise SoftmineError(
            f"the checkpoint {path} cannot be read ({error}): delete it to go on from the one before"
        ) from error
    if header.get("schema") != SCHEMA:
        raise SoftmineError(
            f"the checkpoint {path} has schema {header.get('schema')}, but this version reads {SCHEMA}"
        )
    try:
        trainer.field.load_state_dict(_under("field", tensors))
        _module(trainer.sampler).load_state_dict(_under("sampler", tensors))
        saved = {**_under("optimizer", tensors), **header["optimizer"]}
        for number, optimizer in enumerate(trainer.optimizers):
            state: dict[int, dict[str, Any]] = {}
            for name, value in _under(str(number), saved).items():
                index, key = name.split(".", 1)
                state.setdefault(int(index), {})[key] = value
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})
        trainer.record.load(_under("record", tensors))
    except (RuntimeError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0]
        raise SoftmineError(f"the checkpoint {path} does not fit this run: {first}") from error
    torch.set_rng_state(tensors["random.cpu"])
    if trainer.device.type == "cuda" and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"], trainer.device)
    trainer.step = int(header["step"])
    trainer.samples = int(header.get("samples", trainer.step * trainer.sampler.batch_size))
    trainer.clock.total = float(header["seconds"])


def _module(sampler: object) -> torch.nn.Module:
    if not isinstance(sampler, torch.nn.Module):
        raise SoftmineError(f"the sampler {type(sampler).__name__} is no nn.Module, so it cannot be saved")
    return sampler


def _state(sampler: object) -> dict[str, Tensor]:
    return _module(sampler).state_dict()


def _prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _under(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    start = prefix + "."
    return {name[len(start) :]: value for name, value in values.items() if name.startswith(start)}
