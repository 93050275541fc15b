"""What the page says of a board's order, by what ``leaderboard.json`` holds."""

from __future__ import annotations

import json
from pathlib import Path

from board_worlds import planted
from parsed_page import read

from arenaloop.arena.leaderboard import leaderboard
from arenaloop.report import write_report
from arenaloop.report.order import worth_of


def test_neighbours_seat_and_flags_are_told() -> None:
    board = leaderboard(planted("first seat favoured", 1001).battles()).to_dict()
    worth = worth_of(board)
    assert (
        worth.told[0] == f"Of 5 pairs of neighbours the battles separate {board['tiers'] - 1}: {board['tiers']} tiers."
    )
    assert worth.told[1].startswith(f"The first seat is worth {board['seat']['value']:+.3f} nats")
    assert worth.flags == [f"seat: {board['flags'][0]['text']}"]
    assert [pair.above for pair in worth.pairs] == [row["model"] for row in board["leaderboard"][:-1]]
    assert {pair.wanted == "separated" for pair in worth.pairs} == {one["separated"] for one in board["differences"]}


def test_older_and_broken_documents_say_nothing() -> None:
    assert worth_of({"leaderboard": []}) is None
    assert worth_of({"leaderboard": [], "differences": 5, "flags": ["x"]}) is None
    odd = {"leaderboard": [], "differences": [{}], "seat": {"value": "much"}, "cycles": 3, "tiers": None}
    assert worth_of(odd).pairs[0].wanted == "–"


def test_the_page_shows_it_and_hostile_names_stay_text(battle_run: Path) -> None:
    path = battle_run / "leaderboard.json"
    board = json.loads(path.read_text(encoding="utf-8"))
    board["flags"] = [{"flag": "seat", "text": "<script>alert(1)</script>"}]
    path.write_text(json.dumps(board), encoding="utf-8")
    write_report(battle_run)
    page = read(battle_run)
    assert "What the order is worth" in page.text
    assert "seat: <script>alert(1)</script>" in page.text
