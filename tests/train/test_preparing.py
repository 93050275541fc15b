"""What a training says before its first step."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from arenaloop.config import DPOSettings
from arenaloop.train import preparing as module
from arenaloop.train.methods import training
from arenaloop.train.preparing import going_through, preparing, told_to

Heard = list[tuple[str, int, int]]


def test_loading_tokenizing_and_the_reference_are_told_in_their_order(start: Path, tmp_path: Path) -> None:
    turn = {"role": "user", "content": "say ab"}
    rows = [
        {"prompt": [turn], "chosen": [{"role": "assistant", "content": "ab" * (n + 1)}],
         "rejected": [{"role": "assistant", "content": "b"}]}
        for n in range(5)
    ]  # fmt: skip
    heard: Heard = []
    settings = DPOSettings(epochs=1, batch_size=4, learning_rate=1e-3, threads=1)
    with told_to(lambda *told: heard.append(told)):
        training("dpo", start, rows, tmp_path / "out", settings, seed=0, on_step=lambda *_: heard.append(("", 0, 0)))
    before = heard[: heard.index(("", 0, 0))]
    reference = "log-probabilities of the reference"
    assert before == [(f"loading {start}", 0, 0), ("tokenizing", 0, 5), ("tokenizing", 5, 5), (reference, 0, 10)]


def test_rows_are_counted_four_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(n / 10 for n in range(100))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=partial(next, clock)))
    heard: Heard = []
    with told_to(lambda *told: heard.append(told)):
        assert list(going_through("tokenizing", "abcdefg")) == list("abcdefg")
    assert [done for _, done, _ in heard] == [0, 2, 5, 7]
    preparing("nobody listens")
    assert len(heard) == 4
