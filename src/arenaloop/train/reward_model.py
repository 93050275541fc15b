"""A reward model from preference pairs (Stiennon et al. 2020; Dubois et al. 2023, section 3.3).

A linear head on the start's last hidden states, trained so that the better answer of a pair is scored higher. Some of
the prompts are held out, and the model is measured on their pairs beside baselines that need no training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from arenaloop.config import RewardModelSettings
from arenaloop.data.formats.training_rows import PREFERENCE_COLUMNS
from arenaloop.errors import ConfigError
from arenaloop.train.batches import TokenTable
from arenaloop.train.encoding import EncodedRows, encode_pairs
from arenaloop.train.gate import pair_report
from arenaloop.train.heads import ScalarHead, head_on, load_head
from arenaloop.train.loop import fit
from arenaloop.train.losses import reward_loss
from arenaloop.train.policy import Policy, load_policy
from arenaloop.train.rewards import PRIOR, RewardModel, likelihoods, separate_pad
from arenaloop.train.rows import labels
from arenaloop.train.rows import preference as preference_row
from arenaloop.train.run import TrainResult
from arenaloop.train.session import Job
from arenaloop.types import content_hash, derive_seed

__all__ = ["COLUMNS", "MOST_MEASURED", "RewardObjective", "held_out", "train"]

COLUMNS = tuple((*form, "preference", "margin") for form in PREFERENCE_COLUMNS)
"""A row is a prompt with two answers, in any of the forms of `data.formats.training_rows`; with it may stand
``preference``, the probability that the chosen answer is the better one, and ``margin``, by how much."""

MOST_MEASURED = 500
"""Pairs at most that are held out; and by whose answers, spread evenly over the rest, scores are standardised."""


class RewardObjective:
    """The Bradley-Terry loss, meaned over the pairs of the optimiser batch. P pairs.

    Args:
        table: 2P tokenised conversations: the chosen ones, then the rejected ones.
        model: whose head is trained.
        prior: (2P,) what is added to its scores, on the CPU.
        preference, margin: (P,) of the rows.
    """

    def __init__(
        self, table: TokenTable, model: RewardModel, prior: Tensor, preference: Tensor, margin: Tensor
    ) -> None:
        self.table, self.model, self.prior = table, model, prior
        self.preference, self.margin = preference, margin
        self.pairs = len(table) // 2
        self.lengths = 2 * np.maximum(table.lengths[: self.pairs], table.lengths[self.pairs :])

    def loss(self, head: ScalarHead, rows: np.ndarray, whole: np.ndarray) -> tuple[Tensor, dict[str, Tensor]]:
        """See `session.Objective.loss`."""
        both = np.concatenate([rows, rows + self.pairs])
        scores = self.model.read(self.table.batch(both, whole=True).to(head.device))
        chosen, rejected = (scores + self.prior[torch.from_numpy(both)].to(head.device)).chunk(2)
        at = torch.from_numpy(rows)
        preference, margin = self.preference[at].to(head.device), self.margin[at].to(head.device)
        return reward_loss(chosen, rejected, preference, margin=margin, pairs=len(whole))


def train(job: Job[RewardModelSettings]) -> TrainResult:
    """Train a head on the start to score the better answers higher; see `methods.training`."""
    settings = job.settings
    with_prior = settings.prior == "policy_logprob"
    if with_prior and settings.keep_every:
        raise ConfigError("keep_every keeps no reward model on the way that has a prior: it would be kept each time")
    head, start = _loaded(job)
    separate_pad(head)
    if not any("SequenceClassification" in name for name in head.module.config.architectures or ()):
        _begin(head, job.seed)
    head.spread(settings)
    preference, margin = zip(*(labels(row, at) for at, row in enumerate(job.rows)), strict=True)
    data = encode_pairs(head.encoder(settings), job.rows, uncut=True)
    ties = [at for at in data.source if preference[at] == 0.5]
    if settings.ties == "drop" and ties:
        _drop(data, set(ties), "tie")
    away = held_out([str(content_hash(_prompt(job.rows[at]))) for at in data.source], settings.held_out, job.seed)
    trained, measured = _part(data, [not out for out in away]), _part(data, away)
    trained.require("preference", len(job.rows))
    if start is None and (with_prior or measured.rows):
        start = load_policy(job.start, settings, job.revision)
    if start is not None:
        start.spread(settings)
    model = RewardModel(head, settings.readout, start if with_prior else None)
    model.say()
    table = TokenTable(trained.rows, head.pad_id)
    prior = torch.zeros(len(table)) if model.prior is None else likelihoods(model.prior, table, settings)
    seen = TokenTable(measured.rows, head.pad_id) if measured.rows else None
    of_start = None if start is None or seen is None else likelihoods(start, seen, settings)
    del start  # without a prior it is not in memory while the head is trained
    columns = (torch.tensor([column[at] for at in trained.source]) for column in (preference, margin))
    session = fit(job, head, RewardObjective(table, model, prior, *columns), dropout=False)
    some = np.linspace(0, len(trained.source) - 1, min(len(trained.source), MOST_MEASURED)).astype(int)
    some = np.concatenate([some, some + len(trained.source)])
    sample = TokenTable([trained.rows[at] for at in some], head.pad_id)
    model.standardise(model.raw(sample, settings, prior[torch.from_numpy(some)]))
    report = {}
    if seen is not None and of_start is not None:
        report = pair_report(
            _pairs(model.raw(seen, settings, of_start if with_prior else None)),
            _pairs(torch.from_numpy(seen.labelled)),
            _pairs(of_start),
            [str(content_hash(_prompt(job.rows[at]))) for at in measured.source],
        )
    if model.prior is not None:
        model.prior.save(job.run.out / PRIOR)
    return session.finish(trained, report)


def _loaded(job: Job[RewardModelSettings]) -> tuple[ScalarHead, Policy | None]:
    """The head on the start; and the start as a language model, where both share weights that stay as they are."""
    if job.settings.lora is not None:
        start = load_policy(job.start, job.settings, job.revision)
        if not any("SequenceClassification" in name for name in start.module.config.architectures or ()):
            return head_on(start), start
    return load_head(job.start, job.settings, job.revision), None


def held_out(prompts: Sequence[str], share: float, seed: int) -> list[bool]:
    """Which pairs measure the model: all pairs of a share of the prompts, at most 500 of them; (P,).

    Prompts come in the order of a hash of the seed, so that those of another training with the same seed are the same.

    Args:
        prompts: (P,), the prompt of each pair.
        share: of the prompts.
        seed: decides which.
    """
    order = sorted(set(prompts), key=lambda prompt: content_hash("held out", seed, prompt))
    chosen: set[str] = set()
    count, pairs = Counter(prompts), 0
    for prompt in order[: int(share * len(order))]:
        pairs += count[prompt]
        if pairs > MOST_MEASURED and chosen:
            break
        chosen.add(prompt)
    return [prompt in chosen for prompt in prompts]


def _begin(head: ScalarHead, seed: int) -> None:
    """A new head: normal with standard deviation 1 / sqrt(D + 1) (Ziegler et al. 2019's published code)."""
    weight = head.module.score.weight
    generator = torch.Generator().manual_seed(derive_seed(seed, "head") % 2**63)
    drawn = torch.randn(weight.shape, generator=generator) / (weight.shape[1] + 1) ** 0.5
    with torch.no_grad():
        nn.Parameter.copy_(weight, drawn.to(weight))


def _prompt(row: Mapping[str, Any]) -> list[Any]:
    return [dict(turn) for turn in preference_row(row, 0)[0]]


def _pairs(values: Tensor) -> np.ndarray:
    return np.stack([each.double().numpy() for each in values.chunk(2)], axis=1)


def _part(data: EncodedRows, wanted: Sequence[bool]) -> EncodedRows:
    """The pairs that are wanted, with what is said of all rows."""
    at = [index for index, yes in enumerate(wanted) if yes]
    count = len(data.source)
    rows = [data.rows[index] for index in at] + [data.rows[count + index] for index in at]
    source = [data.source[index] for index in at]
    return EncodedRows(rows, source, data.dropped, data.explained, data.truncated, data.spelled)


def _drop(data: EncodedRows, rows: set[int], reason: str) -> None:
    kept = _part(data, [at not in rows for at in data.source])
    data.dropped[reason] += len(data.source) - len(kept.source)
    data.rows, data.source = kept.rows, kept.source
