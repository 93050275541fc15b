"""Best of n: of several answers of one model to a prompt, the one that a reward likes most (Stiennon et al. 2020).

The choice, what it would have come to with other n, and a model in the arena that answers so. A `BestOfN` is asked
nothing itself: its samples are its model's own answers, asked and stored one by one (`calls.answers`), and the choice
among them is stored as one more.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from arenaloop.errors import InputError
from arenaloop.models.base import Model
from arenaloop.models.reward import Reward
from arenaloop.types import Prompt, Response, Status, content_hash

__all__ = ["BestOfN", "choose", "curve", "kl_bound", "mean_curve", "scores_of"]


def choose(rewards: Sequence[float | None]) -> int | None:
    """Which of n samples is the best: the first of those with the highest reward.

    Samples without a reward (None, not a number, infinite) are out of the choice; None where all are.
    """
    known = [(reward, -at) for at, reward in enumerate(rewards) if reward is not None and math.isfinite(reward)]
    return -max(known)[1] if known else None


def curve(rewards: Sequence[float], gold: Sequence[float]) -> list[float]:
    """What the best of k of N samples is worth on average over all choices of k, for k = 1 … N: N numbers, exact.

    With the samples sorted by reward, the i-th is the best of k of them in C(i - 1, k - 1) of C(N, k) choices; equal
    rewards share the mean of their worth.

    Args:
        rewards: N finite numbers by which is chosen.
        gold: (N,) what each sample is worth.
    """
    n = len(rewards)
    worth: list[float] = []
    for _, same in groupby(sorted(zip(rewards, gold, strict=True)), key=lambda pair: pair[0]):
        tied = [value for _, value in same]
        worth += [math.fsum(tied) / len(tied)] * len(tied)
    return [
        math.fsum(math.comb(i, k - 1) * value for i, value in enumerate(worth)) / math.comb(n, k)
        for k in range(1, n + 1)
    ]


def mean_curve(samples: Sequence[tuple[Sequence[float | None], Sequence[float | None]]]) -> tuple[list[float], int]:
    """The mean of the prompts' curves, over those whose samples all have a reward and a worth.

    Args:
        samples: of each prompt, N rewards and what each sample is worth.

    Returns:
        N numbers, and over how many prompts; no numbers where there is none.
    """
    curves = []
    for rewards, gold in samples:
        known = [value for value in rewards if value is not None and math.isfinite(value)]
        worth = [value for value in gold if value is not None and math.isfinite(value)]
        if len(known) == len(rewards) == len(worth):
            curves.append(curve(known, worth))
    return [math.fsum(values) / len(curves) for values in zip(*curves, strict=True)], len(curves)


def kl_bound(n: int) -> float:
    """How far, in nats, the best of n samples is from the model at most: ln n - (n - 1) / n.

    Without equal samples or rewards it is that far (Beirami et al. 2024).
    """
    return math.log(n) - (n - 1) / n


def scores_of(reward: Reward, answers: Sequence[tuple[Prompt, Response]]) -> list[float | None]:
    """The reward of each answer, of several turns their mean; None where there is none. Equal answers are scored once.

    Raises:
        InputError: the reward gives another number of scores than there are answers.
    """
    different = list({(prompt.id, one.texts): (prompt, one.texts) for prompt, one in answers}.values())
    asked = [(prompt.conversation(texts[:at]), texts[at]) for prompt, texts in different for at in range(len(texts))]
    given: list[float | None] = []
    if asked:
        given += reward.score([messages for messages, _ in asked], [text for _, text in asked])
    if len(given) != len(asked):
        raise InputError(f"the reward gave {len(given)} scores for {len(asked)} answers")
    found: dict[tuple[str, tuple[str, ...]], float | None] = {}
    scores = iter(given)
    for prompt, texts in different:
        turns = [next(scores) for _ in texts]
        known = [value for value in turns if value is not None and math.isfinite(value)]
        found[prompt.id, texts] = math.fsum(known) / len(turns) if len(known) == len(turns) else None
    return [found[prompt.id, one.texts] for prompt, one in answers]


@dataclass(frozen=True, slots=True)
class BestOfN:
    """A contestant whose answer is the best of n samples of a model.

    It is no `Model`: whoever runs it asks for the samples of `model`, and lets it choose.

    Attributes:
        name: what leaderboards call it.
        model: who answers.
        n: how many samples.
        reward: by which is chosen; it may block, and is asked by one thread at a time.
        drop_truncated: leave samples that were cut at their length out of the choice.
    """

    name: str
    model: Model
    n: int
    reward: Reward
    drop_truncated: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def fingerprint(self) -> str:
        """Hash of the model and of all that decides the choice."""
        return content_hash("best_of_n", self.model.fingerprint, self.n, self.reward.identity, self.drop_truncated)

    def rewards(self, prompt: Prompt, samples: Sequence[Response | None]) -> list[float | None]:
        """The reward of each sample; None of one that failed or is left out, and where the reward gives none."""
        fit = [one if one is not None and self._takes(one) else None for one in samples]
        with self._lock:
            found = iter(scores_of(self.reward, [(prompt, one) for one in fit if one is not None]))
        return [None if one is None else next(found) for one in fit]

    def _takes(self, sample: Response) -> bool:
        return sample.battles and not (self.drop_truncated and sample.status is Status.TRUNCATED)
