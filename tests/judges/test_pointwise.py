"""The rubric judge: what it asks about one response, and what several votes come to."""

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
from arenaloop.judges.base import PointwiseJudge
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.judges.pointwise import RubricJudge, mean_score
from arenaloop.judges.templates import load_template, template_names
from arenaloop.models.scripted import ScriptedModel
from arenaloop.types import Completion, Judgement, Prompt, Request, Response, Sampling, Status

PROMPT = Prompt.of("What is 2 + 2?")
ANSWER, OTHER = Response(PROMPT.id, "good", ("4",)), Response(PROMPT.id, "bad", ("5",))


def judge_that_says(answer: str | Completion, heard: list[Request] | None = None, **options: Any) -> RubricJudge:
    def script(request: Request) -> str | Completion:
        if heard is not None:
            heard.append(request)
        return answer

    return RubricJudge(ScriptedModel("script", script), **options)


def ask(judge: PointwiseJudge, sample: int = 0) -> Judgement:
    return asyncio.run(judge.judge(PROMPT, ANSWER, secret="s", seed=11, sample=sample))


def test_a_judgement_carries_everything() -> None:
    heard: list[Request] = []
    said = Completion("Two points.\nScore: 2.5", tokens_in=5, tokens_out=6, usd=0.1, seconds=0.2, calls=3)
    judge = judge_that_says(said, heard, name="boss")
    assert isinstance(judge, PointwiseJudge)
    judgement = ask(judge)
    assert judgement == Judgement(
        judge.key(PROMPT, ANSWER), PROMPT.id, ANSWER.text_hash, "boss", Status.OK,
        raw="Two points.\nScore: 2.5", score=2.5, tokens_in=5, tokens_out=6, usd=0.1, seconds=0.2, calls=3,
        judge_hash=judge.fingerprint, template_hash=judge.template_hash, parser="score:1",
    )  # fmt: skip
    assert heard[0].sampling == Sampling(0.7, 0.9, 512)
    assert (heard[0].seed, heard[0].key, heard[0].sample, heard[0].schema) == (11, judgement.key, 0, None)
    assert heard[0].messages[0]["content"].endswith("one number from 0 to 5.")


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("a fine answer", Status.UNPARSED),
        ("Score: 7", Status.UNPARSED),
        ("", Status.EMPTY),
        (Completion("Score: 4", status=Status.TRUNCATED), Status.TRUNCATED),
        (Completion("Score: 4", status=Status.REFUSED), Status.REFUSED),
        (Completion(status=Status.ERROR, error="HTTP 500", calls=6), Status.ERROR),
    ],
)
def test_what_cannot_be_read_has_no_score_and_never_0(said: str | Completion, status: Status) -> None:
    judgement = ask(judge_that_says(said))
    assert (judgement.status, judgement.score) == (status, None)
    assert mean_score([judgement]) == (None, 0)


def test_votes_are_asked_alike_and_asking_again_is_warmer() -> None:
    heard: list[Request] = []
    judge = judge_that_says("?", heard, sampling=Sampling(0.2, 0.9, 64))
    votes = [judge.repeated(number) for number in range(3)]
    keys = [ask(vote, sample).key for vote in votes for sample in range(2)]
    assert len(set(keys)) == 6
    assert keys[0] == judge.key(PROMPT, ANSWER)
    assert keys[3] == judge.repeated(1).key(PROMPT, ANSWER, 1) == votes[2].repeated(1).key(PROMPT, ANSWER, 1)
    assert [r.sampling.temperature for r in heard] == [0.2, 0.7] * 3
    assert [r.sample for r in heard] == [0, 1] * 3
    assert len({r.messages[0]["content"] for r in heard}) == 1
    assert {vote.fingerprint for vote in votes} == {judge.fingerprint}  # one judge, as its stored rows say


def test_what_a_key_depends_on() -> None:
    judge = judge_that_says("Score: 4")
    base = judge.key(PROMPT, ANSWER)
    assert judge.key(PROMPT, replace(ANSWER, model="someone else")) == base
    assert judge_that_says("Score: 4", name="other").key(PROMPT, ANSWER) == base
    others = {
        judge.key(PROMPT, OTHER),
        judge.key(PROMPT, ANSWER, 1),
        judge.key(Prompt.of("x"), ANSWER),
        judge_that_says("", sampling=Sampling(0.1)).key(PROMPT, ANSWER),
        judge_that_says("", verdict="json").key(PROMPT, ANSWER),
        RubricJudge(ScriptedModel("script", lambda _: "", version=1)).key(PROMPT, ANSWER),
    }
    assert len(others | {base}) == 7


def test_keys_are_those_of_the_first_version() -> None:
    """What was stored is found, and not paid for twice."""
    judge = judge_that_says("")
    assert judge.template_hash == "35438490ad8516e41a4df9f19a3b2199"
    assert judge.key(PROMPT, ANSWER) == "e790032893b9227cc4b785573fd0fa86"
    assert judge.repeated(2).key(PROMPT, ANSWER, 1) == "c1b13916a40c574ac3b7016f19944f73"


def test_a_score_as_json() -> None:
    heard: list[Request] = []
    said = json.dumps({"explanation": "Fine.", "score": 4})
    judgement = ask(judge_that_says(said, heard, verdict="json"))
    assert (judgement.score, judgement.raw, judgement.parser) == (4, said, "json_score:1")
    assert heard[0].schema is not None
    assert list(heard[0].schema["properties"]) == ["explanation", "score"]
    assert ask(judge_that_says("Score: 4", verdict="json")).status is Status.UNPARSED


def test_templates_that_do_not_fit(tmp_path: Path) -> None:
    shipped = ", ".join(template_names("answer"))
    with pytest.raises(ConfigError, match=f"pairwise.jinja: is a template of layout pair, .* layout answer: {shipped}"):
        judge_that_says("", template="pairwise")
    with pytest.raises(ConfigError, match=r"pairwise.jinja: is a template of layout pair, not answer"):
        judge_that_says("", template=load_template("pairwise"))
    with pytest.raises(ConfigError, match=r"rubric.jinja: is a template of layout answer, .* layout pair: alpaca_eval"):
        PairwiseJudge(ScriptedModel("script", lambda _: ""), template="rubric")
    own = tmp_path / "ten.jinja"
    own.write_text('{# parser: score_10, layout: answer #}{% include "material" %}')
    with pytest.raises(ConfigError, match="does not use mode to ask for logprob"):
        judge_that_says("", template=load_template(str(own), layout="answer"), verdict="logprob")
    judge = judge_that_says("Score: 9", template=load_template(str(own), layout="answer"))
    assert (ask(judge).score, ask(judge).parser) == (9, "score_10:1")


@given(st.lists(st.none() | st.integers(0, 50).map(lambda n: n / 10), max_size=11), st.randoms())
def test_the_mean_is_that_of_the_scores_that_could_be_read(scores: list[float | None], rng: Any) -> None:
    def judged(score: float | None) -> Judgement:
        return Judgement("k", "p", "r", "j", Status.UNPARSED if score is None else Status.OK, score=score)

    judgements: list[Judgement | None] = [judged(score) for score in scores] + [None]
    mean, parsed = mean_score(judgements)
    kept = [score for score in scores if score is not None]
    assert parsed == len(kept)
    assert (mean is None) == (not kept)
    if mean is not None:
        assert mean == pytest.approx(sum(kept) / len(kept))
    rng.shuffle(judgements)
    assert mean_score(judgements) == (mean, parsed)  # to the last digit
