"""A training step's forward and backward in few launches: of the default field, on an NVIDIA GPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from softmine.domain import Coords, PerSample, SoftmineError, Values
from softmine.fields import HashGridField
from softmine.fields.hash_grid import HashGrid
from softmine.fields.mlp import altered, layers_of
from softmine.kernels import backend_for
from softmine.optim import RowAdam
from softmine.sampling import QuotaMap, Sampler
from softmine.sampling.base import Batch
from softmine.sampling.quota_map.outliers import KEPT
from softmine.sampling.quota_map.sampler import LimitedBatch


def why_not_fused(field: nn.Module) -> str:
    """What keeps a field from ``FusedStep``, as the end of a sentence, or nothing: the one place where that is decided.

    ``Trainer.not_fused`` and ``Fitted.not_fused`` say it of a run.

    Only the gradient, not the field, is another: matrix products of bfloat16, summed in float32.
    """
    if type(field) is not HashGridField or type(field.encoding) is not HashGrid:
        return "only an unchanged HashGridField (no subclass of it or of its encoding) has a fused step"
    if altered(field) or altered(field.encoding):
        return "it has hooks or a forward of its own"
    table = field.encoding.table
    if table.dtype not in (torch.float32, torch.float16) or table.shape[1] & (table.shape[1] - 1):
        return f"its table is of {table.dtype} and {table.shape[1]} features a level, not of float32 or float16 and a power of two"
    if backend_for(table[:0].float(), table, table.shape[1]) != "triton":
        return "the field is on a CPU, or Triton cannot be used"
    if not all(parameter.requires_grad for parameter in field.parameters()):
        return "not all of it is trained"
    if any(parameter._backward_hooks for parameter in field.parameters()):
        return "its parameters have hooks"
    if getattr(table, "row_gradient", None) is None:
        return "its table's gradient does not go to a RowAdam"
    from softmine.kernels.triton.field_step import fits_field_step

    layers = layers_of(field.network)
    if not layers:
        return "its MLP is not layers with ReLU between them"
    return fits_field_step(table, field.encoding.levels, layers)


class FusedStep:
    """Evaluates a field at a batch, weighs the losses and leaves the gradients where ``RowAdam`` finds them.

    One launch does what takes sixty otherwise, where the sampler's weights follow from the density of its samples; where
    they follow from the errors of the batch, as those of ``Langevin``, one more gives these first.

    Args:
        field: one for which ``why_not_fused`` finds nothing.
        optimizer: of all its parameters.

    Attributes:
        loss: mean weighted loss of the last batch, ().
        first_bad: updates of the sampler with the first batch whose loss was not finite, or the largest int64, ().
        product: precision of matrix products: ``bf16``, ``tf32`` or ``ieee``; all are summed in float32.
    """

    product = "bf16"

    def __init__(self, field: HashGridField, optimizer: RowAdam) -> None:
        self.field, self.optimizer = field, optimizer
        self.layers = layers_of(field.network)
        self.gradients = optimizer.own_gradients(self.layers)
        device = field.encoding.table.device
        self.loss = torch.zeros((), device=device)
        self.first_bad = torch.full((), torch.iinfo(torch.int64).max, device=device)

    def end(self) -> None:
        """Leaves the gradients to the field's own backward."""
        self.optimizer.release_gradients()

    @torch.no_grad()
    def __call__(
        self, sampler: Sampler, batch: Batch, points: Coords, target: Values
    ) -> tuple[PerSample, PerSample]:
        """Error and loss, (N,) each, of a batch.

        Args:
            sampler: drew the batch, whose coordinates receive a gradient if they want one.
            batch: the draw.
            points: where to train (N, D).
            target: values there (N, C); a gradient that it wants reaches it.
        """
        from softmine.kernels.triton.backend import gradient_of_coords
        from softmine.kernels.triton.field_step import Weighting, field_step, finish

        encoding = self.field.encoding
        if target.shape != (len(points), len(self.layers[-1])):
            raise SoftmineError(
                f"the signal has values of the shape {tuple(target.shape)}, but the field {tuple([len(points), len(self.layers[-1])])}"
            )
        at, values = points.detach(), target.detach().float()
        model = (at, values, encoding.table.detach(), encoding.grid, self.layers)
        weighting = _weighting(sampler, batch)
        if weighting is None:
            seen = field_step(*model, weighting=Weighting(batch.step), product=self.product)
            weighting = Weighting(batch.step, given=sampler.weigh(batch, seen.error))
        found = field_step(*model, weighting=weighting, gradients=self.gradients, product=self.product)
        encoding.add_gradient(found.of_features, at)
        if points.requires_grad:
            points.backward(gradient_of_coords(found.of_features, at, encoding.table, encoding.grid))
        if target.requires_grad:
            target.backward(-found.of_values.to(target.dtype))
        finish(found.sums, len(at), batch.step, self.loss, self.first_bad)
        return found.error, found.loss


def _weighting(sampler: Sampler, batch: Batch):
    """How a sampler weighs, where that follows from the density of its samples; else None."""
    from softmine.kernels.triton.field_step import Weighting

    weigh = type(sampler).weigh
    if type(sampler).alpha_at is not Sampler.alpha_at:
        return None
    limit: Tensor | None = None
    if weigh is QuotaMap.weigh and isinstance(batch, LimitedBatch):
        limit = batch.limit
    elif weigh is not Sampler.weigh:
        return None
    return Weighting(
        batch.step,
        density=batch.density,
        limit=limit,
        alpha=sampler.target_alpha,
        warmup=sampler.warmup,
        kept=KEPT,
    )
