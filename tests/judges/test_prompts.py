"""The judge of prompts: what it is shown, and how its difficulty and its categories are read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from arenaloop.config import JudgeSettings
from arenaloop.errors import ConfigError
from arenaloop.judges.answer_lines import CATEGORIES, parse_category
from arenaloop.judges.prompts import PromptJudge, category_of
from arenaloop.judges.templates import load_template
from arenaloop.models.scripted import ScriptedModel
from arenaloop.sandbox.judge import SandboxJudge
from arenaloop.specs.judges import prompt_judge
from arenaloop.types import Completion, Judgement, Prompt, Request, Status

HISTORY = ({"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"})
PROMPT = Prompt((*HISTORY, {"role": "user", "content": "Prove it."}), ("And shorter?",))


def judge_that_says(answer: str | Completion, heard: list[Request] | None = None, **options: Any) -> PromptJudge:
    def script(request: Request) -> str | Completion:
        if heard is not None:
            heard.append(request)
        return answer

    return PromptJudge(ScriptedModel("script", script), **options)


def ask(judge: PromptJudge, prompt: Prompt = PROMPT, sample: int = 0) -> Judgement:
    return asyncio.run(judge.judge(prompt, secret="s", seed=11, sample=sample))


def test_the_whole_conversation_is_shown_and_the_score_is_the_last_line() -> None:
    heard: list[Request] = []
    said = Completion("Two steps.\nScore: 6.5", tokens_in=5, tokens_out=6, usd=0.1)
    judge = judge_that_says(said, heard, name="boss")
    assert ask(judge) == Judgement(
        judge.key(PROMPT), PROMPT.id, "", "boss", Status.OK, raw="Two steps.\nScore: 6.5", score=6.5, tokens_in=5,
        tokens_out=6, usd=0.1, judge_hash=judge.fingerprint, template_hash=judge.template_hash, parser="score_10:1",
    )  # fmt: skip
    asked = heard[0].messages[0]["content"]
    places = [asked.index(words) for words in (" history user ", "Hello", " history assistant ", "Hi\n", "Prove it.",
                                               " follow-up ", "And shorter?", " end ===")]  # fmt: skip
    assert places == sorted(places)
    assert (heard[0].sampling.temperature, heard[0].seed, heard[0].key) == (0.0, 11, judge.key(PROMPT))
    assert ask(judge, sample=1).key == judge.key(PROMPT, 1) != judge.key(PROMPT)
    assert heard[1].sampling.temperature == 0.7
    assert judge.scale == (0.0, 10.0)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("a hard one", Status.UNPARSED),
        ("Score: 11", Status.UNPARSED),
        ("Score: 4/5", Status.UNPARSED),
        ("", Status.EMPTY),
        (Completion("Score: 4", status=Status.TRUNCATED), Status.TRUNCATED),
        (Completion(status=Status.ERROR, error="HTTP 500"), Status.ERROR),
    ],
)
def test_what_cannot_be_read_is_no_difficulty_and_never_0(said: str | Completion, status: Status) -> None:
    judgement = ask(judge_that_says(said))
    assert (judgement.status, judgement.score) == (status, None)


def test_json_is_read_and_asked_for_under_a_key_of_its_own() -> None:
    heard: list[Request] = []
    judge = judge_that_says('{"explanation": "hard", "score": 9}', heard, verdict="json")
    assert ask(judge).score == 9.0
    assert heard[0].schema is not None
    assert "JSON" in heard[0].messages[0]["content"]
    assert judge.key(PROMPT) != judge_that_says("").key(PROMPT)


def test_categories() -> None:
    template = load_template("category", layout="prompt")
    assert template.modes == ("text",)
    for at, name in enumerate(CATEGORIES):
        assert f"- {name}:" in template.compiled.render(tag="t", user="u", history=[], follow_ups=[], mode="text")
        judgement = ask(judge_that_says(f"It is that.\n**Category: {name.upper()}**", template=template))
        assert (judgement.score, category_of(judgement.score)) == (float(at), name)
    for odd in ("Category: cooking", "math", "Category: math and coding", "Category: math\nI am sure", ""):
        assert parse_category(odd) is None
    assert category_of(ask(judge_that_says("Category: cooking", template=template)).score) is None


def test_a_spec_makes_one_and_refuses_others() -> None:
    settings = JudgeSettings(spec="sandbox:judge", criteria=("Weigh the law.",))
    judge, sorter = prompt_judge(settings), prompt_judge(settings, "category")
    assert (judge.template.name, judge.template.criteria) == ("difficulty", ("Weigh the law.",))
    assert (sorter.template.name, sorter.template.criteria) == ("category", ())
    assert judge.fingerprint != sorter.fingerprint
    with pytest.raises(ConfigError, match="judge builtin:longest: rates no prompt"):
        prompt_judge(JudgeSettings(spec="builtin:longest"))


def test_the_sandboxs_judge_rates_and_sorts_prompts() -> None:
    model = ScriptedModel("sandbox-judge", SandboxJudge().complete)
    judge, sorter = PromptJudge(model), PromptJudge(model, "category")
    short, long = Prompt.of("hi"), Prompt.of(" ".join(f"word{n}" for n in range(300)))
    scores = [ask(judge, prompt).score or 0.0 for prompt in (short, long)]
    assert scores[0] < scores[1]
    named = {category_of(ask(sorter, Prompt.of(f"prompt {n}")).score) for n in range(60)}
    assert named == set(CATEGORIES)
    unread = PromptJudge(ScriptedModel("j", SandboxJudge(unparsed_rate=1.0).complete))
    assert ask(unread).status is Status.UNPARSED
