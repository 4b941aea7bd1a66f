import pytest
import torch
from torch.nn import functional

from softmine import SoftmineError
from softmine.optim import RowAdam
from softmine.radiance.field import HARMONICS, RadianceField, contract, field_for, spherical_harmonics
from softmine.radiance.scenes.scene import Bounds

BOX = ((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0))
SMALL = {"levels": 3, "log2_table_size": 10, "finest_resolution": 16, "hidden": 16, "steps": 32, "seed": 0}


def field_of(box=BOX, **changes):
    torch.manual_seed(0)
    field = RadianceField(box, near=0.0, far=8.0, **{**SMALL, **changes})
    # As small as a new table is, position would not matter.
    torch.nn.init.uniform_(field.encoding.table, -0.5, 0.5)
    return field


def rays_of(count, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    origins = 3 * functional.normalize(torch.randn(count, 3, generator=generator, dtype=dtype), dim=-1)
    return origins, torch.rand(count, 3, generator=generator, dtype=dtype) - 0.5 - origins


KINDS = {
    "box": {},
    "all of space": {"box": None, "unbounded": True},
    "device coordinates": {"unbounded": True},
}
each_kind = pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)


@each_kind
def test_every_kind_renders_and_learns(changes):
    field = field_of(**changes)
    origins, directions = rays_of(50)
    rendered = field(origins, directions)
    assert rendered.color.shape == (50, 3)
    assert ((rendered.opacity > 0) & (rendered.opacity <= 1 + 1e-5)).any()
    assert (rendered.color <= rendered.opacity[:, None] + 1e-5).all()
    assert field.costs.shape == (50,)
    loss = rendered.color.square().mean()
    extra = field.regularization()
    assert (extra is None) == (not changes)
    (loss if extra is None else loss + extra).backward()
    assert all((p.grad is not None and p.grad.abs().sum() > 0) for p in field.parameters())


@each_kind
@pytest.mark.parametrize("training", [False, True])
def test_no_rays_see_nothing(changes, training):
    rendered = field_of(**changes).train(training)(torch.zeros(0, 3), torch.zeros(0, 3))
    assert rendered.color.shape == (0, 3)
    assert rendered.opacity.shape == rendered.depth.shape == rendered.weights.shape == (0,)


@each_kind
def test_evaluation_is_the_same_each_time_and_training_is_not(changes):
    field = field_of(**changes)
    rays = rays_of(20)
    one, other = field(*rays), field(*rays)
    assert not torch.equal(one.color, other.color)
    field.eval()
    one, other = field(*rays), field(*rays)
    assert torch.equal(one.color, other.color)


@each_kind
def test_the_shifts_of_training_go_on_from_the_state(changes):
    field = field_of(**changes)
    rays = rays_of(20)
    field(*rays)
    other = field_of(**changes)
    other.load_state_dict(field.state_dict())
    assert torch.equal(field(*rays).color, other(*rays).color)


def test_a_gradient_of_the_rays_is_that_of_finite_differences():
    """Positions and colors follow the rays; the distances of points count as constant, so that origins are moved here
    inside the box and directions about the view, with ``near`` beyond where the rays enter."""
    field = field_of().double().eval()
    field.rays.near = 0.05
    origins = torch.tensor([[0.1, 0.05, -0.21], [-0.3, 0.13, 0.24]], dtype=torch.float64)
    directions = torch.tensor([[0.3, -0.2, 0.9], [-0.5, 0.7, 0.1]], dtype=torch.float64)

    def colors(origins, directions):
        return field(origins, directions).color

    inputs = (origins.requires_grad_(), directions.requires_grad_())
    assert torch.autograd.gradcheck(colors, inputs, eps=1e-8, atol=1e-4)


def test_rays_that_need_no_gradient_cost_none():
    field = field_of()
    origins, directions = rays_of(10)
    plain = field.eval()(origins, directions)
    asked = field(origins, directions.clone().requires_grad_())
    torch.testing.assert_close(plain.color, asked.color, atol=1e-5, rtol=1e-4)


def test_the_loops_and_plain_torch_render_the_same(monkeypatch):
    field = field_of().double().eval()
    rays = rays_of(40, torch.float64)
    fused = field(*rays)
    fused.color.sum().backward()
    wanted = [parameter.grad.clone() for parameter in field.parameters() if parameter.grad is not None]
    field.zero_grad()
    monkeypatch.setenv("SOFTMINE_KERNELS", "torch")
    plain = field(*rays)
    plain.color.sum().backward()
    torch.testing.assert_close(fused, plain)
    for one, other in zip(field.parameters(), wanted, strict=True):
        torch.testing.assert_close(one.grad, other)


def test_length_of_the_directions_scales_the_depth_alone():
    field = field_of().eval()
    origins, directions = rays_of(20)
    one, other = field(origins, directions), field(origins, 2 * directions)
    torch.testing.assert_close(one.color, other.color, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(one.depth, 2 * other.depth, atol=1e-5, rtol=1e-4)


def test_a_box_may_lie_anywhere_and_have_any_size():
    field = field_of()
    moved = field_of(((8.0, 8.0, 8.0), (12.0, 12.0, 12.0)))
    origins, directions = rays_of(20)
    torch.testing.assert_close(
        field.eval()(origins, directions).color,
        moved.eval()(2 * origins + 10, directions).color,
        atol=1e-4,
        rtol=1e-3,
    )


def ball_loss(field, count, generator):
    """Rays past a dark ball of radius 0.4: opacity is 1 where they hit it."""
    origins = 3 * functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    targets = 0.8 * (torch.rand(count, 3, generator=generator) - 0.5) * 2
    directions = functional.normalize(targets - origins, dim=-1)
    along = (origins * directions).sum(-1, keepdim=True)
    hit = ((origins - along * directions).norm(dim=-1) < 0.4).float()
    return (field(origins, directions).opacity - hit).square().mean()


def test_training_empties_space_early_and_learns_a_ball():
    field = field_of(levels=4)
    torch.nn.init.uniform_(field.encoding.table, -1e-4, 1e-4)
    optimizer = RowAdam(field.parameters(), lr=1e-2, batch_size=256)
    assert optimizer.param_groups[0]["row_wise"]
    generator = torch.Generator().manual_seed(0)
    first = None
    for step in range(1, 161):
        loss = ball_loss(field, 256, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        field.after_step(step)
        first = first or loss.item()
    # The ball fills 0.033 of the cube.
    assert 0.02 < field.rays.occupancy.share < 0.3
    assert int(field.rays.stride) == 1
    assert ball_loss(field.eval(), 2000, generator).item() < 0.1 * first


@pytest.mark.parametrize(
    ("bounds", "unbounded", "contracts"),
    [
        (Bounds("box", 0.5, 6.0), False, False),
        (Bounds("ndc", 0.0, 1.0), True, False),
        (Bounds("unbounded", 0.05, 100.0), True, True),
    ],
)
def test_a_scene_says_which_kind_it_is(bounds, unbounded, contracts):
    field = field_for(bounds, **SMALL)
    assert (field.regularization is not None, field.contracts) == (True, contracts)
    assert hasattr(field.rays, "proposal") == unbounded


@pytest.mark.parametrize("changes", [{"box": None, "unbounded": True}, {"unbounded": True}])
def test_rays_of_an_opaque_field_end_in_matter(changes):
    field = field_of(**changes)
    with torch.no_grad():
        field.density_network[-1].bias[0] -= 10  # thin air
    origins, directions = rays_of(50)
    assert field(origins, directions).opacity.max() < 0.9
    field.opaque = True
    rendered = field(origins, directions)
    torch.testing.assert_close(rendered.opacity, torch.ones(50))
    assert (rendered.depth * directions.norm(dim=-1) < 1000).all()
    rendered.color.square().mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in field.parameters())


def test_points_of_all_space_are_in_the_cube():
    field = field_of(None, unbounded=True)
    points = field.to_unit(1e4 * torch.randn(100, 3, generator=torch.Generator().manual_seed(0)))
    assert ((points > 0) & (points < 1)).all()


def test_what_makes_no_sense_is_refused():
    with pytest.raises(SoftmineError, match="needs a box, unless it is unbounded"):
        RadianceField()
    with pytest.raises(SoftmineError, match="lower corner first"):
        RadianceField((BOX[1], BOX[0]))
    with pytest.raises(SoftmineError, match="nearer end"):
        RadianceField(BOX, near=2.0, far=1.0)


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
