"""Tests of an audit's figures against what a fair judge would show, and what the labels could have shown at all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from arenaloop.ratings.arrays import FloatArray, IntArray
from arenaloop.ratings.evaluator import LENGTH_MARGIN, Evaluation, Labels, Panel, Votes
from arenaloop.ratings.length_preference import length_slope
from arenaloop.ratings.rates import Rate
from arenaloop.ratings.significance import benjamini_hochberg, smallest_effect, two_sided

__all__ = ["FIGURES", "JudgeTest", "controlled", "judge_tests", "length_columns", "share_test", "smallest_effects"]

FIGURES = (
    "agreement", "kappa", "bias", "variance", "first_seat", "first_output", "longer", "longer_matched", "lists",
    "flips", "unparsed",
)  # fmt: skip
"""Of which the smallest effect is told, in the order of the tables."""
_COIN = {"agreement": 50.0, "first_seat": 0.5}
"""Shares that a fair judge, or a coin, has whatever the pairs are; percent and fraction as the figures are."""


@dataclass(frozen=True, slots=True)
class JudgeTest:
    """One figure of one judge against what is fair.

    Attributes:
        judge, figure: which.
        value, fair: what it is, and what it would be: of a coin (agreement 50, kappa 0), of a judge without a favourite
            (0.5 of the first seat, and of the longer of two outputs that people rate alike), or of people on the same
            pairs (first_output, longer, lists).
        p: two-sided.
        smallest: the distance from `fair` that this test finds at `level` with probability `power`.
        q: adjusted for all tests of the table (`significance.benjamini_hochberg`).
    """

    judge: str
    figure: str
    value: float
    fair: float
    p: float
    smallest: float
    q: float = float("nan")


def judge_tests(
    name: str, panel: Panel, votes: Votes, found: Evaluation, *, level: float = 0.95, power: float = 0.8
) -> list[JudgeTest]:
    """All figures of a judge that have a fair value; those that the labels do not determine are left out.

    Args:
        name: of the judge.
        panel, votes, found: as of `evaluator.evaluate`, and what that gave.
        level, power: of the smallest effects.
    """
    out = []

    def add(figure: str, value: float, fair: float, error: float, dof: float) -> None:
        least = smallest_effect(error, dof, level=level, power=power)
        out.append(JudgeTest(name, figure, value, fair, two_sided((value - fair) / error, dof), least))

    for figure, fair in _COIN.items():
        rate: Rate = getattr(found, figure)
        error = _null_error(rate, panel, 100.0 if figure == "agreement" else 1.0)
        if rate.value is not None and error is not None:
            add(figure, rate.value, fair, error, _dof(rate, panel))
    if found.kappa.value is not None and found.kappa.standard_error:
        add("kappa", found.kappa.value, 0.0, found.kappa.standard_error, _dof(found.kappa, panel))
    for figure, side in (("first_output", None), ("longer", _longer(panel)), ("lists", _listed(panel))):
        apart = _beside_people(panel, votes, side)
        if apart is not None:
            add(figure, *apart)
    slope = length_slope(*length_columns(panel, votes), panel.cluster)
    if slope is not None and slope[1] > 0.0 and found.longer_matched.value is not None:
        # tested where it is straight: in nats, as the probability follows from them
        least = smallest_effect(slope[1], slope[2] - 1.0, level=level, power=power) * math.tanh(1.0)
        p = two_sided(slope[0] / slope[1], slope[2] - 1.0)
        above = 1.0 / (1.0 + math.exp(-least)) - 0.5
        out.append(JudgeTest(name, "longer_matched", found.longer_matched.value, 0.5, p, above))
    return out


def controlled(tests: Sequence[JudgeTest]) -> list[JudgeTest]:
    """The same with their q."""
    adjusted = benjamini_hochberg([test.p for test in tests])
    return [replace(test, q=float(q)) for test, q in zip(tests, adjusted, strict=True)]


def smallest_effects(
    panel: Panel,
    found: Mapping[str, Rate],
    tests: Sequence[JudgeTest],
    *,
    level: float = 0.95,
    power: float = 0.8,
) -> dict[str, float | None]:
    """The smallest effect on each figure that would have been found with probability `power`; None without any.

    Of a figure with a test it is the distance from what is fair. Of the others, which have no fair value (or nobody
    labelled the pairs), it is the distance from any fixed one, by the figure's own standard error.

    Args:
        panel: the pairs.
        found: rates by figure, in the units of the tables. `tests`: of the same judge.
        level: 1 less the size of the test.
    """
    out: dict[str, float | None] = {}
    told = {test.figure: test.smallest for test in tests}
    for figure, rate in found.items():
        out[figure] = told.get(figure)
        if figure not in told and rate.standard_error:
            out[figure] = smallest_effect(rate.standard_error, _dof(rate, panel), level=level, power=power)
    return out


def share_test(part: FloatArray, whole: FloatArray, cluster: IntArray) -> float:
    """Two-sided p of a share, sum(part) / sum(whole), against one half, rows of a cluster together; 1 without rows."""
    total = float(whole.sum())
    groups = int(cluster.max(initial=-1)) + 1
    size = np.bincount(cluster, whole, groups)
    clusters = int(np.count_nonzero(size))
    if clusters < 2:
        return 1.0
    value = float(part.sum()) / total
    residual = np.bincount(cluster, part - value * whole, groups)
    error = float(np.sqrt(residual @ residual * clusters / (clusters - 1.0))) / total
    return two_sided((value - 0.5) / _at_half(value, error, clusters), clusters - 1.0)


def length_columns(panel: Panel, votes: Votes) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Of each pair the judge's mean preference for the second output, how much longer that is, and people's view of it.

    What `length_preference` reads, shape (P,) each, NaN where there is nothing.
    """
    preference = np.array([np.mean(v) - 1.0 if v else np.nan for v in votes.merged], dtype=np.float64)
    quality = np.array([np.mean(h) - 1.5 if h else np.nan for h in panel.humans], dtype=np.float64)
    return preference, panel.length[:, 1] - panel.length[:, 0], quality


def _dof(rate: Rate, panel: Panel) -> float:
    """Prompts less one, as far as the rate's pairs can be on as many."""
    return max(min(len(np.unique(panel.cluster)), rate.n) - 1.0, 1.0)


def _at_half(value: float, error: float, clusters: int) -> float:
    """What the standard error of a share would be were the share one half, with the same design effect.

    A share without any spread, such as 1, leaves that of independent clusters.
    """
    if error > 0.0 and 1e-9 < value < 1.0 - 1e-9:
        return error * 0.5 / float(np.sqrt(value * (1.0 - value)))
    return 0.5 / float(np.sqrt(clusters))


def _null_error(rate: Rate, panel: Panel, scale: float) -> float | None:
    if rate.value is None or rate.standard_error is None or rate.n < 2:
        return None
    clusters = min(rate.n, len(np.unique(panel.cluster)))
    return scale * _at_half(rate.value / scale, rate.standard_error / scale, clusters)


def _longer(panel: Panel) -> FloatArray:
    """Which output is the longer one, 1 or 2; 0 where they are of one length. Shape (P,)."""
    longer = panel.length[:, 1] - panel.length[:, 0]
    return np.where(longer > LENGTH_MARGIN, 2.0, np.where(longer < -LENGTH_MARGIN, 1.0, 0.0))


def _listed(panel: Panel) -> FloatArray:
    """Which output alone holds a list, 1 or 2; 0 where both or none do. Shape (P,)."""
    one, two = panel.lists[:, 0], panel.lists[:, 1]
    return np.where(one == two, 0.0, np.where(two, 2.0, 1.0))


def _beside_people(panel: Panel, votes: Votes, side: FloatArray | None) -> tuple[float, float, float, float] | None:
    """A judge's share for one side of the pairs, people's on the same pairs, and what is known of their difference.

    Args:
        side: which output is meant, 1 or 2, and 0 for pairs that do not count, shape (P,); None for the first.

    Returns:
        Both shares, the standard error of their difference, clustered by prompt, and its degrees of freedom.
    """
    rows = []
    for i, (mine, theirs) in enumerate(zip(votes.merged, panel.humans, strict=True)):
        which = 1.0 if side is None else side[i]
        ours, people = (_for_side(labels, which, ties=side is None) for labels in (mine, theirs))
        if which and ours is not None and people is not None:
            rows.append((float(panel.cluster[i]), ours, people))
    if not rows:
        return None
    table = np.array(rows)
    _, codes = np.unique(table[:, 0], return_inverse=True)
    clusters = int(codes.max()) + 1
    apart = table[:, 1] - table[:, 2]
    residual = np.bincount(codes, apart - apart.mean())
    error = float(np.sqrt(residual @ residual * clusters / max(clusters - 1.0, 1.0))) / len(rows)
    if clusters < 3 or error == 0.0:
        return None
    return float(table[:, 1].mean()), float(table[:, 2].mean()), error, clusters - 1.0


def _for_side(labels: Labels, side: float, *, ties: bool) -> float | None:
    """Mean vote for one side, a tie half with `ties`, else left out; None without votes."""
    counted = [label for label in labels if ties or label != 1.5]
    if not counted:
        return None
    second = float(np.mean(counted)) - 1.0 if ties else float(np.mean([label > 1.5 for label in counted]))
    return second if side == 2.0 else 1.0 - second
