"""How forward passes are computed changes nothing but rounding, and what cannot be had is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters
from torch._inductor.exc import InvalidCxxCompiler

from arenaloop.config import LoraSettings, OptimSettings, PPOSettings, SFTSettings
from arenaloop.errors import ConfigError, InputError
from arenaloop.models.checkpoint import load_checkpoint
from arenaloop.models.decoding import Continuation, decode
from arenaloop.train import execution
from arenaloop.train.batches import TokenTable
from arenaloop.train.encoding import Encoded
from arenaloop.train.heads import head_on, load_head
from arenaloop.train.policy import load_policy
from arenaloop.train.sft import SFTObjective

CPU = torch.device("cpu")


def table(rows: int = 6) -> TokenTable:
    r = np.random.default_rng(0)
    encoded = []
    for _ in range(rows):
        prompt, answer = int(r.integers(1, 20)), int(r.integers(1, 40))
        ids = r.integers(6, 40, prompt + answer).tolist()
        encoded.append(Encoded(ids, [False] * prompt + [True] * answer, truncated=False))
    return TokenTable(encoded, 0)


def test_kinds_of_attention_agree(start: Path) -> None:
    found = {}
    for kind in ("eager", "sdpa"):
        policy = load_policy(start, OptimSettings(attention=kind))
        assert policy.module.config._attn_implementation == kind
        with torch.no_grad():
            found[kind] = policy.answer_logprobs(table().batch(np.arange(6)))
    assert torch.allclose(found["eager"], found["sdpa"], atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"attention": "spda"}, r"attention 'spda' is not known \(did you mean 'sdpa'\?\); known: eager, fl"),
        ({"attention": "org/kernels"}, "attention 'org/kernels' is not known"),
        ({"attention": "flash_attention_2"}, "attention flash_attention_2: the package flash-attn is not installed"),
        ({"use_liger": True}, "use_liger: the package liger-kernel is not installed"),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(start: Path, changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        load_policy(start, OptimSettings(**changes))
    assert "\n" not in str(caught.value)


def test_kernels_of_gpus_are_refused_without_one(start: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "find_spec", lambda name: name)
    for changes in ({"attention": "flash_attention_2"}, {"use_liger": True}):
        with pytest.raises(ConfigError, match="on a GPU, not on the device cpu"):
            load_policy(start, OptimSettings(**changes, device="cpu"))


def test_without_a_compiler_nothing_is_compiled(start: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise InvalidCxxCompiler("g++")

    monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", missing)
    with pytest.raises(ConfigError, match=r"compile: torch\.compile needs a C\+\+ compiler"):
        load_policy(start, OptimSettings(compile=True, device="cpu"))
    monkeypatch.setattr(execution, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"torch\.compile needs triton on a GPU"):
        execution.load_options(start, OptimSettings(compile=True), torch.device("cuda"))


def test_a_model_without_the_attention_is_named(start: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import LlamaForCausalLM

    monkeypatch.setattr(LlamaForCausalLM, "_supports_sdpa", False)
    with pytest.raises(InputError, match=r"cannot load the model .*attention"):
        load_policy(start, OptimSettings(attention="sdpa"))


def test_liger_patches_no_loss(start: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its package needs a GPU; here one stands in that says how it is called."""
    called: list[dict[str, Any]] = []
    fake: Any = ModuleType("liger_kernel.transformers.monkey_patch")
    fake.MODEL_TYPE_TO_APPLY_LIGER_FN = {"llama": None}
    fake._apply_liger_kernel_to_instance = lambda **named: called.append(named)
    for name in ("liger_kernel", "liger_kernel.transformers"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    module, _ = load_checkpoint(start)
    execution.prepare(module, OptimSettings(use_liger=True))
    assert called == [{"model": module, "cross_entropy": False, "fused_linear_cross_entropy": False}]
    fake.MODEL_TYPE_TO_APPLY_LIGER_FN = {}
    with pytest.raises(ConfigError, match="Liger has no kernels for models of the kind llama"):
        execution.prepare(module, OptimSettings(use_liger=True))


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Compilation up to the graph, without the minutes of a C++ compiler; how often it was done is counted."""

    def compiled(module: Any) -> None:
        module.base_model.compile(dynamic=True, backend="eager")

    monkeypatch.setattr(execution, "compiled", compiled)
    torch._dynamo.reset()
    counters.clear()
    yield lambda: counters["stats"]["unique_graphs"]
    torch._dynamo.reset()


def gradients(policy: Any, rows: np.ndarray) -> dict[str, torch.Tensor]:
    policy.module.zero_grad()
    SFTObjective(table()).loss(policy, rows, rows)[0].backward()
    return {name: p.grad.clone() for name, p in policy.module.named_parameters() if p.requires_grad}


@pytest.mark.long
def test_compiled_passes_say_the_same_and_are_compiled_once(start: Path, captured: Any) -> None:
    plain, fast = (load_policy(start, OptimSettings(lora=LoraSettings(r=4), compile=yes)) for yes in (False, True))
    frozen = fast.frozen()
    assert frozen.module.base_model._compiled_call_impl is not None
    assert captured() == 0  # neither loading nor the probe compiles
    batch = table().batch(np.arange(3))
    before = [policy.answer_logprobs(batch) for policy in (plain, fast)]
    assert torch.allclose(before[0], before[1], atol=1e-4)
    for policy in (plain, fast):  # adapters come between
        policy.adapt(seed=0)
        policy.train(False)
        with torch.no_grad():
            for at, parameter in enumerate(p for p in policy.module.parameters() if p.requires_grad):
                parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(at))
    assert not torch.allclose(fast.answer_logprobs(batch), before[1], atol=1e-2)
    graphs = captured()
    for chosen in ([0, 1, 2, 3], [3, 4], [2, 5, 0], [1, 0, 2, 3, 4, 5]):
        rows = np.array(chosen)
        batch = table().batch(rows)
        assert torch.allclose(fast.answer_logprobs(batch), plain.answer_logprobs(batch), atol=1e-4)
        expected, found = gradients(plain, rows), gradients(fast, rows)
        assert all(torch.allclose(found[name], value, atol=1e-5) for name, value in expected.items())
    assert captured() == graphs
    told = []
    for policy in (plain, fast):
        answers = [Continuation([6, 7, 8], 9), Continuation([6, 7], 5)]
        with policy.generating():
            decode(policy.module, answers, policy.end_ids)
        told.append([answer.tokens for answer in answers])
    assert told[0] == told[1]
    assert captured() == graphs  # decoding is not compiled


def test_compiled_heads_say_the_same(start: Path, captured: Any) -> None:
    scores = []
    for yes in (False, True):
        settings = PPOSettings(compile=yes, lora=LoraSettings(r=4))
        head = head_on(load_policy(start, settings))
        torch.manual_seed(0)
        torch.nn.init.normal_(head.module.score.weight)
        assert (head.module.base_model._compiled_call_impl is not None) == yes
        with torch.no_grad():
            scores.append(head.scores(table().batch(np.arange(6), whole=True)))
    assert torch.allclose(scores[0], scores[1], atol=1e-5)
    assert captured() == 1
    assert load_head(start, OptimSettings(compile=True)).compiled


def test_a_row_is_padded_to_the_window_at_most(start: Path) -> None:
    policy = load_policy(start, SFTSettings())
    policy.compiled = True
    assert policy.wide(torch.zeros(2, 3, dtype=torch.long)).shape == (2, 64)
    assert policy.wide(torch.zeros(2, 64, dtype=torch.long)).shape == (2, 64)
    policy.module.config.max_position_embeddings = 100
    assert policy.wide(torch.zeros(2, 65, dtype=torch.long)).shape == (2, 100)
    policy.compiled = False
    assert policy.wide(torch.zeros(2, 3, dtype=torch.long)).shape == (2, 3)


def test_how_it_is_computed_is_no_part_of_what_is_trained() -> None:
    plain = SFTSettings()
    assert SFTSettings(attention="sdpa", use_liger=True, compile=True).method() == plain.method()
    assert "lora" not in plain.method()
    assert "load_in" not in PPOSettings().method()
    lora = SFTSettings(lora=LoraSettings())
    assert lora.method() != plain.method()
    assert SFTSettings(lora=LoraSettings(), load_in="4bit").method() != lora.method()
