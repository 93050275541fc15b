"""Trainings on own answers that cannot be: one line, exit code 2, and nothing is written, asked or paid."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from arenaloop.sandbox.target import build_target
from arenaloop.train.run import TrainingRun

torch.set_num_threads(1)

Command = Callable[..., Any]

REWARDS = """
def count(prompts, answers):
    return [float(len(set(answer))) for answer in answers]

def two(prompts, answers):
    return [1.0, 2.0]

def fails(prompts, answers):
    return 1 / 0

def later(prompts, answers):
    return [1.0] if answers == ["Hello."] else 1 / 0

def not_numbers(prompts, answers):
    return [1.0 if answer == "Hello." else float("nan") for answer in answers]

def few_are_none(prompts, answers):
    return [None if n == 1 else float(len(set(answer))) for n, answer in enumerate(answers)]
"""
COUNT = ("--reward", "python:rewards.py:count")
FAST = [
    part
    for each in ("iterations=2", "max_new_tokens=6", "threads=1", "device=cpu", "stop_cut=1")
    for part in ("--set", each)
]


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """A model, and beside it files of every kind."""
    (tmp_path / "rewards.py").write_text(REWARDS)
    (tmp_path / "syntax.py").write_text("def f(")
    (tmp_path / "list.yaml").write_text("- a\n")
    (tmp_path / "dead.yaml").write_text("spec: http://127.0.0.1:9/v1#judge\nretries: 0\n")
    (tmp_path / "pairs.yaml").write_text("spec: builtin:longest\n")
    for name, rows in {
        "prompts": [{"prompt": f"say {n}"} for n in range(24)],
        "three": [{"prompt": f"say {n}"} for n in range(3)],
        "texts": [{"text": "abc"}],
        "long": [{"prompt": "word " * 500 + str(n)} for n in range(4)],
        "pairs": [{"prompt": f"say {n}", "chosen": "yes", "rejected": "no"} for n in range(4)],
    }.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return build_target(tmp_path / "start", 0, width=16, layers=1, heads=2)


@pytest.mark.parametrize(
    ("method", "data", "more", "says"),
    [
        ("ppo", "texts", COUNT, "texts.jsonl, line 1: there is no column 'prompt'"),
        ("dpo", "prompts", (), "prompts.jsonl, line 1: there is no column 'chosen'; found: prompt"),
        ("quark", "prompts", (), "quark learns from a reward; name one with --reward"),
        ("grpo", "prompts", COUNT, "'grpo' is not known (what comes closest to it is 'rloo'); known: "),
        ("sft", "pairs", COUNT, "a reward does nothing there"),
        ("ppo", "prompts", ("--reward", "rewad:rm"), "did you mean 'reward'?"),
        ("ppo", "prompts", ("--reward", "python:none.py:f"), "none.py: no such file"),
        ("ppo", "prompts", ("--reward", "python:syntax.py:f"), "syntax.py cannot be run: SyntaxError"),
        ("ppo", "prompts", ("--reward", "python:rewards.py:thre"), "has no function 'thre'"),
        ("ppo", "prompts", ("--reward", "python:rewards.py:fails"), "ZeroDivisionError: division by zero"),
        ("rloo", "prompts", ("--reward", "python:rewards.py:two"), "2 scores for 1 answers"),
        ("ppo", "prompts", ("--reward", "judge:none.yaml"), "none.yaml: No such file"),
        ("ppo", "prompts", ("--reward", "judge:list.yaml"), "list.yaml: expected a mapping"),
        ("ppo", "prompts", ("--reward", "judge:pairs.yaml"), "scores no single answer"),
        ("ppo", "prompts", ("--reward", "judge:dead.yaml"), "127.0.0.1:9/v1 cannot be reached"),
        ("expert_iteration", "prompts", ("--reward", "judge:dead.yaml"), "127.0.0.1:9/v1 cannot be reached"),
        ("ppo", "prompts", ("--reward", "battles:dead.yaml#none.jsonl"), "none.jsonl: no such file"),
        ("ppo", "prompts", ("--reward", "reward:start"), "start is no reward model"),
        ("ppo", "prompts", ("--reward", "reward:nowhere"), "nowhere does not hold a model"),
        ("ppo", "prompts", (*COUNT, "--set", "top_p=0.9"), "top_p cannot be set: answers are drawn from the whole"),
        ("quark", "prompts", (*COUNT, "--set", "top_k=40"), "top_k cannot be set"),
        ("rloo", "prompts", (*COUNT, "--set", "stop=[x]"), "stop cannot be set"),
        ("ppo", "prompts", (*COUNT, "--set", "rollout_batch=64"), "there are 24 prompts, fewer than a roll-out's 64"),
        ("quark", "three", COUNT, "3 prompts with 1 answers each cannot be cut into 4 bins"),
        ("rloo", "long", COUNT, "no prompt is left of 4: 4 prompt_too_long (max_length is 2,048 here"),
    ],
)
def test_refused_in_one_line_and_nothing_written(
    arenaloop: Command, start: Path, tmp_path: Path, method: str, data: str, more: tuple[str, ...], says: str
) -> None:
    def there() -> set[Path]:
        return {path for path in tmp_path.rglob("*") if "__pycache__" not in path.parts}

    before = there()
    refused = arenaloop("train", method, "--model", f"hf:{start}", "--data", f"{data}.jsonl", *more, "--out", "new")
    assert (refused.code, len(refused.lines)) == (2, 1), refused.lines
    assert says in refused.lines[0]
    assert there() == before


def test_a_judge_is_not_asked_where_the_training_is_refused(
    arenaloop: Command, served: Any, start: Path, tmp_path: Path
) -> None:
    served.answer = lambda body: "Fine.\n\nScore: 3"
    (tmp_path / "judge.yaml").write_text(f"spec: {served.url}#judge\n")
    arguments = ["train", "ppo", "--model", f"hf:{start}", "--reward", "judge:judge.yaml", "--out", "new"]
    shutil.copytree(start, tmp_path / "other")  # somebody else's model
    for data, more in [
        ("texts.jsonl", ()), ("prompts.jsonl", ("--set", "rollout_batch=64")), ("long.jsonl", ()),
        ("prompts.jsonl", ("--out", "other")), ("prompts.jsonl", ("--out", start)),
    ]:  # fmt: skip
        refused = arenaloop(*arguments, "--data", data, *more)
        assert (refused.code, len(refused.lines)) == (2, 1), refused.lines
    assert served.heard == []
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "other" / "arena.db").exists()


def test_a_reward_models_padding_must_end_no_turn(arenaloop: Command, start: Path, tmp_path: Path) -> None:
    made = arenaloop(
        *("train", "reward_model", "--model", f"hf:{start}", "--data", "pairs.jsonl", "--out", "rm"),
        *("--set", "max_steps=1", "--set", "held_out=0", "--set", "threads=1"),
    )
    assert made.code == 0, made.lines
    config = json.loads((tmp_path / "rm" / "config.json").read_text())
    (tmp_path / "rm" / "config.json").write_text(json.dumps(config | {"pad_token_id": config["eos_token_id"]}))
    refused = arenaloop(
        *("train", "ppo", "--model", f"hf:{start}", "--data", "prompts.jsonl", "--reward", "reward:rm", "--out", "new")
    )
    assert (refused.code, len(refused.lines)) == (2, 1), refused.lines
    assert "its padding token is its end of turn" in refused.lines[0]


@pytest.mark.parametrize("method", ["ppo", "rloo", "expert_iteration"])
@pytest.mark.parametrize("rows", [3, -3])
def test_a_vocabulary_that_is_not_its_tokenizers(
    arenaloop: Command, start: Path, tmp_path: Path, method: str, rows: int
) -> None:
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(start)
    size = model.get_input_embeddings().weight.shape[0] + rows
    model.resize_token_embeddings(size)
    model.save_pretrained(start)
    refused = arenaloop("train", method, "--model", f"hf:{start}", "--data", "prompts.jsonl", *COUNT, "--out", "new")
    assert refused.code == 2, refused.lines
    assert f"the vocabulary of its model {size}: one of them grew without the other" in refused.lines[-1]
    assert not (tmp_path / "new").exists()


def test_a_reward_that_fails_later_stops_the_training(arenaloop: Command, start: Path) -> None:
    arguments = ["train", "rloo", "--model", f"hf:{start}", "--data", "prompts.jsonl", *FAST, "--out", "new"]
    for function, says in [
        ("later", "ZeroDivisionError"),
        ("not_numbers", "no score for 96 of the 96 answers of a roll-out (more than 5%), but nan"),
    ]:
        stopped = arenaloop(*arguments, "--reward", f"python:rewards.py:{function}")
        assert stopped.code == 4, stopped.lines
        assert says in stopped.lines[-1]
    done = arenaloop(*arguments, "--reward", "python:rewards.py:few_are_none")
    assert done.code == 0, done.lines


def test_two_commands_on_one_output(arenaloop: Command, start: Path, tmp_path: Path) -> None:
    arguments = ["train", "ppo", "--model", f"hf:{start}", "--data", "prompts.jsonl", *COUNT, *FAST, "--out", "new"]
    other = TrainingRun(tmp_path / "new", "another")
    other.begin()
    refused = arenaloop(*arguments)
    assert refused.code == 2, refused.lines
    assert "new: another training is writing here; wait for it, or choose another --out" in refused.lines[-1]
    other.close()
    assert arenaloop(*arguments).code == 0


@pytest.mark.parametrize("method", ["ppo", "rloo", "quark", "expert_iteration"])
def test_the_defaults_fit_the_prompts_that_there_are(
    arenaloop: Command, start: Path, tmp_path: Path, method: str
) -> None:
    """512 answers a roll-out and 300 tokens an answer where nothing is set; 24 prompts, a window of 64."""
    config = json.loads((start / "config.json").read_text())
    (start / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 64}))
    own = [] if method == "expert_iteration" else ["--set", "iterations=1", "--set", "stop_cut=1"]
    command = ["train", method, "--model", f"hf:{start}", "--data", "prompts.jsonl", *COUNT, *own]
    done = arenaloop(*command, "--out", "new", "--set", "samples=2")
    assert done.code == 0, done.lines
    folder = sorted((tmp_path / "new" / "rollouts").iterdir())
    assert len(folder) == 1
    if method != "expert_iteration":
        said = " ".join(" ".join(done.lines).split())
        assert (
            "24 prompts in a window of 64 tokens, so max_new_tokens 32, not 300 and rollout_batch 48, not 512" in said
        )
    shown = arenaloop("report", "new")
    assert shown.code == 0, shown.lines
    page = (tmp_path / "new" / "report.html").read_text()
    assert f"Training: {method.replace('_', ' ')}" in page
    assert "24 prompts with 48 answers, from 1 of 1 roll-outs" in page


def test_a_column_that_is_called_like_a_row_is_quoted_as_it_is(arenaloop: Command, start: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"training row 99": 1}\n')
    done = arenaloop("train", "sft", "--model", f"hf:{start}", "--data", "rows.jsonl", "--out", "out")
    assert done.code == 2
    assert "training row 99" in done.lines[-1]
    assert "Traceback" not in " ".join(done.lines)
