"""Which pairs battle on which prompts."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.arena.matchmaking import all_pairs, schedule, target_pairs
from arenaloop.errors import ConfigError

NAMES = st.lists(st.text("abcdefgh", min_size=1, max_size=3), min_size=2, max_size=6, unique=True)
IDS = st.lists(st.text("0123456789", min_size=1, max_size=4), min_size=1, max_size=12, unique=True)


@given(NAMES)
def test_all_pairs_meet_once(names: list[str]) -> None:
    pairs = all_pairs(names)
    assert len(pairs) == len(names) * (len(names) - 1) // 2
    assert {frozenset(p) for p in pairs} == {frozenset(p) for p in combinations(names, 2)}


@given(NAMES)
def test_target_pairs(names: list[str]) -> None:
    target = names[-1]
    pairs = target_pairs(names, target)
    assert {a for a, _ in pairs} == {target}
    assert {b for _, b in pairs} == set(names) - {target}


@given(NAMES, IDS)
def test_everyone_meets_on_every_prompt(names: list[str], ids: list[str]) -> None:
    plan = schedule("all", names, ids, 0)
    assert all(list(plan.on(i)) == all_pairs(names) for i in ids)
    assert plan.battles(len(ids)) == len(ids) * len(all_pairs(names))


@given(NAMES, IDS, st.integers(1, 200), st.integers(0, 3), st.randoms())
def test_a_sample(names: list[str], ids: list[str], n: int, seed: int, rng: object) -> None:
    plan = schedule(f"sample:{n}", names, ids, seed)
    units = [(i, pair) for i in ids for pair in plan.on(i)]
    assert len(units) == len(set(units)) == plan.battles(len(ids)) == min(n, len(ids) * len(all_pairs(names)))
    assert all(pair in all_pairs(names) for _, pair in units)
    shuffled = list(ids)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert schedule(f"sample:{n}", names, shuffled, seed) == plan  # the order of the prompts is of no account
    assert plan.on("not a prompt") == []


def test_sampling_is_uniform_over_units() -> None:
    """Each of 6 pairs on 50 prompts is drawn in about a third of 300 seeds: 100 ± 5 standard deviations (8.2)."""
    names, ids = ["a", "b", "c", "d"], [str(i) for i in range(50)]
    counts = Counter(
        (i, pair) for seed in range(300) for i in ids for pair in schedule("sample:100", names, ids, seed).on(i)
    )
    assert sum(counts.values()) == 30_000
    assert len(counts) == 300
    assert all(59 < n < 141 for n in counts.values())


def test_another_seed_draws_others() -> None:
    names, ids = ["a", "b", "c"], [str(i) for i in range(40)]
    assert schedule("sample:20", names, ids, 0) != schedule("sample:20", names, ids, 1)


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("everyone", "expected all"),
        ("all:x", "expected all"),
        ("", "expected all"),
        ("target", "no model named"),
        ("target:scholr", "did you mean 'scholar'"),
        ("sample", "sample:1000"),
        ("sample:", "sample:1000"),
        ("sample:0", "sample:1000"),
        ("sample:-3", "sample:1000"),
        ("sample:many", "sample:1000"),
        ("sample:²", "sample:1000"),
        ("sample:1.5", "sample:1000"),
    ],
)
def test_refused(mode: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        schedule(mode, ["scholar", "novice"], ["1"], 0)
