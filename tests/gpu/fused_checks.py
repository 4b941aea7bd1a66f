"""Checks of the fused step's kernels in Triton's interpreter; run in a process of its own, as Triton decides when it is imported.

TRITON_INTERPRET=1 SOFTMINE_KERNELS=triton python -c "from gpu import fused_checks; fused_checks.field_step()"
"""

from __future__ import annotations

import os
from unittest import mock

import numpy as np
import torch

import softmine
from gpu.reference_kernels import REFERENCES
from kernel_grids import batch_of, grid_of
from softmine.fields.mlp import layers_of, mlp
from softmine.kernels import reference
from softmine.kernels.triton import adam, cells, field_kernels, kernels, sampling, sampling_kernels
from softmine.kernels.triton import field_step as steps
from softmine.registry import create
from softmine.training.budget import Budget
from softmine.training.trainer import Trainer


class Twin:
    """Stands for a kernel, and does what its twin does."""

    def __init__(self, kernel):
        self.kernel = kernel

    def __getitem__(self, _):
        twin = REFERENCES[self.kernel.fn.__name__]
        return lambda *args, **options: twin(
            **dict(zip(self.kernel.arg_names, args, strict=False)), **options
        )


def by_kernel_and_twin(module, name, call):
    """What a call writes with the kernel and with its twin: two lists of tensors."""
    with torch.no_grad():
        found = call()
        with mock.patch.object(module, name, Twin(getattr(module, name))):
            return found, call()


def same(found, wanted, **tolerance):
    assert len(found) == len(wanted) > 0
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, **tolerance)


def field_step():
    """Error, loss and every gradient are autograd's, whatever the shapes, and of rounded products the twin's."""
    shapes = [
        (2, 4, 2, 32, 3, 70, 0),
        (1, 3, 1, 16, 1, 33, 0),
        (3, 2, 4, 64, 16, 9, 0),
        (2, 4, 2, 16, 3, 40, 1),
    ]
    for dim, levels, features, hidden, channels, count, half in shapes:
        grid = grid_of(dim, features, levels=levels, dtype=torch.float16 if half else torch.float32)
        network = mlp(grid.outputs, channels, hidden=hidden, layers=2)
        layers = layers_of(network)
        assert not steps.fits_field_step(grid.table, levels, layers)
        coords, targets = batch_of(count, dim).detach(), torch.rand(count, channels)
        density, limit, step = torch.rand(count) + 0.2, torch.rand(count), torch.tensor(500)
        known = {"density": density, "limit": limit, "alpha": 0.6, "warmup": 1000, "kept": 0.02}

        def run(
            product,
            count=count,
            layers=layers,
            model=(coords, targets, grid.table, grid.grid),
            step=step,
            known=known,
        ):
            gradients = [torch.ones_like(layer) for layer in layers]
            weighting = steps.Weighting(step, **known)
            found = steps.field_step(
                *model, layers, weighting=weighting, gradients=gradients, product=product
            )
            loss, first_bad = torch.zeros(()), torch.tensor(10**6)
            steps.finish(found.sums, count, step, loss, first_bad)
            return [
                found.error,
                found.loss,
                found.of_values,
                found.of_features,
                loss,
                *(g - 1 for g in gradients),
            ]

        encoded = reference.encode(coords, grid.table, grid.grid).detach().float().requires_grad_()
        values = network(encoded)
        values.retain_grad()
        residual = values - targets
        error, loss = residual.abs().mean(-1).detach(), residual.square().mean(-1)
        weights = density**-0.3 * torch.where(error > limit, 0.02, 1.0)
        objective = (weights * loss).mean()
        objective.backward()
        wanted = [
            error,
            loss.detach(),
            values.grad,
            encoded.grad,
            objective.detach(),
            *(layer.grad for layer in layers),
        ]
        tolerance = {"rtol": 2e-3, "atol": 2e-4} if half else {"rtol": 1e-4, "atol": 1e-6}
        same(run("ieee"), wanted, **tolerance)
        # An error that falls on either side of its limit is no matter of rounding.
        known["limit"] = None
        found, twin = by_kernel_and_twin(field_kernels, "field_step", lambda run=run: run("bf16"))
        same(found, twin, rtol=1e-4, atol=1e-6)
    loss, first_bad = torch.zeros(()), torch.tensor(10**6)
    for step, sums in enumerate(([1.0, 3.0], [1.0, float("nan")], [float("inf"), 1.0])):
        steps.finish(torch.tensor(sums), 8, torch.tensor(step), loss, first_bad)
        assert first_bad == (10**6 if step == 0 else 2)
    print("good")


def small_kernels():
    """Cells, random numbers, batches, errors, counts and Adam are what torch makes of them."""
    for shape, kind in (
        ((5, 7), torch.uint8),
        ((11,), torch.int16),
        ((3, 4, 5), torch.float32),
        ((5, 7), torch.bool),
    ):
        stored = (torch.rand(int(np.prod(shape)), 3) * 99).to(kind)
        known = torch.rand(len(stored)) < 0.7
        coords = torch.rand(150, len(shape)).clamp(max=1 - 2**-24)
        for mask in (None, known):
            call = lambda mask=mask: cells.gather_cells(coords, shape, stored, mask, 3.0, 80.0)  # noqa: B023, E731
            found, twin = by_kernel_and_twin(field_kernels, "take_cells", call)
            same(found, twin, rtol=0, atol=0)
            assert torch.equal(found[0], softmine.Box(shape).snap(coords))
    key, counter = torch.tensor(-(2**62) + 12345), torch.tensor(777)
    for make in (sampling.random_words, sampling.uniform_numbers):
        call = lambda make=make: [make(key, counter, 300)]  # noqa: E731
        same(*by_kernel_and_twin(sampling_kernels, "random_numbers", call), rtol=0, atol=0)
    drawn = torch.rand(3, 40, 2), torch.rand(3, 40), torch.rand(3, 40)
    first, step, errors = torch.tensor([1]), torch.tensor(5), torch.randn(40)
    errors[:2] = torch.tensor([float("inf"), float("nan")])
    for number in (4, torch.tensor(4), torch.tensor(1)):
        call = lambda number=number: sampling.take_batch(*drawn, first, number, step)  # noqa: E731
        same(*by_kernel_and_twin(sampling_kernels, "take_batch", call), rtol=0, atol=0)

        def note(number=number):
            seen = torch.full((3, 40), -1.0)
            sampling.note_errors(errors, seen, first, number, torch.tensor(6))
            return [seen]

        found, twin = by_kernel_and_twin(sampling_kernels, "note_errors", note)
        same(found, twin, rtol=0, atol=0)
        assert (found[0] >= 0).any() == (number != 1)

    def count():
        counts = torch.zeros(35)
        coords = torch.rand(90, 2, generator=torch.Generator().manual_seed(0))
        sampling.count_cells(coords, (13, 7), (5, 7), counts)
        return [counts]

    same(*by_kernel_and_twin(sampling_kernels, "count_cells", count), rtol=0, atol=0)
    sizes = ((3, 4), (300,), (2,), (1,), (5,), (6,), (7,), (8,), (9,))
    rule = adam.AdamRule((0.5, 0.99), 1e-15, 0, factor=2.0, memory=4)
    for memory, rate in ((4, torch.tensor(1e-2)), (None, 1e-2)):

        def step_all(memory=memory, rate=rate):
            torch.manual_seed(0)
            each = [adam.Moments(*(torch.rand(size) for _ in range(4)), torch.tensor(12.0)) for size in sizes]
            adam.update(each, rate, rule._replace(memory=memory), clear=memory is None)
            return [tensor for moments in each for tensor in moments]

        same(*by_kernel_and_twin(adam, "adam", step_all), rtol=1e-5, atol=1e-7)
    print("good")


def rows():
    """Touched rows are scattered and stepped as their twins do, listed or swept."""
    for half in (False, True):
        for count in (3, 40):

            def train(half=half, count=count):
                grid = grid_of(2, 2, dtype=torch.float16 if half else torch.float32)
                optimizer = softmine.optim.RowAdam([grid.table], lr=torch.tensor(1e-2), batch_size=8)
                for seed in range(7):
                    coords = batch_of(count, 2, seed=seed).detach()
                    grid.add_gradient(torch.cos(9 * coords).repeat(1, grid.levels), coords)
                    optimizer.step()
                return [grid.table.detach().float(), *optimizer.state[grid.table].values()]

            entries = count * 4 * 4
            assert (entries >= len(grid_of(2, 2).table)) == (count == 40)
            found = train()
            with mock.patch.object(kernels, "scatter", Twin(kernels.scatter)):
                twin = by_kernel_and_twin(kernels, "update_rows", train)[1]
            same(found, twin, rtol=2e-3 if half else 1e-4, atol=1e-4 if half else 1e-6)
    print("good")


def training():
    """A trainer learns with the fused step what it learns with numba on the CPU."""
    pixels = (np.random.default_rng(0).random((24, 32, 3)) * 255).astype(np.uint8)
    for name, count in (("uniform", 4), ("auto", 6), ("langevin", 2)):
        learned = []
        for kind in ("triton", "numba"):
            with mock.patch.dict(os.environ, SOFTMINE_KERNELS=kind):
                image = softmine.Image(pixels)
                torch.manual_seed(0)
                field = softmine.HashGridField(
                    2, 3, log2_table_size=8, levels=4, finest_resolution=32, hidden=16
                )
                sampler = create(
                    name, image.domain, 64, seed=0, edges=image.edges, defaults={"snapped": True}
                )
                options = {"budget": Budget(steps=100), "learning_rate": 1e-2, "device": torch.device("cpu")}
                trainer = Trainer(field, image, sampler, snap=True, **options)
                assert (trainer.fused is not None) == (kind == "triton")
                if trainer.fused is not None:
                    trainer.fused.product = "ieee"
                losses = []
                for _ in range(count):
                    trainer._train_step()
                    losses.append(trainer.loss.clone())
                found = [
                    torch.stack(losses),
                    trainer.record.counts,
                    *(p.detach() for p in field.parameters()),
                ]
                learned.append([*found, *(b.clone() for b in sampler.buffers())])
        same(*learned, rtol=1e-4, atol=2e-5)
    print("good")
