"""Boards of parts: the same as of the part's own file; thin ones are named."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from arenaloop.arena.leaderboard import leaderboard
from arenaloop.arena.slices import THIN, slice_boards
from arenaloop.data.formats.battles import battles_from_frame
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
    assert german.median is not None
    assert slice_boards(battles, least=int(german.median) + 1)[1].board is None
    assert [row.model for row in german.board.rows] == ["m0", "m1"]
    assert slice_boards(battles, anchor=("m2", 1000.0))[1].reason == "no battle of the anchor m2"


@pytest.mark.parametrize("form", ["rows", "frame"])
def test_what_was_left_out_is_counted_in_its_own_part(form: str) -> None:
    table = columns()
    rng = np.random.default_rng(5)
    for i in rng.choice(860, 40, replace=False):
        table["winner"][i] = None
    table["model_b"][3] = table["model_a"][3]  # against itself
    table["model_a"][7] = None
    table["model_a"][600] = table["model_a"][601] = " "

    def read(cells: dict, by: str | None = None) -> Battles:
        return Battles.from_columns(cells, by=by) if form == "rows" else battles_from_frame(pl.DataFrame(cells), by=by)

    table["language"][-1] = None  # a frame has no NaN among texts
    battles = read(table, "language")
    parts = slice_boards(battles)
    for part, of in zip(parts, (slice(0, 500), slice(500, 860)), strict=False):
        alone = leaderboard(read({name: cells[of] for name, cells in table.items()}))
        assert part.board is not None
        assert part.board.skipped == alone.skipped > 0
        for row in alone.rows:
            told = part.board[row.model]
            assert (told.undecided, told.battles) == (row.undecided, row.battles)
            assert (told.worst, told.best) == pytest.approx((row.worst, row.best))
    skipped = sum(part.board.skipped for part in parts[:2] if part.board)
    assert skipped == battles.skipped == leaderboard(battles).skipped


def test_failures_of_a_runs_battles_are_counted_where_their_prompts_are() -> None:
    table = columns()
    battles = Battles.from_columns(table, by="language").with_failures(
        [("m0", "m1"), ("m0", "new"), ("m1", "m2")],
        {"m0": 2, "m2": 1},
        tags=["en", "en", "de"],
        failed=[("m0", "en"), ("m0", "de"), ("m2", "de")],
    )
    english, german = (part.board for part in slice_boards(battles)[:2])
    assert english is not None
    assert german is not None
    assert (battles.skipped, english.skipped, german.skipped) == (3, 2, 1)
    assert {row.model: (row.undecided, row.own_failures) for row in english.rows} == {
        "m0": (2, 1), "m1": (1, 0), "m2": (0, 0), "new": (1, 0),
    }  # fmt: skip
    assert {row.model: (row.undecided, row.own_failures) for row in german.rows} == {
        "m0": (0, 1), "m1": (1, 0), "m2": (1, 1),
    }  # fmt: skip
