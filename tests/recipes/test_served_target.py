"""The same recipe by weights in this process and behind a server that gives what these said: the same preferences."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from small_self import META, build, run, settings

from arenaloop.jsonl import JsonRow
from arenaloop.models.checkpoint import checkpoint_fingerprint
from arenaloop.models.local import LocalModel
from arenaloop.recipes.self_rewarding_costs import estimate_costs
from arenaloop.specs.recipes.self_rewarding import build_self_rewarding
from arenaloop.store import Store
from arenaloop.types import Completion, Request

torch.set_num_threads(1)

Question = tuple[str, str, float]
Said = dict[Question, list[tuple[str, str]]]
SMALL = ("iterations=1", "data.prompts=sandbox:prompts?n=8")


def question(model: str, messages: Any, temperature: float) -> Question:
    """What is asked of whom; delimiters are made of the arena file's secret, so two runs' differ."""
    return model, re.sub(r"\b[0-9a-f]{16}\b", "…", json.dumps(list(messages))), temperature


class Replaying:
    """An OpenAI-compatible server on loopback that gives, sample by sample, what was said elsewhere."""

    def __init__(self, said: Said) -> None:
        self.said, self.heard, self.lacking = said, list[dict[str, Any]](), list[Question]()
        self.given: Counter[Question] = Counter()
        self.lock = threading.Lock()

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        asked, n = question(body["model"], body["messages"], body["temperature"]), body.get("n", 1)
        with self.lock:
            self.heard.append(body)
            start = self.given[asked]
            self.given[asked] += n
            if len(self.said.get(asked, ())) < start + n:
                self.lacking.append(asked)
        choices = [
            {"index": at, "message": {"role": "assistant", "content": text}, "finish_reason": end}
            for at, (text, end) in enumerate(self.said[asked][start : start + n])
        ]
        return {"choices": choices, "usage": {"prompt_tokens": 100, "completion_tokens": 10 * n}}


@contextmanager
def served(replaying: Replaying) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            raw = json.dumps(replaying.answer(body)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Said]:
    """A run by weights in this process, and all that its models said."""
    out, said = tmp_path_factory.mktemp("local"), defaultdict[Question, list[tuple[str, str]]](list)
    answered: dict[Question, dict[int, tuple[str, str]]] = defaultdict(dict)
    generate = LocalModel.generate

    def recorded(self: LocalModel, chunk: Sequence[Request], *rest: Any) -> list[Completion]:
        found = generate(self, chunk, *rest)
        for request, one in zip(chunk, found, strict=True):
            asked = question(self.name, request.messages, request.sampling.temperature)
            answered[asked][request.sample] = one.text, one.finish_reason or "stop"
        return found

    def spoken(request: Request) -> None:
        """The script judges; what it says is noted below."""

    recipe, heard = build(settings(META, *SMALL), out, spoken)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalModel, "generate", recorded)
        run(out, recipe)
    for asked, samples in answered.items():
        said[asked] = [samples[at] for at in sorted(samples)]
    with Store(out / "arena.db", readonly=True) as store:
        for request in heard:  # in the order of the votes
            record = store.judgement(request.key) or store.verdict(request.key)
            assert record is not None
            asked = question("M1", request.messages, request.sampling.temperature)
            said[asked].append((record.raw, "stop"))
    return out, said


def rows(out: Path, stage: str) -> list[JsonRow]:
    """What a stage learned from, without the keys of its calls, which tell who was asked."""
    found = [json.loads(line) for line in (out / "data" / f"{stage}.jsonl").read_text("utf-8").splitlines()]
    return [{key: value for key, value in row.items() if key not in ("verdicts", "judgements")} for row in found]


@pytest.mark.parametrize("samples", [3, 1])
def test_a_server_gives_the_same_preferences(local: tuple[Path, Said], tmp_path: Path, samples: int) -> None:
    there, said = local
    replaying = Replaying(said)
    with served(replaying) as url:
        server = {"spec": f"{url}#{{stage}}", "samples_per_call": samples, "concurrency": 1}
        checked = settings(META, *SMALL, target=META["target"] | {"server": server})
        result = run(tmp_path, build_self_rewarding(checked, tmp_path))
    assert replaying.lacking == []
    assert rows(tmp_path, "M2") == rows(there, "M2")
    assert '"judgements"' in (there / "data" / "M2.jsonl").read_text()  # of answers and of judgements
    local_summary = json.loads((there / "summary.json").read_text())
    titles = ("How the model judged answers", "Scores", "How the model judged its judgements", "Prompts dropped")
    tables, others = (
        {table["title"]: table["rows"] for table in summary["tables"] if table["title"] in titles}
        for summary in (result.summary, local_summary)
    )
    assert tables == others
    assert len(tables) >= 3
    # trained here on the same rows, so what is learned is the same to the bit
    for stage in ("M1", "M2"):
        assert checkpoint_fingerprint(tmp_path / "checkpoints" / stage) == checkpoint_fingerprint(
            there / "checkpoints" / stage
        )
    assert {body["model"] for body in replaying.heard} == {"M1", "M2"}
    several = [body["n"] for body in replaying.heard if "n" in body]
    assert (several != []) == (samples > 1)
    # three answers to each of eight prompts, three votes on each answer, and what else there is by itself
    once = [body for body in replaying.heard if body["temperature"] and "n" not in body]
    assert samples == 1 or (set(several) == {3} and once == [])
    calls = len(replaying.heard)
    recipe = build_self_rewarding(checked, tmp_path)  # the server is gone, and nobody is asked again
    run(tmp_path, recipe)
    assert len(replaying.heard) == calls


def test_a_plan_says_that_a_server_answers(tmp_path: Path) -> None:
    server = {"spec": "http://127.0.0.1:9/v1#{stage}", "samples_per_call": 3, "concurrency": 4}
    checked = settings(META, *SMALL, target=META["target"] | {"server": server}, machine={"call_seconds": 2.0})
    parts = {
        (part.stage, part.what): part
        for part in estimate_costs(build_self_rewarding(checked, tmp_path), tmp_path, None).parts
    }
    assert not parts["M2", "scores"].here
    assert parts["M2", "samples"].seconds == pytest.approx(8 * 3 / 3 * 2.0 / 4)
    assert parts["M2", "judgements compared"].seconds == pytest.approx(8 * 6 * 2.0 / 4)
    assert parts["M2", "scores"].memory is None
