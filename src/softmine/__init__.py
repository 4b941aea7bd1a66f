"""Train neural fields faster by choosing where to train.

The three lines of soft mining, in a loop you own::

    batch = sampler.draw()                   # where to train
    weights = sampler.weigh(batch, error)    # what each sample counts
    sampler.update(batch, error)             # move to where the error is
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str

    from softmine import baselines as baselines
    from softmine import optim as optim
    from softmine import registry as registry
    from softmine.domain import Box as Box
    from softmine.errors import SoftmineError as SoftmineError
    from softmine.fields import FourierField as FourierField
    from softmine.fields import HashGrid as HashGrid
    from softmine.fields import HashGridField as HashGridField
    from softmine.fields import Siren as Siren
    from softmine.registry import auto as auto
    from softmine.sampling import Batch as Batch
    from softmine.sampling import Edges as Edges
    from softmine.sampling import ErrorMap as ErrorMap
    from softmine.sampling import Langevin as Langevin
    from softmine.sampling import PiecewiseConstant as PiecewiseConstant
    from softmine.sampling import PublishedLangevin as PublishedLangevin
    from softmine.sampling import QuotaMap as QuotaMap
    from softmine.sampling import Sampler as Sampler
    from softmine.sampling import Shuffled as Shuffled
    from softmine.sampling import Uniform as Uniform
    from softmine.sampling import edge_prior as edge_prior
    from softmine.signals import Audio as Audio
    from softmine.signals import Image as Image
    from softmine.signals import Shape as Shape
    from softmine.signals import Signal as Signal
    from softmine.signals import Video as Video
    from softmine.signals import Volume as Volume
    from softmine.training.fit import fit as fit
    from softmine.training.probe import FieldProbe as FieldProbe

# Imported when first used, so that the command line answers mistakes and --help without waiting for torch.
_HOMES = {
    "Audio": "signals",
    "Batch": "sampling",
    "Box": "domain",
    "Edges": "sampling",
    "ErrorMap": "sampling",
    "FieldProbe": "training.probe",
    "FourierField": "fields",
    "HashGrid": "fields",
    "HashGridField": "fields",
    "Image": "signals",
    "Langevin": "sampling",
    "PiecewiseConstant": "sampling",
    "PublishedLangevin": "sampling",
    "QuotaMap": "sampling",
    "Sampler": "sampling",
    "Shape": "signals",
    "Signal": "signals",
    "Shuffled": "sampling",
    "Siren": "fields",
    "SoftmineError": "errors",
    "Uniform": "sampling",
    "Video": "signals",
    "Volume": "signals",
    "auto": "registry",
    "edge_prior": "sampling",
    "fit": "training.fit",
}

_ROOMS = ("baselines", "optim", "registry")

__all__ = [*_HOMES, *_ROOMS]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.metadata.version("softmine")
    if name in _ROOMS:
        return importlib.import_module(f"softmine.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'softmine' has no attribute '{name}'")
    return getattr(importlib.import_module(f"softmine.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "__version__"])
