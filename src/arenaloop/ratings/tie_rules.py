"""What becomes of ties: half a win each, an outcome of their own, or nothing; and whether the order depends on it."""

from __future__ import annotations

import numpy as np

from arenaloop.ratings.arrays import BoolArray, FloatArray
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bradley_terry import BradleyTerry, fit_wins
from arenaloop.ratings.ties import count_outcomes, fit_ties

__all__ = ["TIE_RULES", "orders_by_rule", "turned"]

TIE_RULES = ("half", "davidson", "rao_kupper", "drop")
"""``half``: a tie is half a win for each side. ``davidson``, ``rao_kupper``: an outcome with a probability of its own
(see `ties`). ``drop``: ties are left out."""


def orders_by_rule(battles: Battles, fit: BradleyTerry) -> dict[str, FloatArray]:
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
