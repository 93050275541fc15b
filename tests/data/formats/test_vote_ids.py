"""Votes that stand in a file twice: what has an id counts once, what has none is honest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.data.formats import read_annotations, read_battles
from arenaloop.data.formats.vote_ids import vote_id
from arenaloop.errors import InputError

_OTHER = {"model_a": "model_b", "model_b": "model_a"}


def _votes(count: int = 60, **columns: Any) -> list[dict[str, Any]]:
    return [
        {
            **{name: cell(i) if callable(cell) else cell for name, cell in columns.items()},
            "prompt_id": f"q{i // 3}",
            "model_a": "xy"[i % 2],
            "model_b": "z",
            "winner": "model_a" if i % 5 else "model_b",
        }
        for i in range(count)
    ]


def _file(tmp_path: Path, rows: list[dict[str, Any]], form: str = "jsonl") -> Path:
    path = tmp_path / "votes"
    if form == "csv":
        path.write_text("\n".join(",".join(map(str, row)) for row in (rows[0], *(row.values() for row in rows))))
    else:
        path.write_text("\n".join(json.dumps(row, separators=(",", ":")) for row in rows))
    return path


_IDS: list[dict[str, Any]] = [
    {"battle_id": lambda i: f"b{i}"},
    {"id": lambda i: i},
    {"voteId": lambda i: f"v{i}"},
    {"uuid": lambda i: f"{i:032x}", "judge": lambda i: f"user_{i % 7}"},
    {"question_session_id": lambda i: f"s{i}"},
    {"tstamp": lambda i: 1682351591.5 + i, "judge": "arena_user_1"},
    {"created_at": lambda i: f"2024-05-01T10:{i // 60:02}:{i % 60:02}Z", "rater_id": 3},
]


@pytest.mark.parametrize("form", ["jsonl", "csv"])
@pytest.mark.parametrize("ids", _IDS)
def test_overlapping_exports_count_once(tmp_path: Path, ids: dict[str, Any], form: str) -> None:
    rows = _votes(**ids)
    alone = read_battles(_file(tmp_path, rows, form))
    assert alone.notes == ()
    battles = read_battles(_file(tmp_path, rows + rows[20:40], form))
    assert len(battles) == 60
    assert battles.score_a.tolist() == alone.score_a.tolist()
    assert [note.split(" of this file")[0] for note in battles.notes] == ["20 rows repeat a vote"]
    assert len(read_annotations(tmp_path / "votes", "z").preference) == 60


@pytest.mark.parametrize("ids", [ids for ids in _IDS if "question_session_id" not in ids])
def test_votes_told_in_two_ways_are_in_doubt(tmp_path: Path, ids: dict[str, Any]) -> None:
    rows = _votes(**ids)
    turned = [row | {"winner": _OTHER[row["winner"]]} for row in rows[20:40]]
    battles = read_battles(_file(tmp_path, [*rows, *turned[:1]]))
    assert len(battles) == 59
    assert "rows of one vote" in battles.notes[0]
    assert "first line 21" in battles.notes[0]
    with pytest.raises(InputError, match=r"line 21: rows of one vote .* that name different winners: 40 of 80 rows"):
        read_battles(_file(tmp_path, rows + turned))


_HONEST: list[dict[str, Any]] = [
    {},  # nothing tells equal votes apart
    {"judge": "gpt-4"},  # asked again
    {"id": lambda i: f"q{i // 3}"},  # the prompt's
    {"session_id": lambda i: f"s{i % 4}"},
    {"battle_id": lambda i: f"b{i // 3}"},  # several voters a battle, not named
    {"battle_id": lambda i: f"b{i // 6}", "judge": lambda i: f"rater {i % 6}"},
    {"battle_id": lambda i: f"b{i // 6}", "round": lambda i: i % 6},
    {"date": "2024-05-01", "judge": "gpt-4"},
]


@pytest.mark.parametrize("ids", _HONEST)
def test_honest_repeats_count(tmp_path: Path, ids: dict[str, Any]) -> None:
    rows = [row | {"model_a": "x"} for row in _votes(**ids)]
    assert len(read_battles(_file(tmp_path, rows))) == 60


def _annotation(i: int, preference: float, **more: Any) -> dict[str, Any]:
    texts = {"instruction": f"question {i}", "output_1": f"one {i}", "output_2": f"two {i}"}
    return {**texts, "generator_1": "base", "generator_2": "m", "preference": preference, **more}


def test_an_annotator_prefers_once(tmp_path: Path) -> None:
    rows = [_annotation(i, 1.0 + i % 2, annotator="weighted") for i in range(40)]
    again = [row | {"preference": 1.001 if row["preference"] == 1.0 else 1.99} for row in rows[:10]]
    found = read_annotations(_file(tmp_path, rows + again), "base")
    assert len(found.preference) == 40
    assert "10 rows repeat a vote" in found.notes[0]
    odd = [*rows, rows[7] | {"preference": 1.0}]
    found = read_annotations(_file(tmp_path, odd), "base")
    assert len(found.preference) == 39
    assert "first line 8" in found.notes[0]
    other = [row | {"annotator": "another", "preference": 3.0 - row["preference"]} for row in rows]
    assert len(read_annotations(_file(tmp_path, rows + other), "base").preference) == 80
    nameless = [_annotation(i, 1.0) for i in range(5)] * 2
    assert len(read_annotations(_file(tmp_path, nameless), "base").preference) == 10


def test_judgments_of_one_judge_count_once(tmp_path: Path) -> None:
    rows = [
        {
            "uid": f"u{i}",
            "model": "m",
            "baseline": "base",
            "judge": "gpt-4",
            "games": [{"score": "A>B"}, {"score": "B>A"}],
        }
        for i in range(20)
    ]
    assert len(read_battles(_file(tmp_path, rows))) == 40
    battles = read_battles(_file(tmp_path, rows + rows[:4]))
    assert len(battles) == 40
    assert "8 rows repeat a vote" in battles.notes[0]


def _judged(i: int, label: str) -> dict[str, Any]:
    return {"uid": f"u{i}", "model": "m", "baseline": "base", "judge": "gpt-4", "games": [{"score": label}]}


@pytest.mark.parametrize("others", [1, 20, 70])
def test_a_model_that_was_judged_twice_counts_once(tmp_path: Path, others: int) -> None:
    """Whatever share of a directory the re-run is: equal rows are one vote, and rows that differ share one."""
    first = [_judged(i, "A>B" if i % 3 else "B>A") for i in range(30)]
    again = [_judged(i, "A>B" if i % 3 and i % 5 else "B>A") for i in range(30)]
    rest = [_judged(i, "A=B") | {"model": "n"} for i in range(others)]
    folder = tmp_path / "judged"
    folder.mkdir()
    for name, rows in (("m", first), ("m_rerun", again), ("n", rest)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    battles = read_battles(folder)
    weight = battles.weight
    assert weight is not None
    of_m = np.array([battles.models[code] for code in battles.b]) == "m"
    assert weight[of_m].sum() == 30.0
    assert set(weight[of_m]) == {0.5, 1.0}
    assert len(battles) == 34 + others
    both = np.mean([[row["games"][0]["score"] == "A>B" for row in rows] for rows in (first, again)])
    assert np.average(battles.score_a[of_m], weights=weight[of_m]) == pytest.approx(both)
    notes = "; ".join(battles.notes)
    assert "4 votes (by judge, prompt and models) stand in 8 rows that differ (first line 6 of m.jsonl)" in notes
    assert "26 rows repeat a vote of this file" in notes


@given(st.lists(st.text(max_size=12), max_size=6))
def test_any_names_of_columns_are_looked_at(names: list[str]) -> None:
    found = vote_id(names, ("prompt_id",))
    assert found is None or set(found.columns) <= set(names)
