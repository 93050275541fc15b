"""Shards: one plan in N parts, each asked by a process of its own into a directory of its own.

A unit of work belongs to the shard that the hash of its prompt says, so that every shard makes the same plan wherever
it runs, and asks its own part. Each arena file says which shard of which plan it holds: by that shards are known to
belong together when they are merged (`store.merge`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from arenaloop.errors import ConfigError
from arenaloop.store import Store
from arenaloop.types import content_hash, derive_seed

__all__ = [
    "ANCHOR",
    "HASHED",
    "Claim",
    "Shard",
    "claim",
    "claimed",
    "differences",
    "held",
    "merged_of",
    "missing",
    "note_merged",
    "of_all",
    "refuse_other",
    "unlike_parts",
]

HASHED = "#"
"""What a part begins with that is the hash of something long."""
ANCHOR = "anchor"
"""The part of a claim that says which model was given a fixed rating."""
_ROOM = "shard"
"""of the notes; one that merging leaves with its own file"""
_CLAIM, _MERGED = "claim", "merged"  # keys of it; a run may be judged again by several plans: _MERGED/PLAN/N of each
_OF_NO_PLAN = frozenset({"shard", "budget_usd", "budget_calls", "concurrency", "human", "batch"})
"""settings that shards of one plan may differ in"""
_NAMED = 4  # differences, missing shards
_SHORT = 60  # characters of a value that is shown


@dataclass(frozen=True, slots=True)
class Shard:
    """The I-th of N parts of a plan, counted from 1."""

    index: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``I/N``.

        Raises:
            ConfigError: it is not of that form, or I is none of 1 to N.
        """
        index, slash, of = text.partition("/")
        if not (slash and _number(index) and _number(of)) or int(of) < 1:
            raise ConfigError(f"--shard {text}: expected I/N, as in 3/8 for the third of eight")
        if not 1 <= int(index) <= int(of):
            raise ConfigError(f"--shard {text}: shards are counted from 1 to N, so I is one of 1 to {int(of)}")
        return cls(int(index), int(of))

    def holds(self, prompt_id: str) -> bool:
        """Whether what is asked about a prompt is this shard's; on every machine the same."""
        return derive_seed("shard", prompt_id) % self.of == self.index - 1

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 7


@dataclass(frozen=True)
class Claim:
    """Which shard of which plan an arena file holds.

    Attributes:
        verb: whose plan it is, such as ``battle``.
        parts: what makes the plan, by what it is called: short texts, of what is long a name and a hash.
        settings: as they were given, flat: to say which of them makes a part differ.
        units: how many prompts the shard has, and the plan.
    """

    verb: str
    shard: Shard
    parts: Mapping[str, str]
    settings: Mapping[str, str]
    units: tuple[int, int] = (0, 0)

    @property
    def plan(self) -> str:
        """The plan's fingerprint, the same for all its shards."""
        return content_hash(self.verb, dict(self.parts), size=6)

    def to_json(self) -> dict[str, Any]:
        """As it stands in the arena file."""
        return {
            "verb": self.verb,
            "index": self.shard.index,
            "of": self.shard.of,
            "plan": self.plan,
            "parts": dict(self.parts),
            "settings": dict(self.settings),
            "units": list(self.units),
        }

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> Claim:
        """The other way round."""
        mine, everybody = told["units"]
        shard = Shard(told["index"], told["of"])
        return cls(told["verb"], shard, told["parts"], told["settings"], (mine, everybody))

    def summary(self) -> dict[str, Any]:
        """What result files say."""
        return {"index": self.shard.index, "of": self.shard.of, "plan": self.plan}

    def line(self) -> str:
        """In words: ``shard 3 of 8 of plan 1a2b3c4d5e6f: 101 of its 800 prompts``."""
        mine, everybody = self.units
        return f"shard {self.shard.index} of {self.shard.of} of plan {self.plan}: {mine:,} of its {everybody:,} prompts"


def claim(
    verb: str, shard: Shard, parts: Mapping[str, object], settings: Mapping[str, Any], ids: Collection[str]
) -> Claim:
    """The claim of a shard on a plan.

    Args:
        parts: what makes the plan; hashed whatever their length, and shown where they are short.
        settings: as `Settings.model_dump(mode="json")` gives them.
        ids: of all prompts of the plan.
    """
    shown = {name: _shown(value) for name, value in parts.items()}
    mine = sum(map(shard.holds, ids))
    told = {name: value for name, value in settings.items() if name not in _OF_NO_PLAN}
    return Claim(verb, shard, shown, dict(_flat(told)), (mine, len(ids)))


def claimed(store: Store) -> Claim | None:
    """Which shard an arena file holds; None of a file that holds none."""
    told = store.note(_ROOM, _CLAIM)
    return None if told is None else Claim.of_json(told)


def refuse_other(store: Store, where: object, wanted: Claim | None, verb: str, *, keep: bool = True) -> None:
    """Refuse what a file is not for: another shard than it holds, or one where there are rows of none.

    With `keep`, what is wanted is noted.

    Raises:
        ConfigError: says what the file holds.
    """
    there = claimed(store)
    if there is not None:
        asked = "all of a plan" if wanted is None else f"shard {wanted.shard}"
        if wanted is None or (there.verb, there.shard) != (verb, wanted.shard):
            raise ConfigError(
                f"{where}: holds shard {there.shard} of {there.verb}, and {asked} of {verb} belongs elsewhere: a "
                "directory keeps the shard that it was begun with; take another --out"
            )
    elif wanted is not None and (merged_of(store) or not store.blank):
        raise ConfigError(
            f"{where}: holds a run that is no shard, and shard {wanted.shard} belongs elsewhere: take another --out"
        )
    if keep and wanted is not None and (there is None or there.to_json() != wanted.to_json()):
        store.put_note(_ROOM, _CLAIM, wanted.to_json())


def differences(one: Claim, other: Claim) -> str:
    """What makes two plans differ, in words; empty where nothing does. Of what is a hash, settings say more."""
    if one.verb != other.verb:
        return f"{one.verb}, not {other.verb}"
    parts, told = _unlike(one.parts, other.parts), list[str]()
    for name in parts:
        values = one.parts.get(name, "none"), other.parts.get(name, "none")
        hashed = any(value.startswith(HASHED) for value in values)
        told.append(f"another {name}" if hashed else f"{name} {values[0]}, not {values[1]}")
    if any(line.startswith("another ") for line in told):
        unlike = [name for name in _unlike(one.settings, other.settings) if name not in parts]
        default = "the default"
        told += [
            f"{name} {one.settings.get(name, default)}, not {other.settings.get(name, default)}" for name in unlike
        ]
    if one.shard.of != other.shard.of:
        told.append(f"one of {one.shard.of} shards, not of {other.shard.of}")
    more = f" and {len(told) - _NAMED:,} more" if len(told) > _NAMED else ""
    return "; ".join(told[:_NAMED]) + more


def unlike_parts(parts: Mapping[str, object], told: Mapping[str, str]) -> list[str]:
    """The names of a plan's parts that are not what a claim tells of them; the anchor is no part of the plan itself."""
    shown = {name: _shown(value) for name, value in parts.items()}
    return _unlike(shown, {name: value for name, value in told.items() if name != ANCHOR})


def _unlike(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    return [name for name in {**one, **other} if one.get(name) != other.get(name)]


# ---------------------------------------------------------------------- what was merged


def held(store: Store) -> list[Claim]:
    """The shards that a file holds: its own, or those that were merged into it; not those that judged its run again."""
    if (own := claimed(store)) is not None:
        return [own]
    told = merged_of(store)
    return [] if told is None else [Claim.of_json({**told, "index": n, "units": (0, 0)}) for n in told["shards"]]


def merged_of(store: Store, plan: Claim | None = None) -> dict[str, Any] | None:
    """Of a file that shards were merged into: their plan (``plan``, ``verb``, ``of``) and which came (``shards``).

    Args:
        store: open for reading.
        plan: any shard of it. None: the plan that made the file; what judged it again came to a run that was there.
    """
    found: dict[str, Any] | None = store.note(_ROOM, _key(plan))
    return found


def _key(plan: Claim | None) -> str:
    return f"{_MERGED}/{plan.plan}/{plan.shard.of}" if plan is not None and plan.verb == "rejudge" else _MERGED


def note_merged(store: Store, claims: Sequence[Claim]) -> dict[str, Any]:
    """Note that shards of one plan have come into a file; gives what stands there then (as of `merged_of`)."""
    before = merged_of(store, claims[0])
    after = of_all(before, claims)
    if after != before:
        store.put_note(_ROOM, _key(claims[0]), after)
    return after


def of_all(before: Mapping[str, Any] | None, claims: Sequence[Claim]) -> dict[str, Any]:
    """What `note_merged` will note."""
    there = {*(before["shards"] if before else ()), *(one.shard.index for one in claims)}
    first = min(claims, key=lambda one: one.shard.index)
    whole = first.to_json() if before is None else before
    return {name: value for name, value in whole.items() if name not in ("index", "units")} | {"shards": sorted(there)}


def missing(merged: Mapping[str, Any]) -> str:
    """``shards 3 and 7 of 8 are not here``; empty where all are."""
    lost = [n for n in range(1, merged["of"] + 1) if n not in set(merged["shards"])]
    if not lost:
        return ""
    shown, one = list(map(str, lost[:_NAMED])), len(lost) == 1
    if len(lost) > _NAMED:
        names = f"{', '.join(shown)} and {len(lost) - _NAMED:,} more"
    else:
        names = shown[0] if one else f"{', '.join(shown[:-1])} and {shown[-1]}"
    return f"{'shard' if one else 'shards'} {names} of {merged['of']} {'is' if one else 'are'} not here"


# ---------------------------------------------------------------------- texts


def _shown(value: object) -> str:
    """A value in a few characters; of a list or a long text a hash."""
    text = str(value) if isinstance(value, str | int | float | None) else ""
    return text if text and len(text) <= _SHORT else HASHED + content_hash(value, size=6)


def _flat(values: Mapping[str, Any], head: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        key = f"{head}{name}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{key}.")
        elif isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
            for n, one in enumerate(value, 1):
                yield from _flat(one, f"{key}[{one.get('name') or n}].")
        elif value is not None:
            yield key, " ".join(str(value).split())[:_SHORT]
