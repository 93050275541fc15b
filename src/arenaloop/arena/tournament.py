"""A whole battle run into a directory: play what is missing, then write everything that can be derived.

Files (replaced atomically): ``battles.jsonl``, ``leaderboard.json``, ``summary.json``; the paid-for rows stay in
``arena.db``.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from arenaloop.arena.adaptive import play_adaptively
from arenaloop.arena.battles import play
from arenaloop.arena.leaderboard import Leaderboard, leaderboard
from arenaloop.arena.pairings import Summary, pairings
from arenaloop.arena.plan import BattlePlan
from arenaloop.calls.budget import Budget
from arenaloop.calls.progress import Tally
from arenaloop.jsonl import encode_json, write_json, write_jsonl
from arenaloop.ratings.battles import Battles
from arenaloop.store import Store
from arenaloop.types import Battle

__all__ = ["Tournament", "battle_line", "run_tournament", "write_results", "write_summary"]


@dataclass(frozen=True)
class Tournament:
    """What a battle run came to."""

    leaderboard: Leaderboard
    summary: Summary
    tally: Tally

    @property
    def undecided(self) -> int:
        """Wanted battles without an outcome."""
        return self.summary.wanted - self.summary.decided


class _Columns:
    """Outcomes as codes, a few bytes a battle; models without a decided battle keep their place."""

    def __init__(self, models: Sequence[str]) -> None:
        self.models = list(models)
        self._code = {name: code for code, name in enumerate(models)}
        self._prompts: dict[str, int] = {}
        self.a, self.b, self.prompt = array("i"), array("i"), array("i")
        self.score_a = array("d")

    def add(self, battle: Battle) -> None:
        self.a.append(self._code[battle.model_a])
        self.b.append(self._code[battle.model_b])
        self.score_a.append(battle.winner.score)
        self.prompt.append(self._prompts.setdefault(battle.prompt_id, len(self._prompts)))

    def met(self, model: str) -> bool:
        """Whether a model has a decided battle."""
        code = self._code.get(model)
        return code in self.a or code in self.b

    def coded(self) -> Battles:
        return Battles.of(self.models, self.a, self.b, self.score_a, cluster=self.prompt)


def battle_line(battle: Battle) -> bytes:
    """One line of ``battles.jsonl``, put together from its parts: a quarter of the encoder's time, for each of many."""
    return b'{"prompt_id": %b, "model_a": %b, "model_b": %b, "winner": %b, "score_a": %b, "score_b": %b, %b, %b' % (
        _json(battle.prompt_id),
        _json(battle.model_a),
        _json(battle.model_b),
        _json(battle.winner),
        _json(battle.score_a),
        _json(battle.score_b),
        b'"flipped": true' if battle.flipped else b'"flipped": false',
        b'"judge": %b, "verdicts": [%b]}' % (_json(battle.judge), ", ".join(map(_key, battle.verdicts)).encode()),
    )


# the same few names and scores again and again
_json = lru_cache(maxsize=4096, typed=True)(encode_json)


def _key(key: str) -> str:
    return f'"{key}"' if key.isascii() and key.isalnum() else encode_json(key).decode()


def run_tournament(
    plan: BattlePlan,
    store: Store,
    out: Path,
    *,
    anchor: tuple[str, float] | None = None,
    on_progress: Callable[[Tally], None] | None = None,
    budget: Budget | None = None,
) -> Tournament:
    """Play a plan and write its battles and leaderboard into `out`.

    Raises:
        ConfigError: the budget is in dollars, and a price is not known.
        StoppedError: the budget is spent, a server is down or the disk is full; nothing but the arena file was written.
    """
    if plan.schedule.wanted is None:
        return write_results(plan, store, out, play(plan, store, on_progress, budget=budget), anchor=anchor)
    played = play_adaptively(plan, store, on_progress, budget=budget)
    return write_results(played.plan, store, out, played.tally, anchor=anchor, notes=(played.note,))


def write_results(
    plan: BattlePlan,
    store: Store,
    out: Path,
    tally: Tally,
    *,
    anchor: tuple[str, float] | None = None,
    notes: Sequence[str] = (),
) -> Tournament:
    """Write ``battles.jsonl`` and ``leaderboard.json`` of a plan as it stands in the arena file; nothing is asked.

    `notes` are added to those of the leaderboard.
    """
    summary, columns = Summary(), _Columns([c.name for c in plan.contestants])

    def rows() -> Iterator[bytes]:
        for pairing in pairings(plan, store):
            summary.add(pairing)
            for battle in pairing.battles:
                columns.add(battle)
                yield battle_line(battle)

    write_jsonl(out / "battles.jsonl", rows())
    board = _rated(columns, anchor)
    board = replace(board, notes=(*board.notes, *notes))
    write_json(out / "leaderboard.json", board.to_dict())
    return Tournament(board, summary, tally)


def _rated(columns: _Columns, anchor: tuple[str, float] | None) -> Leaderboard:
    """The leaderboard; an anchor whose battles all failed holds nothing, which is no reason to lose the rest."""
    if anchor is None or columns.met(anchor[0]):
        return leaderboard(columns.coded(), anchor=anchor)
    board = leaderboard(columns.coded())
    return replace(board, notes=(*board.notes, f"anchor {anchor[0]}: no battle decided, so ratings have mean 1000"))


def write_summary(out: Path, store: Store, summary: Summary, cached: int, **more: Any) -> dict[str, Any]:
    """Write ``summary.json`` (``docs/run_directory.md``) and return it."""
    usage = store.usage()
    document = summary.to_json() | {
        "calls": usage.calls,
        "cached": cached,
        "tokens_in": usage.tokens_in,
        "tokens_out": usage.tokens_out,
        "usd": usage.usd,
        "seconds": usage.seconds,
        **more,
    }
    write_json(out / "summary.json", document)
    return document
