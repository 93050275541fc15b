"""Gates before a training on one's own judgements: is what is to be learned from in the right order?

A judge whose order is no better than chance teaches noise, and a meta-judge of that kind costs the judge it teaches.
Both are shares of pairs of known order; a gate is passed where the lower end of the share's interval lies above a
limit, so that few pairs pass nothing. Pure functions of plain numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from arenaloop.ratings.rates import Rate, clustered_rate

__all__ = ["Gate", "Source", "gate", "meta_accuracy", "order_accuracy", "whole_points"]

Source = Literal["truth", "labelled"]
"""Against what a gate was measured: what is truly so, or what people said of a labelled set."""

_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Gate:
    """What one gate found.

    Attributes:
        rule: its name among the settings.
        source: against what it was measured; None where it was not.
        value, lower, upper: share of `n` pairs or verdicts that are right, and its 95 % interval by prompts.
        limit: that `lower` must exceed.
        passed: None where nothing was measured.
        why: in words.
    """

    rule: str
    source: Source | None
    value: float | None
    lower: float | None
    upper: float | None
    n: int
    limit: float
    passed: bool | None
    why: str

    def to_json(self) -> dict[str, Any]:
        """As one mapping."""
        return asdict(self)


def gate(rule: str, what: str, rate: Rate, limit: float, source: Source | None) -> Gate:
    """Decide: passed where the lower end of the interval exceeds the limit.

    A share of fewer than two prompts has no interval and passes nothing; without a pair of known order nothing is
    measured.

    Args:
        rule: the gate's name.
        what: the share is of, in words.
        rate: the share.
        limit: see `Gate`.
        source: see `Gate`.
    """
    if source is None or rate.value is None:
        why = "not measured: " + (
            "the truth is not known here" if source is None else f"of no {what} the order is known"
        )
        return Gate(rule, None, None, None, None, 0, limit, None, why)
    passed = rate.lower is not None and rate.lower > limit
    against = "by the truth" if source == "truth" else "on the labelled set"
    interval = "too few prompts for an interval" if rate.lower is None else f"{rate.lower:.3f} to {rate.upper:.3f}"
    why = f"{rate.value:.3f} of {rate.n:,} {what} are right {against} ({interval}); the limit is {limit:g}"
    return Gate(rule, source, rate.value, rate.lower, rate.upper, rate.n, limit, passed, why)


def order_accuracy(chosen: Sequence[float], rejected: Sequence[float], prompts: Sequence[str]) -> Rate:
    """Share of pairs whose chosen side is truly the better one, of those that differ; prompts are the clusters.

    Args:
        chosen, rejected: what both sides of each pair are worth, shape (P,).
        prompts: whose pair each is.
    """
    ahead = np.asarray(chosen, dtype=np.float64) - np.asarray(rejected, dtype=np.float64)
    differ = np.abs(ahead) > _TOLERANCE
    return _rate(ahead[differ] > 0, [prompt for prompt, known in zip(prompts, differ, strict=True) if known])


def meta_accuracy(outcomes: npt.ArrayLike, scores: npt.ArrayLike, truth: npt.ArrayLike, prompts: Sequence[str]) -> Rate:
    """Share of verdicts on two judgements that name the one whose score is nearer to the truth.

    Verdicts on scores that are equally far off do not count, nor those without a winner. Each order is a verdict of its
    own, so that one who always names the same seat is right half the time.

    Args:
        outcomes: shape (P, N, N), as of `meta_rewards.seat_weights`.
        scores: of the judgements, shape (P, N); NaN where there is none.
        truth: what each answer deserves, shape (P,).
        prompts: whose answer each is.
    """
    r, s, t = np.asarray(outcomes), np.asarray(scores, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if not r.size:
        return _rate(np.zeros(0, dtype=bool), [])
    off = np.abs(s - t[:, None])
    nearer = np.round(off[:, None, :] - off[:, :, None], 9)  # above 0 where the first seat's score is
    counted = (r != 0) & np.isfinite(nearer) & (nearer != 0)
    of = np.nonzero(counted)[0]
    return _rate((r == np.sign(nearer))[counted], [prompts[int(p)] for p in of])


def whole_points(utility: float, scale: tuple[float, float]) -> float:
    """The score that an answer of this true utility, in [0, 1], deserves on a rubric's scale.

    A rubric gives whole points, so that two judgements as near to it as whole points can be are equally right; on a
    scale of less than two points there are none.
    """
    low, high = scale
    points = low + utility * (high - low)
    return float(np.floor(points + 0.5)) if high - low >= 2 else points


def _rate(right: npt.NDArray[np.bool_], prompts: Sequence[str]) -> Rate:
    _, cluster = np.unique(np.asarray(prompts, dtype=np.str_), return_inverse=True)
    return clustered_rate(right.astype(np.float64), np.ones(len(right)), cluster)
