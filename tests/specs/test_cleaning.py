"""Cleaning settings → what they name."""

from __future__ import annotations

from pathlib import Path

import pytest

from arenaloop.config import CleaningSettings
from arenaloop.data.cleaning.pipeline import clean
from arenaloop.data.cleaning.rows import prompt_rows
from arenaloop.errors import ConfigError, InputError
from arenaloop.sandbox.target import build_tokenizer
from arenaloop.specs.cleaning import cleaner
from arenaloop.types import Prompt


def test_tokens_are_those_of_a_tokenizer(tmp_path: Path) -> None:
    build_tokenizer().save_pretrained(tmp_path)
    settings = CleaningSettings(min_len=5, min_len_unit="token", tokenizer=str(tmp_path), lang="any")
    account, rows = clean(prompt_rows(map(Prompt.of, ["abcd", "abcde"])), cleaner(settings, 0), [])
    assert [row.asked for row in rows] == ["abcde"]  # a token a character, and none around them
    assert account.steps[0].about == "shorter than 5 tokens"


def test_a_tokenizer_that_is_not_there(tmp_path: Path) -> None:
    settings = CleaningSettings(min_len_unit="token", tokenizer=str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="nowhere"):
        cleaner(settings, 0)


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        ("builtin:detoxify", ConfigError, "expected python:FILE.py:FUNCTION"),
        ("python:nowhere.py:f", InputError, "toxic 'python:nowhere.py:f': nowhere.py: no such file"),
    ],
)
def test_a_filter_that_is_not_there(spec: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        cleaner(CleaningSettings(toxic=spec), 0)
