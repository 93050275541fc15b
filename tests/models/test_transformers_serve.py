"""Contestants and judge behind `transformers serve`, a real OpenAI-compatible server, each a tiny model made here.

What is particular to that server (transformers 5.23): a model is named by its path or hub id and loaded when it is
first asked for; one that it cannot load is HTTP 500, not 404; fields that it does not know are HTTP 422, but
`logprobs`, `response_format` and `n` are ignored without a word to the client; `seed` is obeyed, by seeding all of
torch; special tokens are left out of the text; without `max_tokens` it generates at least 1,024.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils.import_utils import is_serve_available

from arenaloop.sandbox.target import build_target, build_tokenizer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_serve_available(), reason="needs transformers[serving]"),
]
QUESTIONS = ["Why?", "How so?", "And then?"]


def build_speaker(path: Path, text: str) -> Path:
    """A chat model that answers everything with `text`, by weights that are set, not trained.

    Attention and feed-forward add nothing, so the last token alone decides the next one: each token of the text leads
    to the one after it. No character may come twice.
    """
    tokenizer = build_tokenizer()
    chain = tokenizer.convert_tokens_to_ids(["<|assistant|>", *text, tokenizer.eos_token])
    assert len(set(chain)) == len(chain)
    size = len(tokenizer)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=size + size % 2,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            weights.fill_(1.0 if "norm" in name else 0.0)
        model.model.embed_tokens.weight[range(size), range(size)] = 1.0
        for token, following in pairwise(chain):
            model.lm_head.weight[following, token] = 100.0
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    said = {"blue": "Blue sky", "grey": "Grey", "fair": "Score:7,5", "mute": "I hope"}
    made = {name: build_speaker(folder / name, text) for name, text in said.items()}
    return made | {"babble": build_target(folder / "babble", 0, width=16, layers=1, heads=2)}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server on a free port, once it says that it is well."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    line = [sys.executable, "-c", "from transformers.cli.transformers import main; main()", "serve"]
    line += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with open(log, "wb") as out, subprocess.Popen(line, stdout=out, stderr=out, env=environment) as process:
        try:
            while True:
                assert process.poll() is None, log.read_text()
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                        assert answer.status == 200
                    break
                except (urllib.error.URLError, ConnectionError):
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()


class Run:
    """One battle run: how it ended, what it stored; one that stopped early has no result files."""

    def __init__(self, folder: Path, code: int, said: str) -> None:
        self.code, self.said = code, said
        self.summary: dict[str, Any] = {}
        self.battles: list[dict[str, Any]] = []
        if code != 4:
            self.summary = json.loads((folder / "summary.json").read_text())
            self.battles = [json.loads(line) for line in (folder / "battles.jsonl").read_text().splitlines()]
        with closing(sqlite3.connect(folder / "arena.db")) as db:
            self.answers = set(db.execute("SELECT model, text, status, finish_reason FROM responses"))
            self.verdicts = set(db.execute("SELECT status, raw, finish_reason, sample FROM verdicts"))


def fight(folder: Path, url: str, models: dict[str, Path], judge: dict[str, Any], *more: str) -> Run:
    """`arenaloop battle` between blue and grey, in a process of its own."""
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": q}) + "\n" for q in QUESTIONS))
    (folder / "judge.yaml").write_text(json.dumps(judge | {"timeout": 250}))
    line = [sys.executable, "-c", "from arenaloop.cli import main; main()", "battle", "--prompts", "prompts.jsonl"]
    line += [f"--model={name}={url}#{models[name]}" for name in ("blue", "grey")]
    line += ["--judge", "judge.yaml", "--out", "run", *more]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True)
    assert ran.returncode in (0, 3, 4), ran.stderr
    return Run(folder / "run", ran.returncode, ran.stderr)


def test_battles_are_decided(url: str, models: dict[str, Path], tmp_path: Path) -> None:
    """A judge that prefers whoever sits first: each battle is a tie of two seats that disagree."""
    run = fight(tmp_path, url, models, {"spec": f"{url}#{models['fair']}"})
    assert run.code == 0, run.said
    assert run.answers == {("blue", "Blue sky", "ok", "stop"), ("grey", "Grey", "ok", "stop")}
    assert run.verdicts == {("ok", "Score:7,5", "stop", 0)}
    summary = run.summary
    assert (summary["battles_wanted"], summary["battles_decided"], summary["verdicts_ok"]) == (3, 3, 6)
    assert (summary["first_seat_win_rate"], summary["flip_rate"]) == (1.0, 1.0)
    assert summary["calls"] == 12
    assert summary["tokens_in"] > 6 * 1000  # the judge read its template and both answers
    assert summary["tokens_out"] == 3 * (len("Blue sky") + 1) + 3 * (len("Grey") + 1) + 6 * (len("Score:7,5") + 1)
    assert {(b["winner"], b["score_a"], b["flipped"]) for b in run.battles} == {("tie", 6.0, True)}
    again = fight(tmp_path, url, models, {"spec": f"{url}#{models['fair']}"})
    assert (again.code, again.summary["calls"], again.summary["cached"]) == (0, 12, 6)


def test_a_judge_that_names_no_scores(url: str, models: dict[str, Path], tmp_path: Path) -> None:
    """Its words are stored as they are, under a status; nothing is made of them."""
    run = fight(tmp_path, url, models, {"spec": f"{url}#{models['mute']}"}, "--reask", "1")
    assert run.code == 3
    assert run.verdicts == {("unparsed", "I hope", "stop", 0), ("unparsed", "I hope", "stop", 1)}
    assert run.summary["verdicts_failed"]["unparsed"] == 6
    assert run.battles == []
    assert "3 battles undecided" in run.said


def test_a_judge_that_babbles(url: str, models: dict[str, Path], tmp_path: Path) -> None:
    """An untrained model comes to no end: cut off at its limit, and no verdict whatever it holds."""
    judge = {"spec": f"{url}#{models['babble']}", "sampling": {"max_tokens": 8, "temperature": 0.0}}
    run = fight(tmp_path, url, models, judge, "--reask", "0")
    assert run.code == 3
    assert {(status, finish) for status, _, finish, _ in run.verdicts} == {("truncated", "length")}
    assert run.summary["verdicts_failed"]["truncated"] == 6


def test_log_probabilities_that_it_does_not_give(url: str, models: dict[str, Path], tmp_path: Path) -> None:
    """The server ignores the wish: its first answer is stored as no verdict, and ends the run with the reason."""
    judge = {"spec": f"{url}#{models['fair']}", "verdict": "logprob"}
    run = fight(tmp_path, url, models, judge, "--reask", "0", "--concurrency", "1")
    assert run.code == 4
    assert "answers without log-probabilities" in run.said
    assert len(run.verdicts) == 1
    assert {status for status, *_ in run.verdicts} <= {"unparsed", "truncated"}  # of one token, with nothing to read
