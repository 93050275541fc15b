"""What the target lost becomes training rows: the paper's rules, their golden numbers and their edges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from arenaloop.data.selection import (
    PromptScores,
    mean_difficulty,
    preference_pairs,
    preference_row,
    random_rows,
    response_scores,
    sft_row,
    sft_rows,
)
from arenaloop.types import Battle, Preference, Prompt, Response, Status, Winner

PROMPT = Prompt.of("question")

# derived by hand: merged scores of each model in its three battles
GOLDEN = {
    ("T", "P"): (5.0, 8.5), ("T", "Q"): (6.0, 7.0), ("T", "R"): (6.5, 5.5),
    ("P", "Q"): (8.0, 6.0), ("P", "R"): (8.5, 5.0), ("Q", "R"): (7.5, 5.5),
}  # fmt: skip


def battle(a: str, b: str, score_a: float, score_b: float) -> Battle:
    winner = Winner.MODEL_A if score_a > score_b else Winner.MODEL_B if score_b > score_a else Winner.TIE
    return Battle(PROMPT.id, a, b, winner, score_a, score_b, False, "judge", (f"{a}{b}", f"{b}{a}"))


def golden_battles() -> list[Battle]:
    return [battle(a, b, *scores) for (a, b), scores in GOLDEN.items()]


def item(
    scores: Mapping[str, float],
    texts: Mapping[str, str] | None = None,
    statuses: Mapping[str, Status] | None = None,
    prompt: Prompt = PROMPT,
) -> PromptScores:
    responses = {
        name: Response(
            prompt.id,
            name,
            ((texts or {}).get(name, f"text of {name}"),) * prompt.turns,
            (statuses or {}).get(name, Status.OK),
        )
        for name in scores
    }
    return PromptScores(prompt, responses, scores, ("v1", "v2"))


# ---------------------------------------------------------------------- derived by hand


def golden() -> PromptScores:
    scores = response_scores(golden_battles(), "TPQR")
    assert scores is not None
    return item(scores)


def test_golden_scores() -> None:
    assert response_scores(golden_battles(), "TPQR") == pytest.approx(
        {"T": 5.833, "P": 8.333, "Q": 6.833, "R": 5.333}, abs=5e-4
    )


def test_where_each_seat_battles_the_scores_are_the_same_and_a_pair_counts_once() -> None:
    seats = [battle(b.model_a, b.model_b, b.score_a + d, b.score_b - d) for b in golden_battles() for d in (0.5, -0.5)]
    assert response_scores(seats, "TPQR") == pytest.approx(response_scores(golden_battles(), "TPQR"))
    one_opponent = [b for b in seats if b.model_a == "T" and b.model_b == "P"]
    assert len(one_opponent) == 2
    assert response_scores(one_opponent, "TP") is not None
    assert response_scores([*one_opponent, *(b for b in seats if "T" not in (b.model_a, b.model_b))], "TPQR") is None


@pytest.mark.parametrize(("k", "found"), [(3, ["PR"]), (2, ["PT", "PR"]), (1, ["PT", "PR", "PQ", "QT", "QR"]), (4, [])])
def test_golden_all_pairs_over_k(k: float, found: list[str]) -> None:
    """T 5.833, P 8.333, Q 6.833, R 5.333: whoever is at least k worse than another is rejected for it."""
    selection = preference_pairs([golden()], target="T", k=k, rejected="all_pairs_over_k")
    assert sorted(f"{row['chosen_model']}{row['rejected_model']}" for row in selection.rows) == sorted(found)
    assert selection.chosen_by.total() == selection.rejected_by.total() == sum(selection.credit.values()) == len(found)
    assert selection.dropped == ({} if found else {"gap below k": 1})
    assert selection.gaps == {3: 1}  # a prompt counts once


def test_all_pairs_leave_out_what_failed_or_may_not_be_learned() -> None:
    cut = item({"a": 9.0, "b": 7.0, "c": 3.0, "d": 3.0}, {"c": "same", "d": "same"}, {"a": Status.TRUNCATED})
    chosen = preference_pairs([replace(cut, failed=frozenset("d"))], target="c", k=1, rejected="all_pairs_over_k")
    assert [(row["chosen_model"], row["rejected_model"]) for row in chosen.rows] == [("b", "c")]


def test_selections_add_up() -> None:
    one, other = (preference_pairs([golden()], target="T", k=k) for k in (3, 2))
    both = preference_pairs([], target="T", k=2)
    both.add(one)
    both.add(other)
    assert both.rows == [*one.rows, *other.rows]
    assert both.to_json()["chosen_by"] == {"P": 2} == both.to_json()["credit"]
    assert both.gaps == {3: 2}


@pytest.mark.parametrize(("k", "kept"), [(1, True), (2, True), (2.5, True), (3, False)])
def test_golden_sft(k: float, kept: bool) -> None:
    selection = sft_rows([golden()], target="T", k=k)
    assert len(selection.rows) == kept
    if kept:
        (row,) = selection.rows
        assert row["model"] == "P"
        assert row["margin"] == pytest.approx(2.5)
        assert row["messages"] == [
            {"role": "user", "content": "question"},
            {"role": "assistant", "content": "text of P"},
        ]
        assert row["verdicts"] == ["v1", "v2"]
        assert row["prompt_id"] == PROMPT.id
        assert selection.chosen_by == {"P": 1}
        assert not selection.dropped
    else:
        assert selection.dropped == {"gap below k": 1}
    assert selection.gaps == {2: 1}


@pytest.mark.parametrize(("k", "kept"), [(0, True), (1.5, True), (2, False)])
def test_without_a_target_the_best_leads_all_others(k: float, kept: bool) -> None:
    selection = sft_rows([item({"P": 8.5, "Q": 7.0, "R": 5.0})], target=None, k=k)
    assert [(row["model"], row["margin"]) for row in selection.rows] == [("P", 1.5)] * kept
    tied = sft_rows([item({"P": 8.0, "Q": 8.0, "R": 5.0})], target=None, k=0.5)
    assert (tied.rows, tied.dropped, tied.tied_best) == ([], {"gap below k": 1}, 1)


@pytest.mark.parametrize(
    ("rejected", "k", "loser", "gap"),
    [("worst", 2, "R", 3.0), ("worst", 3, "R", 3.0), ("target", 2, "T", 2.5), ("target", 2.5, "T", 2.5)],
)
def test_golden_dpo(rejected: Any, k: float, loser: str, gap: float) -> None:
    selection = preference_pairs([golden()], target="T", k=k, rejected=rejected)
    (pair,) = selection.preferences
    assert (pair.chosen_model, pair.rejected_model) == ("P", loser)
    assert pair.margin == pytest.approx(gap)
    (row,) = selection.rows
    assert row["prompt"] == [{"role": "user", "content": "question"}]
    assert row["chosen"] == [{"role": "assistant", "content": "text of P"}]
    assert row["rejected"] == [{"role": "assistant", "content": f"text of {loser}"}]
    assert (row["chosen_model"], row["rejected_model"]) == ("P", loser)
    assert selection.rejected_by == {loser: 1}


@pytest.mark.parametrize(("rejected", "k"), [("worst", 3.01), ("target", 2.51), ("target", 3)])
def test_golden_dpo_below_the_threshold(rejected: Any, k: float) -> None:
    selection = preference_pairs([golden()], target="T", k=k, rejected=rejected)
    pairs = selection.preferences
    assert pairs == []
    assert selection.dropped == {"gap below k": 1}


# ---------------------------------------------------------------------- response scores


def test_one_battle_failed() -> None:
    """Scores over the battles that are left, two at least for every model."""
    scores = response_scores([b for b in golden_battles() if b.verdicts != ("TP", "PT")], "TPQR")
    assert scores is not None
    assert scores["T"] == 6.25
    assert scores["P"] == 8.25


def test_too_few_battles_of_any_model() -> None:
    left = [b for b in golden_battles() if "T" not in (b.model_a, b.model_b)]
    assert response_scores(left, "TPQR") is None
    left.append(battle("T", "P", 5, 5))
    assert response_scores(left, "TPQR") is None
    assert response_scores(left, "TPQR", min_battles=1) is not None
    assert response_scores([], "TPQR") is None


def test_two_models_have_one_battle() -> None:
    assert response_scores([battle("T", "P", 4, 7)], "TP") == {"T": 4.0, "P": 7.0}
    assert response_scores([], "TP") is None


def test_target_against_each_has_one_battle_for_each_opponent() -> None:
    """In this mode an opponent meets the target alone: one battle is all that it could have."""
    pairs = [("T", name) for name in "PQR"]
    battles = [b for b in golden_battles() if b.model_a == "T"]
    scores = response_scores(battles, "TPQR", pairs=pairs)
    assert scores == pytest.approx({"T": 17.5 / 3, "P": 8.5, "Q": 7.0, "R": 5.5})
    assert response_scores(battles[1:], "TPQR", pairs=pairs) is None  # P was not decided
    assert response_scores(battles[:2], "TPQ", pairs=pairs[:2]) is not None


# ---------------------------------------------------------------------- edges


def test_k_0_keeps_all_also_where_the_target_is_best() -> None:
    best = item({"T": 8.0, "P": 5.0})
    tied = item({"T": 6.0, "P": 6.0})
    lost = item({"T": 5.0, "P": 8.0})
    selection = sft_rows([best, tied, lost], target="T", k=0)
    assert [row["model"] for row in selection.rows] == ["T", "P", "P"]
    selection = sft_rows([best, tied, lost], target="T", k=0.5)
    assert [row["model"] for row in selection.rows] == ["P"]
    assert selection.dropped == {"target is best": 1, "gap below k": 1}


def test_a_target_whose_answer_may_not_be_learned_is_best_all_the_same() -> None:
    cut = item({"T": 8.0, "P": 5.0}, statuses={"T": Status.TRUNCATED})
    for k in (0, 0.5):
        assert sft_rows([cut], target="T", k=k).dropped == {"target is best": 1}
    assert sft_rows([cut], target=None, k=0.5).dropped == {"gap below k": 1}


def test_ties_prefer_another_than_the_target_then_a_lot_decides() -> None:
    tied = item({"T": 8.0, "B": 8.0, "A": 8.0, "Z": 2.0})
    assert sft_rows([tied, golden()], target="T", k=0).tied_best == 1
    cut = item({"T": 2.0, "B": 8.0, "A": 8.0}, statuses={"A": Status.TRUNCATED})
    assert preference_pairs([tied, cut], target="T", k=0).tied_best == 1
    (chosen,) = sft_rows([tied], target="T", k=0).chosen_by
    assert chosen in "AB"
    assert sft_rows([tied], target="T", k=0).credit == {"B": 0.5, "A": 0.5}  # the target's share is not learned from
    assert {*sft_rows([tied], target="A", k=0).chosen_by} <= {*"BT"}
    (pair,) = preference_pairs([tied], target="T", k=1).preferences
    assert (pair.chosen_model, pair.rejected_model) == (chosen, "Z")


def test_no_name_wins_ties() -> None:
    scores = {"target": 2.0, "clerk": 8.0, "poet": 8.0 + 1e-13, "scholar": 8.0}
    items = [item(scores, prompt=Prompt.of(str(n))) for n in range(600)]
    sft = sft_rows(items, target="target", k=1, seed=4)
    assert sum(sft.chosen_by.values()) == 600
    assert all(150 < n < 250 for n in sft.chosen_by.values())  # 200 each, give or take four standard deviations
    assert sft.credit == pytest.approx(dict.fromkeys(("clerk", "poet", "scholar"), 200.0))
    assert sft_rows(items, target="target", k=1, seed=4).rows == sft.rows
    assert sft_rows(items[::-1], target="target", k=1, seed=4).rows == sft.rows[::-1]
    assert sft_rows(items, target="target", k=1, seed=5).rows != sft.rows
    low = [item({"clerk": 2.0, "poet": 2.0, "scholar": 8.0}, prompt=one.prompt) for one in items]
    rejected = preference_pairs(low, target="scholar", k=1).rejected_by
    assert {*rejected} == {"clerk", "poet"}
    assert min(rejected.values()) > 250


@pytest.mark.parametrize("status", [Status.EMPTY, Status.TRUNCATED])
def test_empty_or_cut_is_never_chosen_but_may_be_rejected(status: Status) -> None:
    scores = {"T": 3.0, "P": 9.0, "Q": 7.0}
    flawed = item(scores, statuses={"P": status})
    assert sft_rows([flawed], target="T", k=1).chosen_by == {"Q": 1}
    (pair,) = preference_pairs([flawed], target="T", k=1).preferences
    assert (pair.chosen_model, pair.rejected_model) == ("Q", "T")
    bad = item(scores, statuses={"T": status})
    (pair,) = preference_pairs([bad], target="T", k=1).preferences
    assert (pair.chosen_model, pair.rejected_model) == ("P", "T")
    nothing = item(scores, statuses=dict.fromkeys(scores, status))
    assert sft_rows([nothing], target="T", k=0).dropped == {"no usable response": 1}
    assert preference_pairs([nothing], target="T", k=0).dropped == {"no usable response": 1}


def failing(scores: Mapping[str, float], *failed: str) -> PromptScores:
    """Those that failed wrote a text all the same: one that was too long for the judge."""
    return replace(item(scores), failed=frozenset(failed))


def test_a_target_that_failed_learns_from_the_best_of_the_others() -> None:
    """It lost by its own failure: to fail is no way around being taught."""
    [row] = sft_rows([failing({"T": 1.0, "P": 8.0, "Q": 3.0}, "T")], target="T", k=3.0).rows
    assert (row["model"], row["margin"]) == ("P", 7.0)
    [pair] = preference_pairs([failing({"T": 1.0, "P": 8.0, "Q": 3.0}, "T")], target="T", k=2.0).rows
    assert (pair["chosen_model"], pair["rejected_model"], pair["margin"]) == ("P", "Q", 5.0)
    dropped = preference_pairs([failing({"T": 1.0, "P": 8.0}, "T")], target="T", k=2.0, rejected="target").dropped
    assert dropped == {"no usable response": 1}


def test_a_failed_answer_is_neither_chosen_nor_rejected() -> None:
    even = failing({"T": 1.0, "P": 1.0, "Q": 1.0}, "P", "Q")
    assert sft_rows([even], target="T", k=0.0).rows[0]["model"] == "T"
    assert sft_rows([even], target=None, k=0.0).rows[0]["model"] == "T"
    assert preference_pairs([even], target="T", k=0.0).dropped == {"equal scores": 1}
    assert sft_rows([failing({"T": 1.0, "P": 1.0}, "T", "P")], target="T", k=0.0).dropped == {"no usable response": 1}


def test_cut_answers_may_be_allowed_empty_ones_never() -> None:
    scores = {"T": 3.0, "P": 9.0, "Q": 8.0}
    flawed = item(scores, statuses={"P": Status.TRUNCATED, "Q": Status.EMPTY})
    assert sft_rows([flawed], target="T", k=1, allow_truncated=True).chosen_by == {"P": 1}
    empty = item(scores, statuses={"P": Status.EMPTY, "Q": Status.EMPTY})
    assert not sft_rows([empty], target="T", k=1, allow_truncated=True).rows


def test_a_blank_answer_that_was_cut_is_never_chosen() -> None:
    blank = Response(PROMPT.id, "a", (" \n ",), Status.TRUNCATED)
    scored = item({"t": 3.0, "a": 8.0, "b": 6.0})
    scored = replace(scored, responses={**scored.responses, "a": blank})
    (row,) = sft_rows([scored], target="t", k=1.0, allow_truncated=True).rows
    assert row["model"] == "b"


def test_a_best_usable_response_below_the_target_is_no_row() -> None:
    """The best is cut off, the next best is worse than the target's own: nothing to learn, whatever K."""
    one = item({"T": 6.0, "P": 9.0, "Q": 4.0}, statuses={"P": Status.TRUNCATED, "T": Status.TRUNCATED})
    for k in (0, 1):
        assert not sft_rows([one], target="T", k=k).rows
        assert not preference_pairs([one], target="T", k=k, rejected="target").rows


def test_no_signal_no_pair() -> None:
    same_score = item({"T": 5.0, "P": 5.0, "Q": 5.0})
    same_text = item({"T": 5.0, "P": 8.0}, texts={"T": "x", "P": "x"})
    selection = preference_pairs([same_score, same_text], target="T", k=0)
    pairs = selection.preferences
    assert pairs == []
    assert selection.dropped == {"equal scores": 1, "equal texts": 1}
    assert preference_pairs([item({"T": 8.0, "P": 5.0})], target="T", k=0, rejected="target").preferences == []


def test_the_target_may_be_the_chosen_one() -> None:
    (pair,) = preference_pairs([item({"T": 9.0, "P": 4.0})], target="T", k=2).preferences
    assert (pair.chosen_model, pair.rejected_model) == ("T", "P")


def test_rounding_does_not_cost_a_row() -> None:
    """Every game is lost by 2, and the means are 1.9999999999999996 apart in floating point."""
    games = [(2.7, 4.7), (4.6, 6.6), (2.7, 4.7)]
    scores = response_scores([battle("T", "P", *game) for game in games], "TP")
    assert scores is not None
    assert scores["P"] - scores["T"] < 2.0  # the trap
    selection = sft_rows([item(scores)], target="T", k=2)
    assert len(selection.rows) == 1
    assert selection.gaps == {2: 1}


def test_follow_ups_are_part_of_chosen_and_rejected() -> None:
    prompt = Prompt(({"role": "user", "content": "one"},), ("two",))
    selection = preference_pairs([item({"T": 1.0, "P": 9.0}, prompt=prompt)], target="T", k=1)
    (pair,) = selection.preferences
    (row,) = selection.rows
    assert row["prompt"] == [{"role": "user", "content": "one"}]
    assert [m["role"] for m in row["chosen"]] == ["assistant", "user", "assistant"]
    assert row["chosen"][1] == row["rejected"][1] == {"role": "user", "content": "two"}
    assert pair.chosen == ("text of P", "text of P")
    # every turn of the answer is to be learned, not the last alone
    learned = sft_row(prompt, ("a", "b"))
    assert learned["prompt"] == row["prompt"]
    assert [m["content"] for m in learned["completion"]] == ["a", "two", "b"]


def test_accounting_as_json() -> None:
    items = [golden(), item({"T": 8.0, "P": 5.0, "Q": 4.0, "R": 4.0})]
    assert sft_rows(items, target="T", k=1).to_json() == {
        "rows": 1,
        "dropped": {"target is best": 1},
        "chosen_by": {"P": 1},
        "rejected_by": {},
        "credit": {"P": 1.0},
        "tied_best": 0,
        "gap_histogram": {"0": 1, "2": 1},
    }


# ---------------------------------------------------------------------- properties

POINTS = st.integers(2, 20).map(lambda n: n / 2)
STATUSES = st.sampled_from([Status.OK, Status.OK, Status.OK, Status.TRUNCATED, Status.EMPTY])
NAMES = "TPQR"
ITEMS = st.builds(
    lambda scores, statuses, texts: item(
        dict(zip(NAMES, scores, strict=True)),
        dict(zip(NAMES, texts, strict=True)),
        dict(zip(NAMES, statuses, strict=True)),
    ),
    st.tuples(*[POINTS] * 4),
    st.tuples(*[STATUSES] * 4),
    st.tuples(*[st.sampled_from("abcdef")] * 4),
)
KS = st.sampled_from([0, 0.5, 1, 2, 3])


@given(st.lists(ITEMS, max_size=8), KS)
def test_every_prompt_is_a_row_or_counted(items: list[PromptScores], k: float) -> None:
    for selection in (sft_rows(items, target="T", k=k), preference_pairs(items, target="T", k=k)):
        assert len(selection.rows) + selection.dropped.total() == len(items)
        assert selection.chosen_by.total() == len(selection.rows)


@given(ITEMS, KS)
def test_an_sft_row_is_the_best_usable_and_at_least_k_better(one: PromptScores, k: float) -> None:
    rows = sft_rows([one], target="T", k=k).rows
    usable = {n for n in NAMES if one.responses[n].status is Status.OK}
    if rows:
        chosen = rows[0]["model"]
        assert chosen in usable
        assert one.scores[chosen] == max(one.scores[n] for n in usable)
        assert one.scores[chosen] - one.scores["T"] >= k
        assert chosen != "T" or k == 0
        assert rows[0]["messages"][-1]["content"] == one.responses[chosen].texts[0]
    else:
        best = max((one.scores[n] for n in usable), default=None)
        assert (
            best is None
            or best - one.scores["T"] < k
            or (k > 0 and usable == {"T"})
            or best == one.scores["T"] < k + best
        )


@given(ITEMS, KS, st.sampled_from(["worst", "target"]))
def test_a_pair_has_signal(one: PromptScores, k: float, rejected: Any) -> None:
    selection = preference_pairs([one], target="T", k=k, rejected=rejected)
    pairs = selection.preferences
    assert [preference_row(p) for p in pairs] == selection.rows
    for pair in pairs:
        assert pair.chosen != pair.rejected
        assert pair.margin == one.scores[pair.chosen_model] - one.scores[pair.rejected_model]
        assert pair.margin > 0
        assert pair.margin >= k
        assert one.responses[pair.chosen_model].status is Status.OK
        expected = "T" if rejected == "target" else min(NAMES, key=lambda n: (one.scores[n], n))
        assert pair.rejected_model == expected


@given(st.lists(ITEMS, max_size=8), KS, KS)
def test_a_higher_threshold_keeps_a_subset(items: list[PromptScores], one: float, two: float) -> None:
    assume(one < two)
    for select in (
        lambda k: sft_rows(items, target="T", k=k).rows,
        lambda k: preference_pairs(items, target="T", k=k).rows,
    ):
        more, fewer = select(one), select(two)
        assert all(row in more for row in fewer)


@given(st.permutations(NAMES), ITEMS, KS)
def test_the_order_of_the_models_is_of_no_account(order: list[str], one: PromptScores, k: float) -> None:
    again = PromptScores(one.prompt, one.responses, {n: one.scores[n] for n in order}, one.verdicts)
    assert sft_rows([one], target="T", k=k) == sft_rows([again], target="T", k=k)
    assert preference_pairs([one], target="T", k=k) == preference_pairs([again], target="T", k=k)


def test_random_rows() -> None:
    rows = [{"n": n} for n in range(20)]
    drawn = random_rows(rows, 7, seed=1)
    assert len(drawn) == 7
    assert len({row["n"] for row in drawn}) == 7
    assert drawn == random_rows(rows, 7, seed=1)
    assert drawn != random_rows(rows, 7, seed=2)
    assert sorted(row["n"] for row in random_rows(rows, 99, seed=1)) == list(range(20))
    assert random_rows([], 3, seed=0) == []


def test_a_preference_is_what_its_row_says() -> None:
    pair = Preference(PROMPT, ("good",), ("bad",), "P", "T", 1.5, ("v",))
    assert preference_row(pair) == {
        "prompt": [{"role": "user", "content": "question"}],
        "chosen": [{"role": "assistant", "content": "good"}],
        "rejected": [{"role": "assistant", "content": "bad"}],
        "chosen_model": "P", "rejected_model": "T", "margin": 1.5, "prompt_id": PROMPT.id, "verdicts": ["v"],
    }  # fmt: skip


def test_how_hard_prompts_are_is_told_where_somebody_has_rated_them() -> None:
    hard = [
        Prompt.of("a", difficulty=8),
        Prompt.of("b", difficulty=3.0),
        Prompt.of("c"),
        Prompt.of("d", difficulty="?"),
    ]
    hard.append(Prompt.of("e", difficulty=float("nan")))
    ids = [prompt.id for prompt in hard]
    assert mean_difficulty(hard, [ids[0], ids[0], ids[2]]) == {"rated": 2, "before": 5.5, "after": 8.0}
    assert mean_difficulty(hard, ids[2:]) == {"rated": 2, "before": 5.5, "after": None}
    assert mean_difficulty(hard[2:], ids) is None


def test_rows_say_what_the_prompts_file_said_of_it_and_how_good_the_answers_were() -> None:
    prompt = Prompt.of("question", source_id=163, category="Explain")
    (pair,) = preference_pairs([item({"t": 3.0, "a": 8.0}, prompt=prompt)], target="t", k=1.0).rows
    (row,) = sft_rows([item({"t": 3.0, "a": 8.0}, prompt=prompt)], target="t", k=1.0).rows
    assert [(one["question_id"], one["category"]) for one in (pair, row)] == [(163, "Explain")] * 2
    assert (pair["score_chosen"], pair["score_rejected"], pair["margin"]) == (8.0, 3.0, 5.0)
    (plain,) = preference_pairs([item({"t": 3.0, "a": 8.0})], target="t", k=1.0).rows
    assert "question_id" not in plain
