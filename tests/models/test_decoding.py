"""Decoding on token ids: what it draws, what it says about it, and what it leaves alone."""

from __future__ import annotations

import inspect
import threading
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

from arenaloop.errors import ConfigError
from arenaloop.models.decoding import Continuation, decode

torch.set_num_threads(1)

ENDS = frozenset({1, 2})


@pytest.fixture(scope="module")
def module() -> LlamaForCausalLM:
    torch.manual_seed(2)
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    return LlamaForCausalLM(LlamaConfig(vocab_size=20, **sizes, initializer_range=0.5)).eval()


def rows(**sampling: Any) -> list[Continuation]:
    r = np.random.default_rng(0)
    return [Continuation(r.integers(3, 20, n + 1).tolist(), 12, seed=n, **sampling) for n in range(8)]


@pytest.mark.parametrize("sampling", [{}, {"temperature": 1.0}, {"temperature": 0.6, "top_p": 0.7}])
def test_log_probabilities_are_those_of_one_forward_pass(module: LlamaForCausalLM, sampling: dict[str, float]) -> None:
    drawn, plain = rows(**sampling), rows(**sampling)
    decode(module, drawn, ENDS, logprobs=True)
    decode(module, plain, ENDS)
    assert [row.tokens for row in drawn] == [row.tokens for row in plain]
    assert len({len(row.tokens) for row in drawn}) > 2, "rows must leave the batch one by one"
    for row in drawn:
        ids = torch.tensor([[*row.prompt, *row.tokens]])
        with torch.no_grad():
            logits = module(ids).logits[0, len(row.prompt) - 1 : -1] / (row.temperature or 1.0)
        expected = logits.log_softmax(-1).gather(1, torch.tensor(row.tokens)[:, None])[:, 0]
        assert row.logprobs == pytest.approx(expected.tolist(), abs=1e-4)
    assert plain[0].logprobs == []


def test_rows_end_by_an_end_token_their_own_rule_or_their_limit(module: LlamaForCausalLM) -> None:
    free = rows(temperature=1.0)
    decode(module, free, frozenset())
    assert {(len(row.tokens), row.finish_reason) for row in free} == {(12, "length")}
    for given in (rows(temperature=1.0), rows(temperature=1.0)[::-1]):  # a row's draws are its own
        for row in given:
            row.limit, row.stops = 3 + row.seed, lambda tokens: tokens[-1] == 7
        decode(module, given, ENDS)
        for row in given:
            whole = free[row.seed].tokens
            first = next((at for at, token in enumerate(whole) if token in {*ENDS, 7}), 99)
            assert row.tokens == whole[: min(first + 1, row.limit)]
            assert row.finish_reason == ("stop" if first < row.limit else "length")


def test_it_draws_under_no_gradient_and_leaves_the_parameters_ready_for_one(module: LlamaForCausalLM) -> None:
    decode(module, rows(temperature=1.0), ENDS, logprobs=True)
    module(torch.tensor([[5, 6]])).logits.sum().backward()
    assert all(p.grad is not None for p in module.parameters())
    module.zero_grad()


def test_it_is_given_up_between_two_tokens(module: LlamaForCausalLM) -> None:
    stop, seen = threading.Event(), rows()

    def give_up(tokens: list[int]) -> bool:
        if len(tokens) == 2:
            stop.set()
        return False

    seen[0].stops = give_up
    decode(module, seen, frozenset(), stop=stop)
    assert {len(row.tokens) for row in seen} == {2}
    decode(module, [], ENDS)


def test_a_module_without_a_cache_is_refused() -> None:
    sizes: dict[str, Any] = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}

    class Plain(BertModel):
        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            return input_ids

    with pytest.raises(ConfigError, match="is a Plain, which cannot continue from a cache"):
        decode(Plain(BertConfig(vocab_size=20, **sizes)), rows(), ENDS)


@pytest.mark.parametrize("rest", [[1, 4, 9, 2], [3, 3, 3, 3]])
@pytest.mark.parametrize("sampling", [{}, {"temperature": 1.0}])
def test_what_all_prompts_begin_with_is_read_once(
    module: LlamaForCausalLM, rest: list[int], sampling: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same tokens and log-probabilities as each alone; the long beginning goes through the model a single time."""
    r = np.random.default_rng(1)
    shared = r.integers(3, 20, 300).tolist()

    def fresh() -> list[Continuation]:
        again = np.random.default_rng(2)
        ends = [again.integers(3, 20, n).tolist() for n in rest]
        return [Continuation(shared + end, 8, seed=n, **sampling) for n, end in enumerate(ends)]  # type: ignore[arg-type]

    alone, together = fresh(), fresh()
    for row in alone:
        decode(module, [row], ENDS, logprobs=True)
    read: list[tuple[int, ...]] = []
    forward = type(module).forward

    def count(self: Any, *args: Any, **options: Any) -> Any:
        read.append(tuple(options["input_ids"].shape))
        return forward(self, *args, **options)

    count.__signature__ = inspect.signature(forward)  # type: ignore[attr-defined]
    monkeypatch.setattr(type(module), "forward", count)
    decode(module, together, ENDS, logprobs=True)
    assert read[0][0] == 1
    assert read[0][1] >= 300
    assert all(rows * width <= 4 * 9 for rows, width in read[1:])
    for one, other in zip(alone, together, strict=True):
        assert one.tokens == other.tokens
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_samples_of_one_prompt_share_it(module: LlamaForCausalLM) -> None:
    prompt = np.random.default_rng(3).integers(3, 20, 280).tolist()
    rows_ = [Continuation(list(prompt), 6, temperature=1.0, seed=n) for n in range(5)]
    decode(module, rows_, ENDS)
    assert len({tuple(row.tokens) for row in rows_}) > 1
    for n in range(5):
        alone = Continuation(list(prompt), 6, temperature=1.0, seed=n)
        decode(module, [alone], ENDS)
        assert alone.tokens == rows_[n].tokens


@pytest.mark.parametrize("forbidden", [None, [5, 6, 7]])
def test_several_samples_of_several_prompts_read_each_once(
    module: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch, forbidden: list[int] | None
) -> None:
    """Same tokens and log-probabilities as each alone, prompts of several lengths in any order."""
    never = None if forbidden is None else torch.tensor(forbidden)
    r = np.random.default_rng(5)
    prompts = [r.integers(3, 20, n).tolist() for n in (3, 9, 5)]

    def fresh() -> list[Continuation]:
        return [Continuation(prompts[n % 3], 7, temperature=1.0, seed=n) for n in range(12)]

    alone, together = fresh(), fresh()
    for row in alone:
        decode(module, [row], ENDS, logprobs=True, forbidden=never)
    read: list[tuple[int, ...]] = []
    forward = type(module).forward

    def count(self: Any, *args: Any, **options: Any) -> Any:
        read.append(tuple(options["input_ids"].shape))
        return forward(self, *args, **options)

    count.__signature__ = inspect.signature(forward)  # type: ignore[attr-defined]
    monkeypatch.setattr(type(module), "forward", count)
    decode(module, together, ENDS, logprobs=True, forbidden=never)
    assert read[0] == (3, 9)
    for one, other in zip(alone, together, strict=True):
        assert one.tokens == other.tokens
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
        assert not set(one.tokens) & set(forbidden or ())
