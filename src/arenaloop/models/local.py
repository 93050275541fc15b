"""Any Hugging Face causal language model with a chat template, run in this process on a CPU or a GPU.

Answers come in chunks of fixed size (see `base.ChunkedModel`). A chunk is padded on the left, prefilled once and
decoded with a key-value cache; rows that are finished leave the batch. Each sampled row draws from random numbers of
its own, derived from its request, so that its answer depends on its chunk through floating-point rounding alone.

Not here: models that do not fit on one device, quantised weights, remote code, pickled weights.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arenaloop.errors import ConfigError, InputError, MissingExtraError, StoppedError
from arenaloop.messages import split_reasoning
from arenaloop.models.checkpoint import checkpoint_fingerprint
from arenaloop.types import Completion, Request, Status, content_hash, derive_seed

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LocalModel", "checkpoint_fingerprint", "torch_device"]

TINY = 5_000_000
"""Parameters under which a model on a CPU is fastest with one thread."""


class LocalModel:
    """A causal language model loaded from a directory or a hub id when it is first asked.

    Args:
        path: a directory in Hugging Face form, or a hub id; safetensors only, no remote code.
        name: what leaderboards call it; by default the directory's name or the hub id.
        revision: of a hub id.
        device: a torch device; by default the first GPU, or the CPU.
        dtype: of the weights: ``"auto"`` (as saved), or a torch name such as ``"bfloat16"``.
        chunk_size: requests per chunk.
        chat_template: replaces the tokenizer's own.
        template_options: further variables of the chat template, e.g. ``{"enable_thinking": False}``.
        threads: torch threads while it generates; None = one for a tiny model on a CPU, else as they are.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        InputError: the directory does not hold a model.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        revision: str | None = None,
        device: str | None = None,
        dtype: str = "auto",
        chunk_size: int = 32,
        chat_template: str | None = None,
        template_options: Mapping[str, Any] | None = None,
        threads: int | None = None,
    ) -> None:
        if find_spec("torch") is None or find_spec("transformers") is None:
            raise MissingExtraError("local models", "train")
        if chunk_size < 1:
            raise ConfigError(f"chunk_size must be at least 1, got {chunk_size}")
        self.path = str(path)
        directory = Path(path).expanduser()
        if directory.is_dir():
            self.path = str(directory)
            if not (directory / "config.json").exists() or not any(directory.glob("*.safetensors")):
                raise InputError(f"{directory} does not hold a model: config.json and *.safetensors are needed")
        elif isinstance(path, Path) or self.path.startswith(("/", ".", "~")):
            raise InputError(f"{directory} is not a directory")
        self.name = name or (directory.resolve().name if directory.is_dir() else self.path)
        self.concurrency = self.chunk_size = chunk_size
        self._revision = revision
        self._device = device
        self._dtype = dtype
        self._template = chat_template
        self._template_options = dict(template_options or {})
        self._threads = threads
        self._loaded: _Loaded | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._stops: set[threading.Event] = set()

    @functools.cached_property
    def fingerprint(self) -> str:
        """Content hash of weights, tokenizer, chat template and dtype."""
        checkpoint = checkpoint_fingerprint(self.path, self._revision)
        return content_hash("local", checkpoint, self._dtype, self._template, self._template_options)

    def plan(self, requests: Sequence[Request]) -> list[list[Request]]:
        """Cut requests into chunks of `chunk_size`, sorted by the characters of their messages, then by key."""
        ordered = sorted(requests, key=lambda r: (sum(len(m["content"]) for m in r.messages), r.key, r.sample))
        return [ordered[start : start + self.chunk_size] for start in range(0, len(ordered), self.chunk_size)]

    async def complete(self, request: Request) -> Completion:
        """Answer one request, as a chunk of one."""
        return (await self._run([request]))[0]

    async def complete_many(self, requests: Sequence[Request]) -> AsyncIterator[tuple[Request, Completion]]:
        """Answer many requests: as they are if they fit one chunk, planned into chunks otherwise."""
        chunks = [list(requests)] if len(requests) <= self.chunk_size else self.plan(requests)
        for chunk in chunks:
            if chunk:
                for request, completion in zip(chunk, await self._run(chunk), strict=True):
                    yield request, completion

    async def aclose(self) -> None:
        """Stop what is running and free the memory; the model is loaded again when it is asked again."""
        for stop in self._stops:
            stop.set()
        if self._executor is not None:
            await asyncio.to_thread(self._executor.shutdown)
        self._executor, self._loaded = None, None
        if find_spec("torch") is not None:
            import torch

            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    async def _run(self, chunk: Sequence[Request]) -> list[Completion]:
        """One chunk in the model's own thread: the event loop goes on judging meanwhile, chunks wait for each other."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"local-{self.name}")
        stop = threading.Event()
        self._stops.add(stop)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self.generate, chunk, stop)
        finally:
            stop.set()  # a cancelled call leaves its thread nothing to go on for
            self._stops.discard(stop)

    def generate(self, chunk: Sequence[Request], stop: threading.Event | None = None) -> list[Completion]:
        """Answer one chunk in the calling thread; `complete` and `complete_many` are the ways in for a run.

        A prompt that leaves no room in the context window, and a row that does not fit in memory even alone, come back
        with status `ERROR`. A chunk that does not fit in memory is halved.

        Args:
            chunk: the requests.
            stop: given up between two tokens once it is set.

        Raises:
            StoppedError: `stop` was set.
            InputError: the model cannot be loaded.
            ConfigError: it has no chat template, or its device is not there.
        """
        import torch

        started = time.perf_counter()
        if self._loaded is None:
            self._loaded = _Loaded.load(self)
        model = self._loaded
        threads, threads_before = self._threads or model.best_threads(), torch.get_num_threads()
        rows: list[_Row] = []
        answers: list[Completion | _Row] = []
        for request in chunk:
            row = model.prepare(request, self._template_options)
            answers.append(row)
            if isinstance(row, _Row):
                rows.append(row)
        stop = stop or threading.Event()
        torch.set_num_threads(threads or threads_before)
        try:
            with torch.inference_mode():
                _decode_or_halve(model, rows, stop)
        finally:
            torch.set_num_threads(threads_before)
        if stop.is_set():
            raise StoppedError(f"the model {self.name} was closed while it answered")
        seconds = (time.perf_counter() - started) / len(chunk)
        return [model.finish(answer, seconds) if isinstance(answer, _Row) else answer for answer in answers]


def torch_device(name: str | None) -> Any:
    """The torch device of that name; None = the first GPU, or the CPU.

    Raises:
        ConfigError: torch knows no such device, or this machine has none.
    """
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name!r} cannot be used: {str(error).strip().splitlines()[0]}") from error
    return device


@dataclass(slots=True, eq=False)
class _Row:
    """One request on its way: its prompt's tokens, and what has been generated."""

    request: Request
    prompt: list[int]
    limit: int
    out: list[int]
    finish_reason: str = "length"
    error: str | None = None


@dataclass(slots=True)
class _Loaded:
    """A model in memory, what ends its turns, and which arguments its forward pass takes (`cache`: the cache's)."""

    module: Any
    tokenizer: Any
    device: Any
    end_ids: frozenset[int]
    window: int | None
    accepts: frozenset[str]
    cache: str

    @classmethod
    def load(cls, model: LocalModel) -> _Loaded:
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        path, revision = model.path, model._revision
        device = torch_device(model._device)
        shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            dtype = model._dtype if model._dtype == "auto" else getattr(torch, model._dtype)
            tokenizer = AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=False)
            module = AutoModelForCausalLM.from_pretrained(
                path, revision=revision, dtype=dtype, trust_remote_code=False, use_safetensors=True
            )
        except (OSError, ValueError, KeyError, AttributeError, SafetensorError) as error:
            raise InputError(f"cannot load the model {path}: {str(error).strip().splitlines()[0]}") from error
        finally:
            if shown:
                logging.enable_progress_bar()
        if model._template:
            tokenizer.chat_template = model._template
        if not tokenizer.chat_template:
            raise ConfigError(f"the tokenizer of {path} has no chat template; set chat_template or use a chat model")
        window = getattr(module.config.get_text_config(), "max_position_embeddings", None)
        accepts = frozenset(inspect.signature(module.forward).parameters)
        cache = next((argument for argument in ("past_key_values", "cache_params") if argument in accepts), None)
        if cache is None:
            raise ConfigError(f"{path} is a {type(module).__name__}, which cannot continue from a cache")
        return cls(
            module.eval().to(device),
            tokenizer,
            device,
            _end_ids(module, tokenizer),
            window if isinstance(window, int) and window > 0 else None,
            accepts,
            cache,
        )

    def best_threads(self) -> int | None:
        """One for a tiny model on a CPU, whose matrices are too small to share; None = no opinion."""
        return 1 if self.device.type == "cpu" and self.module.num_parameters() < TINY else None

    def prepare(self, request: Request, options: Mapping[str, Any]) -> _Row | Completion:
        """Tokenise a request, or say why it cannot be answered."""
        try:
            text = self.tokenizer.apply_chat_template(
                [dict(message) for message in request.messages], tokenize=False, add_generation_prompt=True, **options
            )
        except Exception as error:  # templates raise jinja2 errors of many kinds
            return Completion(status=Status.ERROR, error=f"the chat template refuses it: {error}", usd=0.0, calls=0)
        prompt = list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        room = request.sampling.max_tokens if self.window is None else self.window - len(prompt)
        if room < 1:
            return Completion(
                status=Status.ERROR,
                error=f"the prompt has {len(prompt)} tokens, the context window {self.window}",
                tokens_in=len(prompt),
                usd=0.0,
                calls=0,
            )
        return _Row(request, prompt, min(room, request.sampling.max_tokens), [])

    def finish(self, row: _Row, seconds: float) -> Completion:
        """A row's completion; the end-of-turn token is counted but is not text."""
        if row.error is not None:
            return Completion(status=Status.ERROR, error=row.error, tokens_in=len(row.prompt), usd=0.0, seconds=seconds)
        out = row.out[:-1] if row.out[-1] in self.end_ids else row.out
        reasoning, text = split_reasoning(self.tokenizer.decode(out, skip_special_tokens=True))
        found = [at for at in (text.find(stop) for stop in row.request.sampling.stop) if at >= 0]
        text = text[: min(found)] if found else text
        truncated = row.finish_reason == "length"
        return Completion(
            text=text,
            status=Status.TRUNCATED if truncated else Status.OK if text.strip() else Status.EMPTY,
            finish_reason=row.finish_reason,
            reasoning=reasoning,
            tokens_in=len(row.prompt),
            tokens_out=len(row.out),
            usd=0.0,
            seconds=seconds,
        )

    def ended(self, row: _Row) -> bool:
        """Whether the row's last token is its last; notes why."""
        if row.out[-1] in self.end_ids:
            row.finish_reason = "stop"
            return True
        stops = row.request.sampling.stop
        if stops:
            # a character may take several tokens, never more than four in byte-level vocabularies
            tail = self.tokenizer.decode(row.out[-4 * max(map(len, stops)) - 4 :], skip_special_tokens=True)
            if any(stop in tail for stop in stops):
                row.finish_reason = "stop"
                return True
        return len(row.out) >= row.limit


def _decode_or_halve(model: _Loaded, rows: list[_Row], stop: threading.Event) -> None:
    """Decode rows in place; where the device's memory is not enough, half of them at a time."""
    import torch

    try:
        if rows:
            _decode(model, rows, stop)
        return
    except torch.OutOfMemoryError:
        for row in rows:
            row.out.clear()
    torch.cuda.empty_cache()  # outside the handler, whose traceback still holds the tensors
    if len(rows) == 1:
        rows[0].error = "out of memory on the device, even alone; lower max_tokens or use a smaller dtype"
        return
    _decode_or_halve(model, rows[: len(rows) // 2], stop)
    _decode_or_halve(model, rows[len(rows) // 2 :], stop)


def _decode(model: _Loaded, rows: list[_Row], stop: threading.Event) -> None:
    """The decoding loop. B rows are still active, T tokens are in the cache."""
    import torch
    from transformers import DynamicCache

    device, module = model.device, model.module
    lengths = torch.tensor([len(row.prompt) for row in rows])
    width = int(lengths.max())
    ids = torch.zeros(len(rows), width, dtype=torch.long)  # padding is masked, so any token will do
    for at, row in enumerate(rows):
        ids[at, width - len(row.prompt) :] = torch.tensor(row.prompt)
    ids = ids.to(device)
    padding = (width - lengths).to(device)  # (B,) masked columns on the left
    padded = bool(padding.any())
    sampler = _Sampler(rows, device)
    cache = DynamicCache(config=module.config)
    arguments: dict[str, Any] = {model.cache: cache, "use_cache": True}
    if "logits_to_keep" in model.accepts:
        arguments["logits_to_keep"] = 1
    column = torch.arange(width + max(row.limit for row in rows), device=device)
    active = list(rows)
    length, step = width, 0
    while not stop.is_set():
        if "position_ids" in model.accepts:
            position = column[length - ids.shape[1] : length]
            arguments["position_ids"] = (position - padding[:, None]).clamp_(min=0) if padded else position[None]
        mask = (column[:length] >= padding[:, None]).long() if padded else None
        logits = module(input_ids=ids, attention_mask=mask, **arguments).logits[:, -1]
        tokens = sampler.next(logits, step)
        going: list[int] = []
        for at, token in enumerate(tokens.tolist()):
            active[at].out.append(token)
            if not model.ended(active[at]):
                going.append(at)
        if not going:
            return
        if len(going) < len(active):  # finished rows leave the batch
            left = torch.tensor(going, device=device)
            cache.reorder_cache(left)  # type: ignore[arg-type]  # beam search's, which every kind of layer has
            padding, tokens = padding[left], tokens[left]
            sampler.select(left)
            active = [active[at] for at in going]
        ids = tokens[:, None]
        length, step = length + 1, step + 1


class _Sampler:
    """Chooses each row's next token by its own temperature, top-p and random numbers.

    A token is drawn by inverting the cumulative distribution at a uniform number of the row's own generator, so that a
    row's draws do not depend on the other rows.
    """

    def __init__(self, rows: Sequence[_Row], device: Any) -> None:
        import numpy as np
        import torch

        samplings = [row.request.sampling for row in rows]
        self._any = any(sampling.temperature > 0 for sampling in samplings)
        if not self._any:
            return
        uniform = np.zeros((max(row.limit for row in rows), len(rows)))
        for at, row in enumerate(rows):
            r = row.request
            seed = derive_seed("decode", r.seed, r.key or [dict(m) for m in r.messages], r.sample)
            uniform[: row.limit, at] = np.random.default_rng(seed).random(row.limit)
        self._uniform = torch.from_numpy(uniform).to(device)  # (steps, B)
        self._temperature = torch.tensor([s.temperature for s in samplings], device=device)  # (B,)
        self._top_p = torch.tensor([s.top_p for s in samplings], device=device)
        self._cuts = any(s.top_p < 1 for s in samplings)

    def select(self, left: Tensor) -> None:
        """Keep these rows only."""
        if self._any:
            self._uniform, self._temperature = self._uniform[:, left], self._temperature[left]
            self._top_p = self._top_p[left]

    def next(self, logits: Tensor, step: int) -> Tensor:
        """The next token of every row: (B, V) logits to (B,) token ids."""
        greedy = logits.argmax(dim=-1)
        if not self._any:
            return greedy
        temperature = self._temperature.clamp(min=1e-6)[:, None]
        probs = (logits.float() / temperature).softmax(dim=-1)
        cumulative = probs.double().cumsum(dim=-1)
        drawn = _inverse(cumulative, self._uniform[step] * cumulative[:, -1])
        if self._cuts:
            # the smallest set that holds top_p of the probability (Holtzman et al. 2020); always one token
            probs, order = probs.sort(dim=-1, descending=True)
            cumulative = probs.double().cumsum(dim=-1)
            size = (cumulative - probs < self._top_p[:, None]).sum(dim=-1, keepdim=True).clamp(min=1)
            mass = cumulative.gather(1, size - 1)[:, 0]
            nucleus = order.gather(1, _inverse(cumulative, self._uniform[step] * mass)[:, None])[:, 0]
            drawn = nucleus.where(self._top_p < 1, drawn)
        return greedy.where(self._temperature <= 0, drawn)


def _inverse(cumulative: Tensor, value: Tensor) -> Tensor:
    """The first entry of each row of a cumulative sum that exceeds `value`: (B, V) and (B,) to (B,)."""
    import torch

    at = torch.searchsorted(cumulative, value[:, None], right=True)[:, 0]
    return at.clamp(max=cumulative.shape[-1] - 1)


def _end_ids(module: Any, tokenizer: Any) -> frozenset[int]:
    """Tokens that end an answer: the generation configuration's, the tokenizer's, the chat template's end of turn."""
    ends = getattr(module.generation_config, "eos_token_id", None)
    found = set([ends] if isinstance(ends, int) else ends or []) | {tokenizer.eos_token_id}
    special = {at for at, token in tokenizer.added_tokens_decoder.items() if token.special}
    # a base model whose template has an end of turn of its own often still names only its end of text
    with contextlib.suppress(Exception):
        messages = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        tail = tokenizer(text[text.rindex("answer") + len("answer") :], add_special_tokens=False)["input_ids"]
        found.add(next((token for token in tail if token in special), None))
    return frozenset(found - {None})
