import numpy as np
import pytest
import torch

from softmine import Box, FieldProbe, Image, Langevin, SoftmineError
from softmine.sampling import SAMPLERS, ErrorMap, Sampler, check_spec, create, default_batch_size

BOX = Box((16, 16))
PROBE = FieldProbe(torch.nn.Linear(2, 1), Image(np.eye(16, dtype=np.float32)))


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_every_sampler_speaks_the_protocol(name):
    sampler = create(name, BOX, 32, seed=0, edges=lambda: torch.ones(4, 4))
    assert isinstance(sampler, Sampler)
    assert isinstance(sampler, torch.nn.Module)
    coords = sampler.draw(PROBE)
    assert coords.shape == (32, 2)
    error = (coords - 0.3).square().sum(-1)
    weights = sampler.weigh(error.detach())
    assert weights.shape == (32,)
    assert not weights.requires_grad
    if coords.requires_grad:
        (weights * error).mean().backward()
    sampler.check()
    sampler.update()
    assert BOX.contains(sampler.draw(PROBE)).all()


def test_options_follow_the_name():
    sampler = create("langevin:alpha=0.8,warmup=10,preset=published-code,noise=1", BOX, 32)
    assert isinstance(sampler, Langevin)
    assert sampler.settings.alpha == 0.8
    assert sampler.settings.warmup == 10
    assert sampler.settings.noise == 1.0
    assert sampler.preset == "published-code"


def test_an_edge_prior_is_made_from_the_signal():
    edges = torch.zeros(4, 4)
    edges[1, 2] = 1
    sampler = create("langevin:prior=edges", BOX, 32, edges=lambda: edges)
    assert sampler.prior.density(torch.tensor([[0.3, 0.6]])) > 15
    with pytest.raises(SoftmineError, match="no edges"):
        create("langevin:prior=edges", BOX, 32)


def test_samplers_with_settings_of_their_own_take_them_as_options():
    sampler = create("error-map:preset=instant-ngp,alpha=1,cells=9,start=2", BOX, 32)
    assert isinstance(sampler, ErrorMap)
    assert sampler.settings.interval == 128
    assert sampler.settings.alpha == 1.0
    assert sampler.error.tolist() == [2.0] * 9
    with pytest.raises(SoftmineError, match="no option 'drift'"):
        create("error-map:drift=1", BOX, 32)


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_every_name_can_be_checked_without_a_signal(name):
    check_spec(name)


def test_a_sampler_of_edges_needs_them():
    with pytest.raises(SoftmineError, match="edges needs the edges of the signal, but there are none"):
        create("edges", BOX, 32)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("langevn", "unknown sampler 'langevn': did you mean langevin"),
        ("xyz", "unknown sampler 'xyz': choose one of uniform, shuffled, langevin"),
        ("langevin:alpa=1", "no option 'alpa': did you mean alpha"),
        ("langevin:alpha", "write options as langevin:option=value"),
        ("langevin:alpha=soft", "alpha needs a float, not 'soft'"),
        ("langevin:warmup=1.5", "warmup needs a int"),
        ("langevin:prior=lines", "the prior is 'uniform' or 'edges'"),
        ("uniform:seed=3", "no option 'seed'"),
    ],
)
def test_mistakes_are_named(spec, message):
    with pytest.raises(SoftmineError, match=message):
        create(spec, BOX, 32)


def test_auto_suits_views_of_a_scene_unless_told_otherwise():
    views = Box((100, 200, 200), discrete=(0,))
    chosen = create("auto:power=2.0", views, 256, seed=0)
    assert chosen.map.shape == (100, 26, 25)
    assert (chosen.power, chosen.uniform_share) == (2.0, 0.3)
    assert create("auto", Box((20, 100, 200)), 256, seed=0).power == 2.0
    assert create("auto", Box((20, 100, 200)), 256, seed=0).uniform_share == 0.1


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((100_000,), 4096),
        ((512, 768), 12288),
        ((600, 610), 11264),
        ((400, 400), 8192),
        ((4000, 4000), 32768),
        ((256, 256, 256), 8192),
        ((16, 16), 1024),
    ],
)
def test_auto_has_a_batch_size_that_suits_the_signal(shape, size):
    assert default_batch_size("auto", Box(shape)) == size
    assert default_batch_size("uniform", Box(shape)) == 2048
