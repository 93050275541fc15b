"""Bradley–Terry with judges of unlike reliability, fitted jointly and without labels.

    P(judge j names the first of a, b) = sigma(alpha_j (theta_a - theta_b) + s_j)

alpha_j is how many nats of its odds a judge gives to one nat of strength: a coin has 0, a judge that turns everything
round a negative one. s_j is what the first seat is worth to it. A judge's vote weighs alpha_j in the fit (sum of
alpha_j y_j is what the likelihood knows of a battle), so that nobody has to say beforehand who is to be trusted: judges
that agree with what all of them together say of the models count for more. The model is the two-parameter logistic one
of item response theory (Birnbaum 1968) with judges for items.

Scale: only products of alpha and theta are seen. So the slopes are divided by their mean in which each counts by
itself, sum alpha^2 / sum alpha over the positive ones: a coin more or less neither stretches ratings nor shrinks them,
and of judges who are all alike each has slope 1. A ridge of `RIDGE` draws slopes to 1 and seat effects to 0, which
matters where votes are few. Of judges who all err alike nothing is learned here: they agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from arenaloop.ratings.arrays import BoolArray, IntArray, tally
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bradley_terry import BradleyTerry, fit
from arenaloop.ratings.clusters import bound_groups, effective_clusters, worth_inside
from arenaloop.ratings.evidence import Evidence, with_repeats
from arenaloop.ratings.intervals import Intervals, between
from arenaloop.ratings.joint_fit import JointFit, by_pair, fit_jointly, laplacian
from arenaloop.ratings.seat_effect import between_equals, repeats
from arenaloop.ratings.separation import settled
from arenaloop.ratings.simultaneous import level_of_all
from arenaloop.ratings.student import t_quantile

__all__ = ["MOST_JUDGES", "JudgeFit", "Reliability", "fit_reliability"]

MOST_JUDGES = 200


@dataclass(frozen=True, slots=True)
class JudgeFit:
    """One judge.

    Attributes:
        name: of the judge. `votes`: how many of its verdicts were fitted.
        agreement: share of its votes with a winner that name the model which the fit rates higher; None without any.
        slope, slope_lower, slope_upper: alpha and its interval; see the module for its scale.
        weight: its slope as a share of the best's, in [0, 1]; 0 where it is not positive.
        seat, seat_lower, seat_upper: what the first seat is worth to it, in nats.
        slope_joint_lower, slope_joint_upper, seat_joint_lower, seat_joint_upper: ends that hold for all judges' slopes
            and seats at once (max-t, from the joint covariance).
    """

    name: str
    votes: int
    agreement: float | None
    slope: float
    slope_lower: float | None
    slope_upper: float | None
    weight: float
    seat: float
    seat_lower: float | None
    seat_upper: float | None
    slope_joint_lower: float | None = None
    slope_joint_upper: float | None = None
    seat_joint_lower: float | None = None
    seat_joint_upper: float | None = None


@dataclass(frozen=True, slots=True)
class Reliability:
    """The joint fit, as a board needs it.

    Attributes:
        intervals: strengths (`intervals.fit`) and their block of the joint covariance, with the judges' uncertainty in
            it; NaN of models that are `separated`.
        judges: in the order that they were given.
        separated: models on the far side of a divide that no upset crossed, shape (K,): no interval is known.
        converged: whether the fit came to rest. `steps`: how many it took.
        notes: what a reader should know, in plain words.
    """

    intervals: Intervals
    judges: tuple[JudgeFit, ...]
    separated: BoolArray
    converged: bool
    steps: int
    notes: tuple[str, ...]


def fit_reliability(
    battles: Battles,
    judge: IntArray,
    judges: Sequence[str],
    *,
    cluster: str = "prompt",
    level: float = 0.95,
    equal: BoolArray | None = None,
) -> Reliability:
    """The joint fit of models and judges; see `joint_fit`.

    Args:
        battles: one vote each, `a` in the first seat.
        judge: who gave it, codes into `judges`, shape (N,); J for a loss that needed no judge, such as by a failure of
            the model's own, which has slope 1 and no seat.
        judges: J names.
        cluster: ``"prompt"``, so that all votes on a prompt are one observation, or ``"battle"``.
        level: of the judges' intervals.
        equal: votes between equal texts, shape (N,), where one stands for either seat; None for none. They rate models
            as ties, whatever seat a judge has preferred, which is what both seats come to. Judges are measured on texts
            that differ, and their seats besides by the seat that they preferred of equal ones.

    Raises:
        ValueError: too many judges, or no prompt ids to cluster by.
    """
    J = len(judges)
    if J > MOST_JUDGES:
        raise ValueError(f"{J:,} judges: rule reliability is for a jury, of at most {MOST_JUDGES}")
    if cluster == "prompt" and battles.cluster is None:
        raise ValueError("no prompt ids to cluster by: use cluster='battle'")
    prompts = cluster == "prompt"
    rated: Battles = battles
    of_vote: IntArray = np.arange(len(battles))
    if equal is not None and equal.any():
        rated, of_vote = _tied(battles, equal, judge < J)
    plain = fit(rated)

    def fitted(table: Battles, of_vote: IntArray, seatless: BoolArray | None) -> tuple[JointFit, int]:
        by_prompt = table.cluster if prompts and table.cluster is not None else None
        units = len(battles) if by_prompt is None else table.clusters
        group = of_vote if by_prompt is None else by_prompt
        return fit_jointly(table, judge[of_vote], J, plain, group=group, units=units, seatless=seatless), units

    found, units = fitted(rated, of_vote, None if equal is None else equal[of_vote])
    games, of_judges, known = rated, found, units
    if equal is not None and equal.any() and not equal.all():
        games, told = between_equals(battles, equal)
        games, of_vote = games.rows(told), np.flatnonzero(told)
        of_judges, known = fitted(games, of_vote, None)
    votes = np.bincount(judge, minlength=J + 1)
    separated = _separated(plain)
    fits = _judges(judges, votes, games, judge[of_vote], of_judges, known, level)
    return Reliability(
        _intervals(rated, plain, found, separated, cluster, units),
        fits,
        separated,
        found.converged and of_judges.converged,
        found.steps,
        tuple(_notes(plain, fits, found if of_judges.converged else of_judges)),
    )


def _tied(battles: Battles, equal: BoolArray, judged: BoolArray) -> tuple[Battles, IntArray]:
    """The votes with ties in the place of those between equal texts, and of which vote each is.

    Where others were given from both seats there are two of these, which as many weigh.
    """
    _, both = repeats(battles.rows(judged & ~equal))
    of_vote: IntArray = np.arange(len(battles))
    if both:
        of_vote = np.concatenate([of_vote, np.flatnonzero(equal)])
    return replace(
        battles,
        a=battles.a[of_vote],
        b=battles.b[of_vote],
        score_a=np.where(equal, 0.5, battles.score_a)[of_vote],
        weight=None if battles.weight is None else battles.weight[of_vote],
        cluster=None if battles.cluster is None else battles.cluster[of_vote],
        covariates={},
        voter=None,
        tag=None,
    ), of_vote


def _separated(plain: BradleyTerry) -> BoolArray:
    """Models that no upset binds to the largest group; all of those that stand across a divide where there is none."""
    across = np.asarray(plain.pseudo.any(axis=1))
    firm = settled(plain, np.zeros(len(across), dtype=bool))
    return across if firm is None else across & ~firm


def _intervals(
    battles: Battles, plain: BradleyTerry, found: JointFit, separated: BoolArray, cluster: str, units: int
) -> Intervals:
    """The strengths' intervals, with what they rest on (see `evidence`): votes count for what their judges weigh."""
    K, prompts = len(plain.models), cluster == "prompt"
    rated = ~np.isnan(plain.theta)
    cell = battles.a.astype(np.int64) * K + battles.b
    worth = effective_clusters(battles, cluster)
    bound = bound_groups(battles) if prompts else None
    worth = worth if bound is None else worth_inside(battles, bound, worth)
    thin = (worth < 1.5) & rated
    weight = np.ones(len(battles)) if battles.mass is None else battles.mass
    own, q = weight * found.slope, found.p * (1.0 - found.p)
    third = tally(cell, K * K, own**3 * q * (1.0 - 2.0 * found.p)).reshape(K, K)
    evidence = Evidence(
        found.bread[:K, :K],
        found.known[:K, :K],
        by_pair(cell, own**2 * q, K),
        by_pair(cell, own**4 * q * (1.0 - 4.0 * q), K),
        third - third.T,
        laplacian(cell, (own * (battles.score_a - found.p)) ** 2, K) if prompts else None,
        worth - 1.0 if prompts else np.where(thin, np.inf, np.maximum(worth - 1.0, 1.0)),
        prompts,
        thin,
        bound,
    )
    evidence = with_repeats(evidence, battles, plain.wins, plain.unit)
    covariance = between(plain, found.covariance[:K, :K].copy())
    covariance[separated] = covariance[:, separated] = np.nan
    return Intervals(replace(plain, theta=np.where(rated, found.theta, np.nan)), covariance, units, evidence, None)


def _judges(
    names: Sequence[str],
    votes: IntArray,
    battles: Battles,
    judge: IntArray,
    found: JointFit,
    units: int,
    level: float,
) -> tuple[JudgeFit, ...]:
    K, J = len(battles.models), len(names)
    covariance = found.covariance[K:, K:]
    error = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    dof = max(units - 1.0, 1.0)
    one = error * t_quantile(level, dof)
    all_of = error * t_quantile(level_of_all(covariance, level), dof)
    best = max(float(found.alpha.max(initial=0.0)), 1e-12)
    told = (battles.score_a != 0.5) & (np.abs(found.apart) > 1e-12)
    named = tally(judge[told], J + 1)
    alike = tally(judge[told & ((battles.score_a > 0.5) == (found.apart > 0.0))], J + 1)

    def ends(value: float, of: float) -> tuple[float | None, float | None]:
        return (value - of, value + of) if units > 2 and of > 1e-9 else (None, None)

    def judge_of(j: int) -> JudgeFit:
        slope, seat = float(found.alpha[j]), float(found.seat[j])
        return JudgeFit(
            names[j],
            int(votes[j]),
            float(alike[j] / named[j]) if named[j] else None,
            slope,
            *ends(slope, float(one[j])),
            max(slope / best, 0.0),
            seat,
            *ends(seat, float(one[J + j])),
            *ends(slope, float(all_of[j])),
            *ends(seat, float(all_of[J + j])),
        )

    return tuple(map(judge_of, range(J)))


def _notes(plain: BradleyTerry, fits: Sequence[JudgeFit], found: JointFit) -> list[str]:
    notes = list(plain.notes)
    if not found.converged:
        notes.append(
            f"the fit of judges and models did not converge in {found.steps} steps: its figures are not to be used"
        )
    turned = [one.name for one in fits if one.slope_upper is not None and one.slope_upper < 0.0]
    if turned:
        notes.append(f"{', '.join(turned)} votes against what the others see: weight 0")
    silent = [
        one.name
        for one in fits
        if one.slope_lower is not None and one.slope_upper is not None and one.slope_lower <= 0.0 <= one.slope_upper
    ]
    if silent:
        notes.append(f"{', '.join(silent)}: no better than a coin, as far as these votes tell")
    if len(fits) == 1:
        notes.append("one judge: there is nobody to compare it with, so its slope is 1")
    if len(fits) == 2:
        notes.append("two judges: which of them is the better one is seen only by how far each spreads the models")
    return notes
