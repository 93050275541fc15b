"""The pool's draws in AlpacaFarm's order, and several pairs in one call."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.errors import ConfigError
from arenaloop.judges.annotators import (
    Pair,
    PairsJudge,
    Pool,
    asked_together,
    noise_label,
    switched,
)
from arenaloop.judges.builtin import BuiltinJudge
from arenaloop.judges.templates import load_template, template_names
from arenaloop.models.scripted import ScriptedModel
from arenaloop.types import Completion, Outcome, Prompt, Response, Sampling, Status

HAIKU, SUM, PRIMES = "Write a haiku about rain.", "What is 2+2?", "List three primes."
WORDS = {
    "annotator_examples": "e952ed64453d833b",
    "annotator_guideline": "37c7d84d9a5b6c35",
    "annotator_persona": "4ad8807610bbedce",
    "annotator_plain": "9bd91f1cc17f0c0c",
    "annotator_reasoned": "0018a953a8b992b2",
}
MEMBERS = [BuiltinJudge(kind) for kind in ("longest", "shortest", "first")]


def pair(asked: str, one: str = "yes", two: str = "well, no") -> Pair:
    prompt = Prompt.of(asked)
    return Pair(prompt, Response(prompt.id, "a", (one,)), Response(prompt.id, "b", (two,)), asked)


def turned(of: Pair) -> Pair:
    return of._replace(one=of.two, two=of.one)


def test_golden_seeded_seats_and_noise() -> None:
    """METHODS' golden B-1: AlpacaFarm's own draws with seed 0 and instructions for keys."""
    assert [switched(key, 0) for key in (HAIKU, SUM, PRIMES)] == [False, False, True]
    assert [noise_label(key, 0, 0.25) for key in (HAIKU, SUM, PRIMES)] == [None, 2, None]
    pool = Pool(MEMBERS, 0.25, seat_mode="compat")
    draws = list(pool.draws([pair(HAIKU), pair(SUM), pair(PRIMES)]))
    assert [draw.label for draw in draws] == [None, 2, None]
    assert [draw.firsts for draw in draws] == [(True,), (), (False,)]


def test_equal_outputs_overrule_noise_and_ask_nobody() -> None:
    (draw,) = Pool(MEMBERS, 0.25).draws([pair(SUM, "4", "4")])
    assert (draw.label, draw.noise, draw.firsts) == (1.5, False, ())


def test_the_annotator_is_drawn_whatever_noise_and_seat_are() -> None:
    pairs = [pair(f"ask {n}") for n in range(40)]
    noisy, silent = (list(Pool(MEMBERS, p).draws(pairs)) for p in (0.25, 0.0))
    assert [draw.member for draw in noisy] == [draw.member for draw in silent]
    assert {draw.member for draw in silent} == {0, 1, 2}


@pytest.mark.parametrize("p", [0.0, 0.1, 0.25, 0.5])
def test_noise_is_drawn_twice_as_often_as_labels_turn(p: float) -> None:
    draws = list(Pool(MEMBERS, p).draws([pair(f"ask {n}") for n in range(4000)]))
    drawn = Counter(draw.label for draw in draws)
    assert abs(sum(draw.noise for draw in draws) / 4000 - 2 * p) < 0.03
    assert abs(drawn[1] - drawn[2]) < 4 * 4000**0.5
    assert sum(len(draw.firsts) for draw in draws) == drawn[None]  # one call for each that is no noise


@given(st.text(max_size=20), st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20), st.integers(0, 99))
def test_turning_a_pair_turns_its_seat_with_it(asked: str, one: str, two: str, seed: int) -> None:
    if one == two:
        return
    pool = Pool(MEMBERS, 0.0)
    (given_order,), (other,) = (
        list(pool.draws([p], seed=seed)) for p in (pair(asked, one, two), turned(pair(asked, one, two)))
    )
    assert given_order.firsts == tuple(not first for first in other.firsts)
    assert given_order.member == other.member
    (both,) = Pool(MEMBERS, 0.0, seat_mode="both_orders").draws([pair(asked, one, two)], seed=seed)
    assert both.firsts == (True, False)


def test_pairs_on_one_prompt_have_noise_of_their_own_and_the_first_that_of_alpaca_farm() -> None:
    pairs = [pair(SUM, f"{n}", "four") for n in range(400)]
    labels = [draw.label for draw in Pool(MEMBERS, 0.25).draws(pairs)]
    assert labels[0] == 2
    assert 150 < sum(label is None for label in labels) < 250
    assert {1, 2} < set(labels)
    alone = [next(iter(Pool(MEMBERS, 0.25).draws([one]))).label for one in pairs]
    assert set(alone) == {2}  # as AlpacaFarm has it: by the instruction


def test_votes_are_those_of_the_seeds_that_follow() -> None:
    pairs = [pair(f"ask {n}") for n in range(50)]
    pool = Pool(MEMBERS, 0.25)
    both = list(pool.draws(pairs, seed=7, votes=2))
    for vote in (0, 1):
        alone = pool.draws(pairs, seed=7 + vote)
        assert [draw._replace(vote=0) for draw in both if draw.vote == vote] == list(alone)


@given(st.lists(st.tuples(st.text(max_size=4), st.text(max_size=4)), min_size=1, max_size=12), st.integers(0, 9))
def test_what_comes_later_changes_no_draw(texts: list[tuple[str, str]], seed: int) -> None:
    pairs = [pair(f"ask {n % 3}", one, two) for n, (one, two) in enumerate(texts)]
    whole = list(Pool(MEMBERS, 0.25).draws(pairs, seed=seed))
    for count in range(1, len(pairs)):
        assert list(Pool(MEMBERS, 0.25).draws(pairs[:count], seed=seed)) == whole[:count]


def test_noise_of_length_takes_the_longer_answer() -> None:
    pairs = [pair(f"ask {n}", "short", "a longer answer") for n in range(200)]
    labels = Counter(draw.label for draw in Pool(MEMBERS, 0.25, "length").draws(pairs))
    assert labels[1] == 0
    assert 70 < labels[2] < 130
    (tie,) = Pool(MEMBERS, 0.5, "length").draws([pair("x", "aa", "bb")])
    assert tie.label in (1, 2)


def test_noise_of_difficulty_strikes_answers_that_are_alike() -> None:
    alike = [pair(f"a {n}", "the same words here", "the same words there") for n in range(300)]
    apart = [pair(f"b {n}", "one thing", "quite another matter") for n in range(300)]
    draws = list(Pool(MEMBERS, 0.25, "difficulty").draws([*alike, *apart]))
    assert abs(sum(draw.noise for draw in draws[:300]) / 300 - 0.75) < 0.08
    assert abs(sum(draw.noise for draw in draws[300:]) / 300 - 0.25) < 0.08


@given(
    st.lists(st.tuples(st.text("ab ", max_size=6), st.text("ab ", max_size=6)), min_size=1, max_size=30),
    st.floats(0, 0.5),
)
def test_noise_of_difficulty_keeps_the_mean_whatever_the_answers(texts: list[tuple[str, str]], p: float) -> None:
    pairs = [pair(f"ask {n}", one, two) for n, (one, two) in enumerate(texts)]
    rates = Pool(MEMBERS, p, "difficulty")._rates(pairs)
    assert sum(rates) / len(rates) == pytest.approx(p)
    assert all(-1e-12 <= rate <= 0.5 + 1e-12 for rate in rates)


@pytest.mark.parametrize("p", [0.51, 1.0, -0.1, float("nan")])
def test_a_label_flip_above_a_half_is_refused(p: float) -> None:
    with pytest.raises(ConfigError, match="p_label_flip"):
        Pool(MEMBERS, p)


def test_a_pool_has_members_that_differ_and_one_is_enough() -> None:
    with pytest.raises(ConfigError, match="one member at least"):
        Pool([])
    with pytest.raises(ConfigError, match="the name 'first' is there 2 times"):
        Pool([MEMBERS[2], MEMBERS[2]])
    with pytest.raises(ConfigError, match="the annotator 'other' is there 2 times"):
        Pool([BuiltinJudge("first", name="other"), MEMBERS[2]])
    assert len(Pool(MEMBERS[:1]).members) == 1


@given(st.integers(0, 40), st.integers(1, 7))
def test_calls_hold_everything_once_and_are_the_same_again(count: int, most: int) -> None:
    calls = asked_together(range(count), most, "ann", 3)
    assert sorted(item for call in calls for item in call) == list(range(count))
    assert all(len(call) == most for call in calls[:-1])
    assert calls == asked_together(range(count), most, "ann", 3)
    if most == 1:
        assert calls == [[n] for n in range(count)]


# ---------------------------------------------------------------------- several pairs in one call


def several(batch: int = 3, answer: str = "Choices: 1 2 1") -> PairsJudge:
    model = ScriptedModel("m", lambda request: answer)
    return PairsJudge(model, template="annotator_guideline", batch=batch, sampling=Sampling(1.0), name="ann")


SEATED = [pair(f"ask {n}")[:3] for n in range(3)]


def test_the_answer_of_each_pair_is_read_in_order_and_the_first_has_the_cost() -> None:
    judge = several()
    completion = Completion("Choices: 1 2 1", tokens_in=90, tokens_out=5, usd=0.3, seconds=2.0, calls=2)
    verdicts = judge.read_all(SEATED, completion)
    assert [verdict.outcome for verdict in verdicts] == [Outcome.A, Outcome.B, Outcome.A]
    assert [verdict.key for verdict in verdicts] == [judge.key(*one) for one in SEATED]
    assert [(v.calls, v.usd, v.tokens_in, v.seconds) for v in verdicts] == [(2, 0.3, 90, 2.0)] + [(0, 0.0, 0, 0.0)] * 2


@pytest.mark.parametrize("said", ["Choices: 1 2", "Choices: 1 2 1 1", "1 2 1", "Choices: 1 2 3", ""])
def test_another_count_or_form_decides_no_pair(said: str) -> None:
    verdicts = several().read_all(SEATED, Completion(said, status=Status.OK if said else Status.EMPTY))
    assert {verdict.status for verdict in verdicts} == {Status.UNPARSED if said else Status.EMPTY}
    if said.startswith("Choices") and "3" not in said:
        assert "where 3 pairs" in (verdicts[0].error or "")


@pytest.mark.parametrize("name", template_names("pairs"))
def test_choices_come_as_one_json_object_where_that_is_asked_for(name: str) -> None:
    model = ScriptedModel("m", lambda request: "")
    template = load_template(name, layout="pairs")
    judge, plain = (
        PairsJudge(model, template=template, batch=3, sampling=Sampling(), verdict=verdict)
        for verdict in ("json", "text")
    )
    request = judge.request_all(SEATED, "key", secret="s", seed=1)
    assert request.schema is not None
    assert request.schema["properties"]["choices"]["items"] == {"type": "integer", "enum": [1, 2]}
    text = request.messages[0]["content"]
    assert ("JSON object alone" in text, "(3 in all)" in text, "Choices: ?" in text) == (True, True, False)
    assert judge.fingerprint != plain.fingerprint
    read = judge.read_all(SEATED, Completion('{"explanation": "well", "choices": [2, 1, 2]}'))
    assert [verdict.outcome for verdict in read] == [Outcome.B, Outcome.A, Outcome.B]
    odd = ("[1, 2]", '["1", 2, 1]', "[1, 2, 1.0]", "[true, 2, 1]", "[0, 2, 1]", "[]", "12", "[1, 2, 1, 1]")
    for choices in odd:
        (first, *_) = judge.read_all(SEATED, Completion(f'{{"explanation": "well", "choices": {choices}}}'))
        assert first.status is Status.UNPARSED, choices
    assert judge.read_all(SEATED, Completion("Choices: 1 2 1"))[0].status is Status.UNPARSED


def test_the_words_of_text_are_those_under_whose_hash_verdicts_are_stored() -> None:
    """Hashes of these words before the files asked for JSON as well."""
    said = {
        name: blake2b(
            replace_template(name).request_all(SEATED, "key", secret="s", seed=1).messages[0]["content"].encode(),
            digest_size=8,
        ).hexdigest()
        for name in template_names("pairs")
    }
    assert said == WORDS


def test_who_it_is_depends_on_model_words_decoding_and_pairs_in_a_call() -> None:
    one = several()
    assert one.fingerprint == several().fingerprint
    others = [several(batch=4), one.repeated(1), one.repeated(2)]
    assert len({one.fingerprint, *(other.fingerprint for other in others)}) == 4
    assert one.repeated(1).key(*SEATED[0]) != one.key(*SEATED[0])


@pytest.mark.parametrize("name", template_names("pairs"))
@pytest.mark.parametrize("count", [1, 5])
def test_the_shipped_words_show_every_pair_and_say_how_many_choices_are_wanted(name: str, count: int) -> None:
    judge = replace_template(name)
    seated = [pair(f"question {n}", f"first of {n}", f"second of {n}")[:3] for n in range(count)]
    (message,) = judge.request_all(seated, "key", secret="s", seed=1).messages
    text = message["content"]
    assert all(said in text for n in range(count) for said in (f"question {n}", f"first of {n}", f"second of {n}"))
    assert text.rstrip().endswith("Choices:" + " ?" * count + "\nEach ? is 1 or 2.")
    assert f"({count} in all)" in text


def replace_template(name: str) -> PairsJudge:
    template = load_template(name, ("I like it brief.",), layout="pairs")
    assert template.criteria
    return PairsJudge(ScriptedModel("m", lambda request: ""), template=template, batch=5, sampling=Sampling())


def test_given_turns_are_shown_with_the_users() -> None:
    prompt = Prompt(
        (
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": "hi"},
            {"role": "user", "content": "go"},
        )
    )
    seated = prompt, Response(prompt.id, "a", ("x",)), Response(prompt.id, "b", ("y",))
    text = several().request(*seated, secret="s", seed=0).messages[0]["content"]
    assert "user: hello\n\nassistant: hi\n\nuser: go" in text
    assert several().read(*seated, Completion("Choices: 2")).prompt_id == prompt.id
    two = Response(prompt.id, "a", ("x", "z"))
    with pytest.raises(ValueError, match="single turn"):
        several().request(replace(prompt, follow_ups=("more",)), two, two, secret="s", seed=0)
