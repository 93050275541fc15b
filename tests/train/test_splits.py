"""Any split of an optimiser batch into forward passes gives the gradient and the statistics of the whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arenaloop.config import DPOSettings, PPOSettings, RewardModelSettings, RLOOSettings, SFTSettings
from arenaloop.train.batches import TokenTable
from arenaloop.train.dpo import DPOObjective
from arenaloop.train.encoding import Encoded
from arenaloop.train.heads import load_head
from arenaloop.train.policy import load_policy
from arenaloop.train.ppo import Credited, PPOObjective
from arenaloop.train.reward_model import RewardObjective
from arenaloop.train.rewards import RewardModel
from arenaloop.train.rloo import RLOOObjective
from arenaloop.train.sft import SFTObjective

ROWS = 8
Made = tuple[Any, Any, list[Any]]


def table(rows: int, seed: int) -> TokenTable:
    """Rows of random tokens; prompts and answers of many lengths, an answer of one token among them."""
    r = np.random.default_rng(seed)
    encoded = []
    for at in range(rows):
        prompt, answer = int(r.integers(1, 9)), 1 if at == 0 else int(r.integers(1, 12))
        ids = r.integers(6, 40, prompt + answer).tolist()
        encoded.append(Encoded(ids, [False] * prompt + [True] * answer, truncated=False))
    return TokenTable(encoded, 0)


def sft(start: Path) -> Made:
    policy = load_policy(start, SFTSettings())
    return policy, SFTObjective(table(ROWS, 0)), [policy]


def dpo(start: Path) -> Made:
    policy = load_policy(start, DPOSettings())
    reference = -10 + torch.randn(2 * ROWS, generator=torch.Generator().manual_seed(0))
    config = DPOSettings(loss="ipo", nll_weight=0.5)
    return policy, DPOObjective(table(2 * ROWS, 1), reference, config), [policy]


def reward_model(start: Path) -> Made:
    head = load_head(start, RewardModelSettings())
    torch.manual_seed(0)
    torch.nn.init.normal_(head.module.score.weight)
    prior, preference, margin = torch.randn(2 * ROWS), torch.rand(ROWS), torch.rand(ROWS)
    model = RewardModel(head, "mean")
    return head, RewardObjective(table(2 * ROWS, 2), model, prior, preference, margin), [head]


def ppo(start: Path) -> Made:
    config = PPOSettings(rollout_batch=ROWS, step_batch=ROWS)
    policy, value = load_policy(start, config), load_head(start, config)
    torch.manual_seed(0)
    torch.nn.init.normal_(value.module.score.weight)
    rows = table(ROWS, 3)
    tokens = int(rows.labelled.sum())
    old, advantages, returns, values = torch.randn(4, tokens).unbind()
    weights = torch.ones(tokens)
    weights[-int(rows.labelled[-1]) :] = 0.0  # an answer without a score
    credited = Credited(old - 4, advantages, returns, values, weights, np.zeros(ROWS), np.zeros(ROWS))
    return policy, PPOObjective(rows, value, credited, config, True), [policy, value]


def rloo(start: Path) -> Made:
    config = RLOOSettings(rollout_batch=ROWS, step_batch=ROWS, samples=2)
    policy, rows = load_policy(start, config), table(ROWS, 4)
    torch.manual_seed(0)
    weights = np.array([1.0] * (ROWS - 1) + [0.0])
    old = torch.randn(int(rows.labelled.sum())) - 4
    return policy, RLOOObjective(rows, old, torch.randn(ROWS).double(), weights, config), [policy]


MAKERS: list[Callable[[Path], Made]] = [sft, dpo, reward_model, ppo, rloo]


@pytest.fixture(scope="module", params=MAKERS, ids=lambda maker: maker.__name__)
def made(request: pytest.FixtureRequest, start: Path) -> Made:
    """An objective, its model, and all that is trained; in float64, so that rounding is no excuse."""
    found: Made = request.param(start)
    for model in found[2]:
        model.module.double().eval()
    return found


def gradients(made: Made, parts: list[np.ndarray], whole: np.ndarray) -> tuple[list[torch.Tensor], dict[str, float]]:
    model, objective, trained = made
    parameters = [p for each in trained for p in each.module.parameters()]
    for parameter in parameters:
        parameter.grad = None
    sums: dict[str, float] = {}
    for part in parts:
        loss, statistics = objective.loss(model, part, whole)
        loss.backward()
        for name, value in {"loss": loss, **statistics}.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
    return [torch.zeros(()) if p.grad is None else p.grad.clone() for p in parameters], sums


@given(data=st.data())
@settings(max_examples=8)
def test_a_split_is_the_whole(made: Made, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(ROWS)))
    whole = np.array(sorted(order[: data.draw(st.integers(3, ROWS))]))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1), min_size=1)))
    parts = np.split(np.array(data.draw(st.permutations(whole.tolist()))), cuts)
    expected, told = gradients(made, [whole], whole)
    found, added = gradients(made, parts, whole)
    assert max(float(each.abs().max()) for each in expected) > 1e-4
    for one, other in zip(expected, found, strict=True):
        assert torch.allclose(one, other, atol=1e-6, rtol=1e-6)
    assert added == pytest.approx(told, rel=1e-6, abs=1e-6)
