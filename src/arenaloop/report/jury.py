"""The members of a jury as the page tells them, where the board was fitted with what each is worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arenaloop.report.documents import number
from arenaloop.report.tables import Table
from arenaloop.report.texts import one_line
from arenaloop.terminal import span

__all__ = ["jury_table"]

_JUDGES = 200
_NOTE = (
    "Fitted with the ratings, from the votes alone. A vote counts by its judge's slope: how many nats of the judge's "
    "odds one nat of strength is worth; a coin has 0. The first seat is in nats. Agreement: of votes with a winner, "
    "those for the model that the board rates higher. Intervals of one figure each; those of all judges at once are in "
    "leaderboard.json."
)


def jury_table(board: Mapping[str, Any]) -> Table | None:
    """What ``leaderboard.json`` says of its judges, the weightiest first; None where it was not fitted."""
    found = board.get("judges")
    judges = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    if not judges:
        return None
    judges.sort(key=lambda one: -(number(one.get("slope")) or 0.0))
    level = number(board.get("level"))
    ends = "Interval" if level is None else f"{100 * level:g} % interval"
    return Table(
        title="What the judges are worth",
        columns=["Judge", "Weight", "Slope", ends, "First seat", ends, "Agreement", "Votes"],
        rows=[_row(one) for one in judges[:_JUDGES]],
        rows_left_out=max(0, len(judges) - _JUDGES),
        note=_NOTE,
    )


def _row(one: Mapping[str, Any]) -> list[str]:
    def figure(key: str, form: str) -> str:
        value = number(one.get(key))
        return "–" if value is None else format(value, form)

    def interval(key: str) -> str:
        return span(number(one.get(f"{key}_lower")), number(one.get(f"{key}_upper")), "+.2f")

    return [
        one_line(one.get("name"), 60),
        figure("weight", ".2f"),
        figure("slope", "+.2f"),
        interval("slope"),
        figure("seat", "+.2f"),
        interval("seat"),
        figure("agreement", ".1%").replace("%", " %"),
        figure("votes", ",.0f"),
    ]
