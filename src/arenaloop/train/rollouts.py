"""What a policy says while it is in training: prompts drawn, answers sampled and scored, and what the training sees.

Answers are drawn on the training module itself, without gradients, from random numbers of their own: the run's seed,
the iteration, the prompt and the sample decide them, whatever stands beside them.
"""

from __future__ import annotations

import gzip
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from arenaloop.config import RolloutSettings, SampleSettings
from arenaloop.data.formats.training_rows import ContradictionError
from arenaloop.errors import InputError, StoppedError, UserError
from arenaloop.models.checkpoint import torch_threads
from arenaloop.models.decoding import Continuation, decode
from arenaloop.train.advantages import row_sums
from arenaloop.train.batches import Batch, TokenTable, micro_batches
from arenaloop.train.encoding import ChatEncoder, Encoded, EncodedRows, Unfit
from arenaloop.train.policy import Policy, refuse_grown
from arenaloop.train.preparing import going_through
from arenaloop.train.processes import joined
from arenaloop.train.rows import prompt_turns
from arenaloop.train.session import Job, Reward, Session
from arenaloop.types import Message, content_hash, derive_seed

__all__ = [
    "Asked",
    "Clock",
    "Plan",
    "Prompts",
    "Rollout",
    "by_token",
    "draw",
    "encode_prompts",
    "end",
    "prepare",
    "sample",
    "score",
    "token_logprobs",
    "token_logprobs_and_surprise",
    "write",
]

MOST_WITHOUT_SCORE = 0.05
"""Share of a roll-out's answers without a score above which a training stops."""

_CHUNK = 256
"""Answers that are decoded at once."""

S = TypeVar("S", bound=RolloutSettings)


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt that answers are sampled to.

    Attributes:
        messages: its turns.
        ids: its tokens, the generation prompt included.
        key: content hash of the turns.
    """

    messages: list[Message]
    ids: list[int]
    key: str


@dataclass(frozen=True, slots=True)
class Prompts:
    """What is left of the rows that were given.

    Attributes:
        asked: the prompts, each once.
        dropped: rows dropped, by reason: ``prompt_too_long``, ``repeated``, ``contradiction``, or one of
            `ChatEncoder.prompt`; `explained`: what there is to say of the first of them, by reason.
    """

    asked: list[Asked]
    dropped: dict[str, int]
    explained: dict[str, str]


@dataclass(frozen=True, slots=True)
class Rollout:
    """Answers of one iteration. B answers.

    Attributes:
        asked: (B,) the prompt of each.
        group: (B,) its number among the prompts of the roll-out.
        table: (B,) tokenised prompt and answer; the answer's tokens are labelled.
        texts: (B,) what was answered.
        ended: (B,) whether the answer ended by itself.
        scores: (B,) float64, as the reward gave them; 0 where there is none.
        weights: (B,) float64, 0 for answers without a score.
    """

    asked: list[Asked]
    group: np.ndarray
    table: TokenTable
    texts: list[str]
    ended: np.ndarray
    scores: np.ndarray
    weights: np.ndarray

    @property
    def row(self) -> Tensor:
        """The answer that each of the labelled tokens belongs to, in order: (N,)."""
        return self.table.owners

    @property
    def last(self) -> Tensor:
        """The index among the labelled tokens of each answer's last: (B,)."""
        return torch.from_numpy(np.cumsum(self.table.labelled) - 1)

    def by_token(self, values: np.ndarray) -> Tensor:
        """A value of each answer, at each of its tokens: (B,) to (N,)."""
        return torch.from_numpy(values)[self.row]

    def figures(self) -> dict[str, float]:
        """What there is to say of the answers: their scores, lengths, ends and how many are different."""
        counted = self.weights > 0
        found = self.scores[counted] if counted.any() else np.zeros(1)
        return {
            "objective/scores": float(found.mean()),
            "objective/scores_std": float(found.std()),
            "completions/mean_length": float(self.table.labelled.mean()),
            "completions/clipped_ratio": float(1 - self.ended.mean()),
            "completions/distinct": len(set(self.texts)) / len(self.texts),
            "completions/without_score": float(1 - counted.mean()),
        }


class Plan:
    """How many roll-outs and steps a training takes, and which answers each step sees.

    Args:
        prompts: how many there are.
        settings: batches and passes.

    Attributes:
        iterations: roll-outs.
        prompts_each: prompts of a roll-out.
        steps_each: optimiser steps of a roll-out.
        steps: of the whole training.

    Raises:
        InputError: there are fewer prompts than a roll-out takes.
    """

    def __init__(self, prompts: int, settings: RolloutSettings) -> None:
        self._settings = settings
        self.prompts_each = settings.rollout_batch // settings.samples
        if why := settings.lacking(prompts):
            raise InputError(why)
        self.iterations = settings.roll_outs(prompts)
        self.steps_each = settings.steps_each
        self.steps = self.iterations * self.steps_each

    def batches(self, seed: int, iteration: int) -> Iterator[np.ndarray]:
        """The answers of each step on a roll-out: every pass is a permutation of its own."""
        size, step = self._settings.rollout_batch, self._settings.step_batch
        for epoch in range(self.steps_each // math.ceil(size / step)):
            order = np.random.default_rng(derive_seed(seed, "steps", iteration, epoch)).permutation(size)
            for start in range(0, size, step):
                yield order[start : start + step]

    def used(self, prompts: Prompts) -> EncodedRows:
        """What is said of the rows in the result."""
        return EncodedRows(
            source=list(range(len(prompts.asked))), dropped=Counter(prompts.dropped), explained=prompts.explained
        )


class Clock:
    """Seconds by phase of one roll-out."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, phase: str) -> None:
        """What has passed since the last lap belongs to this phase."""
        now = time.perf_counter()
        self.seconds[f"seconds/{phase}"] = now - self._since
        self._since = now


def end(session: Session, plan: Plan, iteration: int, figures: Mapping[str, float]) -> None:
    """Close a roll-out: its line of metrics, and the checkpoint and model that are due."""
    settings, done = session.job.settings, iteration + 1
    if done % settings.log_every == 0 or done == plan.iterations:
        session.log({"iteration": float(done), **figures})
    if settings.keep_every and done % settings.keep_every == 0:
        session.keep(done)
    if settings.checkpoint_every and done % settings.checkpoint_every == 0 and done < plan.iterations:
        session.checkpoint()


def prepare(policy: Policy, encoder: ChatEncoder, job: Job[S]) -> tuple[Prompts, S, Plan]:
    """What a training takes of its prompts, with the settings as they are for these; then the reward is tried.

    Raises:
        InputError: a malformed row, too few prompts, a vocabulary that is not its tokenizer's, or a reward that does
            not answer.
    """
    refuse_grown(policy)
    settings = job.settings.within(encoder.max_length)
    prompts = encode_prompts(encoder, job.rows, settings)
    settings = settings.sized(len(prompts.asked))
    plan = Plan(len(prompts.asked), settings)
    changed = [
        f"{name} {getattr(settings, name):,}, not {getattr(job.settings, name):,}"
        for name in ("max_new_tokens", "rollout_batch")
        if getattr(settings, name) != getattr(job.settings, name)
    ]
    joined().once(job.scored_by().probe)
    if changed:
        job.run.note(
            f"{job.run.out}: {len(prompts.asked):,} prompts in a window of {encoder.max_length:,} tokens, so "
            + " and ".join(changed)
        )
    return prompts, settings, plan


def encode_prompts(encoder: ChatEncoder, rows: Sequence[Mapping[str, Any]], settings: SampleSettings) -> Prompts:
    """Tokenise prompts; see `data.formats.training_rows` for the forms of their rows.

    Raises:
        InputError: a malformed row, or no prompt left.
    """
    asked: dict[str, Asked] = {}
    dropped: Counter[str] = Counter()
    explained: dict[str, str] = {}
    room = encoder.max_length - settings.max_new_tokens
    for at, row in enumerate(going_through("tokenizing", rows)):
        try:
            messages = prompt_turns(row, at)
        except ContradictionError:
            dropped["contradiction"] += 1
            continue
        key = content_hash([dict(message) for message in messages])
        ids = encoder.prompt(messages, f"training row {at}")
        if isinstance(ids, Unfit):
            dropped[ids.reason] += 1
            explained.setdefault(ids.reason, ids.words)
        elif len(ids) > room:
            dropped["prompt_too_long"] += 1
        elif key in asked:
            dropped["repeated"] += 1
        else:
            asked[key] = Asked(messages, ids, key)
    if not asked:
        why = ", ".join(f"{n:,} {reason}" for reason, n in dropped.items())
        if dropped["prompt_too_long"]:
            why += f" (max_length is {encoder.max_length:,} here, max_new_tokens {settings.max_new_tokens:,} of them)"
        raise InputError(f"no prompt is left of {len(rows):,}: {why}")
    return Prompts(list(asked.values()), dict(dropped), {name: words for name, words in explained.items() if words})


def draw(prompts: Sequence[Asked], count: int, seed: int, iteration: int) -> list[Asked]:
    """The prompts of a roll-out: every prompt once before any comes again, each pass in an order of its own."""
    found: list[Asked] = []
    at = iteration * count
    while len(found) < count:
        epoch, start = divmod(at, len(prompts))
        order = np.random.default_rng(derive_seed(seed, "prompts", epoch)).permutation(len(prompts))
        part = order[start : start + count - len(found)]
        found += [prompts[index] for index in part]
        at += len(part)
    return found


def sample(policy: Policy, prompts: Sequence[Asked], settings: SampleSettings, seed: int) -> Rollout:
    """Sample `settings.samples` answers to each prompt, without scores yet.

    Raises:
        StoppedError: an answer does not fit in the device's memory even alone.
    """
    repeated = [(at, asked, n) for at, asked in enumerate(prompts) for n in range(settings.samples)]
    rows = [
        Continuation(asked.ids, settings.max_new_tokens, settings.temperature, seed=derive_seed(seed, at, asked.key, n))
        for at, asked, n in repeated
    ]
    step = max(_CHUNK // settings.samples, 1) * settings.samples  # a prompt's samples share its reading
    processes = joined()
    ends = (processes.rank, processes.rank + 1)
    first, last = (len(prompts) * at // processes.world * settings.samples for at in ends)
    with torch_threads(policy.threads(settings)), policy.generating():
        for start in range(first, last, step):
            decode(policy.module, rows[start : min(start + step, last)], policy.end_ids, forbidden=policy.forbidden)
    if processes.world > 1:
        rows = [row for part in processes.gathered(rows[first:last]) for row in part]
    wrong = next((row.error for row in rows if row.error is not None), None)
    if wrong is not None:
        raise StoppedError(f"an answer cannot be sampled: {wrong}")
    encoded = [
        Encoded([*row.prompt, *row.tokens], [False] * len(row.prompt) + [True] * len(row.tokens), truncated=False)
        for row in rows
    ]
    ended = np.array([row.finish_reason == "stop" for row in rows])
    texts = [
        policy.tokenizer.decode(row.tokens[:-1] if end else row.tokens, skip_special_tokens=True)
        for row, end in zip(rows, ended, strict=True)
    ]
    return Rollout(
        asked=[asked for _, asked, _ in repeated],
        group=np.array([at for at, _, _ in repeated]),
        table=TokenTable(encoded, policy.pad_id),
        texts=texts,
        ended=ended,
        scores=np.zeros(len(rows)),
        weights=np.ones(len(rows)),
    )


def score(rollout: Rollout, reward: Reward, settings: SampleSettings) -> Rollout:
    """The same answers with their scores; equal answers to a prompt are scored once.

    Raises:
        StoppedError: more than 5 % of them have none, or the reward, which has answered before, does not any more.
    """
    keys = [(asked.key, text) for asked, text in zip(rollout.asked, rollout.texts, strict=True)]
    first = {key: at for at, key in reversed(list(enumerate(keys)))}
    once = sorted(first.values())
    asked, texts = [rollout.asked[at].messages for at in once], [rollout.texts[at] for at in once]
    try:
        given = joined().once(lambda: list(reward.score(asked, texts)))
    except UserError as error:
        raise StoppedError(str(error)) from error
    if len(given) != len(once):
        raise StoppedError(f"the reward gave {len(given)} scores for {len(once)} answers")
    by_key = {keys[at]: value for at, value in zip(once, given, strict=True)}
    found = [by_key[key] for key in keys]
    known = np.array([value is not None and math.isfinite(value) for value in found])
    missing = len(known) - int(known.sum())
    if missing > MOST_WITHOUT_SCORE * len(known):
        shown = next(value for value, yes in zip(found, known, strict=True) if not yes)
        raise StoppedError(
            f"the reward gave no score for {missing:,} of the {len(known):,} answers of a roll-out "
            f"(more than {MOST_WITHOUT_SCORE:.0%}), but {shown!r}"
        )
    scores = np.array(
        [float(value) if yes and value is not None else 0.0 for value, yes in zip(found, known, strict=True)]
    )
    if settings.unfinished_score is not None:
        scores = np.where(rollout.ended, scores, settings.unfinished_score)
    if settings.reward_clip is not None:
        scores = scores.clip(-settings.reward_clip, settings.reward_clip)
    return Rollout(
        rollout.asked, rollout.group, rollout.table, rollout.texts, rollout.ended, scores * known, known.astype(float)
    )


def token_logprobs(policy: Policy, table: TokenTable, settings: RolloutSettings) -> Tensor:
    """Log-probabilities of all labelled tokens by the training forward, in the order of the rows: (N,) on the CPU."""
    return by_token(policy, table, settings, lambda batch: policy.token_logprobs(batch, settings.temperature))


def token_logprobs_and_surprise(
    policy: Policy, table: TokenTable, settings: RolloutSettings
) -> tuple[Tensor, np.ndarray]:
    """The same, and of each answer how it compares with the policy's own draws: (N,) and (B, 2).

    By how much it is less likely than they are on average, which is ``sum_t -ln pi(y_t) - H_t`` and has the expectation
    0 where every token was drawn from the policy; and the variance that this sum then has, ``sum_t Var(ln pi(.))``.
    """

    def read(batch: Batch) -> Tensor:
        scores = policy.token_scores(batch, settings.temperature, entropy=True, variance=True)
        assert scores.entropy is not None
        assert scores.variance is not None
        return torch.stack([scores.logprobs, -scores.logprobs - scores.entropy, scores.variance], dim=1)

    logprobs, *columns = by_token(policy, table, settings, read).unbind(dim=1)
    both = [row_sums(column, table.owners, len(table)).double() for column in columns]
    return logprobs, torch.stack(both, dim=1).numpy()


def by_token(policy: Any, table: TokenTable, settings: RolloutSettings, read: Callable[[Any], Tensor]) -> Tensor:
    """What `read` says of the labelled tokens of batches, without gradients, in the order of the rows.

    On the CPU, (N,), or (N, k) where it says k things of each.
    """
    parts = micro_batches(np.arange(len(table)), table.lengths, tokens=policy.micro_tokens(settings))
    with torch_threads(policy.threads(settings)), policy.evaluating():
        found = joined().each(parts, lambda part: read(table.batch(part).to(policy.device)).float().cpu())
    out = found[0].new_empty(int(table.labelled.sum()), *found[0].shape[1:])
    for part, values in zip(parts, found, strict=True):
        out[table.places(part)] = values
    return out


def write(rollout: Rollout, out: Path, iteration: int, by_answer: Mapping[str, np.ndarray]) -> None:
    """Keep a roll-out in ``rollouts/``: prompt, text, tokens, end and score of each answer, and what is given of it."""
    joined().once(lambda: _write(rollout, out, iteration, by_answer))


def _write(rollout: Rollout, out: Path, iteration: int, by_answer: Mapping[str, np.ndarray]) -> None:
    (out / "rollouts").mkdir(exist_ok=True)
    aside = out / "rollouts" / f"{iteration:06d}.tmp"
    # no time and no name in the file: the same answers are the same bytes
    with aside.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        for at, asked in enumerate(rollout.asked):
            line = {
                "prompt": [dict(message) for message in asked.messages],
                "text": rollout.texts[at],
                "tokens": int(rollout.table.labelled[at]),
                "ended": bool(rollout.ended[at]),
                "score": float(rollout.scores[at]) if rollout.weights[at] else None,
                **{name: float(values[at]) for name, values in by_answer.items()},
            }
            file.write((json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass"))
    aside.replace(aside.with_suffix(".jsonl.gz"))
