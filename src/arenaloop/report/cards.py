"""The battles of the browser: prompt, both answers turn by turn, and what the judge said from each seat."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from arenaloop.report.picks import Pick, Reservoir
from arenaloop.report.texts import EMPTY, Clip, clip, one_line
from arenaloop.store import Store
from arenaloop.types import Prompt, Verdict, content_hash, derive_seed

__all__ = [
    "Card",
    "Seat",
    "Turn",
    "Undecided",
    "battle_card",
    "final_seatings",
    "shortened",
    "undecided",
    "undecided_card",
]

_TEXT = 16_000
"""characters of one text, before the page's own limit"""
_CARD = 64_000
"""characters of all texts of a card"""
_TURNS = 16
"""turns of a conversation that are shown; more are counted"""
_NAME = 80


class Turn(NamedTuple):
    """One user turn and what each model answered; an answer that does not exist is None."""

    user: Clip
    answer_a: Clip | None
    answer_b: Clip | None


@dataclass(frozen=True, slots=True)
class Seat:
    """One judge call: who sat where, and how it ended.

    Attributes:
        first, second: names by seat; `swapped`: whether model_b sat first.
        verdict: the call, or None if it was never made.
        text: the judge's words. `winner`: the name, ``"tie"``, or None.
    """

    first: str
    second: str
    swapped: bool
    verdict: Verdict | None
    text: Clip
    winner: str | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """One battle as the browser shows it.

    Attributes:
        kind: why it is here: ``undecided``, ``flipped``, ``gap`` or ``random``.
        winner: ``"model_a"``, ``"model_b"``, ``"tie"``, or None where it is undecided.
        history: fixed turns before the first answer, as (role, text). `turns`: user turns with both answers.
        turns_left_out: turns of history and conversation that are not shown.
        problem: why there is no outcome, in words.
    """

    kind: str
    prompt_id: str
    model_a: str
    model_b: str
    snippet: str
    winner: str | None = None
    score_a: float | None = None
    score_b: float | None = None
    flipped: bool = False
    history: Sequence[tuple[str, Clip]] = ()
    turns: Sequence[Turn] = ()
    turns_left_out: int = 0
    seats: Sequence[Seat] = ()
    same_text: bool = False
    problem: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Undecided:
    """A wanted battle without an outcome: two texts that were not judged from both seats, or an answer that failed."""

    prompt_id: str
    model_a: str
    model_b: str
    hash_a: str = ""
    hash_b: str = ""
    problem: str | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """Prompt and both models, in sorted order."""
        one, other = sorted((self.model_a, self.model_b))
        return self.prompt_id, one, other


# ---------------------------------------------------------------------- decided battles


def battle_card(pick: Pick, store: Store, verdicts: Mapping[str, Verdict]) -> Card:
    """A decided battle with the texts and verdicts behind it."""
    battle = pick.battle
    found = [verdicts.get(key) for key in (*battle.verdicts, "", "")[:2]]
    a_first, b_first = found
    hash_a = a_first.first_hash if a_first else b_first.second_hash if b_first else ""
    hash_b = a_first.second_hash if a_first else b_first.first_hash if b_first else ""
    return _card(
        store,
        battle.prompt_id,
        (battle.model_a, battle.model_b),
        (hash_a, hash_b),
        (a_first, b_first),
        kind=pick.kind,
        winner=battle.winner,
        score_a=battle.score_a,
        score_b=battle.score_b,
        flipped=battle.flipped,
    )


def _card(
    store: Store,
    prompt_id: str,
    models: tuple[str, str],
    hashes: tuple[str, str],
    verdicts: tuple[Verdict | None, Verdict | None],
    **more: Any,
) -> Card:
    prompt = store.prompt(prompt_id)
    texts = [_texts(store, h) for h in hashes]
    history, turns, left_out = _conversation(prompt, texts[0], texts[1])
    limit = _limit(history, turns)
    return Card(
        prompt_id=one_line(prompt_id, 40),
        model_a=models[0],
        model_b=models[1],
        snippet=one_line(prompt.last_user, 160) if prompt else "(this prompt is not in the arena file)",
        history=[(role, text.to(limit)) for role, text in history],
        turns=[Turn(t.user.to(limit), _to(t.answer_a, limit), _to(t.answer_b, limit)) for t in turns],
        turns_left_out=left_out,
        seats=[_seat(v, models, swapped) for v, swapped in zip(verdicts, (False, True), strict=True)],
        same_text=bool(hashes[0]) and hashes[0] == hashes[1],
        tags={one_line(k, 40): one_line(v, 80) for k, v in list(prompt.tags.items())[:8]} if prompt else {},
        **more,
    )


def _texts(store: Store, text_hash: str) -> tuple[str, ...] | None:
    if not text_hash:
        return None
    found = store.texts(text_hash)
    if found is not None and content_hash(list(found)) == text_hash:
        return found
    # a failed attempt leaves an empty text, under whose hash a later attempt's text is found
    return ("",) if text_hash == content_hash([""]) else None


def _conversation(
    prompt: Prompt | None, one: Sequence[str] | None, other: Sequence[str] | None
) -> tuple[list[tuple[str, Clip]], list[Turn], int]:
    """History and turns, at most `_TURNS` of each: the last of the history, the first of the turns."""
    users = (prompt.last_user, *prompt.follow_ups) if prompt else ("",) * max(len(one or ()), len(other or ()))
    before = prompt.messages[:-1] if prompt else ()
    history = [(one_line(m.get("role", ""), 20), clip(m.get("content", ""), _TEXT)) for m in before[-_TURNS:]]
    turns = [
        Turn(clip(user, _TEXT), _answer(one, turn), _answer(other, turn)) for turn, user in enumerate(users[:_TURNS])
    ]
    return history, turns, len(before) - len(history) + len(users) - len(turns)


def _answer(texts: Sequence[str] | None, turn: int) -> Clip | None:
    return clip(texts[turn], _TEXT) if texts is not None and turn < len(texts) else None


def _limit(history: Sequence[tuple[str, Clip]], turns: Sequence[Turn]) -> int:
    return max(500, _CARD // max(1, len(history) + 3 * len(turns)))


def _to(text: Clip | None, limit: int) -> Clip | None:
    return None if text is None else text.to(limit)


def _seat(verdict: Verdict | None, models: tuple[str, str], swapped: bool) -> Seat:
    first, second = models[::-1] if swapped else models
    if verdict is None:
        return Seat(first, second, swapped, None, EMPTY, None)
    winner = None if verdict.outcome is None else {"A": first, "B": second, "TIE": "tie"}[verdict.outcome.value]
    error = None if verdict.error is None else one_line(verdict.error, 400)
    return Seat(first, second, swapped, verdict, clip(verdict.raw, _TEXT), winner, error)


def shortened(card: Card, limit: int) -> Iterator[Clip]:
    """All texts of a card, cut to `limit`: what its size on the page depends on."""
    texts = [text for _, text in card.history]
    texts += [text for turn in card.turns for text in turn if text is not None]
    texts += [seat.text for seat in card.seats]
    return (text.to(limit) for text in texts)


# ---------------------------------------------------------------------- undecided battles


_CANDIDATES = 300
"""undecided seatings and failed answers that are looked into"""
_OPEN_SEATINGS = """SELECT prompt_id, first_hash, second_hash FROM verdicts
    GROUP BY prompt_id, first_hash, second_hash, judge HAVING SUM(status = 'ok') = 0"""
_NO_ANSWERS = """SELECT prompt_id, model, status, error FROM responses AS r
    WHERE status IN ('error', 'refused')
    AND attempt = (SELECT MAX(attempt) FROM responses AS s WHERE s.key = r.key AND s.turn = r.turn)"""


def undecided(store: Store, models: Sequence[str]) -> list[Undecided]:
    """Battles that may be undecided: a seating that was asked without an outcome, or an answer that failed.

    The arena file keeps what earlier settings asked too, so some may be decided or no longer wanted; the caller knows.

    Args:
        store: the arena file.
        models: names to pair a failed answer with; each is paired with the first other one.
    """
    sample = Reservoir(_CANDIDATES, random.Random(derive_seed("undecided")))
    for row in store.select(_OPEN_SEATINGS):
        sample.add(("seating", *row))
    for row in store.select(_NO_ANSWERS):
        sample.add(("answer", *row))
    out: dict[tuple[str, str, str], Undecided] = {}
    for what, prompt_id, *rest in sample.items:
        if what == "answer":
            name, status, error = rest
            why = f"{one_line(name, _NAME)} has no answer to this prompt ({status}"
            why += f": {one_line(error, 300)})" if error else ")"
            for other in [m for m in models if m != name][:1]:
                item = Undecided(prompt_id, name, other, problem=why)
                out.setdefault(item.key, item)
            continue
        first, second = rest
        for a in _authors(store, prompt_id, first):
            for b in _authors(store, prompt_id, second):
                item = Undecided(prompt_id, a, b, first, second)
                if a != b and item.key not in out:
                    out[item.key] = item
    return sorted(out.values(), key=lambda item: item.key)


def _authors(store: Store, prompt_id: str, text_hash: str) -> list[str]:
    query = "SELECT DISTINCT model FROM responses WHERE text_hash = ? AND prompt_id = ?"
    return sorted(str(row[0]) for row in store.select(query, (text_hash, prompt_id)))


def undecided_card(item: Undecided, store: Store, seats: Mapping[tuple[str, str, str], str]) -> Card:
    """An undecided battle with whatever was said about it.

    Args:
        item: the battle.
        store: the arena file.
        seats: keys of the final verdicts, by (prompt id, text in the first seat, text in the second).
    """
    keys = [
        seats.get((item.prompt_id, first, second))
        for first, second in ((item.hash_a, item.hash_b), (item.hash_b, item.hash_a))
    ]
    verdicts = [store.verdict(key) if key else None for key in keys]
    problem = item.problem
    if problem is None:
        failed = sorted({v.status.value for v in verdicts if v is not None and v.outcome is None})
        problem = f"the judge gave no readable verdict ({', '.join(failed) or 'not asked'})"
    return _card(
        store,
        item.prompt_id,
        (item.model_a, item.model_b),
        (item.hash_a, item.hash_b),
        (verdicts[0], verdicts[1]),
        kind="undecided",
        problem=problem,
    )


def final_seatings(store: Store, items: Sequence[Undecided]) -> dict[tuple[str, str, str], str]:
    """Keys of the final verdicts on the prompts of some battles: the one with an outcome, or else the last one."""
    ids = sorted({item.prompt_id for item in items})
    marks = ",".join("?" * len(ids))
    query = f"""SELECT prompt_id, first_hash, second_hash, key FROM verdicts WHERE prompt_id IN ({marks})
        ORDER BY status = 'ok', id"""  # noqa: S608 - only question marks are put in
    return {(row[0], row[1], row[2]): row[3] for row in store.select(query, ids)}
