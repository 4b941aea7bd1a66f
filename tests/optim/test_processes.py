"""RowAdam in several processes: the gradient of tables is added up with all others."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__)
STEPS = 4


def trained(share: slice, wrap=lambda field: field, after=lambda field: None):
    """A field after some steps on a share of every batch; several in a step add up."""
    from softmine import HashGridField
    from softmine.optim import RowAdam

    torch.manual_seed(0)
    field = HashGridField(2, 1, levels=4, log2_table_size=8, finest_resolution=32, hidden=8, layers=1)
    model = wrap(field)
    optimizer = RowAdam(model.parameters(), lr=1e-2, batch_size=64)
    for step in range(STEPS):
        coords = torch.rand(64, 2, generator=torch.Generator().manual_seed(step))[share]
        optimizer.zero_grad()
        (model(coords) - (9 * coords).sin().sum(-1, keepdim=True)).square().mean().backward()
        after(field)
        optimizer.step()
    return torch.cat([parameter.detach().flatten() for parameter in field.parameters()])


def add_up(field):
    """As in a loop without DistributedDataParallel."""
    for parameter in field.parameters():
        if parameter.grad is not None:
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= 2


def work(rank: int, folder: str) -> None:
    alone = trained(slice(None))
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    ways = {
        "ddp": {"wrap": torch.nn.parallel.DistributedDataParallel},
        "all_reduce": {"after": add_up},
    }
    for way, how in ways.items():
        together = trained(slice(rank, None, 2), **how)
        mine, other = torch.empty_like(together), torch.empty_like(together)
        torch.distributed.all_gather([mine, other], together)
        assert torch.equal(mine, other), f"{way}: the processes have parted by {(mine - other).abs().max()}"
        torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-5)
    torch.distributed.destroy_process_group()
    print("good")


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch was built without gloo")
def test_two_processes_train_as_one_with_both_batches(tmp_path):
    # In processes of their own, without the type checks of the tests.
    code = f"import sys; sys.path.insert(0, {str(HERE.parent)!r}); import {HERE.stem}; {HERE.stem}.work(RANK, {str(tmp_path)!r})"
    workers = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code.replace("RANK", str(rank))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for rank in range(2)
    ]
    try:
        for worker in workers:
            out, errors = worker.communicate(timeout=300)
            assert out.strip().endswith("good"), errors
    finally:
        for worker in workers:
            worker.kill()
