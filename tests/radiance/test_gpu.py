"""The way of rays on a GPU, with the kernels' twins on the CPU: it renders and learns what the CPU's own way does."""

import math

import pytest
import torch
from torch.nn import functional

from softmine.optim import RowAdam
from softmine.radiance import bounded_rays, gpu
from softmine.radiance.bounded_rays import OccupancyGrid, Room
from softmine.radiance.field import RadianceField

BOX = ((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0))
SMALL = {"levels": 3, "log2_table_size": 10, "finest_resolution": 16, "hidden": 16, "steps": 32, "seed": 0}
KINDS = {
    "box": {},
    "all of space": {"box": None, "unbounded": True},
    "device coordinates": {"unbounded": True},
}
each_kind = pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)


@pytest.fixture
def fixed(monkeypatch):
    """Switches between the ways: ``fixed(True)`` is the one of a GPU."""

    def switch(on):
        monkeypatch.setattr(gpu, "takes", lambda _: on)

    monkeypatch.setattr(gpu, "backend_for", lambda *_: "torch")
    switch(True)
    return switch


def field_of(box=BOX, **changes):
    torch.manual_seed(0)
    field = RadianceField(box, near=0.0, far=8.0, **{**SMALL, **changes})
    # As small as a new table is, position would not matter.
    torch.nn.init.uniform_(field.encoding.table, -0.5, 0.5)
    return field


def rays_of(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    origins = 3 * functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    return origins, torch.rand(count, 3, generator=generator) - 0.5 - origins


def learned_from(field, rays):
    """What rays see, and all gradients, of rays and parameters."""
    rays = [tensor.detach().clone().requires_grad_(tensor.requires_grad) for tensor in rays]
    rendered = field(*rays)
    loss = (rendered.color.square().sum(-1) + rendered.opacity + 0.1 * rendered.depth).mean()
    extra = field.regularization()
    (loss if extra is None else loss + extra).backward()
    grads = [tensor.grad for tensor in (*rays, *field.parameters())]
    return rendered[:3], extra, grads


@each_kind
@pytest.mark.parametrize("opaque", [False, True])
@pytest.mark.parametrize("follow", [False, True])
def test_a_step_equals_the_cpus_in_value_and_gradient(changes, opaque, follow, fixed):
    rays = [tensor.requires_grad_(follow) for tensor in rays_of(60)]
    results = []
    for on in (True, False):
        fixed(on)
        field = field_of(**changes)
        field.opaque = opaque and bool(changes)
        field.rays.random.load_state_dict({**field.rays.random.state_dict(), "counter": torch.tensor(123)})
        results.append((*learned_from(field, rays), field.costs.long(), field.rays.random.counter))
    torch.testing.assert_close(*results, rtol=2e-4, atol=2e-6)
    assert any(grad is not None and grad.abs().sum() > 0 for grad in results[0][2][2:])


@each_kind
def test_evaluation_equals_the_cpus(changes, fixed):
    found = []
    for on in (True, False):
        fixed(on)
        with torch.no_grad():
            found.append(field_of(**changes).eval()(*rays_of(80))[:3])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


def fog(density, **changes):
    """One density and one color everywhere."""
    field = field_of(**changes)
    for network, outputs in ((field.density_network, math.log(density)), (field.color_network, 0.3)):
        for parameter in network.parameters():
            torch.nn.init.zeros_(parameter)
        torch.nn.init.constant_(network[-1].bias, outputs)
    return field


@pytest.mark.parametrize("density", [0.3, 3.0])
def test_fog_in_a_box_lets_exp_of_the_way_through(density, fixed):
    field = fog(density, steps=400)
    origins, directions = rays_of(200)
    rendered = field.eval()(origins, directions)
    unit = functional.normalize(directions, dim=-1)
    one, other = (-1 - origins) / unit, (1 - origins) / unit
    enter, leave = torch.minimum(one, other).amax(1), torch.maximum(one, other).amin(1)
    way = (leave - enter).clamp(min=0)
    assert (way > 0).sum() > 100
    # Densities are per side of the cube, which is 2; the last interval may be cut short.
    wanted = 1 - torch.exp(-density * way / 2)
    bound = 1.01 * density * field.rays.step
    assert ((rendered.opacity - wanted).abs() <= bound).all()
    torch.testing.assert_close(rendered.color, rendered.opacity[:, None].expand(-1, 3) / (1 + math.exp(-0.3)))
    # The mean distance of what absorbs: the integral of t s exp(-s t) by the distance.
    s = density / 2
    behind = enter * wanted + (1 - torch.exp(-s * way) * (1 + s * way)) / s
    hit = way > 0.1
    depth = rendered.depth * directions.norm(dim=-1)
    torch.testing.assert_close(depth[hit], behind[hit], atol=5 * bound, rtol=0)


@pytest.mark.parametrize("changes", [KINDS["all of space"], KINDS["device coordinates"]])
def test_fog_without_bounds_lets_exp_of_the_whole_way_through(changes, fixed):
    field = fog(0.4, **changes)
    origins, directions = rays_of(50)
    rendered = field(origins, directions)
    # From 0 to 8, in lengths of the directions where space is not drawn together; 4 is the side of all of space.
    way = 8 / 4 if field.contracts else 8 * directions.norm(dim=-1) / 2
    # The first and the last edge that are drawn are not the ends of the way.
    share = rendered.opacity / (1 - torch.exp(-0.4 * torch.as_tensor(way)))
    assert (share <= 1 + 1e-5).all()
    assert (share > 0.8).all()


def ball_loss(field, count, generator):
    """Rays past a dark ball of radius 0.4: opacity is 1 where they hit it."""
    origins = 3 * functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    targets = 0.8 * (torch.rand(count, 3, generator=generator) - 0.5) * 2
    directions = functional.normalize(targets - origins, dim=-1)
    along = (origins * directions).sum(-1, keepdim=True)
    hit = ((origins - along * directions).norm(dim=-1) < 0.4).float()
    return (field(origins, directions).opacity - hit).square().mean()


def test_it_learns_a_ball_as_well_as_the_cpu(fixed, monkeypatch):
    losses, points = [], []
    monkeypatch.setattr(bounded_rays, "CELLS", 4096)
    for on in (True, False):
        fixed(on)
        field = field_of(levels=4)
        # A smaller grid: the twins look through it for a second each time otherwise.
        field.rays.occupancy = OccupancyGrid(32, threshold=field.rays.occupancy.threshold, seed=1)
        torch.nn.init.uniform_(field.encoding.table, -1e-4, 1e-4)
        optimizer = RowAdam(field.parameters(), lr=1e-2, batch_size=256)
        generator = torch.Generator().manual_seed(0)
        for step in range(1, 145):
            loss = ball_loss(field, 256, generator)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            field.after_step(step)
        assert int(field.rays.stride) == 1
        assert 0.02 < field.rays.occupancy.share < 0.3
        assert field.rays.dropped == 0
        points.append(field.costs.float().mean().item())
        losses.append(ball_loss(field.eval(), 2000, generator).item())
    # Two seeds of one way differ by as much.
    assert losses[0] < 1.3 * losses[1]
    assert points[0] == pytest.approx(points[1], rel=0.2)


def test_rays_without_room_teach_nothing_and_are_counted(fixed):
    field, other = field_of(), field_of()
    for each in (field, other):
        each.rays.stride.fill_(1)
    rays = rays_of(64)
    field(*rays)
    room, whole = field.rays.room, other(*rays)
    room._marched = room._seen = 4.0
    field.rays.random.load_state_dict(field_of().rays.random.state_dict())
    rendered = field(*rays)
    kept = field.costs > 0
    assert field.costs.sum() <= field.rays.capacity[0] == 2 * gpu.BLOCK
    assert 5 < kept.sum() < 60
    torch.testing.assert_close(rendered.color[kept], whole.color[kept])
    assert not rendered.color[~kept].any()
    assert not rendered.opacity[~kept].any()
    wanted = int(field.rays.room.usage[0])
    assert wanted > 2 * gpu.BLOCK
    field.after_step(16)
    # What was sent at the end of a period is used at the end of the next.
    assert field.rays.dropped == 0
    field(*rays)
    field.after_step(32)
    assert field.rays.dropped >= 64 - int(kept.sum()) - int((whole.opacity == 0).sum())
    # A ray has too many points at this step, too.
    assert int(field.rays.stride) == 2
    assert field.rays.capacity[0] > wanted / 2
    field(*rays)
    assert (field.costs > 0).all()
    # Who learns nothing gets all rays, whatever room there is.
    room._marched = room._seen = 1.0
    with torch.no_grad():
        assert (field(*rays).opacity > 0).all()


def test_room_follows_need_and_stride(fixed):
    stride = torch.tensor(8)
    room = Room(torch.device("cpu"), step=math.sqrt(3) / 256, stride=8)
    # All points of the diagonal, at the longest step.
    assert room.marched_by(1000) >= 1000 * 33
    room.usage[:4] = torch.tensor([4000, 3000, 0, 4000])
    room.follow(stride)
    assert room.marched_by(1000) >= 1000 * 33
    room.follow(stride)
    # 4 points a ray at a step of 8 are 32 at the finest, and 16 at a step of 2.
    assert int(stride) == 2
    assert 1000 * 20 <= room.marched_by(1000) <= 1000 * 22
    assert 1000 * 15 <= room.seen_by(1000) <= 1000 * 17
    assert room.dropped == 0


def test_the_state_of_a_run_has_its_room_made_anew(fixed):
    field, other = field_of(), field_of()
    field(*rays_of(8))
    assert field.rays.capacity is not None
    other.load_state_dict(field.state_dict())
    field.load_state_dict(other.state_dict())
    assert field.rays.capacity is None


def test_occupied_cells_are_chosen_alike(fixed):
    grid = OccupancyGrid(8, threshold=1.0, seed=3)
    grid.occupied.view(-1)[:] = False
    grid.occupied.view(-1)[[5, 77, 300, 511]] = True
    few = grid._full_fixed(12)
    assert few.bincount(minlength=512)[[5, 77, 300, 511]].tolist() == [3, 3, 3, 3]
    many = grid._full_fixed(3)
    assert set(many.tolist()) <= {5, 77, 300, 511}
    grid.occupied[:4] = True
    drawn = torch.cat([grid._full_fixed(200) for _ in range(200)]).bincount(minlength=512)
    assert not drawn[~grid.occupied.view(-1)].any()
    there = drawn[grid.occupied.view(-1)].double()
    # Chi-squared: below mean + 5 standard deviations, but for once in a million runs.
    expected = there.mean()
    degrees = len(there) - 1
    assert ((there - expected).square() / expected).sum() < degrees + 5 * math.sqrt(2 * degrees)
    grid.occupied[:] = False
    assert grid._full_fixed(4).shape == (4,)


def test_a_report_arrives_once():
    report = gpu.Report()
    assert report.read() is None
    numbers = torch.tensor([1, 2])
    report.send(numbers)
    numbers.zero_()
    assert report.read() == [1, 2]
    assert report.read() is None
