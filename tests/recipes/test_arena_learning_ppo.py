"""Rounds of Arena Learning that end with a reward model and PPO, trained for real on a tiny target."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_recipe import lasting, rows, run

from arenaloop.store import Store

torch.set_num_threads(1)

PPO = ("stages=[sft,dpo,ppo]", "data.prompts=sandbox:prompts?n=60", "rm_samples=2", "k_rm=[0.5]")


def test_a_round_may_end_with_a_reward_model_and_ppo(tmp_path: Path) -> None:
    """The paper's round: PPO goes on from DPO by a model of who won, on the prompts of the same slice."""
    out = tmp_path / "run"
    result = run(out, *PPO)
    assert [stage["name"] for stage in result.stages] == ["SFT-I0", "SFT-I1", "DPO-I1", "RM-I1", "PPO-I1"]
    reward_model, ppo = result.stages[3:]
    assert (reward_model["rating"], reward_model["mean_length"]) == (None, None)
    assert ppo["rating"] is not None
    series = [one for curve in result.summary["curves"][:2] for one in curve["series"]]
    drawn = {point["label"] for one in series for point in one["points"]}
    assert "PPO-I1" in drawn
    assert "RM-I1" not in drawn
    assert ppo["rows"] == 20
    pairs = rows(out / "data" / "RM-I1.jsonl")
    assert reward_model["rows"] == len(pairs)
    names = {row["chosen_model"] for row in pairs} | {row["rejected_model"] for row in pairs}
    assert {"DPO-I1#1", "DPO-I1#2"} < names  # its own answers battled too
    assert names - {"DPO-I1#1", "DPO-I1#2"} <= {"DPO-I1", "scholar", "novice"}
    assert all(row["margin"] >= 0.5 for row in pairs)
    slices = [{row["prompt_id"] for row in rows(out / "data" / f"{name}.jsonl")} for name in ("SFT-I1", "DPO-I1")]
    assert not {row["prompt_id"] for row in pairs} & (slices[0] | slices[1])
    trained = json.loads((out / "checkpoints" / "PPO-I1" / "training.json").read_text())
    assert trained["start"].endswith("DPO-I1")
    board = json.loads((out / "leaderboard.json").read_text())
    assert {row["model"] for row in board["leaderboard"]} == {
        "SFT-I0",
        "SFT-I1",
        "DPO-I1",
        "PPO-I1",
        "scholar",
        "novice",
    }
    again = run(out, *PPO)  # all of it is there
    assert lasting(again.summary) == lasting(result.summary)
    assert again.summary["calls"] == result.summary["calls"]


def test_a_run_that_stops_between_reward_model_and_ppo_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped before the reward model's result is kept, and before PPO's: as if it had not been."""
    real_put = Store.put_stage
    for name in ("RM-I1", "PPO-I1"):

        def put(self: Store, stage: str, key: str, result: dict[str, Any], stop: str = name) -> None:
            if stage == stop:
                raise KeyboardInterrupt
            real_put(self, stage, key, result)

        with monkeypatch.context() as patch:
            patch.setattr(Store, "put_stage", put)
            with pytest.raises(KeyboardInterrupt):
                run(tmp_path / "broken", *PPO, "rm_pairs=own")
    (tmp_path / "broken" / "data" / "RM-I1.jsonl").unlink()
    broken, whole = (run(tmp_path / name, *PPO, "rm_pairs=own") for name in ("broken", "whole"))
    assert lasting(broken.summary) == lasting(whole.summary)
    assert broken.summary["calls"] == whole.summary["calls"]
    one, other = (tmp_path / name / "data" / "RM-I1.jsonl" for name in ("broken", "whole"))
    assert one.read_bytes() == other.read_bytes()


def test_own_pairs_alone(tmp_path: Path) -> None:
    result = run(tmp_path, *PPO, "rm_pairs=own", "stages=[sft,ppo]", "data.prompts=sandbox:prompts?n=40")
    pairs = rows(tmp_path / "data" / "RM-I1.jsonl")
    assert {row["chosen_model"] for row in pairs} <= {"SFT-I1#1", "SFT-I1#2"}
    assert [stage["name"] for stage in result.stages] == ["SFT-I0", "SFT-I1", "RM-I1", "PPO-I1"]
