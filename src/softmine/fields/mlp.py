"""The small multi-layer perceptron behind the encodings."""

from __future__ import annotations

from torch import nn


def mlp(inputs: int, outputs: int, *, hidden: int, layers: int) -> nn.Sequential:
    """``layers`` hidden layers of width ``hidden`` with ReLU, then a linear output layer."""
    modules: list[nn.Module] = []
    width = inputs
    for _ in range(layers):
        modules += [nn.Linear(width, hidden), nn.ReLU()]
        width = hidden
    modules.append(nn.Linear(width, outputs))
    return nn.Sequential(*modules)
