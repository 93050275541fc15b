"""A training in progress: everything that changes from step to step, and its exact checkpoint.

A session owns optimiser, schedule, clipping, metrics and random state, and counts the steps; what is minimised comes as
an `Objective`. Which rows a step takes is its user's affair: epochs over fixed rows (`loop`), or a method's own loop
over what its policy has just said. On a CPU a resumed training ends with the same bits as an unbroken one (with the
same micro-batches, precision and number of threads); a GPU's own reductions need not be deterministic.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from arenaloop.config import OptimSettings
from arenaloop.errors import ConfigError, StoppedError
from arenaloop.models.checkpoint import torch_threads
from arenaloop.models.reward import Reward
from arenaloop.train import sharding
from arenaloop.train.backbone import Backbone
from arenaloop.train.batches import shared_out
from arenaloop.train.encoding import EncodedRows
from arenaloop.train.optim import build_optimizer, learning_rate_factor, warmup_length
from arenaloop.train.processes import joined
from arenaloop.train.run import KEPT, TrainingRun, TrainResult
from arenaloop.train.trackers import Trackers
from arenaloop.types import derive_seed

__all__ = ["Job", "Objective", "OnStep", "Reward", "Session", "Stateful"]

OnStep = Callable[[int, int, dict[str, float]], None]
"""Called with (steps done, steps of the whole training, means since the last call) whenever metrics are logged."""

SKIPS_IN_A_ROW = 3
"""Steps in a row without a finite loss after which a training has diverged and stops."""

S = TypeVar("S", bound=OptimSettings)


@dataclass(frozen=True, slots=True)
class Job(Generic[S]):
    """One training to be done, as it is known before anything is loaded.

    Attributes:
        run: keeps metrics, checkpoints and the result.
        settings: method and execution.
        seed: decides all that is drawn.
        start: the model to start from: a directory in Hugging Face form, or a hub id.
        revision: of a hub id.
        fingerprint: content hash of the start.
        rows: what is trained on.
        on_step: told about progress.
        reward: scores the model's own answers, for methods that learn from them.
        started: `time.perf_counter()` at the beginning.
    """

    run: TrainingRun
    settings: S
    seed: int
    start: str | Path = ""
    revision: str | None = None
    fingerprint: str = ""
    rows: Sequence[Mapping[str, Any]] = ()
    on_step: OnStep | None = None
    reward: Reward | None = None
    started: float = field(default_factory=time.perf_counter)

    def scored_by(self) -> Reward:
        """The reward.

        Raises:
            ConfigError: there is none.
        """
        if self.reward is None:
            raise ConfigError("this method learns from a reward; name one with --reward")
        return self.reward


class Objective(Protocol):
    """What is minimised, over rows 0 … n - 1.

    Attributes:
        lengths: (n,) tokens that each row brings to a forward pass (for a pair: twice its longer side).
    """

    lengths: np.ndarray

    def loss(self, model: Any, /, rows: np.ndarray, whole: np.ndarray) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and statistics of `rows`, a part of the optimiser batch `whole`, under the session's model.

        Both are scaled so that they add up over the parts to those of the whole batch.
        """


class Stateful(Protocol):
    """What a checkpoint can keep: its state is made of tensors, numbers, texts, lists and mappings."""

    def state_dict(self) -> Any:
        """The state."""

    def load_state_dict(self, state: Any, /) -> Any:
        """Take up a state that was kept, tensors being on the CPU."""


class Session:
    """The steps of one training; used as a context, in which the interrupted training continues.

    Args:
        job: what is to be done.
        model: what is trained, in place.
        total: steps of the whole training, over which the schedule runs.
        dropout: whether the model's dropout is on during steps.
        also: further models that are trained together with it, by name, e.g. a value head.
        kept: whatever else a resumed training needs, by name, e.g. a controller.
        peaks: peak learning rates of the further models, by name, where they have their own.
        stride: steps over which the learning rate stays the same, e.g. those of one roll-out.

    Attributes:
        steps: steps done, skipped ones included.
        skipped_steps: those whose loss or gradient was not finite; they moved nothing.
        metrics: means over the last logged steps.
        micro_tokens: padded tokens per forward pass, as they fit in memory.
    """

    def __init__(
        self,
        job: Job[Any],
        model: Backbone,
        *,
        total: int,
        dropout: bool = True,
        also: Mapping[str, Backbone] | None = None,
        kept: Mapping[str, Stateful] | None = None,
        peaks: Mapping[str, float | None] | None = None,
        stride: int = 1,
    ) -> None:
        self.job, self.model, self.total = job, model, total
        self._processes = joined()
        self.steps = self.skipped_steps = self._in_a_row = 0
        self.metrics: dict[str, float] = {}
        self.micro_tokens = model.micro_tokens(job.settings)
        self._size = job.settings.micro_batch
        self._models = [model, *(also or {}).values()]
        self._dropout = dropout
        self._kept = {**(also or {}), **(kept or {})}
        for at, each in enumerate(self._models):
            each.adapt(derive_seed(job.seed, "adapter", at) % 2**63)
        own = [None, *((peaks or {}).get(name) for name in also or {})]
        self._optimizer = build_optimizer([each.module for each in self._models], job.settings, peaks=own)
        self._stride = stride
        self._warmup = warmup_length(total // stride, job.settings)
        self._factor = 0.0
        self._sums: dict[str, Tensor] = {}  # of the steps since the last logged line, left on the device until then
        self._summed = 0
        self._gpus = [model.device] if model.device.type == "cuda" else []
        self._seconds_before = 0.0
        self._trackers = Trackers((), job.run.out, job.run.key, job.settings, 0, job.run.note)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(torch_threads(self.model.threads(self.job.settings)))
            stack.enter_context(torch.random.fork_rng(devices=self._gpus))
            torch.manual_seed(derive_seed(self.job.seed, "torch"))
            self._restore()
            if not self._processes.first:  # of a mask that drops out, every process draws its own
                torch.manual_seed(derive_seed(self.job.seed, "torch", self._processes.rank, self.steps))
            if self.model.passes is None:
                self._processes.spread_from_first(self._optimizer.parameters)
            self._processes.once(self._track)
            stack.callback(self._trackers.finish)
            for model in self._models:
                model.train(self._dropout)
                stack.callback(model.module.eval)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._stack.close()
        if kind is not None:
            self.job.run.close()

    def step(self, objective: Objective, whole: np.ndarray) -> None:
        """One optimiser step on the rows `whole` of an objective, in micro-batches.

        A step that does not fit in the device's memory is begun again with forward passes of half the size, which give
        the same gradient, and so are all that follow.

        Raises:
            StoppedError: three steps in a row had no finite loss or gradient, or a single row does not fit.
        """
        settings = self.job.settings
        sums = self._gradients(objective, whole)
        sums["grad_norm"] = sharding.whole(self._optimizer.clip())
        self._factor = learning_rate_factor(
            self.steps // self._stride, self.total // self._stride, self._warmup, settings.schedule
        )
        if math.isfinite(sums["loss"] + sums["grad_norm"]):  # the one wait for the device per step
            self._optimizer.step(self._factor)
            _add(self._sums, sums)
            self._summed += 1
            self._in_a_row = 0
        else:
            self.skipped_steps += 1
            self._in_a_row += 1
        self._optimizer.zero_grad()
        self.steps += 1
        if self._in_a_row == SKIPS_IN_A_ROW:
            raise StoppedError(
                f"training in {self.job.run.out} diverged: no finite loss in steps {self.steps - self._in_a_row + 1} "
                f"to {self.steps} of {self.total}; a lower learning_rate or max_grad_norm may help"
            )

    def _gradients(self, objective: Objective, whole: np.ndarray) -> dict[str, Tensor]:
        """Add up the gradients of an optimiser batch; loss and statistics of the whole of it."""
        while True:
            sums, full = dict[str, Tensor](), None
            try:
                sums = self._pass(objective, whole)
            except torch.OutOfMemoryError as error:
                full = error.with_traceback(None)  # its frames hold the tensors
            if full is not None and self.model.passes is not None:
                raise StoppedError(  # the others wait for this one amid a pass
                    f"training in {self.job.run.out}: step {self.steps + 1} did not fit in the memory of "
                    f"{self.model.device}; a smaller micro_tokens, or gradient_checkpointing, may help"
                ) from full
            if not self._processes.any(full is not None):
                if self.model.passes is None:
                    self._processes.sum_gradients(self._optimizer.parameters)
                return self._processes.sum_figures(sums)
            self._optimizer.zero_grad()
            torch.cuda.empty_cache()
            largest = self.micro_tokens if self._size is None else self._size
            if largest <= 1 or (self._size is None and largest <= int(objective.lengths[whole].min())):
                raise StoppedError(
                    f"training in {self.job.run.out}: not even a single row fits in the memory of {self.model.device}; "
                    "gradient_checkpointing, a smaller max_length or dtype bfloat16 may help"
                ) from full
            if self._size is None:
                self.micro_tokens //= 2
            else:
                self._size //= 2
            self.job.run.note(
                f"{self.job.run.out}: step {self.steps + 1} did not fit in memory; forward passes take "
                f"{largest // 2:,} {'tokens' if self._size is None else 'rows'} from here on"
            )

    def _pass(self, objective: Objective, whole: np.ndarray) -> dict[str, Tensor]:
        sums: dict[str, Tensor] = {}
        plan = shared_out(
            whole,
            objective.lengths[whole],
            self._processes.world,
            size=self._size,
            tokens=self.micro_tokens,
            by_length=self.job.settings.group_by_length,
        )
        times = 1 if self.model.passes is None else self._processes.world  # a spread model's gradients are meaned
        for part, weight in plan[self._processes.rank]:
            loss, statistics = self.model.read(objective.loss, self.model, part, whole)
            (loss * (weight * times)).backward()
            _add(sums, {name: value * weight for name, value in {"loss": loss.detach(), **statistics}.items()})
        return sums

    def log(self, figures: Mapping[str, float]) -> None:
        """Write the means of the steps since the last call, and further figures, to the metrics."""
        self.metrics = {name: float(value) / self._summed for name, value in self._sums.items()} or self.metrics
        self._sums, self._summed = {}, 0
        shown = {"learning_rate": self.job.settings.learning_rate * self._factor, **figures}
        line = {"step": self.steps, **self.metrics, **shown, "skipped_steps": self.skipped_steps}
        self.job.run.log(line)
        self._trackers.log(line)
        if self.job.on_step is not None:
            told, on_step = {**self.metrics, **shown}, self.job.on_step
            self._processes.once(lambda: on_step(self.steps, self.total, told))

    def checkpoint(self) -> None:
        """Keep the state, so that an interrupted training continues from here."""
        self.job.run.checkpoint(
            {
                "module": self.model.state_dict(),
                "optimizer": sharding.whole(self._optimizer.state_dict(), self._processes.first),
                "kept": {name: part.state_dict() for name, part in self._kept.items()},
                "rng": torch.get_rng_state(),
                "gpu_rng": torch.cuda.get_rng_state(self.model.device) if self._gpus else None,
                "window": self._sums,
                "window_steps": self._summed,
                "step": self.steps,
                "skipped": self.skipped_steps,
                "in_a_row": self._in_a_row,
                "metrics": self.metrics,
                "seconds": self._seconds(),
            }
        )

    def keep(self, number: int) -> None:
        """Keep the model as it is, as ``policy-NUMBER``; before the checkpoint, so that a torn one is made again."""
        self.model.save(self.job.run.out / f"{KEPT}{number}")

    def finish(self, data: EncodedRows, report: Mapping[str, list[float | None]] | None = None) -> TrainResult:
        """Save the model and the result of a training on `data`, with what was measured of it."""
        result = TrainResult(
            path=self.job.run.out,
            steps=self.steps,
            rows_used=len(data.source),
            dropped=dict(data.dropped),
            explained=dict(data.explained),
            truncated=data.truncated,
            earlier=data.earlier,
            spelled=data.spelled,
            skipped_steps=self.skipped_steps,
            metrics=self.metrics,
            report=dict(report or {}),
            seconds=self._seconds(),
        )
        return self.job.run.finish(self.model, result)

    def _track(self) -> None:
        run, settings = self.job.run, self.job.settings
        self._trackers = Trackers(settings.report_to, run.out, run.key, settings, self.steps, run.note)

    def _restore(self) -> None:
        state = self.job.run.restore(math.inf if self.model.passes is None else sharding.SMALL)
        if state is None:
            return
        self.model.load_state_dict(state["module"])
        self._optimizer.load_state_dict(state["optimizer"])
        for name, part in self._kept.items():
            part.load_state_dict(state["kept"][name])
        torch.set_rng_state(state["rng"])
        if self._gpus:
            torch.cuda.set_rng_state(state["gpu_rng"], self.model.device)
        self._sums, self._summed = state["window"], state["window_steps"]
        self.steps, self.skipped_steps, self._in_a_row = state["step"], state["skipped"], state["in_a_row"]
        self.metrics, self._seconds_before = state["metrics"], state["seconds"]

    def _seconds(self) -> float:
        """Wall time of all the training's sessions, up to now."""
        return self._seconds_before + time.perf_counter() - self.job.started


def _add(sums: dict[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, value in values.items():
        sums[name] = sums[name] + value if name in sums else value.detach()
