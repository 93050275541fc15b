"""What becomes of ties: half a win each, an outcome of their own, or nothing; and whether the order depends on it.

Ratings by Davidson's or Rao and Kupper's model have a sandwich of their own: a battle's scores are those in the gap and
in the tie parameter (`ties.outcome_scores`), so that the intervals know that it was estimated, too.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from arenaloop.ratings.arrays import BoolArray, FloatArray, tally
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bradley_terry import BradleyTerry, fit_wins
from arenaloop.ratings.covariates import scores_by_cluster
from arenaloop.ratings.intervals import Intervals, between, sandwich
from arenaloop.ratings.sums import BattleSums
from arenaloop.ratings.ties import TieModel, count_outcomes, fit_ties, outcome_scores, tie_information

__all__ = ["TIE_RULES", "orders_by_rule", "rated_with_ties", "turned"]

TIE_RULES = ("half", "davidson", "rao_kupper", "drop")
"""``half``: a tie is half a win for each side. ``davidson``, ``rao_kupper``: an outcome with a probability of its own
(see `ties`). ``drop``: ties are left out."""


def orders_by_rule(battles: BattleSums, fit: BradleyTerry) -> dict[str, FloatArray]:
    """Strengths by each rule under which they exist, in nats, shape (K,) each; NaN where a model has none.

    Args:
        battles: with ties. Soft scores know only half wins.
        fit: of them, ties as half wins.
    """
    found = {"half": fit.theta}
    try:
        wins, ties = count_outcomes(battles)
    except ValueError:
        return found
    if not ties.any() or not wins.any():
        return found
    dropped = fit_wins(wins, fit.models, unit=battles.whole_battles())
    if dropped.component[~np.isnan(fit.theta)].tolist() == fit.component[~np.isnan(fit.theta)].tolist():
        found["drop"] = dropped.theta
    rated = np.flatnonzero(~np.isnan(fit.theta))
    block = np.ix_(rated, rated)
    for kind in ("davidson", "rao_kupper"):
        try:
            model = fit_ties((wins + fit.pseudo)[block], ties[block], kind=kind)
        except ValueError:  # groups that never met
            continue
        found[kind] = np.full(len(fit.theta), np.nan)
        found[kind][rated] = model.theta
    return found


def turned(certain: BoolArray, theta: FloatArray) -> list[tuple[int, int]]:
    """Pairs, codes of the upper and the lower model, that are certain and stand the other way round by `theta`.

    Args:
        certain: whether the row is above the column for certain, shape (K, K).
        theta: strengths by another rule, shape (K,).
    """
    with np.errstate(invalid="ignore"):
        pairs = np.argwhere(certain & (theta[:, None] < theta[None, :]))
    return [(int(i), int(j)) for i, j in pairs]


def rated_with_ties(battles: Battles, fit: BradleyTerry, kind: str, *, cluster: str) -> Intervals:
    """Ratings and intervals by a model in which a tie is an outcome of its own.

    Args:
        battles: with ties, each won, lost or even.
        fit: of them, ties as half wins.
        kind: ``"davidson"`` or ``"rao_kupper"``.
        cluster: ``"prompt"``, or ``"battle"`` to take every battle as independent.

    Raises:
        ValueError: soft scores, no tie or no win, groups that never met, or a group that won or lost everything: these
            models have no finite ratings then.
    """
    if fit.pseudo.any() or len(set(fit.component[~np.isnan(fit.theta)].tolist())) > 1:
        raise ValueError(f"ties {kind} wants one group of models that all win and lose: use ties half")
    wins, ties = count_outcomes(battles)
    rated = np.flatnonzero(~np.isnan(fit.theta))
    block, size = np.ix_(rated, rated), len(fit.theta)
    try:
        model = fit_ties(wins[block], ties[block], kind=kind)
    except ValueError as error:
        raise ValueError(f"ties {kind}: {error}; use ties half") from None
    theta = np.full(size, np.nan)
    theta[rated] = model.theta
    bread = np.zeros((size + 1, size + 1))
    place = np.append(rated, size)
    bread[np.ix_(place, place)] = _inverse(tie_information(model, wins[block], ties[block]))
    meat, alone = _meats(battles, theta, model, cluster)
    units = battles.clusters if cluster == "prompt" else len(battles)
    covariance = bread @ meat @ bread * (units / max(units - 1.0, 1.0))
    fitted = replace(fit, theta=theta)
    own = sandwich(battles, fit, cluster=cluster)
    inner = slice(0, size)
    evidence = replace(
        own.evidence,
        inverse=bread[inner, inner],
        expected=bread[inner, inner],
        independent=None if own.evidence.independent is None else alone,
    )
    return Intervals(fitted, between(fitted, covariance[inner, inner]), own.clusters, evidence, own.divide)


def _inverse(H: FloatArray) -> FloatArray:
    """Pseudo-inverse of the information of centred strengths and the tie parameter, shape (k + 1, k + 1)."""
    size = len(H) - 1
    regular = H.copy()
    regular[:size, :size] += np.trace(H[:size, :size]) / size**2
    inverse = np.linalg.inv(regular)
    centre = np.eye(size + 1)
    centre[:size, :size] -= 1.0 / size
    return np.asarray(centre @ inverse @ centre.T)


def _meats(battles: Battles, theta: FloatArray, model: TieModel, cluster: str) -> tuple[FloatArray, FloatArray]:
    """Outer products of scores: summed by cluster, (K + 1, K + 1), and of the strengths battle by battle, (K, K)."""
    size = len(theta)
    gap, tau = outcome_scores(np.nan_to_num(theta), model.tie, model.kind)
    cell = battles.a.astype(np.int64) * size + battles.b
    at = (2.0 * battles.score_a).astype(np.int64) * size * size + cell
    weight = 1.0 if battles.mass is None else battles.mass
    r, s = gap.ravel()[at] * weight, tau.ravel()[at] * weight
    square = tally(cell, size * size, r * r).reshape(size, size)
    square += square.T
    alone = np.diag(square.sum(axis=1)) - square
    if cluster == "prompt":
        assert battles.cluster is not None
        return scores_by_cluster(battles.cluster, battles.clusters, battles.a, battles.b, r, s[:, None], size), alone
    meat = np.zeros((size + 1, size + 1))
    meat[:size, :size] = alone
    meat[:size, size] = meat[size, :size] = tally(battles.a, size, r * s) - tally(battles.b, size, r * s)
    meat[size, size] = s @ s
    return meat, alone
