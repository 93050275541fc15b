"""A shard of a plan of battles: the same plan, of whose prompts it has its own alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from hashlib import blake2b

from arenaloop.arena.matchmaking import Schedule
from arenaloop.arena.plan import BattlePlan
from arenaloop.calls.shards import Shard
from arenaloop.models.recorded import RecordedModel
from arenaloop.types import canonical_json

__all__ = ["listed", "part_of", "plan_parts"]


def part_of(plan: BattlePlan, shard: Shard) -> BattlePlan:
    """The plan on those of its prompts that are the shard's."""
    ids = [prompt_id for prompt_id in plan.prompt_ids if shard.holds(prompt_id)]
    schedule = plan.schedule
    if schedule.chosen is not None:
        own = {prompt_id: schedule.chosen[prompt_id] for prompt_id in ids if prompt_id in schedule.chosen}
        schedule = Schedule(schedule.pairs, own, schedule.wanted)
    return replace(plan, prompt_ids=ids, schedule=schedule)


def plan_parts(plan: BattlePlan) -> dict[str, object]:
    """What makes a plan of battles, by what it is called: shards of equal parts are shards of one plan.

    Where answers and prompts are read from, how much goes on at once and what it may cost is no part of it.
    """
    parts: dict[str, object] = {"list of prompts": listed(plan.prompt_ids)}
    for c in plan.contestants:
        parts[f"model {c.name}"] = c.identity
        if isinstance(c.model, RecordedModel):
            parts[f"file of answers of {c.name}"] = listed(plan.recorded[c.name])
    parts["judge"] = [judge.fingerprint for judge in plan.judges]
    parts["set of pairs"] = [[list(pair) for pair in plan.schedule.pairs], _chosen(plan.schedule)]
    rules = ("seed", "merge", "one_seat_failed", "own_failure", "seats", "reask")
    return parts | {name: getattr(plan, name) for name in rules}


def _chosen(schedule: Schedule) -> str | None:
    if schedule.chosen is None:
        return None
    return listed({prompt_id: canonical_json(some) for prompt_id, some in sorted(schedule.chosen.items())})


def listed(ids: Iterable[str] | Mapping[str, str]) -> str:
    """Hash of a long list in its order, or of a table; the JSON of all of it would be the largest thing in memory."""
    parts = blake2b(digest_size=16)
    for one in ids.items() if isinstance(ids, Mapping) else ids:
        parts.update(canonical_json(one).encode("utf-8", "surrogatepass"))
    return parts.hexdigest()
