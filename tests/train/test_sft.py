"""SFT as a whole: it learns, it resumes exactly, and the way its batches are cut changes nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from arenaloop.config import SFTSettings
from arenaloop.errors import ConfigError, InputError, StoppedError, StorageError
from arenaloop.train.batches import TokenTable, micro_batches
from arenaloop.train.encoding import ChatEncoder, encode_conversations
from arenaloop.train.loop import fit
from arenaloop.train.methods import training
from arenaloop.train.policy import load_policy
from arenaloop.train.run import TrainingRun
from arenaloop.train.session import Job
from arenaloop.train.sft import SFTObjective

train_sft = partial(training, "sft")
Row = dict[str, Any]


def rows(n: int, seed: int = 0) -> list[Row]:
    """Say a word's letters again: learnable by copying, with answers of 1 to 6 letters."""
    r = random.Random(seed)
    words = ["".join(r.choices("abcdef", k=r.randint(1, 6))) for _ in range(n)]
    return [
        {"prompt": [{"role": "user", "content": w}], "completion": [{"role": "assistant", "content": w}]} for w in words
    ]


SETTINGS = SFTSettings(
    epochs=2, batch_size=16, learning_rate=1e-2, threads=1, log_every=3, checkpoint_every=2, micro_tokens=64
)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path / "model.safetensors")


def lines(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_it_learns(start: Path, tmp_path: Path, optimizer: str) -> None:
    alphabet = "abcdefghijklm"
    letter = [
        {"messages": [{"role": "user", "content": a}, {"role": "assistant", "content": b}]}
        for a, b in zip(alphabet, alphabet[1:] + "a", strict=True)
    ] * 20
    settings = SETTINGS.model_copy(
        update={"epochs": 10, "optimizer": optimizer, "batch_size": 26, "micro_tokens": None}
    )
    seen: list[tuple[int, int]] = []
    result = train_sft(start, letter, tmp_path / "out", settings, seed=0, on_step=lambda *args: seen.append(args[:2]))
    assert result.steps == 100
    assert result.rows_used == 260
    assert lines(tmp_path / "out")[0]["loss"] > 2.0
    assert result.metrics["loss"] < 0.05  # knowing the end of turn alone leaves ln(13) / 2 = 1.28
    assert seen[-1] == (100, 100)
    assert [step for step, _ in seen] == [*range(3, 100, 3), 100]
    model: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path / "out")
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "e"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    out = model.generate(**ids, max_new_tokens=5, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert tokenizer.decode(out) == "f<|end|>"


def gradients(start: Path, **changes: Any) -> tuple[float, dict[str, torch.Tensor], int]:
    """Loss, gradients and forward passes of the first layer for one optimiser batch of 24 rows."""
    settings = SETTINGS.model_copy(update=changes)
    policy = load_policy(start, settings)
    policy.module.train()
    passes: list[None] = []
    policy.module.model.layers[0].input_layernorm.register_forward_pre_hook(lambda *_: passes.append(None))
    data = encode_conversations(ChatEncoder(policy.tokenizer, 100), rows(24))
    table = TokenTable(data.rows, policy.pad_id)
    total, whole = 0.0, np.arange(24)
    for part in micro_batches(
        whole, table.lengths, size=settings.micro_batch, tokens=10**6, by_length=settings.group_by_length
    ):
        loss, _ = SFTObjective(table).loss(policy, part, whole)
        loss.backward()
        total += loss.item()
    return total, {name: p.grad for name, p in policy.module.named_parameters()}, len(passes)


@pytest.mark.parametrize(
    "micro", [{"micro_batch": 1}, {"micro_batch": 5}, {"micro_batch": 5, "group_by_length": False}]
)
def test_accumulated_micro_batches_equal_the_big_batch(start: Path, micro: dict[str, Any]) -> None:
    whole_loss, whole, once = gradients(start)
    loss, parts, passes = gradients(start, **micro)
    assert (once, passes) == (1, -(-24 // micro["micro_batch"]))
    assert loss == pytest.approx(whole_loss, abs=1e-6)
    for name, gradient in whole.items():
        assert torch.allclose(gradient, parts[name], atol=1e-6), name


def test_gradient_checkpointing_changes_nothing(start: Path) -> None:
    loss, plain, once = gradients(start)
    again, recomputed, twice = gradients(start, gradient_checkpointing=True)
    assert (once, twice) == (1, 2)
    assert again == pytest.approx(loss, abs=1e-6)
    assert all(torch.allclose(plain[name], recomputed[name], atol=1e-6) for name in plain)


class StopHereError(Exception):
    pass


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("at", [3, 6, 12])
def test_an_interrupted_training_resumes_to_the_same_bits(start: Path, tmp_path: Path, at: int, optimizer: str) -> None:
    settings = SETTINGS.model_copy(update={"optimizer": optimizer})
    unbroken = train_sft(start, rows(100), tmp_path / "unbroken", settings, seed=1)
    assert unbroken.steps == 14

    def interrupt(step: int, total: int, metrics: dict[str, float]) -> None:
        if step == at:
            raise StopHereError

    with pytest.raises(StopHereError):
        train_sft(start, rows(100), tmp_path / "broken", settings, seed=1, on_step=interrupt)
    assert not (tmp_path / "broken" / "config.json").exists()
    assert lines(tmp_path / "broken")[-1]["step"] == at
    # a crash may tear the last line
    with (tmp_path / "broken" / "metrics.jsonl").open("a") as handle:
        handle.write('{"step": 9')
    first: list[int] = []
    resumed = train_sft(
        start, rows(100), tmp_path / "broken", settings, seed=1, on_step=lambda step, *_: first.append(step)
    )
    checkpoint = (at - 1) // 2 * 2  # the last even step before the interruption; metrics are written before checkpoints
    assert first[0] == next(step for step in (3, 6, 9, 12, 14) if step > checkpoint)
    assert same(weights(tmp_path / "unbroken"), weights(tmp_path / "broken"))
    assert lines(tmp_path / "unbroken") == lines(tmp_path / "broken")
    assert resumed.metrics == unbroken.metrics
    assert not (tmp_path / "broken" / "checkpoint.pt").exists()


def test_dropout_resumes_to_the_same_bits_too(start: Path, tmp_path: Path) -> None:
    copytree(start, tmp_path / "start")
    config = json.loads((start / "config.json").read_text())
    (tmp_path / "start" / "config.json").write_text(json.dumps({**config, "attention_dropout": 0.3}))

    def interrupt(step: int, *_: object) -> None:
        if step == 6:
            raise StopHereError

    settings = SETTINGS.model_copy(update={"epochs": 1})
    train_sft(tmp_path / "start", rows(100), tmp_path / "unbroken", settings, seed=1)
    with pytest.raises(StopHereError):
        train_sft(tmp_path / "start", rows(100), tmp_path / "broken", settings, seed=1, on_step=interrupt)
    torch.rand(7)  # whatever the caller draws meanwhile
    train_sft(tmp_path / "start", rows(100), tmp_path / "broken", settings, seed=1)
    assert same(weights(tmp_path / "unbroken"), weights(tmp_path / "broken"))
    train_sft(start, rows(100), tmp_path / "without", settings, seed=1)
    assert not same(weights(tmp_path / "unbroken"), weights(tmp_path / "without")), "dropout must have been on"


KILLED = """
import json, os, signal, sys
from pathlib import Path
from arenaloop.config import SFTSettings
from arenaloop.train.methods import training

start, out, rows, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])
replace = Path.replace

def killing(self, target):
    # dies on its third checkpoint, when it is written and not yet in its place
    if Path(target).name == "checkpoint.pt":
        killing.count += 1
        if killing.count == 3:
            os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)

killing.count = 0
Path.replace = killing
training("sft", start, rows, out, SFTSettings(**settings), seed=1)
"""


def test_a_killed_training_resumes_to_the_same_bits(start: Path, tmp_path: Path) -> None:
    train_sft(start, rows(100), tmp_path / "unbroken", SETTINGS, seed=1)
    arguments = [str(start), str(tmp_path / "killed"), json.dumps(rows(100)), SETTINGS.model_dump_json()]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments], env=environment, timeout=120, check=False, capture_output=True
    )
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    assert torch.load(tmp_path / "killed" / "checkpoint.pt", weights_only=True)["step"] == 4
    assert (tmp_path / "killed" / "checkpoint.tmp").exists()
    resumed = train_sft(start, rows(100), tmp_path / "killed", SETTINGS, seed=1)
    assert same(weights(tmp_path / "unbroken"), weights(tmp_path / "killed"))
    assert lines(tmp_path / "unbroken") == lines(tmp_path / "killed")
    assert resumed.steps == 14


def test_a_finished_training_is_returned_and_another_one_starts_anew(start: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    data = rows(40)
    short = SETTINGS.model_copy(update={"max_steps": 3})
    first = train_sft(start, data, out, short, seed=0)
    before = weights(out)
    calls: list[int] = []

    def again(settings: SFTSettings, data: list[Row], seed: int = 0) -> Any:
        calls.clear()
        return train_sft(start, data, out, settings, seed=seed, on_step=lambda step, *_: calls.append(step))

    assert again(short, data) == first
    assert again(short.model_copy(update={"micro_batch": 1, "log_every": 1}), data) == first
    assert again(short, [{**row, "source": "elsewhere"} for row in data]) == first
    assert calls == []
    second = again(short.model_copy(update={"learning_rate": 1e-3}), data)
    assert calls == [3]
    assert second.metrics != first.metrics
    assert not same(before, weights(out))
    assert [line["step"] for line in lines(out)] == [3]
    again(short, data, seed=5)
    assert calls == [3]
    again(short, data[:-1], seed=5)
    assert calls == [3]
    third = again(short, data)
    assert (third.metrics, calls) == (first.metrics, [3])
    assert same(before, weights(out))


def test_a_model_that_is_not_ours_is_not_overwritten(start: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is the model to start from"):
        train_sft(start, rows(4), start, SETTINGS, seed=0)
    copytree(start, tmp_path / "theirs")
    with pytest.raises(ConfigError, match="not trained here"):
        train_sft(start, rows(4), tmp_path / "theirs", SETTINGS, seed=0)
    assert same(weights(start), weights(tmp_path / "theirs"))


def test_dropped_rows_are_reported_and_none_left_is_an_error(start: Path, tmp_path: Path) -> None:
    empty = {"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": ""}]}
    long = {"prompt": [{"role": "user", "content": "a" * 30}], "completion": [{"role": "assistant", "content": "b"}]}
    cut = {"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b" * 30}]}
    settings = SETTINGS.model_copy(update={"max_length": 20, "max_steps": 1})
    result = train_sft(start, [*rows(3), empty, empty, long, cut], tmp_path / "out", settings, seed=0)
    assert (result.rows_used, result.truncated) == (4, 1)
    assert result.dropped == {"empty_response": 2, "prompt_too_long": 1}
    with pytest.raises(InputError, match=r"no training row is left of 2: \{'empty_response': 2\}"):
        train_sft(start, [empty, empty], tmp_path / "none", settings, seed=0)
    assert not (tmp_path / "none").exists()


def test_the_window_of_the_model_bounds_max_length(start: Path, tmp_path: Path) -> None:
    long = {"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b" * 200}]}
    result = train_sft(start, [long], tmp_path / "out", SETTINGS.model_copy(update={"max_steps": 1}), seed=0)
    assert result.truncated == 1  # the tiny model's window is 128, the setting 4096


class Poisoned(SFTObjective):
    """Gives a loss that is not a number in some of its calls."""

    def __init__(self, table: TokenTable, bad: set[int]) -> None:
        super().__init__(table)
        self.bad, self.calls = bad, 0

    def loss(self, policy: Any, rows: np.ndarray, whole: np.ndarray) -> Any:
        loss, statistics = super().loss(policy, rows, whole)
        self.calls += 1
        return (loss * float("nan") if self.calls - 1 in self.bad else loss), statistics


def poisoned(start: Path, out: Path, bad: set[int]) -> Any:
    settings = SETTINGS.model_copy(update={"max_steps": 6, "micro_tokens": 10**6, "log_every": 1})
    policy = load_policy(start, settings)
    table = TokenTable(encode_conversations(ChatEncoder(policy.tokenizer, 100), rows(32)).rows, 0)
    return fit(Job(TrainingRun(out, "k"), settings, seed=0), policy, Poisoned(table, bad)), policy


def test_steps_without_a_finite_loss_are_skipped_and_counted(start: Path, tmp_path: Path) -> None:
    fitted, policy = poisoned(start, tmp_path, {1, 2, 4})
    assert (fitted.steps, fitted.skipped_steps) == (6, 3)
    assert all(torch.isfinite(p).all() for p in policy.module.parameters())
    assert [line["skipped_steps"] for line in lines(tmp_path)] == [0, 1, 2, 2, 3, 3]


def test_three_in_a_row_stop_the_training(start: Path, tmp_path: Path) -> None:
    with pytest.raises(StoppedError, match="no finite loss in steps 3 to 5 of 6"):
        poisoned(start, tmp_path, {2, 3, 4})


def test_a_disk_that_takes_nothing_stops_resumably(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(StorageError, match="No space left on device"):
        train_sft(start, rows(100), tmp_path / "out", SETTINGS, seed=0)


def test_random_state_and_threads_of_the_caller_are_left_alone(start: Path, tmp_path: Path) -> None:
    torch.manual_seed(123)
    before = torch.get_rng_state()
    threads = torch.get_num_threads()
    train_sft(start, rows(4), tmp_path / "out", SETTINGS.model_copy(update={"max_steps": 1, "threads": 2}), seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_what_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(InputError, match="cannot load the model") as caught:
        train_sft(tmp_path / "model", rows(2), tmp_path / "out", SETTINGS, seed=0)
    assert "\n" not in str(caught.value)
