"""The leaderboard: battles in, ranked models with honest intervals out.

A running tournament may hold anything: a model that won every battle, two groups that never met, a model without a
battle. None of it raises and none of it is answered with NaN; what could not be rated is null, and the notes say why.
Only a setting that cannot be (an anchor that is not in the data, an unknown method) is an error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from arenaloop.arena.board import Leaderboard, Row
from arenaloop.arena.worth import Worth, worth_of
from arenaloop.errors import ConfigError, InputError
from arenaloop.ratings import bradley_terry
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bootstrap import Bootstrap, bootstrap
from arenaloop.ratings.bradley_terry import BradleyTerry, anchor_code
from arenaloop.ratings.clustering import CLUSTERS, choose_cluster
from arenaloop.ratings.controlled_rates import expected_rates
from arenaloop.ratings.elo import battles_to_settle, elo_orders
from arenaloop.ratings.intervals import Intervals, sandwich
from arenaloop.ratings.style import baseline_of, fit_style
from arenaloop.ratings.style_features import PROCEDURES
from arenaloop.ratings.sums import BattleSums
from arenaloop.ratings.tie_rules import TIE_RULES, rated_with_ties
from arenaloop.ratings.undecided import OutcomeBounds, failure_notes, outcome_bounds
from arenaloop.types import Battle

if TYPE_CHECKING:
    pass

__all__ = ["best_first", "leaderboard", "needs_memory", "ranked"]

METHODS = ("bt", "elo")
INTERVALS = ("sandwich", "bootstrap")
SCORES = ("estimate", "median")


def leaderboard(
    battles: BattleSums | Mapping[str, Sequence[Any]] | Iterable[Battle],
    *,
    method: str = "bt",
    interval: str = "sandwich",
    cluster: str | None = None,
    ties: str = "half",
    anchor: tuple[str, float] | None = None,
    score: str = "estimate",
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    controls: Sequence[str] = (),
    frozen: Mapping[str, tuple[float, float]] | None = None,
    games: Battles | None = None,
) -> Leaderboard:
    """Rate the models of some battles.

    Args:
        battles: coded columns (in memory, or streamed), a mapping of columns (`model_a`, `model_b`, `winner` or
            `score_a`, and optionally `prompt_id`, `weight`), or battle records.
        method: ``"bt"`` (Bradley–Terry by maximum likelihood) or ``"elo"`` (online Elo averaged over random orders,
            whose interval is always a bootstrap).
        interval: ``"sandwich"`` or ``"bootstrap"``.
        cluster: ``"prompt"``, ``"voter"`` or ``"battle"``: what is independent; None means the most cautious that the
            columns allow: of prompts and voters what makes intervals wider (voters where there are `clustering.FEWEST`
            or more), else battles.
        ties: ``"half"`` a win for each side, an outcome of their own by ``"davidson"`` or ``"rao_kupper"``, or
            ``"drop"``; see `ratings.tie_rules`.
        anchor: a model and the rating that it shall have; without one, ratings have mean 1000.
        score: what a rating is: the maximum-likelihood ``"estimate"``, or the ``"median"`` of a bootstrap (Arena
            Learning, Arena-Hard), beside which the estimate stands too.
        samples: bootstrap resamples (or orders, with `method` ``"elo"``).
        seed: of the resamples.
        level: of the intervals.
        controls: covariates to hold equal, such as ``length``; see `ratings.covariates`. ``style`` and ``arena_hard``
            stand for several, see `ratings.style`.
        frozen: coefficient and scale of controls that shall not be estimated.
        games: the verdicts behind the battles, the first seat in column a (`data.judged_votes.games_of_run`).

    Raises:
        ConfigError: a setting that does not exist or cannot be, such as an anchor that is not in the data.
        InputError: columns that are missing or hold impossible values.
    """
    choices = (("method", method, METHODS), ("interval", interval, INTERVALS), ("score", score, SCORES))
    for name, value, known in choices:
        if value not in known:
            raise ConfigError(f"{name} must be {' or '.join(known)}, not {value!r}")
    if cluster not in (None, *CLUSTERS):
        raise ConfigError(f"cluster must be prompt, voter or battle, not {cluster!r}")
    if ties not in TIE_RULES:
        raise ConfigError(f"ties must be {', '.join(TIE_RULES[:-1])} or {TIE_RULES[-1]}, not {ties!r}")
    modelled = ties in ("davidson", "rao_kupper")
    if modelled and (controls or (method, interval) != ("bt", "sandwich")):
        raise ConfigError(f"ties {ties} works with method bt and interval sandwich, and without control")
    if not 0.0 < level < 1.0:
        raise ConfigError(f"level must lie strictly between 0 and 1, not {level}")
    if controls and (method, interval) != ("bt", "sandwich"):
        raise ConfigError("control works with method bt and interval sandwich")
    if score == "median" and (method, interval) != ("bt", "bootstrap"):
        raise ConfigError("score median is that of a bootstrap: it works with method bt and interval bootstrap")
    table = as_battles(battles, controls=controls)
    if not isinstance(table, Battles) and (needs := needs_memory(method, interval, ties, controls)):
        raise ConfigError(f"{needs} needs all battles in memory, and these are streamed")
    tied, of_all = table.ties, table
    if ties == "drop":
        table = table.decided()
    notes = [*table.notes, *table.weight_notes()]
    if not len(table):
        notes.append("no battle could be rated")
    try:
        chosen = choose_cluster(table, cluster)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    cluster, table = chosen.cluster, chosen.battles
    notes += chosen.notes
    grouped = "battle" if cluster == "battle" else "prompt"

    coefficients = None
    rates: tuple[Any, Any, Any] | None = None
    origin = None
    estimate = None
    found: Intervals | Bootstrap | None = None
    try:
        if method == "elo":
            assert isinstance(table, Battles)
            rating, lower, upper, said = _elo(table, grouped, anchor, samples, seed, level)
            if interval == "sandwich":
                interval = "bootstrap"
                said.append("Elo has no sandwich interval: resampled orders instead")
            notes += said
        else:
            fit: BradleyTerry
            spread: Intervals | Bootstrap
            if controls:
                assert isinstance(table, Battles)
                controlled = fit_style(table, controls, frozen=frozen, cluster=grouped, level=level)
                fit, spread, coefficients = controlled.fit, controlled.intervals, controlled.coefficients
                if controlled.left_out:
                    notes.append(f"{controlled.left_out} battles without {' and '.join(controls)} left out of the fit")
            else:
                fit = bradley_terry.fit(table) if chosen.spread is None else chosen.spread.fit
                if interval == "bootstrap":
                    assert isinstance(table, Battles)
                    spread = bootstrap(table, fit, samples=samples, seed=seed, cluster=grouped)
                elif modelled:
                    assert isinstance(table, Battles)
                    spread = rated_with_ties(table, fit, ties, cluster=grouped)
                    fit = spread.fit
                else:
                    spread = chosen.spread or sandwich(table, fit, cluster=grouped)
            origin = spread.settled()
            rating = fit.ratings(anchor=anchor, origin=origin)
            lower, upper = spread.bounds(anchor=anchor, level=level, origin=origin)
            if controls:
                assert isinstance(table, Battles)
                rates = _controlled_rates(table, fit, spread, level)
            notes += [*fit.notes, *(chosen.told(note) for note in spread.notes(anchor=anchor, origin=origin))]
            if score == "median" and isinstance(spread, Bootstrap):
                estimate, rating = rating, spread.medians(anchor=anchor, origin=origin)
                notes.append(f"ratings are the medians of {samples:,} resamples")
            found = spread
        bounds = outcome_bounds(table, anchor=anchor, origin=origin)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    worth = None
    if found is not None:
        worth = worth_of(
            table,
            found,
            best_first(rating),
            cluster=cluster,
            level=level,
            ties=ties,
            of_all=of_all,
            voters=chosen.power_voters,
            plain=not controls,
            games=None if games is None else games.of_models(table.models),
        )
    notes += [*failure_notes(table), *(bounds.notes if bounds is not None else ())]
    return Leaderboard(
        method=method,
        interval=interval,
        level=level,
        cluster=cluster,
        battles=len(table),
        ties=tied,
        skipped=table.skipped,
        notes=tuple(notes),
        rows=ranked(table, rating, lower, upper, bounds, estimate, worth, rates),
        coefficients=coefficients,
        style=next((name for name in controls if name in PROCEDURES), None),
        depends=bounds is not None and bool(bounds.moving),
        worth=worth,
        tie_rule=ties,
    )


def needs_memory(method: str, interval: str, ties: str, controls: Sequence[str]) -> str | None:
    """The setting of a board that battles which are streamed do not give; None where they give all that is wanted."""
    if method == "elo":
        return "method elo"
    if interval == "bootstrap":
        return "interval bootstrap"
    if ties in ("davidson", "rao_kupper"):
        return f"ties {ties}"
    return f"control {controls[0]}" if controls else None


def as_battles(
    battles: BattleSums | Mapping[str, Sequence[Any]] | Iterable[Battle], *, controls: Sequence[str] = ()
) -> BattleSums:
    """Coded columns from whatever the caller holds.

    Raises:
        InputError: a column is missing or holds impossible values.
    """
    if isinstance(battles, BattleSums):
        return battles
    if isinstance(battles, Mapping) or hasattr(battles, "columns"):
        columns = cast("Mapping[str, Sequence[Any]]", battles)
    else:
        rows = list(battles)
        columns = {
            "model_a": [battle.model_a for battle in rows],
            "model_b": [battle.model_b for battle in rows],
            "winner": [battle.winner for battle in rows],
            "prompt_id": [battle.prompt_id for battle in rows],
        }
    try:
        return Battles.from_columns(columns, controls=controls)
    except ValueError as error:
        raise InputError(str(error)) from None


_ELO_STEPS = 20_000_000
"""Battles that online Elo may play over all orders, about ten seconds of work."""


def _elo(
    table: Battles, cluster: str, anchor: tuple[str, float] | None, samples: int, seed: int, level: float
) -> tuple[Any, Any, Any, list[str]]:
    """Ratings and percentile interval of Elo over orders, anchored or with mean 1000, and notes."""
    orders = max(2, min(samples, max(10, _ELO_STEPS // max(len(table), 1))))
    run = elo_orders(table, orders=orders, seed=seed, cluster=cluster)
    notes = [] if orders == samples else [f"{orders} orders, not {samples}: online Elo is slow on this many battles"]
    fought = table.per_model()[0] > 0
    rating, draws = np.where(fought, run.rating, np.nan), run.draws.copy()
    notes += [f"{table.models[i]} met nobody and has no rating" for i in np.flatnonzero(~fought)]
    notes += _unsettled(table, rating)
    if anchor is not None:
        code = anchor_code(table.models, anchor)
        if not fought[code]:
            raise ValueError(f"anchor {anchor[0]!r} met nobody, so nothing can be measured from it")
        rating = rating + (anchor[1] - rating[code])
        draws += anchor[1] - draws[:, [code]]
    lower, upper = np.quantile(draws, [(1.0 - level) / 2.0, (1.0 + level) / 2.0], axis=0)
    # the mean over orders may leave the percentiles of few resamples; an interval holds its own estimate
    lower, upper = np.minimum(lower, rating), np.maximum(upper, rating)
    return rating, np.where(fought, lower, np.nan), np.where(fought, upper, np.nan), notes


_SETTLED = 0.9  # share of the fit's spread that online Elo shows once it has settled


def _unsettled(table: Battles, rating: Any) -> list[str]:
    """A note where Elo stands nearer to its start than the battles do: its ratings, and intervals, are too narrow."""
    fit = bradley_terry.fit(table).ratings()
    both = np.isfinite(rating) & np.isfinite(fit)
    if both.sum() < 2:
        return []
    elo, known = float(np.ptp(rating[both])), float(np.ptp(fit[both]))
    if elo >= _SETTLED * known:
        return []
    fewest = int(table.per_model()[0][both].min())
    return [
        f"online Elo has not settled: first and last lie {elo:.0f} apart, by Bradley–Terry {known:.0f}, and its "
        f"intervals are too near to the mean, too; a model wants about {battles_to_settle():,} battles, the fewest "
        f"here are {fewest:,}: use method bt"
    ]


def best_first(rating: Any) -> list[int]:
    """Codes of the models by their ratings, those without one last; level ones by name."""
    return sorted(
        range(len(rating)),
        key=lambda code: (math.isnan(rating[code]), -rating[code] if rating[code] == rating[code] else 0.0, code),
    )


def ranked(
    table: BattleSums,
    rating: Any,
    lower: Any,
    upper: Any,
    bounds: OutcomeBounds | None,
    estimate: Any,
    worth: Worth | None = None,
    rates: tuple[Any, Any, Any] | None = None,
) -> tuple[Row, ...]:
    """The rows of a board, best first; arrays have the shape (K,). `rates`: controlled, and their intervals' ends."""
    fought, won = table.per_model()
    own = table.own_failures
    return tuple(
        Row(
            rank=place,
            model=table.models[code],
            rating=_number(rating[code]),
            lower=_number(lower[code]),
            upper=_number(upper[code]),
            battles=int(fought[code]),
            win_rate=_number(won[code]),
            own_failures=0 if own is None else int(own[code]),
            undecided=0 if bounds is None else int(bounds.undecided[code]),
            worst=None if bounds is None else _number(rating[code] + bounds.worst[code]),
            best=None if bounds is None else _number(rating[code] + bounds.best[code]),
            estimate=None if estimate is None else _number(estimate[code]),
            **({} if worth is None else worth.row(code)),
            controlled_win_rate=None if rates is None else _number(rates[0][code]),
            controlled_lower=None if rates is None else _number(rates[1][code]),
            controlled_upper=None if rates is None else _number(rates[2][code]),
        )
        for place, code in enumerate(best_first(rating), start=1)
    )


def _controlled_rates(table: Battles, fit: BradleyTerry, spread: Intervals | Bootstrap, level: float) -> Any:
    """Win rates by the controlled fit, and the ends of their intervals where all met one baseline; three of shape (K,).

    There the rate grows with the difference from the baseline, whose interval is known.
    """
    rates = expected_rates(table, fit.theta)
    lower = upper = np.full(len(rates), np.nan)
    baseline = baseline_of(table)
    if baseline is not None:
        ends = spread.bounds(anchor=(table.models[baseline], 0.0), level=level)
        lower, upper = (np.where(np.arange(len(rates)) == baseline, np.nan, _expected(end)) for end in ends)
    return rates, lower, upper


def _expected(difference: Any) -> Any:
    """The win rate that a difference of ratings stands for."""
    return 1.0 / (1.0 + 10.0 ** (-difference / 400.0))


def _number(value: float) -> float | None:
    """A plain float, or None for what is not finite."""
    return float(value) if np.isfinite(value) else None
