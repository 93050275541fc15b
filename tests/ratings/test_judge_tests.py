"""Figures of an audit against what is fair, many at once, and planted biases."""

from __future__ import annotations

import math

import numpy as np
import pytest

from arenaloop.ratings.evaluator import Panel, Votes, evaluate
from arenaloop.ratings.judge_tests import JudgeTest, controlled, judge_tests, share_test, smallest_effects
from arenaloop.ratings.planted import plant_length, plant_seat
from arenaloop.ratings.significance import smallest_effect, two_sided


def world(pairs: int, seed: int, *, skill: float = 0.0, seat: float = 0.0, length: float = 0.0) -> tuple[Panel, Votes]:
    """People with two labels a pair, and a judge with known effects in nats: of their view, of the seat, of length."""
    rng = np.random.default_rng(seed)
    worth = rng.normal(0, 1, pairs)
    longer = rng.normal(0, 100, pairs)

    def drawn(odds: np.ndarray) -> np.ndarray:
        return (rng.random(pairs) < 1 / (1 + np.exp(-odds))).astype(float)

    humans = [(1.0 + x, 1.0 + y) for x, y in zip(drawn(worth), drawn(worth), strict=True)]
    own = skill * worth + length * np.tanh(longer / 100)
    second_last, second_first = drawn(own - seat), drawn(own + seat)  # the second output in the second, first seat
    merged = (second_last + second_first) / 2
    panel = Panel(
        np.arange(pairs), humans, np.stack([np.full(pairs, 500.0), 500.0 + longer], axis=1),
        rng.random((pairs, 2)) < 0.5,
    )  # fmt: skip
    return panel, Votes(
        [(1.0 + m,) for m in merged],
        [(1.0 - x, y) for x, y in zip(second_last, second_first, strict=True)],
        [(1.0 + x, 1.0 + y) for x, y in zip(second_last, second_first, strict=True)],
        [(x != y,) for x, y in zip(second_last, second_first, strict=True)],
    )


def tried(panel: Panel, votes: Votes, name: str = "j", samples: int = 50) -> dict[str, JudgeTest]:
    found = evaluate(panel, votes, samples=samples)
    return {test.figure: test for test in judge_tests(name, panel, votes, found)}


def test_a_seat_by_hand() -> None:
    """Of 100 seatings on prompts of their own the first seat won 60: z = 0.1 / 0.05 but for the divisor n - 1."""
    part = np.array([1.0] * 60 + [0.0] * 40)
    error = 0.5 * math.sqrt(100 / 99) / 10
    assert share_test(part, np.ones(100), np.arange(100)) == pytest.approx(two_sided(0.1 / error, 99))
    # all votes of a prompt alike, four to a prompt: 25 observations
    four = np.repeat(np.arange(25), 4)
    part = np.repeat([1.0] * 15 + [0.0] * 10, 4)
    assert share_test(part, np.ones(100), four) == pytest.approx(two_sided(0.1 / (0.5 * math.sqrt(25 / 24) / 5), 24))
    assert share_test(np.ones(16), np.ones(16), np.arange(16)) == pytest.approx(two_sided(0.5 / (0.5 / 4), 15))
    assert share_test(np.ones(1), np.ones(1), np.arange(1)) == 1.0


def test_every_effect_that_is_there_is_found_and_named() -> None:
    found = tried(*world(600, 1, skill=2.0, seat=0.6, length=1.5))
    assert set(found) == {
        "agreement", "kappa", "first_seat", "first_output", "longer", "longer_matched", "lists"
    }  # fmt: skip
    for figure in ("agreement", "kappa", "first_seat", "longer", "longer_matched"):
        assert found[figure].p < 1e-3, figure
    assert found["lists"].p > 0.001
    assert found["agreement"].fair == 50.0
    assert found["first_seat"].value > 0.55


def test_the_smallest_effects_shrink_with_the_root_of_the_pairs() -> None:
    def smallest(pairs: int) -> dict[str, float | None]:
        panel, votes = world(pairs, 2, skill=1.0)
        found = evaluate(panel, votes, samples=50)
        tests = judge_tests("j", panel, votes, found)
        rates = {name: getattr(found, name) for name in ("agreement", "first_seat", "longer_matched", "lists", "flips")}
        return smallest_effects(panel, rates, tests)

    few, many = smallest(100), smallest(1600)
    for figure, effect in few.items():
        other = many[figure]
        assert effect is not None
        assert other is not None
        assert effect / other == pytest.approx(4.0, rel=0.25), figure
    # 100 pairs, two seatings each that are nearly independent: se of one half is 0.5 / sqrt(200)
    assert few["first_seat"] == pytest.approx(smallest_effect(0.5 / math.sqrt(200), 99), rel=0.2)


def test_false_discoveries_are_within_what_is_promised() -> None:
    """Judges with no, two and other faults: of what stands, at most 5 % is false, within two standard errors."""
    shares = []
    for seed in range(80):
        tests = []
        false = set()
        for n, (skill, seat, length) in enumerate([(0.0, 0.0, 0.0), (2.0, 0.5, 0.0), (1.0, 0.0, 1.0)]):
            panel, votes = world(60, 10 * seed + n, skill=skill, seat=seat, length=length)
            tests += list(tried(panel, votes, f"j{n}", samples=60).values())
            false |= {(f"j{n}", "lists"), (f"j{n}", "first_output")}
            false |= {(f"j{n}", f) for f in ("agreement", "kappa") if not skill}
            false |= {(f"j{n}", "first_seat")} if not seat else set()
            false |= {(f"j{n}", f) for f in ("longer", "longer_matched") if not length}
        standing = [(test.judge, test.figure) for test in controlled(tests) if test.q <= 0.05]
        shares.append(len(false & set(standing)) / max(len(standing), 1))
    error = float(np.std(shares, ddof=1)) / math.sqrt(len(shares))
    assert np.mean(shares) <= 0.05 + 2 * error


def test_a_planted_bias_is_found_as_often_as_its_size_allows_and_none_where_none_is() -> None:
    panel, votes = world(200, 3, skill=1.0, seat=0.8, length=0.5)

    def stands(p: float) -> bool:
        return p <= 0.05

    found = evaluate(panel, votes, samples=50)
    least = {t.figure: t.smallest for t in judge_tests("j", panel, votes, found)}
    for plant, figure in ((plant_seat, "first_seat"), (plant_length, "longer_matched")):
        large = plant("j", panel, votes, 0.3, stands, plantings=100, seed=0)
        assert large.found >= 98, figure
        assert large.false <= 12, figure
        assert large.enough
        small = plant("j", panel, votes, 0.01, stands, plantings=100, seed=0)
        assert small.found < 40, figure
        assert not small.enough
    # at the smallest effect of the table the seat is found about four times of five
    middle = plant_seat("j", panel, votes, least["first_seat"], stands, plantings=400, seed=1)
    assert middle.found / 400 == pytest.approx(0.8, abs=0.1)
    assert plant_seat("j", panel, votes, 0.1, stands, plantings=50, seed=5) == plant_seat(
        "j", panel, votes, 0.1, stands, plantings=50, seed=5
    )


def test_where_there_is_nothing_to_plant_in_it_is_said() -> None:
    panel, votes = world(5, 1)
    silent = Votes(votes.merged, [() for _ in range(5)], votes.one_seat, votes.flips)
    assert plant_seat("j", panel, silent, 0.1, bool, plantings=9, seed=0).plantings == 0
    few = plant_length("j", panel, votes, 0.1, bool, plantings=9, seed=0)
    assert few.plantings == 0
    assert not few.enough
