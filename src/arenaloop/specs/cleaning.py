"""Cleaning settings → what they name: a filter of the user's, a tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from arenaloop.config import CleaningSettings
from arenaloop.errors import ConfigError, InputError
from arenaloop.specs.python_files import python_function
from arenaloop.types import Message

if TYPE_CHECKING:
    from arenaloop.data.cleaning.pipeline import Cleaner
    from arenaloop.data.cleaning.rows import BenchmarkItem
    from arenaloop.data.cleaning.steps import Filter

__all__ = ["benchmarks", "cleaner"]


def cleaner(settings: CleaningSettings, seed: int) -> Cleaner:
    """The cleaner of these settings.

    Raises:
        ConfigError, InputError: what they name is not there.
        MissingExtraError: it needs a library that is not installed.
    """
    from arenaloop.data.cleaning.pipeline import Cleaner

    return Cleaner(
        settings,
        seed,
        None if settings.toxic is None else _filter(settings.toxic),
        None if settings.tokenizer is None else _counts_tokens(settings.tokenizer),
    )


def benchmarks(settings: CleaningSettings) -> list[BenchmarkItem]:
    """The test prompts of the files that the settings name; errors as in `data.cleaning.rows.benchmark_items`."""
    from arenaloop.data.cleaning.rows import benchmark_items

    return [item for file in settings.against for item in benchmark_items(Path(file))]


def _filter(spec: str) -> Filter:
    kind, _, rest = spec.partition(":")
    if kind != "python":
        raise ConfigError(f"toxic {spec!r}: expected python:FILE.py:FUNCTION")
    function = python_function("toxic", spec, rest)[2]

    def is_toxic(conversations: Sequence[Sequence[Message]]) -> list[bool | str]:
        try:
            given = list(function([list(one) for one in conversations]))
        except (Exception, SystemExit) as error:  # whatever the user's function raises
            raise InputError(f"toxic {spec!r}: {type(error).__name__}: {error}") from error
        if len(given) != len(conversations):
            raise InputError(f"toxic {spec!r}: {len(given)} answers for {len(conversations)} conversations")
        return [each if isinstance(each, str) else _truth(spec, each) for each in given]

    return is_toxic


def _truth(spec: str, value: object) -> bool:
    """True or False, of Python or of numpy; a score is neither: who decides how high it must be?"""
    if value is None or value in (0, 1):
        return bool(value)
    raise InputError(f"toxic {spec!r}: gave {value!r}, which is neither true or false nor a reason")


def _counts_tokens(model: str) -> Callable[[str], int]:
    from arenaloop.models.checkpoint import load_tokenizer

    tokenizer = load_tokenizer(model)
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False))
