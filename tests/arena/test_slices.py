"""Boards of parts: the same as of the part's own file; thin ones are named."""

from __future__ import annotations

import numpy as np
import pytest

from arenaloop.arena.leaderboard import leaderboard
from arenaloop.arena.slices import THIN, slice_boards
from arenaloop.ratings.battles import Battles


def columns(count: int = 900) -> dict:
    rng = np.random.default_rng(4)
    a = rng.integers(0, 3, count)
    b = (a + rng.integers(1, 3, count)) % 3
    language = np.where(np.arange(count) < 500, "en", np.where(np.arange(count) < 860, " de ", "fr")).tolist()
    language[-3:] = [None, "", float("nan")]
    strength = np.array([0.8, 0.0, -0.8])
    won = rng.random(count) < 1 / (1 + np.exp(strength[b] - strength[a]))
    return {
        "model_a": [f"m{i}" for i in a],
        "model_b": [f"m{i}" for i in b],
        "winner": np.where(won, "model_a", "model_b").tolist(),
        "prompt_id": (np.arange(count) % 300).tolist(),
        "language": language,
    }


def test_a_part_has_the_board_of_its_own_battles_and_a_thin_one_is_named() -> None:
    table = columns()
    english, german, french, none = slice_boards(Battles.from_columns(table, by="language"))
    assert [(part.value, part.battles) for part in (english, german, french, none)] == [
        ("en", 500), ("de", 360), ("fr", 37), (None, 3),
    ]  # fmt: skip
    own = {name: cells[500:860] for name, cells in table.items()}
    alone = leaderboard(own)
    assert german.board.notes == alone.notes
    for row in alone.rows:
        told = german.board[row.model]
        assert (told.rating, told.lower, told.upper) == pytest.approx((row.rating, row.lower, row.upper))
        assert (told.rank, told.rank_lower, told.tier) == (row.rank, row.rank_lower, row.tier)
    assert (french.board, none.board) == (None, None)
    assert french.reason.endswith(f"battles of the median model, fewer than {THIN}")
    assert none.reason == "battles without a value"


def test_models_that_a_part_lacks_are_not_on_its_board_nor_an_anchor_that_it_lacks() -> None:
    table = columns()
    keep = [language != " de " or "m2" not in (a, b) for a, b, language in
            zip(table["model_a"], table["model_b"], table["language"], strict=True)]  # fmt: skip
    table = {name: [cell for cell, kept in zip(cells, keep, strict=True) if kept] for name, cells in table.items()}
    battles = Battles.from_columns(table, by="language")
    german = slice_boards(battles)[1]
    assert [row.model for row in german.board.rows] == ["m0", "m1"]
    assert slice_boards(battles, anchor=("m2", 1000.0))[1].reason == "no battle of the anchor m2"
