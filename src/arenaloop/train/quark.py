"""Quark, quantised reward conditioning (Lu et al. 2022), as in AlpacaFarm (Dubois et al. 2023, appendix B.2).

A roll-out is sampled and scored, and its answers are cut into parts of equal size by their scores. The model learns the
best part by heart, held near the start by the KL divergence over the whole vocabulary. So in AlpacaFarm; Lu et al.
learn all parts, each under a token that says which it is, keep the answers of all roll-outs, and sample under the
token of the best (``best_only`` and ``reset_pool`` false).

What differs from AlpacaFarm's code on purpose: the token that ends an answer is learned with it, and means are over the
answers' own tokens. Without the first a model never learns to stop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arenaloop.config import QuarkSettings
from arenaloop.data.formats.training_rows import PROMPT_COLUMNS
from arenaloop.errors import StoppedError
from arenaloop.train import rollouts
from arenaloop.train.advantages import row_sums
from arenaloop.train.batches import TokenTable
from arenaloop.train.encoding import Encoded
from arenaloop.train.guards import Watch, refuse_another_start
from arenaloop.train.losses import quark_loss
from arenaloop.train.policy import Policy, load_policy
from arenaloop.train.reward_tokens import RewardTokens, add_reward_tokens
from arenaloop.train.rollouts import Asked, Rollout, token_logprobs, token_logprobs_and_surprise
from arenaloop.train.run import TrainResult
from arenaloop.train.session import Job, Session
from arenaloop.types import derive_seed

__all__ = ["COLUMNS", "Pool", "QuarkObjective", "drawn_rows", "quantile_rows", "train"]

COLUMNS = PROMPT_COLUMNS
"""A row is a prompt, in any of the forms of `data.formats.training_rows`; the reward is the training's own."""


def quantile_rows(scores: np.ndarray, bins: int) -> list[np.ndarray]:
    """Cut rows into parts by their scores, the best first; equal scores stay in their order.

    Args:
        scores: (rows,).
        bins: how many parts; all have ``rows // bins`` rows but the last, which has what is left too.

    Raises:
        StoppedError: there are fewer rows than parts.
    """
    size = len(scores) // bins
    if size == 0:
        raise StoppedError(f"{len(scores)} answers with a score cannot be cut into {bins} parts; lower bins")
    order = np.argsort(-scores, kind="stable")
    return np.split(order, [size * part for part in range(1, bins)])


def drawn_rows(rows: int, steps: int, size: int, seed: int) -> np.ndarray:
    """Which rows each step takes, one permutation of all after another: (steps, size) indices.

    So each of 128 rows stands twice in a step of 256.
    """
    random = np.random.default_rng(seed)
    passes = [random.permutation(rows) for _ in range(math.ceil(steps * size / rows))]
    return np.concatenate(passes)[: steps * size].reshape(steps, size)


class Pool:
    """Answers that are learned from, after their prompts as they are without a reward token, and their scores."""

    def __init__(self) -> None:
        self.rows: list[Encoded] = []
        self.scores = np.zeros(0)

    def add(self, rows: Sequence[Encoded], scores: np.ndarray) -> None:
        """Take in (rows,) answers and their scores."""
        self.rows += rows
        self.scores = np.concatenate([self.scores, scores])

    def clear(self) -> None:
        """Forget all."""
        self.rows, self.scores = [], np.zeros(0)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs."""
        return {
            "ids": torch.tensor([token for row in self.rows for token in row.ids], dtype=torch.int32),
            "lengths": torch.tensor([[len(row.ids), sum(row.labelled)] for row in self.rows], dtype=torch.int64),
            "scores": torch.from_numpy(self.scores),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state that was kept."""
        self.clear()
        ids, at, rows = state["ids"].tolist(), 0, []
        for length, answer in state["lengths"].tolist():
            rows.append(_encoded(ids[at : at + length], answer))
            at += length
        self.add(rows, state["scores"].numpy())


class QuarkObjective:
    """Likelihood of the answers of one step, less what keeps the model near the start, meaned over tokens.

    Args:
        table: the answers after the prompts that the policy sees.
        plain: the same after the prompts that the reference sees, without reward tokens.
        weights: (rows,) how often each stands in the step.
        reference: the start.
        kl_coef: weight of the divergence from it.
        settings: weight of the entropy, temperature.
    """

    def __init__(
        self,
        table: TokenTable,
        plain: TokenTable,
        weights: np.ndarray,
        reference: Policy,
        kl_coef: float,
        settings: QuarkSettings,
    ) -> None:
        self.table, self.plain, self.weights = table, plain, weights
        self.reference, self.kl_coef, self.settings = reference, kl_coef, settings
        self.lengths = table.lengths

    def loss(self, policy: Policy, rows: np.ndarray, whole: np.ndarray) -> tuple[Tensor, dict[str, Tensor]]:
        """See `session.Objective.loss`."""
        batch = self.table.batch(rows).to(policy.device)
        shown = batch if self.plain is self.table else self.plain.batch(rows).to(policy.device)
        weights = torch.from_numpy(self.weights[rows]).float().to(policy.device)[batch.row]
        scores = policy.token_scores(
            batch, self.settings.temperature, entropy=True, reference=self.reference, shown=shown
        )
        assert scores.divergence is not None
        loss, statistics = quark_loss(
            scores.logprobs,
            scores.divergence,
            scores.entropy,
            kl_coef=self.kl_coef,
            entropy_coef=self.settings.entropy_coef,
            weights=weights,
            tokens=float((self.weights * self.table.labelled)[whole].sum()),
        )
        return loss, {f"policy/{name}": value for name, value in statistics.items()}


def train(job: Job[QuarkSettings]) -> TrainResult:
    """Improve the start by the best of its own answers; see `methods.training`."""
    settings = job.settings
    policy = load_policy(job.start, settings, job.revision)
    tokens, encoder = None, policy.encoder(settings)
    if not settings.best_only:
        tokens = add_reward_tokens(policy, settings.bins, job.seed)
        encoder = tokens.encoder(policy, settings)
    reference = policy.frozen()
    prompts, settings, loop = rollouts.prepare(policy, encoder, job)
    if tokens is not None:
        tokens.ask_for_the_best(policy)
    watch, pool = Watch(settings), Pool()
    with Session(
        job, policy, total=loop.steps, dropout=False, kept={"watch": watch, "pool": pool}, stride=loop.steps_each
    ) as session:
        for iteration in range(session.steps // loop.steps_each, loop.iterations):
            clock = rollouts.Clock()
            plain = rollouts.draw(prompts.asked, loop.prompts_each, job.seed, iteration)
            asked = plain
            if tokens is not None and iteration > 0:  # before the first step they mean nothing
                asked = [replace(each, ids=tokens.insert(each.ids, 0)) for each in plain]
            rollout = rollouts.sample(policy, asked, settings, derive_seed(job.seed, "sample", iteration))
            clock.lap("sampling")
            rollout = rollouts.score(rollout, job.scored_by(), settings)
            clock.lap("scoring")
            answers = _after(rollout, plain)
            old, surprise = token_logprobs_and_surprise(policy, rollout.table, settings)
            before = token_logprobs(reference, TokenTable(answers, policy.pad_id), settings)
            if iteration == 0:
                refuse_another_start(float((old - before).abs().max()), policy.lower)
            row, rows = rollout.row, len(rollout.texts)
            kl = row_sums(old - before, row, rows).double().numpy()
            figures = rollout.figures()
            watch.check(iteration, kl, surprise, figures)
            scored = np.flatnonzero(rollout.weights)
            pool.add([answers[at] for at in scored], rollout.scores[scored])
            parts = quantile_rows(pool.scores, settings.bins)[: 1 if tokens is None else settings.bins]
            best = float(pool.scores[parts[0]].mean())
            rollouts.write(rollout, job.run.out, iteration, {"kl": kl})
            clock.lap("crediting")
            kl_coef = watch.kl.value
            tables, times = _draw(pool, parts, tokens, settings, derive_seed(job.seed, "steps", iteration))
            for weights in times:
                objective = QuarkObjective(*tables, weights, reference, kl_coef, settings)
                session.step(objective, np.flatnonzero(weights))
            clock.lap("update")
            watch.kl = watch.kl.after(float(kl.mean()))
            if settings.reset_pool:
                pool.clear()
            told = {"objective/kl": float(kl.mean()), "objective/kl_coef": kl_coef, "objective/best_part": best}
            rollouts.end(session, loop, iteration, {**told, **figures, **clock.seconds})
    return session.finish(loop.used(prompts))


def _after(rollout: Rollout, prompts: Sequence[Asked]) -> list[Encoded]:
    """The answers of a roll-out after the prompts as they are without a reward token."""
    found = []
    for at, prompt in enumerate(rollout.group):
        answer = int(rollout.table.labelled[at])
        found.append(_encoded([*prompts[prompt].ids, *rollout.table.row(at).ids[-answer:]], answer))
    return found


def _draw(
    pool: Pool, parts: Sequence[np.ndarray], tokens: RewardTokens | None, settings: QuarkSettings, seed: int
) -> tuple[tuple[TokenTable, TokenTable], np.ndarray]:
    """What the steps on a roll-out take of the pool.

    Args:
        pool: the answers.
        parts: those that are learned, the best first.
        tokens: of the parts; None = they are learned without.
        settings: steps and their size.
        seed: decides the order.

    Returns:
        The R answers that are taken, after the prompts that the policy and that the reference sees; and how often each
        stands in a step, (steps, R).
    """
    learned, part = np.concatenate(parts), np.repeat(np.arange(len(parts)), [len(each) for each in parts])
    drawn = drawn_rows(len(learned), settings.steps_each, settings.step_batch, seed)
    used, at = np.unique(drawn, return_inverse=True)
    rows = [pool.rows[learned[each]] for each in used]
    table = plain = TokenTable(rows, pad_id=0)
    if tokens is not None:
        table = TokenTable([tokens.condition(row, part[n]) for row, n in zip(rows, used, strict=True)], pad_id=0)
    return (table, plain), np.stack([np.bincount(step, minlength=len(used)) for step in at.reshape(drawn.shape)])


def _encoded(ids: list[int], answer: int) -> Encoded:
    """A prompt and its answer, of that many tokens."""
    return Encoded(ids, [False] * (len(ids) - answer) + [True] * answer, truncated=False)
