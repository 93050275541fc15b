"""Tables in parts: read a block at a time, to the same board, with every fault named by its part."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from same_board import same

from arenaloop.arena.leaderboard import leaderboard
from arenaloop.data.formats import read_battles, streamed_battles
from arenaloop.data.formats.part_files import parts_of, remote_url
from arenaloop.data.formats.streamed_battles import read_streamed, streamed_wanted
from arenaloop.errors import ConfigError, InputError, MissingExtraError


def battles(rows: int = 900, seed: int = 0, **more: Any) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 6, rows)
    b = (a + rng.integers(1, 6, rows)) % 6
    won = rng.random(rows) < 1 / (1 + np.exp((a - b) * 0.5))
    winner = np.where(rng.random(rows) < 0.1, "tie", np.where(won, "model_a", "model_b"))
    columns: dict[str, Any] = {
        "prompt_id": [f"p{n}" for n in rng.integers(0, 40, rows)],
        "model_a": [f"m{n}" for n in a],
        "model_b": [f"m{n}" for n in b],
        "winner": winner,
    }
    return pl.DataFrame(columns | more)


def split(frame: pl.DataFrame, folder: Path, parts: int = 3, kind: str = "parquet") -> Path:
    folder.mkdir(exist_ok=True)
    step = -(-frame.height // parts)
    for n in range(parts):
        part = frame.slice(n * step, step)
        path = folder / f"part-{n:05d}.{kind}"
        part.write_parquet(path) if kind == "parquet" else part.write_ndjson(path)
    return folder


def board(path: str | Path, **settings: Any) -> dict[str, Any]:
    parts = streamed_wanted(Path(path), True, None)
    assert parts is not None
    return leaderboard(read_streamed(path, parts).battles, **settings).to_dict()


def refused(path: str | Path, *words: str) -> None:
    with pytest.raises(InputError) as error:
        board(path)
    told = str(error.value)
    assert "\n" not in told
    for word in words:
        assert word in told, told


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_parts_are_the_board_of_the_whole(tmp_path: Path, kind: str) -> None:
    frame = battles(voter=[f"v{n % 30}" for n in range(900)], weight=[1.0 + n % 3 for n in range(900)])
    frame.write_parquet(tmp_path / "whole.parquet")
    split(frame, tmp_path / "parts", kind=kind)
    whole = leaderboard(read_battles(tmp_path / "whole.parquet")).to_dict()
    for path in (tmp_path / "parts", f"{tmp_path}/parts/part-*"):
        same(board(path), whole)


def test_scores_numbers_categories_and_other_spellings(tmp_path: Path) -> None:
    frame = battles()
    score = frame["winner"].replace_strict({"model_a": 1.0, "tie": 0.5, "model_b": 0.0})
    folder = tmp_path / "parts"
    folder.mkdir()
    plain = frame.select("model_a", "model_b", score_a=score, prompt_id=frame["prompt_id"].str.slice(1).cast(pl.Int64))
    plain[:300].write_parquet(folder / "a.parquet")
    plain[300:600].with_columns(pl.col("model_a").cast(pl.Categorical)).write_parquet(folder / "b.parquet")
    plain[600:].with_columns(pl.col("score_a").cast(pl.String)).write_parquet(folder / "c.parquet")
    plain.write_parquet(tmp_path / "whole.parquet")
    same(board(folder), leaderboard(read_battles(tmp_path / "whole.parquet")).to_dict())
    spelled = frame.rename({"prompt_id": "Prompt ID", "model_a": "modelA"})
    spelled.write_parquet(tmp_path / "spelled.parquet")
    frame.write_parquet(tmp_path / "frame.parquet")
    same(board(tmp_path / "spelled.parquet"), leaderboard(read_battles(tmp_path / "frame.parquet")).to_dict())


def test_rows_that_cannot_be_rated_are_counted_alike(tmp_path: Path) -> None:
    frame = battles(2000)
    winner = frame["winner"].to_list()
    winner[5], winner[700], winner[900], winner[901] = None, "error", "weird", "weird"
    names = frame["model_a"].to_list()
    names[17], names[18], names[19] = None, " ", frame["model_b"][19]
    prompts: list[str | None] = frame["prompt_id"].to_list()
    prompts[3] = None
    frame = frame.with_columns(winner=pl.Series(winner), model_a=pl.Series(names), prompt_id=pl.Series(prompts))
    frame.write_parquet(tmp_path / "whole.parquet")
    whole = leaderboard(read_battles(tmp_path / "whole.parquet")).to_dict()
    found = board(split(frame, tmp_path / "parts"))
    places = [note.replace(f"{tmp_path}/parts/part-00001.parquet", "X") for note in found.pop("notes")]
    told = whole.pop("notes")
    same(found, whole)
    assert [note for note in told if "weird" not in note] == [note for note in places if "weird" not in note]
    assert any("first row 234 of X" in note and "2 of 2,000 rows" in note for note in places)


def test_too_many_unknown_winners_are_refused(tmp_path: Path) -> None:
    frame = battles(100).with_columns(winner=pl.lit("left"))
    refused(split(frame, tmp_path / "parts"), "'left'", "part-00000.parquet", "100 of 100 rows")


def test_a_part_with_other_columns_is_named(tmp_path: Path) -> None:
    folder = split(battles(), tmp_path / "parts")
    battles(30).rename({"winner": "outcome"}).write_parquet(folder / "part-00001.parquet")
    refused(folder, "part-00001.parquet", "missing winner", "unknown outcome", "part-00000.parquet")
    battles(30).drop("prompt_id").write_parquet(folder / "part-00001.parquet")
    refused(folder, "part-00001.parquet", "missing prompt_id")


def test_a_part_that_is_cut_off_or_no_table_is_named(tmp_path: Path) -> None:
    folder = split(battles(), tmp_path / "parts")
    part = folder / "part-00002.parquet"
    part.write_bytes(part.read_bytes()[:-200])
    refused(folder, "part-00002.parquet", "cut off or damaged")
    part.write_bytes(b"")
    refused(folder, "part-00002.parquet", "empty")
    part.write_text("hello\n")
    refused(folder, "part-00002.parquet", "csv")
    lines = split(battles(), tmp_path / "lines", kind="jsonl")
    with (lines / "part-00001.jsonl").open("a") as file:
        file.write('{"model_a": "m1", "mod')
    refused(lines, "part-00001.jsonl", "line 301")


def test_empty_parts_are_fine_and_nothing_but_these_is_not(tmp_path: Path) -> None:
    folder = split(battles(), tmp_path / "parts")
    whole = board(folder)
    battles(3).clear().write_parquet(folder / "part-00003.parquet")
    same(board(folder), whole)
    lines = split(battles(), tmp_path / "lines", kind="jsonl")
    (lines / "part-00003.jsonl").write_text("")
    same(board(lines), whole)
    empty = tmp_path / "empty"
    empty.mkdir()
    battles(3).clear().write_parquet(empty / "part.parquet")
    refused(empty, "no rows in it")
    refused(tmp_path / "nowhere", "no such file")


def test_two_kinds_in_one_directory_are_told(tmp_path: Path) -> None:
    folder = split(battles(), tmp_path / "parts")
    battles(10).write_ndjson(folder / "more.jsonl")
    refused(folder, "3 parts in Parquet", "1 in JSONL", "*.parquet")


def test_columns_that_change_rows_are_refused(tmp_path: Path) -> None:
    frame = battles(100, swapped=[True, False] * 50)
    refused(split(frame, tmp_path / "parts"), "row by row", "swapped")


def test_what_is_not_looked_for_or_not_read_is_told(tmp_path: Path) -> None:
    frame = battles(100, vote_id=[str(n) for n in range(100)], mood=["good"] * 100)
    notes = board(split(frame, tmp_path / "parts"))["notes"]
    assert any("vote_id" in note and "not looked for" in note for note in notes)
    assert any("mood" in note for note in notes)


def test_weights_that_cannot_be_are_named(tmp_path: Path) -> None:
    frame = battles(100, weight=[1.0] * 60 + [-1.0] + [1.0] * 39)
    refused(split(frame, tmp_path / "parts"), "part-00001.parquet, row 27", "-1.0")
    refused(split(frame.with_columns(weight=pl.lit(0.0)), tmp_path / "parts"), "all weights are 0")


def test_large_tables_are_streamed_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = split(battles(), tmp_path / "parts")
    assert streamed_wanted(folder, False, None) is None
    monkeypatch.setattr(streamed_battles, "MANY_ROWS", {False: 100, True: 100})
    monkeypatch.setattr(streamed_battles, "MANY_BYTES", {False: 100, True: 100})
    lines = split(battles(), tmp_path / "lines", kind="jsonl")
    for path in (folder, folder / "part-00000.parquet", lines, Path(f"{lines}/*.jsonl")):
        assert streamed_wanted(path, False, None)
        assert streamed_wanted(path, False, "--by") is None
    for name, odd in {
        "votes": battles(300, vote_id=["x"] * 300),
        "words": battles(300).with_columns(winner=pl.lit("left")),
        "turned": battles(300, swapped=[True, False] * 150),
    }.items():
        assert streamed_wanted(split(odd, tmp_path / name), False, None) is None, name
    assert streamed_wanted(tmp_path / "nowhere", False, None) is None


def test_what_needs_memory_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--stream: --by needs all battles in memory"):
        streamed_wanted(tmp_path, True, "--by")
    with pytest.raises(ConfigError, match="s3://b/k: method elo needs all battles in memory: copy"):
        streamed_wanted(Path("s3://b/k"), False, "method elo")
    (tmp_path / "battles.jsonl").write_text("{}\n")
    with pytest.raises(ConfigError, match="run directory"):
        streamed_wanted(tmp_path, True, None)


# ---------------------------------------------------------------------- object stores


@pytest.fixture
def store() -> Any:
    memory = pytest.importorskip("fsspec").filesystem("memory")
    yield memory
    memory.rm("/bucket", recursive=True)


def test_an_object_store_is_read_like_a_directory(tmp_path: Path, store: Any) -> None:
    folder = split(battles(), tmp_path / "parts")
    for path in folder.iterdir():
        store.pipe_file(f"/bucket/parts/{path.name}", path.read_bytes())
    store.pipe_file("/bucket/parts/_SUCCESS", b"")
    whole = board(folder)
    for url in ("memory://bucket/parts", "memory://bucket/parts/part-*.parquet", Path("memory://bucket/parts")):
        assert streamed_wanted(Path(url), False, None)
        same(board(url), whole)
    store.pipe_file("/bucket/parts/part-00001.parquet", (folder / "part-00001.parquet").read_bytes()[:-50])
    refused("memory://bucket/parts", "memory:///bucket/parts/part-00001.parquet", "cut off or damaged")
    refused("memory://bucket/none", "no such file or folder")
    refused("nosuchstore://bucket/none", "nosuchstore://bucket/none")


def test_urls_are_told_from_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert remote_url(Path("s3://b/k")) == "s3://b/k"
    assert remote_url("gs://b/k/*.parquet") == "gs://b/k/*.parquet"
    assert remote_url(Path("a/b.jsonl")) is None
    assert remote_url(Path("C:/x")) is None
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match=r"s3://b/k.*pip install 'arenaloop\[remote\]'"):
        parts_of("s3://b/k")
