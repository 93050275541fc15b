from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from arenaloop.errors import InputError
from arenaloop.jsonl import write_jsonl
from arenaloop.report.shown_battles import Reservoir, read_picks


def row(i: int, **changes: Any) -> dict[str, Any]:
    return {
        "prompt_id": f"p{i // 2}", "model_a": "a", "model_b": "b", "winner": "tie", "score_a": 5.0, "score_b": 5.0,
        "flipped": False, "judge": "j", "verdicts": [f"{i}x", f"{i}y"],
    } | changes  # fmt: skip


def read(path: Path, rows: list[dict[str, Any]], wanted: int = 20, share: int = 5, ask: Any = ()) -> Any:
    write_jsonl(path, rows)
    return read_picks(path, wanted=wanted, kind_share=share, ask=set(ask))


def test_flips_and_gaps_come_before_a_random_rest(tmp_path: Path) -> None:
    rows = [row(i) for i in range(1000)]
    for i in range(3):
        rows[100 * i] |= {"flipped": True}
    for i in range(10):
        rows[50 * i + 7] |= {"winner": "model_a", "score_a": 5.0 + i / 2}
    picks = read(tmp_path / "b.jsonl", rows)
    assert (picks.battles, picks.prompts, picks.flipped) == (1000, 500, 3)
    assert [p.kind for p in picks.chosen] == ["flipped"] * 3 + ["gap"] * 5 + ["random"] * 12
    assert [p.index for p in picks.chosen[:3]] == [0, 100, 200]
    assert [p.battle.gap for p in picks.chosen[3:8]] == [4.5, 4.0, 3.5, 3.0, 2.5]
    assert len({p.index for p in picks.chosen}) == 20
    assert picks.chosen == read(tmp_path / "b.jsonl", rows).chosen


def test_flips_between_different_texts_come_before_those_between_equal_ones(tmp_path: Path) -> None:
    rows = [row(i, flipped=True, verdicts=["k", "k"]) for i in range(50)]
    rows += [row(i, flipped=True) for i in range(50, 53)]
    picks = read(tmp_path / "b.jsonl", rows)
    flips = [p for p in picks.chosen if p.kind == "flipped"]
    assert len(flips) == 5
    assert {50, 51, 52} < {p.index for p in flips}
    assert (picks.same, picks.same_flipped, picks.flipped) == (50, 50, 53)


def test_a_short_file_is_shown_whole(tmp_path: Path) -> None:
    picks = read(tmp_path / "b.jsonl", [row(i) for i in range(7)])
    assert sorted(p.index for p in picks.chosen) == list(range(7))
    assert read(tmp_path / "e.jsonl", []).chosen == []


def test_a_pair_counts_alike_in_either_order(tmp_path: Path) -> None:
    rows = [
        row(0, winner="model_a"),
        row(1, winner="model_b"),
        row(2, winner="model_a"),
        row(3),
        row(4, model_a="b", model_b="a", winner="model_a"),
    ]
    picks = read(tmp_path / "b.jsonl", rows)
    assert picks.record("a", "b") == (2, 1, 2)
    assert picks.record("b", "a") == (2, 1, 2)
    assert picks.record("a", "c") == (0, 0, 0)
    wins = read(tmp_path / "b.jsonl", [row(0, winner="model_b"), row(1, winner="model_b"), row(2)])
    assert wins.record("a", "b") == (0, 1, 2)
    assert wins.record("b", "a") == (2, 1, 0)


def test_battles_that_were_asked_about_are_found(tmp_path: Path) -> None:
    ask = {("p0", "a", "b"), ("p999", "a", "b")}
    assert read(tmp_path / "b.jsonl", [row(0, model_a="b", model_b="a")], ask=ask).decided == {("p0", "a", "b")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"winner": "both"}, "line 2: no battle: winner 'both'"),
        ({"score_a": "high"}, "line 2: no battle: could not convert"),
        ({"verdicts": None}, "line 2: no battle"),
    ],
)
def test_a_row_that_is_no_battle_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path / "b.jsonl", [row(0), row(1, **change)])
    missing = row(1)
    del missing["model_b"]
    with pytest.raises(InputError, match="line 1: no battle: 'model_b' is missing"):
        read(tmp_path / "b.jsonl", [missing])


def test_a_reservoir_draws_every_item_alike() -> None:
    drawn: Counter[int] = Counter()
    for seed in range(4000):
        sample = Reservoir(3, random.Random(seed))
        for i in range(10):
            sample.add(i)
        assert len(set(sample.items)) == 3
        drawn.update(sample.items)
    # each of 10 items is expected 1200 times, with a standard deviation of 29
    assert all(abs(n - 1200) < 5 * 29 for n in drawn.values())
    assert len(drawn) == 10
