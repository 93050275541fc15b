"""Rows of judgments that become battles only by what a whole file, or a directory, tells.

* **FastChat's single scores** (`question_id`, `model`, `score`, `turn`): of all models that one judge scored on one
  prompt and turn, each two battle, and the higher score wins; -1 is a failed score, and no outcome. Beside judgments of
  pairs, as FastChat keeps both in one directory, they are left out: they tell of the same answers once more.
* **Arena-Hard v0.1** keeps the baseline's name in its configuration, so that its rows have none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from arenaloop.data.formats.vote_ids import cell_key
from arenaloop.errors import nearest
from arenaloop.jsonl import JsonRow
from arenaloop.ratings.cells import LeftOut, is_missing, to_number

__all__ = ["SINGLE_SCORES", "completed", "is_single_score"]

SINGLE_SCORES = ("question_id", "model", "score")
"""Columns of a score of one answer."""
_OTHERS = frozenset({"games", "model_a", "model_1", "generator_1"})
_BASELINE = "gpt-4-0314"
"""Arena-Hard v0.1's own, unless its configuration says otherwise."""


def is_single_score(columns: Iterable[str]) -> bool:
    """Whether a row with these columns scores one answer."""
    names = set(columns)
    return names.issuperset(SINGLE_SCORES) and names.isdisjoint(_OTHERS)


def completed(
    rows: Iterable[tuple[int | str, JsonRow]],
    notes: list[str],
    baseline: str | None = None,
    answered: Collection[str] = (),
) -> Iterator[tuple[int | str, JsonRow]]:
    """Rows of which each by itself tells a battle; other rows as they are.

    Args:
        rows: (line, row).
        notes: gets what is to be said of them, once all have been drawn.
        baseline: of Arena-Hard's rows without one; None for that of its version 0.1.
        answered: the models whose answers are kept beside the rows, the baseline's among them; empty where not known.

    Raises:
        ValueError: too many scores that are no numbers; a baseline that was judged itself, or never answered.
    """
    singles: list[tuple[int | str, JsonRow]] = []
    others = 0
    judged: dict[str, int] = {}
    name = baseline or _BASELINE
    for line, row in rows:
        if is_single_score(row):
            singles.append((line, {column: row.get(column) for column in (*SINGLE_SCORES, "turn", "judge")}))
            continue
        others += 1
        if "games" in row and "model" in row and row.get("baseline") is None:
            judged[str(row["model"])] = judged.get(str(row["model"]), 0) + 1
            row = {**row, "baseline": name}
        yield line, row
    if judged:
        notes.append(_assumed(judged, name, baseline is not None, answered))
    if singles and others:
        notes.append(f"{len(singles):,} scores of single answers are not read beside judgments of pairs")
    elif singles:
        yield from _paired(singles, notes)


def _assumed(judged: Mapping[str, int], name: str, given: bool, answered: Collection[str]) -> str:
    """What is to be said of rows without a baseline, by judged model and how many it has, that are taken for `name`'s.

    Raises:
        ValueError: it cannot be the baseline.
    """
    own = f"Arena-Hard v0.1 compares with {_BASELINE}"
    if name in judged:
        if not given:
            raise ValueError(
                f"its rows name no baseline, and that of Arena-Hard v0.1, {name}, was judged itself: name the baseline "
                "in a column baseline, or by winrate --baseline"
            )
        raise ValueError(f"its rows name no baseline, and {name!r} is one of the models judged against it: {own}")
    if given and name != _BASELINE and answered and name not in answered:
        hint = nearest(name, sorted(answered - judged.keys()))
        raise ValueError(
            f"its rows name no baseline, and {name!r} has no answers in model_answer beside them{hint}: {own}"
        )
    rows = f"{sum(judged.values()):,} rows name no baseline, as in Arena-Hard v0.1: taken for"
    if not given:
        return f"{rows} its own, {_BASELINE}; name another in a column baseline"
    return f"{rows} its own, {name}" if name == _BASELINE else f"{rows} {name}, as given; its own is {_BASELINE}"


def _paired(singles: list[tuple[int | str, JsonRow]], notes: list[str]) -> Iterator[tuple[int | str, JsonRow]]:
    """Battles between the scores of one judge on one prompt and turn."""
    scored: dict[object, dict[str, tuple[int | str, JsonRow, float | None]]] = {}
    unknown, failed, repeated, twice = LeftOut("a score", "score"), 0, 0, set[tuple[object, str]]()
    for line, row in singles:
        score = to_number(row["score"])
        if score is None and not is_missing(row["score"]):
            unknown.add(repr(row["score"])[:60], f"line {line}")
        if score is None or score < 0:
            score, failed = None, failed + 1
        about = (cell_key(row["judge"]), cell_key(row["question_id"]), cell_key(row["turn"]))
        board, name = scored.setdefault(about, {}), str(row["model"] or "")
        if name not in board:
            board[name] = (line, row, score)
        elif board[name][2] == score:
            repeated += 1
        else:
            twice.add((about, name))
            unknown.add("two different scores of one answer", f"line {line}")
    for judged, board in scored.items():
        names = [name for name in board if (judged, name) not in twice]
        for at, other in enumerate(names):
            for name in names[:at]:
                yield board[other][0], _battle(board[name], board[other], name, other)
    notes.append(f"{len(singles):,} scores of single answers: on each prompt and turn the higher one of each two wins")
    if failed:
        notes.append(f"column score: {failed:,} of {len(singles):,} scores empty or failed (below 0)")
    if repeated:
        notes.append(f"{repeated:,} scores stand there twice and count once")
    notes += unknown.notes(len(singles))


_Scored = tuple[int | str, Mapping[str, Any], float | None]


def _battle(one: _Scored, two: _Scored, name: str, other: str) -> JsonRow:
    winner = None
    if one[2] is not None and two[2] is not None:
        winner = "tie" if one[2] == two[2] else "model_a" if one[2] > two[2] else "model_b"
    row = two[1]
    told = {"question_id": row["question_id"], "model_a": name, "model_b": other, "winner": winner}
    return told | {name: row[name] for name in ("turn", "judge") if row[name] is not None}
