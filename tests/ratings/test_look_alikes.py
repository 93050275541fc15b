"""Names of models that a reader takes for one."""

from __future__ import annotations

import pytest

from arenaloop.ratings.battles import Battles
from arenaloop.ratings.look_alikes import name_twins


@pytest.mark.parametrize("twin", ["cafe\u0301", "café ", "ca\u200bfé", "café\u00a0", "CAFÉ", "\u0441\u0430fé", "cаfé"])
def test_names_that_look_the_same_are_told_with_their_counts(twin: str) -> None:
    (note,) = name_twins({"café": 7, "other": 1, twin: 1200})
    assert f"{'café'!a} (7) and {twin!a} (1,200) look alike" in note
    battles = Battles.from_columns({"model_a": ["café"], "model_b": [twin], "winner": ["tie"]})
    assert battles.notes == (note.replace("(7)", "(1)").replace("(1,200)", "(1)"),)
    assert len(battles.models) == 2


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("copy", "\u0441\u043e\u0440\u0443"),  # Cyrillic throughout
        ("BETA", "\u0392\u0395\u03a4\u0391"),  # Greek throughout
        ("gpt-4o", "gpt-40"),
        ("gpt-4o", "ɡpt-4o"),
        ("gpt-4", "gpt\u20114"),
        ("gpt-4", "gpt\u22124"),
        ("gpt-4", "ｇｐｔ-4"),
        ("gpt-4", "𝐠𝐩𝐭-4"),
        ("gpt-4", "gpt-4\ufe0f"),
        ("gpt-4", "gpt-4\u3164"),
        ("gpt-4", "gpt-\u2800\u034f4"),
        ("wide-a", "\u13b3ide-a"),  # Cherokee, which no table of ours has
        ("ada bo", "ada\u2003bo"),
    ],
)
def test_letters_of_other_scripts_and_what_one_cannot_see(name: str, twin: str) -> None:
    assert len(name_twins({name: 1, twin: 2, "third": 3})) == 1


@pytest.mark.parametrize("name", ["openai/gpt-4o", "openrouter/openai/GPT-4o", "azure:gpt-4o"])
def test_a_name_with_a_provider_and_without(name: str) -> None:
    (note,) = name_twins({name: 3, "gpt-4o": 5, "anthropic/claude": 1, "bedrock/claude": 1})
    assert note == f"'gpt-4o' (5) and {name!r} (3) differ by a provider alone and are rated as different models"


@pytest.mark.parametrize(
    "names",
    [
        ("gpt-4", "gpt 4", "gpt_4", "gpt-42", "gpt-4.1", "gpt-4-turbo"),
        ("llama-2-7b", "llama-2-70b", "llama-27b"),
        ("模型a", "模垫a", "aa a"),
        ("Мишка", "Мишки", "миска"),
        ("café", "cafe"),
        ("x", "y", ""),
        ("meta/llama-3", "nous/llama-3", "llama-3:8b", "llama-3:70b"),
    ],
)
def test_names_that_differ_to_the_eye_are_not(names: tuple[str, ...]) -> None:
    assert name_twins(dict.fromkeys(names, 1)) == []
