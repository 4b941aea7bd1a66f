import math

import pytest
import torch

from softmine import SoftmineError
from softmine.radiance.compositing import composite, composite_twin, ray_of_each, visible


def rays_of(counts, channels=3, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def numbers(*shape):
        return torch.rand(*shape, generator=generator, dtype=dtype)

    starts = torch.tensor([0, *counts]).cumsum(0)
    total = int(starts[-1])
    inputs = [8 * numbers(total), numbers(total, channels), 0.2 * numbers(total), numbers(total)]
    return [tensor.requires_grad_() for tensor in inputs], starts


def test_a_slab_of_constant_density_lets_exp_of_its_depth_through():
    points = 1000
    width, density = 2.0 / points, 0.7
    distances = (torch.arange(points, dtype=torch.float64) + 0.5) * width
    flat = torch.ones_like(distances)
    rendered = composite(density * flat, flat[:, None], width * flat, distances, torch.tensor([0, points]))
    torch.testing.assert_close(rendered.opacity.item(), 1 - math.exp(-1.4))
    torch.testing.assert_close(rendered.color.item(), 1 - math.exp(-1.4))
    # The integral of t s exp(-s t) from 0 to 2; the middles of intervals are right to the second order.
    mean = (1 - math.exp(-1.4) * 2.4) / density
    assert rendered.depth.item() == pytest.approx(mean, rel=1e-5)
    expected = torch.exp(-density * width * torch.arange(points, dtype=torch.float64)) * (
        1 - math.exp(-density * width)
    )
    torch.testing.assert_close(rendered.weights, expected)


def test_the_front_layer_covers_the_back_one():
    alphas = torch.tensor([0.25, 0.5], dtype=torch.float64)
    colors = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    widths = torch.tensor([2.0, 0.5], dtype=torch.float64)
    density = -torch.log1p(-alphas) / widths
    rendered = composite(density, colors, widths, torch.tensor([1.0, 3.0]).double(), torch.tensor([0, 2]))
    torch.testing.assert_close(rendered.color, torch.tensor([[0.25, 0.0, 0.375]]).double())
    torch.testing.assert_close(rendered.opacity, torch.tensor([0.625]).double())
    torch.testing.assert_close(rendered.depth, torch.tensor([0.25 + 3 * 0.375]).double())


@pytest.mark.parametrize("density", [1e3, 1e30])
def test_walls_of_other_rays_cost_no_digits(density):
    (densities, colors, widths, distances), starts = rays_of([4] * 2000, dtype=torch.float32)
    with torch.no_grad():
        # As of an opaque field: the last interval of every ray is endless.
        densities[3::4], widths[3::4] = density, 1e10
    expected = composite(densities, colors, widths, distances, starts)
    weights, out = composite_twin(densities, colors, widths, distances, starts)
    torch.testing.assert_close(weights, expected.weights, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(out[:, -2], torch.ones(2000), rtol=1e-5, atol=1e-5)
    found = torch.autograd.grad(out.square().sum(), [densities, colors])
    assert all(gradient.isfinite().all() for gradient in found)


def test_rays_do_not_see_one_another_and_may_be_empty():
    inputs, starts = rays_of([0, 5, 0, 3, 0])
    rendered = composite(*inputs, starts)
    assert (rendered.opacity[[0, 2, 4]] == 0).all()
    assert (rendered.color[[0, 2, 4]] == 0).all()
    alone = composite(*[tensor[5:] for tensor in inputs], torch.tensor([0, 3]))
    torch.testing.assert_close(rendered.color[3:4], alone.color)
    torch.testing.assert_close(rendered.weights[5:], alone.weights)


@pytest.mark.parametrize("backend", ["", "torch"])
def test_gradients_are_those_of_finite_differences(backend, monkeypatch):
    monkeypatch.setenv("SOFTMINE_KERNELS", backend)
    inputs, starts = rays_of([3, 0, 1, 6])

    def values(*inputs):
        return tuple(composite(*inputs, starts))

    assert torch.autograd.gradcheck(values, inputs)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_the_loops_equal_the_twin_in_value_and_gradient(dtype, tolerance):
    counts = torch.randint(0, 60, (300,), generator=torch.Generator().manual_seed(1)).tolist()
    inputs, starts = rays_of(counts, dtype=dtype)
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    weights, out = composite_twin(*exact, starts)
    rendered = composite(*inputs, starts)
    found = torch.cat([rendered.color, rendered.opacity[:, None], rendered.depth[:, None]], 1)
    torch.testing.assert_close(found.double(), out, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(rendered.weights.double(), weights, atol=tolerance, rtol=tolerance)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    of_weights = torch.randn(weights.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    wanted = torch.autograd.grad((out * upstream).sum() + (weights * of_weights).sum(), exact)
    loss = (found * upstream.to(dtype)).sum() + (rendered.weights * of_weights.to(dtype)).sum()
    for one, other in zip(torch.autograd.grad(loss, inputs), wanted, strict=True):
        torch.testing.assert_close(one.double(), other, atol=10 * tolerance, rtol=10 * tolerance)


def test_an_opaque_point_hides_what_is_behind_without_nan():
    density = torch.tensor([1e30, 5.0], requires_grad=True)
    ones = torch.ones(2)
    rendered = composite(density, ones[:, None], ones, ones, torch.tensor([0, 2]))
    assert rendered.weights.tolist() == [1.0, 0.0]
    rendered.color.sum().backward()
    assert density.grad is not None
    assert density.grad.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("backend", ["", "torch"])
def test_visible_counts_the_points_that_light_reaches(backend, monkeypatch):
    monkeypatch.setenv("SOFTMINE_KERNELS", backend)
    # Transmittance before the points of the first ray: 1, 1/2, 1/4, 1/8.
    density = torch.full((8,), math.log(2.0), dtype=torch.float64)
    starts = torch.tensor([0, 4, 4, 5, 8])
    counts = visible(density, torch.ones_like(density), starts, threshold=0.2)
    assert counts.tolist() == [3, 0, 1, 3]


def test_dropping_what_is_hidden_changes_almost_nothing():
    inputs, starts = rays_of([60] * 20)
    density, colors, widths, distances = inputs
    density = density * 10
    counts = visible(density, widths, starts, 1e-4)
    rays = ray_of_each(starts, len(density))
    kept = torch.arange(len(density)) - starts[rays] < counts[rays]
    assert kept.double().mean() < 0.9
    fewer = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    whole = composite(density, colors, widths, distances, starts)
    part = composite(density[kept], colors[kept], widths[kept], distances[kept], fewer)
    assert (whole.color - part.color).abs().max() <= 1e-4


def test_starts_that_do_not_fit_are_refused():
    ones = torch.ones(2)
    with pytest.raises(SoftmineError, match="must end at the number of points, 2"):
        composite(ones, ones[:, None], ones, ones, torch.tensor([0, 3]))
    with pytest.raises(SoftmineError, match="between 0 and 1"):
        visible(ones, ones, torch.tensor([0, 2]), threshold=1.0)
