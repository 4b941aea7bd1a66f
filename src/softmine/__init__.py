"""Train neural fields faster by choosing where to train.

The three lines of soft mining, in a loop you own::

    coords = sampler.draw()                  # where to train
    weights = sampler.weigh(importance)      # what each sample counts
    sampler.update()                         # move to where the error is
"""

from softmine.domain import Box, SoftmineError
from softmine.fields import FourierField, HashGrid, HashGridField, Siren
from softmine.sampling import Langevin, PiecewiseConstant, Sampler, Uniform, edge_prior
from softmine.signals import Image, Signal

__all__ = [
    "Box",
    "FourierField",
    "HashGrid",
    "HashGridField",
    "Image",
    "Langevin",
    "PiecewiseConstant",
    "Sampler",
    "Signal",
    "Siren",
    "SoftmineError",
    "Uniform",
    "edge_prior",
]
