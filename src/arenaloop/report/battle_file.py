"""The report of a file of battles, whatever its form: the board, its order's worth, pairs, and the battles one by one.

The board is that of `arenaloop rank`. Texts are shown where the file has them: conversations, answers, the prompt, and
what a judge or a voter said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from arenaloop.arena.leaderboard import leaderboard
from arenaloop.data.formats import read_battles
from arenaloop.data.formats.judgments import BattleColumns, battle_columns, require_columns
from arenaloop.data.formats.style_columns import spoken_texts, structure
from arenaloop.data.formats.where import Chosen, Where
from arenaloop.errors import InputError
from arenaloop.jsonl import JsonRow
from arenaloop.ratings.battles import Battles
from arenaloop.report.all_battles import AllBattles, Beside
from arenaloop.report.board_parts import caption, pairs_of
from arenaloop.report.cards import Card, Turn
from arenaloop.report.charts import forest
from arenaloop.report.documents import NEEDED, number
from arenaloop.report.fitting import fitted
from arenaloop.report.order import worth_of
from arenaloop.report.outcome import apart, with_interval
from arenaloop.report.rendering import MAX_BYTES
from arenaloop.report.shown_battles import Picks
from arenaloop.report.texts import Clip, clip, one_line
from arenaloop.tables import table_rows
from arenaloop.terminal import counted
from arenaloop.types import Winner

__all__ = ["holds_battles", "render_file"]

_BROWSED = 200_000
"""battles that are listed; all are rated"""
_ROWS, _MATRIX = 200, 24
_TEXT = 16_000
_TURNS = 16
_ANSWERS = ("conversation", "response", "output", "messages", "text", "answer")
_PROMPTS = ("prompt", "instruction", "question")
_SAID = (
    *("judgment", "explanation", "g1_judgment", "g2_judgment", "g1_user_prompt_judgment", "reason", "comment"),
    "feedback",
)
_TAGS = ("category", "language", "turn", "task", "dataset", "tag")


class _Told(NamedTuple):
    """What a row says besides its outcome."""

    turns: Sequence[Turn]
    said: Sequence[tuple[str, Clip]]
    tags: dict[str, str]
    scores: tuple[float | None, float | None]
    flipped: bool


def holds_battles(folder: Path) -> bool:
    """Whether a folder holds tables of battles, and is no run's, nor one of several runs."""
    named = (*NEEDED, "checkpoints", "earlier", "rejudged")
    if any((folder / name).exists() for name in named) or next(folder.rglob("arena.db"), None):
        return False
    try:
        _, row = next(table_rows(folder))
        require_columns(row)
    except (InputError, ValueError, StopIteration):
        return False
    return True


def render_file(path: Path, beside: Beside, judges: Sequence[str] = (), where: Where | None = None) -> bytes:
    """The page of a file of battles that `read_battles` takes.

    Args:
        path, judges, where: as of `read_battles`.
        beside: where what the page has no room for goes.

    Raises:
        InputError: as of `read_battles`.
    """
    battles = read_battles(path, judges=judges, where=where)
    board = leaderboard(battles).to_dict()
    rows = [
        {"own_failures": None, "undecided": None, "undecided_share": None, "worst": None, "best": None} | row
        for row in board["leaderboard"]
    ]
    everything = AllBattles([row["model"] for row in rows], beside, MAX_BYTES)
    worded, there = _add(everything, path, judges, where)
    picks = _records(battles)
    met = [str(row["model"]) for row in rows[:_MATRIX]]
    context: dict[str, Any] = {
        "title": f"Battles of {counted(len(rows), 'model')}",
        "file": one_line(path.name),
        "outcome": _outcome(rows, picks),
        "board": {"own_failures": 0, "undecided": 0, **board},
        "caption": caption(board),
        "worth": worth_of(board),
        "jury": None,
        "notes": [one_line(note, 400) for note in (board.get("notes") or ())[:30]],
        "rows": rows[:_ROWS],
        "rows_left_out": max(0, len(rows) - _ROWS),
        "forest": forest(rows[:_ROWS]),
        "trained": (),
        "writing": None,
        "matrix_names": met,
        "matrix": pairs_of(met, picks),
        "matrix_left_out": max(0, len(rows) - _MATRIX),
        "models": met,
        "suspicious": None,
        "worded": worded,
        "browsed_of": there,
    }
    return fitted("file.html.jinja", context, [], everything)


def _outcome(rows: Sequence[dict[str, Any]], picks: Picks) -> list[str]:
    done = f"{counted(len(rows), 'model')} fought {counted(picks.battles, 'battle')}."
    rated = [row for row in rows if row["rating"] is not None]
    if not rated:
        return [done, "Nothing could be rated."]
    leads = f"{one_line(rated[0]['model'], 60)} leads with a rating of {with_interval(rated[0])}"
    if len(rated) == 1:
        return [done, f"{leads}."]
    best, second = rated[:2]
    lead = f"{best['rating'] - second['rating']:.0f} points ahead of {one_line(second['model'], 60)}"
    record = picks.record(best["model"], second["model"])
    return [done, f"{leads}, {lead}; {apart(best, second, 'the leader', record)}."]


def _records(battles: Battles) -> Picks:
    """How often each pair fared how; what no side won whole counts as a tie."""
    picks = Picks(battles=len(battles))
    names = battles.models
    for a, b, score in zip(battles.a.tolist(), battles.b.tolist(), battles.score_a.tolist(), strict=True):
        counts = picks.pairs.setdefault((names[a], names[b]), [0, 0, 0])
        counts[_place(score)] += 1
    return picks


def _place(score: float) -> int:
    """Of a pair's record: won, tied, lost."""
    return 0 if score > 0.5 else 2 if score < 0.5 else 1


# ---------------------------------------------------------------------- the battles one by one


def _add(everything: AllBattles, path: Path, judges: Sequence[str], where: Where | None) -> tuple[bool, int]:
    """Add the battles of the file's rows; whether any has texts, and how many battles there are."""
    told: dict[str, _Told] = {}
    file = path / "battles.jsonl" if (path / "battles.jsonl").is_file() else path
    rows = Chosen(where, str(path)).rows(table_rows(file))
    columns = battle_columns(_noted(rows, told), str(path), judged=True, judges=judges)
    size = len(columns.names_a)
    for at in range(min(size, _BROWSED)):
        _add_one(everything, columns, at, told.get(columns.place(at)))
    return any(one.turns or one.said for one in told.values()), size


def _noted(rows: Iterable[tuple[int | str, JsonRow]], told: dict[str, _Told]) -> Iterator[tuple[int | str, JsonRow]]:
    """The rows, with what they say of their battles noted by where they stand."""
    for line, row in rows:
        if len(told) < _BROWSED:
            told[line if isinstance(line, str) else f"line {line}"] = _told(row)
        yield line, row


def _told(row: JsonRow) -> _Told:
    source = next((name for name in _ANSWERS if row.get(f"{name}_a") and row.get(f"{name}_b")), None)
    if source is None and isinstance(row.get("output_1"), str):  # AlpacaEval's, whose first output is model_a's
        sides = [[str(row["output_1"])], [str(row.get("output_2") or "")]]
    else:
        sides = [list(spoken_texts(row[f"{source}_{side}"]) or ()) if source else [] for side in "ab"]
    asked = _asked(row, source)
    many = max(len(asked), *map(len, sides)) if any(sides) or asked else 0
    turns = [
        Turn(
            clip(asked[at] if at < len(asked) else "", _TEXT),
            *(clip(side[at], _TEXT) if at < len(side) else None for side in sides),
        )
        for at in range(min(many, _TURNS))
    ]
    scores = [number(row.get(f"score_{side}")) for side in "ab"]
    return _Told(
        turns,
        [(name.replace("_", " "), clip(row[name], _TEXT)) for name in _SAID if isinstance(row.get(name), str)],
        {name: one_line(row[name]) for name in _TAGS if isinstance(row.get(name), str | int) and row[name] != ""},
        (scores[0], scores[1]) if None not in scores else (None, None),
        row.get("flipped") is True,
    )


def _asked(row: JsonRow, source: str | None) -> list[str]:
    """The user's turns: of a conversation, or a prompt's own column."""
    found = structure(row.get(f"{source}_a")) if source else None
    if isinstance(found, list):
        users = [turn.get("content") for turn in found if isinstance(turn, dict) and turn.get("role") == "user"]
        if users and all(isinstance(words, str) for words in users):
            return [str(words) for words in users]
    for name in _PROMPTS:
        words = structure(row.get(name))
        if isinstance(words, str) and words:
            return [words]
        if isinstance(words, list) and words and all(isinstance(one, str) for one in words):
            return [str(one) for one in words]
    return []


def _add_one(everything: AllBattles, columns: BattleColumns, at: int, told: _Told | None) -> None:
    told = told or _Told((), (), {}, (None, None), False)
    score = float(columns.score[at])
    unknown = score != score
    winner = None if unknown else (Winner.MODEL_A, Winner.TIE, Winner.MODEL_B)[_place(score)]
    score_a, score_b = told.scores if not unknown else (None, None)
    if score_a is None and not unknown:
        score_a, score_b = score, 1.0 - score
    prompt = "" if columns.prompts is None or columns.prompts[at] is None else str(columns.prompts[at])
    asked = one_line(told.turns[0].user.head, 160) if told.turns else ""
    lost = None if columns.own_failures is None else columns.own_failures[at]
    judge = None if columns.judges is None else columns.judges[at]
    card = Card(
        kind="",
        prompt_id=one_line(prompt, 40) or columns.place(at),
        model_a=str(columns.names_a[at]),
        model_b=str(columns.names_b[at]),
        snippet=asked or (f"prompt {one_line(prompt, 60)}" if prompt else columns.place(at)),
        winner=winner,
        score_a=score_a,
        score_b=score_b,
        flipped=told.flipped,
        turns=told.turns,
        problem="the file has no outcome that is known" if unknown else None,
        tags=told.tags | ({"judge": one_line(judge)} if judge else {}),
        said=told.said,
    )
    key = f"{prompt}\0{card.snippet}\0{sorted(card.tags.items())}"
    everything.add(card, prompt_id=key, own_failure=lost is not None)
