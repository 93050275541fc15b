"""A judge in this process scores one answer by the exact probabilities of whole labels."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest
import torch
from label_model import build_label_model

from arenaloop.config import JudgeSettings
from arenaloop.judges.pointwise import RubricJudge
from arenaloop.judges.templates import load_template
from arenaloop.models.checkpoint import load_checkpoint
from arenaloop.models.local import LocalModel
from arenaloop.specs.judges import pointwise
from arenaloop.types import Prompt, Request, Response, Sampling, Status

TEN = """{# parser: score_10, layout: answer #}{% if mode == "logprob" %}0 to 10?{% else %}Score: N{% endif %}
{{ tag }}
{{ user }}
{{ tag }}
{% for text in answer %}{{ text }}
{{ tag }}
{% endfor %}"""


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_label_model(tmp_path_factory.mktemp("digits") / "tiny", characters="0123456789 ", labels="0123456789")


def probabilities(model: LocalModel, request: Request, after: str = "") -> dict[str, float]:
    """Of the next character, straight from the module."""
    module, tokenizer = load_checkpoint(model.path)
    text = model._chat.render(list(request.messages), prompt=True)
    ids = model._chat.tokens(text) + [tokenizer.convert_tokens_to_ids(c) for c in after]
    with torch.inference_mode():
        chances = module(torch.tensor([ids])).logits[0, -1].float().softmax(-1)
    return {tokenizer.decode([n]): float(p) for n, p in enumerate(chances)}


def test_ten_is_the_probability_of_its_two_tokens(digits: Path, tmp_path: Path) -> None:
    """Whatever the answer goes on with, alone or among others: P(10) = P(1) P(0 | 1), and 1 has the rest of P(1)."""
    path = tmp_path / "ten.jinja"
    path.write_text(TEN)
    model = LocalModel(digits, device="cpu")
    template = load_template(str(path), layout="answer")
    judge = RubricJudge(model, template=template, verdict="logprob", sampling=Sampling(max_tokens=8), label_mass=0.0)
    said = [(Prompt.of(f"question {n}"), Response("", "m", ("so " * n + "it is",))) for n in range(6)]
    requests = [judge.request(prompt, response, secret="s", seed=1) for prompt, response in said]
    assert all(request.labels == tuple(map(str, range(11))) for request in requests)
    completions = model.generate(requests)
    went_on = set()
    for (prompt, response), request, completion in zip(said, requests, completions, strict=True):
        first, after = probabilities(model, request), probabilities(model, request, "1")
        exact = {label: first[label] for label in "0123456789"}
        exact |= {"10": first["1"] * after["0"], "1": first["1"] * (1 - after["0"])}
        told = (completion.logprobs or ())[0]
        for label, probability in exact.items():
            assert math.exp(told[label]) == pytest.approx(probability, rel=1e-3), label
        judgement = judge.read(prompt, response, completion)
        assert judgement.status is Status.OK
        expectation = sum(int(label) * p for label, p in exact.items()) / sum(exact.values())
        assert judgement.score == pytest.approx(expectation, rel=1e-3)
        went_on.add(completion.text[:1] == "1")
    asyncio.run(model.aclose())


def test_a_judge_of_settings(digits: Path) -> None:
    judge = pointwise(JudgeSettings(spec=f"hf:{digits}", verdict="logprob", device="cpu", label_mass=0.0))
    assert (judge.scale, judge.parser.labels) == ((0.0, 5.0), tuple("012345"))
    judgement = asyncio.run(judge.judge(Prompt.of("q"), Response("", "m", ("a",)), secret="s", seed=0))
    assert judgement.status is Status.OK
    assert judgement.score is not None
    assert 0 <= judgement.score <= 5
    asyncio.run(judge.aclose())
