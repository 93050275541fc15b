"""How a model that judges itself drifts: figures of one iteration's judgements and meta-verdicts, and when to stop.

What the papers saw go wrong (arXiv 2407.19594, section 4): scores that crowd at the top and grow decimals, a meta-judge
that follows the higher score or the seat, judgements and answers that grow. Pure functions of plain numbers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from arenaloop.ratings.agreement import spearman
from arenaloop.ratings.meta_rewards import SeatWeights

__all__ = ["Limits", "MetaDrift", "ScoreDrift", "gold_agreement", "meta_drift", "score_drift", "stopped", "warnings"]


@dataclass(frozen=True, slots=True)
class ScoreDrift:
    """Of all judgements of one iteration. Shares are fractions; None where there is nothing to take one of.

    Attributes:
        asked: how many were asked for.
        failed: by status, those that gave no score.
        failure_rate: their share.
        mean: of the scores.
        histogram: how many scores there are of each value.
        commonest, commonest_share: the value that most scores have, and their share.
        perfect: share of scores of the most points.
        non_integer: share of scores that are no whole number.
        mean_length: of the judgements with a score, in characters.
    """

    asked: int
    failed: Mapping[str, int]
    failure_rate: float | None
    mean: float | None
    histogram: Mapping[float, int]
    commonest: float | None
    commonest_share: float | None
    perfect: float | None
    non_integer: float | None
    mean_length: float | None

    def to_json(self) -> dict[str, Any]:
        """As one mapping; values of the histogram are texts."""
        return asdict(self) | {"histogram": {f"{score:g}": n for score, n in self.histogram.items()}}


@dataclass(frozen=True, slots=True)
class MetaDrift:
    """Of all meta-verdicts of one iteration; None where there is nothing to take a share of.

    Attributes:
        asked: how many were asked for.
        decided: how many name a winner.
        failure_rate: share of those that do not.
        follows_score: of verdicts on unequal scores, the share for the higher one.
        first_seat: of all decided ones, the share for the first seat.
        first_seat_equal: the same of verdicts on equal scores.
        first_weight: of a win from the first seat (w1), on the mean where each answer has its own.
    """

    asked: int
    decided: int
    failure_rate: float | None
    follows_score: float | None
    first_seat: float | None
    first_seat_equal: float | None
    first_weight: float | None

    def to_json(self) -> dict[str, Any]:
        """As one mapping."""
        return asdict(self)


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def score_drift(
    scores: Sequence[float | None], statuses: Sequence[str], lengths: Sequence[int], *, most: float
) -> ScoreDrift:
    """Figures of judgements.

    Args:
        scores: of each; None where it gave none.
        statuses: how each ended.
        lengths: of each, in characters.
        most: the most points that can be given.
    """
    there = [score for score in scores if score is not None]
    histogram = Counter(there)
    commonest = max(histogram, key=lambda score: (histogram[score], score), default=None)
    read = [n for n, score in zip(lengths, scores, strict=True) if score is not None]
    failed = Counter(status for status, score in zip(statuses, scores, strict=True) if score is None)
    return ScoreDrift(
        asked=len(scores),
        failed=dict(failed),
        failure_rate=_share(len(scores) - len(there), len(scores)),
        mean=_share(math.fsum(there), len(there)),
        histogram=dict(sorted(histogram.items())),
        commonest=commonest,
        commonest_share=None if commonest is None else histogram[commonest] / len(there),
        perfect=_share(histogram[most], len(there)),
        non_integer=_share(sum(score != int(score) for score in there), len(there)),
        mean_length=_share(sum(read), len(read)),
    )


def meta_drift(outcomes: npt.ArrayLike, scores: npt.ArrayLike, asked: int, weights: SeatWeights) -> MetaDrift:
    """Figures of meta-verdicts.

    Args:
        outcomes: shape (P, N, N), as of `meta_rewards.seat_weights`.
        scores: of the judgements, shape (P, N).
        asked: how many verdicts were asked for.
        weights: of the seats.
    """
    r, s = np.asarray(outcomes), np.asarray(scores, dtype=np.float64)
    lead = np.sign(s[:, :, None] - s[:, None, :])  # of the first seat's judgement
    decided, unequal, equal = r != 0, (r != 0) & (np.abs(lead) == 1), (r != 0) & (lead == 0)
    wins = (r == 1).sum()
    return MetaDrift(
        asked=asked,
        decided=int(decided.sum()),
        failure_rate=_share(asked - int(decided.sum()), asked),
        follows_score=_share(int((r == lead)[unequal].sum()), int(unequal.sum())),
        first_seat=_share(int(wins), int(decided.sum())),
        first_seat_equal=_share(int((r == 1)[equal].sum()), int(equal.sum())),
        first_weight=float(np.mean(weights.first)) if np.size(weights.first) else None,
    )


def gold_agreement(scores: Sequence[float], truth: Sequence[float], prompts: Sequence[str]) -> dict[str, float | None]:
    """How a judge's mean scores go with the truth: rank correlation over all answers, and pairs within prompts.

    Args:
        scores, truth: of each answer.
        prompts: whose answer each is.

    Returns:
        ``judge_spearman``, and ``judge_pairwise``: of two answers to one prompt of unequal worth, the share whose
        better one has the higher score; an equal score is half. None where there is nothing to compare.
    """
    groups: dict[str, list[int]] = {}
    for i, prompt in enumerate(prompts):
        groups.setdefault(prompt, []).append(i)
    right, pairs = 0.0, 0
    for members in groups.values():
        s, t = (np.asarray([values[i] for i in members]) for values in (scores, truth))
        better = t[:, None] > t[None, :] + 1e-9
        ahead = np.sign(np.round(s[:, None] - s[None, :], 9))
        right += float(((ahead + 1) / 2)[better].sum())
        pairs += int(better.sum())
    return {"judge_spearman": spearman(scores, truth), "judge_pairwise": _share(right, pairs)}


# ---------------------------------------------------------------------- stop rules


@dataclass(frozen=True, slots=True)
class Limits:
    """Where to stop, or to warn; None is never.

    Attributes:
        one_score: share of one score value above which the judge has collapsed: its judgements are not learned from.
        no_pair: share of prompts dropped for equal scores above which the iteration stops.
        follow: rate of following the score above which is warned.
        seat: rate of either seat, among equal scores, above which is warned.
        growth: how many times as long as the first iteration's answers may be before is warned.
    """

    one_score: float | None = 0.9
    no_pair: float | None = 0.9
    follow: float | None = 0.97
    seat: float | None = 0.9
    growth: float | None = 2.0


def _over(value: float | None, limit: float | None) -> bool:
    return value is not None and limit is not None and value > limit


def stopped(
    limits: Limits, commonest: float | None, share: float | None, *, prompts: int, equal: int
) -> dict[str, str]:
    """The rules that stop something, each with the reason in words.

    Args:
        limits: the rules' limits.
        commonest, share: the value that most scores have, and their share; None where a reward gave the scores.
        prompts: of the iteration.
        equal: prompts dropped for equal scores.

    Returns:
        ``one_score``: its judgements are not to be learned from. ``no_pair``: nothing is.
    """
    found = {}
    if _over(share, limits.one_score):
        found["one_score"] = f"{share:.1%} of all scores are {commonest:g}"
    if _over(_share(equal, prompts), limits.no_pair):
        found["no_pair"] = f"all answers have equal scores on {equal:,} of {prompts:,} prompts"
    return found


def warnings(limits: Limits, meta: MetaDrift | None, growth: float | None) -> Iterator[str]:
    """What is worth a warning.

    Args:
        limits: the rules' limits.
        meta: of the meta-verdicts, where there are any.
        growth: how many times as long as the first iteration's answers are.
    """
    if meta is not None and _over(meta.follows_score, limits.follow):
        yield f"the meta-judge follows the higher score in {meta.follows_score:.1%} of its verdicts"
    if meta is not None and meta.first_seat_equal is not None:
        most = max(meta.first_seat_equal, 1 - meta.first_seat_equal)
        if _over(most, limits.seat):
            seat = "first" if meta.first_seat_equal > 0.5 else "second"
            yield f"between equal scores the meta-judge names the {seat} seat in {most:.1%} of its verdicts"
    if _over(growth, limits.growth):
        yield f"answers are {growth:.2g} times as long as those of the first iteration"
