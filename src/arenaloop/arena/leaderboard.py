"""The leaderboard: battles in, ranked models with honest intervals out.

A running tournament may hold anything: a model that won every battle, two groups that never met, a model without a
battle. None of it raises and none of it is answered with NaN; what could not be rated is null, and the notes say why.
Only a setting that cannot be (an anchor that is not in the data, an unknown method) is an error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from arenaloop.errors import ConfigError, InputError
from arenaloop.ratings import bradley_terry
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bootstrap import Bootstrap, bootstrap
from arenaloop.ratings.bradley_terry import BradleyTerry, anchor_code
from arenaloop.ratings.covariates import Coefficient, fit_controlled
from arenaloop.ratings.elo import elo_orders
from arenaloop.ratings.intervals import Intervals, sandwich
from arenaloop.ratings.undecided import OutcomeBounds, failure_notes, outcome_bounds
from arenaloop.terminal import figure, plain, span, table
from arenaloop.types import Battle

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Leaderboard", "Row", "leaderboard"]

METHODS = ("bt", "elo")
INTERVALS = ("sandwich", "bootstrap")


@dataclass(frozen=True, slots=True)
class Row:
    """One model on a leaderboard.

    Attributes:
        rank: 1 is best; models without a rating come last.
        rating: on the Elo scale; None where nothing can be said (the model met nobody).
        lower, upper: ends of the interval; one of them None where it is open, both where there is none.
        battles: how many battles the model fought.
        win_rate: what it scored in them, a fraction (a tie is half a win), by the weights that the ratings use; None
            without battles.
        own_failures: how many of its battles it lost by a failure of its own, without a verdict.
        undecided: how many more battles have no outcome.
        worst, best: what the rating would be had the model lost, or won, all of these; None without any.
    """

    rank: int
    model: str
    rating: float | None
    lower: float | None
    upper: float | None
    battles: int
    win_rate: float | None
    own_failures: int = 0
    undecided: int = 0
    worst: float | None = None
    best: float | None = None

    @property
    def undecided_share(self) -> float | None:
        """Of all battles that it has fought; None without any."""
        fought = self.battles + self.undecided
        return self.undecided / fought if fought else None


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """Ranked models and how they were rated: the document ``leaderboard.json``.

    Attributes:
        method: ``"bt"`` or ``"elo"``.
        interval: ``"sandwich"`` or ``"bootstrap"``.
        level: of the intervals, e.g. 0.95.
        cluster: ``"prompt"`` or ``"battle"``: what counted as independent.
        battles, ties, skipped: rated battles, how many of them were ties, rows that could not be rated.
        notes: what a reader should know, in plain words.
        rows: best first.
        coefficients: of the covariates that were controlled for, by name.
        depends: whether the order hangs on undecided battles: some model would have another place had it lost, or won,
            all of its own.
    """

    method: str
    interval: str
    level: float
    cluster: str
    battles: int
    ties: int
    skipped: int
    notes: tuple[str, ...]
    rows: tuple[Row, ...]
    coefficients: Mapping[str, Coefficient] | None = None
    depends: bool = False

    def __getitem__(self, model: str) -> Row:
        """The row of one model, by name."""
        for row in self.rows:
            if row.model == model:
                return row
        raise KeyError(model)

    def to_dict(self) -> dict[str, Any]:
        """The document as a mapping: unrounded numbers, None where something is missing.

        What is undecided or was lost by own failure stands in it where there is anything of the kind.
        """
        lost, undecided = self._lost, self._undecided
        document: dict[str, Any] = {
            "method": self.method,
            "interval": self.interval,
            "level": self.level,
            "cluster": self.cluster,
            "battles": self.battles,
            "ties": self.ties,
            "skipped": self.skipped,
            "notes": list(self.notes),
            "leaderboard": [
                {
                    "rank": row.rank,
                    "model": row.model,
                    "rating": row.rating,
                    "lower": row.lower,
                    "upper": row.upper,
                    "battles": row.battles,
                    "win_rate": row.win_rate,
                    **({"own_failures": row.own_failures} if lost else {}),
                    **(
                        {
                            "undecided": row.undecided,
                            "undecided_share": row.undecided_share,
                            "worst": row.worst,
                            "best": row.best,
                        }
                        if undecided
                        else {}
                    ),
                }
                for row in self.rows
            ],
        }
        if lost:
            document["own_failures"] = lost
        if undecided:
            document |= {"undecided": undecided // 2, "order_depends_on_undecided": self.depends}
        if self.coefficients is not None:
            document["coefficients"] = {name: asdict(value) for name, value in self.coefficients.items()}
        return document

    @property
    def _lost(self) -> int:
        return sum(row.own_failures for row in self.rows)

    @property
    def _undecided(self) -> int:
        """Of all models together: each undecided battle is that of two."""
        return sum(row.undecided for row in self.rows)

    def to_json(self) -> str:
        """The document as JSON text, two spaces deep, ending with a newline."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def table(self, *, width: int = 100) -> Table:
        """A terminal table with interval bars, for a terminal of `width` columns; safe for any model name."""
        from rich.table import Table
        from rich.text import Text

        ends = [e for row in self.rows for e in (row.lower, row.upper, row.rating) if e is not None]
        low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
        room = 0.08 * (high - low)  # for the arrow of an open end
        low -= room * any(row.lower is None and row.upper is not None for row in self.rows)
        high += room * any(row.upper is None and row.lower is not None for row in self.rows)
        longest = max((len(plain(row.model)) for row in self.rows), default=0)
        bar = max(0, min(28, width - longest - 54))
        bar = bar if bar >= 8 else 0  # too narrow a bar says nothing: names and numbers come first
        board = Table(box=None, pad_edge=False, header_style="bold")
        board.add_column("#", justify="right", no_wrap=True)
        board.add_column("model", overflow="fold")
        board.add_column("rating", justify="right", no_wrap=True)
        board.add_column(f"{self.level * 100:g} % interval", justify="right", no_wrap=True)
        if bar:
            board.add_column("", no_wrap=True)
        board.add_column("win rate", justify="right", no_wrap=True)
        board.add_column("battles", justify="right", no_wrap=True)
        for row in self.rows:
            cells = [
                Text(str(row.rank)),
                Text(plain(row.model)),
                Text(figure(row.rating, ".0f"), style="bold"),
                Text(span(row.lower, row.upper, ".0f")),
                Text("–" if row.win_rate is None else f"{row.win_rate * 100:.1f} %"),
                Text(str(row.battles)),
            ]
            if bar:
                cells.insert(4, Text(_bar(row, low, high, bar), style="cyan"))
            board.add_row(*cells)
        return board

    def table_without_verdict(self) -> Table | None:
        """A terminal table of what no verdict decided, of the models that have any of it; None without any."""
        found = [row for row in self.rows if row.own_failures or row.undecided]
        if not found:
            return None
        titles = ["model", "lost by own failure", "undecided", "of all", "rating if lost … if won"]
        return table(
            titles,
            [
                [
                    row.model,
                    f"{row.own_failures:,}",
                    f"{row.undecided:,}",
                    figure(row.undecided_share, ".1%"),
                    span(row.worst, row.best, ".0f"),
                ]
                for row in found
            ],
        )

    def caption(self) -> str:
        """One line that says what was rated and how."""
        clustered = "clustered by prompt" if self.cluster == "prompt" else "every battle on its own"
        how = "Bradley–Terry" if self.method == "bt" else "Elo, averaged over orders"
        counts = f"{self.battles:,} battles, {self.ties:,} ties" + (
            f", {self.skipped:,} skipped" if self.skipped else ""
        )
        counts += f", {self._lost:,} lost by own failure" if self._lost else ""
        equal = f" at equal {' and '.join(self.coefficients)}" if self.coefficients else ""
        return f"{counts} · {how}{equal} · {self.interval} intervals, {clustered}"


def leaderboard(
    battles: Battles | Mapping[str, Sequence[Any]] | Iterable[Battle],
    *,
    method: str = "bt",
    interval: str = "sandwich",
    cluster: str | None = None,
    anchor: tuple[str, float] | None = None,
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    controls: Sequence[str] = (),
    frozen: Mapping[str, tuple[float, float]] | None = None,
) -> Leaderboard:
    """Rate the models of some battles.

    Args:
        battles: coded columns, a mapping of columns (`model_a`, `model_b`, `winner` or `score_a`, and optionally
            `prompt_id`, `weight`), or battle records.
        method: ``"bt"`` (Bradley–Terry by maximum likelihood) or ``"elo"`` (online Elo averaged over random orders,
            whose interval is always a bootstrap).
        interval: ``"sandwich"`` or ``"bootstrap"``.
        cluster: ``"prompt"`` or ``"battle"``; None means prompts where there are prompt ids, else battles.
        anchor: a model and the rating that it shall have; without one, ratings have mean 1000.
        samples: bootstrap resamples (or orders, with `method` ``"elo"``).
        seed: of the resamples.
        level: of the intervals.
        controls: covariates to hold equal, such as ``length``; see `ratings.covariates`.
        frozen: coefficient and scale of controls that shall not be estimated.

    Raises:
        ConfigError: a setting that does not exist or cannot be, such as an anchor that is not in the data.
        InputError: columns that are missing or hold impossible values.
    """
    for name, value, known in (("method", method, METHODS), ("interval", interval, INTERVALS)):
        if value not in known:
            raise ConfigError(f"{name} must be {' or '.join(known)}, not {value!r}")
    if cluster not in (None, "prompt", "battle"):
        raise ConfigError(f"cluster must be prompt or battle, not {cluster!r}")
    if not 0.0 < level < 1.0:
        raise ConfigError(f"level must lie strictly between 0 and 1, not {level}")
    if controls and (method, interval) != ("bt", "sandwich"):
        raise ConfigError("control works with method bt and interval sandwich")
    table = as_battles(battles, controls=controls)
    notes = list(table.notes)
    if not len(table):
        notes.append("no battle could be rated")
    if cluster == "prompt" and table.cluster is None:
        raise ConfigError("these battles carry no prompt_id to cluster by: use cluster battle")
    if cluster is None:
        cluster = "battle" if table.cluster is None else "prompt"
        if cluster == "battle" and len(table):
            notes.append("no prompt_id: intervals take every battle as independent")

    coefficients = None
    origin = None
    try:
        if method == "elo":
            rating, lower, upper, said = _elo(table, cluster, anchor, samples, seed, level)
            if interval == "sandwich":
                interval = "bootstrap"
                said.append("Elo has no sandwich interval: resampled orders instead")
            notes += said
        else:
            fit: BradleyTerry
            spread: Intervals | Bootstrap
            if controls:
                controlled = fit_controlled(table, controls, frozen=frozen, cluster=cluster, level=level)
                fit, spread, coefficients = controlled.fit, controlled.intervals, controlled.coefficients
                if controlled.left_out:
                    notes.append(f"{controlled.left_out} battles without {' and '.join(controls)} left out of the fit")
            else:
                fit = bradley_terry.fit(table)
                if interval == "bootstrap":
                    spread = bootstrap(table, fit, samples=samples, seed=seed, cluster=cluster)
                else:
                    spread = sandwich(table, fit, cluster=cluster)
            origin = spread.settled()
            rating = fit.ratings(anchor=anchor, origin=origin)
            lower, upper = spread.bounds(anchor=anchor, level=level, origin=origin)
            notes += [*fit.notes, *spread.notes(anchor=anchor, origin=origin)]
        bounds = outcome_bounds(table, anchor=anchor, origin=origin)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    notes += [*failure_notes(table), *(bounds.notes if bounds is not None else ())]
    return Leaderboard(
        method=method,
        interval=interval,
        level=level,
        cluster=cluster,
        battles=len(table),
        ties=table.ties,
        skipped=table.skipped,
        notes=tuple(notes),
        rows=_ranked(table, rating, lower, upper, bounds),
        coefficients=coefficients,
        depends=bounds is not None and bool(bounds.moving),
    )


def as_battles(
    battles: Battles | Mapping[str, Sequence[Any]] | Iterable[Battle], *, controls: Sequence[str] = ()
) -> Battles:
    """Coded columns from whatever the caller holds.

    Raises:
        InputError: a column is missing or holds impossible values.
    """
    if isinstance(battles, Battles):
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


def _ranked(table: Battles, rating: Any, lower: Any, upper: Any, bounds: OutcomeBounds | None) -> tuple[Row, ...]:
    fought, won = table.per_model()
    own = table.own_failures
    order = sorted(
        range(len(table.models)),
        key=lambda code: (math.isnan(rating[code]), -rating[code] if rating[code] == rating[code] else 0.0, code),
    )
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
        )
        for place, code in enumerate(order, start=1)
    )


def _number(value: float) -> float | None:
    """A plain float, or None for what is not finite."""
    return float(value) if np.isfinite(value) else None


def _bar(row: Row, low: float, high: float, width: int) -> str:
    """The interval as a line with a dot at the rating, on a scale from `low` to `high`."""
    if row.rating is None:
        return ""

    def at(value: float) -> int:
        return round((value - low) / (high - low) * (width - 1)) if high > low else 0

    cells = [" "] * width
    if row.lower is not None or row.upper is not None:
        first = 0 if row.lower is None else at(row.lower)
        last = width - 1 if row.upper is None else at(row.upper)
        cells[first : last + 1] = "─" * (last + 1 - first)
        if row.lower is None:
            cells[0] = "←"
        if row.upper is None:
            cells[-1] = "→"
    cells[at(row.rating)] = "●"
    return "".join(cells)
