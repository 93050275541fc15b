"""Direct preference optimisation (Rafailov et al. 2023): the reference is a frozen copy of the start, or named."""

from __future__ import annotations

from itertools import islice

import numpy as np
import torch
from torch import Tensor

from arenaloop.config import DPOSettings, OptimSettings
from arenaloop.data.formats.training_rows import PREFERENCE_COLUMNS
from arenaloop.models.checkpoint import checkpoint_fingerprint, torch_threads
from arenaloop.train.batches import TokenTable, micro_batches
from arenaloop.train.encoding import EncodedRows, encode_pairs
from arenaloop.train.loop import fit
from arenaloop.train.losses import dpo_loss
from arenaloop.train.policy import Policy, load_policy
from arenaloop.train.preparing import going_through
from arenaloop.train.processes import joined
from arenaloop.train.run import TrainResult
from arenaloop.train.session import Job
from arenaloop.types import content_hash

__all__ = ["COLUMNS", "DPOObjective", "reference_logprobs", "train"]

COLUMNS = PREFERENCE_COLUMNS
"""A row is a prompt with two answers, in any of the forms of `data.formats.training_rows`."""


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
        self._settings = settings

    def loss(self, policy: Policy, rows: np.ndarray, whole: np.ndarray) -> tuple[Tensor, dict[str, Tensor]]:
        """See `session.Objective.loss`."""
        both = np.concatenate([rows, rows + self.pairs])
        chosen, rejected = policy.answer_logprobs(self.table.batch(both).to(policy.device)).chunk(2)
        reference_chosen, reference_rejected = self.reference[torch.from_numpy(both)].to(policy.device).chunk(2)
        lengths = torch.from_numpy(self.table.labelled[both]).to(policy.device).chunk(2)
        return dpo_loss(
            chosen,
            rejected,
            reference_chosen,
            reference_rejected,
            self._settings.beta,
            kind=self._settings.loss,
            label_smoothing=self._settings.label_smoothing,
            lengths=(lengths[0], lengths[1]),
            pairs=len(whole),
            nll_weight=self._settings.nll_weight,
            chosen_tokens=int(self.table.labelled[whole].sum()),
        )


def reference_logprobs(policy: Policy, table: TokenTable, settings: OptimSettings) -> Tensor:
    """Log-probability of every row's answer under the policy as it is: (rows,) float32 on the CPU."""
    parts = micro_batches(np.arange(len(table)), table.lengths, tokens=policy.micro_tokens(settings))
    with torch_threads(policy.threads(settings)), policy.evaluating():
        told = going_through("log-probabilities of the reference", range(len(table)))

        def read(part: np.ndarray) -> Tensor:
            list(islice(told, len(part)))
            return policy.read(policy.answer_logprobs, table.batch(part).to(policy.device)).cpu()

        found = joined().each(parts, read)
    out = torch.empty(len(table))
    out[torch.from_numpy(np.concatenate(parts))] = torch.cat(found).float()
    return out


def train(job: Job[DPOSettings]) -> TrainResult:
    """Train the start to prefer the chosen answers; see `methods.training`.

    The reference is the start itself, or the model that the settings name. Its log-probabilities are computed once,
    before the first step, and kept in the training's directory (``reference.pt``), so that one model is in memory
    during training.
    """
    policy = load_policy(job.start, job.settings, job.revision)
    policy.spread(job.settings)
    data = encode_pairs(policy.encoder(job.settings), job.rows)
    table = TokenTable(data.rows, policy.pad_id)
    named = job.settings.reference
    key = _reference_key(job.fingerprint if named is None else checkpoint_fingerprint(named), data, job.settings)
    reference = job.run.kept("reference", key)
    if reference is None:
        frozen = policy if named is None else load_policy(named, job.settings, None)
        reference = reference_logprobs(frozen, table, job.settings)
        del frozen
        job.run.keep("reference", key, reference)
    return fit(job, policy, DPOObjective(table, reference, job.settings), dropout=False).finish(data)


def _reference_key(start: str, data: EncodedRows, settings: DPOSettings) -> str:
    """What decides the reference's log-probabilities: the weights and the labelled tokens, so also the template."""
    tokens = [[row.ids, row.labelled.index(True), sum(row.labelled)] for row in data.rows]
    return content_hash("reference", start, tokens, settings.dtype)
