"""From preference pairs to a judge: `train reward_model`, then `battle --judge reward:PATH`."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arenaloop.sandbox.target import build_target

Command = Callable[..., Any]


def test_a_trained_reward_model_decides_battles(arenaloop: Command, tmp_path: Path) -> None:
    start = build_target(tmp_path / "start", 0, width=16, layers=1, heads=2)

    r = random.Random(0)
    words = ["".join(r.choices("abcdef", k=r.randint(2, 6))) for _ in range(300)]
    rows = [
        {"prompt": f"go {at}", "chosen": word + "aaa", "rejected": word.replace("a", "b")}
        for at, word in enumerate(words)
    ]
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = ["learning_rate=3e-3", "batch_size=32", "epochs=4", "threads=1"]
    trained = arenaloop(
        *("train", "reward_model", "--model", f"hf:{start}", "--data", data, "--out", tmp_path / "rm"),
        *(part for each in settings for part in ("--set", each)),
    )
    assert trained.code == 0, trained.lines
    assert "held-out pairs" in trained.out
    for name, ending in (("good", "aaa"), ("bad", "bbb")):
        lines = [json.dumps({"instruction": f"go {at}", "output": f"{at} {ending}"}) + "\n" for at in range(6)]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"go {at}"}) + "\n" for at in range(6)))
    arguments = [
        *("battle", "--model", f"good=file:{tmp_path / 'good.jsonl'}", "--model", f"bad=file:{tmp_path / 'bad.jsonl'}"),
        *("--prompts", tmp_path / "prompts.jsonl", "--judge", f"reward:{tmp_path / 'rm'}", "--out", tmp_path / "run"),
    ]
    played = arenaloop(*arguments)
    assert played.code == 0, played.lines
    board = json.loads((tmp_path / "run" / "leaderboard.json").read_text())
    assert [row["model"] for row in board["leaderboard"]] == ["good", "bad"]
    battles = [json.loads(line) for line in (tmp_path / "run" / "battles.jsonl").read_text().splitlines()]
    assert {battle["winner"] for battle in battles} == {"model_a" if battles[0]["model_a"] == "good" else "model_b"}
    for spec, says in ((f"reward:{start}", "no reward model"), ("reward:", "reward:PATH")):
        refused = arenaloop(*arguments[:-3], spec, "--out", tmp_path / "other")
        assert refused.code == 2
        assert says in refused.lines[-1]
