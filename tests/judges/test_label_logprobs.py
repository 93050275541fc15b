"""Labels by their log-probabilities: the expectation over a scale, labels of two tokens, and what decides nothing."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.judges.label_logprobs import UndecidedError, expected_score, label_shares
from arenaloop.judges.parsers import parser_for, score_labels
from arenaloop.types import Completion, Status

FIVE, TEN = score_labels("score"), score_labels("score_10")


def token(**probabilities: float) -> dict[str, float]:
    return {text.lstrip("_"): math.log(probability) for text, probability in probabilities.items()}


def digits(*probabilities: float) -> dict[str, float]:
    return {str(n): math.log(p) for n, p in enumerate(probabilities) if p}


def score(*tokens: dict[str, float], written: str = "", form: str = "score_10", least: float = 0.2) -> float:
    return expected_score(tokens, FIVE if form == "score" else TEN, "first", least, written=written)


def test_golden_expectation() -> None:
    """G-Eval's weighted sum: 3 at .2, 4 at .5, 5 at .3, normalised over what is listed, is 4.1."""
    assert score(digits(0, 0, 0, 0.2, 0.5, 0.3), form="score") == pytest.approx(4.1)
    # other words do not count, a blank before a label is no other label
    assert score({" 4": math.log(0.4), "4": math.log(0.1), "3": math.log(0.5)}, form="score") == pytest.approx(3.5)


def test_labels_that_are_not_listed_share_what_is_left() -> None:
    """0.99 listed, so the other five labels have 0.01 together: their mean is (0 + 1 + 2 + 3 + 4) / 5 = 2."""
    listed = {"5": math.log(0.97), "The": math.log(0.02)}
    assert score(listed, form="score") == pytest.approx((5 * 0.97 + 2 * 0.01) / 0.98)


@given(st.lists(st.floats(0.001, 1), min_size=11, max_size=11))
def test_the_expectation_lies_on_the_scale_and_is_the_mean(weights: list[float]) -> None:
    shares = [weight / sum(weights) for weight in weights]
    whole = {str(n): math.log(share) for n, share in enumerate(shares)}
    assert score(whole, least=0) == pytest.approx(sum(n * share for n, share in enumerate(shares)), abs=1e-6)


def test_a_label_of_two_tokens_by_what_follows() -> None:
    """P(10) = P(1) P(0 | 1): .6 at 1, of which .9 go on with 0; 9 at .3, 8 at .1."""
    first = digits(0, 0.6, 0, 0, 0, 0, 0, 0, 0.1, 0.3)
    whole = 0.1 * 8 + 0.3 * 9 + 0.6 * (0.9 * 10 + 0.1 * 1)
    following = {"0": math.log(0.9), "<|end|>": math.log(0.1)}
    for written in ("10", "1"):  # either way went through 1
        assert score(first, following, written=written) == pytest.approx(whole, abs=0.02)
    assert score(first, {" 0": math.log(0.9), "<|end|>": math.log(0.1)}, written="1") < whole - 3  # "1 0" is no 10


def test_a_label_of_two_tokens_that_cannot_be_told_is_undecided_by_name() -> None:
    first = digits(0, 0.4, 0, 0, 0, 0, 0, 0, 0.1, 0.5)
    with pytest.raises(UndecidedError, match=r"label 1 \(probability 0.400\) may be the beginning of 10"):
        score(first, written="9")
    with pytest.raises(UndecidedError, match="beginning of 10"):
        score(first, written="1")  # and nothing more was told
    # what moves the score by half a point at most is halved: .05 between 1 and 10
    little = digits(0, 0.05, 0, 0, 0, 0, 0, 0, 0, 0.95)
    assert score(little, written="9") == pytest.approx(0.95 * 9 + 0.05 * 5.5, abs=0.01)


def test_a_vocabulary_with_whole_numbers_is_read_as_it_stands() -> None:
    whole = digits(0, 0.5, 0, 0, 0, 0, 0, 0, 0, 0.2) | {"10": math.log(0.3)}
    assert score(whole, written="1") == pytest.approx(0.5 + 1.8 + 3.0, abs=0.01)
    # 10 is not among them, but 12 is: 1 is 1
    other = digits(0, 0.9) | {"12": math.log(0.09)}
    assert score(other, written="1") < 1.1


def test_too_little_mass_and_no_label_decide_nothing() -> None:
    with pytest.raises(UndecidedError, match=r"less than label_mass 0\.2"):
        score({"4": math.log(0.15), "The": math.log(0.15), "I": math.log(0.1)}, form="score")
    with pytest.raises(UndecidedError, match="no token of the answer is a label"):
        score({"The": -0.1}, form="score")


def answer(text: str, *tokens: dict[str, float], status: Status = Status.OK) -> Completion:
    return Completion(text, status=status, logprobs=tokens)


SAID = token(Score=0.99), token(**{"_:": 0.99}), token(**{"_ ": 0.99})


def test_the_last_line_decides_where_the_judge_explains() -> None:
    parser = parser_for("score_10", "logprob", "last")
    assert (parser.name, parser.scale, parser.labels) == ("logprob_score_10_last:1", (0.0, 10.0), TEN)
    quoted = digits(0, 0, 0.99), token(points=0.99)
    ends = digits(0, 0, 0, 0, 0, 0.5, 0.5)
    assert parser.read(answer("2 points.\nScore: 5", *quoted, *SAID, ends)) == pytest.approx(5.5, abs=0.01)
    one, zero = digits(0, 0.8, 0, 0, 0, 0, 0, 0, 0, 0.2), {"0": math.log(0.75), "\n": math.log(0.25)}
    found = parser.read(answer("2 points.\nScore: 10", *quoted, *SAID, one, zero))
    assert found == pytest.approx(0.8 * (0.75 * 10 + 0.25) + 0.2 * 9, abs=0.05)


@pytest.mark.parametrize("line", ["Score: 4/5", "Score: 5/5", "Score: 3.5", "four", ""])
def test_a_last_line_whose_last_label_is_not_the_score(line: str) -> None:
    parser = parser_for("score", "logprob", "last")
    said = answer(f"Fine.\n{line}", *SAID, digits(0, 0, 0, 0, 0, 0.99))
    assert parser.read(said) is None
    assert "last line" in (parser.why_not(said) or "")


def test_what_is_kept_is_read_again_alike() -> None:
    parser = parser_for("score_10", "logprob")
    said = answer("10", digits(0, 0.9, 0, 0, 0, 0, 0, 0, 0, 0.1), {"0": math.log(0.99)}, status=Status.TRUNCATED)
    assert json.loads(parser.raw(said))["text"] == "10"
    assert parser.read(parser.answer(parser.raw(said), said.status)) == parser.read(said) is not None


def test_shares_are_of_all_labels_together() -> None:
    assert sum(label_shares([digits(0.1, 0.2, 0.1, 0.1)], FIVE).values()) == pytest.approx(1)
