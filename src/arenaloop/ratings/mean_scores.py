"""Mean scores of single answers, whole and by turn: the table that FastChat's ``show_result.py`` prints.

A model's mean is that over all its scores; its standard error takes the scores of one question (its turns) for one
observation, as the sandwich estimate of a ratio does: ``se^2 = G / (G - 1) * sum_g (sum_{i in g} (x_i - m))^2 / n^2``
with G questions and n scores.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Mean", "MeanScore", "Scored", "mean_scores"]


class Scored(NamedTuple):
    """One judge's score of one model's answer to a turn of a question; None where the judge gave none."""

    judge: str | None
    model: str
    question: Hashable
    turn: Hashable
    score: float | None


@dataclass(frozen=True, slots=True)
class Mean:
    """Attributes: value: None without a score. standard_error: None below two questions. scores: how many."""

    value: float | None
    standard_error: float | None
    scores: int

    @classmethod
    def of(cls, scores: Iterable[Scored]) -> Mean:
        """The mean of what was scored."""
        known = [(one.question, one.score) for one in scores if one.score is not None]
        if not known:
            return cls(None, None, 0)
        codes: dict[Hashable, int] = {}
        group = np.array([codes.setdefault(question, len(codes)) for question, _ in known])
        values = np.array([score for _, score in known], dtype=np.float64)
        mean, clusters = float(values.mean()), len(codes)
        if clusters < 2:
            return cls(mean, None, len(values))
        sums = np.bincount(group, weights=values - mean)
        spread = clusters / (clusters - 1) * float(sums @ sums)
        return cls(mean, spread**0.5 / len(values), len(values))

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"mean": self.value, "standard_error": self.standard_error, "scores": self.scores}


@dataclass(frozen=True, slots=True)
class MeanScore:
    """What one judge gave one model.

    Attributes:
        mean: over all turns.
        turns: by turn.
        failed: scores that the judge did not give; they are in no mean.
    """

    judge: str | None
    model: str
    mean: Mean
    turns: Mapping[Hashable, Mean]
    failed: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        turns = [{"turn": turn, **mean.to_dict()} for turn, mean in self.turns.items()]
        return {"judge": self.judge, "model": self.model, **self.mean.to_dict(), "failed": self.failed, "turns": turns}


def mean_scores(scores: Iterable[Scored]) -> list[MeanScore]:
    """Mean scores of each judge and model: judges with the most scores first, under each the best model first."""
    found: dict[tuple[str | None, str], list[Scored]] = {}
    turns: dict[Hashable, None] = {}
    for one in scores:
        found.setdefault((one.judge, one.model), []).append(one)
        turns[one.turn] = None
    ordered = sorted(turns, key=lambda turn: (str(type(turn)), turn))  # numbers among themselves
    means = [
        MeanScore(
            judge,
            model,
            Mean.of(own),
            {turn: Mean.of(one for one in own if one.turn == turn) for turn in ordered},
            sum(one.score is None for one in own),
        )
        for (judge, model), own in found.items()
    ]
    given: Counter[str | None] = Counter()
    for row in means:
        given[row.judge] += row.mean.scores
    least = float("-inf")
    return sorted(means, key=lambda row: (-given[row.judge], row.judge or "", -(row.mean.value or least), row.model))
