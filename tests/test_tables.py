"""One reader for every table: however it is saved, its rows, and the battles in them, are the same."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arenaloop.data.formats import read_annotations, read_battles
from arenaloop.data.formats.labels import read_labels
from arenaloop.errors import InputError
from arenaloop.ratings.battles import Battles
from arenaloop.tables import content_kind, csv_form, table_rows

ROWS: list[dict[str, Any]] = [
    {"prompt_id": "p1", "model_a": "é", "model_b": "n", "winner": "model_a", "weight": 2.0},
    {"prompt_id": "p1", "model_a": "n", "model_b": "é", "winner": "tie", "weight": 1.0},
    {"prompt_id": "p2", "model_a": "é", "model_b": "n", "winner": "model_b", "weight": 0.5},
]


def as_csv(separator: str = ",", head: str = "", end: str = "\n", pad: str = "") -> str:
    names = separator.join(f"{pad}{name}{pad}" for name in ROWS[0])
    return head + end.join([names, *(separator.join(str(cell) for cell in row.values()) for row in ROWS), ""])


JSONL = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
SAVED: dict[str, Callable[[], bytes]] = {
    "jsonl": JSONL.encode,
    "bom": lambda: JSONL.encode("utf-8-sig"),
    "crlf": lambda: JSONL.replace("\n", "\r\n").encode(),
    "utf-16": lambda: JSONL.encode("utf-16"),
    "gzip": lambda: gzip.compress(JSONL.encode()),
    "nan": lambda: JSONL.replace('{"', '{"seconds": NaN, "').encode(),
    "infinity": lambda: JSONL.replace('{"', '{"seconds": Infinity, "').encode(),
    "blank lines": lambda: JSONL.replace("\n", "\n\n").encode(),
    "keys with blanks": lambda: JSONL.replace('winner"', 'winner "').encode(),
    "numbers as texts": lambda: JSONL.replace(": 2.0", ': "2.0"').encode(),
    "array": lambda: json.dumps(ROWS).encode(),
    "csv": lambda: as_csv().encode(),
    "csv bom": lambda: as_csv(end="\r\n").encode("utf-8-sig"),
    "semicolons": lambda: as_csv(";").encode("utf-8-sig"),
    "tabs": lambda: as_csv("\t").encode(),
    "bars": lambda: as_csv("|").encode(),
    "sep line": lambda: as_csv(";", "sep=;\r\n", "\r\n").encode(),
    "tab in a sep line": lambda: as_csv("\t", "sep=\t\n").encode(),
    "utf-16 csv": lambda: as_csv("\t", end="\r\n").encode("utf-16"),
    "blanks around names": lambda: as_csv(pad=" ").encode(),
    "blanks after separators": lambda: as_csv(", ").encode(),
    "blank lines above": lambda: as_csv(head="\n \n").encode(),
    "old line ends": lambda: as_csv(end="\r").encode(),
    "gzip csv": lambda: gzip.compress(as_csv(";").encode()),
    "numbers with commas": lambda: as_csv(";").replace("0.5", "0,5").encode(),
}


def same(battles: Battles) -> None:
    assert battles.models == ("n", "é")
    assert battles.a.tolist() == [1, 0, 1]
    assert battles.score_a.tolist() == [1.0, 0.5, 0.0]
    assert battles.weight is not None
    assert battles.weight.tolist() == [2.0, 1.0, 0.5]
    assert battles.cluster is not None
    assert battles.cluster[0] == battles.cluster[1] != battles.cluster[2]
    assert (battles.skipped, battles.notes) == (0, ())


@pytest.mark.parametrize("how", SAVED)
def test_however_it_is_saved_the_battles_are_the_same(tmp_path: Path, how: str) -> None:
    path = tmp_path / "battles"
    path.write_bytes(SAVED[how]())
    same(read_battles(path))
    path.write_bytes(SAVED[how]().replace(b"2.0", b"1.0").replace(b"0.5", b"1.0").replace(b"0,5", b"1.0"))
    if b"\x00" not in SAVED[how]() and "gzip" not in how:
        annotations = read_annotations(path, "n")
        assert annotations.preference.tolist() == [2.0, 1.5, 1.0]


def test_parquet_is_a_table_like_any_other(tmp_path: Path) -> None:
    frame = pl.DataFrame(ROWS)
    for name, kept in {
        "a": frame,
        "b": frame.rename({"winner": " winner"}),
        "c": frame.cast({"weight": pl.String}),
    }.items():
        kept.write_parquet(tmp_path / name)
        same(read_battles(tmp_path / name))
    frame.cast({"winner": pl.Categorical}).write_parquet(tmp_path / "d")
    same(read_battles(tmp_path / "d"))


WORDS = st.sampled_from(
    ["model_a", "model_b", "tie", "A", "B", "left", "x", "y", "1", "0", "0.5", "2", "", "hm", "both bad", None, "error"]
)


@settings(deadline=None, max_examples=25)
@given(words=st.lists(WORDS, min_size=1, max_size=30), swap=st.booleans())
def test_the_fast_reader_and_the_tolerant_one_agree(
    tmp_path_factory: pytest.TempPathFactory, words: list[str | None], swap: bool
) -> None:
    """Whatever the winners say: the same scores, notes and refusals, from columns and from rows."""
    folder = tmp_path_factory.mktemp("battles")
    names = ("y", "x") if swap else ("x", "y")
    rows = [{"model_a": names[0], "model_b": names[1], "winner": word} for word in words]
    (folder / "lines").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "array").write_text(json.dumps(rows, indent=None).replace("}, {", "},\n{"))
    pl.DataFrame(rows, schema=dict.fromkeys(("model_a", "model_b", "winner"), pl.String)).write_parquet(
        folder / "parquet"
    )
    seen: set[object] = set()
    for name in ("lines", "array", "parquet"):
        try:
            battles = read_battles(folder / name)
            seen.add((tuple(battles.a.tolist()), tuple(battles.score_a.tolist()), battles.skipped, battles.notes))
        except InputError as error:
            seen.add(str(error).removeprefix(str(folder / name)).replace("row ", "line "))
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"model_a,model_b,winner\nx,y,tie\nx,y\n", "line 3: 2 cells, not as many cells as the header has (3)"),
        (b"model_a,model_b,winner,winner\nx,y,tie,tie\n", "line 1: 2 columns are called 'winner'"),
        ("model_a,model_b,winner\nx,y,tie\né,y,tie\n".encode("latin-1"), "line 3: not UTF-8 text (byte 1 of the line)"),
        (b'{"model_a": "x", "model_b": "y", "winner": "tie"}\n{"model_a": "x", \n', "line 2: not a JSON object"),
        (b'{"model_a": {"0": "x"}, "model_b": {"0": "y"}, "winner": {"0": "tie"}}', "line 1: a whole table in one"),
        (b"model_a,model_b,winner\n", ": no rows in it"),
        (b"PK\x03\x04\x00\x00", "a binary file, where a table is expected"),
        (b"model_a,model_b,score_a\nx,y,1\nx,y,high\n", "line 3: column score_a: 'high': 1 of 2 rows lack a score"),
        (b"| model_a | model_b | winner |\n|---|---|---|\n| x | y | tie |\n", "line 1: a Markdown table"),
        (b'{"model_a": ["x", "y"], "model_b": ["y", "x"], "winner": ["tie", "tie"]}', "line 1: a whole table in one"),
        (b" \n", ": the file is empty"),
    ],
)
def test_a_refusal_names_the_place(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "t"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_battles(path)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_refusal_names_its_file_once(tmp_path: Path) -> None:
    pl.DataFrame({"model": ["m"], "preference": [1.5]}).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(InputError) as caught:
        read_annotations(tmp_path / "t.parquet", "base")
    assert str(caught.value).count("t.parquet") == 1


def test_rows_of_a_csv_have_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('sep=|\n a | output \n"x\ny"|\n\n"q|r"|s\n')
    assert list(table_rows(path)) == [(4, {"a": "x\ny", "output": ""}), (6, {"a": "q|r", "output": "s"})]
    assert (csv_form(path).separator, csv_form(path).columns, csv_form(path).skipped) == ("|", ("a", "output"), 1)
    assert content_kind(path) == "csv"


def test_the_first_line_of_an_unknown_winner_is_the_files(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = ["model_a,model_b,winner,note", *['x,y,tie,"two\nlines"'] * 30, "x,y,hm,", *["x,y,tie,"] * 30, ""]
    path.write_text("\n".join(rows))
    (note,) = read_battles(path).notes
    assert note == "1 of 61 rows without a known winner left out: column winner: 'hm' (1, first line 62)"


def test_labels_are_read_from_the_same_tables(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    text = "sep=;\r\n prompt ; response_a; response_b; winner \r\nq;x, y;z;A\r\nq;x, y;z;B\r\n"
    path.write_bytes(text.encode("utf-16"))
    assert [(label.outputs, label.preference) for label in read_labels(path)] == [
        ((("x, y",), ("z",)), 1.0),
        ((("x, y",), ("z",)), 2.0),
    ]
