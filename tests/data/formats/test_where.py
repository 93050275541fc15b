"""Which rows of a table count: conditions, dotted paths, the same by rows, by columns and streamed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from arenaloop.data.formats import read_annotations, read_battles
from arenaloop.data.formats.part_files import parts_of
from arenaloop.data.formats.streamed_battles import read_streamed
from arenaloop.data.formats.where import ABSENT, parse_where, value_at
from arenaloop.errors import ConfigError, InputError

PUBLISHED = ["anony=true", "dedup_tag.sampled=true"]


@pytest.fixture(scope="module")
def votes() -> list[dict[str, Any]]:
    """Votes with the columns of Chatbot Arena's sets."""
    rng = np.random.default_rng(0)
    rows = []
    for n in range(400):
        a, b = rng.choice(4, 2, replace=False)
        math = {"math": bool(rng.random() < 0.3)}
        rows.append(
            {
                "question_id": f"q{n}",
                "model_a": f"m{a}",
                "model_b": f"m{b}",
                "winner": ["model_a", "model_b", "tie"][int(rng.integers(3))],
                "turn": int(rng.integers(1, 3)),
                "anony": bool(rng.random() < 0.8),
                "language": ["English", "German", None][int(rng.integers(3))],
                "dedup_tag": {"high_freq": n % 7 == 0, "sampled": n % 11 != 0},
                "category_tag": {"if_v0.1": {"if": True, "score": n % 5}, "math_v0.1": math},
            }
        )
    return rows


def written(votes: list[dict[str, Any]], folder: Path, kind: str) -> Path:
    path = folder / f"votes.{kind}"
    if kind == "json":
        path.write_text(json.dumps(votes))
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in votes))
    elif kind == "parquet":
        pl.DataFrame(votes).write_parquet(path)
    else:
        flat = [{k: json.dumps(v) if isinstance(v, dict) else v for k, v in row.items()} for row in votes]
        pl.DataFrame(flat).write_csv(path)
    return path


@pytest.mark.parametrize("kind", ["json", "jsonl", "parquet", "csv"])
@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (PUBLISHED, lambda row: row["anony"] and row["dedup_tag"]["sampled"]),
        (["category_tag.math_v0.1.math=True"], lambda row: row["category_tag"]["math_v0.1"]["math"]),
        (["category_tag.if_v0.1.score=3", "category_tag.if_v0.1.score=4", "turn=2"],
         lambda row: row["category_tag"]["if_v0.1"]["score"] >= 3 and row["turn"] == 2),
        (["language!=German"], lambda row: row["language"] != "German"),
        (["language=null"], lambda row: row["language"] is None),
        (["model_a=m1"], lambda row: row["model_a"] == "m1"),
    ],
)  # fmt: skip
def test_rows_that_meet_conditions_count_however_they_are_read(
    votes: list[dict[str, Any]], tmp_path: Path, kind: str, given: list[str], kept: Any
) -> None:
    path, where = written(votes, tmp_path, kind), parse_where(given)
    expected = [row for row in votes if kept(row)]
    pairs = sorted((row["model_a"], row["model_b"]) for row in expected)
    battles = read_battles(path, where=where)
    names = battles.models
    assert sorted((names[a], names[b]) for a, b in zip(battles.a, battles.b, strict=True)) == pairs
    told = " ".join(f"--where {text}" for text in given)
    assert f"{told}: {len(expected)} of 400 rows" in battles.notes
    if kind in ("jsonl", "parquet"):
        streamed = read_streamed(path, parts_of(path), where).battles
        assert len(streamed) == len(expected)
        assert streamed.models == names
        assert f"{told}: {len(expected)} of 400 rows" in streamed.notes
        counting = [note for note in battles.notes if "count here" in note]
        assert [note for note in streamed.notes if "count here" in note] == counting


@pytest.mark.parametrize("kind", ["json", "jsonl", "parquet", "csv"])
def test_votes_that_published_boards_leave_out_are_counted(
    votes: list[dict[str, Any]], tmp_path: Path, kind: str
) -> None:
    path = written(votes, tmp_path, kind)
    seen, surplus = sum(not row["anony"] for row in votes), sum(not row["dedup_tag"]["sampled"] for row in votes)
    note = (
        f"of 400 rows {seen} cast with the models' names in sight (anony is false), {surplus} surplus votes on a "
        "frequent prompt (dedup_tag.sampled is false) count here; Chatbot Arena's boards leave them out: --where "
        "anony=true --where dedup_tag.sampled=true"
    )
    assert note in read_battles(path).notes
    assert not any("count here" in note for note in read_battles(path, where=parse_where(PUBLISHED)).notes)
    if kind in ("jsonl", "parquet"):
        assert note in read_streamed(path, parts_of(path)).battles.notes


def test_win_rates_choose_rows_too(votes: list[dict[str, Any]], tmp_path: Path) -> None:
    path = written(votes, tmp_path, "json")
    found = read_annotations(path, "m0", where=parse_where(["language=English"]))
    expected = [row for row in votes if row["language"] == "English" and "m0" in (row["model_a"], row["model_b"])]
    assert len(found.prompts) == len(expected)


@pytest.mark.parametrize("kind", ["json", "parquet", "csv"])
def test_slices_read_dotted_paths_and_objects_are_named(votes: list[dict[str, Any]], tmp_path: Path, kind: str) -> None:
    path = written(votes, tmp_path, kind)
    battles = read_battles(path, by="category_tag.math_v0.1.math")
    assert battles.tags == ("false", "true")
    assert battles.tag is not None
    assert int((battles.tag == 1).sum()) == sum(row["category_tag"]["math_v0.1"]["math"] for row in votes)
    objects = r"holds objects \(keys if_v0\.1, math_v0\.1\): name a value, as category_tag\.if_v0\.1\.if"
    with pytest.raises(InputError, match=objects):
        read_battles(path, by="category_tag")
    with pytest.raises(InputError, match=objects):
        read_battles(path, where=parse_where(["category_tag=1"]))


@pytest.mark.parametrize("kind", ["json", "parquet"])
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("langage=English", r"no row has a column langage \(did you mean 'language'\?\)"),
        ("dedup_tag.sample=true", r"no row has a column dedup_tag\.sample"),
        ("language=Klingon", r"no row of 400; language is \w+ \(\d+\), "),
    ],
)
def test_conditions_that_no_row_meets_are_refused(
    votes: list[dict[str, Any]], tmp_path: Path, kind: str, given: str, told: str
) -> None:
    path = written(votes, tmp_path, kind)
    with pytest.raises(InputError, match=told) as refused:
        read_battles(path, where=parse_where([given]))
    assert str(refused.value).count(str(path)) == 1
    if kind == "parquet":
        with pytest.raises(InputError, match=told) as refused:
            read_streamed(path, parts_of(path), parse_where([given]))
        assert str(refused.value).count(str(path)) == 1


def test_places_are_those_of_the_file(votes: list[dict[str, Any]], tmp_path: Path) -> None:
    rows = [row | {"winner": "model_a" if row["turn"] == 1 else "model_b", "weight": 1.0} for row in votes]
    bad = max(n for n, row in enumerate(rows) if row["turn"] == 1)
    rows[bad]["weight"] = -1.0
    for kind, place in (("parquet", f"row {bad + 1}"), ("jsonl", f"line {bad + 1}")):
        path = written(rows, tmp_path, kind)
        with pytest.raises(InputError, match=rf"{place}\b.*weight"):
            read_battles(path, where=parse_where(["turn=1"]))
        with pytest.raises(InputError, match=rf"row {bad + 1}\b.*weight"):
            read_streamed(path, parts_of(path), parse_where(["turn=1"]))
        read_battles(path, where=parse_where(["turn=2"]))


def test_paths_prefer_whole_names() -> None:
    row = {"a.b": 1, "a": {"b": 2, "c.d": {"e": 3}}, "t": '{"x": [1]}'}
    assert value_at(row, "a.b") == 1
    assert value_at(row, "a.c.d.e") == 3
    assert value_at(row, "t.x") == [1]
    assert value_at(row, "a.z") is ABSENT
    assert value_at(row, "t.x.y") is ABSENT


@pytest.mark.parametrize("text", ["language", "=English", "!=x"])
def test_conditions_have_a_form(text: str) -> None:
    with pytest.raises(ConfigError, match="--where wants COLUMN=VALUE"):
        parse_where([text])
