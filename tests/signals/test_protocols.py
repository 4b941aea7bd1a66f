"""What signals offer is told by declared protocols."""

import numpy as np
import pytest

from softmine.signals import Audio, HasEdges, HasSamplerDefaults, Image, Shape, Signal, Video, Volume

RANDOM = np.random.default_rng(0)


def make(kind):
    if kind is Shape:
        return Shape.builtin("ball")
    if kind is Audio:
        return Audio(np.arange(8, dtype=np.int16), rate=8)
    shape = {Image: (4, 4), Video: (2, 4, 4, 3), Volume: (4, 4, 4)}[kind]
    return kind(RANDOM.integers(0, 256, shape, dtype=np.uint8))


@pytest.mark.parametrize("kind", [Audio, Image, Video, Volume, Shape])
def test_every_kind_is_a_signal_with_edges(kind):
    signal = make(kind)
    assert isinstance(signal, Signal)
    assert isinstance(signal, HasEdges)
    assert isinstance(signal, HasSamplerDefaults) == (kind is Shape)


def test_a_function_offers_nothing():
    def signal(coords):
        return coords

    assert not isinstance(signal, (Signal, HasEdges, HasSamplerDefaults))
    signal.edges = None
    assert not isinstance(signal, HasEdges)
