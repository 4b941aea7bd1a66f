"""The small MLP behind the encodings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from softmine.kernels import fits_fused_mlp, fused_mlp


def mlp(inputs: int, outputs: int, *, hidden: int, layers: int) -> nn.Sequential:
    """``layers`` hidden layers of width ``hidden`` with ReLU, then a linear output layer."""
    modules: list[nn.Module] = []
    width = inputs
    for _ in range(layers):
        modules += [nn.Linear(width, hidden), nn.ReLU()]
        width = hidden
    modules.append(nn.Linear(width, outputs))
    return nn.Sequential(*modules)


def evaluate(network: nn.Sequential, inputs: Tensor) -> Tensor:
    """``network(inputs)``, in one fused operation where that is possible; see ``softmine.kernels.mlp``.

    A network whose layers were replaced, reparametrized or hooked is called as it is.
    """
    if torch.compiler.is_compiling():  # the compiler fuses by itself
        return network(inputs)
    layers = layers_of(network)
    return fused_mlp(inputs, layers) if layers and fits_fused_mlp(inputs, layers) else network(inputs)


def layers_of(network: nn.Sequential) -> list[Tensor]:
    """Weight and bias of each layer, or nothing unless it is linear layers with ReLU between them, and no more."""
    if type(network) is not nn.Sequential or altered(network) or len(network) % 2 == 0:
        return []
    found: list[Tensor] = []
    for index, module in enumerate(network):
        # Parametrizations and quantization change the type.
        if type(module) is not (nn.ReLU if index % 2 else nn.Linear) or altered(module):
            return []
        if isinstance(module, nn.Linear):
            if module.bias is None:
                return []
            found += (module.weight, module.bias)
    return found


def altered(module: nn.Module) -> bool:
    """Whether a module has hooks or a ``forward`` of its own, and so may do something else than its class."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or "forward" in vars(module)
    )
