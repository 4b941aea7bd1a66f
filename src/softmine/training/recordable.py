"""Whether training steps can be recorded as a CUDA graph."""

from __future__ import annotations

from torch import nn

from softmine.fields.mlp import altered
from softmine.sampling import Sampler
from softmine.training.protocols import Recordable

KNOWN = ("torch.nn.modules.", "softmine.")
"""Modules of Python whose layers and fields decide nothing by numbers of the host, but as ``CapturedStep`` can see."""
REMEDY = "which may go by numbers that the host holds and changes; if it does not, give it the attribute recordable = True"


def why_not_recorded(field: nn.Module, sampler: Sampler) -> str:
    """What keeps steps of a training from being recorded, as a sentence without its period, or nothing.

    Whether the host waits for the device in a step, as it does for a signal that is read from a file, is seen when it runs
    (``softmine.optim.CapturedStep``). A signal is a function of the coordinates alone, and so may be repeated.
    """
    # Not inherited: what a subclass adds may count on the host.
    kind = type(sampler)
    if not vars(kind).get("recordable", False):
        if getattr(kind, "recordable", False) and not kind.__module__.startswith(KNOWN):
            return f"the sampler has a class of its own, {kind.__name__}, {REMEDY}"
        return (
            f"the sampler {kind.__name__} goes by what the host counts, such as when to pass over the signal"
        )
    if unknown := _unknown(field):
        return f"the field has {unknown}, {REMEDY}"
    return ""


def _unknown(module: nn.Module) -> str:
    """What a module has of which it is not known that graphs can repeat it; nothing if there is none."""
    if isinstance(module, Recordable):
        return "" if module.recordable else f"a module of the class {type(module).__name__}"
    if not f"{type(module).__module__}.".startswith(KNOWN):
        return f"a module of the class {type(module).__name__}"
    if altered(module):
        return f"hooks on a {type(module).__name__}"
    return next((name for child in module.children() if (name := _unknown(child))), "")
