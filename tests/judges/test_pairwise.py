"""The pairwise judge: what it asks, and what it makes of the answer."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.errors import ConfigError
from arenaloop.judges.base import Judge, ModelJudge
from arenaloop.judges.pairwise import NoLogprobsError, PairwiseJudge
from arenaloop.judges.templates import load_template
from arenaloop.models.openai_wire import read_reply
from arenaloop.models.scripted import ScriptedModel
from arenaloop.types import Completion, Outcome, Prompt, Request, Response, Sampling, Status, Verdict

PROMPT = Prompt.of("What is 2 + 2?")
GOOD, BAD = Response(PROMPT.id, "good", ("4",)), Response(PROMPT.id, "bad", ("5",))


def ask(judge: PairwiseJudge, sample: int = 0) -> Verdict:
    return asyncio.run(judge.judge(PROMPT, GOOD, BAD, secret="s", seed=11, sample=sample))


def judge_that_says(answer: str | Completion, heard: list[Request] | None = None, **options: Any) -> PairwiseJudge:
    def script(request: Request) -> str | Completion:
        if heard is not None:
            heard.append(request)
        return answer

    return PairwiseJudge(ScriptedModel("script", script), **options)


def test_a_verdict_carries_everything() -> None:
    heard: list[Request] = []
    said = Completion("Fine.\nScores: 8 3", tokens_in=5, tokens_out=6, usd=0.1, seconds=0.2, calls=3)
    judge = judge_that_says(said, heard, name="boss")
    verdict = ask(judge)
    assert isinstance(judge, Judge)
    assert isinstance(judge, ModelJudge)
    assert verdict == Verdict(
        judge.key(PROMPT, GOOD, BAD), PROMPT.id, GOOD.text_hash, BAD.text_hash, "boss", Status.OK,
        raw="Fine.\nScores: 8 3", score_first=8, score_second=3, outcome=Outcome.A,
        tokens_in=5, tokens_out=6, usd=0.1, seconds=0.2, calls=3,
        judge_hash=judge.fingerprint, template_hash=judge.template_hash, parser="scores:1",
    )  # fmt: skip
    assert heard[0].sampling == Sampling(temperature=0.0, max_tokens=512)
    assert (heard[0].seed, heard[0].key, heard[0].sample) == (11, verdict.key, 0)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("no scores here", Status.UNPARSED),
        ("", Status.EMPTY),
        (Completion("Scores: 9 1", status=Status.TRUNCATED), Status.TRUNCATED),  # whatever it holds
        (Completion("Scores: 9 1", status=Status.REFUSED), Status.REFUSED),
        (Completion(status=Status.ERROR, error="HTTP 500", calls=6), Status.ERROR),
        ("I cannot help with that. I'm sorry, as an AI I must refuse.", Status.UNPARSED),  # never guessed from text
    ],
)
def test_failures_are_verdicts_without_outcome(said: str | Completion, status: Status) -> None:
    verdict = ask(judge_that_says(said))
    assert verdict.status is status
    assert (verdict.outcome, verdict.score_first, verdict.score_second) == (None, None, None)
    if isinstance(said, Completion):
        assert (verdict.error, verdict.calls, verdict.raw) == (said.error, said.calls, said.text)


@pytest.mark.parametrize(("own", "warm"), [(0.0, 0.7), (0.3, 0.7), (1.0, 1.0)])
def test_asked_again_it_is_warmer_and_the_prompt_is_the_same_bytes(own: float, warm: float) -> None:
    heard: list[Request] = []
    judge = judge_that_says("?", heard, sampling=Sampling(own, 0.9, 64, ("END",)))
    keys = {ask(judge, sample).key for sample in range(3)}
    assert len(keys) == 3
    assert [r.sampling.temperature for r in heard] == [own, warm, warm]
    assert {(r.sampling.top_p, r.sampling.max_tokens, r.sampling.stop) for r in heard} == {(0.9, 64, ("END",))}
    assert [r.sample for r in heard] == [0, 1, 2]
    assert len({r.messages[0]["content"] for r in heard}) == 1


def test_what_a_verdict_key_depends_on() -> None:
    judge = judge_that_says("Scores: 7 5")
    base = judge.key(PROMPT, GOOD, BAD)
    renamed = Response(PROMPT.id, "someone else", ("4",)), Response(PROMPT.id, "again", ("5",))
    assert judge.key(PROMPT, *renamed) == base  # model names are not part of it
    assert judge_that_says("Scores: 7 5", name="other").key(PROMPT, GOOD, BAD) == base
    others = {
        judge.key(PROMPT, BAD, GOOD),
        judge.key(PROMPT, GOOD, BAD, 1),
        judge.key(Prompt.of("x"), GOOD, BAD),
        judge.key(PROMPT, GOOD, Response(PROMPT.id, "bad", ("5 ",))),
        judge_that_says("", sampling=Sampling(0.1)).key(PROMPT, GOOD, BAD),
        PairwiseJudge(ScriptedModel("script", lambda _: "", version=1)).key(PROMPT, GOOD, BAD),
    }
    assert len(others | {base}) == 7


def test_keys_are_those_of_the_first_version() -> None:
    """Mode text and the default template: what was stored then is found, and not paid for twice."""
    judge = judge_that_says("")
    assert judge.fingerprint == "0ade999eabb02b805abd9442b405c1d0"
    assert judge.key(PROMPT, GOOD, BAD) == "756a9cbdb2b051666c9f48995d0a6817"
    assert judge.key(PROMPT, GOOD, BAD, 1) == "66a15a25145c52200cc610892cb05aff"


def test_the_fingerprint_holds_whatever_changes_the_request(tmp_path: Path) -> None:
    own = tmp_path / "own.jinja"
    own.write_text('{# parser: scores #}{{ mode }}{% include "material" %}')
    options: list[dict[str, Any]] = [
        {},
        {"verdict": "json"},
        {"verdict": "logprob"},
        {"verdict": "logprob", "deciding_label": "last"},
        {"template": "labels"},
        {"template": "labels", "verdict": "json"},
        {"template": "score_first"},
        {"template": load_template("pairwise", ("be kind",))},
        {"template": load_template(str(own)), "verdict": "json"},
        {"template": load_template(str(own), (), "labels"), "verdict": "json"},  # another schema
    ]
    assert len({judge_that_says("", **some).fingerprint for some in options}) == len(options)
    # how a text is read changes nothing about what is asked
    one, two = (judge_that_says("", template=load_template(str(own), (), form)) for form in ("scores", "labels"))
    assert one.fingerprint == two.fingerprint


# ---------------------------------------------------------------------- modes


def test_a_json_verdict() -> None:
    heard: list[Request] = []
    said = json.dumps({"explanation": "Fine.", "score_1": 8, "score_2": 3.5})
    verdict = ask(judge_that_says(said, heard, verdict="json"))
    assert (verdict.outcome, verdict.score_first, verdict.score_second) == (Outcome.A, 8, 3.5)
    assert (verdict.raw, verdict.parser) == (said, "json:1")
    assert heard[0].schema is not None
    assert list(heard[0].schema["properties"]) == ["explanation", "score_1", "score_2"]
    assert "JSON object" in heard[0].messages[0]["content"]
    assert ask(judge_that_says("Scores: 8 3", verdict="json")).status is Status.UNPARSED


@pytest.mark.parametrize(
    ("template", "said", "scores", "parser"),
    [
        ("pairwise", "Fine.\nScores: 8 3", (8, 3), "scores:1"),
        ("score_first", "Scores: 8 3\nFine.", (8, 3), "first_line:1"),
        ("labels", "Fine.\n[[A>B]]", (0.75, 0.25), "labels:2"),
    ],
)
def test_each_template_is_read_by_its_own_parser(
    template: str, said: str, scores: tuple[float, float], parser: str
) -> None:
    verdict = ask(judge_that_says(said, template=template))
    assert (verdict.score_first, verdict.score_second) == scores
    assert (verdict.outcome, verdict.parser) == (Outcome.A, parser)
    others = {"pairwise", "score_first", "labels"} - {template}
    assert {ask(judge_that_says(said, template=other)).status for other in others} == {Status.UNPARSED}


def test_a_logprob_verdict() -> None:
    heard: list[Request] = []
    said = Completion("1", finish_reason="stop", logprobs=({"1": -0.1, "2": -2.4},))
    verdict = ask(judge_that_says(said, heard, verdict="logprob"))
    assert verdict.score_first == pytest.approx(0.908877, abs=1e-6)  # e^-0.1 / (e^-0.1 + e^-2.4)
    assert verdict.score_first is not None
    assert verdict.score_second == 1 - verdict.score_first
    assert (verdict.outcome, verdict.parser) == (Outcome.A, "logprob:2")
    assert json.loads(verdict.raw) == {"text": "1", "logprobs": [{"1": -0.1, "2": -2.4}]}
    assert (heard[0].top_logprobs, heard[0].sampling.max_tokens) == (20, 8)
    assert heard[0].messages[0]["content"].endswith("Answer 1 or 2.")


def test_a_servers_reply_is_read_to_golden_e1() -> None:
    """From the bytes of a chat completion to the share of the golden test; the server calls a lone token a cut."""
    top = [{"token": "1", "logprob": -0.1}, {"token": "2", "logprob": -2.4}, {"token": "The", "logprob": -5.0}]
    choice = {
        "message": {"role": "assistant", "content": "1"},
        "finish_reason": "length",
        "logprobs": {"content": [{"token": "1", "logprob": -0.1, "top_logprobs": top}]},
    }
    reply = read_reply(json.dumps({"choices": [choice]}).encode())
    verdict = ask(judge_that_says(reply, verdict="logprob"))
    assert verdict.score_first == pytest.approx(0.908877, abs=1e-6)
    assert (verdict.status, verdict.outcome) == (Status.OK, Outcome.A)


def test_a_label_before_the_cut_counts_and_a_cut_before_a_label_does_not() -> None:
    cut = Completion("1 is", status=Status.TRUNCATED, finish_reason="length", logprobs=({"1": -0.1}, {" is": -0.1}))
    verdict = ask(judge_that_says(cut, verdict="logprob"))
    assert (verdict.status, verdict.outcome, verdict.finish_reason) == (Status.OK, Outcome.A, "length")
    reasoned = judge_that_says(cut, verdict="logprob", deciding_label="last")
    assert ask(reasoned).status is Status.TRUNCATED
    thinking = replace(cut, text="", reasoning="hm", logprobs=({"<think>": 0.0}, {"hm": -0.1}))
    assert ask(judge_that_says(thinking, verdict="logprob")).status is Status.TRUNCATED


def test_a_judge_that_explains_before_its_label_may_write() -> None:
    heard: list[Request] = []
    said = Completion("1 has it.\n2", logprobs=({"1": -0.1}, {" has": -0.1}, {"2": -0.2, "1": -3.0}))
    verdict = ask(judge_that_says(said, heard, verdict="logprob", deciding_label="last"))
    assert verdict.outcome is Outcome.B
    assert heard[0].sampling.max_tokens == 512
    assert "Explain briefly" in heard[0].messages[0]["content"]


def test_a_server_without_log_probabilities_is_asked_once() -> None:
    """Its answer is stored as what it is; the next question is not sent."""
    heard: list[Request] = []
    judge = judge_that_says("1", heard, verdict="logprob")
    verdict = ask(judge)
    assert verdict.status is Status.UNPARSED
    assert verdict.error is not None
    assert "no log-probabilities came" in verdict.error
    with pytest.raises(NoLogprobsError, match=r"script: it answers without log-probabilities.*--verdict json"):
        ask(judge, sample=1)
    assert len(heard) == 1


def test_one_answer_with_log_probabilities_shows_that_the_server_has_them() -> None:
    answers = iter([Completion("1"), Completion("1", logprobs=({"1": -0.1},)), Completion("1"), Completion("2")])
    judge = PairwiseJudge(ScriptedModel("script", lambda _: next(answers)), verdict="logprob")
    first = judge.request(PROMPT, GOOD, BAD, secret="s", seed=0)  # in flight together with the next
    assert judge.read(PROMPT, GOOD, BAD, next(answers)).status is Status.UNPARSED
    assert judge.read(PROMPT, GOOD, BAD, next(answers)).status is Status.OK
    assert judge.request(PROMPT, GOOD, BAD, secret="s", seed=0) == first
    assert ask(judge).status is Status.UNPARSED
    assert ask(judge, 1).status is Status.UNPARSED


def test_a_failed_call_says_nothing_of_log_probabilities() -> None:
    judge = judge_that_says(Completion(status=Status.ERROR, error="HTTP 500"), verdict="logprob")
    assert [ask(judge, n).error for n in range(2)] == ["HTTP 500"] * 2


def test_a_template_whose_words_do_not_change_serves_no_other_mode(tmp_path: Path) -> None:
    own = tmp_path / "own.jinja"
    own.write_text('{# parser: scores #}{% include "material" %}')
    template = load_template(str(own))
    assert ask(judge_that_says("Scores: 7 5", template=template)).outcome is Outcome.A
    with pytest.raises(ConfigError, match=r"own.jinja: does not use mode.*text, not json"):
        judge_that_says("", template=template, verdict="json")


# ---------------------------------------------------------------------- reading again


@given(
    st.sampled_from(["Scores: 7 5", "Scores: 5 5\nmore", "?", "", "[[A>B]]", "Scores: 1 2"]),
    st.sampled_from(["scores", "first_line", "labels"]),
    st.sampled_from(["scores", "first_line", "labels"]),
)
def test_reading_again_is_reading(said: str, old: Any, new: Any) -> None:
    """What another parser makes of a stored text is what it would have made of the answer, at no cost."""
    paid = Completion(said, usd=0.5, calls=1, tokens_in=3, tokens_out=4, seconds=1.0)
    was, now = (judge_that_says(paid, template=replace(load_template("pairwise"), form=form)) for form in (old, new))
    before, fresh = ask(was), ask(now)
    again = now.reread(before)
    assert (again.key, again.raw) == (before.key, before.raw)
    assert (again.status, again.outcome, again.score_first) == (fresh.status, fresh.outcome, fresh.score_first)
    if again is not before:
        assert (again.calls, again.usd, again.parser) == (0, 0.0, now.parser.name)
        assert now.reread(again) is again  # once is enough
    else:
        assert (before.status, before.score_first) == (fresh.status, fresh.score_first)


@pytest.mark.parametrize("status", [Status.ERROR, Status.REFUSED, Status.EMPTY, Status.TRUNCATED])
def test_what_was_never_an_answer_stays_none(status: Status) -> None:
    verdict = ask(judge_that_says(Completion("Scores: 9 1", status=status)))
    assert judge_that_says("").reread(verdict) is verdict


def test_log_probabilities_are_read_again_by_another_rule() -> None:
    said = Completion("1\n2", logprobs=({"1": -0.1}, {"\n": 0.0}, {"2": -0.1}))
    first = judge_that_says(said, verdict="logprob")
    last = judge_that_says(said, verdict="logprob", deciding_label="last")
    verdict = ask(first)
    assert verdict.outcome is Outcome.A
    assert first.reread(verdict) is verdict
    assert last.reread(verdict).outcome is Outcome.B
    # a text that was kept without them holds no verdict of this mode
    assert last.reread(replace(verdict, raw="1")).status is Status.UNPARSED


def test_a_thinking_judges_thoughts_are_kept_apart() -> None:
    thought = Completion("Scores: 7 5", reasoning="Scores: 1 9", finish_reason="stop")
    verdict = ask(judge_that_says(thought))
    assert (verdict.score_first, verdict.reasoning) == (7, "Scores: 1 9")
    cut = Completion("", status=Status.TRUNCATED, reasoning="Scores: 1 9", finish_reason="length")
    assert ask(judge_that_says(cut)).status is Status.TRUNCATED


def test_a_prefill_belongs_to_the_answer_and_to_the_key() -> None:
    heard: list[Request] = []
    plain = judge_that_says(" 7 5", heard)
    begun = judge_that_says(" 7 5", heard, prefill="Scores:")
    assert ask(plain).status is Status.UNPARSED
    verdict = ask(begun)
    assert (verdict.score_first, verdict.score_second, verdict.raw) == (7, 5, "Scores: 7 5")
    assert heard[-1].prefill == "Scores:"
    assert plain.fingerprint != begun.fingerprint
    assert ask(judge_that_says("Scores: 7 5", prefill="Scores:")).raw == "Scores: 7 5", "a server may repeat it"


def test_labels_that_hold_too_little_leave_a_seating_undecided_with_the_reason() -> None:
    said = Completion("1", logprobs=({"1": -2.15, "The": -2.3},))
    verdict = ask(judge_that_says(said, verdict="logprob"))
    assert (verdict.status, verdict.outcome) == (Status.UNPARSED, None)
    assert verdict.error == "the labels hold 0.116 of the probability, less than label_mass 0.2"
    lenient = judge_that_says(said, verdict="logprob", label_mass=0.1)
    assert ask(lenient).status is Status.OK
    assert lenient.fingerprint != judge_that_says(said, verdict="logprob").fingerprint
