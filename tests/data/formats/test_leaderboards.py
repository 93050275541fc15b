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


@pytest.mark.parametrize("text", ["model,rating\na,3\nb,2\nc,\n", "model,rating,lower,upper\na,3,,\nb,2,,\nc,,,\n"])
def test_a_list_without_any_interval_is_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "b.csv").write_text(text)
    board = read_leaderboard(tmp_path / "b.csv")
    assert board == {"a": Scored(3.0, -math.inf, math.inf), "b": Scored(2.0, -math.inf, math.inf)}
    assert board.notes == (
        f"{tmp_path / 'b.csv'}: no row has an interval",
        f"{tmp_path / 'b.csv'}: without a rating, left out: 'c'",
    )
    (tmp_path / "b.csv").write_text("model,rating\na,3\na,2\n")
    with pytest.raises(InputError, match="'a' for the second time"):
        read_leaderboard(tmp_path / "b.csv")
    (tmp_path / "b.csv").write_text("model,rating\na,\n")
    with pytest.raises(InputError, match="no row with a rating"):
        read_leaderboard(tmp_path / "b.csv")


def test_another_column_may_be_the_rating(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text(
        ",win_rate,standard_error,length_controlled_winrate\na,50,1,40\nb,40,1,45\nc,1,1,\n"
    )
    board = read_leaderboard(tmp_path / "b.csv", rating="length_controlled_winrate")
    assert {name: row.rating for name, row in board.items()} == {"a": 40.0, "b": 45.0}
    assert board.column == "length_controlled_winrate"
    other = read_leaderboard(tmp_path / "b.csv", rating="arena_elo")
    assert (other.column, other["a"].rating) == (None, 50.0)


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
        (
            "model,rating,lower,upper\na,1,0,2\nb,1200,-20,+20\n",
            r"line 3: model 'b': rating 1200 .* -20 to 20",
        ),
        ("model,rating,lower,upper\nb,1200,20,20\n", "line 2: .* outside its interval 20 to 20"),
        ("model,rating,lower,upper\nb,1150.5,,1149\n", "line 2: .* outside its interval open to 1149"),
        ("model,rating,lower,upper\nb,0.95,0.4,0.6\n", "line 2: .* outside"),
        ("model,rating,lower,upper\nb,1200,1220,1180\n", "line 2: .*lower 1220 lies above upper 1180"),
        ('{"models": []}', "no 'leaderboard' in it"),
        ('{"leaderboard": [', "line 1"),
        ("", "empty"),
    ],
)
def test_bad_leaderboards_are_user_errors(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "b").write_text(text)
    with pytest.raises(InputError, match=message):
        read_leaderboard(tmp_path / "b")


@pytest.mark.parametrize("row", ["1200,1200,1200", "1200,1200.3,1200.4", "0.5,0.45,0.55", "50.04,,50.0", "-3,-20,20"])
def test_rounded_and_one_sided_intervals_hold_their_ratings(tmp_path: Path, row: str) -> None:
    (tmp_path / "b.csv").write_text(f"model,rating,lower,upper\na,{row}\n")
    assert read_leaderboard(tmp_path / "b.csv").notes == ()


def test_what_was_left_out_and_ranks_the_other_way_round_are_named(tmp_path: Path) -> None:
    head = "rank,model,rating,lower,upper\n"
    (tmp_path / "b.csv").write_text(head + "3,a,3,2,4\n2,b,2,1,3\n1,c,1,0,2\n4,d,,,\n")
    left_out, ranks = read_leaderboard(tmp_path / "b.csv").notes
    assert left_out.endswith("left out: 'd'")
    assert "ranks rise with its ratings" in ranks
    (tmp_path / "b.csv").write_text(head + "1,a,3,2,4\n2,b,2,1,3\n2,c,2.1,1,3\n")
    assert read_leaderboard(tmp_path / "b.csv").notes == ()


@pytest.mark.parametrize("model", ["model", ""])
def test_alpaca_evals_leaderboard_is_read_by_its_win_rates(tmp_path: Path, model: str) -> None:
    path = tmp_path / "leaderboard.csv"
    path.write_text(f"{model},win_rate,standard_error,n_total,mode\na,50.5,1.5,805,x\nb,12,0.5,805,x\nc,3.0,,805,x\n")
    board = read_leaderboard(path)
    assert board == {"a": Scored(50.5, 50.5 - 1.96 * 1.5, 50.5 + 1.96 * 1.5), "b": Scored(12.0, 11.02, 12.98)}
    assert any("AlpacaEval's" in note for note in board.notes)
    assert any("left out: 'c'" in note for note in board.notes)
    path.write_text("win_rate,standard_error\n50.5,1.5\n")
    with pytest.raises(InputError, match="line 2: no model's name"):
        read_leaderboard(path)


def test_which_rate_is_the_rating_can_be_said(tmp_path: Path) -> None:
    path = tmp_path / "leaderboard.csv"
    path.write_text(
        "model,win_rate,standard_error,length_controlled_winrate,lc_standard_error\n"
        "a,50.0,1.0,40.0,0.5\nb,20.0,2.0,30.0,\nc,10.0,1.0,,\n"
    )
    raw, controlled = read_leaderboard(path, "raw"), read_leaderboard(path, "controlled")
    assert raw == read_leaderboard(path)
    assert raw["a"] == Scored(50.0, 48.04, 51.96)
    assert controlled == {"a": Scored(40.0, 39.02, 40.98), "b": Scored(30.0, 26.08, 33.92)}
    said = " ".join(controlled.notes)
    assert "length_controlled_winrate, and 1.96 lc_standard_error" in said
    assert "1 model without lc_standard_error: standard_error stands for it" in said
    assert "left out: 'c'" in said
    rows = [
        {"model": name, "win_rate": rate, "lower": rate - 1, "upper": rate + 1}
        | {"lc_win_rate": rate - 5, "lc_lower": rate - 6, "lc_upper": rate - 4}
        for name, rate in (("a", 60.0), ("b", 40.0))
    ]
    (tmp_path / "winrate.json").write_text(json.dumps({"baseline": "b", "leaderboard": rows}))
    assert read_leaderboard(tmp_path / "winrate.json")["a"].rating == 55.0
    assert read_leaderboard(tmp_path / "winrate.json", "controlled")["a"].rating == 55.0
    assert read_leaderboard(tmp_path / "winrate.json", "raw")["a"].rating == 60.0
