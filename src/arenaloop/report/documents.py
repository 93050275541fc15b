"""The result files of a run directory, read and checked."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from arenaloop.data.result_files import home_of
from arenaloop.errors import InputError
from arenaloop.regular_files import read_text, refuse_others
from arenaloop.report.texts import one_line

__all__ = ["Documents", "number", "read_documents"]

NEEDED = ("config.yaml", "arena.db", "battles.jsonl", "leaderboard.json", "summary.json")

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""the safe loader in C where it is there: a tenth of the time"""
_BOARD = {"method": str, "interval": str, "cluster": str, "battles": int, "ties": int, "leaderboard": list}
_SUMMARY = {"battles_wanted": int, "battles_decided": int, "verdicts_ok": int, "verdicts_failed": dict}

_PARAGRAPHS, _PARAGRAPH = 6, 2_000
"""paragraphs that are shown, and their characters"""
_SHOWN = 24
"""tables and curves that are shown, of a stage or of none"""
_RATED = ("rating", "lower", "upper", "win_rate", "weighted_win_rate", "undecided_share", "worst", "best")
_FIGURES = ("rating", "lower", "upper", "gold_accuracy", "gold_utility", "mean_length", "seconds")


@dataclass(frozen=True)
class Documents:
    """What a finished run wrote besides its battles.

    Attributes:
        directory: the run directory, or a folder of results beside its own, as ``DIR/rejudged/NAME``.
        config_text: ``config.yaml`` as it stands; `config` is the mapping in it.
        board: ``leaderboard.json``; `rows` are its models, best first.
        summary: ``summary.json``; what a recipe says of itself there is empty for a battle run: `stages` in order,
            `prose`, and `tables` and `curves` of a stage or of the whole.
    """

    directory: Path
    config_text: str
    config: Mapping[str, Any]
    board: Mapping[str, Any]
    summary: Mapping[str, Any]

    @property
    def arena(self) -> Path:
        """The arena file behind it; of ``DIR/rejudged/NAME`` that of DIR."""
        return home_of(self.directory) / "arena.db"

    @property
    def one_seat(self) -> bool:
        """Whether the judge was asked about each pair from one seat alone."""
        return self.config.get("seats") == "seeded"

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Models, best first; what is missing or no number is None."""
        return [
            {"model": str(row["model"]), "rank": row.get("rank") or place, "battles": _whole(row.get("battles"))}
            | {key: number(row.get(key)) for key in _RATED}
            | {key: _whole(row.get(key)) for key in ("own_failures", "undecided")}
            for place, row in enumerate(self.board["leaderboard"], 1)
        ]

    @property
    def stages(self) -> Sequence[Mapping[str, Any]]:
        """Training stages in order; what is missing or no number is None."""
        return [
            {"name": str(row["name"]), "rows": _whole(row.get("rows"))}
            | {key: number(row.get(key)) for key in _FIGURES}
            for row in self.summary.get("stages") or ()
        ]

    @property
    def prose(self) -> Sequence[str]:
        """What a recipe says of how it went, a paragraph each."""
        told = self.summary.get("prose")
        return [one_line(text, _PARAGRAPH) for text in told[:_PARAGRAPHS]] if isinstance(told, list) else []

    def figures(self, key: Literal["tables", "curves"], stage: str | None = None) -> Sequence[Mapping[str, Any]]:
        """Tables or curves of one stage, or of none."""
        return [one for one in self.summary.get(key) or () if one.get("stage") == stage][:_SHOWN]


def read_documents(directory: Path) -> Documents:
    """Read the result files of a run directory.

    Raises:
        InputError: the directory or one of its files is missing, or a file does not hold what it should.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise InputError(f"{directory}: no such run directory")
    arena = home_of(directory) / "arena.db"
    files = {name: arena if name == "arena.db" else directory / name for name in NEEDED}
    refuse_others(files.values())
    missing = [name for name, path in files.items() if not path.is_file()]
    if missing == list(NEEDED):
        trainings = sorted(path.parent for path in directory.glob("*/training.json"))
        if trainings:
            raise InputError(
                f"{directory} holds trainings, each with a report of its own: arenaloop report {trainings[-1]}"
            )
        raise InputError(f"{directory}: no run directory (no {', no '.join(missing)})")
    if missing:
        raise InputError(
            f"{directory}: no {', no '.join(missing)}; the run has not finished: the command that began it resumes it"
        )
    config_text = _text(directory / "config.yaml")
    try:
        config = yaml.load(config_text, _LOADER)  # noqa: S506 - a safe one
    except yaml.YAMLError:
        config = None  # it is shown as it stands, and nothing else depends on it
    board = _mapping(directory / "leaderboard.json", _BOARD)
    if not all(isinstance(row, dict) and "model" in row for row in board["leaderboard"]):
        raise InputError(f"{directory / 'leaderboard.json'}: its 'leaderboard' is no list of models")
    summary = _mapping(directory / "summary.json", _SUMMARY)
    for key, named in (("stages", "name"), ("tables", "title"), ("curves", "title")):
        some = summary.get(key) or []
        if not isinstance(some, list) or not all(isinstance(row, dict) and named in row for row in some):
            raise InputError(f"{directory / 'summary.json'}: its {key!r} are no list of {key}")
    return Documents(directory, config_text, config if isinstance(config, dict) else {}, board, summary)


def number(value: Any) -> float | None:
    """`value` if it is a finite number, else None."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if plain and math.isfinite(value) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(path: Path) -> str:
    try:
        return read_text(path, errors="replace")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


def _mapping(path: Path, fields: Mapping[str, type]) -> dict[str, Any]:
    try:
        value = json.loads(_text(path))
    except ValueError as error:
        raise InputError(f"{path}: not a JSON document ({error})") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object")
    for name, kind in fields.items():
        if not isinstance(value.get(name), kind):
            raise InputError(f"{path}: {name!r} is missing or is no {kind.__name__}")
    return value
