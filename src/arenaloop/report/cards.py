"""The battles of the browser: prompt, both answers turn by turn, and what the judge said from each seat."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from arenaloop.report.reading import Source
from arenaloop.report.scope import Scope
from arenaloop.report.shown_battles import Pick, Reservoir
from arenaloop.report.texts import Clip, clip, one_line
from arenaloop.store import Store
from arenaloop.store.counts import failed_answers, final_calls, open_seatings
from arenaloop.types import Battle, Outcome, Prompt, Verdict, Winner, content_hash, derive_seed

__all__ = [
    "Card",
    "Undecided",
    "battle_card",
    "final_seatings",
    "shortened",
    "undecided",
    "undecided_card",
    "unread_by_model",
]

_TEXT = 16_000
"""characters of one text, before the page's own limit"""
_CARD = 64_000
"""characters of all texts of a card"""
_TURNS = 16
"""turns of a conversation that are shown; more are counted"""


class Turn(NamedTuple):
    """One user turn and what each model answered; an answer that does not exist is None."""

    user: Clip
    answer_a: Clip | None
    answer_b: Clip | None


class Call(NamedTuple):
    """One judge call: who won by it (a name, ``"tie"``, or None), the judge's words, and what went wrong."""

    verdict: Verdict
    winner: str | None
    text: Clip
    error: str | None


class Seat(NamedTuple):
    """One seating: who sat where, and what was said of it.

    Attributes:
        first, second: names by seat; `swapped`: whether model_b sat first.
        calls: the final call of the judge, or of each member of a jury; none if no verdict is stored.
        votes: how the members voted, in words; empty for a lone judge.
    """

    first: str
    second: str
    swapped: bool
    calls: Sequence[Call]
    votes: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """One battle as the browser shows it.

    Attributes:
        kind: why it is here: ``undecided``, ``suspicious``, ``flipped``, ``gap`` or ``random``.
        winner: None where it is undecided.
        history: fixed turns before the first answer, as (role, text). `turns`: user turns with both answers.
        turns_left_out: turns of history and conversation that are not shown.
        seats: both seatings; one alone where each seat is a battle of its own.
        problem: why there is no outcome, in words.
        said: words about the battle where no verdicts are stored: who, and what.
    """

    kind: str
    prompt_id: str
    model_a: str
    model_b: str
    snippet: str
    winner: Winner | None = None
    score_a: float | None = None
    score_b: float | None = None
    flipped: bool = False
    history: Sequence[tuple[str, Clip]] = ()
    turns: Sequence[Turn] = ()
    turns_left_out: int = 0
    seats: Sequence[Seat] = ()
    lone: bool = False
    same_text: bool = False
    problem: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    said: Sequence[tuple[str, Clip]] = ()

    @property
    def judges(self) -> list[str]:
        """Whose verdicts are shown."""
        return list(dict.fromkeys(call.verdict.judge for seat in self.seats for call in seat.calls))

    @property
    def keys(self) -> list[str]:
        """Keys of the verdicts that are shown."""
        return list(dict.fromkeys(call.verdict.key for seat in self.seats for call in seat.calls))


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


def battle_card(pick: Pick, store: Source, verdicts: Mapping[str, Verdict], lost: str | None = None) -> Card:
    """A decided battle with the texts and verdicts behind it; of one lost by own failure, `lost` says how."""
    battle = pick.battle
    lone, hash_a, hash_b, a_first, b_first = _by_seat(battle, store, verdicts)
    return _card(
        store,
        battle.prompt_id,
        (battle.model_a, battle.model_b),
        (hash_a, hash_b),
        (a_first, b_first),
        lone=lone,
        kind=pick.kind,
        winner=battle.winner,
        score_a=None if lost else battle.score_a,
        score_b=None if lost else battle.score_b,
        flipped=battle.flipped,
        problem=lost,
    )


def _by_seat(
    battle: Battle, store: Source, verdicts: Mapping[str, Verdict]
) -> tuple[bool, str, str, list[Verdict], list[Verdict]]:
    """Whether the battle stands on one seat alone, the texts of both models, and the verdicts of each seating.

    Verdicts that seat model_a first are named first. Where only one seat has any (``two_battles``, or a battle that
    one seat decided), who wrote the text in the first seat tells which seat it is.
    """
    half = len(battle.verdicts) / 2
    found = [(place < half, verdicts[key]) for place, key in enumerate(battle.verdicts) if key in verdicts]
    if not found:
        return len(battle.verdicts) == 1, "", "", [], []
    told = {(v.first_hash, v.second_hash) for _, v in found}
    whole = len(found) == len(battle.verdicts)
    lone = len(battle.verdicts) == 1 or (whole and len(told) == 1 and found[0][1].first_hash != found[0][1].second_hash)
    a_sits_first, one = found[0]
    if lone:
        a_sits_first = _a_sits_first(battle, store, one)
    hash_a, hash_b = (one.first_hash, one.second_hash) if a_sits_first else (one.second_hash, one.first_hash)
    seats: tuple[list[Verdict], list[Verdict]] = ([], [])
    for early, verdict in found:
        first = early if hash_a == hash_b and not lone else verdict.first_hash == hash_a
        seats[0 if first else 1].append(verdict)
    return lone, hash_a, hash_b, *seats


def _a_sits_first(battle: Battle, store: Source, verdict: Verdict) -> bool:
    wrote = store.authors(verdict.prompt_id, verdict.first_hash)
    if (battle.model_a in wrote) != (battle.model_b in wrote):
        return battle.model_a in wrote
    if verdict.outcome is None or battle.winner is Winner.TIE:
        return True
    return (verdict.outcome is Outcome.A) == (battle.winner is Winner.MODEL_A)


def _card(
    store: Source,
    prompt_id: str,
    models: tuple[str, str],
    hashes: tuple[str, str],
    verdicts: tuple[Sequence[Verdict], Sequence[Verdict]],
    *,
    lone: bool = False,
    **more: Any,
) -> Card:
    prompt = store.prompt(prompt_id)
    history, turns, left_out = _conversation(prompt, [_texts(store, h) for h in hashes])
    seats = [_seat(some, models, swapped) for some, swapped in zip(verdicts, (False, True), strict=True)]
    return Card(
        prompt_id=one_line(prompt_id, 40),
        model_a=models[0],
        model_b=models[1],
        snippet=one_line(prompt.last_user, 160) if prompt else "(this prompt is not in the arena file)",
        history=history,
        turns=turns,
        turns_left_out=left_out,
        seats=[seat for seat in seats if seat.calls or not lone] or seats[:1],
        lone=lone,
        same_text=bool(hashes[0]) and hashes[0] == hashes[1],
        tags={one_line(k, 40): one_line(v, 80) for k, v in list(prompt.tags.items())[:8]} if prompt else {},
        **more,
    )


def _texts(store: Source, text_hash: str) -> tuple[str, ...] | None:
    if not text_hash:
        return None
    found = store.texts(text_hash)
    if found is not None and content_hash(list(found)) == text_hash:
        return found
    # a failed attempt leaves an empty text, under whose hash a later attempt's text is found
    return ("",) if text_hash == content_hash([""]) else None


def _conversation(
    prompt: Prompt | None, answers: Sequence[Sequence[str] | None]
) -> tuple[list[tuple[str, Clip]], list[Turn], int]:
    """History and turns, at most `_TURNS` of each (the last of the history, the first of the turns); how many more."""
    before = prompt.messages[:-1] if prompt else ()
    users = (prompt.last_user, *prompt.follow_ups) if prompt else ("",) * max(len(texts or ()) for texts in answers)
    given, asked = before[-_TURNS:], users[:_TURNS]
    limit = min(_TEXT, max(500, _CARD // max(1, len(given) + 3 * len(asked))))
    history = [(one_line(m.get("role", ""), 20), clip(m.get("content", ""), limit)) for m in given]
    turns = [
        Turn(clip(user, limit), *(clip(texts[at], limit) if texts and at < len(texts) else None for texts in answers))
        for at, user in enumerate(asked)
    ]
    return history, turns, len(before) - len(given) + len(users) - len(asked)


_MEMBERS = 9
"""judges of a jury that are shown; more only vote"""


def _seat(verdicts: Sequence[Verdict], models: tuple[str, str], swapped: bool) -> Seat:
    first, second = models[::-1] if swapped else models
    limit = _TEXT // max(1, min(len(verdicts), _MEMBERS))
    calls = [_call(verdict, first, second, limit) for verdict in verdicts]
    votes = ""
    if len(calls) > 1:
        counts = Counter(call.winner for call in calls if call.winner is not None)
        words = [f"{n} for {one_line(who)}" if who != "tie" else f"{n} tie" for who, n in counts.most_common()]
        silent = sum(call.winner is None for call in calls)
        votes = ", ".join([*words, *([f"{silent} without a verdict"] if silent else [])])
    return Seat(first, second, swapped, calls[:_MEMBERS], votes)


def _call(verdict: Verdict, first: str, second: str, limit: int) -> Call:
    winner = None if verdict.outcome is None else {"A": first, "B": second, "TIE": "tie"}[verdict.outcome.value]
    error = None if verdict.error is None else one_line(verdict.error, 400)
    return Call(verdict, winner, clip(verdict.raw, limit), error)


def shortened(card: Card, limit: int) -> Iterator[Clip]:
    """All texts of a card, cut to `limit`: what its size on the page depends on."""
    texts = [text for _, text in card.history]
    texts += [text for turn in card.turns for text in turn if text is not None]
    texts += [call.text for seat in card.seats for call in seat.calls]
    return (text.to(limit) for text in texts)


# ---------------------------------------------------------------------- undecided battles


_CANDIDATES = 300
"""undecided seatings and failed answers that are looked into"""


def undecided(store: Store, models: Sequence[str], scope: Scope) -> list[Undecided]:
    """Battles that may be undecided: a seating that was asked without an outcome, or an answer that failed.

    Some may be decided or no longer wanted (a jury may do without a member's verdict); the caller knows. A model whose
    answer failed is paired with the first other one of `models`.
    """
    sample = Reservoir(_CANDIDATES, random.Random(derive_seed("undecided")))
    for seating in open_seatings(store, scope.hashes):
        sample.add(("seating", *seating))
    for answer in failed_answers(store):
        sample.add(("answer", *answer))
    out: dict[tuple[str, str, str], Undecided] = {}
    for what, prompt_id, *rest in sample.items:
        if what == "answer":
            name, status, error = rest
            why = f"{one_line(name)} has no answer to this prompt ({status}"
            why += f": {one_line(error, 300)})" if error else ")"
            for other in [m for m in models if m != name][:1]:
                item = Undecided(prompt_id, name, other, problem=why)
                out.setdefault(item.key, item)
            continue
        first, second = rest
        for a in store.authors(prompt_id, first):
            for b in store.authors(prompt_id, second):
                item = Undecided(prompt_id, a, b, first, second)
                if a != b and item.key not in out:
                    out[item.key] = item
    return sorted(out.values(), key=lambda item: item.key)


def unread_by_model(store: Store, models: Sequence[str], scope: Scope) -> tuple[int, list[tuple[str, int]]]:
    """Seatings that a judge left without a verdict (2,000 at most), and how many of them show each model's answer.

    An answer can escape a loss by making the verdict unreadable; then one model stands in most of them.
    """
    total, shown = 0, Counter[str]()
    for prompt_id, first, second in open_seatings(store, scope.hashes, limit=2000):
        total += 1
        wrote = {name for text in (first, second) for name in store.authors(prompt_id, text)}
        shown.update(wrote.intersection(models))
    return total, sorted(shown.items(), key=lambda item: (-item[1], item[0]))[:5]


def undecided_card(item: Undecided, store: Store, seats: Mapping[tuple[str, str, str], Sequence[str]]) -> Card:
    """An undecided battle with whatever was said about it; `seats` is what `final_seatings` found."""
    said = [
        [v for key in seats.get((item.prompt_id, first, second), ()) if (v := store.verdict(key)) is not None]
        for first, second in ((item.hash_a, item.hash_b), (item.hash_b, item.hash_a))
    ]
    problem = item.problem
    if problem is None:
        failed = sorted({v.status.value for seat in said for v in seat if v.outcome is None})
        problem = f"the judge gave no readable verdict ({', '.join(failed) or 'not asked'})"
    return _card(
        store,
        item.prompt_id,
        (item.model_a, item.model_b),
        (item.hash_a, item.hash_b),
        (said[0], said[1]),
        kind="undecided",
        problem=problem,
    )


def final_seatings(
    store: Store, items: Sequence[Undecided], scope: Scope
) -> dict[tuple[str, str, str], tuple[str, ...]]:
    """Keys of the final verdicts on the prompts of some battles, one a judge: with an outcome, or else the last.

    They are by (prompt id, text in the first seat, text in the second).
    """
    final: dict[tuple[str, str, str], dict[tuple[str, str], str]] = {}
    for call in final_calls(store, scope.hashes, sorted({item.prompt_id for item in items})):
        seating = call.prompt_id, call.first_hash, call.second_hash
        final.setdefault(seating, {})[call.judge_hash, call.judge] = call.key
    return {
        seating: tuple(key for _, key in sorted(by_judge.items(), key=lambda item: item[0][1]))
        for seating, by_judge in final.items()
    }
