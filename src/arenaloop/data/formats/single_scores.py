"""Single scores of a file as `ratings.mean_scores` takes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from arenaloop.data.formats.judge_names import judge_of
from arenaloop.data.formats.vote_ids import cell_key
from arenaloop.jsonl import JsonRow
from arenaloop.ratings.mean_scores import Scored

__all__ = ["scored"]


def scored(rows: Iterable[tuple[int | str, JsonRow]]) -> Iterator[Scored]:
    """The scores of rows that `whole_judgments.once_scored` gave. A turn that is 1 and one that is "1" are one."""
    for _, row in rows:
        turn = row["turn"]
        if isinstance(turn, str) and turn.isdecimal():
            turn = int(turn)
        elif not isinstance(turn, int | str):
            turn = None
        yield Scored(judge_of(row), row["model"], cell_key(row["question_id"]), turn, row["score"])
