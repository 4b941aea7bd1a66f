import pytest
import torch
from torch.func import functional_call, jvp, vjp

from softmine import Box, FieldProbe, HashGridField, Image, Siren
from softmine.optim import RowAdam
from softmine.training import probe as module
from softmine.training.probe import influence

BOX = Box((6, 7))
IMAGE = Image(torch.rand(6, 7, 3, generator=torch.Generator().manual_seed(0)))


def make(kind, seed=0):
    torch.manual_seed(seed)
    if kind == "siren":
        return Siren(2, 3, hidden=16, layers=1)
    field = HashGridField(2, 3, hidden=8, layers=1, levels=3, log2_table_size=5, finest_resolution=8)
    # Trained tables are not tiny.
    torch.nn.init.uniform_(field.encoding.table, -1.0, 1.0)
    return field


def dense(field, coords, residual):
    """|J J^T r| with a Jacobian (N C, P) made row by row."""
    rows = []
    parameters = list(field.parameters())
    for value in field(coords).flatten():
        row = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        rows.append(torch.cat([g.flatten() for g in row if g is not None]))
    jacobian = torch.stack(rows).double()
    return (jacobian @ (jacobian.T @ residual.flatten().double())).view_as(residual).norm(dim=-1).float()


@pytest.mark.parametrize("kind", ["siren", "hashgrid"])
def test_the_influence_is_that_of_the_dense_kernel(kind):
    field = make(kind)
    coords = BOX.centers(torch.arange(BOX.cells))
    expected = dense(field, coords, (field(coords) - IMAGE(coords)).detach())
    found = FieldProbe(field, IMAGE).influence(BOX)
    assert not found.requires_grad
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2 * expected.mean().item())


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's own, of its first jvp
def test_the_difference_to_either_side_is_the_forward_derivative():
    field, coords = make("siren"), BOX.centers(torch.arange(BOX.cells))
    parameters = {name: parameter.detach() for name, parameter in field.named_parameters()}

    def values(parameters):
        return functional_call(field, parameters, (coords,))

    residual, back = vjp(values, parameters)
    (direction,) = back(residual - IMAGE(coords))
    _, expected = jvp(values, (parameters,), (direction,))
    torch.testing.assert_close(
        influence(field, IMAGE, BOX),
        expected.norm(dim=-1),
        rtol=1e-2,
        atol=1e-2 * expected.norm(dim=-1).mean().item(),
    )


def test_chunks_add_up(monkeypatch):
    field = make("siren")
    whole = influence(field, IMAGE, BOX)
    monkeypatch.setattr(module, "CHUNK", 5)
    torch.testing.assert_close(influence(field, IMAGE, BOX), whole, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("kind", ["siren", "hashgrid"])
def test_parameters_gradients_and_optimizers_stay_as_they_were(kind):
    def train(look):
        field = make(kind)
        optimizer = RowAdam(field.parameters(), lr=1e-2, batch_size=256)
        for _ in range(3):
            coords = BOX.centers(torch.arange(BOX.cells))
            (field(coords) - IMAGE(coords)).square().mean().backward()
            if look:
                kept = [None if p.grad is None else p.grad.clone() for p in field.parameters()]
                assert FieldProbe(field, IMAGE).influence(BOX).max() > 0
                for parameter, before in zip(field.parameters(), kept, strict=True):
                    if before is None:
                        assert parameter.grad is None
                    else:
                        assert torch.equal(parameter.grad, before)
            optimizer.step()
            optimizer.zero_grad()
        return torch.cat([parameter.detach().flatten() for parameter in field.parameters()])

    assert torch.equal(train(look=False), train(look=True))


def test_a_field_without_error_has_no_influence():
    field = make("siren")

    class Same(Image):
        def forward(self, coords):
            return field(coords)

    assert FieldProbe(field, Same(IMAGE.stored.view(6, 7, 3))).influence(BOX).tolist() == [0.0] * 42


def test_frozen_parameters_do_not_count():
    field = make("siren")
    for linear in field.linears:
        linear.requires_grad_(False)
    coords = BOX.centers(torch.arange(BOX.cells))
    residual = (field(coords) - IMAGE(coords)).detach()
    hidden = 2 * coords - 1
    for omega, linear in zip(field.omegas, field.linears, strict=True):
        hidden = (omega * linear(hidden)).sin()
    hidden = torch.cat((0.5 * hidden, torch.full((42, 1), 0.5)), 1)
    expected = (hidden @ hidden.T @ residual).norm(dim=-1)
    torch.testing.assert_close(influence(field, IMAGE, BOX), expected, rtol=1e-2, atol=1e-2)
