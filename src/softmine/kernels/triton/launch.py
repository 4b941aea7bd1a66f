"""Launches on the GPU that holds the arguments."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def launch(kernel: Any, grid: tuple[int, ...], first: Tensor, *others: Any, **constants: Any) -> None:
    """Launches a Triton kernel on the device of its first argument; Triton itself takes torch's current one."""
    device = first.device
    if device.type == "cuda" and device.index != torch.cuda.current_device():
        with torch.cuda.device(device):
            kernel[grid](first, *others, **constants)
    else:
        kernel[grid](first, *others, **constants)
