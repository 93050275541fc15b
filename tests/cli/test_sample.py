"""`arenaloop sample`: samples and the best of them, paid once, in rows that the other verbs read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arenaloop.data.prompts import read_prompts
from arenaloop.store import Store
from arenaloop.train.rows import conversation

Command = Callable[..., Any]
PROMPTS = "sandbox:prompts?n=12"
LONGEST = "def length(prompts, answers):\n    return [float(len(answer)) for answer in answers]\n"


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def paid(out: Path) -> int:
    with Store(f"{out}.db", readonly=True) as store:
        return store.usage().calls


def asking(served: Any, tmp_path: Path, n: int = 4) -> list[str]:
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"go {at}"}) + "\n" for at in range(n)))
    return ["sample", "--model", f"{served.url}#m", "--prompts", "prompts.jsonl", "--out", "out.jsonl"]


def test_samples_are_rows_that_others_read(arenaloop: Command, tmp_path: Path) -> None:
    for name, n in (("scholar", 1), ("novice", 3)):
        done = arenaloop(
            *("sample", "--model", f"sandbox:{name}", "--prompts", PROMPTS, "--samples", n, "--out", f"{name}.jsonl")
        )
        assert (done.code, done.lines) == (0, [f"{name}.jsonl: {12 * n} answers to 12 prompts"])
    found = rows(tmp_path / "novice.jsonl")
    assert [row["sample"] for row in found] == [0, 1, 2] * 12
    assert len({json.dumps(row["completion"]) for row in found}) > 12
    prompt, completion = conversation(found[0], 0)
    assert (prompt, completion) == (found[0]["prompt"], found[0]["completion"])
    prompts = read_prompts(tmp_path / "novice.jsonl")
    assert (len(prompts), prompts.duplicates) == (12, 24)
    assert [p.id for p in prompts] == [row["prompt_id"] for row in found[::3]]
    best = arenaloop(
        *("sample", "--model", "sandbox:novice", "--prompts", "novice.jsonl", "--out", "best.jsonl"),
        *("--best-of", 2, "--reward", "sandbox:gold"),
    )
    assert best.code == 0, best.lines
    assert best.lines[:2] == [
        "note: novice.jsonl: columns not used: sample",
        "best.jsonl: 12 best answers to 12 prompts",
    ]
    battle = arenaloop(
        *("battle", "--model", "a=file:scholar.jsonl", "--model", "b=file:best.jsonl", "--prompts", "novice.jsonl"),
        *("--judge", "builtin:longest", "--out", "run"),
    )
    assert battle.code == 0, battle.lines
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["battles_decided"] == 12


def test_the_best_is_chosen_and_what_others_would_have_come_to_is_told(arenaloop: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(LONGEST)
    arguments = ["sample", "--model", "sandbox:novice", "--prompts", PROMPTS, "--out", "best.jsonl"]
    every = arenaloop(*arguments, "--samples", 5, "--reward", "python:mine.py:length")
    assert every.code == 0, every.lines
    scores = [row["score"] for row in rows(tmp_path / "best.jsonl")]
    before = paid(tmp_path / "best.jsonl")
    best = arenaloop(*arguments, "--best-of", 5, "--reward", "python:mine.py:length", "--reward", "sandbox:gold")
    assert best.code == 0, best.lines
    assert paid(tmp_path / "best.jsonl") == before  # the samples were there
    found = rows(tmp_path / "best.jsonl")
    groups = [scores[at : at + 5] for at in range(0, 60, 5)]
    assert [row["score"] for row in found] == [max(group) for group in groups]
    assert [row["sample"] for row in found] == [group.index(max(group)) for group in groups]
    assert all(0 <= row["worth"] <= 1 for row in found)
    assert best.lines[0] == "best.jsonl: 12 best answers to 12 prompts"
    told = " ".join(" ".join(best.lines[1:]).split())
    mean = sum(scores) / 60
    assert f"mean score of all samples {mean:.4g}" in told
    highest = sum(map(max, groups)) / 12
    assert f"score of the best of n (over 12 prompts whose samples all have one): 1: {mean:.4g} · 2: " in told
    assert f"· 5: {highest:.4g} worth of the best of n" in told
    assert "the best of 5 is at most 0.81 nats from the model" in told


def test_what_was_paid_for_is_not_paid_again(arenaloop: Command, served: Any, tmp_path: Path) -> None:
    served.answer = lambda body: f"answer {len(served.heard)}"
    arguments = asking(served, tmp_path)
    assert served.heard == []
    stopped = arenaloop(*arguments, "--samples", 3, "--budget-calls", 5)
    assert stopped.code == 4
    assert "7 of 12 answers missing" in stopped.lines[-1]
    assert not (tmp_path / "out.jsonl").exists()
    done = arenaloop(*arguments, "--samples", 3)
    assert done.code == 0, done.lines
    assert len(served.heard) == 12
    assert {body["temperature"] for body in served.heard} == {1.0}
    first = rows(tmp_path / "out.jsonl")
    assert arenaloop(*arguments, "--samples", 3).code == 0
    assert arenaloop(*arguments, "--samples", 4).code == 0
    assert len(served.heard) == 16
    assert [row for row in rows(tmp_path / "out.jsonl") if row["sample"] < 3] == first


def test_missing_answers_are_told_and_asked_again(arenaloop: Command, served: Any, tmp_path: Path) -> None:
    served.answer = lambda body: 400 if body["messages"][0]["content"] == "go 1" else "fine"
    arguments = asking(served, tmp_path)
    failed = arenaloop(*arguments)
    assert failed.code == 3
    assert "1 answers missing (most often: HTTP 400" in " ".join(" ".join(failed.lines).split())
    assert [row["prompt"][0]["content"] for row in rows(tmp_path / "out.jsonl")] == ["go 0", "go 2", "go 3"]
    served.answer = lambda body: "fine now"
    assert arenaloop(*arguments).code == 0
    assert len(rows(tmp_path / "out.jsonl")) == 4


def test_a_judges_verdicts_are_kept_beside_the_samples(arenaloop: Command, tmp_path: Path) -> None:
    (tmp_path / "judge.yaml").write_text("spec: sandbox:judge\n")
    arguments = ["sample", "--model", "sandbox:novice", "--prompts", PROMPTS, "--out", "best.jsonl"]
    done = arenaloop(*arguments, "--best-of", 4, "--reward", "judge:judge.yaml", "--reward", "sandbox:gold")
    assert done.code == 0, done.lines
    first = (tmp_path / "best.jsonl").read_bytes()
    before = paid(tmp_path / "best.jsonl")
    assert before > 12 * 4  # samples and verdicts
    again = arenaloop(*arguments, "--best-of", 4, "--reward", "judge:judge.yaml", "--reward", "sandbox:gold")
    assert again.code == 0
    assert paid(tmp_path / "best.jsonl") == before
    assert (tmp_path / "best.jsonl").read_bytes() == first


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--samples", "2", "--best-of", "2", "--reward", "sandbox:gold"], "--samples and --best-of: one of them"),
        (["--best-of", "2"], "--best-of needs --reward"),
        (["--samples", "2", "--reward", "sandbox:gold", "--reward", "sandbox:gold"], "one that scores"),
        (["--samples", "2", "--temperature", "0"], "temperature 0 gives 2 times the same answer"),
        (["--best-of", "2", "--reward", "sandbox:silver"], "sandbox:gold"),
        (["--best-of", "2", "--reward", "reward:nowhere"], "nowhere does not hold a model"),
        (["--best-of", "2", "--reward", "judge:none.yaml"], "none.yaml: No such file"),
        (["--model", "file:prompts.jsonl"], "recorded answers cannot be sampled"),
        (["--out", "there.jsonl"], "there.jsonl is there without there.jsonl.db"),
        (["--out", "folder"], "a directory, where a file"),
        (["--prompts", "empty.jsonl"], "empty.jsonl"),
        (["--model", "best.yaml", "--best-of", "2", "--reward", "sandbox:gold"], "has best_of_n already"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_asked(
    arenaloop: Command, served: Any, tmp_path: Path, more: list[str], says: str
) -> None:
    arguments = asking(served, tmp_path)
    (tmp_path / "there.jsonl").write_text("{}\n")
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "best.yaml").write_text(f"spec: {served.url}#m\nbest_of_n: {{n: 2, reward: sandbox:gold}}\n")
    refused = arenaloop(*arguments, *more)
    assert refused.code == 2, refused.lines
    assert says in refused.lines[-1]
    assert served.heard == []
    assert (tmp_path / "there.jsonl").read_text() == "{}\n"
