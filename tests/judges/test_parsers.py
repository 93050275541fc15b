"""What of a judge's answer counts, in each form and mode."""

from __future__ import annotations

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.judges.answer_json import parse_json
from arenaloop.judges.answer_lines import (
    LABELS,
    Form,
    parse_choices,
    parse_first_line,
    parse_label,
    parse_labels,
    parse_score,
    parse_scores,
    parse_winner,
)
from arenaloop.judges.label_logprobs import (
    SEAT_LABELS,
    DecidingLabel,
    Tokens,
    UndecidedError,
    _deciding,
    label_shares,
)
from arenaloop.judges.parsers import FORMS, parser_for
from arenaloop.types import Completion, Status

# ---------------------------------------------------------------------- a line of scores, last or first

ACCEPTED = {
    "Scores: 7 5": (7, 5),
    "scores: 7 5": (7, 5),
    "SCORE: 7 5": (7, 5),
    "Scores = 7 5": (7, 5),
    "Scores:7 5": (7, 5),
    "Scores : 7 5": (7, 5),
    "Scores: 7, 5": (7, 5),
    "Scores: 7,5": (7, 5),
    "Scores: 7; 5": (7, 5),
    "Scores: 7 | 5": (7, 5),
    "Scores: 7 & 5": (7, 5),
    "Scores: 7 and 5": (7, 5),
    "Scores: 7/10 5/10": (7, 5),
    "Scores: 7/10, 5/10": (7, 5),
    "Scores: 7 / 10 and 5 / 10": (7, 5),
    "Scores: 7.5 5.25": (7.5, 5.25),
    "Scores: 10 1": (10, 1),
    "Scores: 10/10 1/10": (10, 1),
    "**Scores: 7 5**": (7, 5),
    "**Scores:** 7 5": (7, 5),
    "**Scores:** **7** **5**": (7, 5),
    "*Scores: 7 5*": (7, 5),
    "`Scores: 7 5`": (7, 5),
    "### Scores: 7 5": (7, 5),
    "> Scores: 7 5": (7, 5),
    "- Scores: 7 5": (7, 5),
    "__Scores: 7 5__": (7, 5),
    "  Scores: 7 5  ": (7, 5),
    "I like the first.\n\nScores: 7 5": (7, 5),
    "I like the first.\r\nScores: 7 5\r\n\r\n": (7, 5),
    "Scores: 1 2\nScores: 7 5\n\n  \t\n": (7, 5),
}
REFUSED = [
    "",
    "   \n ",
    "Scores: 7",
    "Scores: 75",
    "Scores: 7 5 3",
    "Scores: 0 5",
    "Scores: 7 11",
    "Scores: 7 10.5",
    "Scores: 0.9 5",
    "Scores: -7 5",
    "Scores: 7 -5",
    "Scores: seven five",
    "Scores: 7/5 3/5",
    "Scores: 7/100 5/100",
    "Scores: 7 5 because the first is better",
    "My Scores: 7 5",
    "Final scores: 7 5",
    "The last line is Scores: 7 5",
    "Scores: 7 5\nThank you!",
    "Scores: 7 5\n```\nsomething",
    "Scores 7 5",
    "Score A: 7 Score B: 5",
    "7 5",
    "[[7]] [[5]]",
    '{"scores": [7, 5]}',
    "Scores: [7, 5]",
    "Scores: 1e1 5",
    "Scores: 7..5 5",
    "Scores: nan 5",
    "Scores: inf 5",
    "Scores: ٧ ٥",
    "ſcores: 7 5",
    "Scores: 7 5 " + "x" * 500,
    "Assistant 1 wins",
]


def label_probability(tokens: Tokens, which: DecidingLabel = "first", least: float = 0.0) -> float | None:
    """Probability that the first seat is preferred, ``p_1 / (p_1 + p_2)``; None where the labels decide nothing."""
    try:
        return label_shares(tokens, SEAT_LABELS, which, least)["1"]
    except UndecidedError:
        return None


@pytest.mark.parametrize("text", ACCEPTED)
def test_accepted(text: str) -> None:
    assert parse_scores(text) == ACCEPTED[text]


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text: str) -> None:
    assert parse_scores(text) is None


@given(
    st.text(max_size=60),
    st.integers(10, 100).map(lambda n: n / 10),
    st.integers(10, 100).map(lambda n: n / 10),
    st.sampled_from([" ", ", ", "; ", " and ", " | "]),
    st.sampled_from(["", "/10"]),
)
def test_any_explanation_may_stand_before(before: str, one: float, two: float, between: str, of: str) -> None:
    assert parse_scores(f"{before}\nScores: {one:g}{of}{between}{two:g}{of}") == (one, two)


@given(st.text(max_size=60).filter(str.strip))
def test_a_line_after_the_scores_undoes_them(after: str) -> None:
    text = f"Scores: 9 1\n{after}"
    assert parse_scores(text) == parse_scores(after)
    assert parse_scores(text) != (9, 1) or parse_scores(after) == (9, 1)


@given(st.text("Scores: 17/05.,;&|and*_`#>-\n\t", max_size=40))
def test_whatever_is_read_is_a_score_and_stands_in_the_last_line(text: str) -> None:
    found = parse_scores(text)
    if found is not None:
        assert all(1 <= score <= 10 for score in found)
        last = text.rstrip().splitlines()[-1]
        numbers = [float(n) for n in re.findall(r"\d+(?:\.\d+)?", re.sub(r"[*_`]", "", last))]
        assert set(found) <= set(numbers)


def test_a_hostile_line_is_read_in_linear_time() -> None:
    assert parse_scores("Scores: " + "1" * 100_000) is None
    assert parse_scores("*_`# >-" * 50_000) is None
    assert parse_scores("Scores: 7 5" + " " * 100_000) == (7, 5)


def test_the_first_line_is_read_as_strictly_as_the_last() -> None:
    for text, scores in ACCEPTED.items():
        if "\n" not in text.strip():
            assert parse_first_line(text) == scores
            assert parse_first_line(f"\n \n{text}\nAnswer 2 ends with\nScores: 1 10") == scores
    for text in REFUSED:
        if "\n" not in text:
            assert parse_first_line(text) is None
            assert parse_first_line(f"{text}\nScores: 7 5") in (None, (7, 5))
    assert parse_first_line("Here they are.\nScores: 7 5") is None
    assert parse_first_line("Scores: 7 5\nThank you!") == (7, 5)
    assert parse_first_line("Scores: 7 5 " + " " * 100_000) is None  # a line too long to be one


@given(st.text(max_size=60))
def test_nothing_after_the_first_line_counts(after: str) -> None:
    assert parse_first_line(f"Scores: 9 1\n{after}") == (9, 1)


# ---------------------------------------------------------------------- labels


@pytest.mark.parametrize("label", LABELS)
def test_five_labels(label: str) -> None:
    first = LABELS[label]
    for line in (f"[[{label}]]", f"**[[{label}]]**", f"  [[ {label} ]] ", f"> `[[{label}]]`"):
        assert parse_labels(f"I compared them.\n\n{line}\n") == (first, 1 - first)


@pytest.mark.parametrize(
    "text",
    ["", "A>B", "[A>B]", "[[A]]", "[[A<B]]", "[[B=A]]", "[[A>A]]", "[[B>>B]]", "[[a>b]]", "[[A>>>B]]", "[[C>B]]",
     "[[A>B]] [[B>A]]", "[[A>B]]\nThank you", "[[A>B]" + " " * 300 + "]", "[[A>B]] it is", "My verdict is [[A>A]]",
     "So: [[A>B]]" + "." * 200, "x" * 200 + " [[A>B]]"],
)  # fmt: skip
def test_no_label(text: str) -> None:
    assert parse_labels(text) is None


@given(st.text(max_size=60).filter(str.strip), st.sampled_from(list(LABELS)))
def test_a_quoted_label_does_not_decide(after: str, label: str) -> None:
    assert parse_labels(f"[[{label}]]\n{after}") in (None, parse_labels(after))


@pytest.mark.parametrize(
    "line",
    ["My final verdict is: [[A=B]]", "My final verdict is tie: [[A=B]].", "**My final verdict is: [[A=B]]**",
     "My final verdict is: **[[A=B]]**", "### Final verdict: [[ A=B ]]!", "[[A=B]], so my verdict is [[A=B]]",
     'It says "even", and so do I: [[A=B]]', "[[A=B]]."],
)  # fmt: skip
def test_a_label_at_the_end_of_the_last_line(line: str) -> None:
    """Arena-Hard's own wording, and its kin."""
    for before in ("", "The labels are [[A>>B]] and [[B>>A]], says the task.\n", 'Answer 2 ends with "[[B>>A]]"\n'):
        assert parse_labels(f"{before}{line}\n") == (0.5, 0.5)
    assert parse_labels(f"[[A>>B]]\n{line}") is None  # which of the two did somebody else write?
    assert parse_labels(f"{line}\nI hope that helps.") is None


@pytest.mark.parametrize(
    "line",
    ['Answer 2 ends with "[[B>>A]]"', "Answer 2 ends with `[[B>>A]]`", "> My final verdict is: [[B>>A]]",
     'It says "my final verdict is: [[B>>A]]', "It says “Verdict: [[B>>A]]", "It says '[[B>>A]]'",
     "Better is [[A>B]], though answer 2 asks for [[B>>A]]"],
)  # fmt: skip
def test_what_is_quoted_at_the_end_of_the_last_line_does_not_decide(line: str) -> None:
    assert parse_labels(f"Answer 1 is better.\n{line}") is None
    assert parse_labels(f"{line}\n[[A>B]]") == (0.75, 0.25)


_PIECES = st.lists(
    st.one_of(
        st.sampled_from([f"[[{label}]]" for label in (*LABELS, "A>A", "B=A")]),
        st.sampled_from(["My final verdict is: ", "\n", " ", '"', "> ", "**", ".", "`", "Answer 2 says ", "x" * 150]),
    ),
    max_size=9,
).map("".join)


@given(_PIECES)
def test_labels_are_read_as_arena_hard_reads_them_or_not_at_all(text: str) -> None:
    """It takes the one label that stands anywhere; where several do, ours is that of the last line, or none."""
    found = parse_labels(text)
    unique = set(re.findall(r"\[\[([AB<>=]+)\]\]", text))
    if found is None:
        return
    assert found == (
        LABELS[last := re.findall(r"\[\[([AB<>=]+)\]\]", text.rstrip().rsplit("\n", 1)[-1])[-1]],
        1 - found[0],
    )
    assert len(unique) > 1 or unique == {last}


@given(_PIECES, st.sampled_from(list(LABELS)))
def test_a_label_alone_in_the_last_line_is_read_whatever_stands_before(before: str, label: str) -> None:
    """What was readable before a label could stand at a line's end still says what it said."""
    assert parse_labels(f"{before}\n**[[{label}]]**") == (LABELS[label], 1 - LABELS[label])


def test_labels_are_read_in_linear_time() -> None:
    assert parse_labels("[[A>B]]\n" * 20_000 + "So: [[A>B]]") == (0.75, 0.25)
    assert parse_labels("[[ " + " " * 100_000) is None
    assert parse_labels("[[A>B]]" * 28) == (0.75, 0.25)


def test_the_label_of_a_seat() -> None:
    assert parse_label("Explained.\n1") == (1, 0)
    assert parse_label("**2**\n") == (0, 1)
    for text in ("", "3", "12", "1 2", "1.", "A", "Answer 1", "1\nbecause"):
        assert parse_label(text) is None


# ---------------------------------------------------------------------- JSON

GOOD = {"explanation": "fine", "score_1": 7, "score_2": 5.5}


@pytest.mark.parametrize("form", ["scores", "first_line", "json"])
def test_a_json_answer(form: str) -> None:
    for text in (
        json.dumps(GOOD),
        json.dumps(GOOD, indent=2),
        json.dumps(dict(reversed(GOOD.items()))),
        f"\n```json\n{json.dumps(GOOD)}\n```\n",
        f"```\n{json.dumps(GOOD, indent=2)}\n```",
    ):
        assert parse_json(text, form) == (7, 5.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[7, 5]",
        "Scores: 7 5",
        json.dumps(GOOD) + "\nScores: 1 9",
        "Sure: " + json.dumps(GOOD),
        f"Here it is:\n```json\n{json.dumps(GOOD)}\n```",
        f"```json\n{json.dumps(GOOD)}\n```\n```json\n{json.dumps(GOOD)}\n```",
        f"```python\n{json.dumps(GOOD)}\n```",
        json.dumps(GOOD) + json.dumps(GOOD),
        json.dumps({"score_1": 7, "score_2": 5}),
        json.dumps(GOOD | {"winner": "A"}),
        json.dumps(GOOD | {"explanation": None}),
        json.dumps(GOOD | {"explanation": ["a"]}),
        json.dumps(GOOD | {"score_1": "7"}),
        json.dumps(GOOD | {"score_1": True}),
        json.dumps(GOOD | {"score_1": None}),
        json.dumps(GOOD | {"score_1": [7]}),
        json.dumps(GOOD | {"score_1": 0}),
        json.dumps(GOOD | {"score_2": 10.5}),
        json.dumps(GOOD | {"score_2": -5}),
        json.dumps(GOOD | {"score_2": float("nan")}),
        json.dumps(GOOD | {"score_2": float("inf")}),
        '{"explanation": "", "score_1": 7, "score_2": 5, "score_1": 9}',  # which of them?
        '{"explanation": "", "score_1": 7, "score_2": 1' + "0" * 5000 + "}",
        "[" * 100_000,
        json.dumps(GOOD)[:-1],
    ],
)
def test_no_json_verdict(text: str) -> None:
    assert parse_json(text) is None


def test_json_labels() -> None:
    for label, first in LABELS.items():
        assert parse_json(json.dumps({"explanation": "", "label": label}), "labels") == (first, 1 - first)
    assert parse_json('{"explanation": "", "label": "2"}', "label") == (0, 1)
    for value in ("A", "a>b", 1, None, ["A>B"]):
        assert parse_json(json.dumps({"explanation": "", "label": value}), "labels") is None
    assert parse_json('{"explanation": "", "label": "1"}', "labels") is None
    assert parse_json(json.dumps(GOOD), "labels") is None


@pytest.mark.parametrize("form", FORMS)
def test_what_the_schema_asks_for_is_what_is_read(form: str) -> None:
    """Any object of the schema is read; one with a further or a missing key is not."""
    parser = parser_for(form, "json")  # type: ignore[arg-type]
    schema = parser.schema
    assert schema is not None
    assert not schema["additionalProperties"]
    assert schema["required"] == list(schema["properties"])
    made = {
        name: "x" if name == "explanation" else field["enum"][0] if "enum" in field else 7
        for name, field in schema["properties"].items()
    }
    assert parser.read(Completion(json.dumps(made))) is not None
    for name in made:
        less = {key: value for key, value in made.items() if key != name}
        assert parser.read(Completion(json.dumps(less))) is None
    explained_first = next(iter(made)) == "explanation"
    assert explained_first == (form != "first_line")


# ---------------------------------------------------------------------- log-probabilities


def test_golden_e1() -> None:
    """As AlpacaEval weighs labels: lp_1 -0.1, lp_2 -2.4 is 0.908877."""
    tokens = [{"1": -0.1, "2": -2.4, "The": -5.0}]
    assert label_probability(tokens) == pytest.approx(0.908877, abs=1e-6)
    assert label_probability([{"I": -0.1, "The": -2.4}]) is None
    assert label_probability([]) is None


def test_a_label_that_is_not_listed_is_bounded_and_not_zero() -> None:
    # by the least likely alternative that is listed, 0.117 against 0.05
    torn = [{"1": math.log(0.117), "The": math.log(0.1), "It": math.log(0.05)}]
    assert label_probability(torn) == pytest.approx(0.117 / (0.117 + 0.05))
    assert label_probability([{"2" if text == "1" else text: lp for text, lp in torn[0].items()}]) == pytest.approx(
        0.05 / (0.117 + 0.05)
    )
    # or by what the listed ones leave: 1 - 0.9 - 0.08
    sure = [{"1": math.log(0.9), "The": math.log(0.08)}]
    assert label_probability(sure) == pytest.approx(0.9 / 0.92)
    found = _deciding(torn, SEAT_LABELS, "first")
    assert found is not None
    assert tuple(found[1].masses.values()) == (pytest.approx(0.117), None)


def test_labels_that_hold_too_little_decide_nothing_and_say_so() -> None:
    torn = Completion("1", logprobs=({"1": math.log(0.117), "The": math.log(0.1)},))
    assert label_probability(torn.logprobs or (), least=0.116) is not None
    parser = parser_for("scores", "logprob")
    assert parser.read(torn) is None
    assert parser.why_not(torn) == "the labels hold 0.117 of the probability, less than label_mass 0.2"
    assert parser_for("scores", "logprob", "first", 0.1).read(torn) is not None
    assert parser.why_not(Completion("The", logprobs=({"The": -0.1},))) == "no token of the answer is a label"


@given(st.floats(0.001, 0.999), st.integers(1, 4), st.floats(0, 1))
def test_the_bound_holds_whatever_the_server_left_out(one: float, listed: int, share: float) -> None:
    """The truth with both labels listed lies between the bounded share and certainty."""
    two = (1 - one) * share / (listed + 1)  # less likely than each of the others, which share the rest
    others = {f"w{n}": math.log((1 - one - two) / listed) for n in range(listed)}
    if two <= 0 or one < max(math.exp(lp) for lp in others.values()):
        return
    bounded = label_probability([{"1": math.log(one), **others}])
    assert bounded is not None
    assert bounded <= one / (one + two) + 1e-9


def test_which_token_decides() -> None:
    blank, one, two, word = {"\n": -0.01, "1": -5.0}, {"1": -0.1, "2": -3.0}, {" 2": -0.2, "1": -2.0}, {"so": -0.1}
    first = math.exp(-0.1) / (math.exp(-0.1) + math.exp(-3.0))
    last = math.exp(-2.0) / (math.exp(-2.0) + math.exp(-0.2))
    assert label_probability([blank, one, word, two, word]) == pytest.approx(first)
    assert label_probability([blank, one, word, two, word], "last") == pytest.approx(last)
    # labels that are torn between the seats are likelier together than the one word before either of them
    assert label_probability([{"Both": -1.0, "1": -1.2, "2": -1.2}]) == pytest.approx(0.5)
    assert label_probability([{"Both": -0.3, "1": -2.0, "2": -2.0}]) is None


def test_alternatives_are_matched_bare_and_add_up() -> None:
    share = 2 * math.exp(-1.5) / (2 * math.exp(-1.5) + math.exp(-2.0))
    assert label_probability([{"1": -1.5, " 1": -1.5, "2\n": -2.0, "12": -3.0, "1.": -3.0}]) == pytest.approx(share)


def test_odd_numbers_of_a_server() -> None:
    assert label_probability([{"1": float("-inf"), "2": -0.1}]) == 0.0
    assert label_probability([{"1": float("nan"), "2": -0.1}]) == label_probability([{"2": -0.1}])
    assert label_probability([{"1": 0.5, "2": -50.0}]) == pytest.approx(1.0)  # rounding above 0 is certainty
    assert label_probability([{"1": -9999.0, "2": -9999.0}]) is None


LOGPROBS = st.lists(
    st.dictionaries(st.sampled_from(["1", "2", " 1", "2 ", "A", "the", ""]), st.floats(-20, 0), max_size=5), max_size=6
)


@given(LOGPROBS, st.sampled_from(["first", "last"]))
def test_swapping_the_labels_mirrors_the_probability(tokens: list[dict[str, float]], which: str) -> None:
    flip = str.maketrans("12", "21")
    there = label_probability(tokens, which)  # type: ignore[arg-type]
    back = label_probability([{k.translate(flip): v for k, v in t.items()} for t in tokens], which)  # type: ignore[arg-type]
    assert (there is None) == (back is None)
    if there is not None and back is not None:
        assert 0 <= there <= 1
        assert there + back == pytest.approx(1)


@given(LOGPROBS, st.sampled_from(["first", "last"]), st.text(max_size=20))
def test_what_is_kept_of_an_answer_reads_the_same(tokens: list[dict[str, float]], which: str, text: str) -> None:
    parser = parser_for("scores", "logprob", which)  # type: ignore[arg-type]
    said = Completion(text, logprobs=tuple(tokens))
    kept = parser.answer(parser.raw(said), Status.OK)
    assert (kept.text, kept.logprobs) == (text, said.logprobs)
    assert parser.read(kept) == parser.read(said)


def test_of_a_long_answer_the_deciding_end_is_kept() -> None:
    tokens = ({"1": -0.1}, *({"x": -0.1} for _ in range(500)), {"2": -0.1})
    share = math.exp(-0.1)  # the other label has at most what is left
    for which, scores in (("first", (share, 1 - share)), ("last", (1 - share, share))):
        parser = parser_for("scores", "logprob", which)  # type: ignore[arg-type]
        raw = parser.raw(Completion("long\n2", logprobs=tokens))
        assert len(raw) < 2000
        assert parser.read(parser.answer(raw, Status.OK)) == pytest.approx(scores)


@pytest.mark.parametrize("status", list(Status))
def test_only_whole_answers_are_read(status: Status) -> None:
    """Except where the first label token decides: what would have followed cannot change it."""
    said = Completion("1", status=status, logprobs=({"1": -0.1},))
    assert (parser_for("label").read(said) is not None) == (status is Status.OK)
    assert (parser_for("scores", "logprob", "last").read(said) is not None) == (status is Status.OK)
    assert (parser_for("scores", "logprob").read(said) is not None) == (status in (Status.OK, Status.TRUNCATED))


def test_without_log_probabilities_nothing_is_read() -> None:
    parser = parser_for("scores", "logprob")
    assert parser.top_logprobs == 20
    assert parser.read(Completion("1")) is None
    assert json.loads(parser.raw(Completion("1"))) == {"text": "1", "logprobs": None}
    with pytest.raises(ValueError, match="log-prob"):
        parser.answer('{"text": "1"}', Status.OK)


def test_parsers_are_told_apart_by_their_names() -> None:
    names = {
        parser_for(form, mode, which).name
        for form in FORMS
        if form != "pattern"
        for mode in ("text", "json", "logprob")
        for which in ("first", "last")
    }
    assert names == {
        "scores:1", "first_line:1", "labels:2", "label:1", "json:1", "json_labels:1", "json_label:1", "logprob:2",
        "logprob_last:2",
    }  # fmt: skip


# ---------------------------------------------------------------------- one score


@pytest.mark.parametrize(
    ("line", "score"),
    [
        ("Score: 4", 4),
        ("score = 0", 0),
        ("**Score:** 3.5", 3.5),
        ("> Score: 5/5.", 5),
        ("Score: 4 / 5", 4),
        ("Good.\n\nSCORE: 2\n \n", 2),
    ],
)
def test_a_score_on_the_last_line(line: str, score: float) -> None:
    assert parse_score(line) == score


@pytest.mark.parametrize(
    "line",
    [
        "",
        "4",
        "Score: 6",
        "Score: 5.1",
        "Score: -1",
        "Score: 4/10",
        "Score: 4 5",
        "Scores: 4",
        "Score: four",
        "Score: ٤",
        "ſcore: 4",
        "Score: nan",
        "Score: 4 since it is good",
        "Final score: 4",
        "Score: 4\nThank you!",
        "Score: 4" + " " * 500 + "x",
    ],
)
def test_what_is_no_score(line: str) -> None:
    assert parse_score(line) is None


def test_the_form_gives_the_range() -> None:
    assert parse_score("Score: 10/10", "score_10") == 10
    assert parse_score("Score: 7", "score_10") == 7
    assert parse_score("Score: 7") is None
    assert parse_score("Score: 4/5", "score_10") is None


@given(st.text(max_size=60), st.integers(0, 50).map(lambda n: n / 10), st.sampled_from(["", "/5", " / 5"]))
def test_any_reasons_may_stand_before_a_score(before: str, score: float, of: str) -> None:
    assert parse_score(f"{before}\nScore: {score:g}{of}") == score


@given(st.text(max_size=60).filter(str.strip), st.integers(0, 5))
def test_a_quoted_score_does_not_count(after: str, score: int) -> None:
    """Whatever line is the last one decides, and only as a score of its own."""
    last = after.rstrip().rsplit("\n", 1)[-1]
    assert parse_score(f"Score: {score}\n{after}") == parse_score(last)


SCORE_JSON = st.fixed_dictionaries(
    {"explanation": st.text(max_size=20)},
    optional={"score": st.integers(-2, 12) | st.floats() | st.booleans() | st.text(max_size=3), "more": st.none()},
)


@given(SCORE_JSON)
def test_a_score_as_json(value: dict[str, object]) -> None:
    read = parser_for("score", "json").read(Completion(json.dumps(value)))
    score = value.get("score")
    good = isinstance(score, int | float) and not isinstance(score, bool) and 0 <= score <= 5 and "more" not in value
    assert read == (score if good else None)


def test_a_cut_answer_has_no_score() -> None:
    for parser in (parser_for("score"), parser_for("score_10"), parser_for("choices")):
        assert parser.read(Completion("Score: 4", status=Status.TRUNCATED)) is None
    forms: tuple[Form, ...] = ("score", "score_10")
    names = {parser_for(form, mode).name for form in forms for mode in ("text", "json")}
    assert names == {"score:1", "score_10:1", "json_score:1", "json_score_10:1"}


# ---------------------------------------------------------------------- a winner, and several choices


@pytest.mark.parametrize(
    ("line", "first"),
    [
        ("Winner: A", 1),
        ("winner: b", 0),
        ("**Winner:** [[B]]", 0),
        ("Winner: Judgement A.", 1),
        ("Winner: [judgment B]", 0),
        ("A is careless.\nWinner = (A)\n", 1),
    ],
)
def test_a_winner_on_the_last_line(line: str, first: float) -> None:
    assert parse_winner(line) == (first, 1 - first)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "A",
        "Winner: C",
        "Winner: tie",
        "Winner: A B",
        "Winner: A and B",
        "The winner: A",
        "Winner: A\nor B",
        "Winner:",
    ],
)
def test_what_names_no_winner(line: str) -> None:
    assert parse_winner(line) is None


@given(st.text(max_size=60), st.sampled_from("AB"), st.sampled_from(["{}", "[{}]", "judgement {}", "**{}**"]))
def test_any_comparison_may_stand_before_a_winner(before: str, letter: str, form: str) -> None:
    assert parse_winner(f"{before}\nWinner: {form.format(letter)}") == ((1, 0) if letter == "A" else (0, 1))


def test_a_winner_as_json() -> None:
    parser = parser_for("winner", "json")
    assert parser.name == "json_winner:1"
    assert parser.schema is not None
    assert parser.schema["properties"]["winner"]["enum"] == ["A", "B"]
    assert parser.read(Completion('{"explanation": "", "winner": "B"}')) == (0, 1)
    for winner in ('"C"', '"a"', "1", "null", '["A"]'):
        assert parser.read(Completion(f'{{"explanation": "", "winner": {winner}}}')) is None


@given(st.text(max_size=30), st.lists(st.sampled_from("12"), min_size=1, max_size=8), st.sampled_from([" ", ", ", ";"]))
def test_choices(before: str, chosen: list[str], between: str) -> None:
    read = parse_choices(f"{before}\nChoices: {between.join(chosen)}")
    assert read == tuple((1.0, 0.0) if label == "1" else (0.0, 1.0) for label in chosen)
    assert parser_for("choices").read(Completion(f"Choices: {between.join(chosen)}")) == read


@pytest.mark.parametrize("line", ["", "Choices:", "Choices: 12", "Choices: 1 3", "Choices: 1 2 A", "1 2"])
def test_what_are_no_choices(line: str) -> None:
    assert parse_choices(line) is None
