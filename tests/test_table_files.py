"""A path stands for a file, a directory, a pattern or a data set on disk; rows of several files name their own."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from arenaloop.data.formats.battles import read_battles
from arenaloop.data.prompts import read_prompts
from arenaloop.errors import InputError
from arenaloop.table_files import Line, table_files
from arenaloop.tables import content_kind, table_rows


def jsonl(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def saved(folder: Path, *shards: list[dict[str, Any]], features: dict[str, Any] | None = None) -> Path:
    """A data set as `save_to_disk` of Hugging Face `datasets` leaves it."""
    folder.mkdir(parents=True)
    names = [f"data-{at:05d}-of-{len(shards):05d}.arrow" for at in range(len(shards))]
    for name, rows in zip(names, shards, strict=True):
        with (folder / name).open("wb") as file:
            pl.DataFrame(rows).write_ipc_stream(file)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features or {}}))
    return folder


def test_a_line_of_several_files_says_which_and_is_a_number() -> None:
    line = Line(7, "b.jsonl")
    assert (f"line {line}", f"{line:,}", line + 1, json.dumps(line)) == ("line 7 of b.jsonl", "7 of b.jsonl", 8, "7")
    again = pickle.loads(pickle.dumps(line))
    assert (again, again.file) == (7, "b.jsonl")


def test_a_data_set_on_disk_is_its_shards_with_words_for_its_classes(tmp_path: Path) -> None:
    features = {"winner": {"names": ["model_a", "model_b", "tie"], "_type": "ClassLabel"}, "n": {"_type": "Value"}}
    shards: list[list[dict[str, Any]]] = [
        [{"winner": 0, "n": 1.5}, {"winner": 2, "n": None}],
        [{"winner": -1, "n": float("nan")}],
    ]
    found = list(table_rows(saved(tmp_path / "set", *shards, features=features)))
    assert [row for _, row in found] == [
        {"winner": "model_a", "n": 1.5},
        {"winner": "tie", "n": None},
        {"winner": -1, "n": None},
    ]
    assert [str(line) for line, _ in found][1:] == [
        "2 of data-00000-of-00002.arrow",
        "1 of data-00001-of-00002.arrow",
    ]
    assert content_kind(tmp_path / "set" / "data-00000-of-00002.arrow") == "arrow"


def test_classes_of_parquet_are_their_words(tmp_path: Path) -> None:
    features = {"winner": {"names": ["model_a", "model_b", "tie"], "_type": "ClassLabel"}}
    frame = pl.DataFrame({"prompt_id": ["p", "q"], "model_a": ["a", "a"], "model_b": ["b", "b"], "winner": [1, 2]})
    said = {"huggingface": json.dumps({"info": {"features": features}})}
    frame.write_parquet(tmp_path / "votes.parquet", metadata=said)
    assert [row["winner"] for _, row in table_rows(tmp_path / "votes.parquet")] == ["model_b", "tie"]
    assert list(read_battles(tmp_path / "votes.parquet").score_a) == [0.0, 0.5]
    frame.write_parquet(tmp_path / "votes.parquet", metadata={"huggingface": "[]"})
    assert list(read_battles(tmp_path / "votes.parquet").score_a) == [1.0, 0.0]  # numbers by themselves: 1 and 2


def test_of_several_splits_one_is_named(tmp_path: Path) -> None:
    for split in ("train", "test"):
        saved(tmp_path / "set" / split, [{"prompt": split}])
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(InputError, match=r"2 splits; name one: .*set/train, .*set/test"):
        table_files(tmp_path / "set")
    assert [prompt.last_user for prompt in read_prompts(tmp_path / "set" / "test")] == ["test"]
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    assert [prompt.last_user for prompt in read_prompts(tmp_path / "set")] == ["train"]
    for name in ("train-00000-of-00002", "train-00001-of-00002"):
        pl.DataFrame({"prompt": [name]}).write_parquet(tmp_path / f"{name}.parquet")
    assert len(read_prompts(tmp_path / "*.parquet")) == 2
    hub = tmp_path / "hub" / "data"
    hub.mkdir(parents=True)
    for name in ("train-00000-of-00001", "test-00000-of-00001"):
        pl.DataFrame({"prompt": [name]}).write_parquet(hub / f"{name}.parquet")
    with pytest.raises(InputError, match=r"files of 2 splits; name one: .*test-\*, .*train-\*"):
        table_files(tmp_path / "hub")


def test_a_directory_is_its_tables_and_those_below_where_it_has_none(tmp_path: Path) -> None:
    one, two = jsonl(tmp_path / "a" / "x.jsonl", {"prompt": "x"}), jsonl(tmp_path / "a" / "deep" / "y.jsonl")
    (tmp_path / "a" / "notes.txt").write_text("no table")
    (tmp_path / "a" / ".hidden.jsonl").write_text("no table")
    assert table_files(tmp_path / "a") == [one]
    one.unlink()
    assert table_files(tmp_path / "a") == [two]
    two.unlink()
    with pytest.raises(InputError, match="no table in this directory"):
        table_files(tmp_path / "a")
    with pytest.raises(InputError, match="no file matches this pattern"):
        table_files(tmp_path / "*.parquet")
    odd = jsonl(tmp_path / "[x].jsonl", {"prompt": "its name is no pattern"})
    assert table_files(odd) == [odd]


def test_of_results_of_alpaca_eval_the_annotations_are_meant(tmp_path: Path) -> None:
    for name in ("m1", "m2"):
        jsonl(tmp_path / name / "model_outputs.json", {"instruction": "q", "output": "a"})
        rows = {"instruction": "q", "generator_1": "base", "generator_2": name, "preference": 2.0}
        jsonl(tmp_path / name / "judge" / "annotations.json", rows)
        (tmp_path / name / "judge" / "leaderboard.csv").write_text("name\n")
    assert read_battles(tmp_path).models == ("base", "m1", "m2")


def test_errors_name_the_file_among_several_and_its_line(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", {"prompt": "x"})
    jsonl(tmp_path / "b.jsonl", {"prompt": "y"}, {"prompt": 3})
    with pytest.raises(InputError, match=r"/\*\.jsonl, line 2 of .*b\.jsonl: prompt is neither"):
        read_prompts(tmp_path / "*.jsonl")
    with pytest.raises(InputError, match=r", line 2 of b\.jsonl: prompt is neither"):
        read_prompts(tmp_path)


def test_parquet_is_read_in_parts_with_every_row_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arenaloop.tables._BATCH", 3)
    for size in (0, 1, 3, 7):
        pl.DataFrame({"n": range(size)}, schema={"n": pl.Int64}).write_parquet(tmp_path / "t.parquet")
        assert [(line, row["n"]) for line, row in table_rows(tmp_path / "t.parquet")] == [
            (n + 1, n) for n in range(size)
        ]
    (tmp_path / "broken.arrow").write_bytes(b"\xff\xff\xff\xff\x10\x00\x00\x00nothing")
    with pytest.raises(InputError, match="cannot be read as Arrow"):
        list(table_rows(tmp_path / "broken.arrow"))
