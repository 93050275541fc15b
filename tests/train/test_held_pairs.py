"""What was trained on pairs, measured on others: beside the reward model's own gate, and where nothing was learned."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from arenaloop.config import DPOSettings, RewardModelSettings
from arenaloop.train.held_pairs import pair_figures
from arenaloop.train.methods import training
from arenaloop.train.reward_model import held_out
from arenaloop.types import content_hash

RM = RewardModelSettings(learning_rate=3e-3, batch_size=32, epochs=3, threads=1, held_out=0.2)


def pairs(n: int, seed: int) -> list[dict[str, Any]]:
    """Of two words the one with more vowels is preferred; every prompt is another one."""
    r = random.Random(seed)
    out: list[dict[str, Any]] = []
    while len(out) < n:
        words = ["".join(r.choices("abcdef", k=r.randint(2, 7))) for _ in range(2)]
        worst, best = sorted(words, key=lambda word: sum(letter in "ae" for letter in word))
        if sum(letter in "ae" for letter in worst) < sum(letter in "ae" for letter in best):
            out.append({"prompt": f"go {r.randint(0, 10**6)}", "chosen": best, "rejected": worst})
    return out


def test_a_reward_model_is_measured_as_by_its_own_training(start: Path, tmp_path: Path) -> None:
    rows = pairs(200, 0)
    result = training("reward_model", start, rows, tmp_path / "rm", RM, seed=0)
    keys = [str(content_hash([{"role": "user", "content": row["prompt"]}])) for row in rows]
    away = held_out(keys, RM.held_out, 0)
    some = [row for row, out in zip(rows, away, strict=True) if out]
    figures = pair_figures("reward_model", result.path, start, some, RM)
    assert figures["held_out_pairs"] == result.report["pairs"][0] == len(some)
    for name in ("accuracy", "accuracy_likelihood", "accuracy_longest"):
        ends = [figures[f"pair_{name}{end}"] for end in ("", "_lower", "_upper")]
        assert ends == pytest.approx(result.report[name])


def test_a_policy_that_learned_scores_the_better_answer_higher(start: Path, tmp_path: Path) -> None:
    settings = DPOSettings(learning_rate=2e-3, batch_size=32, epochs=4, threads=1, beta=0.1)
    away = pairs(80, 1)
    assert pair_figures("dpo", start, start, away, settings)["pair_accuracy"] == 0.5  # the start itself: all are equal
    trained = training("dpo", start, pairs(300, 0), tmp_path / "dpo", settings, seed=0)
    figures = pair_figures("dpo", trained.path, start, away, settings)
    assert figures["pair_accuracy_lower"] is not None
    assert figures["pair_accuracy_lower"] > 0.5


def test_without_a_pair_that_fits_there_is_no_figure(start: Path) -> None:
    same = [{"prompt": "go", "chosen": "a", "rejected": "a"}]
    assert pair_figures("dpo", start, start, same, DPOSettings(threads=1)) == {"held_out_pairs": 0.0}
