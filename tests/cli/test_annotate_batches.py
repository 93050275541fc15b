"""`arenaloop annotate --batch`: each pair is a request of a batch, collected by the same command, and paid once."""

from __future__ import annotations

import json
from collections import Counter
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
POOL = """p_label_flip: 0
model: {{spec: "{url}#judge", price: {{input: 1, output: 2}}}}
members:
  - {{name: words, template: annotator_plain, batch: 3}}
  - {{name: object, template: annotator_guideline, batch: 4, verdict: json}}
  - {{name: scores, template: pairwise}}
  - {{name: rule, spec: "builtin:longest"}}
"""


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def command(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arenaloop: Command) -> Iterator[tuple[Any, ...]]:
    monkeypatch.setattr(rounds, "DEFAULT_SLEEP", no_sleep)
    pairs = [{"instruction": f"question {n}", "output_1": f"one {n}", "output_2": f"another {n}"} for n in range(24)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    with running_server({"judge": SandboxJudge()}, api) as url:
        (tmp_path / "pool.yaml").write_text(POOL.format(url=url))
        yield "annotate", "pairs.jsonl", "--pool", "pool.yaml", "--out", "out.jsonl", "--batch"


def labels(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_pair_is_a_request_by_itself_and_all_of_them_are_collected(
    arenaloop: Command, command: tuple[Any, ...], api: Api, tmp_path: Path
) -> None:
    planned = json.loads(arenaloop(*command, "--dry-run", "--json").out)
    assert planned["estimate"]["batch"] is True
    stopped = arenaloop(*command, "--no-wait")
    assert stopped.code == 4
    assert "batches not done" in stopped.lines[-1]
    ordered = Counter(api.times)
    live = arenaloop(*command[:-1])
    assert (live.code, len(live.lines)) == (2, 1)
    assert "go on with --batch, or give them up with --forget-batches" in live.lines[0]
    done = arenaloop(*command, "--json")
    assert done.code == 0, done.lines
    told, found = json.loads(done.out), labels(tmp_path / "out.labels.jsonl")
    by = Counter(label["annotator"] for label in found)
    assert set(by) == {"words", "object", "scores", "rule"}
    assert {label["status"] for label in found} == {"ok"}
    assert sum(api.times.values()) == told["calls"] == planned["calls_planned"] == 24 - by["rule"]
    assert set(api.times.values()) == {1}
    assert set(ordered) <= set(api.times)
    with Store("out.jsonl.db", readonly=True) as store:
        usage = store.usage()
    assert usage.usd == pytest.approx(0.5 * (told["tokens_in"] + 2 * told["tokens_out"]) / 1e6)  # a batch's price
    again = arenaloop(*command)
    assert (again.code, sum(api.times.values())) == (0, told["calls"])
    assert not (tmp_path / "out.jsonl.batches").exists()


def test_what_a_batch_does_not_bring_is_a_failure_and_asked_again(
    arenaloop: Command, command: tuple[Any, ...], api: Api, tmp_path: Path
) -> None:
    struck: set[str] = set()

    def mishap(line: dict[str, Any], times: int) -> Any:
        if len(struck) < 2:
            struck.add(line["custom_id"])
        return (None, {"message": "too hot"}) if line["custom_id"] in struck and times <= 2 else None

    api.mishap = mishap
    done = arenaloop(*command, "--json")
    assert done.code == 3, done.lines
    assert sum(json.loads(done.out)["failed"].values()) == 2
    assert "too hot" in " ".join(done.lines)
    assert arenaloop(*command).code == 0
    assert {label["status"] for label in labels(tmp_path / "out.labels.jsonl")} == {"ok"}


def test_an_annotator_on_no_server_is_refused(arenaloop: Command, command: tuple[Any, ...], tmp_path: Path) -> None:
    with (tmp_path / "pool.yaml").open("a") as file:
        file.write('  - {name: here, spec: "sandbox:judge"}\n')
    done = arenaloop(*command)
    assert (done.code, len(done.lines)) == (2, 1)
    assert "judge here: batches are for judges on an OpenAI-style server" in done.lines[0]
    assert not (tmp_path / "out.jsonl.db").exists()
