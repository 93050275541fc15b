"""A run directory opened to be looked at: its arena file, settings and rows; what a key or the start of one means."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arenaloop.cli.directory import ARENA
from arenaloop.config import (
    AlpacaFarmSettings,
    ArenaLearningSettings,
    BattleSettings,
    JudgedSettings,
    RecipeSettings,
    read_yaml,
    validate,
)
from arenaloop.data.lineage import (
    Meeting,
    Merging,
    Place,
    contestants,
    count_lines,
    dropped_files,
    lines_with,
    meetings,
    names,
    prompt_id_of,
    row_at,
    row_files,
    row_texts,
)
from arenaloop.data.result_files import BESIDE, home_of
from arenaloop.errors import InputError, UserError, nearest
from arenaloop.jsonl import read_rows
from arenaloop.recipes.arena_learning_stages import plan_stages
from arenaloop.specs.recipes import recipe_named
from arenaloop.store import Store
from arenaloop.terminal import counted
from arenaloop.types import Prompt, Response, Verdict

__all__ = ["Looked", "Named", "looked_up"]

Document = dict[str, Any]
_PREFIX = 6
"""characters that the start of a key has at least"""
_CANDIDATES = 6
_DIGITS = 18
"""of a line's number; no file has more lines"""
_SHOWN = 100
"""characters of a name that is not there"""


@dataclass(frozen=True)
class Named:
    """What a word names: `kind` is ``prompt``, ``response``, ``verdict`` or ``judgement``."""

    kind: str
    key: str


@dataclass
class Looked:
    """A run directory, opened for reading.

    Attributes:
        directory: as given; `home`: where the arena file and the training rows are (of
            ``rejudged/NAME`` and ``earlier/KEY`` the run).
        settings: None where config.yaml cannot be read; `notes` say so.
        done: results of finished stages, by name; the latest where there are several.
    """

    directory: Path
    home: Path
    store: Store
    settings: JudgedSettings | None
    done: Mapping[str, Mapping[str, Any]]
    notes: list[str] = field(default_factory=list)

    @property
    def recipe(self) -> RecipeSettings | None:
        """The settings of a recipe; None of other runs."""
        return self.settings if isinstance(self.settings, RecipeSettings) else None

    @property
    def merging(self) -> Merging:
        """How seats become battles here."""
        s = self.settings
        if s is None:
            return Merging()
        return Merging(s.merge, s.one_seat_failed, s.seats != "both" or isinstance(s, AlpacaFarmSettings))

    @property
    def rows(self) -> Mapping[str, Path]:
        """The files of training rows, by stage."""
        return row_files(self.home)

    def selection(self, stage: str) -> Mapping[str, Any]:
        """What a finished stage's selection came to; empty where none is stored."""
        return (self.done.get(stage) or {}).get("selection") or {}

    def stopped(self, stage: str) -> bool:
        """Whether no prompt of a stage gave a row, on which a run stops."""
        rows, dropped = self.rows.get(stage), dropped_files(self.home).get(stage)
        if rows is None or dropped is None or count_lines(rows):
            return False
        return count_lines(dropped) > sum(self.selection(stage).get("dropped", {}).values())

    def dropped(self, stage: str) -> dict[str, int] | None:
        """How many prompts of a stage gave no row, by reason; None where it selected nothing that is known of."""
        if self.stopped(stage):
            return dict(Counter(str(row.get("reason")) for _, row in read_rows(dropped_files(self.home)[stage])))
        return self.selection(stage).get("dropped")

    def warning(self, stage: str) -> str | None:
        """What is to be known of a stage's file of rows: it has none, or fewer than were selected."""
        if self.stopped(stage):
            return "stopped: no row"
        rows, selected = self.rows.get(stage), self.selection(stage).get("rows", 0)
        if rows is None or (left := count_lines(rows)) >= selected:
            return None
        return f"the file has {counted(left, 'row')} of {selected:,}: it was cut"

    def demonstrated(self, stage: str) -> bool:
        """Whether a stage trains on demonstrations alone."""
        return isinstance(self.settings, ArenaLearningSettings) and plan_stages(self.settings)[0].name == stage

    def unwritten(self) -> str | None:
        """A finished stage of which it is not written which prompts gave no row."""
        if not isinstance(self.settings, ArenaLearningSettings):
            return None
        written = dropped_files(self.home)
        return next((name for name in self.done if self.selection(name) and name not in written), None)

    # ------------------------------------------------------------------ what a word names

    def named(self, word: str, kinds: Sequence[str] = ("prompt", "response", "verdict", "judgement")) -> Named:
        """The one key that begins so; before those that are longer than the word, a prompt that its file called so.

        Raises:
            InputError: there is none, there are several, or too few characters are given.
        """
        some = [Named(*one) for one in self.store.keys_like(word, _CANDIDATES) if one[0] in kinds]
        if exact := [one for one in some if one.key == word]:
            return exact[0]
        called = self.store.prompts_called(word, _CANDIDATES) if "prompt" in kinds else []
        if len(called) == 1:
            return Named("prompt", called[0])
        if called:
            more = ", …" if len(called) >= _CANDIDATES else ""
            raise InputError(f"{word} is the own id of several prompts, name one by ours: {', '.join(called)}{more}")
        if not some and word in self.store.answers_by_model():
            raise InputError(
                f"{word!r} is a contestant, not a stage or key; a prompt and two contestants name a battle "
                f"(arenaloop show {self.directory} PROMPT {word} OTHER)"
            )
        if len(word) < _PREFIX:
            stages = nearest(word, [*self.rows, *self.done])
            raise InputError(
                f"{word!r}: no stage{stages} and no prompt's own id, and too short for a key (at "
                f"least {_PREFIX} characters)"
            )
        if len(some) == 1:
            return some[0]
        if some:
            listed = ", ".join(f"{one.kind} {one.key}" for one in some[:_CANDIDATES])
            raise InputError(f"{word} begins several keys: {listed}{', …' if len(some) >= _CANDIDATES else ''}")
        raise InputError(f"{self.store.path}: {self._unknown(word, kinds)}")

    def _unknown(self, word: str, kinds: Sequence[str]) -> str:
        known = [*self.rows, *self.done]
        if hint := nearest(word, known):
            return f"no stage or key {word!r}{hint}"
        beside = max(self.store.keys_beside(word), key=lambda key: _shared(key, word), default="")
        close = f"; the nearest is {beside}" if _shared(beside, word) >= _PREFIX - 2 else ""
        return f"no {', '.join(kinds[:-1])}{' or ' * (len(kinds) > 1)}{kinds[-1]} {word!r}{close}"

    def place(self, word: str) -> Place | None:
        """The row that ``STAGE:LINE`` or ``FILE:LINE`` names; None where the word is of another form.

        Raises:
            InputError: there is no such stage or file, or no such line.
        """
        name, colon, number = word.rpartition(":")
        if not (colon and number.isdecimal() and name):
            return None
        shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…"
        if len(number) > _DIGITS:
            raise InputError(f"{shown}: no line {number[:_DIGITS]}…")
        with suppress(StopIteration):
            # os.path's, since a Path raises for a name that is too long
            return row_at(next(path for path in self._paths(name) if os.path.isfile(path)), int(number))
        if self.store.prompts_called(word, 1):
            return None
        if _leaves(name):
            raise InputError(f"{shown}: no such file; in {self.directory} nothing outside of it is read")
        known = list(self.rows)
        if name in self.done and self.demonstrated(name):
            raise InputError(
                f"{self.directory}: {name} was trained on demonstrations; data/{name}.jsonl is not here: the command "
                "that began the run writes it"
            )
        if isinstance(self.settings, ArenaLearningSettings) and self.selection(name):
            raise InputError(
                f"{self.directory}: data/{name}.jsonl is missing; the command that began the run writes it"
            )
        if name in self.done:
            kept = f"checkpoints/{name}/rollouts/"
            where = f", which are kept in {kept} (FILE:LINE)" if (self.home / kept).is_dir() else ""
            raise InputError(f"{self.directory}: {name} has no rows of its own{where}")
        listed = f"; there are {', '.join(known)}" if known else "; no stage has written rows here"
        raise InputError(f"{self.directory}: no rows of a stage {shown!r}{nearest(name, known)}{listed}")

    def _paths(self, name: str) -> Iterator[Path]:
        if name in self.rows:
            yield self.rows[name]
        if not _leaves(name):
            yield self.home / "data" / f"{name}.jsonl"
            for folder in (self.directory, self.home, self.home / "data"):
                yield folder / name
        yield Path(name)

    # ------------------------------------------------------------------ what is there about a prompt

    def prompt(self, prompt_id: str) -> Prompt:
        """A prompt of the arena file; InputError where it is not there."""
        found = self.store.prompt(prompt_id)
        if found is None:
            raise InputError(f"{self.store.path}: no prompt {prompt_id}: the row is of another run, or was changed")
        return found

    def answers(self, prompt: Prompt) -> dict[str, Response]:
        """All answers to it, by key."""
        return self.store.responses_of(prompt)

    def verdicts_on(self, prompt: Prompt) -> dict[str, Verdict]:
        """All verdicts over two answers to it, by key."""
        return self.store.verdicts(list(self.store.rulings_of(prompt.id)))

    def met(self, row: Mapping[str, Any]) -> tuple[dict[str, str], list[Meeting], list[str]]:
        """Of a row: who battled and the hashes of their texts; the battles; verdicts that it names and that are gone.

        Calls that were asked again for want of an outcome belong to the same battles, though no row names them.
        """
        keys = [str(key) for key in row.get("verdicts") or ()]
        prompt = self.store.prompt(prompt_id_of(row))
        if prompt is None:
            return {}, [], keys
        found = self.store.verdicts(keys)
        told = {key: found[key] for key in keys if key in found}  # the first seats `model_a` first
        seats = {(v.first_hash, v.second_hash, v.judge_hash, v.template_hash) for v in told.values()}
        asked = self.verdicts_on(prompt).values() if told else ()
        again = {
            v.key: v
            for v in asked
            if v.outcome is None and (v.first_hash, v.second_hash, v.judge_hash, v.template_hash) in seats
        }
        hashes = {text for v in told.values() for text in (v.first_hash, v.second_hash)}
        who = contestants(row, hashes, self.answers(prompt).values())
        decided = self.merging._replace(one_seat_failed="use_one")  # a row names what counted, whatever else there is
        return who, meetings((told | again).values(), decided), [key for key in keys if key not in told]

    # ------------------------------------------------------------------ where something is named

    def rows_naming(self, word: str) -> list[Place]:
        """Training rows that a prompt's id or a key is named by in a column."""
        return [one for one in self.rows_with([word]) if names(one.row, word)]

    def rows_with(self, words: Sequence[str]) -> list[Place]:
        """Training rows whose line holds one of some words."""
        return [place for path in self.rows.values() for place in lines_with(path, words)]

    def dropped_naming(self, word: str) -> list[tuple[str, Place]]:
        """(stage, line) of prompts that gave no row."""
        files = dropped_files(self.home)
        return [(name, one) for name, path in files.items() for one in lines_with(path, [word]) if names(one.row, word)]

    def battles_naming(self, word: str) -> list[Place]:
        """Lines of ``battles.jsonl`` and ``undecided.jsonl``, here and on the boards beside."""
        beside = [folder for name in BESIDE for folder in sorted((self.home / name).glob("*"))]
        some = [self.directory, self.home, *beside]
        folders = {folder.resolve(): folder for folder in reversed(some)}.values()
        files = [folder / name for folder in folders for name in ("battles.jsonl", "undecided.jsonl")]
        return [one for path in files for one in lines_with(path, [word]) if names(one.row, word)]

    def rows_like(self, row: Mapping[str, Any]) -> list[Place]:
        """Training rows that teach what a row teaches, whatever else stands in them."""
        own = row_texts(row)
        if not own:
            raise InputError("the row on stdin holds no answer: messages, or prompt with chosen and rejected")
        texts = [one.texts for one in own]
        found = self.rows_with([own[0].texts[-1] if own[0].texts else ""])
        asked = prompt_id_of(row)
        return [p for p in found if [o.texts for o in row_texts(p.row)] == texts and prompt_id_of(p.row) == asked]


@contextmanager
def looked_up(directory: Path) -> Iterator[Looked]:
    """Open a run directory for reading, whether its run goes on, has stopped or has finished.

    Raises:
        InputError: there is no such directory, or no arena file in it.
        ArenaFileError: as of `Store`.
    """
    if directory.name in (ARENA, "config.yaml") and directory.is_file():
        directory = directory.parent
    if not os.path.isdir(directory):
        raise InputError(f"{directory}: no such run directory")
    home = home_of(directory)
    if not (home / ARENA).is_file():
        if (directory / "training.json").is_file():
            raise InputError(f"{directory}: a training's directory; give the run that its rows came from")
        raise InputError(f"{directory}: no run directory (no {ARENA})")
    with Store(home / ARENA, readonly=True) as store:
        settings, notes = None, [f"warning: {store.path}: {store.lost}"] if store.lost else []
        try:
            settings = _settings(directory / "config.yaml")
        except UserError as error:
            notes.append(f"thresholds and rules are not known: {error}")
        yield Looked(directory, home, store, settings, dict(store.stages()), notes)


def _leaves(name: str) -> bool:
    """Whether a relative name of a file leads out of the folder that it is looked for in."""
    return os.path.normpath(name).split(os.sep)[0] == os.pardir


def _shared(one: str, other: str) -> int:
    """How many characters two words begin with alike."""
    return next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), len(other))


def _settings(path: Path) -> JudgedSettings:
    values = read_yaml(path)
    recipe = values.get("recipe")
    return validate(recipe_named(recipe, str(path)).settings if recipe else BattleSettings, values, str(path))
