"""Votes that stand in a file more than once, as where two exports overlap, told by an id of their own.

A vote has an id where the file has a column for it, or where the rows name who voted and when. Rows of one id, one
judge and one pair are one vote: equal ones count once, and those with different winners are in doubt. Equal votes
without an id are honest: people agree, and judges are asked again.

Judgments of other tools have no such column, but one judge decides a prompt and pair once. Where its rows differ it was
asked again; while they are few they are in doubt as well, where they are many each vote still counts once, and its rows
share that: a model that was judged twice weighs no more than one that was judged once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arenaloop.columns import words_of
from arenaloop.ratings.arrays import BoolArray, FloatArray
from arenaloop.ratings.cells import UNKNOWN_SHARE, LeftOut, Place, is_missing, spelling, to_number

__all__ = ["CountedOnce", "Vote", "VoteId", "cell_key", "counted_once", "vote_id"]

_OUTCOME = frozenset((
    "winner", "winner_model_a", "winner_model_b", "winner_tie", "score_a", "score_b", "label", "g1", "g2", "weight",
))  # fmt: skip
_SIDES = ("annotated", "preference")
_KINDS_OF_VOTES = frozenset((
    "battle", "vote", "comparison", "judgment", "judgement", "annotation", "label", "verdict", "preference", "ballot",
    "feedback", "submission",
))  # fmt: skip
_JUDGES = frozenset((
    "judge", "annotator", "rater", "reviewer", "voter", "user", "evaluator", "labeler", "labeller", "grader", "worker",
    "participant", "assessor",
))  # fmt: skip
_STAMPS = frozenset(("tstamp", "timestamp", "datetime", "time", "created", "updated", "submitted", "at"))
_ROUNDS = frozenset((
    "turn", "round", "sample", "run", "seed", "trial", "attempt", "repeat", "repetition", "criterion", "aspect",
    "dimension", "metric", "rubric", "order",
))  # fmt: skip
_SECONDS = 1e8
"""A time as a number counts the seconds since 1970, or what is shorter."""
_IDS = frozenset(["id", "uid", "uuid", "guid"])


@dataclass(frozen=True, slots=True)
class VoteId:
    """The columns that tell one vote of a file from another.

    Attributes:
        columns: whose cells together are a vote's id.
        beside: what else may tell two rows of one id apart: judges, turns, rounds.
        sure: the column can be nothing but a vote's id; otherwise it may be a prompt's.
        stamped: the id is a time, by whom.
    """

    columns: tuple[str, ...]
    beside: tuple[str, ...]
    sure: bool
    stamped: bool = False

    def of(self, row: Mapping[str, Any], prompt: object, a: object, b: object) -> Vote | None:
        """The vote of a row; None where it has no id."""
        cells = [row.get(name) for name in self.columns]
        if any(is_missing(cell) for cell in cells):
            return None
        if self.stamped and ":" not in str(cells[0]) and (to_number(cells[0]) or 0.0) < _SECONDS:  # a date is no time
            return None
        own = tuple(map(cell_key, cells))
        rest = tuple(cell_key(row.get(name)) for name in self.beside)
        about = (cell_key(prompt), frozenset(map(cell_key, (a, b))))
        return Vote((own, rest, cell_key(a), cell_key(b)), (own, *about) if self.stamped else own, about)


@dataclass(frozen=True, slots=True)
class Vote:
    """Attributes: key: of the vote. own: its id alone. about: its prompt and pair, which one id has once."""

    key: Hashable
    own: Hashable
    about: Hashable


def vote_id(columns: Collection[str], prompts: Collection[str]) -> VoteId | None:
    """What tells the votes of a file apart, None where nothing does.

    Args:
        columns: names in the file.
        prompts: those that name the prompt.
    """
    words = {name: words_of(name) for name in columns if name not in prompts}
    judges = [name for name, own in words.items() if own and own[0] in _JUDGES and set(own[1:]) <= _IDS | {"name"}]
    rounds = [name for name, own in words.items() if not _ROUNDS.isdisjoint(own)]
    named = [(name, own) for name, own in words.items() if own and own[-1] in _IDS and name not in judges]
    sure = [name for name, own in named if (own[-2:-1] and own[-2] in _KINDS_OF_VOTES) or own in (["uuid"], ["guid"])]
    plain = [name for name, own in named if own in (["id"], ["uid"])]
    session = [name for name, own in named if "session" in own]
    with_prompt = not set(prompts).isdisjoint(columns)
    for found, certain in ((sure, True), (plain, with_prompt), (session, False)):
        if found:
            return VoteId((found[0],), tuple(sorted({*judges, *rounds})), certain)
    stamps = [name for name, own in words.items() if own and set(own) <= _STAMPS]
    if stamps and judges:
        return VoteId((stamps[0], *judges), tuple(sorted(rounds)), sure=True, stamped=True)
    return None


def cell_key(cell: object) -> Hashable:
    """A cell as a part of a key: 1 and "1" are one."""
    return json.dumps(cell, sort_keys=True) if isinstance(cell, list | dict) else str(cell)


@dataclass(frozen=True, slots=True)
class CountedOnce:
    """How the rows of a file count, each vote once.

    Attributes:
        kept: which of N rows count, shape (N,); None where all do.
        share: how much each row that is kept counts of its vote, shape (rows kept,); None where each is a whole one.
        notes: what is to be said.
    """

    kept: BoolArray | None = None
    share: FloatArray | None = None
    notes: tuple[str, ...] = ()


def counted_once(
    votes: Sequence[Vote | None],
    cells: Mapping[str, Sequence[Any]],
    place: Place,
    *,
    identity: VoteId | None,
    column: str,
) -> CountedOnce:
    """Which rows count: each vote once, and none that two rows tell differently.

    Args:
        votes: of N rows, None where one has no id.
        cells: columns of the rows; those that tell an outcome are compared.
        place: where row i (from 0) stands.
        identity: what the votes were told apart by; None for judgments of other tools, by judge, prompt and models.
        column: what to call the id.

    Raises:
        ValueError: more than `UNKNOWN_SHARE` of the rows are in doubt, and do not share a vote.
    """
    count = Counter(vote.key for vote in votes if vote is not None)
    if len(count) == count.total():
        return CountedOnce()
    about: dict[Hashable, Hashable] = {}
    outcomes: dict[Hashable, set[Hashable]] = {}
    told = [name for name in cells if name in _OUTCOME]
    sides = [name for name in _SIDES if name in cells]
    for i, vote in enumerate(votes):
        if vote is None:
            continue
        if about.setdefault(vote.own, vote.about) != vote.about:
            return CountedOnce()  # an id of something else
        if count[vote.key] > 1:
            outcome = (*(_word(cells[name][i]) for name in told), *(_side(cells[name][i]) for name in sides))
            outcomes.setdefault(vote.key, set()).add(outcome)
    odd = {key for key, seen in outcomes.items() if len(seen) > 1}
    if odd and identity is not None and (not identity.sure or 2 * len(outcomes) > len(count)):
        if not identity.sure:
            return CountedOnce()
        differ = f"{len(odd):,} votes by {column} stand in rows with different winners, and every row counts"
        return CountedOnce(notes=(differ,))
    shared = identity is None and sum(count[key] for key in odd) > UNKNOWN_SHARE * len(votes)
    seen: set[Hashable] = set()
    kept = np.ones(len(votes), dtype=bool)
    share = np.ones(len(votes))
    doubt = LeftOut("one outcome")
    first = None
    for i, vote in enumerate(votes):
        if vote is None or vote.key not in outcomes:
            continue
        if vote.key in odd and shared:
            share[i] = 1.0 / count[vote.key]
            first = i if first is None else first
            continue
        kept[i] = vote.key not in odd and vote.key not in seen
        seen.add(vote.key)
        if vote.key in odd:
            doubt.add(f"rows of one vote (by {column}) that name different winners", place(i))
    notes = doubt.notes(len(votes))
    if shared and first is not None:
        notes.append(
            f"{len(odd):,} votes (by {column}) stand in {sum(count[key] for key in odd):,} rows that differ (first "
            f"{place(first)}): each counts once, shared by its rows; name one file where a judgment and its re-run "
            "stand beside each other"
        )
    repeated = sum(count[key] - 1 for key in outcomes if key not in odd)
    if repeated:
        noun = "row repeats a vote" if repeated == 1 else "rows repeat a vote"
        notes.append(f"{repeated:,} {noun} of this file (by {column}) and count once")
    return CountedOnce(kept, share[kept] if shared else None, tuple(notes))


def _word(cell: object) -> Hashable:
    return spelling(cell) if isinstance(cell, str) else cell_key(cell)


def _side(cell: object) -> Hashable:
    """Whom a preference of 1 to 2 prefers: two log-probabilities of one verdict are not equal."""
    return float(np.sign(cell - 1.5)) if isinstance(cell, int | float) else _word(cell)
