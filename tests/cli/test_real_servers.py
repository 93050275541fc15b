"""Contestants and judge behind a real OpenAI-compatible server, `transformers serve`, by the ids that it knows."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

for module in ("torch", "transformers", "fastapi", "uvicorn"):
    pytest.importorskip(module)

SPECIAL = ["<|pad|>", "<|end|>", "<|turn|>", "<|assistant|>", "<|unk|>"]
TEMPLATE = "{% for m in messages %}{{ m['content'] + '<|turn|>' }}{% endfor %}{{ '<|assistant|>' }}"


def save_model_that_says(path: Path, words: Sequence[str]) -> None:
    """A Llama whose layers add nothing: a token's embedding is one-hot, and the output layer says what follows it."""
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = {token: at for at, token in enumerate([*SPECIAL, *words])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<|unk|>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s"), "isolated")
    backend.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        unk_token="<|unk|>",
        additional_special_tokens=["<|turn|>", "<|assistant|>"],
    )
    tokenizer.chat_template = TEMPLATE
    size = 32
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocabulary),
            hidden_size=size,
            intermediate_size=size,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=4096,
            bos_token_id=None,
            eos_token_id=1,
            pad_token_id=0,
            tie_word_embeddings=False,
        )
    )
    chain = ["<|assistant|>", *words, "<|end|>"]
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "norm" not in name:
                weights.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(len(vocabulary), size))
        for before, after in pairwise(chain):
            model.lm_head.weight[vocabulary[after], vocabulary[before]] = 1.0
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)


def ready(address: str) -> bool:
    """Whether somebody answers there."""
    try:
        urllib.request.urlopen(address, timeout=5).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`transformers serve` on a free port of the loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log"
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", "--host", "127.0.0.1", "--device", "cpu"]
    with log.open("wb") as out:
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        server = subprocess.Popen(
            [*command, "--port", str(port)], stdout=out, stderr=subprocess.STDOUT, env=environment
        )
        try:
            while not ready(f"http://127.0.0.1:{port}/health"):
                with pytest.raises(subprocess.TimeoutExpired):  # it still runs
                    server.wait(0.2)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait(30)


@pytest.mark.slow
def test_a_battle_of_served_models(arenaloop: Callable[..., Any], url: str, tmp_path: Path) -> None:
    says = {"first: a": ["yes", " ", "indeed"], "second/b c": ["no"], "judge": ["Both try.", "\n", "Scores: 7 5"]}
    for name, words in says.items():
        save_model_that_says(tmp_path / name, words)
    rows = [{"instruction": f"question {number}"} for number in range(3)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    models = [f"--model={name.split()[0].strip(':/')}={url}#{tmp_path / name}" for name in says if name != "judge"]
    arguments = (*models, "--prompts", "prompts.jsonl", "--judge", f"{url}#{tmp_path / 'judge'}", "--out", "run")
    result = arenaloop("battle", *arguments)
    assert result.code == 0, result.lines
    summary = json.loads((tmp_path / "run" / "summary.json").read_text("utf-8"))
    assert (summary["battles_decided"], summary["verdicts_ok"], summary["calls"]) == (3, 6, 12)
    assert summary["first_seat_win_rate"] == 1.0
    assert summary["tokens_out"] == 3 * (4 + 2) + 6 * 4  # the words, and the end
    again = arenaloop("battle", *arguments)
    assert again.code == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text("utf-8"))["calls"] == 12
