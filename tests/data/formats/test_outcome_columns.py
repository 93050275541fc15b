"""Who won, by every column that tells it, and what other columns do to their rows: one rule for votes and labels."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from arenaloop.data.formats import read_annotations, read_battles
from arenaloop.data.formats.labels import read_labels
from arenaloop.data.formats.outcome_columns import read_told
from arenaloop.errors import InputError

Row = dict[str, Any]
WON = {"model_a": "ada", "model_b": "bo", "winner": "model_a", "prompt_id": "p"}
LOST = WON | {"winner": "model_b"}
LABEL = {"prompt": "q", "response_a": "x", "response_b": "y", "winner": "model_a"}


def as_jsonl(path: Path, rows: list[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def as_array(path: Path, rows: list[Row]) -> None:
    path.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]")


def as_csv(path: Path, rows: list[Row]) -> None:
    text = io.StringIO()
    table = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
    table.writeheader()
    table.writerows(rows)
    path.write_text(text.getvalue())


def as_parquet(path: Path, rows: list[Row]) -> None:
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(path)


every_form = pytest.mark.parametrize("save", [as_jsonl, as_array, as_csv, as_parquet])
Save = Callable[[Path, list[Row]], None]


@every_form
def test_a_count_of_votes_is_a_weight(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "v", [WON | {"count": 1}, LOST | {"count": 50}])
    battles = read_battles(tmp_path / "v")
    assert battles.weight is not None
    assert battles.weight.tolist() == [1.0, 50.0]
    assert battles.notes == ("column count is read as weight: a row stands for as many",)


def test_games_have_weights_of_their_own_and_of_their_row(tmp_path: Path) -> None:
    games = {"uid": "u", "model": "x", "baseline": "y", "games": [{"score": "A>>B"}, {"score": "B>A"}]}
    as_jsonl(tmp_path / "v", [games | {"weight": 2.0}, games | {"weight": 1.0}])
    weight = read_battles(tmp_path / "v").weight
    assert weight is not None
    assert weight.tolist() == [6.0, 2.0, 3.0, 1.0]


@every_form
def test_two_columns_that_weigh_are_one_too_many(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "v", [WON | {"count": 1, "weight": 2}, LOST | {"count": 50, "weight": 1}])
    with pytest.raises(InputError, match=r"(line|row) [23]: column count: 50, after 1: .* unequally many"):
        read_battles(tmp_path / "v")


@every_form
def test_a_row_that_is_turned_stops_every_reader(tmp_path: Path, save: Save) -> None:
    path = tmp_path / "v"
    save(path, [WON | {"order_swapped": False}] * 150 + [LOST | {"order_swapped": True}])
    with pytest.raises(InputError, match="column order_swapped: in 1 of 151 rows"):
        read_battles(path)
    with pytest.raises(InputError, match="column order_swapped: in 1 of 151 rows"):
        read_annotations(path, "ada")
    save(path, [LABEL | {"order_swapped": False}, LABEL | {"order_swapped": True}])
    with pytest.raises(InputError, match="column order_swapped: in 1 of 2 rows"):
        read_labels(path)


def test_a_column_that_comes_late_is_seen(tmp_path: Path) -> None:
    as_jsonl(tmp_path / "v.jsonl", [WON] * 150 + [LOST | {"swapped": True}])
    with pytest.raises(InputError, match="line 151: column swapped"):
        read_battles(tmp_path / "v.jsonl")


@every_form
def test_rows_that_say_that_they_do_not_count_are_left_out(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "v", [WON | {"is_valid": True}, LOST | {"is_valid": False}])
    battles = read_battles(tmp_path / "v")
    assert battles.score_a.tolist() == [1.0]
    assert battles.notes == ("1 of 2 rows left out by their column is_valid",)
    save(tmp_path / "v", [LABEL | {"spam": False}, LABEL | {"spam": True}])
    labels = read_labels(tmp_path / "v")
    assert (len(labels), labels.left_out) == (1, 1)
    assert labels.notes == ("1 of 2 rows left out by their column spam",)


@every_form
def test_two_scores_are_shares_of_a_battle_or_grades(tmp_path: Path, save: Save) -> None:
    bare = {name: cell for name, cell in WON.items() if name != "winner"}
    save(tmp_path / "v", [bare | {"score_a": 0.8, "score_b": 0.2}, bare | {"score_a": 0.33, "score_b": 0.67}])
    assert read_battles(tmp_path / "v").score_a.tolist() == [0.8, 0.33]
    for first, second in ((0.8, 0.9), (3.0, 9.0), ("7,5", "8")):
        save(
            tmp_path / "v", [bare | {"score_a": first, "score_b": second}, bare | {"score_a": first, "score_b": first}]
        )
        battles = read_battles(tmp_path / "v")
        assert battles.score_a.tolist() == [0.0, 0.5]
        assert battles.notes == (
            "score_a and score_b do not make 1 together, so they are two grades: the higher one wins",
        )


CONTRADICTIONS: list[Row] = [
    {"score_a": 0.0},
    {"score_a": 0.5},
    {"score_a": 3.0, "score_b": 9.0},
    {"preference": 2},
    {"preference": "model_b"},
    {"winner_model_a": 0, "winner_model_b": 1, "winner_tie": 0},
    {"winner_model_a": 0, "winner_model_b": 0, "winner_tie": 1},
]


@every_form
@pytest.mark.parametrize("more", CONTRADICTIONS, ids=str)
def test_columns_that_name_different_winners_leave_the_row_in_doubt(tmp_path: Path, save: Save, more: Row) -> None:
    agreeing: Row = {
        name: {"score_a": 1.0, "score_b": 0.0, "preference": 1, "winner_model_a": 1}.get(name, 0) for name in more
    }
    if isinstance(more.get("preference"), str):
        agreeing = {"preference": "model_a"}
    for row, read in ((WON, read_battles), (LABEL, read_labels)):
        save(tmp_path / "v", [row | agreeing] * 39 + [row | more])
        told = read(tmp_path / "v")
        assert len(told) == 39
        assert any("1 of 40 rows without columns that agree on who won left out" in note for note in told.notes)
        save(tmp_path / "v", [row | agreeing] * 3 + [row | more])
        with pytest.raises(InputError, match=r"(line|row) [45]: .*agree on who won"):
            read(tmp_path / "v")


def test_a_tie_beside_different_grades_is_the_judges_own() -> None:
    """Who calls 7 and 8 a tie has a margin; who calls 7 and 8 a win of the first does not."""
    cells: dict[str, list[Any]] = {"winner": ["tie", "model_b"], "score_a": [7, 7], "score_b": [8, 8]}
    assert read_told(cells, (["a"] * 2, ["b"] * 2)).score.tolist() == [0.5, 0.0]


def test_what_one_column_leaves_open_another_tells() -> None:
    cells: dict[str, list[Any]] = {"winner": ["model_a", None, "error", ""], "preference": [None, 2, 1, None]}
    score = read_told(cells, (["a"] * 4, ["b"] * 4)).score
    assert score[:2].tolist() == [1.0, 0.0]
    assert np.isnan(score[2:]).all()  # a failed judgment is none, whatever else stands there


def test_a_second_column_that_cannot_be_read_is_named() -> None:
    cells: dict[str, list[Any]] = {"winner": ["model_a"] * 3, "score_a": [8, 9, 7]}
    outcomes = read_told(cells, (["a"] * 3, ["b"] * 3))
    assert outcomes.score.tolist() == [1.0] * 3
    (note,) = outcomes.notes
    assert note.startswith("column score_a is not compared with winner: row ")


def test_a_gold_preference_beside_a_preference_is_another_matter(tmp_path: Path) -> None:
    as_jsonl(tmp_path / "a", [{**LABEL, "preference": 1, "gold_preference": 2}])
    assert [label.preference for label in read_labels(tmp_path / "a")] == [1.0]


def test_the_header_of_a_second_table_is_no_battle(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    as_csv(path, [WON, LOST])
    path.write_text(path.read_text() * 2)
    battles = read_battles(path)
    assert (len(battles), battles.models) == (4, ("ada", "bo"))
    assert battles.notes == ("1 of 5 rows repeat the header and were left out",)
    path.write_text("model_a,model_b,winner\nada,bo,model_a\nmodel_b,model_a,winner\nbo,ada,model_a\n")
    with pytest.raises(InputError, match="line 3: the header of another table, its columns in another order"):
        read_battles(path)


@pytest.mark.parametrize("form", ["jsonl", "array"])
@pytest.mark.parametrize("second", ['"winner": "model_b"', '"winner" : "model_b"', '"\\u0077inner": "model_b"'])
def test_a_key_that_stands_twice_with_two_values_is_refused(tmp_path: Path, form: str, second: str) -> None:
    row = '{"model_a": "ada", "model_b": "bo", "winner": "model_a", "prompt_id": "p", ' + second + "}"
    path = tmp_path / "v"
    for name in ("v", "battles.jsonl"):
        path = tmp_path / name
        path.write_text(row if form == "jsonl" else f"[{row}]")
        said = 'line 1: key \'winner\' stands twice, with "model_a" and "model_b"'
        for read in (read_battles, lambda path: read_annotations(path, "ada"), read_labels):
            with pytest.raises(InputError, match=said):
                read(path)


def test_a_key_that_says_the_same_twice_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "v").write_text('{"model_a": "ada", "model_b": "bo", "winner": "tie", "winner": "tie"}\n')
    assert read_battles(tmp_path / "v").ties == 1


TALK = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
KNOWN_FILES: dict[str, Row] = {
    "MT-Bench, human votes": {
        "question_id": 81, "model_a": "x", "model_b": "y", "winner": "model_a", "judge": "expert_0", "turn": 1,
        "conversation_a": TALK, "conversation_b": TALK,
    },
    "Chatbot Arena, 33k": {
        "question_id": "f", "model_a": "x", "model_b": "y", "winner": "tie (bothbad)", "judge": "arena_user_973",
        "conversation_a": TALK, "conversation_b": TALK, "turn": 1, "anony": True, "language": "English",
        "tstamp": 1682351591.1, "openai_moderation": {"flagged": False}, "toxic_chat_tag": {"flagged": False},
    },
    "Chatbot Arena, 100k": {
        "question_id": "f", "model_a": "x", "model_b": "y", "winner": "model_b", "conversation_a": TALK,
        "conversation_b": TALK, "turn": 1, "anony": True, "language": "English", "tstamp": 1.5, "is_code": False,
        "conv_metadata": {"sum_assistant_a_tokens": 5, "sum_assistant_b_tokens": 7}, "is_refusal": False,
        "dedup_tag": {"high_freq": False, "sampled": True}, "category_tag": {}, "judge_hash": "0c", "judge": "u",
    },
    "Chatbot Arena, 140k": {
        "id": "f", "model_a": "x", "model_b": "y", "winner": "model_b", "evaluation_session_id": "s",
        "evaluation_order": 1, "conversation_a": TALK, "conversation_b": TALK, "full_conversation": TALK,
        "conv_metadata": {}, "category_tag": {}, "language": "en", "is_code": False, "timestamp": "2025-07-01",
    },
    "one-hot votes over texts": {
        "id": 1, "model_a": "x", "model_b": "y", "prompt": '["q"]', "response_a": '["a"]', "response_b": '["b"]',
        "winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0,
    },
    "AlpacaEval": {
        "instruction": "q", "output_1": "a", "generator_1": "x", "dataset": "helpful_base", "output_2": "b",
        "generator_2": "y", "annotator": "gpt4", "preference": 1.9, "raw_completion": {"text": "m"},
        "price_per_example": 0.01, "time_per_example": 0.1, "datasplit": "eval", "referenced_models": None,
        "preference_price_per_example": 0.01, "preference_time_per_example": 0.1, "preference_raw_completion": "m",
        "preference_version": "0.6", "preference_date": "2024-04-11T07:00:00",
    },
    "FastChat": {
        "question_id": 81, "model_1": "x", "model_2": "y", "g1_winner": "model_1", "g2_winner": "model_1",
        "judge": ["gpt-4", "pair-v2"], "g1_user_prompt": "p", "g1_judgment": "[[A]]", "g2_user_prompt": "p",
        "g2_judgment": "[[B]]", "turn": 1, "tstamp": 1.5,
    },
    "Arena-Hard": {
        "uid": "u", "category": "hard_prompt", "judge": "gpt-4.1", "model": "x", "baseline": "y",
        "games": [{"score": "A>B", "judgment": {"answer": "…"}, "prompt": []}, {"score": "B>A", "judgment": None}],
    },
    "a run's own": {
        "prompt_id": "p", "model_a": "x", "model_b": "y", "winner": "model_b", "score_a": 7.0, "score_b": 6.0,
        "flipped": True, "judge": "j", "verdicts": ["1f"],
    },
    "a run's own, lost by own failure": {
        "prompt_id": "p", "model_a": "x", "model_b": "y", "winner": "model_b", "score_a": None, "score_b": None,
        "flipped": False, "judge": "j", "verdicts": [], "own_failure": "x", "reason": "refused",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN_FILES)
def test_files_that_everybody_has_get_no_note(tmp_path: Path, name: str) -> None:
    row = KNOWN_FILES[name]
    as_jsonl(tmp_path / "v", [row, row])
    notes: Iterable[str] = read_battles(tmp_path / "v").notes
    assert [note for note in notes if "column" in note] == []
    if {"conversation_a", "output_1", "response_a"} & row.keys():
        assert [note for note in read_labels(tmp_path / "v").notes if "columns not used" in note] == []


def test_alpacaevals_record_of_its_seats_is_explained(tmp_path: Path) -> None:
    row = KNOWN_FILES["AlpacaEval"]
    as_jsonl(tmp_path / "v", [row | {"is_switched_outputs": True}, row | {"is_switched_outputs": False}])
    said = (
        "column is_switched_outputs, true in 1 of 2 rows, is not applied: AlpacaEval turns preferences back before it "
        "saves them"
    )
    assert said in read_annotations(tmp_path / "v", "x").notes
    assert said in read_labels(tmp_path / "v").notes
