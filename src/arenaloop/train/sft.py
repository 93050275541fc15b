"""Supervised fine-tuning: cross-entropy on the answers, and on nothing else."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from arenaloop.config import SFTSettings
from arenaloop.errors import ConfigError, InputError
from arenaloop.models.checkpoint import checkpoint_fingerprint
from arenaloop.train.batches import TokenTable
from arenaloop.train.encoding import encode_conversations, used_columns
from arenaloop.train.loop import OnStep, fit
from arenaloop.train.losses import token_cross_entropy
from arenaloop.train.policy import Policy, load_policy
from arenaloop.train.run import TrainingRun, TrainResult
from arenaloop.types import content_hash

__all__ = ["SFTObjective", "train_sft"]


class SFTObjective:
    """Mean cross-entropy over the labelled tokens of the optimiser batch.

    Args:
        table: the tokenised conversations.
    """

    def __init__(self, table: TokenTable) -> None:
        self.table = table
        self.lengths = table.lengths

    def loss(self, policy: Policy, rows: np.ndarray, whole: np.ndarray) -> tuple[Tensor, dict[str, Tensor]]:
        """See `loop.Objective.loss`."""
        batch = self.table.batch(rows).to(policy.device)
        tokens = int(self.table.labelled[whole].sum())
        return token_cross_entropy(policy.answer_logits(batch), batch.targets, tokens)


def train_sft(
    model: str | Path,
    rows: Sequence[Mapping[str, Any]],
    out: str | Path,
    settings: SFTSettings,
    *,
    seed: int,
    on_step: OnStep | None = None,
    revision: str | None = None,
) -> TrainResult:
    """Fine-tune `model` on conversations and save the result to `out`.

    A finished training with the same start, rows, method and seed is returned at once; an interrupted one continues
    from its last checkpoint; anything else starts anew.

    Args:
        model: the start: a directory in Hugging Face form, or a hub id.
        rows: ``{"messages"}`` or ``{"prompt", "completion"}``, message lists that end with an assistant turn.
        out: the directory to write; see `run`.
        settings: method and execution.
        seed: decides the order of the rows.
        on_step: told about progress.
        revision: of a hub id.

    Raises:
        ConfigError: `out` is not ours to write, or the tokenizer has no chat template.
        InputError: a malformed row, no row left, or a model that cannot be loaded.
        StoppedError: the training diverged, or the disk is full.
    """
    started = time.perf_counter()
    out = Path(out)
    if Path(model).resolve() == out.resolve():
        raise ConfigError(f"{out} is the model to start from; the trained one needs another directory")
    used = [used_columns(row) for row in rows]
    run = TrainingRun(
        out, content_hash("sft", checkpoint_fingerprint(model, revision), used, settings.method(), seed)
    )  # fmt: skip
    if run.result is not None:
        return run.result

    policy = load_policy(model, settings, revision)
    data = encode_conversations(policy.encoder(settings), rows, settings.assistant_turns)
    if not data.rows:
        raise InputError(f"no training row is left of {len(rows)}: {dict(data.dropped)}")
    table = TokenTable(data.rows, policy.pad_id)
    fitted = fit(policy, SFTObjective(table), run, settings, seed=seed, started=started, on_step=on_step)
    return run.finish(
        policy,
        TrainResult(
            path=out,
            steps=fitted.steps,
            rows_used=len(table),
            dropped=dict(data.dropped),
            truncated=data.truncated,
            skipped_steps=fitted.skipped_steps,
            metrics=fitted.metrics,
            seconds=fitted.seconds,
        ),
    )
