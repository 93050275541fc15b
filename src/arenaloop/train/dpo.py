"""Direct preference optimisation (Rafailov et al. 2023): the reference is a frozen copy of the start."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arenaloop.config import DPOSettings
from arenaloop.errors import ConfigError, InputError
from arenaloop.models.checkpoint import checkpoint_fingerprint, torch_threads
from arenaloop.train.batches import TokenTable, micro_batches
from arenaloop.train.encoding import EncodedRows, encode_pairs, used_columns
from arenaloop.train.loop import OnStep, fit
from arenaloop.train.losses import dpo_loss
from arenaloop.train.policy import Policy, load_policy
from arenaloop.train.run import TrainingRun, TrainResult
from arenaloop.types import content_hash

__all__ = ["DPOObjective", "reference_logprobs", "train_dpo"]


class DPOObjective:
    """The DPO loss, meaned over the pairs of the optimiser batch. P pairs.

    Args:
        table: 2P tokenised conversations: the chosen ones, then the rejected ones.
        reference: (2P,) log-probabilities of their answers under the reference, in float32 on the CPU.
        settings: beta and the weight of the cross-entropy term.
    """

    def __init__(self, table: TokenTable, reference: Tensor, settings: DPOSettings) -> None:
        self.table = table
        self.reference = reference
        self.pairs = len(table) // 2
        self.lengths = 2 * np.maximum(table.lengths[: self.pairs], table.lengths[self.pairs :])
        self._beta = settings.beta
        self._nll_weight = settings.nll_weight

    def loss(self, policy: Policy, rows: np.ndarray, whole: np.ndarray) -> tuple[Tensor, dict[str, Tensor]]:
        """See `loop.Objective.loss`."""
        both = np.concatenate([rows, rows + self.pairs])
        chosen, rejected = policy.answer_logprobs(self.table.batch(both).to(policy.device)).chunk(2)
        reference_chosen, reference_rejected = self.reference[torch.from_numpy(both)].to(policy.device).chunk(2)
        return dpo_loss(
            chosen,
            rejected,
            reference_chosen,
            reference_rejected,
            self._beta,
            pairs=len(whole),
            nll_weight=self._nll_weight,
            chosen_tokens=int(self.table.labelled[whole].sum()),
        )


def reference_logprobs(policy: Policy, table: TokenTable, settings: DPOSettings) -> Tensor:
    """Log-probability of every row's answer under the policy as it is: (rows,) float32 on the CPU."""
    out = torch.empty(len(table))
    parts = micro_batches(np.arange(len(table)), table.lengths, tokens=policy.micro_tokens(settings))
    with torch_threads(policy.threads(settings)), policy.evaluating():
        for part in parts:
            out[torch.from_numpy(part)] = policy.answer_logprobs(table.batch(part).to(policy.device)).cpu()
    return out


def train_dpo(
    model: str | Path,
    rows: Sequence[Mapping[str, Any]],
    out: str | Path,
    settings: DPOSettings,
    *,
    seed: int,
    on_step: OnStep | None = None,
    revision: str | None = None,
) -> TrainResult:
    """Train `model` to prefer the chosen answers and save the result to `out`.

    The reference is the start itself. Its log-probabilities are computed once, before the first step, and kept in `out`
    (``reference.pt``), so that one model is in memory during training. Finished, interrupted and changed
    trainings are treated as in `sft.train_sft`.

    Args:
        model: the start and the reference: a directory in Hugging Face form, or a hub id.
        rows: ``{"prompt", "chosen", "rejected"}``, message lists; chosen and rejected end with an assistant turn.
        out: the directory to write; see `run`.
        settings: method and execution.
        seed: decides the order of the pairs.
        on_step: told about progress.
        revision: of a hub id.

    Raises:
        ConfigError: `out` is not ours to write, or the tokenizer has no chat template.
        InputError: a malformed row, no pair left, or a model that cannot be loaded.
        StoppedError: the training diverged, or the disk is full.
    """
    started = time.perf_counter()
    out = Path(out)
    if Path(model).resolve() == out.resolve():
        raise ConfigError(f"{out} is the model to start from; the trained one needs another directory")
    used = [used_columns(row) for row in rows]
    start = checkpoint_fingerprint(model, revision)
    run = TrainingRun(out, content_hash("dpo", start, used, settings.method(), seed))
    if run.result is not None:
        return run.result

    policy = load_policy(model, settings, revision)
    data = encode_pairs(policy.encoder(settings), rows)
    if not data.rows:
        raise InputError(f"no preference row is left of {len(rows)}: {dict(data.dropped)}")
    table = TokenTable(data.rows, policy.pad_id)
    key = _reference_key(start, data, settings)
    reference = run.load_reference(key)
    if reference is None:
        reference = reference_logprobs(policy, table, settings)
        run.save_reference(key, reference)
    objective = DPOObjective(table, reference, settings)
    fitted = fit(policy, objective, run, settings, seed=seed, started=started, on_step=on_step)
    return run.finish(
        policy,
        TrainResult(
            path=out,
            steps=fitted.steps,
            rows_used=objective.pairs,
            dropped=dict(data.dropped),
            truncated=data.truncated,
            skipped_steps=fitted.skipped_steps,
            metrics=fitted.metrics,
            seconds=fitted.seconds,
        ),
    )


def _reference_key(start: str, data: EncodedRows, settings: DPOSettings) -> str:
    """What decides the reference's log-probabilities: the weights and the labelled tokens, so also the template."""
    tokens = [[row.ids, row.labelled.index(True), sum(row.labelled)] for row in data.rows]
    return content_hash("reference", start, tokens, settings.dtype)
