"""``PublishedLangevin`` against a plain NumPy account of the released arithmetic."""

import numpy as np
import pytest
import torch

from softmine import Box, Langevin, PublishedLangevin

HEIGHT, WIDTH, N = 33, 47, 200
EPS16 = 2.0**-10
EPS32 = np.float32(2.0**-23)


def residual_of(coords):
    """Two channels of error, smooth in unit coordinates."""
    return torch.stack(((6 * coords[:, 0]).sin() * 0.4 + 0.5, (5 * coords[:, 1]).cos() * 0.3), -1)


@pytest.mark.parametrize("step", [0, 300, 599, 2000])
def test_one_step_matches_the_release(step):
    sampler = PublishedLangevin(Box((HEIGHT, WIDTH)), N, seed=5)
    sampler.step.fill_(step)
    positions = sampler.particles[0].double().numpy().copy()

    # Pixels, weights and gradient, as the release computes them.
    pixels = np.round(positions * [HEIGHT - 1, WIDTH - 1])
    coords = torch.tensor((pixels + 0.5) / [HEIGHT, WIDTH], requires_grad=True)
    residual = residual_of(coords)
    importance = residual.detach().abs().mean(-1).numpy()
    correction = (1 / np.maximum(importance, EPS16)) ** min(step / 1000, 0.6)
    correction = np.minimum(np.maximum(correction, 0.2), correction.mean() + correction.std(ddof=1))
    weighted = torch.tensor(correction) * residual.square().mean(-1)
    (1024 * weighted.mean()).backward()
    per_pixel = coords.grad.numpy() / [HEIGHT, WIDTH]
    weighted = weighted.detach().numpy()
    score = per_pixel / (1024 * weighted[:, None] + EPS32)

    # The same random numbers, which the other sampler takes from the same stream.
    other = PublishedLangevin(Box((HEIGHT, WIDTH)), N)
    other.load_state_dict(sampler.state_dict())
    noise, _, fresh = (numbers.double().numpy() for numbers in other.draws.take())
    moved = positions + 20 * score + noise
    redraw = ((moved < 0) | (moved > 1)).any(-1) | (weighted <= np.sort(weighted)[N // 10])
    moved[-(N // 10) :] = fresh[-(N // 10) :]
    anew = np.floor(fresh * [HEIGHT, WIDTH]) / [HEIGHT - 1, WIDTH - 1]
    moved[redraw] = anew[redraw]
    expected = np.clip(moved, 0, 1)

    batch = sampler.draw()
    drawn = batch.coords
    torch.testing.assert_close(drawn.detach().double(), coords.detach(), rtol=0, atol=1e-6)
    error = residual_of(drawn)
    loss = error.square().mean(-1)
    importance = error.detach().abs().mean(-1)
    weights = sampler.weigh(batch, importance)
    np.testing.assert_allclose(weights.numpy(), correction, rtol=1e-5)
    (1024 * (weights * loss).mean()).backward()
    sampler.update(batch, importance, loss=loss.detach(), loss_scale=1024.0)
    np.testing.assert_allclose(sampler.particles[0].numpy(), expected, atol=2e-5)


@pytest.mark.parametrize(
    ("warmup", "step", "alpha"), [(1000, 300, 0.3), (1000, 600, 0.6), (1000, 900, 0.6), (0, 0, 0.6)]
)
def test_alpha_is_what_weights_are_made_with(warmup, step, alpha):
    sampler = PublishedLangevin(Box((9, 9)), 4, warmup=warmup, weight_min=0.0, weight_max=9.0, seed=0)
    sampler.step.fill_(step)
    assert sampler.alpha.item() == pytest.approx(alpha)
    weights = sampler.weigh(sampler.draw(), torch.full((4,), 0.5))
    torch.testing.assert_close(weights, torch.full((4,), 2.0**alpha))


def test_it_asks_for_a_constant_target():
    assert not PublishedLangevin(Box((8, 8)), 4).follows_signal
    assert Langevin(Box((8, 8)), 4).follows_signal


def test_a_batch_of_one_has_finite_weights():
    sampler = PublishedLangevin(Box((8, 8)), 1)
    assert torch.isfinite(sampler.weigh(sampler.draw(), torch.tensor([0.5]))).all()
