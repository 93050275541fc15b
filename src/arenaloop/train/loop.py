"""The one training loop that every method shares.

Gradient accumulation, schedule, clipping, metrics and exact resumption are here; what is minimised comes as an
`Objective`. The order of the data depends on the seed and the epoch alone, so the step number says where in the data a
training stands. On a CPU a resumed training ends with the same bits as an unbroken one (with the same micro-batches,
precision and number of threads); a GPU's own reductions need not be deterministic.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from arenaloop.config import OptimSettings
from arenaloop.errors import StoppedError
from arenaloop.models.checkpoint import torch_threads
from arenaloop.train.batches import micro_batches, optimiser_batches, total_steps
from arenaloop.train.optim import build_optimizer, learning_rate_factor, warmup_length
from arenaloop.train.policy import Policy
from arenaloop.train.run import TrainingRun
from arenaloop.types import derive_seed

__all__ = ["Fitted", "Objective", "OnStep", "fit"]

OnStep = Callable[[int, int, dict[str, float]], None]
"""Called with (steps done, steps of the whole training, means since the last call) every `log_every` steps."""

SKIPS_IN_A_ROW = 3
"""Steps in a row without a finite loss after which a training has diverged and stops."""


class Objective(Protocol):
    """What is minimised, over rows 0 … n - 1.

    Attributes:
        lengths: (n,) tokens that each row brings to a forward pass (for a pair: twice its longer side).
    """

    lengths: np.ndarray

    def loss(self, policy: Policy, rows: np.ndarray, whole: np.ndarray) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and statistics of `rows`, a part of the optimiser batch `whole`.

        Both are scaled so that they add up over the parts to those of the whole batch.
        """
        ...


@dataclass(frozen=True, slots=True)
class Fitted:
    """How a loop ended: steps, steps skipped, means of the last logged steps, wall time of all its sessions."""

    steps: int
    skipped_steps: int
    metrics: dict[str, float]
    seconds: float


def fit(
    policy: Policy,
    objective: Objective,
    run: TrainingRun,
    settings: OptimSettings,
    *,
    seed: int,
    started: float,
    on_step: OnStep | None = None,
) -> Fitted:
    """Train the policy's module in place, from the run's last checkpoint if it has one.

    Args:
        policy: the model.
        objective: what is minimised.
        run: keeps metrics and checkpoints.
        settings: optimiser, schedule, batches, cadence.
        seed: decides the order of the data and dropout.
        started: `time.perf_counter()` at the beginning of the training.
        on_step: told about progress.

    Raises:
        StoppedError: three steps in a row had no finite loss or gradient.
        StorageError: the disk does not take metrics or checkpoints.
    """
    rows = len(objective.lengths)
    per_epoch = math.ceil(rows / settings.batch_size)
    total = total_steps(rows, settings.batch_size, settings.epochs, settings.max_steps)
    warmup = warmup_length(total, settings)
    optimizer = build_optimizer([policy.module], settings)
    gpus = [policy.device] if policy.device.type == "cuda" else []
    step = skipped = in_a_row = 0
    metrics: dict[str, float] = {}
    window = _Window()
    batches: list[np.ndarray] = []

    with torch_threads(policy.threads(settings)), torch.random.fork_rng(devices=gpus):
        torch.manual_seed(derive_seed(seed, "torch"))
        state = run.restore()
        if state is not None:
            policy.module.load_state_dict(state["module"])
            optimizer.load_state_dict(state["optimizer"])
            torch.set_rng_state(state["rng"])
            if gpus:
                torch.cuda.set_rng_state(state["gpu_rng"], policy.device)
            window = _Window(state["window"], state["window_steps"])
            step, skipped, in_a_row, metrics = state["step"], state["skipped"], state["in_a_row"], state["metrics"]
            started -= state["seconds"]
        policy.module.train()
        while step < total:
            epoch, at = divmod(step, per_epoch)
            if not batches or at == 0:
                batches = optimiser_batches(rows, settings.batch_size, seed, epoch)
            whole = batches[at]
            sums: dict[str, Tensor] = {}
            for part in micro_batches(
                whole,
                objective.lengths[whole],
                size=settings.micro_batch,
                tokens=policy.micro_tokens(settings),
                by_length=settings.group_by_length,
            ):
                loss, statistics = objective.loss(policy, part, whole)
                loss.backward()
                for name, value in {"loss": loss.detach(), **statistics}.items():
                    sums[name] = sums[name] + value if name in sums else value
            sums["grad_norm"] = optimizer.clip()
            factor = learning_rate_factor(step, total, warmup, settings.schedule)
            if math.isfinite(sums["loss"] + sums["grad_norm"]):  # the one wait for the device per step
                optimizer.step(factor)
                window.add(sums)
                in_a_row = 0
            else:
                skipped, in_a_row = skipped + 1, in_a_row + 1
            optimizer.zero_grad()
            step += 1
            if in_a_row == SKIPS_IN_A_ROW:
                raise StoppedError(
                    f"training in {run.out} diverged: no finite loss in steps {step - in_a_row + 1} to {step} of "
                    f"{total}; a lower learning_rate or max_grad_norm may help"
                )
            if step % settings.log_every == 0 or step == total:
                metrics = window.means() or metrics
                extra = {"learning_rate": settings.learning_rate * factor, "epoch": step / per_epoch}
                run.log({"step": step, **metrics, **extra, "skipped_steps": skipped})
                if on_step is not None:
                    on_step(step, total, {**metrics, **extra})
            if settings.checkpoint_every and step % settings.checkpoint_every == 0 and step < total:
                run.checkpoint(
                    {
                        "module": policy.module.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "rng": torch.get_rng_state(),
                        "gpu_rng": torch.cuda.get_rng_state(policy.device) if gpus else None,
                        "window": window.sums,
                        "window_steps": window.steps,
                        "step": step,
                        "skipped": skipped,
                        "in_a_row": in_a_row,
                        "metrics": metrics,
                        "seconds": time.perf_counter() - started,
                    }
                )
        policy.module.eval()
    return Fitted(step, skipped, metrics, time.perf_counter() - started)


class _Window:
    """Sums of statistics over the steps since the last logged line, left on the device until they are read."""

    def __init__(self, sums: dict[str, Any] | None = None, steps: int = 0) -> None:
        self.sums: dict[str, Tensor] = sums or {}
        self.steps = steps

    def add(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value.detach()
        self.steps += 1

    def means(self) -> dict[str, float]:
        """The means, after which the window is empty; no steps give no means."""
        out = {name: float(value) / self.steps for name, value in self.sums.items()}
        self.sums, self.steps = {}, 0
        return out
