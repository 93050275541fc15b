"""SPECs of judges without a model, of juries, and who judges himself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arenaloop.config import JudgeSettings, ModelSettings, validate
from arenaloop.errors import ConfigError, InputError
from arenaloop.judges.builtin import BUILTIN, BuiltinJudge
from arenaloop.judges.jury import Jury
from arenaloop.judges.labels import LabelsJudge
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.specs import judge, load_prompts, outside_sandbox, self_preference
from arenaloop.types import Prompt


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    row = {"instruction": "i", "output_1": "a", "output_2": "b", "preference": 1}
    path = tmp_path / "gpt.labels.jsonl"
    path.write_text("".join(json.dumps(row | {"annotator": who, "seed": n}) + "\n" for who in "xy" for n in (0, 1, 2)))
    return path


def test_rules() -> None:
    built = judge(JudgeSettings(spec="builtin:shortest", name="brief"))
    assert isinstance(built, BuiltinJudge)
    assert (built.kind, built.name) == ("shortest", "brief")
    with pytest.raises(ConfigError, match="no such rule; known: " + ", ".join(BUILTIN)):
        judge(JudgeSettings(spec="builtin:"))
    with pytest.raises(ConfigError, match="fills no template"):
        judge(JudgeSettings(spec="builtin:first", template="labels"))
    with pytest.raises(ConfigError, match="system works with servers only"):
        judge(JudgeSettings(spec="builtin:first", system="be fair"))


def test_recorded_labels_are_named_by_what_was_asked_for(recorded: Path) -> None:
    every = judge(JudgeSettings(spec=f"labels:{recorded}"))
    one = judge(JudgeSettings(spec=f"labels:{recorded}#annotator=x&seed=1"))
    named = judge(JudgeSettings(spec=f"labels:{recorded}#annotator=x", name="gpt"))
    assert isinstance(every, LabelsJudge)
    assert isinstance(one, LabelsJudge)
    assert isinstance(named, LabelsJudge)
    assert (every.name, one.name, named.name) == ("gpt", "x,1", "gpt")
    assert (every.votes, one.votes, named.votes) == (6, 1, 3)
    assert every.fingerprint != named.fingerprint
    with pytest.raises(InputError, match="no row with annotator=z"):
        judge(JudgeSettings(spec=f"labels:{recorded}#annotator=z"))
    with pytest.raises(ConfigError, match="expected labels:FILE"):
        judge(JudgeSettings(spec="labels:"))


def test_a_jury_hands_its_template_to_members_that_name_none() -> None:
    settings = validate(
        JudgeSettings,
        {
            "jury": [
                "sandbox:judge",
                {"spec": "sandbox:judge", "name": "b", "options": {"noise": 0.5}},
                "builtin:first",
            ],
            "template": "score_first",
        },
        "test",
    )
    built = judge(settings)
    assert isinstance(built, Jury)
    hashes = [member.template_hash for member in built.members]
    alone = judge(JudgeSettings(spec="sandbox:judge", template="score_first"))
    assert isinstance(alone, PairwiseJudge)
    assert hashes == [alone.template_hash, alone.template_hash, ""]
    assert built.name == "sandbox-judge+b+first"


def test_who_judges_himself() -> None:
    models = [
        ModelSettings(spec="http://h:1/v1#m?key_env=K", name="mine"),
        ModelSettings(spec="http://h:1/v1#other", name="other"),
        ModelSettings(spec="sandbox:scholar"),
    ]
    (line,) = self_preference(JudgeSettings(spec="http://h:1/v1/#m"), models)
    assert line.startswith("mine judges its own answers")
    assert self_preference(JudgeSettings(spec="http://h:2/v1#m"), models) == []
    assert self_preference(JudgeSettings(spec="builtin:longest"), models) == []
    jury = JudgeSettings(jury=(JudgeSettings(spec="builtin:first"), JudgeSettings(spec="http://h:1/v1#other")))
    assert [line.split()[0] for line in self_preference(jury, models)] == ["other"]


def test_the_sandboxs_judge_is_said_to_know_its_own_prompts_alone() -> None:
    sandbox, others = JudgeSettings(spec="sandbox:judge"), [Prompt.of(f"Why is {n} odd?") for n in range(5)]
    assert "sandbox:judge knows the sandbox's own prompts (0 of 5 here)" in outside_sandbox(sandbox, others)
    for world in ("tasks", "notes"):
        own = load_prompts("sandbox:prompts?n=5" + ("&world=notes" if world == "notes" else ""), 0).prompts
        assert outside_sandbox(sandbox, own) == ""
    assert outside_sandbox(JudgeSettings(spec="builtin:longest"), others) == ""
    assert outside_sandbox(sandbox, []) == ""
