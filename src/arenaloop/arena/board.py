"""A leaderboard as it is read: its rows, the document that they are written to, and its table in a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from arenaloop.arena.worth import Worth
from arenaloop.ratings.covariates import Coefficient
from arenaloop.ratings.style_features import FEATURES
from arenaloop.terminal import counted, figure, plain, span, table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from arenaloop.ratings.reliability import JudgeFit

__all__ = ["Leaderboard", "Row", "rank_span"]


_CONTROLLED = ("controlled_win_rate", "controlled_lower", "controlled_upper")
"""Fields of a row that a controlled fit tells."""


_WEIGHTED = (
    "win rate is the share of winners, which ratings count; weighted is the mean of the judge's probabilities "
    "in the same battles, which winrate has against one baseline"
)


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
        controlled_win_rate: what it would have scored by the controlled fit, covariates aside; None without controls.
        controlled_lower, controlled_upper: its interval, of a board against one baseline; None of others.
        own_failures: how many of its battles it lost by a failure of its own, without a verdict.
        undecided: how many more battles have no outcome.
        worst, best: what the rating would be had the model lost, or won, all of these; None without any.
        estimate: of maximum likelihood, where the rating is a median of resamples.
        rank_lower, rank_upper: best and worst rank that the battles leave it, those of all models at once; None without
            a rating, and of Elo.
        weighted_win_rate: the mean of the judge's probabilities in its battles; None of a judge that gives none.
        tier: 1 for the first; a new one begins where neighbours are separated. None as above.
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
    estimate: float | None = None
    rank_lower: int | None = None
    rank_upper: int | None = None
    tier: int | None = None
    controlled_win_rate: float | None = None
    controlled_lower: float | None = None
    controlled_upper: float | None = None
    weighted_win_rate: float | None = None

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
        cluster: ``"prompt"``, ``"voter"`` or ``"battle"``: what counted as independent.
        battles, ties, skipped: rated battles, how many of them were ties, rows that could not be rated.
        notes: what a reader should know, in plain words.
        rows: best first.
        coefficients: of the covariates that were controlled for, by name.
        depends: whether the order hangs on undecided battles: some model would have another place had it lost, or won,
            all of its own.
        worth: what the order is worth; None of Elo.
        style: the procedure by which style was controlled for, ``style`` or ``arena_hard``; None without.
        judges: what a jury's members weigh and favour, where that was fitted.
        votes: of these.
        tie_rule: what became of ties, one of `ratings.tie_rules.TIE_RULES`.
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
    worth: Worth | None = field(default=None, compare=False)  # arrays, derived from what is compared
    style: str | None = None
    judges: tuple[JudgeFit, ...] | None = None
    votes: int = 0
    tie_rule: str = "half"

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
                    **({} if row.estimate is None else {"estimate": row.estimate}),
                    "lower": row.lower,
                    "upper": row.upper,
                    "battles": row.battles,
                    "win_rate": row.win_rate,
                    **({} if self.coefficients is None else {name: getattr(row, name) for name in _CONTROLLED}),
                    **({"weighted_win_rate": row.weighted_win_rate} if self._weighted else {}),
                    **(
                        {}
                        if self.worth is None
                        else {"rank_lower": row.rank_lower, "rank_upper": row.rank_upper, "tier": row.tier}
                    ),
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
        document["tie_rule"] = self.tie_rule
        if self.worth is not None:
            document |= self.worth.to_dict()
        if lost:
            document["own_failures"] = lost
        if undecided:
            document |= {"undecided": undecided // 2, "order_depends_on_undecided": self.depends}
        if self.judges is not None:
            document |= {"rule": "reliability", "votes": self.votes, "judges": [asdict(one) for one in self.judges]}
        if self.coefficients is not None:
            document |= {} if self.style is None else {"style": self.style}
            document["coefficients"] = {name: asdict(value) for name, value in self.coefficients.items()}
        return document

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Leaderboard:
        """The board that a document tells, as far as its table shows it.

        Raises:
            LookupError, TypeError: it is none.
        """
        columns = ("rank", "model", "rating", "lower", "upper", "battles", "win_rate")
        more = ("own_failures", "undecided", "worst", "best", "estimate", "weighted_win_rate", *_CONTROLLED)
        rows = tuple(
            Row(*(row[name] for name in columns), **{name: row[name] for name in more if name in row})
            for row in document["leaderboard"]
        )
        fields = ("method", "interval", "level", "cluster", "battles", "ties", "skipped")
        told = {name: document[name] for name in fields}
        return cls(**told, notes=tuple(document["notes"]), rows=rows, tie_rule=document.get("tie_rule", "half"))

    def with_probabilities(self, rates: Mapping[str, float]) -> Leaderboard:
        """The same, and by name what models scored by the judge's probabilities; without any it stays as it is."""
        if not rates:
            return self
        rows = tuple(replace(row, weighted_win_rate=rates.get(row.model)) for row in self.rows)
        return replace(self, rows=rows, notes=(*self.notes, _WEIGHTED))

    @property
    def _weighted(self) -> bool:
        return any(row.weighted_win_rate is not None for row in self.rows)

    @property
    def _held_equal(self) -> list[str]:
        names = [name for name in self.coefficients or () if self.style is None or name not in FEATURES]
        return names + (["style"] if self.style == "style" else [])

    @property
    def _controlled(self) -> str:
        """The title of the win rates by a controlled fit."""
        return "style-controlled" if self.style == "arena_hard" else f"at equal {' and '.join(self._held_equal)}"

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

    def table(self, *, width: int = 100, ranks: bool = False) -> Table:
        """A terminal table with interval bars, for a terminal of `width` columns; safe for any model name.

        Args:
            width: of the terminal. Bars come where there is room for them. With ranks, where there is too little for
                all columns, tiers go first, then places, which the ranks tell, battles and win rates.
            ranks: whether to show the ranks that the battles leave each model, and its tier.
        """
        from rich.table import Table
        from rich.text import Text

        ends = [e for row in self.rows for e in (row.lower, row.upper, row.rating) if e is not None]
        low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
        room = 0.08 * (high - low)  # for the arrow of an open end
        low -= room * any(row.lower is None and row.upper is not None for row in self.rows)
        high += room * any(row.upper is None and row.lower is not None for row in self.rows)
        columns = {
            "#": [str(row.rank) for row in self.rows],
            "ranks": [rank_span(row.rank_lower, row.rank_upper) for row in self.rows],
            "tier": ["–" if row.tier is None else str(row.tier) for row in self.rows],
            "model": [plain(row.model) for row in self.rows],
            "rating": [figure(row.rating, ".0f") for row in self.rows],
            f"{self.level * 100:g} % interval": [span(row.lower, row.upper, ".0f") for row in self.rows],
            "": [],
            "win rate": [_percent(row.win_rate) for row in self.rows],
            **({"weighted": [_percent(row.weighted_win_rate) for row in self.rows]} if self._weighted else {}),
            self._controlled: [_percent(row.controlled_win_rate) for row in self.rows],
            "battles": [str(row.battles) for row in self.rows],
        }
        if not any(row.controlled_win_rate is not None for row in self.rows):
            del columns[self._controlled]
        taken = {name: max(map(len, [name, *cells])) + 2 for name, cells in columns.items()}
        if not ranks or self.worth is None:
            del columns["ranks"], columns["tier"]
            bar = width - (taken["model"] - 2) - 54 - taken.get("weighted", 0) - taken.get(self._controlled, 0)
        else:
            for name in ("tier", "#", "battles", "win rate"):
                if sum(taken[name] for name in columns) - taken[""] - 2 > width:
                    del columns[name]
            bar = width - sum(taken[name] for name in columns) + taken[""]
        bar = max(0, min(28, bar))
        if bar >= 8:
            columns[""] = [_bar(row, low, high, bar) for row in self.rows]
        else:  # too narrow a bar says nothing: names and numbers come first
            del columns[""]
        styles = {"rating": "bold", "": "cyan"}
        board = Table(box=None, pad_edge=False, header_style="bold")
        for name in columns:
            if name == "model":
                board.add_column(name, overflow="fold")
            else:
                board.add_column(name, justify="left" if name in ("", "ranks") else "right", no_wrap=True)
        for cells in zip(*columns.values(), strict=True):
            board.add_row(*(Text(cell, style=styles.get(name, "")) for name, cell in zip(columns, cells, strict=True)))
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

    def table_of_judges(self, width: int = 100) -> Table | None:
        """A terminal table of a jury's fitted members, the weightiest first; None without them.

        A terminal of `width` columns that has no room for all of it does without votes, agreement, and intervals.
        """
        if self.judges is None:
            return None
        judges = sorted(self.judges, key=lambda one: -one.slope)
        ends = f"{self.level * 100:g} % interval"
        columns = [
            ("judge", [plain(one.name) for one in judges]),
            ("weight", [f"{one.weight:.2f}" for one in judges]),
            ("slope", [f"{one.slope:+.2f}" for one in judges]),
            (ends, [span(one.slope_lower, one.slope_upper, "+.2f") for one in judges]),
            ("1st seat", [f"{one.seat:+.2f}" for one in judges]),
            (ends, [span(one.seat_lower, one.seat_upper, "+.2f") for one in judges]),
            ("agrees", ["–" if one.agreement is None else f"{100 * one.agreement:.0f} %" for one in judges]),
            ("votes", [f"{one.votes:,}" for one in judges]),
        ]
        for spare in (7, 6, 3, 4):  # the place of a column once those before it are gone
            if sum(max(map(len, [title, *cells])) + 2 for title, cells in columns) - 2 > width:
                del columns[spare]
        return table([title for title, _ in columns], zip(*(cells for _, cells in columns), strict=True))

    def show(self, console: Console, *, ranks: bool = False) -> None:
        """Print all tables; `ranks` as of `table`."""
        console.print(self.table(width=console.width, ranks=ranks))
        if (judges := self.table_of_judges(console.width)) is not None:
            console.print(judges)
        if (rest := self.table_without_verdict()) is not None:
            console.print(rest)

    def caption(self) -> str:
        """One line that says what was rated and how."""
        clustered = "every battle on its own" if self.cluster == "battle" else f"clustered by {self.cluster}"
        how = "Bradley–Terry" if self.method == "bt" else "Elo, averaged over orders"
        ties = counted(self.ties, "tie") + (" left out" if self.tie_rule == "drop" else "")
        counts = f"{counted(self.battles, 'battle')}, {ties}" + (f", {self.skipped:,} skipped" if self.skipped else "")
        how += {"davidson": " with Davidson's ties", "rao_kupper": " with Rao and Kupper's ties"}.get(self.tie_rule, "")
        counts += f", {self._lost:,} lost by own failure" if self._lost else ""
        names = self._held_equal
        equal = f" at equal {' and '.join(names)}" if names else ""
        equal += " at the mean style difference, as Arena-Hard's" if self.style == "arena_hard" else ""
        equal += f" with {self.votes:,} votes of {len(self.judges)} fitted judges" if self.judges is not None else ""
        return f"{counts} · {how}{equal} · {self.interval} intervals, {clustered}"


def rank_span(lower: int | None, upper: int | None) -> str:
    """``3`` or ``2–5``; a dash where there is none."""
    if lower is None or upper is None:
        return "–"
    return str(lower) if lower == upper else f"{lower}–{upper}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share * 100:.1f} %"


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
