"""A template's own pattern reads verdicts from one line, in linear time, and what it cannot read is no verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from arenaloop.errors import ConfigError
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.judges.pointwise import RubricJudge
from arenaloop.judges.templates import load_template
from arenaloop.judges.verdict_pattern import declared_pattern
from arenaloop.models.scripted import ScriptedModel
from arenaloop.types import Completion, Outcome, Prompt, Response, Status

PROMPT = Prompt.of("Which is the largest planet?")
SEATS = Response(PROMPT.id, "one", ("one",)), Response(PROMPT.id, "two", ("two",))
PATTERN = r"verdict_pattern: .*\[\[(?P<verdict>[ABC])\]\][.!]?"
LABELS = "verdict_labels: A = first, B = second, C = tie"
BODY = '{% for c in criteria %}{{ c }}{% endfor %}{% include "material" %}'


def of(*lines: str, seats: bool = True):
    found = declared_pattern("\n".join(lines), "own.jinja", seats=seats)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("Better.\n[[A]]", 1.0),
        ("My verdict is **[[B]]**.\n\n", 0.0),
        ("[[C]]", 0.5),
        ("[[A]]\nThat was my verdict.", None),  # nothing but the last line counts
        ("The text says [[B]]\nand I say [[A]]", 1.0),
        ("[[D]]", None),
        ("", None),
        ("[[A]] " * 500, None),  # longer than any line of a verdict
    ],
)
def test_the_last_line_must_match_whole(text: str, share: float | None) -> None:
    read = of(PATTERN, LABELS).read(text)
    assert read == (None if share is None else (share, 1 - share))


def test_the_last_match_may_stand_anywhere() -> None:
    pattern = of(
        r"verdict_pattern: \[\[(?P<verdict>A|B)\]\]", "verdict_labels: A = first, B = second", "verdict_at: last_match"
    )
    assert pattern.read("[[A]] at first.\nBut then [[B]], I think.\nDone.") == (0.0, 1.0)
    assert pattern.read("neither") is None
    assert pattern.read("[[A]]" + "x" * 30_000) is None  # read are the last 20,000 characters


def test_scores_have_a_scale_and_labels_shares_and_their_case() -> None:
    scores = of(r"verdict_pattern: (?P<first>[\d.]+) to (?P<second>[\d.]+)", "verdict_scale: 0 5")
    assert scores.scale == (0.0, 5.0)
    assert [scores.read(text) for text in ("4 to 2.5", "4 to 6", "1.2.3 to 1")] == [(4.0, 2.5), None, None]
    shares = of(r"verdict_pattern: (?P<verdict>\w+)", "verdict_labels: m = first, M = second, much = 0.9")
    assert [shares.read(text) for text in ("m", "M", "much", "other")] == [(1, 0), (0, 1), (0.9, 1 - 0.9), None]
    assert shares.seat_labels is None
    assert of(r"verdict_pattern: (?P<verdict>[mM])", "verdict_labels: M = second, m = first").seat_labels == ("m", "M")
    optional = of(r"verdict_pattern: none|(?P<verdict>[AB])", "verdict_labels: A = first, B = second")
    assert optional.read("none") is None


def test_no_pattern_is_slow_on_any_text() -> None:
    """An engine that goes back would take 2^20000 steps for this."""
    pattern = of(
        r"verdict_pattern: (?:(?:a+)+)+(?P<verdict>b)",
        "verdict_labels: b = first, c = second",
        "verdict_at: last_match",
    )
    assert pattern.read("a" * 20_000) is None


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        ([LABELS], "verdict_pattern is missing, which verdict_labels would go with"),
        ([PATTERN], "verdict_labels must name a label of each seat"),
        ([PATTERN, "verdict_labels: A = first, C = tie"], "must name a label of each seat"),
        ([PATTERN, "verdict_labels: A = best"], "'A = best', where WORD = first, second, tie"),
        ([PATTERN, "verdict_labels: A = first, A = second"], "'A' stands in it twice"),
        ([PATTERN, LABELS, LABELS], "verdict_labels stands in it twice"),
        ([PATTERN, LABELS, "verdict_at: last"], "verdict_at 'last' (did you mean 'last_line'"),
        ([PATTERN, LABELS, "verdict_scale: 0 1"], "verdict_scale says nothing of the named groups verdict"),
        ([PATTERN, "verdict_label: A = first"], "verdict_label (did you mean 'verdict_labels'"),
        (
            ["verdict_pattern: [[A]]"],
            "has the named groups none, and needs (?P<verdict>…) or (?P<first>…) and (?P<second>…)",
        ),
        (["verdict_pattern: (?P<verdict>A", LABELS], "unclosed group"),
        (["verdict_pattern: (?P<verdict>A)|B)(?:C", LABELS], "unopened group"),
        (["verdict_pattern: (?=x)(?P<verdict>A)", LABELS], "look-around"),
        (["verdict_pattern: (?P<verdict>A{1000}{1000}{1000})", LABELS], "size limit"),
        (["verdict_pattern: (?P<first>.)(?P<second>.)", "verdict_scale: 5"], "verdict_scale '5': two numbers"),
    ],
)
def test_what_cannot_be_read_by_is_refused_in_one_line(lines: list[str], what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        declared_pattern("\n".join(lines), "own.jinja", seats=True)
    assert str(caught.value).startswith("own.jinja: ")
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


def own(tmp_path: Path, head: str, body: str = BODY) -> str:
    path = tmp_path / "own.jinja"
    path.write_text(f"{{#\n{head}\n#}}\n{body}")
    return str(path)


def read(judge: PairwiseJudge, text: str) -> tuple[Status, Outcome | None, str]:
    verdict = judge.read(PROMPT, *SEATS, Completion(text))
    return verdict.status, verdict.outcome, verdict.parser


def test_a_template_file_with_a_pattern_judges(tmp_path: Path) -> None:
    judge = PairwiseJudge(ScriptedModel("j", lambda _: ""), template=own(tmp_path, f"{PATTERN}\n{LABELS}"))
    assert read(judge, "So: [[B]]") == (Status.OK, Outcome.B, "pattern:1")
    assert read(judge, "So: [[X]]") == (Status.UNPARSED, None, "pattern:1")
    assert judge.scale == (0.0, 1.0)
    assert judge.template.modes == ("text",)
    other = PairwiseJudge(judge.model, template=own(tmp_path, f"{PATTERN}!\n{LABELS}"))
    assert other.key(PROMPT, *SEATS) != judge.key(PROMPT, *SEATS)  # what is read otherwise is another verdict
    with pytest.raises(ConfigError, match="parser scores, and its first comment holds a verdict_pattern"):
        load_template(own(tmp_path, f"parser: scores\n{PATTERN}\n{LABELS}"))
    with pytest.raises(ConfigError, match="parser pattern, and its first comment holds no verdict_pattern"):
        load_template(own(tmp_path, "parser: pattern"))


def test_one_answer_is_scored_by_a_pattern(tmp_path: Path) -> None:
    head = "parser: pattern, layout: answer\nverdict_pattern: .*\\[\\[(?P<score>\\d+)\\]\\]\nverdict_scale: 1 10"
    judge = RubricJudge(ScriptedModel("j", lambda _: ""), template=load_template(own(tmp_path, head), layout="answer"))
    assert judge.read(PROMPT, SEATS[0], Completion("Rating: [[8]]")).score == 8.0
    assert judge.read(PROMPT, SEATS[0], Completion("Rating: [[11]]")).status is Status.UNPARSED
    assert judge.scale == (1.0, 10.0)


def test_the_shipped_templates_of_fastchat_and_alpaca_eval() -> None:
    fastchat = PairwiseJudge(ScriptedModel("j", lambda _: ""), template="fastchat")
    assert [read(fastchat, f"Both are fine. My verdict: [[{label}]]")[1] for label in "ABC"] == ["A", "B", "TIE"]
    alpaca = PairwiseJudge(ScriptedModel("j", lambda _: ""), template="alpaca_eval")
    assert [read(alpaca, text)[1] for text in ("m", "M", "`m`\n", "m is better")] == ["A", "B", "A", None]
    shares = PairwiseJudge(ScriptedModel("j", lambda _: ""), template="alpaca_eval", verdict="logprob")
    verdict = shares.read(
        PROMPT, *SEATS, Completion("M", logprobs=({"m": -1.3862943611198906, "M": -0.2876820724517809},))
    )
    assert verdict.score_first == pytest.approx(0.25)
    assert shares.parser.labels == ("m", "M")


def test_a_pattern_that_takes_a_label_alone_serves_logprob_in_the_same_words(tmp_path: Path) -> None:
    """AlpacaEval 2's prompt: one text for m and M, with log-probabilities and without."""
    labels = "verdict_labels: m = first, M = second"
    path = own(tmp_path, f"verdict_pattern: (?P<verdict>m|M)\n{labels}")
    assert load_template(path).modes == ("text", "logprob")
    model = ScriptedModel("j", lambda _: "")
    judge = PairwiseJudge(model, template=path, verdict="logprob")
    verdict = judge.read(
        PROMPT, *SEATS, Completion("m", logprobs=({"m": -0.2876820724517809, "M": -1.3862943611198906},))
    )
    assert verdict.score_first == pytest.approx(0.75)
    assert judge.key(PROMPT, *SEATS) != PairwiseJudge(model, template=path).key(PROMPT, *SEATS)
    branch = f'{BODY}{{% if mode == "logprob" %}}{{% endif %}}'  # says nothing, and need not
    assert load_template(own(tmp_path, f"verdict_pattern: (?P<verdict>m|M)\n{labels}", branch)).modes == (
        "text",
        "logprob",
    )
    for pattern, more in ((r"Winner: (?P<verdict>m|M)", ""), ("(?P<verdict>m|M|0)", ", 0 = tie")):
        path = own(tmp_path, f"verdict_pattern: {pattern}\n{labels}{more}")
        assert load_template(path).modes == ("text",)
        told = "" if more else r".* \(whose answer is m or M alone, which its verdict_pattern does not take\)"
        with pytest.raises(ConfigError, match=f"serves verdict text, not logprob{told}"):
            PairwiseJudge(model, template=path, verdict="logprob")
