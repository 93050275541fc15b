"""Optimisers and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from arenaloop.config import OptimSettings
from arenaloop.train.sharding import spread_like

__all__ = ["Muon", "Optimizer", "build_optimizer", "learning_rate_factor", "warmup_length"]


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
                group["lr"] = group.get("peak", self._peak) * factor
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
            each = [p for group in part.param_groups for p in group["params"]]
            own = {
                at: {name: spread_like(value, each[at]) for name, value in kept.items()}
                for at, kept in saved["state"].items()
            }
            part.load_state_dict({**saved, "state": own})


class Muon(torch.optim.Optimizer):
    """Muon (Jordan 2024): Nesterov momentum, then the nearest orthogonal matrix by a Newton-Schulz iteration.

    What `torch.optim.Muon` does under ``adjust_lr_fn="match_rms_adamw"``, but for the iteration's precision: bfloat16
    on a GPU, float32 on a CPU. A CPU without instructions for bfloat16 is several times slower with it.

    Args:
        parameters: matrices, or groups of them.
        lr: the learning rate; an update's root mean square is about 0.2 of it, as AdamW's is (Liu et al. 2025).
        weight_decay: decoupled, on the learning rate itself.
    """

    COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic that is steepest at 0 (Jordan 2024)
    STEPS = 5
    MOMENTUM = 0.95
    EPSILON = 1e-7

    def __init__(self, parameters: Iterable[Any], lr: float, weight_decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move the matrices that have a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(p.grad)
                momentum = state["momentum_buffer"].lerp_(p.grad, 1 - self.MOMENTUM)
                update = self._orthogonal(p.grad.lerp(momentum, self.MOMENTUM))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * 0.2 * math.sqrt(max(p.shape)))

    def _orthogonal(self, matrix: Tensor) -> Tensor:
        """A matrix with the same singular vectors and singular values near 1."""
        a, b, c = self.COEFFICIENTS
        x = matrix.float() if matrix.device.type == "cpu" else matrix.bfloat16()
        tall = x.shape[0] > x.shape[1]
        x = x.T if tall else x
        x = x / x.norm().clamp(min=self.EPSILON)
        for _ in range(self.STEPS):
            gram = x @ x.T
            x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
        return x.T if tall else x


def build_optimizer(
    modules: Sequence[Any], settings: OptimSettings, *, peaks: Sequence[float | None] = ()
) -> Optimizer:
    """AdamW (Loshchilov and Hutter 2019), or Muon (Jordan 2024) for the hidden matrices with AdamW for the rest.

    The rest are embeddings, output and scalar heads, norms and biases of all the `transformers` models in `modules`.

    Weight decay falls on matrices only. Muon's updates are scaled to AdamW's root mean square (Liu et al. 2025), so one
    learning rate serves both.

    Args:
        modules: what is trained together.
        settings: of the optimiser.
        peaks: of each module its own peak learning rate; None, or none given, for that of the settings.
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
    own = {
        id(p): peak
        for module, peak in zip(modules, peaks, strict=False)
        if peak is not None
        for p in module.parameters()
    }
    groups = [
        group
        for matrices in (True, False)
        for group in _by_peak([p for p in rest if (p.ndim >= 2) == matrices], own, settings)
    ]
    for group in groups:
        group["weight_decay"] = settings.weight_decay if group["params"][0].ndim >= 2 else 0.0
    parts: list[torch.optim.Optimizer] = []
    if groups:
        betas = (settings.adam_beta1, settings.adam_beta2)
        parts.append(
            torch.optim.AdamW(groups, lr=settings.learning_rate, betas=betas, eps=settings.adam_epsilon, fused=True)
        )
    if hidden:
        parts.append(Muon(_by_peak(hidden, own, settings), settings.learning_rate, settings.weight_decay))
    return Optimizer(parts, parameters, settings)


def _by_peak(
    parameters: Sequence[nn.Parameter], own: Mapping[int, float], settings: OptimSettings
) -> list[dict[str, Any]]:
    """Parameter groups of one peak learning rate each."""
    groups: dict[float, list[nn.Parameter]] = {}
    for parameter in parameters:
        groups.setdefault(own.get(id(parameter), settings.learning_rate), []).append(parameter)
    return [{"params": group, "peak": peak} for peak, group in groups.items()]
