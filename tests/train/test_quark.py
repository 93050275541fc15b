"""Quark: which answers are learned, worked by hand; that it learns, ends its answers, and resumes exactly."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from arenaloop.config import QuarkSettings
from arenaloop.errors import StoppedError
from arenaloop.models.decoding import Continuation, decode
from arenaloop.train.batches import TokenTable
from arenaloop.train.encoding import Encoded
from arenaloop.train.methods import training
from arenaloop.train.policy import load_policy
from arenaloop.train.quark import Pool, QuarkObjective, drawn_rows, quantile_rows
from arenaloop.train.reward_tokens import add_reward_tokens
from arenaloop.train.session import Reward
from arenaloop.types import content_hash

FAST: dict[str, Any] = {
    "rollout_batch": 128,
    "step_batch": 64,
    "samples": 4,
    "max_new_tokens": 10,
    "max_length": 64,
    "warmup_steps": 1,
    "threads": 1,
}
PROMPTS = [{"prompt": f"say {'abcdefgh'[n % 8]} {n}"} for n in range(40)]
ALL_PARTS: dict[str, Any] = {"best_only": False, "reset_pool": False, "grad_steps_per_rollout": 8}


def ends_with_a(prompts: Sequence[Any], answers: Sequence[str]) -> list[float | None]:
    return [float(answer.endswith("a")) for answer in answers]


def ends_early(prompts: Sequence[Any], answers: Sequence[str]) -> list[float | None]:
    """From 1 for an a at the end to 0 for a t."""
    return [
        ("abcdefghijklmnopqrst"[::-1].index(x[-1]) / 19 if x[-1:].isalpha() and x[-1] < "u" else 0) for x in answers
    ]


def run(talker: Path, out: Path, score: Any = ends_with_a, **changes: Any) -> Any:
    on_step = changes.pop("on_step", None)
    settings = QuarkSettings(**{**FAST, **changes})
    reward = Reward(score, content_hash(score.__name__))
    return training("quark", talker, PROMPTS, out, settings, seed=1, reward=reward, on_step=on_step)


def lines(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_parts_worked_by_hand() -> None:
    """Ten rows, four parts: two, two, two and what is left; equal scores in their order."""
    parts = quantile_rows(np.array([0.1, 0.9, 0.5, 0.5, 0.9, -1.0, 0.5, 0.3, 2.0, 0.0]), 4)
    assert [part.tolist() for part in parts] == [[8, 1], [4, 2], [3, 6], [7, 0, 9, 5]]
    assert [part.tolist() for part in quantile_rows(np.zeros(5), 2)] == [[0, 1], [2, 3, 4]]
    with pytest.raises(StoppedError, match="3 answers with a score cannot be cut into 4 parts"):
        quantile_rows(np.zeros(3), 4)


def test_each_row_is_drawn_equally_often() -> None:
    drawn = drawn_rows(128, 1, 256, seed=0)  # AlpacaFarm's: the best quarter of 512, each twice
    assert drawn.shape == (1, 256)
    assert np.bincount(drawn[0]).tolist() == [2] * 128
    assert np.bincount(drawn_rows(128, 4, 32, seed=0).ravel()).tolist() == [1] * 128
    assert set(np.bincount(drawn_rows(10, 2, 7, seed=0).ravel())) == {1, 2}
    assert drawn_rows(128, 1, 256, seed=1).tolist() != drawn.tolist()


def test_the_divergence_is_over_the_vocabulary_without_the_tokens(
    talker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all that the loss is made of, and each row as often as it was drawn; by blocks as by whole logits."""
    settings = QuarkSettings(**FAST, bins=2, best_only=False, entropy_coef=0.1, temperature=0.8)
    policy, reference = (load_policy(talker, settings) for _ in range(2))
    tokens, _ = (add_reward_tokens(each, 2, 0) for each in (policy, reference))
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in policy.module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    ids = [[3, 9, 4, 8, 7, 1], [3, 9, 10, 11, 4, 9, 1], [3, 4, 20, 21, 22, 23]]
    plain = [Encoded(row, [at > row.index(4) for at in range(len(row))], truncated=False) for row in ids]
    shown = [tokens.condition(row, which) for row, which in zip(plain, (0, 1, 1), strict=True)]
    table, seen = TokenTable(shown, 0), TokenTable(plain, 0)
    weights, rows = np.array([2, 1, 3]), np.arange(3)
    objective = QuarkObjective(table, seen, weights, reference, 0.5, settings)

    def distribution(model: Any, of: TokenTable) -> Categorical:
        logits = model.logits(of.batch(rows)) / 0.8
        left = [at for at in range(logits.shape[1]) if at not in tokens.ids]
        return Categorical(logits=logits[:, left].double())  # what is left keeps its number: the tokens come last

    ours, start = distribution(policy, table), distribution(reference, seen)
    batch = table.batch(rows)
    each = torch.from_numpy(weights)[batch.row].double()
    kl = kl_divergence(ours, start).detach()
    assert float(kl.min()) > 0
    terms = -ours.log_prob(batch.targets) + 0.5 * kl - 0.1 * ours.entropy()
    expected = (terms * each).sum() / each.sum()
    loss, statistics = objective.loss(policy, rows, rows)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert float(statistics["policy/kl"]) == pytest.approx(float((kl * each).sum() / each.sum()), rel=1e-4)
    loss.backward()
    gradient = policy.module.model.layers[0].mlp.up_proj.weight.grad.clone()
    policy.module.zero_grad()
    # in parts they add up to the same, and by blocks too
    monkeypatch.setattr("arenaloop.train.policy.block_width", lambda *_: 2)
    monkeypatch.setattr("arenaloop.train.head.block_width", lambda *_: 2)
    parts = [objective.loss(policy, np.array(part), rows)[0] for part in ([2], [0, 1])]
    assert sum(float(part.detach()) for part in parts) == pytest.approx(float(loss.detach()), rel=1e-5)
    sum(parts).backward()  # type: ignore[union-attr]
    assert torch.allclose(policy.module.model.layers[0].mlp.up_proj.weight.grad, gradient, atol=1e-6)


def test_it_learns_what_is_paid_for_and_ends_its_answers(talker: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(talker, out, iterations=36, learning_rate=3e-3, grad_steps_per_rollout=2)
    told = lines(out)
    assert told[0]["objective/scores"] < 0.2
    assert np.mean([line["objective/scores"] for line in told[-3:]]) > 0.7
    assert np.mean([line["completions/clipped_ratio"] for line in told[-3:]]) <= told[0]["completions/clipped_ratio"]
    assert abs(told[0]["objective/kl"]) < 1e-4
    assert result.steps == 72
    with gzip.open(out / "rollouts" / "000035.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    assert all(row["score"] == float(row["text"].endswith("a")) for row in rows)
    # no token was needed
    assert load_policy(out, QuarkSettings()).forbidden is None
    assert (out / "chat_template.jinja").read_bytes() == (talker / "chat_template.jinja").read_bytes()


def test_all_parts_under_their_tokens(talker: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(talker, out, ends_early, iterations=16, learning_rate=1e-2, optimizer="muon", **ALL_PARTS)
    told = lines(out)
    assert np.mean([line["objective/scores"] for line in told[-3:]]) > told[0]["objective/scores"] + 0.25
    assert np.mean([line["completions/clipped_ratio"] for line in told[-3:]]) <= told[0]["completions/clipped_ratio"]
    policy = load_policy(out, QuarkSettings())
    ids = policy.tokenizer.convert_tokens_to_ids([f"<reward_{part}>" for part in range(4)])
    assert policy.forbidden is not None
    assert policy.forbidden.tolist() == ids
    prompt = policy.tokenizer.apply_chat_template([{"role": "user", "content": "a"}], return_dict=False)
    assert prompt[0] == ids[0]
    # what is sampled under each token is worth it
    scores = []
    for token in (ids[0], ids[-1]):
        answers = [Continuation([token, *prompt[1:], 4], 10, 1.0, seed=seed) for seed in range(100)]
        with policy.evaluating():
            decode(policy.module, answers, policy.end_ids, forbidden=policy.forbidden)
        said = [policy.tokenizer.decode(answer.tokens, skip_special_tokens=True) for answer in answers]
        scores.append(np.mean(np.array(ends_early([], said), float)))
    assert scores[0] - scores[1] > 0.3


def test_a_pool_is_what_it_was() -> None:
    pool, again = Pool(), Pool()
    rows = [Encoded([3, 4, 5], [False, True, True], False), Encoded([6, 7], [False, True], False)]
    pool.add(rows, np.array([0.5, 2.0]))
    pool.add(rows[:1], np.array([1.0]))
    again.load_state_dict(pool.state_dict())
    assert again.rows == [*rows, rows[0]]
    assert again.scores.tolist() == [0.5, 2.0, 1.0]
    again.clear()
    pool.load_state_dict(again.state_dict())
    assert (pool.rows, pool.scores.tolist()) == ([], [])


def test_answers_without_a_score_are_learned_in_no_part(talker: Path, tmp_path: Path) -> None:
    def some(prompts: Sequence[Any], answers: Sequence[str]) -> list[float | None]:
        return [None if n == 1 else -float(n) for n in range(len(answers))]

    run(talker, tmp_path / "out", some, iterations=1, bins=2)
    told = lines(tmp_path / "out")[0]
    assert told["completions/without_score"] > 0
    # the best half of those with a score: 0, -2, -3, …
    with gzip.open(tmp_path / "out" / "rollouts" / "000000.jsonl.gz", "rt") as file:
        scores = [json.loads(line)["score"] for line in file]
    known = sorted((score for score in scores if score is not None), reverse=True)
    assert told["objective/best_part"] == pytest.approx(np.mean(known[: len(known) // 2]))


@pytest.mark.parametrize(
    ("score", "changes", "match"),
    [
        (lambda p, a: [1.0] * len(a), {}, "the same of all answers"),
        (lambda p, a: [float("nan")] * len(a), {}, "gave no score for 100%"),
        (ends_with_a, {"stop_kl": 0.05, "learning_rate": 3e-3}, "nats from the start"),
    ],
)
def test_it_stops_with_a_named_reason(
    talker: Path, tmp_path: Path, score: Any, changes: dict[str, Any], match: str
) -> None:
    with pytest.raises(StoppedError, match=match):
        run(talker, tmp_path / "out", score, iterations=20, **changes)


def test_settings_that_do_nothing_here_are_not_known() -> None:
    with pytest.raises(ValueError, match="rollout_batch 2 is smaller than bins 4"):
        QuarkSettings(rollout_batch=2, step_batch=2)
    for name in ("clip", "kl_estimator", "rollout_epochs", "top_p"):
        with pytest.raises(ValueError, match=name):
            QuarkSettings(**{name: 1})
