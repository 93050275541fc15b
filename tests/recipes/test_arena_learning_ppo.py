"""Rounds of Arena Learning that end with a reward model and PPO, trained for real on a tiny target."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_recipe import lasting, rows, run
from transformers import AutoTokenizer

from arenaloop.sandbox import tasks
from arenaloop.store import Store
from arenaloop.train.encoded import Encoded
from arenaloop.train.encoding import ChatEncoder

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


def test_a_reward_model_may_start_from_the_base_and_ppo_keep_to_its_own_slice(tmp_path: Path) -> None:
    less = (
        "stages=[sft,ppo]",
        "rounds=2",
        "data.prompts=sandbox:prompts?n=80",
        "data.test=sandbox:prompts?n=4&split=test",
    )
    result = run(tmp_path, *PPO, *less, "rm_init=base", "ppo_prompts=slice", "k_sft=[0.5]")
    stages = {stage["name"]: stage for stage in result.stages}
    for name in ("RM-I1", "RM-I2"):
        trained = json.loads((tmp_path / "checkpoints" / name / "training.json").read_text())
        assert Path(trained["start"]).name.startswith("start-")
    assert [stages[name]["rows"] for name in ("PPO-I1", "PPO-I2")] == [20, 20]
    assert stages["RM-I2"]["rows"] > stages["RM-I2"]["selection"]["rows"]


def test_own_pairs_alone(tmp_path: Path) -> None:
    result = run(tmp_path, *PPO, "rm_pairs=own", "stages=[sft,ppo]", "data.prompts=sandbox:prompts?n=40")
    pairs = rows(tmp_path / "data" / "RM-I1.jsonl")
    assert {row["chosen_model"] for row in pairs} <= {"SFT-I1#1", "SFT-I1#2"}
    assert [stage["name"] for stage in result.stages] == ["SFT-I0", "SFT-I1", "RM-I1", "PPO-I1"]


def two_turns(path: Path, n: int, split: str, answered: bool = False) -> Path:
    """Conversations of two tasks each, as prompts or, `answered`, as demonstrations."""
    drawn = tasks.draw(2 * n, 0, split)
    lines: list[str] = []
    for one, two in zip(drawn[::2], drawn[1::2], strict=True):
        turns = [one.prompt.last_user, two.prompt.last_user]
        said = [
            {"role": role, "content": text}
            for task in (one, two)
            for role, text in (("user", task.prompt.last_user), ("assistant", task.answer))
        ]
        lines.append(json.dumps({"messages": said} if answered else {"turns": turns, "difficulty": len(lines) % 10}))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_conversations_battle_and_train_whole(tmp_path: Path) -> None:
    """Both answers are judged and learned by each method; PPO answers each turn, behind what the policy had said."""
    files = {
        "demonstrations": two_turns(tmp_path / "d0.jsonl", 32, "dev", answered=True),
        "prompts": two_turns(tmp_path / "pool.jsonl", 45, "train"),
        "test": two_turns(tmp_path / "test.jsonl", 6, "test"),
    }
    window = [f"{name}.max_length=192" for name in ("sft_init_training", "sft", "dpo", "reward_model", "ppo")]
    out = tmp_path / "run"
    result = run(
        out,
        *(f"data.{name}={path}" for name, path in files.items()),
        *window,
        "stages=[sft,dpo,ppo]",
        "k_rm=[0.5]",
        "rm_samples=2",
        "sft_init_training.assistant_turns=all",
        "ppo.rollout_batch=16",
    )
    assert [stage["name"] for stage in result.stages] == ["SFT-I0", "SFT-I1", "DPO-I1", "RM-I1", "PPO-I1"]
    assert result.summary["battles_decided"] == result.summary["battles_wanted"] > 0
    for stage in result.stages[1:4]:  # somebody has rated these prompts
        hard = stage["selection"]["difficulty"]
        assert hard["rated"] == 15
        assert 0 < hard["before"] < 9 > hard["after"] > 0
    counts = result.summary["tables"][0]
    assert counts["columns"][5:7] == ["difficulty", "of those selected"]
    assert counts["rows"][1][5] == pytest.approx(result.stages[1]["selection"]["difficulty"]["before"], abs=0.01)
    with Store(out / "arena.db", readonly=True) as store:
        (sft, *_), (pair, *_), (own, *_) = (rows(out / "data" / f"{n}.jsonl") for n in ("SFT-I1", "DPO-I1", "RM-I1"))
        for row, texts in ((sft, [m["content"] for m in sft["completion"][::2]]), (pair, None), (own, None)):
            judged = [store.texts(v.first_hash) for v in store.verdicts(row["verdicts"]).values()]
            assert all(len(one) == 2 for one in judged)
            if texts is not None:
                assert tuple(texts) in judged
    for row in (pair, own):
        assert len(row["prompt"]) == 1
        assert [m["role"] for m in row["chosen"]] == [m["role"] for m in row["rejected"]]
        assert [m["role"] for m in row["chosen"]] == ["assistant", "user", "assistant"]

    tokenizer = AutoTokenizer.from_pretrained(out / "checkpoints" / "SFT-I1")
    encoder = ChatEncoder(tokenizer, 192)
    for row, key in ((sft, "completion"), (pair, "chosen"), (own, "rejected")):
        encoded = encoder.encode(row["prompt"], row[key], "last", "row")
        assert isinstance(encoded, Encoded)
        turns = [m["content"] for m in row[key] if m["role"] == "assistant"]
        learned = tokenizer.decode([i for i, on in zip(encoded.ids, encoded.labelled, strict=True) if on])
        assert all(text in learned for text in turns)

    assert 15 < result.stages[-1]["rows"] <= 30  # turns, of 15 conversations
    rolled = [
        json.loads(line)
        for file in sorted((out / "checkpoints" / "PPO-I1" / "rollouts").glob("*.jsonl.gz"))
        for line in gzip.decompress(file.read_bytes()).splitlines()
    ]
    assert {len(row["prompt"]) for row in rolled} == {1, 3}
    assert all(row["score"] is not None for row in rolled)
    with Store(out / "arena.db", readonly=True) as store:
        rulings = [ruling for prompt in store.prompts() for ruling in store.rulings_of(prompt.id).values()]
        answers = {store.texts(text)[0] for ruling in rulings for text in (ruling.first_hash, ruling.second_hash)}
    assert {row["prompt"][1]["content"] for row in rolled if len(row["prompt"]) == 3} <= answers
