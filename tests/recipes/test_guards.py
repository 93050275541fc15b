"""Figures and rules that watch a training: numbers worked by hand, and what holds whatever the numbers are."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from statistics import mean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_recipe import settings

from arenaloop.config import GuardSettings, validate
from arenaloop.errors import ConfigError
from arenaloop.ratings.rates import clustered_rate
from arenaloop.recipes.guards import View, Watched, best, change, commonest, distinct, rate, stop

RULES = GuardSettings()
TEXTS = st.lists(st.lists(st.sampled_from(["ab", "c", "d"]), max_size=6).map(" ".join), max_size=8)
VIEWS = st.dictionaries(
    st.sampled_from("pqrstuvw"), st.integers(1, 3).flatmap(lambda n: st.tuples(st.floats(0, n), st.just(n))), max_size=8
)


def view(*shares: float) -> View:
    return {f"p{at}": (share, 1) for at, share in enumerate(shares)}


# ---------------------------------------------------------------------- metrics


def test_distinct_by_hand() -> None:
    # pairs: a b, b c | a b, b d: three of four differ
    assert distinct(["a b c", "a b d"]) == 3 / 4
    # a b, b a, a b | a (one gram, as it has no pair): three of four
    assert distinct(["a b a b", "a"]) == 3 / 4
    assert distinct(["a b a b", "a"], 1) == 2 / 5
    assert distinct(["yes"] * 5) == 1 / 5
    assert distinct(["", "  "]) is None


def test_a_text_counts_with_its_first_fifty_words() -> None:
    different = [f"w{n}" for n in range(50)]
    assert distinct([" ".join([*different, *["and so on"] * 100])]) == 1.0


def test_commonest_by_hand() -> None:
    assert commonest(["a", "b", " a\n", "c"]) == 1 / 2
    assert commonest([]) is None


@given(TEXTS, st.integers(1, 3))
def test_metrics_are_shares_that_no_order_changes_and_repetition_moves_one_way(texts: list[str], n: int) -> None:
    found, most = distinct(texts, n), commonest(texts)
    assert (found is None) == (not any(text.split() for text in texts))
    if found is not None:
        assert 0 < found <= 1
        assert distinct(texts[::-1], n) == found
        twice = distinct(texts * 2, n)
        assert twice == pytest.approx(found / 2)
    if most is not None:
        assert 1 / len(texts) <= most <= 1
        assert commonest(texts * 2) == most
        assert commonest([*texts, max(texts, key=texts.count)]) >= most


# ---------------------------------------------------------------------- views


def test_a_rate_and_its_error_by_hand() -> None:
    # 1, 0, 1, 1 of one battle each: share 3/4, residuals 1/4, -3/4, 1/4, 1/4 over 4 decided;
    # sum of squares (3/16 + 9/16) / 16 = 3/64, times 4/3 = 1/16
    found = rate(view(1, 0, 1, 1))
    assert found is not None
    assert found[:2] == (0.75, pytest.approx(0.25))
    score = clustered_rate(np.array([1.0, 0.0, 1.0, 1.0]), np.ones(4), np.arange(4))
    assert found.to_json() == {"win_rate": 0.75, "lower": score.lower, "upper": score.upper}
    # two battles weigh twice: (2 + 0) / 3; residuals 2 - 4/3, 0 - 2/3, over 3, squared: 4/81 + 4/81, times 2
    unequal = rate({"p": (2.0, 2), "q": (0.0, 1)})
    assert unequal is not None
    assert unequal[:2] == (pytest.approx(2 / 3), pytest.approx(4 / 9))
    assert rate({}) is None
    assert rate({"p": (0.0, 0)}) is None
    assert rate(view(1)) == (1.0, None, None, None)


def test_few_prompts_have_an_interval_of_some_width_at_the_edges() -> None:
    share = rate(view(*[1] * 9))
    assert share is not None
    assert share.lower is not None
    assert share.upper == 1.0
    assert share.lower < 0.7
    two = [Watched("a", held_out=view(0, 0)), Watched("b", held_out=view(1, 1))]
    assert best(two).alike == ["a"]  # both prompts of two are no proof


def test_a_change_is_paired() -> None:
    """The same prompts won and lost, and one more: the prompts' own difficulty is no noise."""
    before, after = view(*[1, 0] * 10), {**view(*[1, 0] * 10), "p1": (1.0, 1)}
    found = change(before, after)
    assert found is not None
    assert found.value == pytest.approx(1 / 20)
    assert found.error == pytest.approx(1 / 20)  # sd of nineteen 0 and a 1 over root of 20
    errors = [each.error for one in (before, after) if (each := rate(one)) is not None and each.error is not None]
    assert found.error < math.hypot(*errors) / 2


@given(VIEWS)
def test_nothing_changes_against_itself(one: View) -> None:
    found = change(one, one)
    if rate(one) is None:
        assert found is None
    else:
        assert found is not None
        assert found.value == 0
        assert found.error in (None, 0.0)


@given(VIEWS, VIEWS)
def test_a_change_back_is_its_opposite(one: View, two: View) -> None:
    there, back = change(one, two), change(two, one)
    assert (there is None) == (back is None)
    if there is not None and back is not None:
        assert there.value == -back.value
        assert there.error == pytest.approx(back.error)


# ---------------------------------------------------------------------- rules

START = Watched("SFT-I0", 20.0, 0.8, 0.1, view(*[0, 1] * 20), view(*[0, 1] * 20))


def test_a_rise_that_only_the_training_judge_sees_stops_the_run() -> None:
    hacked = replace(START, name="SFT-I1", training=view(*[1] * 30, *[0, 1] * 5), held_out=view(*[0] * 30, *[0, 1] * 5))
    broken = stop([START, hacked], RULES)
    assert broken is not None
    assert (broken.rule, broken.stage) == ("judges_part", "SFT-I1")
    # training 15 of 40 more, held-out 15 of 40 fewer
    assert broken.figures["training_judge"] == pytest.approx(15 / 40)
    assert broken.figures["held_out_judge"] == pytest.approx(-15 / 40)
    assert "rose by 37.5 points" in broken.why
    assert "fell by 37.5 points" in broken.why
    assert stop([START, hacked], RULES.model_copy(update={"judges_part": None})) is None


def test_a_rise_that_both_see_does_not() -> None:
    better = view(*[1] * 30, *[0, 1] * 5)
    assert stop([START, replace(START, name="SFT-I1", training=better, held_out=better)], RULES) is None


def test_a_held_out_judge_that_rises_less_does_not() -> None:
    later = replace(START, name="SFT-I1", training=view(*[1] * 40), held_out=view(*[0, 1] * 15, *[1] * 10))
    assert stop([START, later], RULES) is None


def test_a_rise_within_the_held_out_judges_error_is_none() -> None:
    """One prompt of 40 more does not tell it from a view that stays where it is."""
    later = replace(START, name="SFT-I1", training=view(*[1] * 40), held_out=view(*[0, 1] * 19, 1, 1))
    broken = stop([START, later], RULES)
    assert broken is not None
    assert "by 2.5, which is within its error" in broken.why


def test_what_is_lost_again_is_seen_from_the_best_stage() -> None:
    """Far above its start still, and below what it has been."""
    good = replace(START, name="SFT-I1", training=view(*[1] * 20, *[0, 1] * 10), held_out=view(*[1] * 30, *[0, 1] * 5))
    bad = replace(START, name="DPO-I1", training=view(*[1] * 38, 0, 1), held_out=view(*[1] * 10, *[0, 1] * 15))
    assert stop([START, good], RULES) is None
    assert stop([START, bad], RULES) is None
    broken = stop([START, good, bad], RULES)
    assert broken is not None
    assert (broken.rule, broken.stage) == ("judges_part", "DPO-I1")
    assert broken.why.startswith("from SFT-I1 to DPO-I1")


def test_noise_alone_hardly_ever_stops_a_run() -> None:
    """Stages as good as each other, by either judge: at 3 errors, under 1 of 100 runs of four stages."""
    rng = random.Random(0)

    def drawn() -> View:
        return view(*(rng.random() < 0.5 for _ in range(100)))

    runs = [[Watched(f"s{n}", training=drawn(), held_out=drawn()) for n in range(5)] for _ in range(300)]
    stopped = [any(stop(stages[: n + 1], RULES) for n in range(1, 5)) for stages in runs]
    assert mean(stopped) <= 0.01


@pytest.mark.parametrize(
    ("changes", "rule", "figure"),
    [
        ({"length": 40.1}, "length", 40.1 / 20),
        ({"distinct": 0.39}, "distinct", 0.39 / 0.8),
        ({"commonest": 0.36}, "same_answer", 0.36),
    ],
)
def test_a_limit_is_passed(changes: dict[str, float], rule: str, figure: float) -> None:
    last = replace(START, name="PPO-I1", **changes)  # type: ignore[arg-type]
    broken = stop([START, last], RULES)
    assert broken is not None
    assert (broken.rule, broken.stage) == (rule, "PPO-I1")
    assert figure in [pytest.approx(value) for value in broken.figures.values()]
    assert stop([START, last], RULES.model_copy(update={rule: None})) is None


def test_at_the_limit_nothing_is_stopped() -> None:
    at_it = replace(START, name="PPO-I1", length=40.0, distinct=0.4, commonest=0.35)
    assert stop([START, at_it], RULES) is None
    assert stop([START], RULES) is None
    assert stop([Watched("SFT-I0"), Watched("SFT-I1")], RULES) is None  # nothing was measured


@given(VIEWS, VIEWS, VIEWS, VIEWS)
def test_who_surely_gains_by_the_held_out_judge_is_never_stopped_for_the_judges(
    a: View, b: View, c: View, d: View
) -> None:
    stages = [Watched("one", training=a, held_out=b), Watched("two", training=c, held_out=d)]
    broken, rise = stop(stages, RULES), change(b, d)
    if broken is not None:
        assert broken.rule == "judges_part"
        assert rise is not None
        assert rise.value <= 1.96 * (rise.error or 0.0) + 1e-9


def test_null_switches_every_rule_off() -> None:
    off = settings("guards=null").guards
    assert set(off.model_dump().values()) == {None}


def test_limits_that_no_run_can_keep_are_refused() -> None:
    for name, value in {"length": 1.0, "distinct": 1.0, "same_answer": 0.0, "judges_part": -1.0}.items():
        with pytest.raises(ConfigError, match=name):
            validate(GuardSettings, {name: value}, "recipe.yaml")


# ---------------------------------------------------------------------- the result


def test_the_best_is_the_held_out_judges() -> None:
    low, high = view(*[0] * 30, *[0, 1] * 5), view(*[1] * 30, *[0, 1] * 5)
    stages = [
        replace(START, name="a", training=high, held_out=low),
        replace(START, name="b", training=low, held_out=high),
        replace(START, name="c", training=low, held_out=view(*[1] * 30, *[0, 1] * 4, 0, 0)),
    ]
    found = best(stages)
    assert (found.stage, found.by, found.alike) == ("b", "held_out", ["c"])
    assert found.rate == rate(high)
    assert best([replace(one, held_out={}) for one in stages]).stage == "a"
    assert best([replace(one, held_out={}) for one in stages]).by == "validation"


def test_of_equal_stages_the_earlier_and_without_figures_the_last() -> None:
    assert best([START, replace(START, name="later")]) == ("SFT-I0", "held_out", rate(START.held_out), ["later"])
    assert best([Watched("a"), Watched("b")]) == ("b", "last", None, ())
    # a stage all of whose battles are undecided is not what training was for
    assert best([START, Watched("b")])[:2] == ("SFT-I0", "held_out")
