"""Directories in one: what is refused, the union, and what it comes to as a run."""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from arenaloop.arena.standing import so_far
from arenaloop.arena.tournament import Tournament
from arenaloop.calls.shards import (
    ANCHOR,
    HASHED,
    Claim,
    claimed,
    differences,
    held,
    merged_of,
    missing,
    note_merged,
    of_all,
)
from arenaloop.cli.battle_run import settle
from arenaloop.cli.directory import ARENA, open_directory, open_to_write, write_settings
from arenaloop.cli.joined import Joined, joined
from arenaloop.cli.merge import arena_of, refuse_unmergeable
from arenaloop.cli.rate_options import parse_anchor
from arenaloop.cli.written_report import written_report
from arenaloop.config import BattleSettings, read_yaml, validate
from arenaloop.errors import ConfigError, InputError, UserError
from arenaloop.store import Store
from arenaloop.store.merge import Merged, has_news, merge
from arenaloop.terminal import say

__all__ = ["execute", "in_one"]

_FILES = ("annotate", "testset")  # verbs whose --out is a file, with FILE.db beside it


def execute(out: Path, directories: Sequence[Path], *, as_json: bool) -> None:
    """Merge directories into another.

    Raises:
        ConfigError, InputError: before anything is written.
        typer.Exit: with code 3, where shards are merged and the run that they make is not through, or undecided.
    """
    console = Console(stderr=as_json)
    union = _Union(out, directories)
    for directory, merged in zip(directories, union.merge(), strict=True):
        say(console, f"{directory}: {merged.told()}", fold=True)
    union.conclude(console)
    if union.result is not None:
        say(console, written_report(out, union.result.leaderboard.battles), fold=True)
    if as_json:
        sys.stdout.write(json.dumps(union.document, indent=2) + "\n")
    if union.claims and not union.whole:
        raise typer.Exit(3)


@contextmanager
def in_one(directories: Sequence[Path], messages: Console) -> Iterator[Path]:
    """A passing directory that holds what several do together.

    Raises:
        ConfigError, InputError: as of `execute`; what they hold makes no board.
    """
    with tempfile.TemporaryDirectory(prefix="arenaloop-") as folder:
        there = Path(folder) / "merged"
        names = ", ".join(map(str, directories))
        try:
            union = _Union(there, directories, passing=True)
            union.merge()
            union.conclude(Console(stderr=True, quiet=True))
            if union.result is None:
                merged = Path("MERGED")
                by = union.joined.by_first(merged)
                first = f" (after arenaloop merge {merged} {shlex.join(map(str, directories))})" if by else ""
                raise InputError(f"{names}: make no board together: {union.why}{by}{first}")
            if union.lacking and not union.whole:
                say(messages, f"note: {union.lacking}", fold=True)
            yield there
        except UserError as error:  # it names the passing directory, which nobody knows
            error.args = tuple(str(told).replace(str(there), names) for told in error.args)
            raise


@dataclass
class _Union:
    """One merge, from what is refused to what it comes to; making it refuses all that can be refused.

    Attributes:
        passing: whether `out` is a passing directory, which nobody can go on with.
        claims: of the shards among the directories, each by its directory.
        settings: of the battle of all; None where they make none, and `why`.
        joined: what those of directories that are no shards come to.
        whole: whether the run that came of it is through and decided.
    """

    out: Path
    directories: Sequence[Path]
    passing: bool = False
    claims: list[tuple[Path, Claim]] = field(default_factory=list)
    settings: BattleSettings | None = None
    why: str = ""
    joined: Joined = field(default_factory=Joined)
    lacking: str = ""
    whole: bool = False
    result: Tournament | None = None
    document: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        runs = True  # whether each directory is a run of its own, though it may once have come in shards
        for directory in self.directories:
            refuse_unmergeable(directory, self.out)
            with Store(arena_of(directory), readonly=True) as store:
                self.claims += [(directory, one) for one in held(store)]
                merged = merged_of(store)
                runs &= claimed(store) is None and not (merged and missing(merged))
        self.before: Mapping[str, Any] | None = None
        if self.claims and (odd := self._others()):
            if not runs:
                raise ConfigError(odd)
            self.claims = []
        self.arena = self._arena()
        if self.arena.exists():
            with Store(self.arena, readonly=True) as store:
                self.before = merged_of(store, self.claims[0][1] if self.claims else None)
                self._refuse_target(store)
        elif self.claims and self.verb == "rejudge":
            raise ConfigError(f"{self.out}: shards of rejudge are merged into the run that they judged again")
        if self.claims:
            self.lacking = missing(of_all(self.before, [one for _, one in self.claims]))
            if self.verb == "battle":
                self.settings = _whole_battle(self.claims[0][0])
        else:
            self.joined = joined([*self.directories, self.out])
            self.settings, self.why = self.joined.settings, self.joined.why

    @property
    def verb(self) -> str:
        """Whose shards are merged."""
        return self.claims[0][1].verb if self.claims else ""

    def _arena(self) -> Path:
        out = self.out
        if self.verb in _FILES and not out.is_dir():
            return out if out.suffix == ".db" else out.with_name(out.name + ".db")
        if out.exists() and not out.is_dir() and arena_of(out) == out and out.suffix != ".db":
            raise InputError(f"{out}: a file, where the directory belongs that is to get the rows")
        return arena_of(out)

    def _others(self) -> str:
        """Which directory is no shard of the first one's plan, in words; empty where all are."""
        first, plan = self.claims[0]
        shards = {directory for directory, _ in self.claims}
        for directory in self.directories:
            if directory not in shards:
                return f"{directory}: is no shard, and {first} is: shards are merged with shards alone"
        for directory, one in self.claims:
            if odd := differences(one, plan):
                return f"{directory}: a shard of another plan than {first}: {odd}"
        return ""

    def _refuse_target(self, store: Store) -> None:
        """Refuse to merge shards into what is none of their plan."""
        own = claimed(store)
        if own is not None:
            raise ConfigError(f"{self.out}: holds shard {own.shard} itself: merge into a directory of its own")
        if not self.claims:
            return
        _, plan = self.claims[0]
        if self.verb == "rejudge":
            if plan.parts.get("run") != store.identity:
                raise ConfigError(f"{self.out}: is not the run that the shards judged again")
        elif self.before is not None:
            if odd := differences(plan, held(store)[0]):
                raise ConfigError(f"{self.out}: holds shards of another plan than {self.claims[0][0]}: {odd}")
        elif not store.blank:
            raise ConfigError(f"{self.out}: holds a run of its own: merge shards into a new directory")

    def merge(self) -> list[Merged]:
        """Take over all rows; where there is nothing new nothing is written, not even the time of the merge."""
        claims, done = [one for _, one in self.claims], list[Merged]()
        if self.arena.exists() and not self._has_news():
            with Store(self.arena, readonly=True) as store:
                for directory in self.directories:
                    with Store(arena_of(directory), readonly=True) as other:
                        done.append(merge(store, other))
        else:
            if self.arena.name == ARENA:
                target = open_directory(self.out)
            else:
                self.arena.parent.mkdir(parents=True, exist_ok=True)
                target = open_to_write(self.arena)
            with target as store:
                for directory in self.directories:
                    with Store(arena_of(directory), readonly=True) as other:
                        done.append(merge(store, other))
                if claims:
                    note_merged(store, claims)
        merged = [
            {"directory": str(directory), "added": one.added, "there": one.there}
            for directory, one in zip(self.directories, done, strict=True)
        ]
        self.document = {"out": str(self.out), "merged": merged}
        return done

    def _has_news(self) -> bool:
        if self.claims and of_all(self.before, [one for _, one in self.claims]) != self.before:
            return True
        with Store(self.arena, readonly=True) as store:
            for directory in self.directories:
                with Store(arena_of(directory), readonly=True) as other:
                    if has_news(store, other):
                        return True
        return False

    def conclude(self, console: Console) -> None:
        """Give the directory the settings and the results of what it holds now, and say what that is."""
        command, failed = self._command(), self._write_results()
        if self.claims:
            self._say_shards(console)
        if self.settings is None:
            if not self.claims:
                by = self.joined.by_first(self.out)
                say(console, f"note: {self.out} gets no settings of a battle: {self.why}{by}", fold=True)
            return
        if failed:
            where = "from the directory in which it was begun"
            say(console, f"note: {self.out} gets no board: {failed}; {where}: {command}", fold=True)
            return
        assert self.result is not None
        told = self.result.summary
        self.document |= {"battles_decided": told.decided, "battles_wanted": told.wanted}
        say(console, f"{self.out}: {so_far(told.decided, told.wanted)}", fold=True)
        if not self.claims:
            if others := self.joined.others:
                kept = f"{', '.join(others)} of {self.joined.first}, where others have other ones"
                say(console, f"note: {self.out} gets {kept}; no battle depends on that", fold=True)
            say(console, f"the battle of all {len(self.settings.models)} models: {command}")

    def _say_shards(self, console: Console) -> None:
        plan, verb = self.claims[0][1], self.verb
        lost = "" if self.whole else self.lacking  # the battle may have asked itself what shards did not bring
        all_there = ", all of its prompts" if self.lacking else ", all of its shards"
        say(console, f"{self.out}: plan {plan.plan} of {verb}{f'; {lost}' if lost else all_there}", fold=True)
        self.document["shards"] = {"of": plan.shard.of, "plan": plan.plan, "missing": self._missing() if lost else []}
        if self.settings is not None:
            return
        if verb == "rejudge":
            line = f"arenaloop rejudge {self.out} with the same --judge/--template, without --shard,"
        else:
            line = f"arenaloop {verb} without --shard, with --out {self.out},"
        asked = "asks what is missing and " if lost else ""
        say(console, f"{line} {asked}writes the results; nothing is asked again", fold=True)

    def _missing(self) -> list[int]:
        there = of_all(self.before, [one for _, one in self.claims])
        return [n for n in range(1, there["of"] + 1) if n not in there["shards"]]

    def _anchor(self) -> str | None:
        return self.claims[0][1].parts.get(ANCHOR) if self.claims else None

    def _command(self) -> str:
        """What goes on with the battle of all."""
        anchor = self._anchor()
        more = [] if anchor is None or anchor.startswith(HASHED) else ["--anchor", anchor]
        return shlex.join(["arenaloop", "battle", str(self.out / "config.yaml"), *more])

    def _write_results(self) -> str:
        """The board, once it is known that the settings make one; why there is none, in words."""
        if self.settings is None:
            self.whole = bool(self.claims) and not self.lacking
            return ""
        try:
            self._write_board(self.settings)
        except UserError as error:
            self.why = str(error)
            if not (self.out / "leaderboard.json").exists():  # a board keeps the settings that it came from
                write_settings(self.out, self.settings)
        return self.why

    def _write_board(self, settings: BattleSettings) -> None:
        """Board and settings: neither stands there without the other."""
        anchor, parts = parse_anchor(self._anchor()), self.claims[0][1].parts if self.claims else None
        asked_by = "the run that arenaloop merge makes of them" if self.passing else self._command()
        why = self.lacking or f"merged; what is missing is asked by {asked_by}"
        with Store(self.arena, readonly=True) as store:
            self.result, through = settle(settings, self.out, store, why, anchor=anchor, parts=parts)
        self.whole = through and not self.result.undecided
        write_settings(self.out, settings)


def _whole_battle(directory: Path) -> BattleSettings:
    """The settings of the run of which a directory is a shard; what shards may cost each is no limit of it."""
    config = arena_of(directory).with_name("config.yaml")
    settings = validate(BattleSettings, read_yaml(config), str(config))
    return settings.model_copy(update={"shard": None, "budget_usd": None, "budget_calls": None})
