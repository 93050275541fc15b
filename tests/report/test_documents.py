from __future__ import annotations

import json
from pathlib import Path

import pytest

from arenaloop.errors import InputError
from arenaloop.report.documents import number, read_documents


def test_rows_are_bare_numbers_or_none(battle_run: Path) -> None:
    path = battle_run / "leaderboard.json"
    board = json.loads(path.read_text(encoding="utf-8"))
    board["leaderboard"] = [{"model": "a", "rating": "high", "battles": True, "win_rate": 0.5}, {"model": 3, "rank": 7}]
    path.write_text(json.dumps(board), encoding="utf-8")
    first, second = read_documents(battle_run).rows
    assert first == {
        "model": "a", "rank": 1, "battles": None, "rating": None, "lower": None, "upper": None, "win_rate": 0.5,
        "weighted_win_rate": None,
        "own_failures": None, "undecided": None, "undecided_share": None, "worst": None, "best": None,
    }  # fmt: skip
    assert (second["model"], second["rank"]) == ("3", 7)


@pytest.mark.parametrize(
    ("value", "is_"),
    [(1, 1.0), (2.5, 2.5), (True, None), ("1", None), (None, None), (float("nan"), None), (float("inf"), None)],
)
def test_only_finite_numbers_are_numbers(value: object, is_: float | None) -> None:
    assert number(value) == is_


def test_settings_that_are_no_yaml_are_shown_as_they_stand(battle_run: Path) -> None:
    (battle_run / "config.yaml").write_bytes(b"a: [\xff")
    documents = read_documents(battle_run)
    assert documents.config == {}
    assert documents.config_text == "a: [\ufffd"


@pytest.mark.parametrize(
    ("name", "key"),
    [("leaderboard.json", "leaderboard"), *(("summary.json", key) for key in ("stages", "tables", "curves"))],
)
def test_lists_of_something_else_are_refused(battle_run: Path, name: str, key: str) -> None:
    path = battle_run / name
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(document | {key: [7]}), encoding="utf-8")
    with pytest.raises(InputError, match=f"'{key}' "):
        read_documents(battle_run)
