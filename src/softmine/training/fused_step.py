"""A training step's forward and backward in few launches: of the default field, on an NVIDIA GPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from softmine.domain import Coords, PerSample, Values
from softmine.fields import HashGridField
from softmine.fields.mlp import layers_of
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
    if type(field) is not HashGridField or field._forward_hooks or field._forward_pre_hooks:
        return "only a HashGridField, as it is, has a fused step"
    table = field.encoding.table
    if backend_for(table[:0].float(), table, table.shape[1]) != "triton":
        return "Triton does not run on its device"
    if field.encoding._forward_hooks or field.encoding._forward_pre_hooks:
        return "its encoding has hooks"
    if getattr(table, "row_gradient", None) is None or not table.requires_grad:
        return "its table's gradient does not go to a RowAdam"
    from softmine.kernels.triton.field_step import fits_field_step

    layers = layers_of(field.network)
    if not layers or not all(layer.requires_grad for layer in layers):
        return "its MLP is not layers with ReLU between them, all of them trained"
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
        self.field = field
        self.layers = layers_of(field.network)
        self.gradients = optimizer.own_gradients(self.layers)
        device = field.encoding.table.device
        self.loss = torch.zeros((), device=device)
        self.first_bad = torch.full((), torch.iinfo(torch.int64).max, device=device)

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
