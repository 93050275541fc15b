"""Intervals of Bradley–Terry ratings from one fit: the sandwich, clustered by prompt.

Battles on one prompt share its quirks, so they are no independent witnesses: the scores of all battles on a prompt are
summed before they are squared (Liang & Zeger 1986). The result is the covariance of all ratings, so that intervals of
differences come from it as well. For the bootstrap see `bootstrap.py`.

Small samples: each prompt's score is divided by the root of one minus its leverage (the CR2 of Bell & McCaffrey 2002,
with one leverage per cluster), and quantiles are Student's; `evidence.py` says with how many degrees of freedom, and
which variances are not to be trusted. Where no upset ever crossed between groups of models, intervals have one end, by
the likelihood (`separation.py`). An end that is not known is infinite, and null in every file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from arenaloop.ratings.arrays import BoolArray, FloatArray, IntArray, sigmoid
from arenaloop.ratings.bradley_terry import ELO_PER_NAT, BradleyTerry
from arenaloop.ratings.clusters import Prompts, bound_groups, effective_clusters, prompts_of, worth_inside
from arenaloop.ratings.crossings import listed
from arenaloop.ratings.evidence import LEAST_DOF, Evidence, contrasts, with_repeats
from arenaloop.ratings.separation import Divide, divide, open_notes, settled
from arenaloop.ratings.streamed_prompts import StreamedPrompts
from arenaloop.ratings.sums import BattleSums, Rows

__all__ = [
    "Intervals",
    "between",
    "flat_pairs",
    "information_inverse",
    "outcome_spread",
    "outcome_squares",
    "sandwich",
    "win_probabilities",
]


@dataclass(frozen=True, slots=True)
class Intervals:
    """Uncertainty of a fit.

    Attributes:
        fit: the fit that it belongs to.
        covariance: of the centred strengths in nats, shape (K, K); NaN between models that cannot be compared.
        clusters: independent units that the variance was estimated from.
        evidence: how far they bear it out.
        divide: what separates models between whom no upset crossed; None where nothing does.
    """

    fit: BradleyTerry
    covariance: FloatArray
    clusters: int
    evidence: Evidence
    divide: Divide | None

    def bounds(
        self,
        *,
        anchor: tuple[str, float] | None = None,
        mean: float = 1000.0,
        level: float = 0.95,
        origin: BoolArray | None = None,
    ) -> tuple[FloatArray, FloatArray]:
        """Lower and upper ends on the Elo scale, both of shape (K,); see `BradleyTerry.ratings` for the scale.

        Without an anchor they belong to ratings less their mean; with one to the differences from it, so that the
        anchor's own interval has no width. Those of a group that fewer than three prompts join to the others are from
        its own mean. An end that is open is infinite, both where there is no interval (`notes` says why), and NaN where
        there is no rating.
        """
        return scaled_ends(
            self.fit, self.evidence, partial(self.ends, level=level), anchor=anchor, mean=mean, origin=origin
        )

    def difference(self, first: str, second: str, *, level: float = 0.95) -> tuple[float, float, float]:
        """`first` minus `second` in Elo points: estimate, lower and upper end, infinite where it is open.

        Raises:
            ValueError: a name is not in the data, or the two cannot be compared.
        """
        i, j = self.fit.pair(first, second)
        low, high = self.ends(self._piece(i), np.array([j]), np.array([i]), level)
        estimate = ELO_PER_NAT * float(self.fit.theta[i] - self.fit.theta[j])
        return estimate, ELO_PER_NAT * float(low[0]), ELO_PER_NAT * float(high[0])

    def settled(self) -> BoolArray | None:
        """Models whose mean is a firm origin, shape (K,); None where that is everyone (see `separation.settled`)."""
        return settled(self.fit, self.evidence.thin, self.evidence.bound)

    def standard_error(self, i: int, j: int) -> float:
        """Standard error in nats of the difference between the models with codes `i` and `j`.

        Infinite where the difference has no interval, or an open end.
        """
        piece = self._piece(i)
        judged = self.evidence.judge(self.covariance, piece, np.array([j]))
        at = int(np.flatnonzero(piece == i)[0])
        unknown = not judged.trusted[at] or (self.divide and any(self.divide.open_ends(i, np.array([j]))))
        return float("inf") if unknown else float(np.sqrt(judged.variance[at]))

    def notes(self, *, anchor: tuple[str, float] | None = None, origin: BoolArray | None = None) -> tuple[str, ...]:
        """What a reader of the bounds with this `anchor` or `origin` should know, in plain words."""
        names, lone = self.fit.models, self.evidence.lone
        thin, weighed, cancelled, rare = (np.zeros(len(names), dtype=bool) for _ in range(4))
        notes = open_notes(self.fit, self.divide, anchor, origin, self.evidence)
        for piece, reference, _ in self.fit.scales(anchor=anchor, origin=origin):
            for codes, base in contrasts(self.evidence, piece, reference):
                closed = ~np.array([bool(self.divide and any(self.divide.open_ends(i, base))) for i in codes])
                closed &= (codes != base[0]) | (len(base) > 1)
                judged = self.evidence.judge(self.covariance, piece, base)
                wanted = np.searchsorted(piece, codes)
                for marked, why in ((thin, judged.thin), (cancelled, judged.cancelled), (rare, judged.rare)):
                    marked[codes] = why[wanted] & closed
        if self.evidence.outweighed is not None:
            weighed, thin = thin & self.evidence.outweighed, thin & ~self.evidence.outweighed

        def told(marked: BoolArray) -> str:
            return listed([names[i] for i in np.flatnonzero(marked)])

        if not self.evidence.prompts and lone.any():
            notes.append(f"only one battle for {told(lone)}: the interval rests on the model's own information")
        if thin.any():
            notes.append(f"too few prompts for an interval of {told(thin)}: fewer than three carry its battles")
        if weighed.any():
            notes.append(
                f"no interval for {told(weighed)}: their battles' weights differ so much that fewer than three "
                "prompts carry them"
            )
        if cancelled.any():
            notes.append(
                f"no interval for {told(cancelled)}: the battles on each prompt cancel out that tell it (as those of "
                "a judge that votes for a seat, or of one prompt that joins groups), and do not show how sure it is"
            )
        if rare.any():
            notes.append(f"no interval for {told(rare)}: a single battle, or less, outweighs the others")
        return tuple(notes)

    def _piece(self, code: int) -> IntArray:
        return np.flatnonzero((self.fit.component == self.fit.component[code]) & ~np.isnan(self.fit.theta))

    def ends(
        self, piece: IntArray, reference: IntArray, codes: IntArray, level: float
    ) -> tuple[FloatArray, FloatArray]:
        """Ends, in nats, of theta[codes] less the mean of theta[reference], all within `piece`; both (n,)."""
        judged = self.evidence.judge(self.covariance, piece, reference)
        wanted = np.searchsorted(piece, codes)
        theta = self.fit.theta
        estimate = theta[codes] - theta[reference].mean()
        down, up = (np.where(judged.trusted, half, np.inf)[wanted] for half in judged.ends(level))
        if len(reference) == 1:
            down[codes == reference[0]] = up[codes == reference[0]] = 0.0
        lower, upper = estimate - down, estimate + up
        if self.divide is not None:
            self.divide.settle(codes, reference, piece, level, lower, upper)
        return lower, upper


def sandwich(battles: BattleSums, fit: BradleyTerry, *, cluster: str = "prompt", correction: bool = True) -> Intervals:
    """Covariance ``H^+ M H^+`` with M the sum over clusters of the outer products of their scores.

    The score of battle t is w_t (s_t - p_t) (e_a - e_b), and H is the information of the fit (White 1982; Liang &
    Zeger 1986). Where the data cannot show their own variance (pairs across a separation, models whose results never
    varied, models seen on one prompt only) the expected information stands in M instead.

    Args:
        battles: the battles that `fit` was made from.
        fit: the point estimate.
        cluster: ``"prompt"``, or ``"battle"`` to take every battle as independent.
        correction: the small-sample correction described at the top.

    Raises:
        ValueError: `cluster` does not exist, or is ``"prompt"`` and the battles carry no prompt ids.
    """
    if cluster not in ("prompt", "battle"):
        raise ValueError(f"cluster must be prompt or battle, not {cluster!r}")
    if cluster == "prompt" and not battles.clustered:
        raise ValueError("no prompt ids to cluster by: use cluster='battle'")
    size = len(fit.models)
    prompts = cluster == "prompt"
    p = win_probabilities(fit)
    q = p * p.T
    Q = (fit.wins + fit.wins.T + fit.pseudo + fit.pseudo.T) * q
    spread, rarity, third = outcome_spread(battles, fit, p)
    bread = information_inverse(fit, p)

    squares = outcome_squares(battles)
    expected = (fit.pseudo > 0) | flat_pairs(battles, fit, squares)
    reach = np.diag(bread)[:, None] + np.diag(bread)[None, :] - 2.0 * bread
    leverage = q * reach if correction else None
    by_prompt = prompts_of(battles) if prompts else None
    bound = bound_groups(battles) if prompts else None
    worth = effective_clusters(battles, cluster) if by_prompt is None else by_prompt.worth
    worth = worth if bound is None else worth_inside(battles, bound, worth)
    thin = (worth < 1.5) & ~np.isnan(fit.theta)
    if thin.any():
        expected |= thin[:, None] | thin[None, :]
    meat = _meat(battles, p, expected, leverage, by_prompt)
    known = _laplacian(np.where(expected, spread, 0.0))
    meat += known
    covariance = between(fit, bread @ meat @ bread)
    if not correction:
        clusters = np.full(size, np.inf)
    else:
        clusters = worth - 1.0 if prompts else np.where(thin, np.inf, np.maximum(worth - 1.0, 1.0))
    independent = None
    if prompts:
        independent = _independent(battles, fit, p, squares, expected) + known
    by_fit = bread if not battles.weighted and fit.l2 == 0 else bread @ _laplacian(spread) @ bread
    outweighed = None
    if prompts and battles.weighted:
        outweighed = effective_clusters(battles.unweighted(), cluster) - 1.0 >= LEAST_DOF
    evidence = Evidence(bread, by_fit, spread, rarity, third, independent, clusters, prompts, thin, bound, outweighed)
    evidence = with_repeats(evidence, battles, fit.wins, fit.unit)
    found = divide(battles, fit, Q, covariance, cluster)
    return Intervals(fit, covariance, battles.clusters if prompts else len(battles), evidence, found)


def scaled_ends(
    fit: BradleyTerry,
    evidence: Evidence | None,
    ends: Callable[[IntArray, IntArray, IntArray], tuple[FloatArray, FloatArray]],
    *,
    anchor: tuple[str, float] | None,
    mean: float,
    origin: BoolArray | None,
) -> tuple[FloatArray, FloatArray]:
    """Ends on the Elo scale, both of shape (K,), of what `ends` says in nats of (piece, reference, codes)."""
    lower, upper = np.full(len(fit.models), np.nan), np.full(len(fit.models), np.nan)
    for piece, reference, at in fit.scales(anchor=anchor, mean=mean, origin=origin):
        for codes, base in contrasts(evidence, piece, reference):
            middle = at + ELO_PER_NAT * (fit.theta[base].mean() - fit.theta[reference].mean())
            low, high = ends(piece, base, codes)
            lower[codes], upper[codes] = middle + ELO_PER_NAT * low, middle + ELO_PER_NAT * high
    return lower, upper


def outcome_spread(battles: BattleSums, fit: BradleyTerry, p: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """`Evidence.spread`, `rarity` and `third`, given `win_probabilities`; pseudo-wins weigh a whole battle each."""
    q = p * p.T
    pseudo = fit.pseudo + fit.pseudo.T
    if not battles.weighted:
        spread = (fit.wins + fit.wins.T + pseudo) * q
        return spread, spread * (1.0 - 4.0 * q), spread * (1.0 - 2.0 * p)
    whole = np.maximum(fit.unit[:, None], fit.unit[None, :])
    second, third, fourth = (battles.power_sums(power) + pseudo * whole ** (power - 1) for power in (2, 3, 4))
    return second * q, fourth * q * (1.0 - 4.0 * q), third * q * (1.0 - 2.0 * p)


def between(fit: BradleyTerry, covariance: FloatArray) -> FloatArray:
    """`covariance` with NaN between models that cannot be compared, in place."""
    covariance[fit.component[:, None] != fit.component[None, :]] = np.nan
    unrated = np.isnan(fit.theta)
    covariance[unrated] = covariance[:, unrated] = np.nan
    return covariance


def win_probabilities(fit: BradleyTerry) -> FloatArray:
    """P(row beats column) under the fit, shape (K, K); models that met nobody count as average."""
    theta = np.nan_to_num(fit.theta)
    return sigmoid(theta[:, None] - theta[None, :])


def information_inverse(fit: BradleyTerry, p: FloatArray) -> FloatArray:
    """Pseudo-inverse of the information of the centred strengths, component by component, shape (K, K)."""
    size = len(p)
    H = _laplacian((fit.wins + fit.wins.T + fit.pseudo + fit.pseudo.T) * p * p.T)
    bread = np.zeros((size, size))
    for c in np.unique(fit.component):
        piece = np.flatnonzero((fit.component == c) & ~np.isnan(fit.theta))
        if len(piece) < 2:
            continue
        block = H[np.ix_(piece, piece)]
        block[np.diag_indices(len(piece))] += fit.l2
        # adding a constant makes the singular shift direction regular; centring both sides takes it out again
        inverse = np.linalg.inv(block + np.trace(block) / len(piece) ** 2)
        inverse -= inverse.mean(axis=0, keepdims=True)
        inverse -= inverse.mean(axis=1, keepdims=True)
        bread[np.ix_(piece, piece)] = inverse
    return bread


def _laplacian(Q: FloatArray) -> FloatArray:
    L = -Q
    L[np.diag_indices(len(Q))] += Q.sum(axis=1)
    return L


def outcome_squares(battles: BattleSums) -> FloatArray:
    """Sums of (score - 1/2)^2 over the battles of each pair, unweighted, shape (K, K); the same from either side."""
    total = battles.by_pair(lambda rows, _: (rows.score_a - 0.5) ** 2)
    return total + total.T


def flat_pairs(battles: BattleSums, fit: BradleyTerry, squares: FloatArray) -> BoolArray:
    """Pairs with a model whose results never varied, shape (K, K), given `outcome_squares`."""
    if not battles.weighted:
        scored = fit.wins.sum(axis=1)
        fought = scored + fit.wins.sum(axis=0)
    else:
        count, won = battles.by_pair(), battles.by_pair(lambda rows, _: rows.score_a)
        fought = count.sum(axis=1) + count.sum(axis=0)
        scored = won.sum(axis=1) + (count - won).sum(axis=0)
    many = np.maximum(fought, 1)
    # the sum of (s - mean)^2, from sums about 1/2
    spread = squares.sum(axis=1) - (scored - 0.5 * fought) ** 2 / many
    flat = (fought > 0) & (spread < 1e-9 * many)
    return np.asarray(flat[:, None] | flat[None, :])


def _meat(
    battles: BattleSums,
    p: FloatArray,
    expected: BoolArray,
    leverage: FloatArray | None,
    prompts: Prompts | StreamedPrompts | None,
) -> FloatArray:
    """Sum over clusters of the outer products of their scores, shape (K, K); every battle is one without `prompts`."""

    def gained(rows: Rows, cell: IntArray) -> tuple[FloatArray, FloatArray | None]:
        """Residuals and leverages of some battles, both of shape (n,)."""
        residual = rows.score_a - p.ravel()[cell]
        if rows.mass is not None:
            residual *= rows.mass
        if expected.any():
            residual[expected.ravel()[cell]] = 0.0
        share = None
        if leverage is not None:
            share = leverage.ravel()[cell]
            if rows.mass is not None:
                share *= rows.mass
        return residual, share

    def square(rows: Rows, cell: IntArray) -> FloatArray:
        residual, share = gained(rows, cell)
        return residual * residual if share is None else residual * residual / (1.0 - np.minimum(share, 0.9))

    if prompts is not None:
        return prompts.outer_products(gained)
    # clusters of one: the sum is a Laplacian of squared residuals
    total = battles.by_pair(square)
    return _laplacian(total + total.T)


def _independent(
    battles: BattleSums, fit: BradleyTerry, p: FloatArray, squares: FloatArray, expected: BoolArray
) -> FloatArray:
    """`_meat` if every battle were its own cluster, without a correction, shape (K, K)."""
    if not battles.weighted:
        # sums of (s - p)^2 = (s - 1/2)^2 + s - 1/4 - 2 p s + p^2, pair by pair
        total = squares + fit.wins * (1.0 - 2.0 * p) + (fit.wins + fit.wins.T) * (p * p - 0.25)
        total = np.maximum(total, 0.0)
    else:
        total = battles.by_pair(
            lambda rows, cell: ((1.0 if rows.mass is None else rows.mass) * (rows.score_a - p.ravel()[cell])) ** 2
        )
        total = total + total.T
    return _laplacian(np.where(expected, 0.0, total))
