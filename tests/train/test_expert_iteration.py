"""Fine-tuning on the best of n own samples: it learns what is paid for, chooses by the rule, and resumes exactly."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arenaloop.config import ExpertIterationSettings, SFTSettings
from arenaloop.errors import StoppedError
from arenaloop.models.best_of_n import choose
from arenaloop.train import expert_iteration, rollouts
from arenaloop.train.methods import training
from arenaloop.train.policy import load_policy
from arenaloop.train.session import Reward
from arenaloop.types import content_hash

LETTERS = "abcdefghijklmnopqrst"
FAST: dict[str, Any] = {
    "samples": 16,
    "max_new_tokens": 10,
    "max_length": 64,
    "learning_rate": 5e-3,
    "batch_size": 20,
    "epochs": 5,
    "threads": 1,
}
Score = Callable[[Sequence[Any], Sequence[str]], list[float | None]]


def word(r: random.Random) -> str:
    return "".join(r.choices(LETTERS, k=r.randint(3, 6)))


PROMPTS = [{"prompt": f"say {word(random.Random(n))} {n}"} for n in range(80)]


def ends_with_a(prompts: Sequence[Any], answers: Sequence[str]) -> list[float | None]:
    return [float(answer.endswith("a")) for answer in answers]


@pytest.fixture(scope="module")
def talker(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that says words of random letters: 5 % of them end with an a."""
    r = random.Random(0)
    rows = [{"prompt": f"say {word(r)} {n % 97}", "completion": word(r)} for n in range(1500)]
    out = tmp_path_factory.mktemp("talker") / "out"
    settings = SFTSettings(learning_rate=5e-3, epochs=3, batch_size=64, threads=1, optimizer="muon")
    training("sft", start, rows, out, settings, seed=0)
    return out


def run(talker: Path, out: Path, score: Score = ends_with_a, **changes: Any) -> Any:
    on_step = changes.pop("on_step", None)
    settings = ExpertIterationSettings(**{**FAST, **changes})
    reward = Reward(score, content_hash(getattr(score, "__name__", "score")))
    return training("expert_iteration", talker, PROMPTS, out, settings, seed=1, reward=reward, on_step=on_step)


def mean_score(model: Path, n: int = 8) -> float:
    """What the model's own samples to the prompts score."""
    settings = ExpertIterationSettings(**{**FAST, "samples": n})
    policy = load_policy(model, settings)
    asked = rollouts.encode_prompts(policy.encoder(settings), PROMPTS, settings).asked
    texts = rollouts.sample(policy, asked, settings, 5).texts
    return float(np.mean([text.endswith("a") for text in texts]))


def kept(folder: Path) -> list[dict[str, Any]]:
    rows = []
    for file in sorted((folder / "rollouts").iterdir()):
        with gzip.open(file, "rt") as lines:
            rows += [json.loads(line) for line in lines]
    return rows


def test_it_learns_what_is_paid_for_and_more_in_a_second_round(talker: Path, tmp_path: Path) -> None:
    result = run(talker, tmp_path / "out", rounds=2, epochs=15)
    before, after = mean_score(talker), mean_score(tmp_path / "out" / "round-1")
    last = mean_score(tmp_path / "out")
    assert before < 0.12
    assert after > before + 0.2
    assert last > after + 0.2
    assert last > 0.7
    assert result.rows_used == 80
    told = json.loads((tmp_path / "out" / "training.json").read_text())["result"]["report"]
    assert told["of the best"][0] > told["mean score of the samples"][0] > 0.2
    assert "of the best" in result.remarks()[-1]
    assert run(talker, tmp_path / "out", rounds=2, epochs=15) == result  # nothing is done again


def test_the_first_of_the_best_is_learned_and_all_is_kept(talker: Path, tmp_path: Path) -> None:
    def score(prompts: Sequence[Any], answers: Sequence[str]) -> list[float | None]:
        return [None if answer.startswith("b") else float(answer.count("a")) for answer in answers]

    result = run(talker, tmp_path / "out", score, samples=4, epochs=0.1, temperature=0.8)
    rows = kept(tmp_path / "out")
    assert len(rows) == 320
    repeated = empty = 0
    for first in range(0, 320, 4):
        group = rows[first : first + 4]
        assert len({json.dumps(row["prompt"]) for row in group}) == 1
        best = choose([row["score"] for row in group])
        learned = best is not None and group[best]["text"].strip() != ""
        assert [row["best"] for row in group] == [float(at == best and learned) for at in range(4)]
        empty += not learned
        repeated += 4 - len({row["text"] for row in group})
    assert result.report["of samples that repeat another"] == [repeated / 320]
    assert (result.rows_used, result.dropped) == (80 - empty, {"empty_response": empty})
    assert result.report["of samples without a score"] == [sum(row["score"] is None for row in rows) / 320]


def test_what_is_dropped_is_counted(talker: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"samples": 2, "max_new_tokens": 4, "epochs": 0.1}
    cut = {row["ended"] for row in kept_of(talker, tmp_path / "kept", **settings)}
    assert cut == {True, False}
    strict = run(talker, tmp_path / "strict", drop_truncated=True, **settings)
    assert strict.report["share of the best that were cut"] == [0.0]
    assert strict.dropped["all_cut"] > 0
    assert strict.rows_used + sum(strict.dropped.values()) == 80
    with pytest.raises(StoppedError, match="gave no score for 128 of the 128"):
        run(talker, tmp_path / "none", lambda p, a: [None] * len(a), **settings)
    with pytest.raises(StoppedError, match=r"no answer is left to learn from, of 160 samples: {.*all_cut.: \d+"):
        run(talker, tmp_path / "cut", drop_truncated=True, **{**settings, "max_new_tokens": 1})


def kept_of(talker: Path, out: Path, **settings: Any) -> list[dict[str, Any]]:
    result = run(talker, out, **settings)
    rows = kept(out)
    cut = sum(row["best"] and not row["ended"] for row in rows)
    assert result.report["share of the best that were cut"] == [cut / result.rows_used] != [0.0]
    return rows


class StopHereError(Exception):
    pass


def test_a_resumed_training_ends_with_the_same_bits_and_scores_nothing_twice(talker: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"rounds": 2, "init": "previous", "samples": 4, "epochs": 2, "checkpoint_every": 2}
    calls = {"whole": 0, "broken": 0}

    def counted(name: str) -> Score:
        def score(prompts: Sequence[Any], answers: Sequence[str]) -> list[float | None]:
            calls[name] += len(answers)
            return ends_with_a(prompts, answers)

        score.__name__ = "ends_with_a"
        return score

    run(talker, tmp_path / "whole", counted("whole"), **changes)

    def stop_at(number: int) -> Any:
        seen = 0

        def stop(step: int, total: int, figures: dict[str, float]) -> None:
            nonlocal seen
            seen += 1
            if seen == number:
                raise StopHereError

        return stop

    for number in (1, 2, 3, 1, 1):  # in the sampling and in the steps of both rounds
        with pytest.raises(StopHereError):
            run(talker, tmp_path / "broken", counted("broken"), on_step=stop_at(number), log_every=3, **changes)
    run(talker, tmp_path / "broken", counted("broken"), **changes)
    names = ["model.safetensors", "rollouts/000000.jsonl.gz", "rollouts/000001.jsonl.gz"]
    for name in [*names, *(f"round-1/{each}" for each in names)]:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes(), name
    assert calls["broken"] == calls["whole"]


def test_each_round_begins_where_its_setting_says(
    talker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    def load(model: Any, settings: Any, revision: Any = None) -> Any:
        loaded.append(Path(model).name)
        return load_policy(model, settings, revision)

    monkeypatch.setattr(expert_iteration, "load_policy", load)
    small: dict[str, Any] = {"rounds": 2, "samples": 2, "epochs": 0.1}
    run(talker, tmp_path / "sft", **small)
    assert loaded == ["out", "out", "round-1", "out"]  # the sampler, then what is trained
    loaded.clear()
    run(talker, tmp_path / "previous", init="previous", **small)
    assert loaded == ["out", "out", "round-1", "round-1"]
