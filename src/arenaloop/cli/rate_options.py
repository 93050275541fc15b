"""Options that the verbs which rate battles share, and what their values mean."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, cast

import typer

from arenaloop.errors import ConfigError

if TYPE_CHECKING:
    from arenaloop.data.run_battles import OwnFailure

__all__ = [
    "JudgeOption",
    "LeastOption",
    "OwnFailureOption",
    "PromptsOption",
    "WhereOption",
    "alone",
    "parse_anchor",
    "parse_controls",
    "parse_own_failure",
    "refuse_rule",
    "refuse_where",
]

OwnFailureOption = Annotated[
    str | None,
    typer.Option(
        metavar="loss|drop",
        help="Battles that a contestant left undecided by its own failure, of a run directory: its losses, or dropped. "
        "Default: as the directory has it.",
    ),
]
JudgeOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Of a file's judges this one alone; may be given again for several."),
]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN=VALUE",
        help="Of a file those rows alone, dots leading into objects: anony=true, dedup_tag.sampled=true; != leaves "
        "out; may be given again.",
    ),
]
PromptsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="With --by: the prompts that carry TAG, joined by question_id, uid or prompt_id. Default: question.jsonl "
        "beside model_judgment.",
    ),
]
LeastOption = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, help="With --by: how many battles the median model of a part has at least. Default: 30."
    ),
]


def alone(file: Path) -> bool:
    """Whether a file of battles lies by itself, or in a folder that is no run's but for its name."""
    return file.is_file() and not any((file.parent / name).exists() for name in ("arena.db", "leaderboard.json"))


def refuse_where(file: Path) -> NoReturn:
    """Refuse --where for a run.

    Raises:
        ConfigError: always.
    """
    raise ConfigError(f"--where goes with files, by their columns; {file} is a run: --by has a board for each of a tag")


def parse_own_failure(text: str | None, file: Path, *, in_run: bool) -> OwnFailure | None:
    """``loss``, ``drop``, or None where none was given.

    Raises:
        ConfigError: it is something else, or `file` is of no run.
    """
    if text is not None and text not in ("loss", "drop"):
        raise ConfigError(f"--own-failure must be loss or drop, not {text!r}")
    if text is not None and not in_run:
        raise ConfigError(f"--own-failure goes with a run directory; {file} does not tell whose failures there are")
    return cast("OwnFailure | None", text)


def refuse_rule(rule: str | None, file: Path, *, in_run: bool) -> None:
    """Refuse ``arena_hard`` of what is no run: the files of games have their labels' weights anyway.

    Raises:
        ConfigError: as told.
    """
    if rule == "arena_hard" and not in_run:
        raise ConfigError(f"--rule arena_hard goes with a run directory; {file}, read as a table, weighs what it says")


def parse_anchor(text: str | None) -> tuple[str, float] | None:
    """``NAME=VALUE`` as a model and its rating; the last ``=`` divides, as names may hold one.

    Raises:
        ConfigError: it is not of that form, or the value is no number.
    """
    if text is None:
        return None
    name, equals, value = text.rpartition("=")
    try:
        if not (equals and name):
            raise ValueError
        return name, float(value)
    except ValueError:
        raise ConfigError(f"--anchor wants NAME=VALUE, such as llama-2-70b-chat=1100, not {text!r}") from None


def parse_controls(texts: list[str]) -> tuple[list[str], dict[str, tuple[float, float]]]:
    """Names of covariates, and coefficient and scale of those that are frozen (``NAME=COEFFICIENT:SCALE``).

    A part of style may be frozen beside ``style``.

    Raises:
        ConfigError: one is not of that form, its scale is not positive, a number not finite, or a name comes twice.
    """
    from arenaloop.ratings.style_features import FEATURES, feature_names

    names: list[str] = []
    frozen: dict[str, tuple[float, float]] = {}
    for text in texts:
        name, equals, numbers = text.partition("=")
        if not name or name in names:
            raise ConfigError(f"--control wants different names, such as length, not {text!r}")
        names.append(name)
        if equals:
            value, _, scale = numbers.partition(":")
            try:
                frozen[name] = (float(value), float(scale))
                if not (frozen[name][1] > 0 and all(map(math.isfinite, frozen[name]))):
                    raise ValueError
            except ValueError:
                raise ConfigError(
                    f"--control wants NAME=COEFFICIENT:SCALE, as rank prints them, not {text!r}"
                ) from None
    if "style" in names:
        names = [name for name in names if name not in FEATURES or name not in frozen]
    try:
        feature_names(names)
    except ValueError as error:
        raise ConfigError(f"--control: {error}") from None
    return names, frozen
