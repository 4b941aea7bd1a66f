"""Whether training steps can be recorded as a CUDA graph."""

from __future__ import annotations

from torch import nn

from softmine.sampling import Sampler
from softmine.training.protocols import Recordable

KNOWN = ("torch.nn.modules.", "softmine.")
"""Modules of Python whose layers and fields decide nothing by numbers of the host, but as ``CapturedStep`` can see."""


def why_not_recorded(field: nn.Module, sampler: Sampler) -> str:
    """What keeps steps of a training from being recorded, as a sentence without its period, or nothing.

    Whether the host waits for the device in a step, as it does for a signal that is read from a file, is seen when it runs
    (``softmine.optim.CapturedStep``).
    """
    # Not inherited: what a subclass adds may count on the host.
    if not vars(type(sampler)).get("recordable", False):
        return f"the sampler {type(sampler).__name__} goes by what the host counts, such as when to pass over the signal"
    if unknown := _unknown(field):
        return (
            f"the field has a {unknown}, which may go by numbers that the host holds and changes; if it does not, give it the "
            "attribute recordable = True"
        )
    return ""


def _unknown(module: nn.Module) -> str:
    """The first class in a module of which it is not known that graphs can repeat it; nothing if there is none."""
    if isinstance(module, Recordable):
        return "" if module.recordable else type(module).__name__
    if not f"{type(module).__module__}.".startswith(KNOWN):
        return type(module).__name__
    return next((name for child in module.children() if (name := _unknown(child))), "")
