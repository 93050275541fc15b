"""What a judge can be asked: layout, verdict mode, kind of model and prefill, each cell works or is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from label_model import CHARACTERS, build_label_model

from arenaloop.config import JudgeSettings
from arenaloop.errors import ConfigError
from arenaloop.judges.meta import MetaJudge
from arenaloop.judges.templates import load_template
from arenaloop.models.scripted import ScriptedModel
from arenaloop.specs.judges import judge, pointwise

SERVER = "http://127.0.0.1:9/v1#m"
MODES = ("text", "json", "logprob")


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"hf:{build_label_model(tmp_path_factory.mktemp('judge') / 'tiny')}"


def spec(kind: str, local: str) -> dict[str, Any]:
    return {"hf": {"spec": local, "device": "cpu"}, "server": {"spec": SERVER}, "sandbox": {"spec": "sandbox:judge"}}[
        kind
    ]


def refused(settings: dict[str, Any], layout: str = "pair") -> str | None:
    """Why a judge of these settings is refused; None where it is not."""
    try:
        (judge if layout == "pair" else pointwise)(JudgeSettings(**settings))
    except ConfigError as error:
        return str(error)
    return None


@pytest.mark.parametrize("layout", ["pair", "answer"])
@pytest.mark.parametrize("kind", ["hf", "server", "sandbox"])
@pytest.mark.parametrize(("mode", "deciding"), [(m, "first") for m in MODES] + [("logprob", "last")])
def test_every_mode_of_every_kind_of_model(layout: str, kind: str, mode: str, deciding: str, local: str) -> None:
    assert refused({**spec(kind, local), "verdict": mode, "deciding_label": deciding}, layout) is None


@pytest.mark.parametrize("mode", MODES)
def test_a_meta_judge(mode: Any) -> None:
    model = ScriptedModel("m", lambda request: "")
    if mode == "logprob":
        with pytest.raises(ConfigError, match="serves verdict text and json, not logprob"):
            MetaJudge(model, verdict=mode)
    else:
        MetaJudge(model, verdict=mode)
    with pytest.raises(ConfigError, match=r"layout pair, .*layout judgements"):
        MetaJudge(model, template="pairwise")


@pytest.mark.parametrize(("layout", "template"), [("pair", "rubric"), ("pair", "meta"), ("answer", "short")])
def test_a_template_of_another_layout(layout: str, template: str, local: str) -> None:
    for kind in ("hf", "server", "sandbox"):
        assert "layout" in (refused({**spec(kind, local), "template": template}, layout) or "")


def test_words_that_ask_for_a_text_in_every_mode(tmp_path: Path) -> None:
    path = tmp_path / "own.jinja"
    path.write_text(
        '{# parser: scores #}{% include "layout" %}{% include "material" %}'
        '{% if mode == "json" %}As JSON.{% else %}Scores: 7 5{% endif %}'
    )
    assert load_template(str(path)).modes == ("text", "json")
    why = refused({"spec": SERVER, "template": str(path), "verdict": "logprob"})
    assert why is not None
    assert "does not use mode to ask for logprob" in why


CANNOT: list[tuple[dict[str, Any], str]] = [
    ({"verdict": "logprob", "extra_body": {"logprobs": False}}, "switches logprobs off"),
    ({"verdict": "logprob", "extra_body": {"top_logprobs": 1}}, "top_logprobs 1, and there are 2 labels"),
    ({"verdict": "logprob", "extra_body": {"top_logprobs": None}}, "top_logprobs None"),
    ({"verdict": "logprob", "extra_body": {"reasoning_effort": "high"}}, "reasons before it answers"),
    ({"verdict": "logprob", "extra_body": {"reasoning": {"enabled": True}}}, "reasons before it answers"),
    ({"verdict": "logprob", "extra_body": {"thinking": {"type": "enabled"}}}, "reasons before it answers"),
    ({"verdict": "logprob", "extra_body": {"chat_template_kwargs": {"enable_thinking": True}}}, "reasons before"),
    ({"verdict": "logprob", "extra_body": {"reasoning": {"max_tokens": 2000}}}, "reasons before it answers"),
    ({"verdict": "logprob", "extra_body": {"think": True}}, "reasons before it answers (think: True)"),
    ({"verdict": "logprob", "extra_body": {"thinking_budget": 512}}, "reasons before it answers"),
    ({"verdict": "logprob", "extra_body": {"stop": ["1"]}}, "stop '1' ends its answer before a label"),
    ({"verdict": "logprob", "extra_body": {"max_tokens": 0}}, "an answer of 0 tokens"),
    ({"verdict": "logprob", "extra_body": {"response_format": {"type": "json_object"}}}, "sets response_format"),
    ({"verdict": "json", "extra_body": {"response_format": {"type": "text"}}}, "asks for a text"),
    ({"verdict": "logprob", "reasoning_tags": [["<hmm>", "</hmm>"]]}, "reasons before it answers"),
    ({"verdict": "logprob", "sampling": {"stop": ["2"]}}, "stop '2' ends its answer before a label"),
    ({"verdict": "logprob", "spec": "https://api.anthropic.com/v1#m"}, "gives no log-probabilities"),
    ({"prefill": "Scores:", "spec": "https://api.openai.com/v1#m"}, "does not go on from it"),
    ({"prefill": "Scores:", "verdict": "json"}, "begins none"),
    ({"prefill": "Well:\nScores:", "template": "score_first"}, "the first line decides"),
    ({"prefill": "Scores:", "spec": "sandbox:judge"}, "a script does not go on from it"),
    ({"spec": "builtin:first", "verdict": "logprob"}, "fills no template"),
]


@pytest.mark.parametrize(("settings", "why"), CANNOT)
def test_what_cannot_work_is_refused_by_name(settings: dict[str, Any], why: str) -> None:
    assert why in (refused({"spec": SERVER, **settings}) or "")


@pytest.mark.parametrize(
    "settings",
    [
        {"verdict": "logprob", "extra_body": {"top_logprobs": 5}},
        {"verdict": "logprob", "extra_body": {"chat_template_kwargs": {"enable_thinking": False}}},
        {"verdict": "logprob", "extra_body": {"reasoning_effort": "none"}},
        {"verdict": "logprob", "extra_body": {"thinking": {"type": "disabled"}}},
        {"verdict": "logprob", "extra_body": {"reasoning": {"enabled": False}}},
        {"verdict": "logprob", "extra_body": {"thinking_budget": 0}, "reasoning_tags": [["<hmm>", "</hmm>"]]},
        {"verdict": "json", "extra_body": {"response_format": {"type": "json_object"}}},
        {"verdict": "logprob", "reasoning_tags": [["<hmm>", "</hmm>"]], "deciding_label": "last"},
        {"verdict": "logprob", "extra_body": {"reasoning_effort": "high"}, "deciding_label": "last"},
        {"verdict": "json", "prefill": '{"explanation": "'},
        {"prefill": "Scores:", "template": "score_first"},
        {"prefill": "Scores:"},
        {"sampling": {"stop": ["2"]}},
        {"verdict": "logprob", "samples_per_call": 4},
    ],
)
def test_what_may_work_is_not_refused(settings: dict[str, Any]) -> None:
    assert refused({"spec": SERVER, **settings}) is None


def test_five_alternatives_are_too_few_for_six_labels() -> None:
    why = refused({"spec": SERVER, "verdict": "logprob", "extra_body": {"top_logprobs": 5}}, "answer")
    assert "there are 6 labels (0, 1, 2, 3, 4 and 5)" in (why or "")


def test_doubts_are_named() -> None:
    """What only a server's first answer can tell; nothing is said of models that are known."""
    server = judge(JudgeSettings(spec=SERVER, verdict="logprob", prefill="My choice:"))
    assert [note.partition(" ")[0] for note in server.notes] == ["whether", "prefill:"]  # type: ignore[union-attr]
    jury = judge(JudgeSettings(jury=({"spec": SERVER, "verdict": "logprob"}, {"spec": "sandbox:judge"})))
    assert [note.partition(":")[0] for note in jury.notes] == ["m"]  # type: ignore[union-attr]
    for settings in ({"spec": SERVER}, {"spec": SERVER, "verdict": "json"}, {"spec": "sandbox:judge"}):
        assert judge(JudgeSettings(**settings)).notes == ()  # type: ignore[union-attr]
    vllm = {"continue_final_message": True, "add_generation_prompt": False}
    assert judge(JudgeSettings(spec=SERVER, prefill="Scores:", extra_body=vllm)).notes == ()  # type: ignore[union-attr]


# ---------------------------------------------------------------------- by the tokenizer


def test_a_tokenizer_that_cannot_write_the_labels(tmp_path: Path) -> None:
    path = build_label_model(tmp_path / "m", characters="".join(c for c in CHARACTERS if c not in "37"))
    assert refused({"spec": f"hf:{path}", "verdict": "logprob"}) is None
    why = refused({"spec": f"hf:{path}", "verdict": "logprob"}, "answer")
    assert "its tokenizer cannot write the label 3" in (why or "")
    assert refused({"spec": f"hf:{path}", "verdict": "text"}, "answer") is None


def test_a_chat_template_that_opens_reasoning(tmp_path: Path) -> None:
    path = build_label_model(tmp_path / "m", characters=CHARACTERS + "<>", template="<think>\n")
    told = {"spec": f"hf:{path}", "verdict": "logprob"}
    assert "opens its reasoning (<think>)" in (refused(told) or "")
    assert refused(told | {"deciding_label": "last"}) is None
    assert refused(told | {"prefill": "\n</think>\n\n"}) is None
    assert refused({"spec": f"hf:{path}"}) is None


def test_a_chat_template_that_can_switch_reasoning_off_is_a_doubt(tmp_path: Path) -> None:
    switch = "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
    path = build_label_model(tmp_path / "m", characters=CHARACTERS + "<>", template=switch)
    (note,) = judge(JudgeSettings(spec=f"hf:{path}", verdict="logprob")).notes  # type: ignore[union-attr]
    assert "can have it reason" in note
    closed = JudgeSettings(spec=f"hf:{path}", verdict="logprob", prefill="<think></think>")
    assert judge(closed).notes == ()  # type: ignore[union-attr]
