"""Battles that come by block by block are rated as those in memory are: one board, figure by figure."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arenaloop.arena.leaderboard import leaderboard
from arenaloop.errors import ConfigError
from arenaloop.ratings import clusters, streamed_prompts
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.streamed import Spool, StreamedBattles
from arenaloop.ratings.streamed_intake import Intake

Columns = dict[str, Any]


def columns(seed: int, rows: int, models: int, prompts: int, *, spread: float = 1.0) -> Columns:
    rng = np.random.default_rng(seed)
    a = rng.integers(0, models, rows)
    b = (a + rng.integers(0 if rows % 2 else 1, models, rows)) % models
    theta = np.linspace(spread, -spread, models)
    won = rng.random(rows) < 1 / (1 + np.exp(theta[b] - theta[a]))
    score = np.where(rng.random(rows) < 0.15, 0.5, won.astype(float))
    score[rng.random(rows) < 0.02] = np.nan
    return {"a": a, "b": b, "score_a": score, "cluster": rng.integers(0, prompts, rows)}


def in_memory(models: int, table: Columns) -> Battles:
    return Battles.of([f"m{models - i:02d}" for i in range(models)], **table)


def streamed(models: int, table: Columns, block: int = 97) -> StreamedBattles:
    intake = Intake(Spool())
    named = {"cluster": "prompt"}
    for at in range(0, len(table["a"]), block):
        part = {named.get(name, name): column[at : at + block] for name, column in table.items()}
        intake.add(models, **part)
    return intake.finished([f"m{models - i:02d}" for i in range(models)], [])


def same(one: Any, other: Any, where: str = "") -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for name in one:
            same(one[name], other[name], f"{where}.{name}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for at, pair in enumerate(zip(one, other, strict=True)):
            same(*pair, f"{where}[{at}]")
    elif isinstance(one, float) and isinstance(other, float):
        # (a level that holds for all at once is sought by halving)
        near = 1e-4 if "simultaneous" in where else 1e-6
        assert math.isclose(one, other, rel_tol=1e-9, abs_tol=near), (where, one, other)
    else:
        assert one == other, (where, one, other)


def boards_are_one(models: int, table: Columns, **settings: Any) -> None:
    one = leaderboard(in_memory(models, table), **settings)
    other = leaderboard(streamed(models, table), **settings)
    same(one.to_dict(), other.to_dict())


CASES = {
    "plain": (columns(1, 3000, 7, 40), 7),
    "no prompts": ({k: v for k, v in columns(2, 1501, 5, 9).items() if k != "cluster"}, 5),
    "two models": (columns(3, 400, 2, 30), 2),
    "hardly a prompt": (columns(4, 200, 5, 2), 5),
    "one battle a prompt": (columns(5, 300, 6, 5000), 6),
    "ladder": (columns(6, 600, 6, 25, spread=6.0), 6),
    "far apart": (columns(7, 250, 5, 12, spread=20.0), 5),
    "nothing decided": ({**columns(8, 50, 4, 5), "score_a": np.full(50, np.nan)}, 4),
}


@pytest.mark.parametrize("name", CASES)
def test_a_board_is_the_same(name: str) -> None:
    table, models = CASES[name]
    boards_are_one(models, table)


@pytest.mark.parametrize("ties", ["half", "drop"])
@pytest.mark.parametrize("weights", [None, "few", "wild", "even"])
@pytest.mark.parametrize("soft", [False, True])
def test_weights_soft_outcomes_and_ties(ties: str, weights: str | None, soft: bool) -> None:
    table, rng = columns(11, 1200, 6, 30), np.random.default_rng(3)
    if soft:
        table["score_a"] = np.where(rng.random(1200) < 0.5, rng.random(1200), table["score_a"])
    kinds = {"few": rng.choice([1.0, 3.0], 1200), "wild": rng.pareto(0.5, 1200), "even": np.full(1200, 0.3)}
    if weights is not None:
        table["weight"] = kinds[weights]
    boards_are_one(6, table, ties=ties)


@pytest.mark.parametrize("cluster", [None, "prompt", "voter", "battle"])
def test_voters_and_unknown_prompts(cluster: str | None) -> None:
    table, rng = columns(12, 1500, 6, 40), np.random.default_rng(4)
    table["voter"] = rng.integers(-1, 30, 1500)
    table["cluster"][rng.random(1500) < 0.05] = -1
    boards_are_one(6, table, cluster=cluster)


def test_groups_that_few_prompts_join() -> None:
    table = columns(13, 2000, 4, 60)
    table["a"][1000:] += 4
    table["b"][1000:] += 4
    table["a"][:4], table["b"][:4], table["score_a"][:4] = 0, 5, [1.0, 0.0, 1.0, 0.0]
    table["cluster"][:4] = [0, 0, 1, 1]
    boards_are_one(8, table)
    table["score_a"][:4] = 1.0
    boards_are_one(8, table)


def test_prompts_in_lots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed_prompts, "_ENTRIES", 50)
    monkeypatch.setattr(clusters, "_FIRST", 20)
    boards_are_one(7, columns(1, 3000, 7, 40))
    boards_are_one(6, columns(6, 600, 6, 25, spread=6.0))


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 10_000), st.integers(1, 300), st.integers(2, 6), st.integers(1, 30), st.sampled_from([0.5, 3.0, 9.0])
)
def test_whatever_the_arena(seed: int, rows: int, models: int, prompts: int, spread: float) -> None:
    boards_are_one(models, columns(seed, rows, models, prompts, spread=spread))


@pytest.mark.parametrize(
    "wants", [{"method": "elo"}, {"interval": "bootstrap"}, {"ties": "davidson"}, {"controls": ["length"]}]
)
def test_what_needs_memory_is_refused(wants: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="needs all battles in memory"):
        leaderboard(streamed(5, columns(1, 100, 5, 9)), **wants)


def test_some_of_the_battles_count_their_own_prompts() -> None:
    table = columns(14, 300, 5, 200)
    one, other = in_memory(5, table).decided(), streamed(5, table).decided()
    assert (len(one), one.clusters, one.ties) == (len(other), other.clusters, other.ties)
    assert replace(other).by_pair().sum() == len(one)
