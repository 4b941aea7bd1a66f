import pytest
import torch

from softmine import FourierField, HashGridField, Siren, SoftmineError, fields


@pytest.mark.parametrize("name", fields.FIELDS)
@pytest.mark.parametrize("shape", [(100,), (20, 30), (8, 9, 10)])
def test_every_field_returns_values_and_passes_gradients_to_coordinates(name, shape):
    torch.manual_seed(0)
    field = fields.create(name, shape, channels=3)
    coords = torch.rand(7, len(shape), requires_grad=True)
    values = field(coords)
    assert values.shape == (7, 3)
    values.sum().backward()
    assert coords.grad.abs().sum() > 0


def test_siren_activations_keep_their_spread_through_the_layers():
    """The initialization's promise (section 3.2 of the paper): products of later layers are near N(0, 1)."""
    torch.manual_seed(0)
    siren = Siren(2, 1, hidden=256, layers=4)
    hidden = 2 * torch.rand(4000, 2) - 1
    for index, (omega, linear) in enumerate(zip(siren.omegas, siren.linears, strict=True)):
        before = omega * linear(hidden)
        if index >= 2:
            assert 0.8 < (before - omega * linear.bias).std().item() < 1.25
        hidden = before.sin()


def test_fourier_bandwidth_sets_the_frequency():
    torch.manual_seed(0)
    narrow, wide = FourierField(1, 1, bandwidth=1.0), FourierField(1, 1, bandwidth=30.0)
    assert wide.projection.std() > 20 * narrow.projection.std()
    assert "projection" in wide.state_dict(), "a checkpoint must bring the projection back"


@pytest.mark.parametrize(
    ("name", "kind"), [("hashgrid", HashGridField), ("siren", Siren), ("fourier", FourierField)]
)
def test_fields_are_found_by_name(name, kind):
    assert isinstance(fields.create(name, (8, 8), 1), kind)


def test_an_unknown_field_gets_the_nearest_name():
    with pytest.raises(SoftmineError, match="unknown field 'sirne': did you mean siren"):
        fields.create("sirne", (8, 8), 1)
