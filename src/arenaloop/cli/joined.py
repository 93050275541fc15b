"""The settings of one battle that several directories' battles make together: what may differ in them, and what not."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from arenaloop.cli.directory import ARENA
from arenaloop.cli.merge import arena_of
from arenaloop.config import BattleSettings, JudgeSettings, ModelSettings, read_yaml, validate
from arenaloop.errors import ArenaloopError
from arenaloop.store import Store

if TYPE_CHECKING:
    from arenaloop.types import Prompt

__all__ = ["Joined", "joined"]

_HOW_ASKED = ("concurrency", "engine", "workers", "budget_usd", "budget_calls", "batch", "human")
"""Settings that no battle depends on."""
_REACHED_BY = (
    "price", "urls", "key_env", "headers", "concurrency", "rpm", "tpm", "timeout", "retries", "longest_wait",
    "threads", "samples_per_call",
)  # fmt: skip
"""Settings of a model that no answer of it depends on."""
_BY_CONTENT = ("spec", "template")
"""Settings that may name the same under two paths."""


@dataclass
class Joined:
    """What the battles of several directories make.

    Attributes:
        settings: of the battle of all; None where they make none.
        why: they make none.
        others: settings that no battle depends on and in which the directories differ.
        first: the first directory with a battle's settings; it has what `others` names.
        remedy: arguments of the battle of all models by the first directory's settings.
    """

    settings: BattleSettings | None = None
    why: str = ""
    others: tuple[str, ...] = ()
    first: Path | None = None
    remedy: tuple[str, ...] = ()

    def by_first(self, out: Path) -> str:
        """What makes a board in the merged directory all the same, in words; empty where nothing is known."""
        if not self.remedy:
            return ""
        command = shlex.join(["arenaloop", "battle", *self.remedy, "--out", str(out)])
        return f"; by the settings of {self.first}, without a call for what is stored: {command}"


def joined(directories: Sequence[Path]) -> Joined:
    """The settings of one battle of all directories' models; or why there is none.

    Prompts, recorded answers and judges are compared by what they are, not by the path under which they are read.

    Args:
        directories: run directories or arena files; the last is the one that gets all rows, and may have no settings.
    """
    there: list[_One] = []
    for directory in directories:
        config = arena_of(directory).with_name("config.yaml")
        if arena_of(directory).name != ARENA or not config.exists():
            if directory is directories[-1]:
                continue  # the target has none yet
            return Joined(why=f"{directory} has none")
        try:
            there.append(_One(directory, config, validate(BattleSettings, read_yaml(config), str(config))))
        except ArenaloopError as error:
            return Joined(why=f"{config} is not that of a battle ({error})")
    if not there:
        return Joined(why="there is none")
    first = there[0]
    result, whole, others = first.settings, first, list[str]()
    for one in there[1:]:
        same = _Same(whole, one)
        if why := same.unlike():
            return Joined(why=f"{one.config} {why}", first=first.directory, remedy=tuple(_remedy(there)))
        others += [name for name in _HOW_ASKED if getattr(result, name) != getattr(one.settings, name)]
        result = same.union()
        whole = _One(first.directory, first.config, result)
    return Joined(result, others=tuple(dict.fromkeys(others)), first=first.directory)


@dataclass
class _One:
    """A directory and its battle's settings."""

    directory: Path
    config: Path
    settings: BattleSettings


@dataclass
class _Same:
    """One battle beside what others have come to so far."""

    mine: _One
    theirs: _One
    prompts: str = ""
    limit: int | None = None
    models: dict[str | None, ModelSettings] = field(default_factory=dict)
    _shared: list[Prompt] | None = None

    def unlike(self) -> str:
        """In what they differ so that no battle is of both, in words; empty where nothing does."""
        mine, theirs = self.mine.settings, self.theirs.settings
        told = [name for name in ("merge", "one_seat_failed", "own_failure", "seats", "pairs", "shard")
                if getattr(mine, name) != getattr(theirs, name)]  # fmt: skip
        if mine.seed != theirs.seed and not (mine.seats == "both" and mine.pairs.startswith(("all", "target"))):
            told.append("seed")
        told += _judges_differ(mine.judge, theirs.judge)
        if not self._same_prompts():
            told.append("prompts")
        if told:
            return f"differs in {', '.join(told)}"
        self.models = {model.name: model for model in mine.models}
        for model in theirs.models:
            known = self.models.setdefault(model.name, model)
            if known != model:
                if (kept := self._same_model(known, model)) is None:
                    return f"has another {model.name}"
                self.models[model.name] = kept
        return ""

    def union(self) -> BattleSettings:
        """The settings of both."""
        update = {
            "models": tuple(self.models.values()),
            "prompts": self.prompts,
            "limit": self.limit,
            "allow_missing": self.mine.settings.allow_missing or self.theirs.settings.allow_missing,
        }
        return self.mine.settings.model_copy(update=update)

    def _same_prompts(self) -> bool:
        mine, theirs = self.mine.settings, self.theirs.settings
        self.prompts = mine.prompts
        self.limit = None if None in (mine.limit, theirs.limit) else max(mine.limit or 0, theirs.limit or 0)
        if mine.prompts == theirs.prompts and (mine.seed == theirs.seed or not mine.prompts.startswith("sandbox:")):
            return True
        own, other = _prompts(mine), _prompts(theirs)
        if own is not None and other is not None:
            ids, known = ([prompt.id for prompt in some] for some in (own, other))
            if ids == known:
                return True
            self.limit = mine.limit
            return ids[: mine.limit] == known[: theirs.limit]
        if own is None and other is None:
            return False
        here, read, absent = (theirs, other, self.mine) if own is None else (mine, own, self.theirs)
        self.prompts = here.prompts
        with Store(arena_of(absent.directory), readonly=True) as store:  # its file is not here, but what it held is
            return {prompt.id for prompt in (read or ())[: absent.settings.limit]} == {p.id for p in store.prompts()}

    def _same_model(self, mine: ModelSettings, theirs: ModelSettings) -> ModelSettings | None:
        """The one of the two to go on with; None where their answers may differ."""
        odd = _unlike(mine, theirs)
        if not odd:
            return mine
        if odd != ["spec"]:
            return None
        if not (mine.spec.startswith("file:") and theirs.spec.startswith("file:")):
            return mine if _fingerprint(mine) is not None and _fingerprint(mine) == _fingerprint(theirs) else None
        own, other = self._answers(mine, self.mine), self._answers(theirs, self.theirs)
        if own is not None and other is not None:
            same = all(other.get(prompt_id, key) == key for prompt_id, key in own.items())
            return (mine if len(own) >= len(other) else theirs) if same else None
        read = own if own is not None else other
        if not read:
            return None
        kept, absent = (mine, self.theirs) if own is not None else (theirs, self.mine)
        with Store(arena_of(absent.directory), readonly=True) as store:
            there = {prompt.id for prompt in store.prompts()}
            stored = (p.id not in read or read[p.id] in store.responses_of(p) for p in self._common() if p.id in there)
            return kept if all(stored) else None

    def _common(self) -> list[Prompt]:
        if self._shared is None:
            one = self.mine.settings if self.prompts == self.mine.settings.prompts else self.theirs.settings
            self._shared = list(_prompts(one) or ())
        return self._shared

    def _answers(self, model: ModelSettings, of: _One) -> Mapping[str, str] | None:
        """Which answer a file has to each prompt; None where it cannot be read."""
        from arenaloop.calls.recorded import match_recorded
        from arenaloop.specs import contestant

        try:
            one = contestant(model)
            found = match_recorded([one], self._common()[: of.settings.limit], allow_missing=True)
        except ArenaloopError:
            return None
        return dict(found[one.name])


def _prompts(settings: BattleSettings) -> Sequence[Prompt] | None:
    """All prompts of a battle's file; None where it cannot be read."""
    from arenaloop.specs import load_prompts

    try:
        return load_prompts(settings.prompts, settings.seed).prompts
    except ArenaloopError:
        return None


def _unlike(mine: ModelSettings, theirs: ModelSettings) -> list[str]:
    names = (name for name in type(mine).model_fields if name not in _REACHED_BY)
    return [name for name in names if getattr(mine, name) != getattr(theirs, name)]


def _judges_differ(mine: JudgeSettings, theirs: JudgeSettings) -> Iterator[str]:
    """The settings in which two judges differ so that their verdicts may."""
    odd = [name for name in _unlike(mine, theirs) if name != "name"]
    if odd and not mine.jury and {*odd} <= {*_BY_CONTENT}:
        one = _fingerprint(mine)
        odd = [] if one is not None and one == _fingerprint(theirs) else odd
    if odd == ["jury"] and len(mine.jury) == len(theirs.jury):
        members = zip(mine.jury, theirs.jury, strict=True)
        odd = ["jury"] if any(a.name != b.name or [*_judges_differ(a, b)] for a, b in members) else []
    yield from (f"judge.{name}" for name in odd)


def _fingerprint(settings: ModelSettings) -> str | None:
    """What a judge's or a model's words are stored under; None where it cannot be made from here."""
    from arenaloop.specs import contestant, judge

    try:
        if isinstance(settings, JudgeSettings):
            return str(judge(settings).fingerprint)
        return str(contestant(settings).model.fingerprint)
    except ArenaloopError:
        return None


def _remedy(there: Sequence[_One]) -> Iterator[str]:
    """The arguments of a battle of all models by the first one's settings."""
    yield from (str(there[0].config),)
    names = {model.name for model in there[0].settings.models}
    for model in (model for one in there[1:] for model in one.settings.models):
        if model.name not in names and not _more_than_spec(model):
            names.add(model.name)
            yield from ("--model", f"{model.name}={model.spec}")


def _more_than_spec(model: ModelSettings) -> bool:
    return model != ModelSettings(spec=model.spec, name=model.name)
