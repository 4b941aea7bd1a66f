import pytest
import torch

from softmine import SoftmineError
from softmine.radiance import renderer as module
from softmine.radiance.field import RadianceField
from softmine.radiance.renderer import Renderer


class Turntable:
    """Views from around the origin; rays bend smoothly with row and column."""

    def __init__(self, channels=4):
        self.channels = channels

    def rays(self, coords):
        angle = (coords[:, 0].detach() * 4).floor() * (torch.pi / 2)
        origins = torch.stack([3 * angle.cos(), 3 * angle.sin(), 0 * angle], -1)
        across = torch.stack([-angle.sin(), angle.cos(), 0 * angle], -1)
        up = torch.tensor([0.0, 0.0, 1.0], dtype=coords.dtype)
        row, column = coords[:, 1:2] - 0.5, coords[:, 2:] - 0.5
        return origins, -origins / 3 + 0.5 * column * across - 0.5 * row * up


def renderer_of(channels=4, **changes):
    torch.manual_seed(0)
    box = None if changes.get("unbounded") else ((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0))
    settings = {"levels": 3, "log2_table_size": 10, "finest_resolution": 16, "hidden": 16, "steps": 32}
    field = RadianceField(box, near=0.05, far=8.0, seed=0, **settings, **changes)
    torch.nn.init.uniform_(field.encoding.table, -0.5, 0.5)
    return Renderer(field, Turntable(channels))


def coords_of(count, seed=0):
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(seed))


def test_four_channels_are_color_before_mid_grey_and_half_the_opacity():
    renderer, coords = renderer_of().eval(), coords_of(30)
    values, rendered = renderer(coords), renderer.render(coords)
    assert values.shape == (30, 4)
    torch.testing.assert_close(values[:, 3], rendered.opacity / 2)
    torch.testing.assert_close(values[:, :3], rendered.color + (1 - rendered.opacity[:, None]) / 2)


def test_three_channels_are_the_color_before_mid_grey():
    values = renderer_of(3).eval()(coords_of(30))
    torch.testing.assert_close(values, renderer_of(4).eval()(coords_of(30))[:, :3])


@pytest.mark.parametrize("changes", [{}, {"unbounded": True}])
def test_coordinates_get_a_gradient_when_they_ask(changes):
    renderer = renderer_of(**changes)
    coords = coords_of(30).requires_grad_()
    renderer(coords).sum().backward()
    assert coords.grad is not None
    assert (coords.grad[:, 0] == 0).all()
    assert (coords.grad[:, 1:] != 0).any(0).all()


def test_evaluation_in_parts_gives_the_same(monkeypatch):
    renderer, coords = renderer_of().eval(), coords_of(50)
    whole, costs = renderer(coords), renderer.costs
    monkeypatch.setattr(module, "CHUNK", 16)
    torch.testing.assert_close(renderer(coords), whole)
    assert torch.equal(renderer.costs, costs)
    assert renderer.points == int(costs.sum()) > 0
    assert renderer(coords[:0]).shape == (0, 4)


def test_the_loss_of_the_proposal_is_there_until_the_step_is_done():
    renderer = renderer_of(unbounded=True)
    assert renderer.regularization() is None
    renderer(coords_of(20))
    loss = renderer.regularization()
    assert loss is not None
    assert loss.item() > 0
    with torch.no_grad():
        renderer(coords_of(20, seed=1))
    assert renderer.regularization() is loss
    renderer.after_step(1)
    assert renderer.regularization() is None
    renderer = renderer_of()
    renderer(coords_of(20))
    assert renderer.regularization() is None


def test_photos_without_opacity_have_no_holes():
    assert (renderer_of(3, unbounded=True).render(coords_of(20)).opacity > 0.9999).all()
    assert renderer_of(4, unbounded=True).render(coords_of(20)).opacity.min() < 0.99


def test_pictures_are_no_part_of_it_and_may_be_changed():
    renderer = renderer_of()
    other = Turntable()
    renderer.photos = other
    assert renderer.photos is other
    assert all(name.startswith("field.") for name in renderer.state_dict())


def test_pictures_that_are_a_module_are_changed_all_the_same():
    class Others(torch.nn.Module, Turntable):
        def __init__(self):
            super().__init__()
            self.channels = 4
            self.register_buffer("pixels", torch.zeros(3))

    renderer, other = renderer_of(), Others()
    renderer.photos = other
    assert renderer.photos is other
    assert all(name.startswith("field.") for name in renderer.state_dict())


def test_other_numbers_of_channels_are_refused():
    with pytest.raises(SoftmineError, match="3 or 4 channels"):
        renderer_of(1)
