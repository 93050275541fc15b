"""vLLM as an engine: prompts are read and answers parted by the same code as for models in this process.

Written against ``vllm.v1.engine.async_llm.AsyncLLM`` (vLLM 0.29, which ``ray[llm]`` 2.60 pins): ``from_engine_args``,
``generate``, ``get_tokenizer``, ``model_config``, ``shutdown``.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import time
from importlib.util import find_spec
from typing import Any

from arenaloop.calls.open_weights.base import Adapter, EngineSettings, Loaded
from arenaloop.errors import ConfigError
from arenaloop.models import checkpoint
from arenaloop.models.chat import ChatTokens
from arenaloop.models.decoding import Continuation
from arenaloop.models.loaded import Loaded as InMemory
from arenaloop.models.reasoning_tags import Tags
from arenaloop.types import Completion, Request

__all__ = ["VllmEngine"]

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks that vLLM reserves room for."""


class VllmEngine:
    """A vLLM engine on this node."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._engine: Any = None
        self._model: InMemory | None = None
        self._numbers = itertools.count()
        self._adapters: dict[Adapter, int] = {}

    async def load(self) -> Loaded:
        """Load the weights; see `Engine.load`."""
        if find_spec("vllm") is None:
            raise ConfigError("vllm is not installed")
        vllm, settings = importlib.import_module("vllm"), self._settings
        arguments = importlib.import_module("vllm.engine.arg_utils").AsyncEngineArgs(**self._arguments())
        self._engine = importlib.import_module("vllm.v1.engine.async_llm").AsyncLLM.from_engine_args(arguments)
        tokenizer = self._engine.get_tokenizer()
        if inspect.isawaitable(tokenizer):
            tokenizer = await tokenizer
        if not getattr(tokenizer, "chat_template", None):
            raise ConfigError(f"the tokenizer of {settings.model} has no chat template, read by vLLM")
        config = self._engine.model_config
        ends = set(checkpoint.end_ids(tokenizer))
        generation = config.try_get_generation_config() if hasattr(config, "try_get_generation_config") else {}
        more = (generation or {}).get("eos_token_id")
        ends |= {more} if isinstance(more, int) else set(more or ())
        tags = None if settings.reasoning_tags is None else tuple(Tags(*pair) for pair in settings.reasoning_tags)
        window = int(config.max_model_len)
        self._model = InMemory(None, tokenizer, ChatTokens(tokenizer), None, frozenset(ends), window, tags)
        weights = checkpoint.checkpoint_fingerprint(settings.model, settings.revision)
        return Loaded(f"vllm {vllm.__version__}", weights)

    def _arguments(self) -> dict[str, Any]:
        """Fields of ``AsyncEngineArgs``."""
        settings = self._settings
        given = {
            "model": settings.model,
            "revision": settings.revision,
            "tokenizer_revision": settings.revision,
            "tensor_parallel_size": settings.tp,
            "dtype": settings.dtype,
            "max_model_len": settings.max_model_len,
            "disable_log_stats": True,
            "seed": 0,  # each request brings its own
        }
        if settings.loras:
            rank = next((rank for rank in _RANKS if rank >= settings.lora_rank), settings.lora_rank)
            given |= {"enable_lora": True, "max_loras": settings.loras, "max_lora_rank": rank}
        return {name: value for name, value in given.items() if value is not None} | dict(settings.more)

    async def answer(self, request: Request, adapter: Adapter | None) -> Completion:
        """Answer a request; see `Engine.answer`."""
        assert self._model is not None
        started = time.perf_counter()
        row = self._model.prepare(request)
        if isinstance(row, Completion):
            return row
        last = None
        async for output in self._engine.generate(
            {"prompt_token_ids": list(row.prompt)},
            self._sampling(row, request),
            f"arenaloop-{next(self._numbers)}",
            lora_request=None if adapter is None else self._lora(adapter),
        ):
            last = output
        if last is None:
            raise RuntimeError("vLLM gave no output")
        said = last.outputs[0]
        row.tokens = list(said.token_ids) or sorted(self._model.end_ids)[:1]
        row.finish_reason = "length" if said.finish_reason == "length" else "stop"
        if row.alternatives:
            row.likeliest = [_likeliest(step, row.alternatives) for step in said.logprobs or ()]
        return self._model.finish(row, request, time.perf_counter() - started)

    def _sampling(self, row: Continuation, request: Request) -> Any:
        """Its ``SamplingParams``."""
        params = importlib.import_module("vllm.sampling_params")
        assert self._model is not None
        more: dict[str, Any] = {}
        if request.schema is not None:
            more["structured_outputs"] = params.StructuredOutputsParams(json=dict(request.schema))
        return params.SamplingParams(
            temperature=row.temperature,
            top_p=row.top_p,
            max_tokens=row.limit,
            seed=row.seed if row.temperature > 0 else None,
            stop=list(request.sampling.stop) or None,
            stop_token_ids=sorted(self._model.end_ids),
            logprobs=row.alternatives or None,
            output_kind=params.RequestOutputKind.FINAL_ONLY,
            **more,
        )

    def _lora(self, adapter: Adapter) -> Any:
        number = self._adapters.setdefault(adapter, len(self._adapters) + 1)
        return importlib.import_module("vllm.lora.request").LoRARequest(adapter.name, number, adapter.path)

    async def close(self) -> None:
        """End the engine's own processes."""
        if self._engine is not None:
            self._engine.shutdown()


def _likeliest(step: Any, most: int) -> list[tuple[int, float]]:
    """The likeliest tokens of a step, likeliest first; vLLM lists the drawn one beside them where it is none."""
    found = [(int(token), float(told.logprob)) for token, told in step.items()]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:most]
