"""The leaderboard as a picture: who is in it, and what cannot be drawn."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from arenaloop.arena.board import Leaderboard
from arenaloop.arena.forest_plot import forest_plot
from arenaloop.arena.leaderboard import leaderboard
from arenaloop.errors import ConfigError, StorageError

pytest.importorskip("matplotlib")

EVIL = "$x^{2$ \x1b[31m<b>\u202e"


@pytest.fixture
def board() -> Leaderboard:
    rows = [("alpha", EVIL, "model_a")] * 6 + [("alpha", EVIL, "model_b")] * 3 + [("lone", "lone 2", "tie")]
    names = ("model_a", "model_b", "winner")
    columns: dict[str, list[str]] = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    return leaderboard(columns)


def texts(path: Path) -> list[str]:
    """What an SVG file writes: matplotlib draws letters, and keeps the words beside them."""
    return re.findall(r"<!-- (.*?) -->", path.read_text("utf-8"))


def test_every_rated_model_has_a_line_and_a_name(board: Leaderboard, tmp_path: Path) -> None:
    path = tmp_path / "board.SVG"
    forest_plot(board, path)
    words = texts(path)
    rated = [row.model for row in board.rows if row.rating is not None]
    assert [word for word in words if word in ("alpha", "lone", "lone 2")] == [name for name in rated if name != EVIL]
    assert "rating, with 95 % interval" in words
    assert board.caption() in words


def test_a_hostile_name_is_text(board: Leaderboard, tmp_path: Path) -> None:
    path = tmp_path / "board.svg"
    forest_plot(board, path)  # a dollar sign begins no formula
    assert "\x1b" not in path.read_text("utf-8")
    assert any("x^{2$ \\x1b[31m" in word and word.endswith("\\u202e") for word in texts(path))


def test_what_cannot_be_drawn(board: Leaderboard, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.png, \.svg or \.pdf"):
        forest_plot(board, tmp_path / "board.gif")
    with pytest.raises(StorageError, match="cannot be written"):
        forest_plot(board, tmp_path / "nowhere" / "board.png")


def test_an_open_end_is_an_arrow(tmp_path: Path) -> None:
    rows = [("alpha", "beta", "model_a"), ("alpha", "beta", "model_b")] * 10 + [("champion", "beta", "model_a")] * 12
    columns = {name: [row[i] for row in rows] for i, name in enumerate(("model_a", "model_b", "winner"))}
    board = leaderboard(columns)
    assert board["champion"].upper is None
    assert board["alpha"].upper is not None
    forest_plot(board, tmp_path / "open.svg")
    forest_plot(leaderboard({name: column[:20] for name, column in columns.items()}), tmp_path / "closed.svg")
    drawn, closed = (len(re.findall(r'<g id="patch_', (tmp_path / f"{n}.svg").read_text())) for n in ("open", "closed"))
    assert drawn == closed + 1
