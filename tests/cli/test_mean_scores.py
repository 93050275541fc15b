"""What `rank` tells of single scores beside the board."""

from __future__ import annotations

import json
from pathlib import Path

from rank_command import run


def write(path: Path, *models: str) -> Path:
    rows = [
        {"question_id": question, "model": model, "judge": ["gpt-4", "single-v1"], "turn": turn,
         "score": -1 if (model, question, turn) == ("b", 3, 2) else 4 + len(model) + question % 2 - turn}
        for question in range(12) for model in models for turn in (1, 2)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_means_stand_beside_the_board(tmp_path: Path) -> None:
    path = write(tmp_path / "gpt-4_single.jsonl", "b", "aaa")
    shown = " ".join(run(str(path)).split())
    assert "model mean score turn 1 turn 2 scores failed aaa 6.00 ± 0.15 6.50 ± 0.15 5.50 ± 0.15 24 0" in shown
    assert "1 score empty or failed (below 0): in no mean" in shown
    document = json.loads(run(str(path), "--json"))
    assert [row["model"] for row in document["leaderboard"]] == ["aaa", "b"]
    assert [(one["model"], one["scores"], one["failed"]) for one in document["mean_scores"]] == [
        ("aaa", 24, 0),
        ("b", 23, 1),
    ]
    other = write(tmp_path / "other_single.jsonl", "b", "aaa")
    other.write_text(other.read_text().replace("gpt-4", "claude"))
    assert "judge claude" in run(str(tmp_path))


def test_one_model_alone_has_its_means_and_no_board(tmp_path: Path) -> None:
    path = write(tmp_path / "gpt-4_single.jsonl", "b")
    assert "nobody to rank it against" in " ".join(run(str(path)).split())
    document = json.loads(run(str(path), "--json"))
    assert document["leaderboard"] == []
    assert document["mean_scores"][0]["model"] == "b"
