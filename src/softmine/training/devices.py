"""Which device trains, and what a result depends on: the machine, and versions."""

from __future__ import annotations

import functools
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from softmine.checks import check_choice
from softmine.errors import ArgumentError, SoftmineError, warn_once

CHOICES = ("auto", "cpu", "cuda", "mps")
DRIVER_FILE = Path("/proc/driver/nvidia/version")
"""Where Linux says which NVIDIA driver it has."""


def choose(name: str) -> torch.device:
    """The device called ``name``; ``auto`` is the NVIDIA GPU where there is one, otherwise the CPU.

    With several NVIDIA GPUs ``cuda`` is torch's current one, and ``cuda:0``, ``cuda:1``, ... is each. Where ``auto`` is the CPU of a
    machine that has an NVIDIA GPU, a warning says once why.

    Raises:
        SoftmineError: the name is unknown, or this machine or this build of torch has no such device.
    """
    numbered = re.fullmatch(r"cuda:(0|[1-9]\d{0,3})", name)
    if not numbered:
        check_choice("device", name, CHOICES)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cpu" and (reason := unused_gpu()):
            warn_once(f"the CPU is used: {reason}")
    if name.startswith("cuda") and not torch.cuda.is_available():
        if reason := unused_gpu():
            raise ArgumentError(
                f"device '{name}' was asked for, but {{reason}}; or use {{device}} cpu", reason=reason
            )
        raise ArgumentError(
            f"device '{name}' was asked for, but torch finds no NVIDIA GPU here: use {{device}} cpu, or install a "
            "CUDA build of torch"
        )
    if numbered and int(numbered[1]) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise SoftmineError(
            f"device '{name}' was asked for, but torch finds {count} NVIDIA GPU{'s' * (count > 1)} here, the last of them "
            f"cuda:{count - 1}"
        )
    if name == "mps" and not torch.backends.mps.is_available():
        raise SoftmineError("device 'mps' was asked for, but torch finds no Apple GPU here")
    return torch.device(name)


@functools.cache
def unused_gpu() -> str:
    """Why torch does not use the NVIDIA GPU of this machine, and what to do; nothing where it does, or there is none."""
    driver = "" if torch.cuda.is_available() else nvidia_driver()
    if not driver:
        return ""
    if torch.version.cuda is None:
        reason = "is a build for CPUs: install one for CUDA"
    elif "too old" in (failure := _cuda_failure()):
        reason = (
            f"needs a newer one for CUDA {torch.version.cuda} ({failure}): update it, or install a build of torch for an "
            "older CUDA"
        )
    elif (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        reason = f"sees no GPU while the environment variable CUDA_VISIBLE_DEVICES is '{visible}'"
    else:
        reason = f"sees no GPU ({failure})"
    return f"this machine has the NVIDIA driver {driver}, but torch {torch.__version__} {reason}"


def nvidia_driver() -> str:
    """Version of this machine's NVIDIA driver; nothing where there is none."""
    try:
        text = DRIVER_FILE.read_text()
    except OSError:
        text = ""
    if found := re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)", text):
        return found[1]
    # Elsewhere than on Linux, and in its subsystem of Windows.
    if program := shutil.which("nvidia-smi"):
        command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            text = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            return ""
        return text.strip().partition("\n")[0]
    return ""


def _cuda_failure() -> str:
    """The first sentence of what torch says when it starts CUDA."""
    try:
        torch.cuda.init()
    except Exception as error:
        text = str(error).strip().partition("\n")[0] or type(error).__name__
        return text.partition(". ")[0].rstrip(".")
    return "no GPU was found"


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
