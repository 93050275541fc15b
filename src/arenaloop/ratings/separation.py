"""What can be said of models between whom no upset ever crossed: one end of an interval, from the likelihood itself.

Where one group of models won every battle against another, the likelihood rises for ever as they move apart. A
difference across such a divide has one end only: the farthest value that the battles still contradict. The other end is
open, and no penalty that keeps the point estimate finite can say where it lies.

The end is that of the profile likelihood, at a fall of ``-ln(1 - level)`` from its supremum. For a model that won all
of n battles against equals the likelihood *is* the probability of that record, so that the end is where the record has
probability 1 - level: for 500 : 0 at 95 %, sigma^-1(0.05^(1/500)), 888 Elo points. The half chi-square that profile
likelihoods are cut at elsewhere does not hold at the edge of the parameter space (Self & Liang 1987).

Which differences are open, and at which end: those that can grow along a direction of recession of the likelihood
(Albert & Anderson 1984; for paired comparisons Hunter 2004, assumption 1). These directions are spanned by sets of
models that nobody outside ever beat. Less than one whole upset (a tie is half of one, one of small weight less) bounds
nothing that is worth the name, and is no reason for another kind of interval: a set that no more than that got past is
such a set, too. What there is of an upset stands in the likelihood.

Battles of one pair on one prompt judge the same two answers: they count once. Within a group the likelihood is divided
by the group's design effect, the mean ratio of the clustered to the plain variance (Rao & Scott 1981).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from arenaloop.ratings.arrays import BoolArray, FloatArray, IntArray
from arenaloop.ratings.bradley_terry import BradleyTerry
from arenaloop.ratings.crossings import WHOLE, components, listed
from arenaloop.ratings.evidence import Evidence, contrasts
from arenaloop.ratings.sums import BattleSums
from arenaloop.ratings.units import pair_units

__all__ = ["Divide", "divide", "open_notes", "settled"]

_RIDGE = 1e-9
"""On theta: where the likelihood rises for ever, its maximum lies somewhere; it costs some 1e-7 in the logarithm."""
_DECREMENT = 1e-6
"""Newton decrement, in units of the log-likelihood, at which a profile is at its top."""


@dataclass(frozen=True, slots=True)
class Divide:
    """Battles across a separation and around it.

    Attributes:
        reach: shape (K, K), whether a whole upset or more of the row over the column crossed every cut between them.
        wins: what the likelihood counts, shape (K, K): within groups the wins over the design effect, across them the
            units (`pair_units`) that the row won.
        start: strengths in nats from where profiles are sought, shape (K,).
        top: supremum of the log-likelihood, of each component, shape (K,) by model.
        offset: what covariates add to the odds of row against column, in nats, shape (K, K).
    """

    reach: BoolArray
    wins: FloatArray
    start: FloatArray
    top: FloatArray
    offset: FloatArray

    def open_ends(self, code: int, reference: IntArray) -> tuple[bool, bool]:
        """Whether theta[code] less the mean of theta[reference] has no lower, and no upper, end."""
        return not self.reach[code, reference].all(), not self.reach[reference, code].all()

    def end(self, code: int, reference: IntArray, piece: IntArray, *, upper: bool, level: float) -> float:
        """The end, in nats, of theta[code] less the mean of theta[reference]; only where it is not open.

        Args:
            code: of a model. reference: codes of those it is measured from. piece: codes of all that can be compared.
            upper: which end. level: of the one-sided interval.
        """
        position = np.full(len(self.start), -1)
        position[piece] = np.arange(len(piece))
        contrast = np.zeros(len(piece))
        contrast[position[code]] = 1.0
        contrast[position[reference]] -= 1.0 / len(reference)
        sign = -1.0 if upper else 1.0
        block = np.ix_(piece, piece)
        profile = _Profile(self.wins[block], self.offset[block], sign * contrast)
        return sign * profile.least(self.start[piece], float(self.top[code]), -math.log(1.0 - level))

    def separates(self, above: int, below: int, piece: IntArray, level: float) -> bool:
        """Whether a one-sided interval of theta[above] - theta[below] with this level leaves out 0.

        Where the difference has no lower end it does not; the arguments are those of `end`.
        """
        reference = np.array([below])
        if self.open_ends(above, reference)[0]:
            return False
        contrast = np.zeros(len(piece))
        contrast[piece == above], contrast[piece == below] = 1.0, -1.0
        block = np.ix_(piece, piece)
        profile = _Profile(self.wins[block], self.offset[block], contrast)
        fall = float(self.top[above]) - profile.height(self.start[piece], 0.0)
        return fall > -math.log(1.0 - level)

    def settle(
        self,
        codes: IntArray,
        reference: IntArray,
        piece: IntArray,
        level: float,
        lower: FloatArray,
        upper: FloatArray,
    ) -> None:
        """Overwrite the ends, in nats, of those of `codes` whose difference from the reference has an open end."""
        for place, code in enumerate(codes):
            no_lower, no_upper = self.open_ends(int(code), reference)
            if no_lower or no_upper:
                ends = (
                    -math.inf if no_lower else self.end(int(code), reference, piece, upper=False, level=level),
                    math.inf if no_upper else self.end(int(code), reference, piece, upper=True, level=level),
                )
                lower[place], upper[place] = ends


def open_notes(
    fit: BradleyTerry,
    found: Divide | None,
    anchor: tuple[str, float] | None,
    origin: BoolArray | None,
    evidence: Evidence | None = None,
) -> list[str]:
    """Which intervals have an open end, and which both, in plain words; and from which means they are."""
    above: list[str] = []
    below: list[str] = []
    both: list[str] = []
    joined: list[str] = []
    for piece, reference, _ in fit.scales(anchor=anchor, origin=origin):
        for codes, base in contrasts(evidence, piece, reference):
            if base is codes:
                joined.append(
                    f"the intervals of {listed([fit.models[code] for code in codes])} are from their own mean: fewer "
                    "than three prompts join them to the others"
                )
            for code in codes:
                if found is None:
                    break
                kinds = {(True, False): below, (False, True): above, (True, True): both}
                kind = kinds.get(found.open_ends(int(code), base))
                if kind is not None:
                    kind.append(fit.models[code])
    notes = [
        f"the interval of {listed(names)} is one-sided, open {where}: the battles bound it at one end only"
        for names, where in ((above, "above"), (below, "below"))
        if names
    ]
    if both:
        notes.append(f"no interval for {listed(both)}: the battles bound it at neither end")
    for piece, reference, mean in fit.scales(anchor=anchor, origin=origin):
        if 1 < len(reference) < len(piece):
            outside = [fit.models[code] for code in piece if code not in reference]
            notes.append(
                f"{mean:g} is the mean of {listed([fit.models[code] for code in reference])}: how far off "
                f"{listed(outside)} may be, the battles do not tell well enough to count in it"
            )
    return [*notes, *joined]


def divide(
    battles: BattleSums,
    fit: BradleyTerry,
    information: FloatArray,
    covariance: FloatArray,
    cluster: str,
    offset: FloatArray | None = None,
) -> Divide | None:
    """The divides in some battles; None where every difference has a finite maximum.

    Args:
        battles, fit: the battles and their fit.
        information: of each pair's battles, in whole ones, Q = T p (1 - p), shape (K, K).
        covariance: of the centred strengths as the clusters have it, shape (K, K).
        cluster: ``"prompt"`` or ``"battle"``.
        offset: see `Divide`; none by default.
    """
    reach = fit.crossed >= WHOLE
    component, group = components(fit.wins)[0], _groups(reach)
    if (component == group).all():
        return None
    whole = np.maximum(fit.unit[:, None], fit.unit[None, :])
    across = group[:, None] != group[None, :]
    effect = _design_effects(group, information / whole, covariance)
    theta = np.nan_to_num(fit.theta)
    logs = _log_odds(theta)
    # the likelihood depends on each model's score alone, and the fit's expected wins have the same: what it says within
    # groups is kept, with its top at the fit
    within = np.where(across, 0.0, (fit.wins + fit.wins.T) / whole * np.exp(logs) / effect[:, None])
    rows = (within * logs).sum(axis=1)
    top = np.array([rows[component == c].sum() for c in component])
    wins = np.where(across, pair_units(battles, cluster, across, whole), within)
    shift = np.zeros_like(logs) if offset is None else np.where(across, offset, 0.0)
    for c in np.unique(component):
        piece = np.flatnonzero(component == c)
        block = np.ix_(piece, piece)
        if (across[block] & (fit.crossed[block] > 0) & (fit.crossed.T[block] > 0)).any():
            # upsets of less than a whole one: the top lies where they are outweighed, and not at infinity
            top[piece] = _Profile(wins[block], shift[block], np.zeros(len(piece))).top(theta[piece])
    return Divide(reach, wins, theta, top, shift)


def _groups(reach: BoolArray) -> IntArray:
    """The first model that each reaches and is reached by, shape (K,)."""
    return np.asarray((reach & reach.T).argmax(axis=1)) if len(reach) else np.zeros(0, dtype=np.int64)


def _design_effects(group: IntArray, information: FloatArray, covariance: FloatArray) -> FloatArray:
    """Mean ratio of clustered to plain variance within each model's group, at least 1, shape (K,)."""
    effect = np.ones(len(group))
    for g in np.unique(group):
        inside = np.flatnonzero(group == g)
        if len(inside) > 1:
            Q, C = (matrix[np.ix_(inside, inside)] for matrix in (information, covariance))
            # trace of the Laplacian of Q times C: sum over pairs of Q times the variance of their difference
            apart = np.diag(C)[:, None] + np.diag(C)[None, :] - 2.0 * C
            effect[inside] = max(float((Q * apart).sum()) / 2.0 / (len(inside) - 1.0), 1.0)
    return effect


def settled(fit: BradleyTerry, thin: BoolArray, bound: IntArray | None = None) -> BoolArray | None:
    """Models whose mean makes a firm origin: of each component the largest group that no divide cuts, less thin ones.

    Args:
        fit: of some battles.
        thin: models with too few clusters to tell, shape (K,).
        bound: groups that prompts bind, shape (K,), which a firm origin does not straddle; None where all are one.

    Returns:
        Shape (K,), all of a component where fewer than two would be left; None where that is everyone.
    """
    component, group = components(fit.wins)[0], _groups(fit.crossed >= WHOLE)
    if bound is not None:
        group = group * len(group) + bound
    rated = ~np.isnan(fit.theta)
    chosen = np.zeros(len(thin), dtype=bool)
    for c in np.unique(component[rated]):
        inside = rated & (component == c)
        firm = [inside & (group == g) & ~thin for g in np.unique(group[inside])]
        largest = max(firm, key=lambda some: (int(some.sum()), float(fit.wins[some].sum())))
        chosen |= largest if largest.sum() > 1 else inside
    return None if chosen[rated].all() else chosen


def _log_odds(theta: FloatArray) -> FloatArray:
    """ln P(row beats column), shape (K, K)."""
    return np.asarray(-np.logaddexp(0.0, theta[None, :] - theta[:, None]))


class _Profile:
    """The log-likelihood as a function of one contrast, maximised over everything else.

    Args:
        wins, offset: see `Divide`, of one component, shape (k, k).
        contrast: weights that sum to 0, shape (k,).
    """

    def __init__(self, wins: FloatArray, offset: FloatArray, contrast: FloatArray) -> None:
        self.wins, self.offset, self.contrast = wins, offset, contrast
        self.total, self.won = wins + wins.T, wins.sum(axis=1)

    def least(self, start: FloatArray, top: float, fall: float) -> float:
        """The least value of the contrast at which the profile lies `fall` below `top`.

        The logarithm of the fall is close to linear in the value where a divide decides (the fall is n exp(-value)),
        and smooth elsewhere: Newton's method on it, with the profile's slope, takes a handful of steps.
        """
        theta, value = start, float(self.contrast @ start)
        low, high = -math.inf, math.inf
        for _ in range(60):
            theta, height, slope = self._highest(theta, value)
            fallen = max(top - height, 1e-9)
            if abs(fallen - fall) < 1e-4 * fall:
                break
            low, high = (max(low, value), high) if fallen > fall else (low, min(high, value))
            step = fallen * math.log(fallen / fall) / max(slope, 1e-9)
            value += min(max(step, -4.0), 4.0)
            if math.isfinite(high - low) and not low < value < high:
                value = (low + high) / 2.0
        return value

    def height(self, start: FloatArray, value: float) -> float:
        """The highest log-likelihood where the contrast has that `value`; `start` is where to begin."""
        return self._highest(start, value)[1]

    def top(self, theta: FloatArray) -> float:
        """The highest log-likelihood, whatever the contrast; `theta` is where to begin."""
        return self._highest(theta, 0.0)[1]

    def _highest(self, theta: FloatArray, value: float) -> tuple[FloatArray, float, float]:
        """The maximum where the contrast has that value: strengths, shape (k,), log-likelihood, slope along `value`."""
        size = len(theta)
        at = np.arange(size)
        slope = 0.0
        for _ in range(100):
            p = np.exp(self._logs(theta))
            gradient = self.won - (self.total * p).sum(axis=1) - _RIDGE * theta
            Q = self.total * p * p.T
            H = -Q
            H[at, at] += Q.sum(axis=1) + _RIDGE
            H += np.trace(H) / size**2
            free, along = np.linalg.solve(H, np.stack([gradient, self.contrast], axis=1)).T
            bound = float(self.contrast @ along)
            slope = (float(self.contrast @ (theta + free)) - value) / bound if bound > 0.0 else 0.0
            step = free - slope * along
            gain = float((gradient - slope * self.contrast) @ step)
            missing = abs(value - float(self.contrast @ theta))
            span = float(np.ptp(step))
            theta = theta + step * (math.log1p(span) / span if span > 0 else 1.0)
            if abs(gain) < _DECREMENT and missing < 1e-7:
                break
        theta = theta - theta.mean()
        return theta, float((self.wins * self._logs(theta)).sum()), slope

    def _logs(self, theta: FloatArray) -> FloatArray:
        return np.asarray(-np.logaddexp(0.0, theta[None, :] - theta[:, None] - self.offset))
