"""The judge of judges: two judgements of one answer, from both seats."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from arenaloop.errors import ConfigError
from arenaloop.judges.base import ModelJudge
from arenaloop.judges.meta import MetaJudge, seated
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.judges.seats import merge_seats
from arenaloop.judges.templates import load_template
from arenaloop.models.scripted import ScriptedModel
from arenaloop.types import Judgement, Outcome, Prompt, Request, Response, Sampling, Status, Verdict, content_hash

PROMPT = Prompt.of("What is 2 + 2?")
ANSWER, OTHER = Response(PROMPT.id, "m", ("4",)), Response(PROMPT.id, "m", ("5",))


def judgement(raw: str) -> Response:
    return seated(Judgement(raw, PROMPT.id, ANSWER.text_hash, "j", Status.OK, raw=raw, score=4))


FAIR, HARSH = judgement("All points.\nScore: 5"), judgement("No point.\nScore: 0")


def ask(judge: ModelJudge, first: Response = FAIR, second: Response = HARSH, sample: int = 0) -> Verdict:
    return asyncio.run(judge.judge(PROMPT, first, second, secret="s", seed=3, sample=sample))


def test_a_meta_verdict_is_a_verdict_on_two_judgements() -> None:
    heard: list[Request] = []

    def script(request: Request) -> str:
        heard.append(request)
        return "A is right.\n**Winner:** [[A]]"

    judge = MetaJudge(ScriptedModel("script", script), name="boss")
    about = judge.about(ANSWER)
    assert isinstance(about, ModelJudge)
    verdict = ask(about)
    assert verdict == Verdict(
        about.key(PROMPT, FAIR, HARSH), PROMPT.id, FAIR.text_hash, HARSH.text_hash, "boss", Status.OK,
        raw="A is right.\n**Winner:** [[A]]", score_first=1, score_second=0, outcome=Outcome.A, usd=0.0,
        seconds=verdict.seconds, finish_reason="stop", judge_hash=judge.fingerprint,
        template_hash=judge.template_hash, parser="winner:1", kind="meta",
    )  # fmt: skip
    assert FAIR.text_hash == content_hash(["All points.\nScore: 5"])
    text = heard[0].messages[0]["content"]
    for label, words in (("answer", "4"), ("judgement A", FAIR.texts[0]), ("judgement B", HARSH.texts[0])):
        assert f" {label} ===\n{words}\n===" in text
    assert heard[0].sampling == Sampling(0.0, 1.0, 512)


def test_the_key_covers_the_answer_and_both_seats() -> None:
    judge = MetaJudge(ScriptedModel("script", lambda _: "Winner: A"))
    about = judge.about(ANSWER)
    base = about.key(PROMPT, FAIR, HARSH)
    assert judge.about(replace(ANSWER, model="other")).key(PROMPT, FAIR, HARSH) == base
    others = {
        judge.about(OTHER).key(PROMPT, FAIR, HARSH),
        about.key(PROMPT, HARSH, FAIR),
        about.key(PROMPT, FAIR, HARSH, 1),
        PairwiseJudge(judge.model).key(PROMPT, FAIR, HARSH),
        MetaJudge(judge.model, verdict="json").about(ANSWER).key(PROMPT, FAIR, HARSH),
    }
    assert len(others | {base}) == 6
    assert about.key(PROMPT, FAIR, HARSH) == base  # whatever other answers it is asked about besides


def test_asked_with_the_answer_it_is_the_judge_about_it() -> None:
    judge = MetaJudge(ScriptedModel("script", lambda _: "Winner: B"))
    about, shown = judge.about(ANSWER), (PROMPT, ANSWER, FAIR, HARSH)
    assert judge.key(*shown, 1) == about.key(PROMPT, FAIR, HARSH, 1)
    request = judge.request(*shown, secret="s", seed=3)
    assert request == about.request(PROMPT, FAIR, HARSH, secret="s", seed=3)
    verdict = judge.read(*shown, asyncio.run(judge.model.complete(request)))
    asked = asyncio.run(judge.judge(*shown, secret="s", seed=3))
    assert replace(verdict, seconds=0) == replace(asked, seconds=0) == replace(ask(about), seconds=0)


def test_both_seats_merge_as_those_of_any_judge() -> None:
    first = MetaJudge(ScriptedModel("script", lambda _: "Winner: A")).about(ANSWER)
    battle = merge_seats("m", "n", ask(first), ask(first, HARSH, FAIR))
    assert battle is not None
    assert (battle.flipped, battle.score_a, battle.score_b) == (True, 0.5, 0.5)


@pytest.mark.parametrize("said", ["Both are fine.", "Winner: A or B", "Winner: tie", "Winner: A\nWinner: B, maybe"])
def test_what_names_no_winner_is_no_verdict(said: str) -> None:
    heard: list[Request] = []

    def script(request: Request) -> str:
        heard.append(request)
        return said

    about = MetaJudge(ScriptedModel("script", script)).about(ANSWER)
    assert [ask(about, sample=sample).status for sample in range(2)] == [Status.UNPARSED] * 2
    assert [r.sampling.temperature for r in heard] == [0.0, 0.7]


def test_reading_again_keeps_the_kind() -> None:
    about = MetaJudge(ScriptedModel("script", lambda _: "Winner: B")).about(ANSWER)
    lost = replace(ask(about), status=Status.UNPARSED, outcome=None, score_first=None, score_second=None)
    again = about.reread(lost)
    assert (again.outcome, again.kind, again.calls) == (Outcome.B, "meta", 0)


def test_templates_that_do_not_fit() -> None:
    model = ScriptedModel("script", lambda _: "")
    with pytest.raises(ConfigError, match=r"rubric.jinja: .* layout judgements: meta"):
        MetaJudge(model, template="rubric")
    with pytest.raises(ConfigError, match=r"meta.jinja: is a template of layout judgements, not pair"):
        PairwiseJudge(model, template=load_template("meta", layout="judgements"))
