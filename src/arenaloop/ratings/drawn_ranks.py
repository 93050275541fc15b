"""The rank interval that most programs tell: percentiles of each model's rank over resamples, model by model.

It is narrower than that of `order`, and holds less: each interval by itself, and models that are level in truth have
ranks that no resample can show (a rank jumps where two strengths cross, which the bootstrap does not follow: Xie, Singh
& Zhang 2009; Mogstad, Romano, Shaikh & Wilhelm 2024). It stands in documents so that boards can be compared.
"""

from __future__ import annotations

import numpy as np

from arenaloop.ratings.arrays import IntArray
from arenaloop.ratings.bootstrap import Bootstrap
from arenaloop.ratings.intervals import Intervals
from arenaloop.ratings.pair_errors import pieces
from arenaloop.ratings.simultaneous import normal_draws

__all__ = ["drawn_ranks"]

_DRAWS, _FEWEST_DRAWS, _WORK = 4000, 400, 1_000_000
"""Draws of all strengths; fewer for many models, so that this many are sorted at most."""


def drawn_ranks(spread: Intervals | Bootstrap, level: float = 0.95) -> tuple[IntArray, IntArray]:
    """Percentiles of the ranks of drawn strengths, rounded outwards, both of shape (K,).

    Draws are the resamples of a bootstrap, or normal ones with the covariance of the strengths. Ranks count within what
    can be compared; 0 of a model without a rating, or whose variance is not known.
    """
    size = len(spread.fit.models)
    lower, upper = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    lone = ~np.isnan(spread.fit.theta)
    for piece in pieces(spread):
        lone[piece] = False
        if isinstance(spread, Bootstrap):
            drawn = spread.draws[:, piece]
        else:
            covariance = spread.covariance[np.ix_(piece, piece)]
            known = ~np.isnan(np.diag(covariance))
            if not known.all():  # who is above whom of the others is not known
                continue
            many = int(np.clip(_WORK // len(piece), _FEWEST_DRAWS, _DRAWS))
            drawn = spread.fit.theta[piece] + normal_draws(covariance, many)
        ranks = 1 + np.argsort(np.argsort(-drawn, axis=1, kind="stable"), axis=1)
        ends = np.percentile(ranks, [50.0 * (1.0 - level), 50.0 * (1.0 + level)], axis=0)
        lower[piece], upper[piece] = np.floor(ends[0]), np.ceil(ends[1])
    lower[lone] = upper[lone] = 1
    return lower, upper
