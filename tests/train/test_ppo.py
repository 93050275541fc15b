"""Learning from one's own answers: it learns what a function pays for, resumes exactly, and stops with a reason."""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arenaloop import config
from arenaloop.config import SFTSettings
from arenaloop.errors import ConfigError, InputError, StoppedError
from arenaloop.train import guards, rollouts
from arenaloop.train.batches import TokenTable
from arenaloop.train.encoding import Encoded
from arenaloop.train.methods import training
from arenaloop.train.policy import Policy, load_policy
from arenaloop.train.session import Reward
from arenaloop.types import content_hash

METHODS: dict[str, Any] = dict(config.METHODS)
LETTERS = "abcdefghijklmnopqrst"
FAST: dict[str, Any] = {
    "rollout_batch": 64,
    "step_batch": 32,
    "samples": 4,
    "max_new_tokens": 10,
    "max_length": 64,
    "warmup_steps": 1,
    "threads": 1,
}
Score = Callable[[Sequence[Any], Sequence[str]], list[float | None]]


def word(r: random.Random, least: int = 3, most: int = 6) -> str:
    return "".join(r.choices(LETTERS, k=r.randint(least, most)))


PROMPTS = [{"prompt": f"say {word(random.Random(n))} {n}"} for n in range(40)]


def ends_with_a(prompts: Sequence[Any], answers: Sequence[str]) -> list[float | None]:
    return [float(answer.endswith("a")) for answer in answers]


def run(method: str, talker: Path, out: Path, score: Score = ends_with_a, **changes: Any) -> Any:
    on_step = changes.pop("on_step", None)
    prompts = changes.pop("prompts", PROMPTS)
    settings = METHODS[method](**{**FAST, **changes})
    reward = Reward(score, content_hash(score.__name__))
    return training(method, talker, prompts, out, settings, seed=1, reward=reward, on_step=on_step)


def lines(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("method", "rate"), [("ppo", 2e-3), ("rloo", 3e-3)])
def test_it_learns_what_is_paid_for(talker: Path, tmp_path: Path, method: str, rate: float) -> None:
    result = run(method, talker, tmp_path / "out", iterations=40, learning_rate=rate)
    told = lines(tmp_path / "out")
    assert told[0]["objective/scores"] < 0.2
    assert np.mean([line["objective/scores"] for line in told[-3:]]) > 0.9
    assert abs(told[0]["objective/kl"]) < 1e-4  # the policy is its reference before the first step
    assert told[-1]["objective/kl"] > 0.5
    assert result.steps == 40 * len(list(rollouts.Plan(40, METHODS[method](**FAST)).batches(0, 0)))
    # what was said is kept
    with gzip.open(tmp_path / "out" / "rollouts" / "000039.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    assert len(rows) == 64
    assert np.mean([row["score"] for row in rows]) == pytest.approx(told[-1]["objective/scores"])
    assert all(row["score"] == float(row["text"].endswith("a")) for row in rows)


def test_samples_do_not_depend_on_their_neighbours(talker: Path) -> None:
    settings = METHODS["ppo"](**FAST)
    policy = load_policy(talker, settings)
    asked = rollouts.encode_prompts(policy.encoder(settings), PROMPTS, settings).asked
    some = rollouts.draw(asked, 16, 3, 0)
    whole = rollouts.sample(policy, some, settings, 7)
    assert len(set(whole.texts)) > 40
    assert rollouts.sample(policy, some[:3], settings, 7).texts == whole.texts[:12]
    assert rollouts.sample(policy, some, settings, 8).texts != whole.texts
    logprobs = rollouts.token_logprobs(policy, whole.table, settings)
    assert len(logprobs) == whole.table.labelled.sum()
    for at in (0, 17, 63):
        one = TokenTable([_encoded(whole, at)], 0)
        assert torch.allclose(rollouts.token_logprobs(policy, one, settings), logprobs[whole.row == at], atol=1e-5)


def _encoded(rollout: rollouts.Rollout, at: int) -> Any:
    batch = rollout.table.batch(np.array([at]), whole=True)
    ids = batch.inputs[0].tolist()
    n = int(rollout.table.labelled[at])
    return Encoded(ids, [False] * (len(ids) - n) + [True] * n, truncated=False)


def test_every_prompt_comes_once_before_any_comes_again() -> None:
    asked = [rollouts.Asked([], [n], str(n)) for n in range(10)]
    drawn = [one.key for iteration in range(5) for one in rollouts.draw(asked, 4, 0, iteration)]
    assert len(drawn) == 20
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == sorted(str(n) for n in range(10))
    assert drawn[:10] != drawn[10:]


@pytest.mark.parametrize("method", ["ppo", "rloo"])
@pytest.mark.parametrize(
    ("score", "changes", "match"),
    [
        (lambda p, a: [1.0] * len(a), {}, "the same of all answers"),
        (lambda p, a: [None if n % 10 == 0 else 1.0 for n in range(len(a))], {}, "gave no score for"),
        (lambda p, a: [float("nan")] * len(a), {}, "gave no score for 64 of the 64"),
        (lambda p, a: [float(len(x)) for x in a], {"learning_rate": 3e-3, "stop_cut": 0.5}, "pay for length"),
        (ends_with_a, {"stop_kl": 0.05, "learning_rate": 3e-3}, "nats from the start"),
        (lambda p, a: [float(x == "t") for x in a], {"learning_rate": 3e-3, "stop_distinct": 0.7}, "one thing"),
    ],
)
def test_it_stops_with_a_named_reason(
    talker: Path, tmp_path: Path, method: str, score: Score, changes: dict[str, Any], match: str
) -> None:
    with pytest.raises(StoppedError, match=match):
        run(method, talker, tmp_path / "out", score, iterations=60, **changes)


@pytest.mark.parametrize("method", ["ppo", "rloo"])
def test_a_few_answers_without_a_score_and_a_random_reward_do_no_harm(
    talker: Path, tmp_path: Path, method: str
) -> None:
    r = random.Random(3)

    def noise(prompts: Sequence[Any], answers: Sequence[str]) -> list[float | None]:
        return [None if n == 1 else r.random() for n in range(len(answers))]

    result = run(method, talker, tmp_path / "out", noise, iterations=8, learning_rate=1e-4)
    told = lines(tmp_path / "out")
    assert result.skipped_steps == 0
    assert all(0 < line["completions/without_score"] < 0.05 for line in told)
    assert told[-1]["objective/kl"] < 2
    # both still say what they were taught: words of three to six letters, a to t
    before, after = (share_of_words(model) for model in (talker, tmp_path / "out"))
    assert before > 0.4
    assert abs(after - before) < 0.03


def share_of_words(model: Path) -> float:
    settings = METHODS["ppo"](**{**FAST, "samples": 32})
    policy = load_policy(model, settings)
    asked = rollouts.encode_prompts(policy.encoder(settings), PROMPTS, settings).asked
    found = rollouts.sample(policy, asked, settings, 5)
    words = [re.fullmatch("[a-t]{3,6}", text) is not None for text in found.texts]
    return float(np.mean(np.array(words) & found.ended))


def test_a_sampler_that_draws_from_another_distribution_is_found(
    talker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = rollouts.sample

    def colder(policy: Policy, prompts: Any, settings: Any, seed: int) -> Any:
        return original(policy, prompts, settings.model_copy(update={"temperature": 0.7}), seed)

    monkeypatch.setattr(rollouts, "sample", colder)
    with pytest.raises(
        StoppedError, match=r"roll-out [1-5]: the answers are more likely .* distribution than is trained"
    ):
        run("ppo", talker, tmp_path / "out", lambda p, a: [float(len(set(x)) % 2) for x in a], iterations=5)


def test_another_reference_than_the_start_is_found(
    talker: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Policy, "frozen", lambda policy: load_policy(start, METHODS["ppo"](**FAST)))
    with pytest.raises(StoppedError, match="reference is another model"):
        run("ppo", talker, tmp_path / "out", iterations=1)


def test_moved_ratios_are_found() -> None:
    guards.refuse_moved_ratios(1e-4, lower=False)
    guards.refuse_moved_ratios(0.04, lower=True)
    with pytest.raises(StoppedError, match="other probabilities than were scored"):
        guards.refuse_moved_ratios(0.01, lower=False)
    with pytest.raises(StoppedError, match="other probabilities"):
        guards.refuse_moved_ratios(float("nan"), lower=False)
    # one token in a hundred rounded by 0.2 nats is bfloat16; all tokens moved by 0.1 are dropout
    rounded, dropped = torch.zeros(100), torch.full((100,), 0.1)
    rounded[7] = -0.2
    guards.refuse_moved_ratios(guards.ratio_error(rounded, torch.zeros(100), lower=True), lower=True)
    assert guards.ratio_error(rounded, torch.zeros(100), lower=False) == pytest.approx(0.2)
    with pytest.raises(StoppedError, match=r"more than 0\.05 on average"):
        guards.refuse_moved_ratios(guards.ratio_error(dropped, torch.zeros(100), lower=True), lower=True)


def test_what_cannot_be_trained_is_refused(talker: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="40 prompts, fewer than"):
        run("ppo", talker, tmp_path / "out", rollout_batch=512, step_batch=256, samples=1)
    with pytest.raises(InputError, match="no prompt is left of 40: 40 prompt_too_long"):
        run("ppo", talker, tmp_path / "out", max_new_tokens=60)
    with pytest.raises(InputError, match="training row 0: the prompt ends with an assistant"):
        run("ppo", talker, tmp_path / "out", prompts=[{"prompt": [{"role": "assistant", "content": "x"}]}])
    with pytest.raises(ConfigError, match="name one with --reward"):
        training("ppo", talker, PROMPTS, tmp_path / "out", METHODS["ppo"](), seed=0)
    rows = [{"prompt": "a", "completion": "b"}]
    with pytest.raises(ConfigError, match="a reward does nothing there"):
        training("sft", talker, rows, tmp_path / "out", SFTSettings(), seed=0, reward=Reward(ends_with_a, "x"))
    with pytest.raises(ValueError, match="no multiple of samples"):
        METHODS["ppo"](rollout_batch=10, samples=3)
    with pytest.raises(ValueError, match="larger than rollout_batch"):
        METHODS["ppo"](rollout_batch=10, step_batch=20)


@pytest.mark.parametrize("method", ["ppo", "rloo"])
def test_the_first_step_of_a_rollout_sees_what_was_scored(
    method: str, talker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ratios are 1 and nothing is clipped; before the first step there is no divergence from the start."""
    module, seen = import_module(f"arenaloop.train.{method}"), []
    monkeypatch.setattr(module, "refuse_moved_ratios", lambda error, _: seen.append(error))
    run(method, talker, tmp_path / "out", iterations=3, step_batch=64, rollout_epochs=1, learning_rate=1e-3)
    assert len(seen) == 3
    assert max(seen) < 1e-5
    told = lines(tmp_path / "out")
    assert abs(told[0]["objective/kl"]) < 1e-5
    for line in told:  # of one step each
        assert line["policy/clip_fraction"] == 0
        assert line["policy/ratio"] == pytest.approx(1, abs=1e-5)


def test_a_tenth_of_rewards_that_are_no_number_stops_with_that_reason(talker: Path, tmp_path: Path) -> None:
    def torn(prompts: Sequence[Any], answers: Sequence[str]) -> list[float | None]:
        return [float("nan") if at % 10 == 0 else float(a.endswith("a")) for at, a in enumerate(answers)]

    with pytest.raises(StoppedError, match=r"gave no score for \d+ of the \d+ answers .*more than 5%.*nan"):
        run("ppo", talker, tmp_path / "out", torn, iterations=2)


def test_a_penalty_without_the_divergences_gradient_is_refused() -> None:
    with pytest.raises(ConfigError, match="kl_estimator: Input should be 'k1' or 'clamped'"):
        config.validate(config.PPOSettings, {"kl_estimator": "k3"}, "--set")
