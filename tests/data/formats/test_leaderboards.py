from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import pytest

from arenaloop.arena.leaderboard import leaderboard
from arenaloop.data.formats import read_leaderboard
from arenaloop.errors import InputError
from arenaloop.ratings.agreement import Scored

COLUMNS = {"model_a": ["x", "y", "z"] * 9, "model_b": ["y", "z", "x"] * 9, "winner": ["model_a", "model_b", "tie"] * 9}


def test_our_own_document_comes_back(tmp_path: Path) -> None:
    board = leaderboard(COLUMNS)
    (tmp_path / "leaderboard.json").write_text(board.to_json())
    read = read_leaderboard(tmp_path)
    ends = {
        row.model: (
            -math.inf if row.lower is None else row.lower,
            math.inf if row.upper is None else row.upper,
        )
        for row in board.rows
    }
    assert ends["y"][0] == -math.inf  # it lost every battle
    assert read == {row.model: Scored(row.rating, *ends[row.model]) for row in board.rows}


@pytest.mark.parametrize("packed", [False, True])
def test_csv_with_other_columns(tmp_path: Path, packed: bool) -> None:
    text = b"rank,model,rating,lower,upper,votes\n1,a,1100.5,1090,1110,7\n2,b,1000,,,3\n"
    (tmp_path / "b.csv").write_bytes(gzip.compress(text) if packed else text)
    assert read_leaderboard(tmp_path / "b.csv") == {"a": Scored(1100.5, 1090.0, 1110.0)}


def test_a_bare_list_of_rows(tmp_path: Path) -> None:
    rows = [
        {"model": "a", "rating": 1, "lower": 0, "upper": 2},
        {"model": "b", "rating": None, "lower": None, "upper": 1},
    ]
    (tmp_path / "b.json").write_text(json.dumps(rows))
    assert read_leaderboard(tmp_path / "b.json") == {"a": Scored(1.0, 0.0, 2.0)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model,rating,lower\na,1,0\n", r"line 2: missing column upper \(found: model, rating, lower\)"),
        ("model,rating,lower,upper\na,high,0,1\n", "line 2: rating 'high' is no number"),
        ("model,rating,lower,upper\na,nan,0,1\n", "is not finite"),
        ("model,rating,lower,upper\na,1,0,2\na,1,0,2\n", "'a' for the second time"),
        ('{"models": []}', "no 'leaderboard' in it"),
        ('{"leaderboard": [', "line 1"),
        ("", "empty"),
    ],
)
def test_bad_leaderboards_are_user_errors(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "b").write_text(text)
    with pytest.raises(InputError, match=message):
        read_leaderboard(tmp_path / "b")
