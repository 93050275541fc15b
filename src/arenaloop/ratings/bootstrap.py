"""Bootstrap intervals of Bradley–Terry ratings: prompts (or battles) are drawn with replacement, and refitted.

Nothing is resampled row by row. Battles that are alone in their cluster collapse to counts of equal outcomes, which a
multinomial draw resamples at once; the other clusters get integer weights, and their battles are summed pair by pair.
A resample is then a K x K matrix of counts, whose maximum lies near that of the whole data: a few chord-Newton steps
(one fixed inverse for all resamples) reach it. Resamples that those steps do not settle get Newton's method of their
own, and separable ones the same pseudo-wins as the point fit.

The percentile interval is Efron's (1979); resampling whole clusters is Davison & Hinkley 1997, section 3.8. Percentiles
of few clusters run short, as the spread of resamples lacks the factor n /
(n - 1) and their shape Student's tails: the percentiles are moved outwards by both, to
``Phi(-sqrt(n / (n - 1)) t)`` (Hesterberg 2015, "What teachers should know about the bootstrap", section 3.2).

Rare upsets count as few clusters do (`evidence.py`): n - 1 is the degrees of freedom of a contrast's variance.

A resample in which two models separate says that their difference may be infinite, and is counted so. What resamples
say near a separation hangs on which of a few upsets they drew: where fewer than ten crossed the narrowest cut between
models (`crossings.py`), their interval is the sandwich's. Where the data themselves separate
models, no resample knows more than they do: such ends are the likelihood's (`separation.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from statistics import NormalDist

import numpy as np

from arenaloop.ratings.arrays import BoolArray, FloatArray, IntArray
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bradley_terry import ELO_PER_NAT, BradleyTerry
from arenaloop.ratings.clusters import bound_groups, effective_clusters
from arenaloop.ratings.crossings import WHOLE, crossings, listed
from arenaloop.ratings.evidence import Evidence, contrasts
from arenaloop.ratings.intervals import (
    Intervals,
    information_inverse,
    outcome_spread,
    sandwich,
    scaled_ends,
    win_probabilities,
)
from arenaloop.ratings.resamples import Resampler, chord_steps, full_steps
from arenaloop.ratings.separation import Divide, divide, open_notes, settled
from arenaloop.ratings.student import t_quantile

__all__ = ["Bootstrap", "bootstrap"]

_FEWEST_PROMPTS = 8.0
"""Below this many, no percentiles are given: a convention. docs/ratings.md says what is left at the edges with it."""
_FEWEST_UPSETS = 10.0
"""Whole upsets across a cut below which resamples cover too seldom: with three, 84 % of the time."""
_INFINITE = 1e18
"""Nats that stand for an infinite difference where percentiles are interpolated."""
_STILL = 1e-5
"""Spread, in nats, below which resamples say nothing (all ties, one prompt, cells of one outcome)."""


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Resampled strengths of a fit.

    Attributes:
        fit: the fit of the whole data.
        draws: strengths in nats, shape (S, K), centred within each component; NaN for models that met nobody.
        cluster: ``"prompt"`` or ``"battle"``: what was resampled.
        seed: of the draws.
        redrawn: resamples that lost the connection between models, and were drawn again.
        worth: what the clusters of each model are worth, shape (K,); see `intervals.effective_clusters`.
        evidence: how far the clusters bear out a variance; None without any draws.
        crossed: whole upsets of the row over the column across the narrowest cut between them, up to ten, shape (K, K).
        divide: what separates models in the data themselves; None where nothing does.
        separated: for each resample in which models separated that do not in the data, who reaches whom by "beat",
            shape (K, K).
        sandwiched: intervals of the fit where upsets are too rare for resamples; None where they are not.
    """

    fit: BradleyTerry
    draws: FloatArray
    cluster: str
    seed: int
    redrawn: int
    worth: FloatArray
    evidence: Evidence | None = None
    crossed: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    divide: Divide | None = None
    separated: Mapping[int, BoolArray] = field(default_factory=dict)
    sandwiched: Intervals | None = None

    def bounds(
        self,
        *,
        anchor: tuple[str, float] | None = None,
        mean: float = 1000.0,
        level: float = 0.95,
        origin: BoolArray | None = None,
    ) -> tuple[FloatArray, FloatArray]:
        """Percentiles on the Elo scale, both of shape (K,): of ratings less their mean, or less the anchor's.

        As those of `intervals.Intervals.bounds`: an end that is open is infinite, both where there is no interval.
        """
        ends = partial(self._ends, level=level)
        return scaled_ends(self.fit, self.evidence, ends, anchor=anchor, mean=mean, origin=origin)

    def medians(
        self, *, anchor: tuple[str, float] | None = None, mean: float = 1000.0, origin: BoolArray | None = None
    ) -> FloatArray:
        """Medians of the resampled ratings on the Elo scale, shape (K,), of what `bounds` are; NaN for the unrated."""

        def middle(piece: IntArray, reference: IntArray, codes: IntArray) -> tuple[FloatArray, FloatArray]:
            apart = self.draws[:, codes] - self.draws[:, reference].mean(axis=1, keepdims=True)
            return (found := np.median(apart, axis=0)), found

        return scaled_ends(self.fit, self.evidence, middle, anchor=anchor, mean=mean, origin=origin)[0]

    def settled(self) -> BoolArray | None:
        """Models whose mean is a firm origin, shape (K,); None where that is everyone (see `separation.settled`)."""
        return settled(self.fit, self._thin(), None if self.evidence is None else self.evidence.bound)

    def notes(self, *, anchor: tuple[str, float] | None = None, origin: BoolArray | None = None) -> tuple[str, ...]:
        """What a reader of the bounds with this `anchor` or `origin` should know, in plain words."""
        notes = []
        if self.redrawn:
            notes.append(f"{self.redrawn} resamples lost the connection between models and were drawn again")
        if self.separated and self.sandwiched is None:
            notes.append(
                f"in {len(self.separated)} of {len(self.draws)} resamples models separated that did not in the data: "
                "there their differences count as infinite, and this interval holds the truth less often than it says "
                "(the sandwich does not)"
            )
        notes += open_notes(self.fit, self.divide, anchor, origin, self.evidence)
        why: dict[str, list[str]] = {"thin": [], "rare": [], "still": []}
        for piece, reference, _ in self.fit.scales(anchor=anchor, origin=origin):
            for codes, base in contrasts(self.evidence, piece, reference):
                for code in map(int, codes):
                    reason = "" if len(base) == 1 and code == base[0] else self.why_not(code, base)
                    if reason == "rare" and self.divide is not None and any(self.divide.open_ends(code, base)):
                        continue
                    if reason:
                        why[reason].append(self.fit.models[code])
        thin, rare, still = why.values()
        if thin:
            notes.append(f"too few prompts for a bootstrap of {listed(thin)}: use the sandwich interval")
        if rare:
            notes.append(
                f"the interval of {listed(rare)} is the sandwich's: fewer than {_FEWEST_UPSETS:g} upsets crossed "
                "between them and others, and resamples hang on which they drew"
            )
        if still:
            notes.append(
                f"no interval for {listed(still)}: every resample gave the same rating, as no {self.cluster} "
                "differs from the others in what it says"
            )
        return tuple(notes)

    def difference(self, first: str, second: str, *, level: float = 0.95) -> tuple[float, float, float]:
        """`first` minus `second` in Elo points: estimate, lower and upper end, infinite where it is open.

        Raises:
            ValueError: a name is not in the data, or the two cannot be compared.
        """
        i, j = self.fit.pair(first, second)
        piece = np.flatnonzero((self.fit.component == self.fit.component[i]) & ~np.isnan(self.fit.theta))
        lower, upper = self._ends(piece, np.array([j]), np.array([i]), level)
        estimate = ELO_PER_NAT * float(self.fit.theta[i] - self.fit.theta[j])
        return estimate, ELO_PER_NAT * float(lower[0]), ELO_PER_NAT * float(upper[0])

    def _thin(self) -> BoolArray:
        return self.worth < _FEWEST_PROMPTS if self.cluster == "prompt" else np.zeros(len(self.worth), dtype=bool)

    def why_not(self, code: int, reference: IntArray) -> str:
        """Why there are no percentiles of a model's difference from the mean of reference; empty where there are some.

        ``thin``: few prompts carry or join them; ``rare``: few upsets bind them; ``still``: resamples have no width.
        """
        assert self.evidence is not None
        thin, bound = self._thin(), self.evidence.bound
        unbound = bound is not None and bool((bound[reference] != bound[code]).any())
        if unbound or thin[code] or thin[reference].any():
            return "thin"
        both = np.minimum(self.crossed[code, reference], self.crossed[reference, code])
        if (both[reference != code] < _FEWEST_UPSETS * WHOLE).any():
            return "rare"
        spread = np.ptp(self.draws[:, code] - self.draws[:, reference].mean(axis=1))
        return "still" if spread < _STILL else ""

    def _ends(
        self, piece: IntArray, reference: IntArray, codes: IntArray, level: float
    ) -> tuple[FloatArray, FloatArray]:
        """Ends, in nats, of theta[codes] less the mean of theta[reference], all within `piece`; both (n,)."""
        apart = self.draws[:, codes] - self.draws[:, reference].mean(axis=1, keepdims=True)
        least, most = apart.copy(), apart.copy()
        for r, reach in self.separated.items():
            least[r, ~reach[np.ix_(codes, reference)].all(axis=1)] = -_INFINITE
            most[r, ~reach[np.ix_(reference, codes)].all(axis=0)] = _INFINITE
        lower, upper = np.zeros(len(codes)), np.zeros(len(codes))
        assert self.evidence is not None
        dof = dict(zip(piece.tolist(), self.evidence.dof(piece, reference)[1].tolist(), strict=True))
        for place, code in enumerate(codes):
            if len(reference) == 1 and code == reference[0]:
                continue
            reason = self.why_not(int(code), reference)
            if reason == "rare" and self.sandwiched is not None:
                ends = self.sandwiched.ends(piece, reference, np.array([code]), level)
                lower[place], upper[place] = (float(end[0]) for end in ends)
                continue
            if reason:
                lower[place], upper[place] = -math.inf, math.inf
                continue
            worth = self.worth[code] if len(reference) > 1 else min(self.worth[code], self.worth[reference[0]])
            tail = _tail(level, min(float(worth), dof[int(code)] + 1.0))
            lower[place] = np.quantile(least[:, place], tail)
            upper[place] = np.quantile(most[:, place], 1.0 - tail)
        lower[lower < -_INFINITE / len(least) ** 2] = -math.inf
        upper[upper > _INFINITE / len(most) ** 2] = math.inf
        if self.divide is not None:
            self.divide.settle(codes, reference, piece, level, lower, upper)
        return lower, upper


def _tail(level: float, worth: float) -> float:
    """Share of the resamples beyond each end, for `worth` clusters: Hesterberg's expanded percentile."""
    n = max(worth, 2.0)
    return NormalDist().cdf(-math.sqrt(n / (n - 1.0)) * t_quantile(level, n - 1.0))


def bootstrap(
    battles: Battles, fit: BradleyTerry, *, samples: int = 1000, seed: int = 0, cluster: str = "prompt"
) -> Bootstrap:
    """Refit `samples` resamples of the clusters.

    A resample in which models lose their connection is drawn again (and counted); one in which a model happens to win
    or lose everything is kept finite as the point fit is, and counts as infinite in the intervals.

    Args:
        battles: the battles that `fit` was made from.
        fit: the point estimate.
        samples: resamples, at least 2.
        seed: of the draws; equal seeds give equal draws.
        cluster: ``"prompt"``, or ``"battle"`` to take every battle as independent.

    Raises:
        ValueError: an impossible setting, no prompt ids to cluster by, or more than ten redraws per sample.
    """
    if cluster not in ("prompt", "battle"):
        raise ValueError(f"cluster must be prompt or battle, not {cluster!r}")
    if cluster == "prompt" and battles.cluster is None:
        raise ValueError("no prompt ids to cluster by: use cluster='battle'")
    if samples < 2:
        raise ValueError(f"samples must be at least 2, not {samples}")
    size = len(fit.models)
    draws = np.full((samples, size), np.nan)
    rated = np.flatnonzero(~np.isnan(fit.theta))
    worth = effective_clusters(battles, cluster)
    if not len(rated) or not len(battles):
        return Bootstrap(fit, draws, cluster, seed, 0, worth)
    resampler = Resampler(battles, fit, cluster)
    rng = np.random.default_rng(seed)
    block = resampler.block(samples)
    separated: dict[int, BoolArray] = {}
    redrawn = done = 0
    while done < samples:
        count = min(block, samples - done)
        resampler.draw(rng, count)
        lost = resampler.disconnected(fit)
        theta, converged = chord_steps(resampler, fit)
        if not (converged | lost).all():
            theta, walked = full_steps(resampler, fit, theta, np.flatnonzero(~converged & ~lost))
            place = done + np.cumsum(~lost) - 1
            separated |= {int(place[r]): reach for r, reach in walked.items()}
        keep = theta[~lost]
        draws[done : done + len(keep)] = keep
        done += len(keep)
        redrawn += int(lost.sum())
        if redrawn > 10 * samples:
            raise ValueError(
                f"resamples keep losing the connection between models ({redrawn} redraws for {samples} samples): "
                "too few prompts for a bootstrap, use the sandwich interval"
            )
    for c in np.unique(fit.component[rated]):
        piece = rated[fit.component[rated] == c]
        draws[:, piece] -= draws[:, piece].mean(axis=1, keepdims=True)
    p = win_probabilities(fit)
    Q = (fit.wins + fit.wins.T + fit.pseudo + fit.pseudo.T) * p * p.T
    found = divide(battles, fit, Q, np.cov(draws, rowvar=False), cluster)
    prompts = cluster == "prompt"
    bread = information_inverse(fit, p)
    known = np.zeros(size, dtype=bool)
    clusters = worth - 1.0 if prompts else np.full(size, np.inf)
    bound = bound_groups(battles) if prompts else None
    evidence = Evidence(bread, bread, *outcome_spread(battles, fit, p), None, clusters, prompts, known, bound)
    crossed = crossings(fit.wins, fit.unit, _FEWEST_UPSETS)
    rare = (crossed < _FEWEST_UPSETS * WHOLE) & (fit.component[:, None] == fit.component[None, :])
    sandwiched = sandwich(battles, fit, cluster=cluster) if rare.any() else None
    return Bootstrap(fit, draws, cluster, seed, redrawn, worth, evidence, crossed, found, separated, sandwiched)
