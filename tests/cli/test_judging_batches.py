"""`--batch` of `rejudge` and `audit`: verdicts are ordered, collected by the same command, paid once, at half price."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from batched_battles import Api, no_sleep

from arenaloop.calls.batch import rounds
from arenaloop.sandbox.judge import SandboxJudge
from arenaloop.sandbox.server import running_server
from arenaloop.store import Store

Command = Callable[..., Any]


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def judge(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arenaloop: Command) -> Iterator[str]:
    """A judge's file; what stands in this folder is where the command runs."""
    monkeypatch.setattr(rounds, "DEFAULT_SLEEP", no_sleep)
    with running_server({"judge": SandboxJudge()}, api) as url:
        (tmp_path / "judge.yaml").write_text(f'{{spec: "{url}#judge", price: {{input: 1, output: 2}}}}')
        yield "judge.yaml"


def spent(path: str) -> float:
    """US dollars of all verdicts, at half price, as their tokens have it."""
    with Store(path, readonly=True) as store:
        usage = store.usage()
    assert usage.usd == pytest.approx(0.5 * (usage.tokens_in + 2 * usage.tokens_out) / 1e6)
    assert usage.usd is not None
    return usage.usd


def test_rejudging_through_batches(arenaloop: Command, judge: str, api: Api, tmp_path: Path) -> None:
    rows = [{"prompt": f"question {n}"} for n in range(6)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in "ab":
        answers = [row | {"output": f"{name} answers {n}" * (1 + ord(name) % 2)} for n, row in enumerate(rows)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    models = ("--model", "a=file:a.jsonl", "--model", "b=file:b.jsonl", "--prompts", "prompts.jsonl")
    assert arenaloop("battle", *models, "--judge", "builtin:longest", "--out", "out").code == 0
    command = ("rejudge", "out", "--judge", judge)
    live, planned = (json.loads(arenaloop(*command, *how, "--dry-run", "--json").out) for how in ((), ("--batch",)))
    assert (planned["estimate"]["batch"], planned["estimate"]["calls"]) == (True, 12)
    assert planned["estimate"]["usd"] == pytest.approx(live["estimate"]["usd"] / 2)
    stopped = arenaloop(*command, "--batch", "--no-wait")
    assert stopped.code == 4
    assert "batch not done" in stopped.lines[-1]
    (folder,) = (tmp_path / "out" / "rejudged").iterdir()
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["battles_decided"], summary["stopped"]) == (0, "1 batch not done (batch_2)")
    assert (folder / "leaderboard.json").is_file()
    refused = arenaloop(*command)
    assert refused.code == 2
    assert "go on with --batch, or give them up with --forget-batches" in refused.lines[-1]
    done = arenaloop(*command, "--batch", "--json")
    assert done.code == 0, done.lines
    told = json.loads(done.out)
    assert (told["compared"], sum(api.times.values())) == (6, 12)
    summary = json.loads((Path(told["directory"]) / "summary.json").read_text())
    assert summary["usd"] == pytest.approx(spent("out/arena.db"))
    again = arenaloop(*command, "--batch", "--dry-run")
    assert "all 6 battles decided on 6 prompts · nothing to ask · judge " in again.lines[0]
    assert arenaloop(*command, "--batch").code == 0
    assert sum(api.times.values()) == 12
    assert not (tmp_path / "out" / "batches").exists()
    nothing = arenaloop("rejudge", "out", "--batch")
    assert (nothing.code, nothing.lines[-1].partition(";")[0]) == (2, "arenaloop: --batch: nothing would be asked")


def test_an_audit_through_batches(arenaloop: Command, judge: str, api: Api, tmp_path: Path) -> None:
    rows = [
        {"instruction": f"question {n}", "output_1": f"one {n}", "output_2": f"another {n}", "preference": 1 + n % 2}
        for n in range(8)
    ]
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judges = ("--judge", f"served={judge}", "--judge", "builtin:longest")
    command = ("audit", *judges, "--labels", "labels.jsonl", "--out", "out")
    live, planned = (json.loads(arenaloop(*command, *how, "--dry-run", "--json").out) for how in ((), ("--batch",)))
    assert (planned["estimate"]["batch"], planned["estimate"]["calls"]) == (True, 16)
    assert planned["estimate"]["usd"] == pytest.approx(live["estimate"]["usd"] / 2)
    assert arenaloop(*command, "--batch", "--no-wait").code == 4
    refused = arenaloop(*command)
    assert "give them up with --forget-batches" in refused.lines[-1]
    done = arenaloop(*command, "--batch", "--json")
    assert done.code == 0, done.lines
    found = {row["judge"]: row for row in json.loads(done.out)["leaderboard"]}
    assert found["served"]["undecided"] == found["longest"]["undecided"] == 0
    assert sum(api.times.values()) == 16
    assert arenaloop(*command, "--dry-run").lines[0].endswith("8 labelled pairs · nothing to ask")
    assert found["served"]["usd_per_1000"] == pytest.approx(1000 * spent("out/arena.db") / 16)
    assert arenaloop(*command, "--batch").code == 0
    assert sum(api.times.values()) == 16
    local = arenaloop(*command, "--judge", "here=sandbox:judge", "--batch")
    assert (local.code, len(local.lines)) == (2, 1)
    assert "judge here: batches are for judges on an OpenAI-style server" in local.lines[0]
