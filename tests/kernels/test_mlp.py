import itertools

import pytest
import torch
from torch import nn

from softmine import HashGridField, SoftmineError
from softmine.fields.mlp import evaluate, mlp
from softmine.kernels import fits_fused_mlp, fused_mlp, set_threads


@pytest.fixture(autouse=True)
def _numba(monkeypatch):
    monkeypatch.delenv("SOFTMINE_KERNELS", raising=False)


def case(points, inputs, outputs, hidden, layers, dtype=torch.float32):
    torch.manual_seed(points)
    network = mlp(inputs, outputs, hidden=hidden, layers=layers).to(dtype)
    x = torch.randn(points, inputs, dtype=dtype, requires_grad=True)
    return network, x, torch.randn(points, outputs, dtype=dtype)


def value_and_gradients(function, network, x, upstream):
    value = function(x)
    return value, *torch.autograd.grad(value, [x, *network.parameters()], upstream)


# Blocks of 64 points, parts of 128, widths padded to 8: around each of these, and what a field has.
SHAPES = [
    (512, 32, 1, 64, 2),
    (2048, 32, 3, 64, 2),
    (1, 5, 2, 11, 1),
    (63, 8, 8, 24, 3),
    (129, 1, 9, 40, 2),
    (65, 33, 1, 56, 1),
    (130, 7, 3, 8, 0),
    (9000, 4, 17, 7, 2),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_value_and_gradients_equal_the_modules(shape, dtype):
    network, x, upstream = case(*shape, dtype=dtype)
    layers = list(network.parameters())
    assert fits_fused_mlp(x, layers)
    found = value_and_gradients(lambda x: fused_mlp(x, layers), network, x, upstream)
    exact = network.double()
    wanted = value_and_gradients(exact, exact, x.double().detach().requires_grad_(), upstream.double())
    for one, other in itertools.zip_longest(found, wanted):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= 64 * torch.finfo(dtype).eps * other.abs().max()


def test_strided_inputs_and_gradients():
    network, _, _ = case(100, 6, 2, 16, 2)
    x = torch.randn(6, 100).t().requires_grad_()
    layers = list(network.parameters())
    found = value_and_gradients(
        lambda x: fused_mlp(x, layers), network, x, torch.ones(2, 1).expand(2, 100).t()
    )
    wanted = value_and_gradients(network, network, x, torch.ones(100, 2))
    torch.testing.assert_close(found, wanted)


def test_threads_do_not_change_a_bit():
    network, x, upstream = case(3000, 32, 3, 64, 2)
    layers = list(network.parameters())
    results = []
    try:
        for count in (1, 2, 2, 4):
            set_threads(count)
            results.append(value_and_gradients(lambda x: fused_mlp(x, layers), network, x, upstream))
    finally:
        set_threads(None)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_a_nan_stays_in_its_point():
    network, x, _ = case(100, 8, 1, 16, 2)
    with torch.no_grad():
        x[70, 3] = torch.nan
    value = fused_mlp(x, list(network.parameters()))
    assert value.isnan().nonzero()[:, 0].tolist() == [70]
    (grad,) = torch.autograd.grad(value[:70].sum(), x)
    assert grad[:70].isfinite().all()


def test_what_is_frozen_gets_no_gradient():
    network, x, _ = case(20, 8, 1, 16, 1)
    layers = list(network.parameters())
    layers[0].requires_grad_(False)
    fused_mlp(x.detach(), layers).sum().backward()
    assert x.grad is None
    assert layers[0].grad is None
    assert layers[2].grad is not None
    with torch.no_grad():
        assert not fused_mlp(x, layers).requires_grad


def test_a_batch_may_be_empty():
    network, _, _ = case(1, 8, 3, 16, 1)
    x = torch.empty(0, 8, requires_grad=True)
    value = fused_mlp(x, list(network.parameters()))
    assert value.shape == (0, 3)
    value.sum().backward()
    assert all((parameter.grad == 0).all() for parameter in network.parameters())


def test_an_input_changed_before_the_backward_is_noticed():
    network, x, _ = case(20, 8, 1, 16, 1)
    x = x.detach()
    value = fused_mlp(x, list(network.parameters()))
    x.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.sum().backward()


def test_a_second_derivative_is_refused_not_wrong():
    network, x, _ = case(20, 8, 1, 16, 1)
    value = fused_mlp(x, list(network.parameters())).square().sum()
    (slope,) = torch.autograd.grad(value, x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_layers_that_do_not_fit_are_refused():
    with pytest.raises(SoftmineError, match="does not take 3 inputs"):
        fused_mlp(torch.rand(5, 3), [torch.rand(2, 4), torch.rand(2)])


def test_a_field_is_the_same_with_and_without(monkeypatch):
    torch.manual_seed(0)
    field = HashGridField(2, 3, log2_table_size=8, finest_resolution=32).double()
    coords = torch.rand(300, 2, dtype=torch.float64)
    fused = field(coords)
    assert "FusedMlp" in fused.grad_fn.name()
    monkeypatch.setenv("SOFTMINE_KERNELS", "torch")
    plain = field(coords)
    assert "FusedMlp" not in plain.grad_fn.name()
    torch.testing.assert_close(fused, plain)


def replace_activation(network):
    network[1] = nn.Tanh()


def drop_bias(network):
    network[0] = nn.Linear(8, 16, bias=False)


def reparametrize(network):
    nn.utils.parametrizations.weight_norm(network[0])


def hook(network):
    network[2].register_forward_hook(lambda module, inputs, output: 2 * output)


@pytest.mark.parametrize("change", [replace_activation, drop_bias, reparametrize, hook])
def test_a_changed_network_is_called_as_it_is(change):
    network, x, _ = case(20, 8, 1, 16, 1)
    assert "FusedMlp" in evaluate(network, x).grad_fn.name()
    change(network)
    assert "FusedMlp" not in evaluate(network, x).grad_fn.name()
    torch.testing.assert_close(evaluate(network, x), network(x))


def test_other_types_and_autocast_take_the_modules():
    network, x, _ = case(20, 8, 1, 16, 1)
    with torch.autocast("cpu"):
        assert evaluate(network, x).dtype == torch.bfloat16
    assert evaluate(network.bfloat16(), x.bfloat16()).dtype == torch.bfloat16
    wide, x, _ = case(20, 8, 1, 160, 1)
    assert "FusedMlp" not in evaluate(wide, x).grad_fn.name()
