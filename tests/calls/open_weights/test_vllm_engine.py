"""vLLM's engine by a stand-in for vLLM: what it is given, and what is read of what it gives."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from arenaloop.calls.open_weights import vllm_engine
from arenaloop.calls.open_weights.base import Adapter, EngineSettings
from arenaloop.calls.open_weights.holder import Holder
from arenaloop.calls.open_weights.vllm_engine import VllmEngine
from arenaloop.models.checkpoint import checkpoint_fingerprint, load_tokenizer
from arenaloop.sandbox.target import build_target
from arenaloop.types import Request, Sampling, Status


@dataclass
class Seen:
    """What vLLM was given."""

    arguments: dict[str, Any]
    prompt: list[int]
    sampling: dict[str, Any]
    lora: tuple[Any, ...] | None


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(build_target(tmp_path_factory.mktemp("m"), 0, width=16, layers=1, heads=2))


@pytest.fixture
def seen(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Seen:
    """A module ``vllm`` that says "yes" and has two log-probabilities for it."""
    seen, tokenizer = Seen({}, [], {}, None), load_tokenizer(weights)

    class AsyncLLM:
        model_config = SimpleNamespace(max_model_len=256, try_get_generation_config=lambda: {"eos_token_id": [1]})

        @classmethod
        def from_engine_args(cls, arguments: dict[str, Any]) -> AsyncLLM:
            seen.arguments = arguments
            return cls()

        async def get_tokenizer(self) -> Any:
            return tokenizer

        async def generate(
            self, prompt: Any, sampling: Any, request_id: str, *, lora_request: Any
        ) -> AsyncIterator[Any]:
            seen.prompt, seen.sampling, seen.lora = prompt["prompt_token_ids"], sampling, lora_request
            tokens = tokenizer("yes", add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
            told = [{tokens[0]: SimpleNamespace(logprob=-0.5), 5: SimpleNamespace(logprob=-0.1)} for _ in tokens]
            yield SimpleNamespace(outputs=[SimpleNamespace(token_ids=tokens, finish_reason="stop", logprobs=told)])

        def shutdown(self) -> None: ...

    parts: dict[str, dict[str, Any]] = {
        "vllm": {"__version__": "0.29.0"},
        "vllm.engine.arg_utils": {"AsyncEngineArgs": dict},
        "vllm.v1.engine.async_llm": {"AsyncLLM": AsyncLLM},
        "vllm.lora.request": {"LoRARequest": lambda *given: given},
        "vllm.sampling_params": {
            "SamplingParams": dict,
            "RequestOutputKind": SimpleNamespace(FINAL_ONLY="final"),
            "StructuredOutputsParams": dict,
        },
    }
    for name, holds in parts.items():
        module = ModuleType(name)
        vars(module).update(holds)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(vllm_engine, "find_spec", lambda name: name)
    return seen


def test_a_request_and_its_answer(weights: Path, seen: Seen) -> None:
    async def run() -> Any:
        engine = VllmEngine(EngineSettings(str(weights), tp=2, lora_rank=12, loras=1, more={"swap_space": 1}))
        loaded = await engine.load()
        request = Request(
            ({"role": "user", "content": "Is it so?"},), Sampling(temperature=0.7, max_tokens=9, stop=("##",)),
            seed=3, key="k", top_logprobs=1, labels=("yes", "no"), schema={"type": "string"},
        )  # fmt: skip
        told = await engine.answer(request, Adapter("mine", "/lora"))
        await engine.close()
        return loaded, told

    loaded, told = asyncio.run(run())
    assert (loaded.engine, loaded.weights) == ("vllm 0.29.0", checkpoint_fingerprint(weights))
    wanted = {"tensor_parallel_size": 2, "enable_lora": True, "max_loras": 1, "max_lora_rank": 16, "swap_space": 1}
    assert wanted.items() <= seen.arguments.items()
    assert seen.lora == ("mine", 1, "/lora")
    sampling = seen.sampling
    assert (sampling["temperature"], sampling["max_tokens"], sampling["stop"], sampling["logprobs"]) == (
        0.7, 9, ["##"], 1,
    )  # fmt: skip
    assert sampling["seed"] > 0
    assert sampling["structured_outputs"] == {"json": {"type": "string"}}
    assert 1 in sampling["stop_token_ids"]
    tokenizer = load_tokenizer(weights)
    assert "Is it so?" in tokenizer.decode(seen.prompt)
    assert (told.text, told.status, told.finish_reason) == ("yes", Status.OK, "stop")
    assert told.logprobs[0] == {tokenizer.decode([5]): -0.1}


def test_a_prompt_beyond_the_window_is_not_sent(weights: Path, seen: Seen) -> None:
    async def run() -> Any:
        await (engine := VllmEngine(EngineSettings(str(weights)))).load()
        return await engine.answer(Request(({"role": "user", "content": "word " * 900},)), None)

    told = asyncio.run(run())
    assert told.status is Status.ERROR
    assert "the context window 256" in str(told.error)
    assert not seen.prompt


def test_without_vllm_the_holder_says_so() -> None:
    told = asyncio.run(Holder("arenaloop.calls.open_weights.vllm_engine:VllmEngine", EngineSettings("m")).load())
    assert told.refused
    assert told.why.startswith("vllm is not installed in the workers' environment on ")
