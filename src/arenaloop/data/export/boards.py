"""A leaderboard as CSV and as Markdown: names of models are anybody's, so no cell is a formula, a tag or a new row."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from arenaloop.data.result_files import board_of
from arenaloop.errors import InputError
from arenaloop.ratings.win_rate import WinRate
from arenaloop.regular_files import read_regular
from arenaloop.terminal import figure, plain, span

__all__ = ["as_csv", "as_markdown", "rates_csv", "read_document"]

_COLUMNS = ("rank", "model", "rating", "lower", "upper", "win_rate", "battles")
_RATES = (
    "model", "win_rate", "standard_error", "n_wins", "n_wins_base", "n_draws", "n_total", "discrete_win_rate",
    "avg_length", "length_controlled_winrate", "lc_standard_error",
)  # fmt: skip
_MORE = ("weighted_win_rate", "estimate", "own_failures", "undecided", "undecided_share", "worst", "best")


def read_document(source: Path) -> dict[str, Any]:
    """A run's ``leaderboard.json``, or that file; what ``rank --json`` prints.

    Raises:
        InputError: it is missing, or is something else.
    """
    path = board_of(source)
    try:
        document = json.loads(read_regular(path))
        rows = document.get("leaderboard") if isinstance(document, dict) else None
        if not rows or not isinstance(rows, list) or any(name not in row for row in rows for name in _COLUMNS):
            raise ValueError("no rows of models")
        for number, row in enumerate(rows, 1):
            for name in (*_COLUMNS, *_MORE):
                right = isinstance(row["model"], str) if name == "model" else _is_figure(row.get(name))
                if not right:
                    raise ValueError(f"row {number}: {name} is no {'text' if name == 'model' else 'number'}")
        notes = document.get("notes") or []
        if not _is_figure(document.get("level")) or not all(isinstance(note, str) for note in notes):
            raise ValueError("level is no number, or a note no text")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        why = f" ({error})" if type(error) is ValueError else ""  # of others the message is a parser's
        raise InputError(
            f"{path}: no leaderboard.json{why}; name a run directory, or what arenaloop rank FILE --json prints"
        ) from None
    return dict(document)


def _is_figure(cell: object) -> bool:
    """A number that can be shown, or none."""
    return cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool) and abs(cell) < 1e300)


def as_csv(document: dict[str, Any]) -> str:
    """The board's figures unrounded; `read_leaderboard` reads them back.

    A name that a spreadsheet would take for a formula gets an apostrophe before it; control characters are spelled out.
    """
    rows = document["leaderboard"]
    columns = [*_COLUMNS, *(name for name in _MORE if any(row.get(name) is not None for row in rows))]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        cells = [row.get(name) for name in columns]
        cells[columns.index("model")] = _inert(str(row["model"]))
        writer.writerow(["" if cell is None else cell for cell in cells])
    return out.getvalue()


def rates_csv(rows: Iterable[WinRate]) -> str:
    """Win rates as AlpacaEval's ``leaderboard.csv`` has them, unrounded; names as of `as_csv`.

    Of annotations that are preferences, ``discrete_win_rate`` counts winners, a draw as half of one.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_RATES)
    for row in rows:
        lost = row.n_total - row.n_wins - row.n_draws
        discrete = 100.0 * (row.n_wins + row.n_draws / 2.0) / row.n_total if row.n_total else None
        cells = [_inert(row.model), row.win_rate, row.standard_error, row.n_wins, lost, row.n_draws, row.n_total]
        cells += [discrete, row.avg_length, row.lc_win_rate, row.lc_standard_error]
        writer.writerow(["" if cell is None else cell for cell in cells])
    return out.getvalue()


def _inert(name: str) -> str:
    """A name that no spreadsheet takes for a formula, whatever blanks stand before it."""
    shown = plain(name)
    return f"'{shown}" if shown.lstrip()[:1] in {*"=+-@|%", "＝", "＋", "－", "＠"} else shown


def as_markdown(document: dict[str, Any]) -> str:
    """The board as `rank` shows it, and its notes."""
    rows = document["leaderboard"]
    level = document.get("level") or 0.95
    weighted = any(row.get("weighted_win_rate") is not None for row in rows)
    titles = ["#", "model", "rating", f"{level * 100:g} % interval", "win rate", *["weighted"] * weighted, "battles"]
    lines = [f"| {' | '.join(titles)} |", f"|--:|:--|{'--:|' * (len(titles) - 2)}"]
    for row in rows:
        cells = [
            str(row["rank"]),
            _escaped(str(row["model"])),
            figure(row["rating"], ".0f"),
            span(row["lower"], row["upper"], ".0f"),
            _percent(row["win_rate"]),
            *([_percent(row.get("weighted_win_rate"))] if weighted else []),
            str(row["battles"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"* {_escaped(str(note))}" for note in document.get("notes") or [])]
    return "\n".join(lines).rstrip("\n") + "\n"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share * 100:.1f} %"


def _escaped(text: str) -> str:
    """A text that Markdown and HTML take as it is: no cell's end, no tag, no link, no picture."""
    shown = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    shown = re.sub(r"([\\`*_\[\]|~$])", r"\\\1", shown)
    shown = re.sub(r"(?i)\bwww\.", lambda found: found[0].replace(".", "&#46;"), shown)
    return shown.replace("://", "&#58;//").replace("@", "&#64;")
