"""Optimisers and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from arenaloop.config import OptimSettings

__all__ = ["Optimizer", "build_optimizer", "learning_rate_factor", "warmup_length"]


def warmup_length(total: int, settings: OptimSettings) -> int:
    """Steps of warm-up in a training of `total` steps."""
    steps = settings.warmup_steps
    return min(math.ceil(settings.warmup_ratio * total) if steps is None else steps, total)


def learning_rate_factor(step: int, total: int, warmup: int, schedule: str) -> float:
    """Share of the peak learning rate at a step: linear rise over `warmup` steps, then the schedule's fall to 0.

    Args:
        step: from 0; unlike some, the first step already moves (it has 1 / `warmup` of the peak).
        total: steps of the whole training.
        warmup: steps of warm-up.
        schedule: ``"constant"``, ``"linear"`` (1 - t) or ``"cosine"`` ((1 + cos(pi t)) / 2, Loshchilov and Hutter
            2017), t being the share of the steps after the warm-up that are done.
    """
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(total - warmup, 1)
    if schedule == "constant":
        return 1.0
    return 1.0 - done if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))


class Optimizer:
    """One or two `torch` optimisers over disjoint parts of `parameters`, behind one face."""

    def __init__(self, parts: list[torch.optim.Optimizer], parameters: list[nn.Parameter], settings: OptimSettings):
        self.parts = parts
        self.parameters = parameters
        self._peak = settings.learning_rate
        self._max_norm = settings.max_grad_norm or math.inf

    def clip(self) -> Tensor:
        """Scale the gradients down to the largest norm allowed; the norm they had (scalar, not waited for)."""
        return nn.utils.clip_grad_norm_(self.parameters, self._max_norm)

    def step(self, factor: float) -> None:
        """Move the parameters with `factor` times the peak learning rate."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = self._peak * factor
            part.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        """What `load_state_dict` needs to continue exactly."""
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        """Continue from a saved state."""
        for part, saved in zip(self.parts, state, strict=True):
            part.load_state_dict(saved)


def build_optimizer(modules: Sequence[Any], settings: OptimSettings) -> Optimizer:
    """AdamW (Loshchilov and Hutter 2019), or Muon (Jordan 2024) for the hidden matrices with AdamW for the rest.

    The rest are embeddings, output and scalar heads, norms and biases of all the `transformers` models in `modules`.

    Weight decay falls on matrices only. Muon's updates are scaled to AdamW's root mean square (Liu et al. 2025), so one
    learning rate serves both.
    """
    parameters = [p for p in nn.ModuleList(modules).parameters() if p.requires_grad]
    outer = {
        id(p)
        for module in modules
        for part in (module.get_input_embeddings(), module.get_output_embeddings(), getattr(module, "score", None))
        if part is not None
        for p in part.parameters()
    }
    hidden = [p for p in parameters if settings.optimizer == "muon" and p.ndim == 2 and id(p) not in outer]
    taken = {id(p) for p in hidden}
    rest = [p for p in parameters if id(p) not in taken]
    decayed, plain = [p for p in rest if p.ndim >= 2], [p for p in rest if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    parts: list[torch.optim.Optimizer] = []
    groups = [group for group in groups if group["params"]]
    if groups:
        betas = (settings.adam_beta1, settings.adam_beta2)
        parts.append(torch.optim.AdamW(groups, lr=settings.learning_rate, betas=betas, fused=True))
    if hidden:
        rate, decay = settings.learning_rate, settings.weight_decay
        parts.append(torch.optim.Muon(hidden, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
    return Optimizer(parts, parameters, settings)
