"""What a recipe has begun, kept in its arena file: whoever looks can tell how it stands, whether it goes on or not.

Stages and battles are noted as they begin, with the keys of the answers that battle; verdicts are found by those. So
nothing of the recipe (its prompts, its weights, its servers) is needed to read it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from arenaloop.arena.matchmaking import Schedule
from arenaloop.arena.plan import BattlePlan
from arenaloop.calls.answers import Contestant
from arenaloop.judges.jury import Decider
from arenaloop.models.recorded import RecordedModel
from arenaloop.store import Store, response_keys
from arenaloop.types import content_hash

__all__ = ["LEADERBOARD", "Begun", "Planned", "begin", "begin_battles", "begin_part", "begun", "finish_part", "plan_of"]

LEADERBOARD = "leaderboard"
"""The part in which all stages are rated, after the last of them."""

_HEAD, _PARTS, _PLANS = "recipe under way", "battles of recipe parts", "battle plans"
_RULES = ("merge", "one_seat_failed", "reask", "seats", "seed", "own_failure")


class Planned(NamedTuple):
    """A part of a recipe that was begun.

    Attributes:
        name: of a stage, or what is done beside the stages: ``leaderboard``, say.
        key: hash of what decides it.
        finished: whether it is through.
        plans: keys of what was to be fought in it.
    """

    name: str
    key: str
    finished: bool
    plans: tuple[str, ...]


@dataclass(frozen=True)
class Begun:
    """How far a recipe has come.

    Attributes:
        stages: all that it has, in order.
        battles: how many it will want, all stages and the leaderboard together.
        parts: those that were begun, in order.
    """

    stages: Sequence[str] = ()
    battles: int = 0
    parts: Sequence[Planned] = field(default_factory=list)

    @property
    def open(self) -> Planned | None:
        """What was worked on last, and is not through."""
        return next((part for part in reversed(self.parts) if not part.finished), None)


def begin(store: Store, stages: Sequence[str], battles: int, settings: str) -> None:
    """Note what a recipe will do.

    What an earlier invocation has begun with the same settings counts; with others it counts again as soon as this one
    comes to it.

    Args:
        stages: all that it has, in order.
        battles: how many it will want, all stages and the leaderboard together.
        settings: hash of those that decide the results.
    """
    before = store.note(_HEAD, "")
    parts = [] if before is None or before["settings"] != settings else before["parts"]
    head = {"stages": list(stages), "battles": battles, "settings": settings, "parts": parts, "current": ""}
    store.put_note(_HEAD, "", head)


def begin_part(store: Store, name: str, key: str) -> None:
    """Note that a part is worked on; what it fights is noted anew."""
    store.put_note(_PARTS, key, [])
    _reach(store, name, key, finished=False)


def finish_part(store: Store, name: str, key: str) -> None:
    """Note that a part is through, now or since an earlier invocation."""
    _reach(store, name, key, finished=True)


def _reach(store: Store, name: str, key: str, *, finished: bool) -> None:
    if (head := store.note(_HEAD, "")) is None:  # run by hand, without a command that begins it
        return
    parts = {part[0]: part for part in head["parts"]} | {name: [name, key, finished]}
    store.put_note(_HEAD, "", head | {"parts": list(parts.values()), "current": "" if finished else key})


def begin_battles(store: Store, plan: BattlePlan) -> None:
    """Note what is fought in the part that is worked on."""
    head = store.note(_HEAD, "")
    if head is None or not (part := head["current"]):
        return
    told = {
        "judge": plan.judge.fingerprint,
        "prompts": list(plan.prompt_ids),
        "pairs": [list(pair) for pair in plan.schedule.pairs],
        "who": [_who(plan, one) for one in plan.contestants],
        **{name: getattr(plan, name) for name in _RULES},
    }
    key = content_hash("plan", told)
    known = store.note(_PARTS, part) or []
    if key not in known:
        if store.note(_PLANS, key) is None:
            store.put_note(_PLANS, key, told)
        store.put_note(_PARTS, part, [*known, key])


def _who(plan: BattlePlan, one: Contestant) -> dict[str, Any]:
    """A contestant's name, and what finds its answers."""
    if isinstance(one.model, RecordedModel):
        keys = plan.recorded[one.name]
        return {"name": one.name, "recorded": {i: keys[i] for i in plan.prompt_ids if i in keys}}
    asked = [one.model.fingerprint, one.sampling.key(), one.sample]
    return {"name": one.name, "asked": asked}


def begun(store: Store) -> Begun | None:
    """What a recipe noted; None of a directory of an earlier version, or of no recipe."""
    head = store.note(_HEAD, "")
    if head is None:
        return None
    parts = [Planned(name, key, done, tuple(store.note(_PARTS, key) or ())) for name, key, done in head["parts"]]
    return Begun(head["stages"], head["battles"], parts)


def plan_of(store: Store, key: str, judges: Mapping[str, Decider]) -> BattlePlan | None:
    """What was to be fought, to be read back; None where none of the judges decides it.

    Args:
        key: of the plan.
        judges: by fingerprint.
    """
    told = store.note(_PLANS, key)
    if told is None or (judge := judges.get(told["judge"])) is None:
        return None
    recorded: dict[str, Mapping[str, str]] = {}
    for one in told["who"]:
        if (given := one.get("recorded")) is None:
            find = response_keys(*one["asked"])
            given = {prompt_id: find(prompt_id) for prompt_id in told["prompts"]}
        recorded[one["name"]] = given
    return BattlePlan(
        contestants=[Contestant(name, RecordedModel(name, "arena.db")) for name in recorded],
        judge=judge,
        prompt_ids=told["prompts"],
        schedule=Schedule(tuple((a, b) for a, b in told["pairs"])),
        recorded=recorded,
        **{name: told[name] for name in _RULES},
    )
