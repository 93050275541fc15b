"""Binary reward conditioning (Dubois et al. 2023, appendix A.1): both answers of a pair, each learned as what it is.

The chosen answer is learned under ``<reward_0>``, the rejected one under ``<reward_1>``; the trained model is asked
with the first (see `reward_tokens`).
"""

from __future__ import annotations

from arenaloop.config import RewardConditioningSettings
from arenaloop.data.formats.training_rows import PREFERENCE_COLUMNS
from arenaloop.train.batches import TokenTable
from arenaloop.train.encoding import encode_pairs
from arenaloop.train.loop import fit
from arenaloop.train.policy import load_policy
from arenaloop.train.reward_tokens import add_reward_tokens
from arenaloop.train.run import TrainResult
from arenaloop.train.session import Job
from arenaloop.train.sft import SFTObjective

__all__ = ["COLUMNS", "train"]

COLUMNS = tuple((*form, "preference") for form in PREFERENCE_COLUMNS)
"""A row is a prompt with two answers, in any of the forms of `data.formats.training_rows`; with it may stand
``preference``, the probability that the chosen answer is the better one."""


def train(job: Job[RewardConditioningSettings]) -> TrainResult:
    """Fine-tune the start on both answers of every pair, each under its token; see `methods.training`."""
    policy = load_policy(job.start, job.settings, job.revision)
    tokens = add_reward_tokens(policy, 2, job.seed)
    data = encode_pairs(tokens.encoder(policy, job.settings), job.rows, decided=True)
    pairs = len(data.source)
    rows = [tokens.condition(row, 0 if at < pairs else 1) for at, row in enumerate(data.rows)]
    tokens.ask_for_the_best(policy)
    return fit(job, policy, SFTObjective(TokenTable(rows, policy.pad_id))).finish(data)
