"""Supervised fine-tuning: cross-entropy on the answers, and on nothing else."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from arenaloop.config import SFTSettings
from arenaloop.data.formats.training_rows import CONVERSATION_COLUMNS
from arenaloop.train.batches import TokenTable
from arenaloop.train.encoding import encode_conversations
from arenaloop.train.loop import fit
from arenaloop.train.losses import cross_entropy_loss
from arenaloop.train.policy import Policy, load_policy
from arenaloop.train.run import TrainResult
from arenaloop.train.session import Job

__all__ = ["COLUMNS", "SFTObjective", "train"]

COLUMNS = CONVERSATION_COLUMNS
"""A row is a conversation that ends with an assistant turn, in any of the forms of `data.formats.training_rows`."""


class SFTObjective:
    """Mean cross-entropy over the labelled tokens of the optimiser batch.

    Args:
        table: the tokenised conversations.
    """

    def __init__(self, table: TokenTable) -> None:
        self.table = table
        self.lengths = table.lengths

    def loss(self, policy: Policy, rows: np.ndarray, whole: np.ndarray) -> tuple[Tensor, dict[str, Tensor]]:
        """See `session.Objective.loss`."""
        batch = self.table.batch(rows).to(policy.device)
        tokens = int(self.table.labelled[whole].sum())
        scores = policy.token_scores(batch)
        return cross_entropy_loss(scores.logprobs, scores.likeliest, tokens)


def train(job: Job[SFTSettings]) -> TrainResult:
    """Fine-tune the start on conversations; see `methods.training`."""
    policy = load_policy(job.start, job.settings, job.revision)
    policy.spread(job.settings)
    data = encode_conversations(policy.encoder(job.settings), job.rows, job.settings.assistant_turns)
    return fit(job, policy, SFTObjective(TokenTable(data.rows, policy.pad_id))).finish(data)
