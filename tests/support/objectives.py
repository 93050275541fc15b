"""One objective of every method over rows of random tokens, with its model, for tests of their gradients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from arenaloop.config import (
    DPOSettings,
    PPOSettings,
    QuarkSettings,
    RewardModelSettings,
    RLOOSettings,
    SFTSettings,
)
from arenaloop.train.batches import TokenTable
from arenaloop.train.dpo import DPOObjective
from arenaloop.train.encoding import Encoded
from arenaloop.train.heads import load_head
from arenaloop.train.policy import load_policy
from arenaloop.train.ppo import Credited, PPOObjective
from arenaloop.train.quark import QuarkObjective
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


def quark(start: Path) -> Made:
    config = QuarkSettings(rollout_batch=ROWS, step_batch=ROWS, entropy_coef=0.1)
    policy, reference, rows = load_policy(start, config), load_policy(start, config), table(ROWS, 5)
    reference.module.double().get_input_embeddings().weight.data.mul_(1.1)
    weights = np.arange(ROWS) % 3 + 1
    return policy, QuarkObjective(rows, rows, weights, reference, 0.05, config), [policy]


MAKERS: dict[str, Callable[[Path], Made]] = {
    "sft": sft,
    "dpo": dpo,
    "reward_model": reward_model,
    "ppo": ppo,
    "rloo": rloo,
    "quark": quark,
}
