from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from arenaloop.data.formats import read_battles
from arenaloop.errors import InputError


def write(path: Path, rows: list) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def fastchat(question: int, first: str, second: str, turn: int = 1) -> dict:
    return {
        "question_id": question, "model_1": "m", "model_2": "n", "g1_winner": first, "g2_winner": second,
        "judge": ["gpt-4", "pair-v2"], "g1_judgment": "...", "g2_judgment": "...", "turn": turn, "tstamp": 1.0,
    }  # fmt: skip


def test_fastchat_pairs_agree_or_tie_and_errors_are_skipped(tmp_path: Path) -> None:
    rows = [
        fastchat(81, "model_1", "model_1"),
        fastchat(81, "model_2", "model_2", turn=2),
        fastchat(82, "model_1", "model_2"),
        fastchat(83, "model_1", "tie"),
        fastchat(84, "tie", "tie"),
        fastchat(85, "error", "model_1"),
    ]
    battles = read_battles(write(tmp_path / "gpt-4_pair.jsonl", rows))
    assert battles.models == ("m", "n")
    assert battles.score_a.tolist() == [1.0, 0.0, 0.5, 0.5, 0.5]
    assert battles.skipped == 1
    assert battles.clusters == 4
    assert battles.cluster is not None
    assert battles.cluster[0] == battles.cluster[1]


def test_arena_hard_games_enter_both_with_the_baseline_first_and_strong_verdicts_weigh_three(tmp_path: Path) -> None:
    row = {"uid": "u1", "category": "hard_prompt", "judge": "j", "model": "ours", "baseline": "base"}
    rows = [
        {**row, "games": [{"score": "A>>B", "judgment": "", "prompt": ""}, {"score": "B>A"}]},
        {**row, "uid": "u2", "games": [{"score": "A=B"}, {"score": None}]},
        {**row, "uid": "u3", "games": [None, {"score": "A>>B"}]},
    ]
    battles = read_battles(write(tmp_path / "ours.jsonl", rows))
    assert battles.models == ("base", "ours")
    of_base = [s if a == 0 else 1 - s for a, s in zip(battles.a, battles.score_a, strict=True)]
    assert of_base == [1.0, 1.0, 0.5, 0.0]
    assert battles.weight is not None
    assert battles.weight.tolist() == [3.0, 1.0, 1.0, 3.0]
    assert battles.skipped == 2
    assert battles.clusters == 3


def test_a_directory_of_judgments_is_read_whole(tmp_path: Path) -> None:
    for model in ("m", "n"):
        row = {"question_id": "q", "model": model, "baseline": "base", "games": [{"score": "A>B"}, {"score": "A>B"}]}
        write(tmp_path / f"{model}.jsonl", [row])
    battles = read_battles(tmp_path)
    assert battles.models == ("base", "m", "n")
    assert len(battles) == 4


@pytest.mark.parametrize("packed", [False, True])
def test_alpaca_eval_annotations_are_soft_battles(tmp_path: Path, packed: bool) -> None:
    row = {"instruction": "i1", "output_1": "ab", "output_2": "abcdef", "generator_1": "base", "generator_2": "m"}
    rows = [
        {**row, "preference": 1.75},
        {**row, "instruction": "i2", "preference": None},
        {**row, "instruction": "i3", "preference": 0},
        {**row, "instruction": "i4", "preference": 1},
    ]
    path = tmp_path / "annotations.json"
    path.write_bytes(gzip.compress(json.dumps(rows).encode()) if packed else json.dumps(rows).encode())
    battles = read_battles(path, controls=["length"])
    assert battles.score_a.tolist() == [0.75, 0.5, 0.0]
    assert [battles.models[code] for code in battles.a] == ["m"] * 3
    assert battles.covariates["length"].tolist() == [0.5] * 3
    assert battles.skipped == 1


def test_rows_of_another_kind_in_between_are_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "b.jsonl", [fastchat(1, "tie", "tie"), {"model_a": "x"}])
    with pytest.raises(InputError, match="line 2: not like the rows before it"):
        read_battles(path)


def test_a_json_array_of_plain_battles(tmp_path: Path) -> None:
    rows = [{"model_a": "x", "model_b": "y", "winner": "model_b", "prompt_id": 1}] * 2
    (tmp_path / "b.json").write_text(json.dumps(rows))
    assert read_battles(tmp_path / "b.json").score_a.tolist() == [0.0, 0.0]
    (tmp_path / "b.json").write_text(json.dumps([{"model_a": "x", "winner": "tie"}]))
    with pytest.raises(InputError, match="missing column model_b"):
        read_battles(tmp_path / "b.json")


def test_an_empty_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no table in this directory"):
        read_battles(tmp_path)


def test_an_array_of_something_else_names_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps([{"instruction": "i", "output": "o", "generator": "m"}] * 2))
    with pytest.raises(InputError, match=r"missing column model_a, model_b, winner \(found: instruction"):
        read_battles(path)


def test_annotations_without_outputs_have_no_length(tmp_path: Path) -> None:
    path = tmp_path / "annotations.jsonl"
    row = {"instruction": "i", "generator_1": "B", "generator_2": "m", "preference": 1, "output_1": "abc"}
    path.write_text("".join(json.dumps(r) + "\n" for r in (row, {**row, "output_2": "a"})))
    lengths = read_battles(path, controls=["length"]).covariates["length"]
    assert lengths[0] != lengths[0]  # NaN: unknown, not the length 0
    assert lengths[1] == -0.5


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet", "rows"])
def test_who_voted_and_what_battles_are_sliced_by_are_read(tmp_path: Path, form: str) -> None:
    import polars as pl

    rows = [
        {"model_a": "a", "model_b": "b", "winner": "model_a", "prompt_id": i // 2, "judge_hash": f"u{i % 3}",
         "language": ["en", "de"][i % 2]}
        for i in range(6)
    ]  # fmt: skip
    path = tmp_path / "votes"
    if form == "csv":
        pl.DataFrame(rows).write_csv(path)
    elif form == "parquet":
        pl.DataFrame(rows).write_parquet(path)
    elif form == "jsonl":
        write(path, rows)
    else:
        write(path, [rows[0] | {"winner": "A"}, *rows[1:]])  # in words that only the rows' reader knows
    battles = read_battles(path, by="language")
    assert battles.voters == 3
    assert (battles.voter[:3] == battles.voter[3:]).all()
    assert battles.tags == ("de", "en")
    assert battles.tag.tolist() == [1, 0] * 3
    assert read_battles(path).tag is None
    with pytest.raises(InputError, match=r"missing column topic to slice by \(found: model_a"):
        read_battles(path, by="topic")
