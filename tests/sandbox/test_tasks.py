from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arenaloop.errors import ConfigError
from arenaloop.sandbox.tasks import FAMILIES, SPLITS, draw, edit_distance, parse, split_of, utility

SOLVED = {
    "repeat: kalom": "kalom",
    "reverse: kalom": "molak",
    "uppercase: kalom": "KALOM",
    "spell: kalom": "k-a-l-o-m",
    "double: kal": "kkaall",
    "vowels: kalom": "ao",
    "consonants: kalom": "klm",
    "plural: kalo": "kalos",
    "plural: kax": "kaxes",
    "plural: kaly": "kalies",
    "swap: red box": "box red",
    "initials: red old box": "rob",
    "larger: 98 107": "107",
    "next: 1999": "2000",
}


@pytest.mark.parametrize(("prompt", "answer"), SOLVED.items())
def test_top_answers(prompt: str, answer: str) -> None:
    task = parse(prompt)
    assert task is not None
    assert task.answer == answer
    assert utility(prompt, answer) == 1.0
    assert utility(prompt, f" {answer}\n") == 1.0


def test_every_family_is_solved_above() -> None:
    assert {prompt.split(":")[0] for prompt in SOLVED} == set(FAMILIES)


@pytest.mark.parametrize("text", ["", "Hello", "reverse kalom", "reverse: Kalom", "swap: one", "larger: a b", "next: "])
def test_texts_outside_the_world(text: str) -> None:
    assert parse(text) is None
    assert utility(text, "anything") is None


def test_draws_are_reproducible_unique_and_prefix_stable() -> None:
    tasks = draw(600, seed=3)
    texts = [task.prompt.last_user for task in tasks]
    assert len(set(texts)) == 600
    assert draw(200, seed=3) == tasks[:200]
    assert draw(200, seed=4) != tasks[:200]
    assert {task.family for task in tasks} == set(FAMILIES)


@given(seed=st.integers(0, 2**32), split=st.sampled_from(SPLITS))
@settings(max_examples=20, deadline=None)
def test_splits_are_disjoint_for_any_seed(seed: int, split: str) -> None:
    for task in draw(40, seed, split):
        assert split_of(task.prompt.last_user) == split == task.prompt.tags["split"]
        assert parse(task.prompt.last_user) == task


def test_splits_have_the_promised_sizes() -> None:
    shares = [split_of(f"reverse: w{index}") for index in range(20_000)]
    assert shares.count("dev") / 20_000 == pytest.approx(0.1, abs=0.01)
    assert shares.count("test") / 20_000 == pytest.approx(0.1, abs=0.01)


def test_exclude_and_weights() -> None:
    used = {task.prompt.last_user for task in draw(300, seed=0)}
    assert not used & {task.prompt.last_user for task in draw(300, seed=0, exclude=used)}
    families = [task.family for task in draw(400, 0, weights={"repeat": 3.0, "next": 1.0, "swap": 0.0})]
    assert set(families) == {"repeat", "next"}
    assert families.count("repeat") == pytest.approx(300, abs=40)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 1, "seed": 0, "split": "tset"}, "did you mean 'test'"),
        ({"n": -1, "seed": 0}, "negative"),
        ({"n": 1, "seed": 0, "weights": {"revers": 1.0}}, "did you mean 'reverse'"),
        ({"n": 1, "seed": 0, "weights": {"reverse": 0.0}}, "nothing to draw"),
        ({"n": 1, "seed": 0, "weights": {"reverse": -1.0}}, "negative"),
    ],
)
def test_bad_draws_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        draw(**arguments)  # type: ignore[arg-type]


def test_an_exhausted_family_is_an_error_not_an_endless_loop() -> None:
    with pytest.raises(ConfigError, match="too few"):
        draw(1_100, 0, "dev", weights={"next": 1.0})  # 9,900 numbers, 10 % of them in the dev split


def test_utility_is_graded() -> None:
    prompt = "reverse: kalom"
    one_slip, two_slips = utility(prompt, "molax"), utility(prompt, "mplax")
    assert one_slip is not None
    assert two_slips is not None
    # similarity 4/5: 0.1 for the form + 0.75 · (0.8 - 0.3) / 0.7
    assert one_slip == pytest.approx(0.1 + 0.75 * 0.5 / 0.7)
    assert 1.0 > one_slip > two_slips > 0.1
    assert utility(prompt, "") == 0.0
    assert utility(prompt, "!!!") == 0.0
    assert utility(prompt, "I do not know, sorry. " * 500) == 0.0
    assert utility(prompt, "zzzzz") == pytest.approx(0.1)  # the form alone


def test_numbers_are_graded_by_distance() -> None:
    near, far = utility("next: 500", "502"), utility("next: 500", "901")
    assert near is not None
    assert far is not None
    assert 1.0 > near > far
    # one digit of three is wrong, and 1 of 501 is missing
    assert near == pytest.approx(0.1 + 0.75 * (0.5 * (2 / 3 - 0.3) / 0.7 + 0.5 * (1 - 1 / 501)))


@given(st.sampled_from(sorted(FAMILIES)), st.integers(0, 50), st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_utility_is_one_for_the_answer_alone(family: str, seed: int, text: str) -> None:
    task = draw(1, seed, weights={family: 1.0})[0]
    value = utility(task.prompt.last_user, text)
    assert value is not None
    if text.strip() == task.answer:
        assert value == 1.0
    else:
        assert 0.0 <= value <= 0.85


def _naive_distance(a: str, b: str) -> int:
    if not a or not b:
        return len(a) + len(b)
    if a[0] == b[0]:
        return _naive_distance(a[1:], b[1:])
    return 1 + min(_naive_distance(a[1:], b), _naive_distance(a, b[1:]), _naive_distance(a[1:], b[1:]))


def test_edit_distance_textbook_value() -> None:
    assert edit_distance("kitten", "sitting") == 3


@given(st.text("ab", max_size=5), st.text("abc", max_size=5))
def test_edit_distance_agrees_with_its_definition(a: str, b: str) -> None:
    assert edit_distance(a, b) == _naive_distance(a, b)
