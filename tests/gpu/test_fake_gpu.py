"""The fake GPU finds what would go wrong on a real one."""

import pytest
import torch

from gpu.fake_gpu import FakeGpu, WrongDevice
from gpu.recording import FreedMemory


@pytest.fixture
def gpu():
    with FakeGpu(count=2) as entered:
        yield entered


def test_tensors_hold_numbers_and_say_cuda(gpu):
    found = (torch.arange(3, device="cuda") * 2).to("cpu")
    assert found.tolist() == [0, 2, 4]
    assert torch.zeros(2, device="cuda:1").device == torch.device("cuda:1")
    assert torch.zeros_like(torch.zeros(2, device="cuda:1")).device == torch.device("cuda:1")


@pytest.mark.parametrize("other", ["cpu", "cuda:1"])
def test_tensors_of_two_devices_do_not_meet(gpu, other):
    one, two = torch.zeros(2, device="cuda"), torch.zeros(2, device=other)
    with pytest.raises(WrongDevice, match="on the same device"):
        one + two


def test_a_number_of_the_host_is_allowed(gpu):
    assert (torch.ones(2, device="cuda") * torch.tensor(3.0)).cpu().tolist() == [3, 3]
    assert not gpu.launches["item"]


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.any()),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x.cpu(),
        lambda x: x.copy_(torch.zeros(4)),
        lambda x: torch.tensor([1.0], device="cuda"),
        lambda x: x.unique(),
        lambda x: torch.cuda.synchronize(),
        lambda x: x[torch.tensor([0])],
    ],
)
def test_waits_are_noted_and_cannot_be_recorded(gpu, wait):
    x = torch.ones(4, device="cuda")
    gpu.reset()
    wait(x)
    assert sum(gpu.waits.values()) == 1
    with (
        pytest.raises(RuntimeError, match="not permitted when stream is capturing"),
        torch.cuda.graph(torch.cuda.CUDAGraph()),
    ):
        wait(x)


def test_launches_are_counted_and_views_are_none(gpu):
    x = torch.empty(4, device="cuda")
    gpu.reset()
    x.view(2, 2).t()[0].add_(1).mul(2)
    assert gpu.launches == {"add_": 1, "mul": 1}


def test_a_quotient_by_a_number_is_a_product(gpu):
    x = torch.arange(1.0, 100.0)
    divisor = 49.0
    found = (x.to("cuda") / divisor).cpu()
    assert torch.equal(found, x * (1 / torch.tensor(divisor)))
    assert not torch.equal(found, x / divisor)
    assert torch.equal((x.to("cuda") / torch.full((), divisor, device="cuda")).cpu(), x / divisor)


def test_a_graph_repeats_in_the_same_memory(gpu):
    x, factor = torch.ones(2, device="cuda"), torch.tensor(2.0)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        made = x * factor
        x.add_(1)
    assert x.tolist() == [1, 1], "a recording runs nothing"
    factor.fill_(7)  # a number of the host is frozen
    graph.replay()
    graph.replay()
    assert (x.tolist(), made.tolist()) == ([3, 3], [4, 4])


def test_a_graph_finds_freed_memory(gpu):
    x, y = torch.ones(2, device="cuda"), torch.ones(2, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        x.add_(y + 1)
    graph.replay()
    del y
    with pytest.raises(FreedMemory, match="add uses freed memory"):
        graph.replay()


def test_a_kernel_runs_on_the_gpu_of_its_memory(gpu):
    pytest.importorskip("triton")
    from softmine.kernels.triton import kernels

    rows = torch.zeros(4, 8, device="cuda:1")
    time = torch.zeros(1, dtype=torch.int64, device="cuda:1")
    arguments = (rows, rows, rows.view(torch.int32), time, 1, time, rows[0, 0])
    numbers = (1.0, 0.0, 0.0, 1e-8, 0, 5.0, 0)
    constants = {"ADAM": False, "LISTED": True, "HALF": False, "WIDTH": 2, "STRIDE": 8, "BLOCK": 128}
    with torch.cuda.device(1):
        kernels.update_rows[(1,)](*arguments, *numbers, **constants)
    with pytest.raises(WrongDevice, match="is launched on cuda:0"):
        kernels.update_rows[(1,)](*arguments, *numbers, **constants)
