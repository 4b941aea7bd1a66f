"""Adam on touched rows in plain torch, from an ordinary gradient: for where no fused kernel runs."""

from __future__ import annotations

import torch
from torch import Tensor

from softmine.kernels.touched_rows import AdamRule, decays


class Rows:
    """Adam's state of a table (R, F). The moments have the table's type, but at least float32."""

    fused = False
    pending = False

    def __init__(self, table: Tensor) -> None:
        kind = torch.promote_types(table.dtype, torch.float32)
        self.means = torch.zeros(table.shape, dtype=kind, device=table.device)
        self.squares = torch.zeros_like(self.means)
        self.last = torch.zeros(len(table), dtype=torch.float32, device=table.device)
        self.time = torch.zeros((), device=table.device)

    def state(self) -> dict[str, Tensor]:
        """Views of the state: ``step`` (), ``last_step`` (R,), ``exp_avg`` and ``exp_avg_sq`` (R, F)."""
        return {"step": self.time, "last_step": self.last, "exp_avg": self.means, "exp_avg_sq": self.squares}

    def clear(self) -> None:
        """Nothing to forget: the gradient is the table's own."""

    def update(
        self,
        table: Tensor,
        rate: float | Tensor,
        rule: AdamRule,
        dense: Tensor | None = None,
    ) -> None:
        """One step of Adam, in place, on the rows of the table (R, F) in which ``dense`` (R, F) is not zero."""
        if dense is None:
            return
        rows = (dense != 0).any(1).nonzero().squeeze(1)
        if not len(rows):
            return
        self.time += 1
        after = [torch.from_numpy(array).to(self.means) for array in decays(rule.betas)]
        longest = len(after[0]) - 1
        now = self.time.long().clamp(max=longest)
        gap = (self.time - self.last[rows]).long().clamp(max=longest)
        first, second = after[0][now], after[1][now]
        of_mean, of_square, drift = (powers[gap, None] for powers in after[2:])
        grad = dense[rows].to(self.means.dtype)
        means = of_mean * self.means[rows] + (1 - rule.betas[0]) * grad
        squares = of_square * self.squares[rows] + (1 - rule.betas[1]) * grad.square()
        momentum = (rows < rule.momentum_rows).unsqueeze(1)
        step = torch.where(momentum, first * drift * means, grad)
        means = torch.where(momentum, means, self.means[rows])
        change = rate * step / (squares.sqrt() * second + rule.epsilon)
        self.last[rows], self.means[rows], self.squares[rows] = self.time, means, squares
        table[rows] = (table[rows] - change).to(table.dtype)
