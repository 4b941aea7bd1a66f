"""Launches on the GPU that holds the arguments."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

ALIGNMENT = 16
"""Bytes."""


def launch(kernel: Any, grid: tuple[int, ...], first: Tensor, *others: Any, **constants: Any) -> None:
    """Launches a Triton kernel on the device of its first argument; Triton itself takes torch's current one."""
    device = first.device
    if device.type == "cuda" and device.index != torch.cuda.current_device():
        with torch.cuda.device(device):
            kernel[grid](first, *others, **constants)
    else:
        kernel[grid](first, *others, **constants)


def aligned(tensor: Tensor) -> Tensor:
    """Contiguous, and starting where Triton's one version for it expects: for a part that starts elsewhere it would compile another."""
    tensor = tensor.contiguous()
    return tensor.clone() if tensor.data_ptr() % ALIGNMENT else tensor
