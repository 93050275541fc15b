"""SPEC → judge: template, criteria, parser and verdict mode reach it, and a jury's reach its members."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from arenaloop.config import JudgeSettings, validate
from arenaloop.errors import ConfigError
from arenaloop.judges.jury import Jury
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.judges.templates import template_names
from arenaloop.specs import judge
from arenaloop.specs.judges import pointwise


def build(**settings: Any) -> Any:
    return judge(validate(JudgeSettings, {"spec": "sandbox:judge"} | settings, "test"))


def form(built: Any) -> tuple[object, ...]:
    assert isinstance(built, PairwiseJudge)
    return built.template.name, built.template.criteria, built.verdict, built.parser.name


def test_what_a_judges_file_may_say(tmp_path: Path) -> None:
    assert form(build()) == ("pairwise", (), "text", "scores:1")
    assert form(build(template="labels", criteria="be kind")) == ("labels", ("be kind",), "text", "labels:2")
    assert form(build(criteria=["be kind", "be short"], verdict="json"))[1:3] == (("be kind", "be short"), "json")
    built = build(verdict="logprob", deciding_label="last")
    assert (form(built)[3], built.sampling.max_tokens) == ("logprob_last:2", 512)
    own = tmp_path / "own.jinja"
    own.write_text('{# parser: scores #}{% include "material" %}')
    assert form(build(template=str(own), parser="labels")) == ("own", (), "text", "labels:2")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"template": "lables"}, "did you mean 'labels'"),
        ({"verdict": "words"}, "test: verdict: Input should be"),
        ({"parser": "words"}, "test: parser: Input should be"),
        ({"criteria": 5}, "test: criteria: "),
        ({"spec": "builtin:longest", "verdict": "json"}, "fills no template, so verdict 'json' does nothing"),
        ({"spec": "builtin:first", "criteria": "x"}, "fills no template, so criteria"),
    ],
)
def test_what_it_may_not(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        build(**settings)


def test_a_jurys_form_is_that_of_members_that_set_none() -> None:
    members = ["sandbox:judge", {"spec": "sandbox:judge", "name": "two", "template": "score_first"}, "builtin:longest"]
    jury = build(spec="", jury=members, template="labels", verdict="json", criteria="be kind")
    assert isinstance(jury, Jury)
    one, two, rule = jury.members
    assert form(one) == ("labels", ("be kind",), "json", "json_labels:1")
    assert form(two) == ("score_first", ("be kind",), "json", "json:1")
    assert rule.template_hash == ""


def scoring(**settings: Any) -> Any:
    return pointwise(validate(JudgeSettings, {"spec": "sandbox:judge"} | settings, "test"))


def test_a_judge_that_scores_one_answer(tmp_path: Path) -> None:
    built = scoring(verdict="json", name="scorer", sampling={"temperature": 0.8})
    assert (built.template.name, built.parser.name, built.name) == ("rubric", "json_score:1", "scorer")
    assert built.sampling.temperature == 0.8
    saved = validate(JudgeSettings, validate(JudgeSettings, {"spec": "sandbox:judge"}, "test").model_dump(), "saved")
    assert pointwise(saved).fingerprint == scoring().fingerprint
    own = tmp_path / "own.jinja"
    own.write_text('{# parser: score_10, layout: answer #}{% include "material" %}')
    assert scoring(template=str(own)).parser.name == "score_10:1"


def test_a_template_of_another_layout_is_refused_in_one_line() -> None:
    scorers = ", ".join(template_names("answer"))
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        (build, {"template": "rubric"}, "rubric.jinja: is a template of layout answer, .* layout pair: alpaca_eval"),
        (build, {"template": "meta"}, "meta.jinja: is a template of layout judgements"),
        (scoring, {"template": "labels"}, "labels.jinja: is a template of layout pair, .* layout answer: " + scorers),
        (scoring, {"spec": "builtin:longest"}, "judge builtin:longest: scores no single answer"),
        (scoring, {"spec": "", "jury": ["sandbox:judge", "builtin:first"]}, "judge jury: scores no single answer"),
        (scoring, {"criteria": "be kind"}, "rubric.jinja: does not use criteria"),
        (scoring, {"parser": "scores"}, "rubric.jinja: parser 'scores' .*known: score, score_10"),
    ]
    for make, settings, complaint in wrong:
        with pytest.raises(ConfigError, match=complaint) as refused:
            make(**settings)
        assert "\n" not in str(refused.value)
