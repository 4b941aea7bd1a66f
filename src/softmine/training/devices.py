"""Which device trains, and what a result depends on: the machine, and versions."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from softmine.checks import check_choice
from softmine.errors import ArgumentError, SoftmineError

CHOICES = ("auto", "cpu", "cuda", "mps")


def choose(name: str) -> torch.device:
    """The device called ``name``; ``auto`` is the NVIDIA GPU where there is one, otherwise the CPU.

    Raises:
        SoftmineError: the name is unknown, or this machine or this build of torch has no such device.
    """
    check_choice("device", name, CHOICES)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ArgumentError(
            "device 'cuda' was asked for, but torch finds no NVIDIA GPU here: use {device} cpu, or install a "
            "CUDA build of torch"
        )
    if name == "mps" and not torch.backends.mps.is_available():
        raise SoftmineError("device 'mps' was asked for, but torch finds no Apple GPU here")
    return torch.device(name)


def describe(device: torch.device) -> dict[str, Any]:
    """What a reader of the results needs to know of the machine: device type, name, threads."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor_name()
    return {"type": device.type, "name": name, "threads": torch.get_num_threads()}


def versions() -> dict[str, str]:
    """Versions of softmine, torch, numpy and Python."""
    packages = {name: metadata.version(name) for name in ("softmine", "torch", "numpy")}
    return {**packages, "python": platform.python_version()}


def move(signal: object, device: torch.device) -> None:
    """Moves a signal to ``device``, where it is a module; any other returns values wherever the coordinates are."""
    if isinstance(signal, torch.nn.Module):
        signal.to(device)


def synchronize(device: torch.device) -> None:
    """Waits until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def peak_memory_mb() -> float | None:
    """Peak resident memory of this process so far, in MB; None where the system does not tell."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def _processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
