"""How nearly weighted samples of error diffusion give the mean over all cells, and from when on."""

import pytest
import torch

from softmine import Box, QuotaMap


def errors(kind, seed):
    generator = torch.Generator().manual_seed(seed)
    rough = torch.rand(64, 64, generator=generator)
    if kind == "rough":
        return rough.flatten() ** 3
    smooth = torch.randn(1, 1, 64, 64, generator=generator)
    for _ in range(2):
        smooth = torch.nn.functional.avg_pool2d(smooth, 5, 1, 2, count_include_pad=False)
    return ((smooth[0, 0] * 3).exp() * rough).flatten()


@pytest.mark.parametrize("kind", ["smooth", "rough"])
def test_the_weighted_mean_is_near_at_first_and_right_later(kind):
    """At alpha = 1, over six seeds; stages count visits of the map. ``Allocation`` says why."""
    box, stages = Box((64, 64)), (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0)
    means = {stage: [] for stage in stages}
    weighed = {stage: [] for stage in stages}
    for seed in range(6):
        error = errors(kind, seed)
        sampler = QuotaMap(box, 256, alpha=1.0, warmup=0, snapped=True, seed=seed)
        for step in range(20 * 16):
            batch = sampler.draw()
            seen = error[box.cell(batch.coords)]
            weights = sampler.weigh(batch, seen)
            stage = max(stage for stage in stages if stage <= step / 16)
            means[stage].append(((weights * seen.square()).mean() / error.square().mean()).item())
            weighed[stage].append(weights.mean().item())
            sampler.update(batch, seen)
    mean = {stage: sum(values) / len(values) for stage, values in means.items()}
    weight = {stage: sum(values) / len(values) for stage, values in weighed.items()}
    assert all(abs(mean[stage] - 1) < 0.25 for stage in stages), mean
    assert all(0.65 < weight[stage] < 1.1 for stage in stages), weight
    assert mean[8.0] == pytest.approx(1.0, abs=0.02)
    assert weight[8.0] == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(("batch_size", "most"), [(256, 2.0), (64, 2.6)])
def test_what_is_large_within_a_block_weighs_too_much_up_to_a_bound(batch_size, most):
    """One cell of four holds all error of its block, the worst case; ``Allocation.offsets`` says why."""
    box = Box((64, 64))
    error = torch.full((64, 64), 0.01)
    error[::2, ::2] = 0.3
    error = error.flatten()
    sampler = QuotaMap(box, batch_size, alpha=1.0, warmup=0, snapped=True, cells=1024, seed=0)
    means, weighed = [], []
    for step in range(60 * 4096 // batch_size):
        batch = sampler.draw()
        seen = error[box.cell(batch.coords)]
        weights = sampler.weigh(batch, seen)
        if step > 20 * 4096 // batch_size:
            means.append((weights * seen.square()).mean() / error.square().mean())
            weighed.append(weights.mean())
        sampler.update(batch, seen)
    assert 1.0 < torch.stack(means).mean() < most
    assert torch.stack(weighed).mean().item() == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0])
def test_what_is_no_error_draws_no_more_samples_than_its_share(bad):
    """A tenth of the domain answers with no number, and errors elsewhere fall: nobody may keep the first, optimistic error."""
    box = Box((40, 40))
    sampler = QuotaMap(box, 256, snapped=True, seed=0)
    for step in range(300):
        batch = sampler.draw()
        rows = (batch.coords[:, 0] * 40).long()
        error = torch.full((256,), 0.99**step)
        sampler.update(batch, torch.where(rows < 4, bad, error))
    shares = []
    for _ in range(20):
        batch = sampler.draw()
        rows = (batch.coords[:, 0] * 40).long()
        shares.append((rows < 4).float().mean())
        sampler.update(batch, torch.where(rows < 4, bad, torch.full((256,), 0.05)))
    assert torch.stack(shares).mean() < 0.1
