"""A judge that cannot work is refused by every verb before the first call, in one line; what may work is tried once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arenaloop.store import Store

CANNOT: list[tuple[dict[str, Any], str]] = [
    ({"verdict": "logprob", "extra_body": {"top_logprobs": 1}}, "there are 2 labels"),
    ({"verdict": "logprob", "extra_body": {"reasoning_effort": "high"}}, "reasons before it answers"),
    ({"verdict": "json", "prefill": "Scores:"}, "begins none"),
    ({"verdict": "logprob", "template": "rubric"}, "layout answer"),
]


@pytest.fixture
def files(tmp_path: Path) -> Any:
    """Two recorded contestants on 40 prompts, labels on them, and a judge's file."""
    asked = [f"question {n}" for n in range(40)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": q}) + "\n" for q in asked))
    for name in "ab":
        rows = [{"instruction": q, "output": f"{name} says {n}"} for n, q in enumerate(asked)]
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    labels = [{"instruction": q, "output_1": "a", "output_2": "b", "preference": 1} for q in asked]
    (tmp_path / "labels.json").write_text(json.dumps(labels))

    def verbs(settings: dict[str, Any]) -> list[list[str]]:
        (tmp_path / "judge.yaml").write_text(json.dumps(settings))
        models = ["--model", "a=file:a.json", "--model", "b=file:b.json", "--prompts", "prompts.jsonl"]
        battle = ["battle", *models, "--judge", "judge.yaml", "--out", "out"]
        return [battle, ["audit", "--judge", "judge.yaml", "--labels", "labels.json", "--out", "out"]]

    return verbs


@pytest.mark.parametrize(("settings", "why"), CANNOT)
def test_every_verb_refuses_it_before_the_first_call(
    arenaloop: Any, files: Any, served: Any, tmp_path: Path, settings: dict[str, Any], why: str
) -> None:
    battle, audit = files({"spec": f"{served.url}#m", **settings})
    for verb in ([*battle, "--dry-run"], battle, [*battle, "--batch"], [*audit, "--dry-run"], audit):
        result = arenaloop(*verb)
        assert result.code == 2, result.lines
        assert len(result.lines) == 1
        assert why in result.lines[0]
        assert not (tmp_path / "out").exists()
    assert served.heard == []


def test_a_server_without_log_probabilities_is_found_out_by_one_call(
    arenaloop: Any, files: Any, served: Any, tmp_path: Path
) -> None:
    served.answer = lambda body: "1"
    battle, _ = files({"spec": f"{served.url}#m", "verdict": "logprob", "concurrency": 32})
    dry = arenaloop(*battle, "--dry-run")
    assert dry.code == 0
    assert any("found out by one call" in line for line in dry.lines)
    assert served.heard == []
    stopped = arenaloop(*battle)
    assert stopped.code == 4
    assert "answers without log-probabilities" in stopped.lines[-1]
    assert len(served.heard) == 1
    assert served.heard[0]["top_logprobs"] == 20
    assert "n" not in served.heard[0]
    with Store(tmp_path / "out" / "arena.db") as store:
        assert store.usage().calls == 1


def test_samples_a_call_are_nothing_to_a_judge(arenaloop: Any, files: Any, served: Any) -> None:
    battle, _ = files({"spec": f"{served.url}#m", "samples_per_call": 4})
    assert arenaloop(*battle, "--json").code == 0
    assert len(served.heard) == 80
    assert not any("n" in body for body in served.heard)
