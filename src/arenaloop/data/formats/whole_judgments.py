"""Rows of judgments that become battles only by what a whole file, or a directory, tells.

* **FastChat's single scores** (`question_id`, `model`, `score`, `turn`): of all models that one judge scored on one
  prompt and turn, each two battle, and the higher score wins; -1 is a failed score, and no outcome. Beside judgments of
  pairs, as FastChat keeps both in one directory, they make no battles: they tell of the same answers once more.
* **Arena-Hard v0.1** keeps the baseline's name in its configuration, so that its rows have none.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence

from arenaloop.data.formats.vote_ids import cell_key
from arenaloop.errors import nearest
from arenaloop.jsonl import JsonRow
from arenaloop.ratings.cells import LeftOut, is_missing, to_number
from arenaloop.terminal import counted

__all__ = ["SINGLE_SCORES", "completed", "is_single_score", "once_scored"]

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
    scores: list[tuple[int | str, JsonRow]] | None = None,
) -> Iterator[tuple[int | str, JsonRow]]:
    """Rows of which each by itself tells a battle; other rows as they are.

    Args:
        rows: (line, row).
        notes: gets what is to be said of them, once all have been drawn.
        baseline: of Arena-Hard's rows without one; None for that of its version 0.1.
        answered: the models whose answers are kept beside the rows, the baseline's among them; empty where not known.
        scores: gets the rows that are single scores, each answer's once, as `once_scored` has them.

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
        notes.append(f"{counted(len(singles), 'score')} of single answers make no battles beside judgments of pairs")
        if scores is not None:
            try:
                scores += once_scored(singles, notes)
            except ValueError as error:  # which is no reason to refuse the pairs
                notes.append(f"and cannot be read: {error}")
    elif singles:
        noun = counted(len(singles), "score")
        notes.append(f"{noun} of single answers: on each prompt and turn the higher one of each two wins")
        once = once_scored(singles, notes)
        if scores is not None:
            scores += once
        yield from _paired(once)


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


def once_scored(singles: Sequence[tuple[int | str, JsonRow]], notes: list[str]) -> list[tuple[int | str, JsonRow]]:
    """Each answer's score once: rows whose `score` is a number, or None where it is empty or failed (below 0).

    An answer with two different scores of one judge has none that could be read, and is left out.

    Args:
        singles: (line, row).
        notes: gets what is to be said.

    Raises:
        ValueError: too many of them are no scores.
    """
    found: dict[Hashable, tuple[int | str, JsonRow]] = {}
    unknown, failed, repeated, twice = LeftOut("a score", "score"), 0, 0, set[Hashable]()
    for line, row in singles:
        score = to_number(row["score"])
        if score is None and not is_missing(row["score"]):
            unknown.add(repr(row["score"])[:60], f"line {line}")
        if score is None or score < 0:
            score, failed = None, failed + 1
        about = (_judged(row), str(row["model"] or ""))
        if about not in found:
            found[about] = line, {**row, "model": about[1], "score": score}
        elif found[about][1]["score"] == score:
            repeated += 1
        else:
            twice.add(about)
            unknown.add("two different scores of one answer", f"line {line}")
    if failed:
        notes.append(f"column score: {failed:,} of {counted(len(singles), 'score')} empty or failed (below 0)")
    if repeated:
        notes.append(f"{counted(repeated, 'score')} {'is' if repeated == 1 else 'are'} there twice, and counted once")
    notes += unknown.notes(len(singles))
    return [told for about, told in found.items() if about not in twice]


def _judged(row: JsonRow) -> Hashable:
    """By whom, and what: all models that one judge scored on one prompt and turn are compared."""
    return cell_key(row["judge"]), cell_key(row["question_id"]), cell_key(row["turn"])


def _paired(singles: Iterable[tuple[int | str, JsonRow]]) -> Iterator[tuple[int | str, JsonRow]]:
    """Battles between the scores of one judge on one prompt and turn."""
    boards: dict[Hashable, list[JsonRow]] = {}
    places: dict[Hashable, list[int | str]] = {}
    for line, row in singles:
        boards.setdefault(_judged(row), []).append(row)
        places.setdefault(_judged(row), []).append(line)
    for judged, board in boards.items():
        for at, two in enumerate(board):
            for one in board[:at]:
                yield places[judged][at], _battle(one, two)


def _battle(one: JsonRow, two: JsonRow) -> JsonRow:
    winner = None
    if one["score"] is not None and two["score"] is not None:
        winner = "tie" if one["score"] == two["score"] else "model_a" if one["score"] > two["score"] else "model_b"
    told = {"question_id": two["question_id"], "model_a": one["model"], "model_b": two["model"], "winner": winner}
    return told | {name: two[name] for name in ("turn", "judge") if two[name] is not None}
