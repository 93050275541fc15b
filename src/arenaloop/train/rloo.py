"""REINFORCE with a leave-one-out baseline (Kool et al. 2019; Ahmadian et al. 2024): no value network.

Several answers to each prompt; an answer's advantage is its reward less the mean of the others', the KL penalty being
part of the reward. The probability ratio is clipped per token, as in PPO; with one pass over a roll-out it is 1.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from arenaloop.config import RLOOSettings
from arenaloop.data.formats.training_rows import PROMPT_COLUMNS
from arenaloop.train import rollouts
from arenaloop.train.advantages import kl_estimates, leave_one_out, row_sums, whiten
from arenaloop.train.batches import TokenTable
from arenaloop.train.guards import Watch, ratio_error, refuse_another_start, refuse_moved_ratios
from arenaloop.train.losses import ppo_policy_loss
from arenaloop.train.policy import Policy, load_policy
from arenaloop.train.rollouts import Rollout, token_logprobs, token_logprobs_and_surprise
from arenaloop.train.run import TrainResult
from arenaloop.train.session import Job, Session
from arenaloop.types import derive_seed

__all__ = ["COLUMNS", "RLOOObjective", "advantages", "train"]

COLUMNS = PROMPT_COLUMNS
"""A row is a prompt, in any of the forms of `data.formats.training_rows`; the reward is the training's own."""


def advantages(rollout: Rollout, kl: Tensor, kl_coef: float) -> Tensor:
    """Each answer's reward, the penalty included, less the mean of its prompt's others: (B,) float64.

    Args:
        rollout: with its scores.
        kl: (B,) penalties, summed over each answer's tokens.
        kl_coef: their weight.
    """
    rewards = torch.from_numpy(rollout.scores) - kl_coef * kl.double()
    found = leave_one_out(rewards, torch.from_numpy(rollout.group), torch.from_numpy(rollout.weights))
    return whiten(found, torch.from_numpy(rollout.weights))


class RLOOObjective:
    """The clipped loss of the policy over the answers of one roll-out, meaned over tokens.

    Args:
        table: the answers.
        old: (N,) log-probabilities of their tokens before the first step on them, on the CPU.
        advantages: (B,) of the answers, on the CPU.
        weights: (B,), 0 for answers without a score.
        settings: clipping.
    """

    def __init__(
        self, table: TokenTable, old: Tensor, advantages: Tensor, weights: np.ndarray, settings: RLOOSettings
    ) -> None:
        self.table, self.old, self.advantages, self.weights, self.settings = table, old, advantages, weights, settings
        self.lengths = table.lengths
        self.ratio_error: float | None = None

    def loss(self, policy: Policy, rows: np.ndarray, whole: np.ndarray) -> tuple[Tensor, dict[str, Tensor]]:
        """See `session.Objective.loss`."""
        batch = self.table.batch(rows).to(policy.device)
        old = self.old[self.table.places(rows)].to(policy.device)
        each = torch.from_numpy(rows).to(policy.device)[batch.row]
        gained = self.advantages.float().to(policy.device)[each]
        weights = torch.from_numpy(self.weights).float().to(policy.device)[each]
        tokens = max(float((self.weights * self.table.labelled)[whole].sum()), 1.0)
        scores = policy.token_scores(batch, self.settings.temperature, entropy=True)
        if self.ratio_error is None:
            self.ratio_error = ratio_error(scores.logprobs, old, policy.lower)
        loss, found = ppo_policy_loss(scores.logprobs, old, gained, self.settings.clip, weights=weights, tokens=tokens)
        statistics = {f"policy/{name}": value for name, value in found.items()}
        if scores.entropy is not None:
            statistics["policy/entropy"] = (scores.entropy.detach() * weights).sum() / tokens
        return loss, statistics


def train(job: Job[RLOOSettings]) -> TrainResult:
    """Improve the start by what a reward says of its own answers; see `methods.training`."""
    settings = job.settings
    policy = load_policy(job.start, settings, job.revision)
    prompts, settings, loop = rollouts.prepare(policy, policy.encoder(settings), job)
    reference = policy.frozen()
    watch = Watch(settings)
    with Session(
        job, policy, total=loop.steps, dropout=False, kept={"watch": watch}, stride=loop.steps_each
    ) as session:
        for iteration in range(session.steps // loop.steps_each, loop.iterations):
            clock = rollouts.Clock()
            asked = rollouts.draw(prompts.asked, loop.prompts_each, job.seed, iteration)
            rollout = rollouts.sample(policy, asked, settings, derive_seed(job.seed, "sample", iteration))
            clock.lap("sampling")
            rollout = rollouts.score(rollout, job.scored_by(), settings)
            clock.lap("scoring")
            old, surprise = token_logprobs_and_surprise(policy, rollout.table, settings)
            before = token_logprobs(reference, rollout.table, settings)
            if iteration == 0:
                refuse_another_start(float((old - before).abs().max()), policy.lower)
            row, rows = rollout.row, len(rollout.texts)
            kl = row_sums(old - before, row, rows).double().numpy()
            penalty = row_sums(kl_estimates(old, before, settings.kl_estimator), row, rows)
            gained = advantages(rollout, penalty, watch.kl.value)
            figures = rollout.figures()
            watch.check(iteration, kl, surprise, figures)
            rollouts.write(rollout, job.run.out, iteration, {"kl": kl, "advantage": gained.numpy()})
            clock.lap("crediting")
            objective = RLOOObjective(rollout.table, old, gained, rollout.weights, settings)
            for whole in loop.batches(job.seed, iteration):
                session.step(objective, whole)
                if objective.ratio_error is not None and session.steps == iteration * loop.steps_each + 1:
                    refuse_moved_ratios(objective.ratio_error, policy.lower)
            clock.lap("update")
            kl_coef = watch.kl.value
            watch.kl = watch.kl.after(float(kl.mean()))
            told = {"objective/kl": float(kl.mean()), "objective/kl_coef": kl_coef, **figures}
            rollouts.end(session, loop, iteration, {**told, **clock.seconds})
    return session.finish(loop.used(prompts))
