"""Binary FeedME (Dubois et al. 2023, appendix A.1): supervised fine-tuning on the better answer of every pair, once."""

from __future__ import annotations

from arenaloop.config import FeedMESettings
from arenaloop.data.formats.training_rows import PREFERENCE_COLUMNS
from arenaloop.train.batches import TokenTable
from arenaloop.train.encoding import encode_chosen
from arenaloop.train.loop import fit
from arenaloop.train.policy import load_policy
from arenaloop.train.run import TrainResult
from arenaloop.train.session import Job
from arenaloop.train.sft import SFTObjective

__all__ = ["COLUMNS", "train"]

COLUMNS = tuple((*form, "preference") for form in PREFERENCE_COLUMNS)
"""A row is a prompt with two answers, in any of the forms of `data.formats.training_rows`; with it may stand
``preference``, the probability that the chosen answer is the better one."""


def train(job: Job[FeedMESettings]) -> TrainResult:
    """Fine-tune the start on the chosen answers; see `methods.training`."""
    policy = load_policy(job.start, job.settings, job.revision)
    data = encode_chosen(policy.encoder(job.settings), job.rows)
    return fit(job, policy, SFTObjective(TokenTable(data.rows, policy.pad_id))).finish(data)
