"""Where rays go, by sampler; and that asking changes nothing."""

import numpy as np
import pytest
import torch
from torch import nn

from softmine.radiance.photos import Photos
from softmine.radiance.scenes.procedural import procedural
from softmine.registry import create
from softmine.viewing import ray_map as module
from softmine.viewing.ray_map import RayMap, TooManyProbes, draw_batches


class Wrong(nn.Module):
    """Right everywhere but in the upper left quarter of view 1."""

    def __init__(self, photos):
        super().__init__()
        self._photos = (photos,)

    def forward(self, coords):
        bad = ((coords[:, 0] * 4).floor() == 1) & (coords[:, 1:] < 0.5).all(-1)
        return self._photos[0](coords) + bad[:, None] * 0.5


@pytest.fixture(scope="module")
def photos():
    return Photos(procedural(size=32, train=4, test=1))


def test_counts_shares_and_maps(photos):
    heat = RayMap(photos)
    quarter = torch.rand(4000, 2, generator=torch.Generator().manual_seed(0)) * 0.5
    heat.add(torch.cat((torch.full((4000, 1), 0.3), quarter), -1))
    assert heat.rays == 4000
    assert heat.share(1) == pytest.approx(4)
    assert heat.share(0) == 0
    relative = heat.relative(1)
    # All rays of four views in a quarter of one: sixteen times an even spread.
    assert relative[2:12, 2:12].mean() == pytest.approx(16, rel=0.05)
    assert relative[20:, 20:].max() == 0
    heat.fade(0.25)
    assert heat.rays == 1000
    assert heat.share(1) == pytest.approx(4)


def test_the_map_is_brightest_where_the_rays_are(photos):
    heat = RayMap(photos)
    heat.add(torch.rand(2000, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.25, 0.5, 0.5]))
    picture = heat.image(0, 64, "rays").astype(float)
    assert picture.shape == (64, 64, 3)
    assert picture[:24, :24].mean() > 100
    assert picture[40:, 40:].max() < 10
    over = heat.image(0, 64, "rays over photo").astype(float)
    assert over[:24, :24, 0].mean() > over[40:, 40:, 0].mean() + 50
    photo = heat.image(0, 32, "photo")
    expected = photos.image(0).numpy()
    white = expected[..., :3] + (1 - 2 * expected[..., 3:]) * 0.5
    assert np.abs(photo / 255 - white).max() < 0.01


@pytest.mark.parametrize("name", ["auto", "uniform", "error-map", "resampling", "langevin", "edges", "int"])
def test_drawing_leaves_the_sampler_as_it_was(photos, name, monkeypatch):
    sampler = create(name, photos.domain, 256, seed=0, edges=photos.edges)
    monkeypatch.setattr(module, "MOST_SECONDS", 1e9)
    assert isinstance(sampler, nn.Module)
    before = {key: value.clone() for key, value in sampler.state_dict().items()}
    state = torch.get_rng_state()
    batches = draw_batches(sampler, Wrong(photos), photos, most=2048)
    assert sum(map(len, batches)) >= (256 if name == "langevin" else 2048)
    assert all(batch.shape == (256, 3) and not batch.requires_grad for batch in batches)
    for key, value in sampler.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert torch.equal(torch.get_rng_state(), state)


def test_a_sampler_that_knows_the_error_puts_its_rays_there(photos, monkeypatch):
    # However busy the machine is.
    monkeypatch.setattr(module, "MOST_SECONDS", 1e9)
    sampler = create("auto", photos.domain, 512, seed=0, edges=None)
    heat = RayMap(photos)
    field = Wrong(photos)
    # It learns as it draws; what it draws last tells.
    for coords in draw_batches(sampler, field, photos, most=16384)[-8:]:
        heat.add(coords)
    # Even rays would give 1.00 +- 0.03.
    assert heat.share(1) > 1.5


def test_a_sampler_that_looks_at_too_much_says_so(photos, monkeypatch):
    monkeypatch.setattr(module, "MOST_PROBES", 1000)
    sampler = create("multinomial", photos.domain, 256, seed=0, edges=None)
    with pytest.raises(TooManyProbes):
        draw_batches(sampler, Wrong(photos), photos)
