"""Win rates of battles that come by are those of battles in memory."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from same_board import same

from arenaloop.data.formats import read_annotations
from arenaloop.data.formats.streamed_battles import read_streamed, streamed_wanted
from arenaloop.ratings.streamed_rates import streamed_win_rates
from arenaloop.ratings.undecided import rate_bounds
from arenaloop.ratings.win_rate import WinRate, win_rates

FIELDS = [name for name in WinRate.__slots__ if name != "avg_length"]


def table(path: Path, **columns: list[object]) -> Path:
    rows = 300
    frame = {
        "model_a": ["base", "x", "y", "z"] * (rows // 4),
        "model_b": ["x", "base", "z", "base", "y"] * (rows // 5),
        "winner": ["model_a", "tie", "model_b", "model_a", "model_b", None, "model_b"] * (rows // 7 + 1),
        "prompt_id": [f"p{n % 37}" for n in range(rows)],
    }
    pl.DataFrame({name: column[:rows] for name, column in (frame | columns).items()}).write_parquet(path)
    return path


def test_rates_are_the_same(tmp_path: Path) -> None:
    path = table(tmp_path / "battles.parquet")
    annotations = read_annotations(path, "base")
    rows = [row for row in win_rates(annotations) if row.model != "base"]
    parts = streamed_wanted(path, True, None)
    assert parts is not None
    told, found = streamed_win_rates(read_streamed(path, parts).battles, "base")
    for one, other in zip(rows, found, strict=True):
        same({name: getattr(one, name) for name in FIELDS}, {name: getattr(other, name) for name in FIELDS})
    before, after = rate_bounds(annotations, rows), rate_bounds(told, found)
    assert after == {name: before[name] for name in after}


@pytest.mark.parametrize(
    ("columns", "baseline", "message"),
    [
        ({}, "nobody", "no row with the baseline 'nobody'"),
        ({"weight": [1.0, 2.0] * 150}, "base", "weigh differently"),
    ],
)
def test_what_cannot_be_is_told(tmp_path: Path, columns: dict[str, list[object]], baseline: str, message: str) -> None:
    path = table(tmp_path / "battles.parquet", **columns)
    parts = streamed_wanted(path, True, None)
    assert parts is not None
    with pytest.raises(ValueError, match=message):
        streamed_win_rates(read_streamed(path, parts).battles, baseline)
