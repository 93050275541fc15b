"""Proximal policy optimisation (Schulman et al. 2017), as in AlpacaFarm (Dubois et al. 2023, section 3.3).

A roll-out: prompts are drawn, answers sampled, scored, and their tokens credited by generalised advantage estimates
over a value network; then some optimiser steps on them, policy and value network together. What differs from the
published code on purpose: no padding exists, so nothing is averaged or whitened over it; the penalty is the plain
log-ratio, which has the KL divergence's gradient; rewards are scaled and not shifted, so that length is not paid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from arenaloop.config import PPOSettings
from arenaloop.data.formats.training_rows import PROMPT_COLUMNS
from arenaloop.train import rollouts
from arenaloop.train.advantages import gae, kl_estimates, row_sums, scale, shape_rewards, whiten
from arenaloop.train.batches import TokenTable
from arenaloop.train.guards import Watch, ratio_error, refuse_another_start, refuse_moved_ratios
from arenaloop.train.heads import ScalarHead, head_on, load_head
from arenaloop.train.losses import ppo_policy_loss, value_loss
from arenaloop.train.policy import Policy, load_policy
from arenaloop.train.rollouts import Rollout, by_token, token_logprobs, token_logprobs_and_surprise
from arenaloop.train.run import TrainResult
from arenaloop.train.session import Job, Session
from arenaloop.types import derive_seed

__all__ = ["COLUMNS", "Credited", "PPOObjective", "credit", "train"]

COLUMNS = PROMPT_COLUMNS
"""A row is a prompt, in any of the forms of `data.formats.training_rows`; the reward is the training's own."""


@dataclass(frozen=True, slots=True)
class Credited:
    """What the tokens of a roll-out earned. N tokens, B answers; all on the CPU.

    Attributes:
        old: (N,) their log-probabilities before the first step on them.
        advantages, returns, values: (N,).
        weights: (N,), 0 for tokens of answers without a score.
        kl: (B,) log-ratio to the reference, summed over the answer, in nats.
        rewards: (B,) rewards as they were shaped and scaled, summed over the answer.
    """

    old: Tensor
    advantages: Tensor
    returns: Tensor
    values: Tensor
    weights: Tensor
    kl: np.ndarray
    rewards: np.ndarray


def credit(
    rollout: Rollout, old: Tensor, reference: Tensor, values: Tensor, kl_coef: float, settings: PPOSettings
) -> Credited:
    """From scores of answers to advantages of tokens.

    Args:
        rollout: with its scores.
        old, reference: (N,), log-probabilities of the tokens under the policy and the start.
        values: (N,), of the states before them.
        kl_coef: weight of the KL penalty.
        settings: estimator, discount, scaling.
    """
    row, rows = rollout.row, len(rollout.texts)
    weights = rollout.by_token(rollout.weights).float()
    penalties = kl_estimates(old, reference, settings.kl_estimator)
    rewards = shape_rewards(penalties, torch.from_numpy(rollout.scores), rollout.last, kl_coef) * weights
    if settings.whiten_rewards == "scale":
        rewards = scale(rewards, weights)
    advantages, returns = gae(rewards, values, row, settings.gamma, settings.lam)
    return Credited(
        old=old,
        advantages=whiten(advantages, weights) * weights,
        returns=returns,
        values=values,
        weights=weights,
        kl=row_sums(old - reference, row, rows).double().numpy(),
        rewards=row_sums(rewards, row, rows).double().numpy(),
    )


class PPOObjective:
    """The clipped losses of policy and value network over the answers of one roll-out, meaned over tokens.

    Args:
        table: the answers.
        value: the value network.
        credited: what their tokens earned.
        settings: clipping and the weight of the value loss.
        policy_learns: whether the policy learns too, not the value network alone.
    """

    def __init__(
        self, table: TokenTable, value: ScalarHead, credited: Credited, settings: PPOSettings, policy_learns: bool
    ) -> None:
        self.table, self.value, self.credited, self.settings = table, value, credited, settings
        self.lengths = table.lengths
        self.ratio_error: float | None = None
        self._policy_learns = policy_learns
        self._tokens = row_sums(credited.weights, table.owners, len(table)).numpy()

    def loss(self, policy: Policy, rows: np.ndarray, whole: np.ndarray) -> tuple[Tensor, dict[str, Tensor]]:
        """See `session.Objective.loss`."""
        batch = self.table.batch(rows).to(policy.device)
        at = self.table.places(rows)
        told, settings = self.credited, self.settings
        old, advantages, returns, values, weights = (
            column[at].to(policy.device)
            for column in (told.old, told.advantages, told.returns, told.values, told.weights)
        )
        tokens = max(float(self._tokens[whole].sum()), 1.0)
        scores = policy.token_scores(batch, settings.temperature, entropy=True)
        if self.ratio_error is None:
            self.ratio_error = ratio_error(scores.logprobs, old, policy.lower)
        of_policy, policy_statistics = ppo_policy_loss(
            scores.logprobs, old, advantages, settings.clip, weights=weights, tokens=tokens
        )
        of_value, value_statistics = value_loss(
            self.value.token_values(batch), values, returns, settings.value_clip, weights=weights, tokens=tokens
        )
        entropy = (
            (scores.entropy.detach() * weights).sum() / tokens if scores.entropy is not None else of_value.detach()
        )
        statistics = {
            **{f"policy/{name}": value for name, value in policy_statistics.items()},
            **{f"val/{name}": value for name, value in value_statistics.items()},
            "policy/loss": of_policy.detach(),
            "policy/entropy": entropy,
            "val/loss": of_value.detach(),
        }
        loss = settings.value_coef * of_value
        return (loss + of_policy if self._policy_learns else loss), statistics


def train(job: Job[PPOSettings]) -> TrainResult:
    """Improve the start by what a reward says of its own answers; see `methods.training`."""
    settings = job.settings
    policy = load_policy(job.start, settings, job.revision)
    prompts, settings, loop = rollouts.prepare(policy, policy.encoder(settings), job)
    reference, value = policy.frozen(), _value_network(job, policy)
    watch = Watch(settings)
    with Session(
        job,
        policy,
        total=loop.steps,
        dropout=False,
        also={"value": value},
        kept={"watch": watch},
        peaks={"value": settings.value_learning_rate},
        stride=loop.steps_each,
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
            values = by_token(value, rollout.table, settings, value.token_values)
            credited = credit(rollout, old, before, values, watch.kl.value, settings)
            figures = rollout.figures()
            watch.check(iteration, credited.kl, surprise, figures)
            rollouts.write(rollout, job.run.out, iteration, {"kl": credited.kl, "reward": credited.rewards})
            clock.lap("crediting")
            objective = PPOObjective(rollout.table, value, credited, settings, iteration >= settings.value_warmup)
            for whole in loop.batches(job.seed, iteration):
                session.step(objective, whole)
                if objective.ratio_error is not None and session.steps == iteration * loop.steps_each + 1:
                    refuse_moved_ratios(objective.ratio_error, policy.lower)
            clock.lap("update")
            kl_coef = watch.kl.value
            watch.kl = watch.kl.after(float(credited.kl.mean()))
            explained = _explained(credited)
            told = {"objective/kl": float(credited.kl.mean()), "objective/kl_coef": kl_coef, **figures}
            rollouts.end(session, loop, iteration, {**told, "val/explained": explained, **clock.seconds})
    return session.finish(loop.used(prompts))


def _value_network(job: Job[PPOSettings], policy: Policy) -> ScalarHead:
    """A value network that says 0 everywhere; beside the policy's adapters it shares the weights that stay."""
    settings = job.settings
    if settings.lora is not None and settings.value_start is None:
        return head_on(policy)
    value = load_head(settings.value_start or job.start, settings, None if settings.value_start else job.revision)
    value.begin_at_zero()
    return value


def _explained(credited: Credited) -> float:
    """Share of the returns' variance that the values before the update account for."""
    counted = credited.weights > 0
    returns, values = credited.returns[counted], credited.values[counted]
    spread = float(returns.var(correction=0)) if len(returns) else 0.0
    return 1 - float((returns - values).var(correction=0)) / spread if spread > 0 else 0.0
