"""A whole battle run into a directory: play what is missing, then write everything that can be derived.

Files (replaced atomically): ``battles.jsonl``, ``leaderboard.json``, ``summary.json``; the paid-for rows stay in
``arena.db``.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from arenaloop.arena.adaptive import play_adaptively
from arenaloop.arena.attribution import Cause
from arenaloop.arena.battles import play
from arenaloop.arena.board import Leaderboard
from arenaloop.arena.leaderboard import leaderboard
from arenaloop.arena.pairings import Pairing, Summary, pairings
from arenaloop.arena.plan import BattlePlan
from arenaloop.arena.reliability_board import reliability_board
from arenaloop.calls.budget import Budget
from arenaloop.calls.notices import told_notices
from arenaloop.calls.progress import Tally
from arenaloop.data.judged_votes import games_of_run, votes_of_run
from arenaloop.data.weighted_rates import weighted_win_rates
from arenaloop.jsonl import encode_json, write_json, write_jsonl
from arenaloop.ratings.battles import Battles
from arenaloop.store import Store
from arenaloop.types import Battle

__all__ = [
    "Tournament",
    "battle_line",
    "loss_rows",
    "run_tournament",
    "undecided_row",
    "write_results",
    "write_summary",
]


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
        self.undecided: Counter[tuple[str, str]] = Counter()
        self.own_failures: Counter[str] = Counter()
        self._code = {name: code for code, name in enumerate(models)}
        self._prompts: dict[str, int] = {}
        self.a, self.b, self.prompt = array("i"), array("i"), array("i")
        self.score_a = array("d")

    def add(self, pairing: Pairing) -> None:
        """Everything that a pairing came to."""
        for winner in pairing.winners:
            self.a.append(self._code[pairing.model_a])
            self.b.append(self._code[pairing.model_b])
            self.score_a.append(winner.score)
            self.prompt.append(self._prompts.setdefault(pairing.prompt_id, len(self._prompts)))
        if pairing.battles:
            return
        if pairing.loser is None:
            self.undecided[pairing.model_a, pairing.model_b] += 1
        else:
            self.own_failures[pairing.loser] += len(pairing.lost)

    def met(self, model: str) -> bool:
        """Whether a model has a battle that counts."""
        code = self._code.get(model)
        return code in self.a or code in self.b

    @property
    def decided(self) -> bool:
        """Whether any battle was decided by a verdict."""
        return len(self.a) > sum(self.own_failures.values())

    def coded(self) -> Battles:
        decided = Battles.of(self.models, self.a, self.b, self.score_a, cluster=self.prompt)
        return decided.with_failures(self.undecided.elements(), self.own_failures)


def battle_line(battle: Battle, question: str | int | None = None) -> bytes:
    """One line of ``battles.jsonl``, put together from its parts: a quarter of the encoder's time, for each of many.

    Args:
        question: the prompt's own id (`Prompt.question_id`).
    """
    return b'{"prompt_id": %b, %b"model_a": %b, "model_b": %b, "winner": %b, "score_a": %b, "score_b": %b, %b, %b' % (
        _json(battle.prompt_id),
        b"" if question is None else b'"question_id": %b, ' % _json(question),
        _json(battle.model_a),
        _json(battle.model_b),
        _json(battle.winner),
        _json(battle.score_a),
        _json(battle.score_b),
        b'"flipped": true' if battle.flipped else b'"flipped": false',
        b'"judge": %b, "verdicts": [%b]}' % (_json(battle.judge), ", ".join(map(_key, battle.verdicts)).encode()),
    )


def loss_rows(pairing: Pairing, judge: str) -> Iterator[dict[str, Any]]:
    """Rows of ``battles.jsonl`` for a battle that one contestant lost by its own failure: no scores, and why."""
    assert pairing.attribution is not None
    for winner in pairing.lost:
        yield {
            **_asked(pairing),
            "model_a": pairing.model_a,
            "model_b": pairing.model_b,
            "winner": winner.value,
            "score_a": None,
            "score_b": None,
            "flipped": False,
            "judge": judge,
            "verdicts": list(pairing.open),
            "own_failure": pairing.loser,
            "reason": pairing.attribution.reason,
        }


def undecided_row(pairing: Pairing) -> dict[str, Any]:
    """A row of ``undecided.jsonl``: a battle without an outcome, whose doing it is, and why."""
    assert pairing.attribution is not None
    cause = pairing.attribution.cause
    return {
        **_asked(pairing),
        "model_a": pairing.model_a,
        "model_b": pairing.model_b,
        "cause": cause.value,
        "own_failure": {Cause.MODEL_A: pairing.model_a, Cause.MODEL_B: pairing.model_b}.get(cause),
        "reason": pairing.attribution.reason,
        "verdicts": list(pairing.open),
    }


def _asked(pairing: Pairing) -> dict[str, str | int]:
    """The prompt of a battle, by our id and by its own, where it has one."""
    own = {} if pairing.question_id is None else {"question_id": pairing.question_id}
    return {"prompt_id": pairing.prompt_id, **own}


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
    rating: Mapping[str, Any] | None = None,
    on_progress: Callable[[Tally], None] | None = None,
    budget: Budget | None = None,
) -> Tournament:
    """Play a plan and write its battles and leaderboard into `out`; arguments as of `write_results`.

    Raises:
        ConfigError: the budget is in dollars, and a price is not known.
        StoppedError: the budget is spent, a server is down or the disk is full; nothing but the arena file was written.
    """
    if plan.schedule.wanted is None:
        return write_results(
            plan, store, out, play(plan, store, on_progress, budget=budget), anchor=anchor, rating=rating
        )
    played = play_adaptively(plan, store, on_progress, budget=budget)
    return write_results(played.plan, store, out, played.tally, anchor=anchor, rating=rating, notes=(played.note,))


def write_results(
    plan: BattlePlan,
    store: Store,
    out: Path,
    tally: Tally,
    *,
    anchor: tuple[str, float] | None = None,
    rating: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    under_way: bool = False,
    beside: Sequence[BattlePlan] = (),
) -> Tournament:
    """Write ``battles.jsonl`` and ``leaderboard.json`` of a plan as it stands in the arena file; nothing is asked.

    Battles without an outcome stand in ``undecided.jsonl``, which is there only if there are any.

    Args:
        anchor, rating: how the leaderboard rates: arguments of `leaderboard`.
        notes: are added to those of the leaderboard.
        under_way: the plan is not through: what was not asked for yet is no failure, and not among what is undecided.
        beside: further plans by the same judge, whose battles are rated with it.
    """
    plans = (plan, *beside)
    summary, columns = Summary(), _Columns(list(dict.fromkeys(c.name for one in plans for c in one.contestants)))

    def fought() -> Iterator[Pairing]:
        return chain.from_iterable(pairings(one, store) for one in plans)

    def rows() -> Iterator[bytes | dict[str, Any]]:
        for pairing in fought():
            if under_way and unasked(pairing):
                summary.wanted += 1
                continue
            summary.add(pairing)
            columns.add(pairing)
            for battle in pairing.battles:
                yield battle_line(battle, pairing.question_id)
            if pairing.lost:
                yield from loss_rows(pairing, plan.judge.name)

    write_jsonl(out / "battles.jsonl", rows())
    if summary.open:
        undecided = (p for p in fought() if not p.winners and not (under_way and unasked(p)))
        write_jsonl(out / "undecided.jsonl", map(undecided_row, undecided))
    else:
        (out / "undecided.jsonl").unlink(missing_ok=True)
    if getattr(plan.judge, "rule", None) == "reliability" and columns.decided:
        anchor = anchor if anchor is not None and columns.met(anchor[0]) else None
        board = reliability_board(votes_of_run(out, store), columns.coded(), anchor=anchor)
    else:
        board = _rated(columns, anchor, {"games": games_of_run(out, store), **(rating or {})})
    board = replace(board, notes=(*board.notes, *notes)).with_probabilities(weighted_win_rates(out))
    write_json(out / "leaderboard.json", board.to_dict())
    return Tournament(board, summary, tally)


def unasked(pairing: Pairing) -> bool:
    """Whether nobody was asked yet about a battle: neither a failure nor undecided."""
    return pairing.attribution is not None and pairing.attribution.unasked


def _rated(columns: _Columns, anchor: tuple[str, float] | None, rating: Mapping[str, Any]) -> Leaderboard:
    """The leaderboard; an anchor whose battles all failed holds nothing, which is no reason to lose the rest."""
    if anchor is None or columns.met(anchor[0]):
        return leaderboard(columns.coded(), anchor=anchor, **rating)
    board = leaderboard(columns.coded(), **rating)
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
        "usd_estimated": usage.usd_estimated,
        "calls_cut_off": usage.calls_cut_off,
        "seconds": usage.seconds,
        **({"notices": notices} if (notices := told_notices(store)) else {}),
        **more,
    }
    write_json(out / "summary.json", document)
    return document
