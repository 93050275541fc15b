from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import polars as pl
import pytest

from arenaloop.data.formats import judgments, read_battles
from arenaloop.data.formats.judgments import battles_from_rows
from arenaloop.errors import InputError
from arenaloop.tables import table_rows

ROWS = [
    {"prompt_id": "x1", "model_a": "m", "model_b": "n", "winner": "model_a", "score_a": 8.5, "score_b": 3.0},
    {"prompt_id": "x1", "model_a": "n", "model_b": "o", "winner": "tie", "score_a": 5.0, "score_b": 5.0},
    {"prompt_id": "x2", "model_a": "o", "model_b": "m", "winner": "model_b", "score_a": 1.0, "score_b": 9.0},
    {"prompt_id": "x3", "model_a": "o", "model_b": "m", "winner": "error", "score_a": 1.0, "score_b": 9.0},
]


def write(folder: Path, name: str) -> Path:
    path = folder / name
    if name.endswith(".parquet"):
        pl.DataFrame(ROWS).write_parquet(path)
        return path
    text = (
        pl.DataFrame(ROWS).write_csv()
        if ".csv" in name
        else "".join(json.dumps({**row, "flipped": False, "judge": "j", "verdicts": ["a"]}) + "\n" for row in ROWS)
    )
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["b.jsonl", "b.jsonl.gz", "b.csv", "b.csv.gz", "b.parquet"])
def test_every_container_gives_the_same_battles(tmp_path: Path, name: str) -> None:
    battles = read_battles(write(tmp_path, name))
    assert battles.models == ("m", "n", "o")
    assert battles.a.tolist() == [0, 1, 2]
    assert battles.b.tolist() == [1, 2, 0]
    assert battles.score_a.tolist() == [1.0, 0.5, 0.0]  # the winner decides; judges' scores are in other units
    assert battles.cluster is not None
    assert battles.cluster.tolist()[0] == battles.cluster.tolist()[1] != battles.cluster.tolist()[2]
    assert battles.skipped == 1
    assert battles.ties == 1


def test_a_run_directory_is_read_by_its_battles(tmp_path: Path) -> None:
    write(tmp_path, "battles.jsonl")
    assert len(read_battles(tmp_path)) == 3


def test_missing_columns_are_named(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("model_a,opponent\nx,y\n")
    with pytest.raises(InputError, match=r"b\.csv: missing column model_b, winner \(found: model_a, opponent\)"):
        read_battles(tmp_path / "b.csv")


def test_numeric_prompt_ids_and_chatbot_arena_columns(tmp_path: Path) -> None:
    pl.DataFrame(
        {
            "question_id": [7, 7, 9],
            "model_a": ["x", "y", "x"],
            "model_b": ["y", "x", "y"],
            "winner": ["tie (bothbad)", "model_a", "model_b"],
            "conversation_a": [["hi"], ["hi"], ["ho"]],
        }
    ).write_parquet(tmp_path / "arena.parquet")
    battles = read_battles(tmp_path / "arena.parquet")
    assert battles.clusters == 2
    assert battles.score_a.tolist() == [0.5, 1.0, 0.0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.jsonl", None, "no such file"),
        ("b.jsonl", b"", "empty"),
        ("b.jsonl", b'{"model_a": "x", "mod', "line 1"),
        ("b.jsonl", b'{"model_a": "x", "model_b": "y", "winner": "tie"}\n{"model_a": ', "line 2"),
        ("b.jsonl", b"\x1f\x8b not gzip", "damaged gzip"),
        ("b.csv", b"model_a,\x00", "a binary file, where a table is expected"),
        ("b.parquet", b"PAR1 not really", "cannot be read"),
        ("b.txt", b"hello", r"missing column model_a, model_b, winner \(found: hello\)"),
    ],
)
def test_bad_files_are_user_errors(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_battles(tmp_path / name)


def test_ids_of_mixed_types_are_one_column(tmp_path: Path) -> None:
    rows = [{"model_a": "x", "model_b": "y", "winner": "tie", "prompt_id": p} for p in (7, "seven", 7, None, None)]
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    battles = read_battles(tmp_path / "b.jsonl")
    assert battles.cluster is not None
    assert battles.cluster[0] == battles.cluster[2]
    assert battles.clusters == 4  # unknown prompts are clusters of their own


def test_lengths_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    rows = [
        {"model_a": "x", "model_b": "y", "winner": "tie", "length_a": 30, "length_b": 10},
        {"model_a": "x", "model_b": "y", "winner": "tie", "length_a": 0, "length_b": 0},
        {"model_a": "x", "model_b": "y", "winner": "tie", "length_a": None, "length_b": 5},
    ]
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    length = read_battles(tmp_path / "b.jsonl", controls=["length"]).covariates["length"]
    assert length[:2].tolist() == [0.5, 0.0]
    assert math.isnan(length[2])
    assert not read_battles(tmp_path / "b.jsonl").covariates
    with pytest.raises(InputError, match="missing column price_a, price_b"):
        read_battles(tmp_path / "b.jsonl", controls=["price"])


def test_chatbot_arena_keeps_lengths_in_its_metadata(tmp_path: Path) -> None:
    meta = {"sum_assistant_a_tokens": 30, "sum_assistant_b_tokens": 10, "turns": 1}
    row = {"model_a": "x", "model_b": "y", "winner": "model_a", "conv_metadata": meta}
    (tmp_path / "b.jsonl").write_text(json.dumps(row) + "\n")
    pl.DataFrame([row]).write_parquet(tmp_path / "b.parquet")
    for name in ("b.jsonl", "b.parquet"):
        assert read_battles(tmp_path / name, controls=["length"]).covariates["length"].tolist() == [0.5]


def test_soft_scores_and_weights(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("model_a,model_b,score_a,weight\nx,y,0.75,2\nx,y,,1\n")
    battles = read_battles(tmp_path / "b.csv")
    assert battles.score_a.tolist() == [0.75]
    assert battles.weight is not None
    assert battles.weight.tolist() == [2.0]
    assert battles.skipped == 1


def test_names_that_a_sample_of_the_rows_misses_are_found(tmp_path: Path) -> None:
    rows = 20_000
    names = ["x"] * rows
    names[7] = "rare"
    frame = pl.DataFrame({"model_a": names, "model_b": ["y"] * rows, "winner": ["tie"] * rows})
    frame.write_parquet(tmp_path / "b.parquet")
    battles = read_battles(tmp_path / "b.parquet")
    assert battles.models == ("rare", "x", "y")
    assert battles.a[6:9].tolist() == [1, 0, 1]
    assert set(battles.b.tolist()) == {2}


def test_csv_columns_that_change_their_looks_after_a_thousand_rows(tmp_path: Path) -> None:
    path = tmp_path / "late.csv"
    early = "".join(f"007,1.50,{('model_a', 'model_b')[i % 2]},{i},1\n" for i in range(1500))
    path.write_text("model_a,model_b,winner,prompt_id,weight\n" + early + "gpt,007,tie,p1,1.5\ngpt,1.50,tie,p2,1\n")
    battles = read_battles(path)
    assert battles.models == ("007", "1.50", "gpt")  # as written, not as numbers
    assert len(battles) == 1502
    assert battles.clusters == 1502
    assert battles.weight is not None
    assert battles.weight[-2:].tolist() == [1.5, 1.0]


def test_json_arrays_with_nameless_models_or_lists(tmp_path: Path) -> None:
    path = tmp_path / "battles.json"
    row = {"model_a": "1", "model_b": "y", "winner": "model_a", "prompt_id": 1}
    path.write_text(json.dumps([row, {**row, "model_a": 1}, {**row, "model_b": None}]))
    battles = read_battles(path)
    assert (battles.models, len(battles), battles.skipped) == (("1", "y"), 2, 1)
    assert battles.notes == ("1 of 3 rows without a model's name left out",)
    for field in ("model_b", "winner", "prompt_id"):
        path.write_text(json.dumps([{**row, field: ["x"]}]))
        with pytest.raises(InputError, match=r"line 1: .*(must be text or a number|a list: \['x'\])"):
            read_battles(path)


CONTAINERS = ("b.json", "b.jsonl", "b.csv", "b.parquet")


def saved(folder: Path, name: str, rows: list[dict[str, object]]) -> Path:
    path = folder / name
    if name.endswith(".parquet"):
        pl.DataFrame(rows).write_parquet(path)
    elif name.endswith(".csv"):
        pl.DataFrame(rows).write_csv(path)
    else:
        lines = [json.dumps(row, separators=(",", ":")) for row in rows]
        path.write_text(f"[{','.join(lines)}]" if name == "b.json" else "".join(f"{line}\n" for line in lines))
    return path


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_negative_length_is_refused(tmp_path: Path, name: str) -> None:
    row = {"model_a": "x", "model_b": "y", "winner": "tie", "length_a": 10, "length_b": 20}
    path = saved(tmp_path, name, [row, row | {"length_b": -1}])
    with pytest.raises(InputError, match=r"(line|row) [123]: column length_b: -1, where no length is negative"):
        read_battles(path, controls=["length"])


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_covariate_with_negative_numbers_is_said_to_be_a_plain_difference(tmp_path: Path, name: str) -> None:
    row = {"model_a": "x", "model_b": "y", "winner": "tie", "mood_a": 3.0, "mood_b": 1.0}
    battles = read_battles(saved(tmp_path, name, [row, row | {"mood_a": -2.0}]), controls=["mood"])
    assert battles.covariates["mood"].tolist() == [2.0, -3.0]
    (note,) = battles.notes
    assert note.startswith("mood is negative in 1 of 2 rows (first ")
    assert note.endswith(": -2): its plain difference is taken, not its share")
    assert read_battles(saved(tmp_path, name, [row]), controls=["mood"]).covariates["mood"].tolist() == [0.5]


@pytest.mark.parametrize("name", ["b.jsonl", "b.csv", "b.parquet"])
@pytest.mark.parametrize(
    "cells",
    [
        {"flavour": ["sweet", "sour"]},
        {"flavour": [1.5, 2.5], "is_polite": [True, False], "confidence": ["high", "low"]},
        {"flavour": ["n/a", "null"], "blend": ["none", "new"]},
    ],
)
def test_columns_that_are_only_named_are_read_no_row_at_a_time(
    tmp_path: Path, name: str, cells: dict[str, list[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"model_a": a, "model_b": b, "winner": "tie", **{name: column[at] for name, column in cells.items()}}
        for at, (a, b) in enumerate((("x", "y"), ("y", "z")))
    ]
    path = saved(tmp_path, name, rows)
    one_by_one = battles_from_rows(table_rows(path), str(path))
    monkeypatch.setattr(judgments, "battles_from_rows", None)
    battles = read_battles(path)
    assert battles.notes == one_by_one.notes != ()
    assert battles.score_a.tolist() == one_by_one.score_a.tolist()


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_cell_that_says_turned_is_seen_in_a_column_of_any_name(tmp_path: Path, name: str) -> None:
    row: dict[str, object] = {"model_a": "x", "model_b": "y", "winner": "tie", "flavour": "plain"}
    path = saved(tmp_path, name, [row, row | {"flavour": "Swapped "}])
    with pytest.raises(InputError, match="column flavour: in 1 of 2 rows it says that the sides are turned"):
        read_battles(path)


def test_tags_of_prompts_slice_a_file_read_by_columns(tmp_path: Path) -> None:
    row = {"model_a": "a", "model_b": "b", "winner": "model_a"}
    rows = [row | {"prompt_id": f"p{n}"} for n in range(4)]
    (tmp_path / "battles.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    battles = read_battles(tmp_path / "battles.jsonl", by={"p0": "math", "p1": "math", "p2": "law"})
    assert battles.tags is not None
