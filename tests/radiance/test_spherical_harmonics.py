import torch
from torch.nn import functional

from softmine.radiance.spherical_harmonics import HARMONICS, spherical_harmonics


def test_they_are_orthonormal_over_the_sphere():
    # Gauss-Legendre in z and equal angles around it integrate polynomials of this degree exactly.
    import numpy as np

    nodes, weights = np.polynomial.legendre.leggauss(8)
    z, angle = torch.tensor(nodes), torch.arange(16).double() * (2 * torch.pi / 16)
    radius = (1 - z * z).sqrt()
    x, y = radius[:, None] * angle.cos(), radius[:, None] * angle.sin()
    directions = torch.stack([x, y, z[:, None].expand_as(x)], -1).view(-1, 3)
    measure = torch.tensor(weights)[:, None].expand_as(x).reshape(-1) * (2 * torch.pi / 16)
    values = spherical_harmonics(directions)
    torch.testing.assert_close(
        values.T @ (measure[:, None] * values), torch.eye(HARMONICS, dtype=torch.float64)
    )


def test_they_equal_scipys():
    from scipy import special

    torch.manual_seed(0)
    directions = functional.normalize(torch.randn(50, 3, dtype=torch.float64), dim=-1)
    x, y, z = directions.unbind(-1)
    values = spherical_harmonics(directions)
    for band in range(4):
        for order in range(-band, band + 1):
            # Real harmonics by the associated Legendre polynomials; their sign (-1)^m is taken out.
            legendre = torch.tensor(special.lpmv(abs(order), band, z.numpy())) * (-1) ** order
            share = special.factorial(band - abs(order)) / special.factorial(band + abs(order))
            scale = ((2 * band + 1) / (4 * torch.pi) * share * (2 if order else 1)) ** 0.5
            angle = torch.atan2(y, x)
            around = (-order * angle).sin() if order < 0 else (order * angle).cos()
            torch.testing.assert_close(values[:, band * band + band + order], scale * legendre * around)


def test_their_gradient_is_that_of_finite_differences():
    directions = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(spherical_harmonics, directions.requires_grad_())
