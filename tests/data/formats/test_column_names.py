"""Names of columns in other spellings than ours, in votes of every form."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.data.formats import read_annotations, read_battles
from arenaloop.data.formats.column_names import KnownNames
from arenaloop.errors import InputError

_ROWS = [("q1", "x", "y", "model_a"), ("q1", "y", "z", "tie"), ("q2", "x", "z", "model_b"), ("q2", "x", "y", "tie")]
_OURS = ("prompt_id", "model_a", "model_b", "winner")
_SPELLINGS = [
    ("\ufeff\ufeffprompt_id", *_OURS[1:]),
    ("prompt\u200b_id", "model_a\u00ad", "\u2060model_b", "winner\u200e"),
    ("Prompt ID", "Model A", "Model B", "Winner"),
    ("promptId", "modelA", "modelB", "winner"),
    ("prompt-id", "model-a", "model-b", "winner"),
    ("PROMPT_ID", "MODEL_A", "MODEL_B", "WINNER"),
    ("Question ID", *_OURS[1:]),
]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("names", _SPELLINGS)
def test_a_spelling_of_a_name_is_that_name(tmp_path: Path, names: tuple[str, ...], form: str) -> None:
    path = tmp_path / "votes"
    rows = [dict(zip(names, row, strict=True)) for row in _ROWS]
    if form == "parquet":
        pl.DataFrame(rows).write_parquet(path)
    elif form == "csv":
        path.write_text("\n".join(",".join(row) for row in (names, *_ROWS)), encoding="utf-8")
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    battles = read_battles(path)
    assert (battles.models, battles.score_a.tolist()) == (("x", "y", "z"), [1.0, 0.5, 0.0, 0.5])
    assert battles.cluster is not None
    assert battles.cluster.tolist() == [0, 0, 1, 1]
    assert battles.notes == ()
    assert set(read_annotations(path, "x").prompts) == {"q1", "q2"}


def test_one_column_under_two_spellings_says_the_same_or_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    rows = ["q1,q1,x,y,model_a", ",q2,x,y,tie", "q3,q3,x,y,model_b"]
    path.write_text("\n".join(["Prompt ID,prompt_id,model_a,model_b,winner", *rows]))
    cluster = read_battles(path).cluster
    assert cluster is not None
    assert len(set(cluster.tolist())) == 3
    path.write_text(path.read_text().replace("q3,q3", "q3,q4"))
    with pytest.raises(
        InputError, match=r"votes\.csv, line 4: columns 'Prompt ID' and 'prompt_id' .*\"q3\" and \"q4\""
    ):
        read_battles(path)


@given(st.dictionaries(st.text(max_size=8), st.integers(), max_size=5))
def test_other_names_stay_as_they_are(row: dict[str, int]) -> None:
    names = KnownNames(["prompt_id_of_the_file"])
    assert names.spelled(row) == {}
    assert names.row(row, {}, "line 1") == row
