"""Which pairs battle on which prompts."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.arena.matchmaking import Schedule, all_pairs, schedule, target_pairs
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


@given(NAMES, IDS, st.integers(1, 200), st.integers(0, 3))
def test_a_sample_is_balanced(names: list[str], ids: list[str], n: int, seed: int) -> None:
    """Every pair and every prompt is used equally often, within one; the order of the names is of no account."""
    plan = schedule(f"sample:{n}", names, ids, seed)
    units = [(i, pair) for i in ids for pair in plan.on(i)]
    for counts, all_there in (
        (Counter(pair for _, pair in units), all_pairs(names)),
        (Counter(i for i, _ in units), ids),
    ):
        often = [counts[one] for one in all_there]  # type: ignore[index]
        assert max(often) - min(often) <= 1
    other = schedule(f"sample:{n}", names[::-1], ids, seed)
    assert {(i, frozenset(p)) for i, p in units} == {(i, frozenset(p)) for i in ids for p in other.on(i)}


@pytest.mark.parametrize(
    ("mode", "battles"),
    [("calls:21", 10), ("sample:calls:20", 10), ("sample:10", 10), ("optimal:calls:21", 10), ("optimal:10", 10)],
)
def test_budgets_in_battles_and_in_calls(mode: str, battles: int) -> None:
    ids = [str(i) for i in range(9)]
    plan = schedule(mode, ["a", "b", "c"], ids, 0)
    assert plan.battles(len(ids)) == battles
    assert (plan.wanted is None) == (not mode.startswith("optimal"))


def test_a_jury_takes_more_calls() -> None:
    ids = [str(i) for i in range(9)]
    assert schedule("calls:20", ["a", "b"], ids, 0, calls_per_battle=6).battles(9) == 3
    with pytest.raises(ConfigError, match="a battle takes 6 judge calls"):
        schedule("calls:5", ["a", "b"], ids, 0, calls_per_battle=6)


def test_an_optimal_schedule_begins_empty_and_ends_with_all_there_is() -> None:
    plan = schedule("optimal:100", ["a", "b", "c"], ["1", "2"], 0)
    assert plan.on("1") == []
    assert plan.battles(2) == 6


def test_a_schedule_of_battles() -> None:
    """A pair keeps the seats that the plan's pairs give it."""
    plan = Schedule.of([("c", "a"), ("c", "b")], [(("a", "c"), "1"), (("c", "b"), "2"), (("b", "c"), "1")])
    assert plan.on("1") == [("c", "a"), ("c", "b")]
    assert plan.on("2") == [("c", "b")]
    assert plan.battles(5) == 3


def test_sampling_is_uniform_over_units() -> None:
    """Each of 6 pairs on 50 prompts is drawn in about a third of 300 seeds: 100 ± 5 standard deviations (8.2)."""
    names, ids = ["a", "b", "c", "d"], [str(i) for i in range(50)]
    plans = [schedule("sample:100", names, ids, seed) for seed in range(300)]
    counts = Counter((i, pair) for plan in plans for i in ids for pair in plan.on(i))
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
        ("sample:calls", "calls:2000"),
        ("optimal", "optimal:1000"),
        ("optimal:x", "optimal:1000"),
        ("optimal:calls:0", "calls:2000"),
        ("calls", "calls:2000"),
        ("calls:-2", "calls:2000"),
        ("calls:1", "a battle takes 2 judge calls"),
    ],
)
def test_refused(mode: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        schedule(mode, ["scholar", "novice"], ["1"], 0)
