"""From settings to a trainer."""

import pytest
import torch

from softmine import Box
from softmine.sampling import create
from softmine.training.build import growing_steps


@pytest.mark.parametrize("batch_size", [255, 256, 700, 1024, 3000])
@pytest.mark.parametrize(
    "spec", ["auto", "auto:growth=5", "auto:growth=1", "probed-map", "probed-map:growth=64", "uniform"]
)
def test_steps_with_fewer_samples_are_counted_before_the_first(spec, batch_size):
    sampler = create(spec, Box((150, 160)), batch_size, seed=0)
    counted, drawn = growing_steps(sampler), []
    for _ in range(counted + 3):
        drawn.append(len(sampler.draw(lambda coords: coords[:, 0])))
        sampler.weigh(torch.ones(drawn[-1]))
        sampler.update()
    assert [size < batch_size for size in drawn] == [True] * counted + [False] * 3
    assert max(drawn) == batch_size


def test_batches_of_views_do_not_grow():
    assert growing_steps(create("auto", Box((3, 80, 80), discrete=(0,)), 2048, seed=0)) == 0
