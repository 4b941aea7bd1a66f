import torch

from softmine.radiance.contraction import contract


def points(count, reach, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return reach * torch.randn(count, 3, dtype=torch.float64, generator=generator)


def test_the_unit_ball_stays_and_the_rest_comes_into_radius_2():
    x = points(1000, 3.0)
    y = contract(x)
    radius = x.norm(dim=-1)
    assert torch.equal(y[radius <= 1], x[radius <= 1])
    far = radius > 1
    torch.testing.assert_close(y[far].norm(dim=-1), 2 - 1 / radius[far])
    # The direction stays.
    torch.testing.assert_close(y / y.norm(dim=-1, keepdim=True), x / radius[:, None])


def test_the_border_is_smooth_and_the_origin_does_no_harm():
    inside, outside = (
        torch.tensor([[1 - 1e-7, 0.0, 0.0]]).double(),
        torch.tensor([[1 + 1e-7, 0.0, 0.0]]).double(),
    )
    slopes = []
    for x in (inside, outside):
        x.requires_grad_()
        slopes.append(torch.autograd.grad(contract(x)[0, 0], x)[0])
    torch.testing.assert_close(*slopes, atol=1e-6, rtol=0)
    zero = torch.zeros(1, 3, requires_grad=True)
    contract(zero).sum().backward()
    assert zero.grad is not None
    assert zero.grad.tolist() == [[1.0, 1.0, 1.0]]


def test_its_gradient_is_that_of_finite_differences():
    assert torch.autograd.gradcheck(contract, points(20, 2.0, seed=1).requires_grad_())


def test_far_points_keep_their_order():
    x = torch.tensor([[10.0, 0.0, 0.0], [1e3, 0.0, 0.0], [1e6, 0.0, 0.0]])
    y = contract(x)[:, 0]
    assert (y.diff() > 0).all()
    assert y[-1] <= 2
