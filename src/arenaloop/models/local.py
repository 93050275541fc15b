"""Any Hugging Face causal language model with a chat template, run in this process on a CPU or a GPU.

Answers come in chunks of fixed size (see `base.ChunkedModel`), each decoded as one batch (see `decoding`). A row's
random numbers derive from its request, so that its answer depends on its chunk through floating-point rounding alone.

Not here: models that do not fit on one device, quantised weights, remote code, pickled weights.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from arenaloop.errors import ConfigError, InputError, MissingExtraError, StoppedError
from arenaloop.models import checkpoint
from arenaloop.models.base import NOTICE
from arenaloop.models.chat import ChatTokens
from arenaloop.models.decoding import Continuation, cache_argument, decode
from arenaloop.models.loaded import Loaded
from arenaloop.models.reasoning import opened_by
from arenaloop.models.reasoning_tags import FAMILIES, Tags
from arenaloop.models.speed import Speed
from arenaloop.types import Completion, Request, content_hash

__all__ = ["LocalModel"]

_TOLD_EVERY = 15.0
"""Seconds between the lines that tell of a chunk that takes long."""


class LocalModel:
    """A causal language model loaded from a directory or a hub id when it is first asked.

    Args:
        path: a directory in Hugging Face form or of an adapter, or a hub id; safetensors only, no remote code.
        name: what leaderboards call it; by default the directory's name or the hub id.
        revision: of a hub id.
        device: a torch device; by default the first GPU, or the CPU.
        dtype: of the weights: ``"auto"`` (as saved), or a torch name such as ``"bfloat16"``.
        chunk_size: requests per chunk.
        chat_template: replaces the tokenizer's own.
        template_options: further variables of the chat template, e.g. ``{"enable_thinking": False}``.
        system: a system prompt, put before conversations and before their own.
        threads: torch threads while it generates; None = one for a tiny model on a CPU, else as they are.
        reasoning_tags: what opens and closes this model's reasoning, instead of the known families' tags.

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
        system: str | None = None,
        threads: int | None = None,
        reasoning_tags: Sequence[Sequence[str]] | None = None,
    ) -> None:
        if find_spec("torch") is None or find_spec("transformers") is None:
            raise MissingExtraError("local models", "train")
        if chunk_size < 1:
            raise ConfigError(f"chunk_size must be at least 1, got {chunk_size}")
        self.path = str(path)
        directory = Path(path).expanduser()
        if directory.is_dir():
            self.path = str(directory)
            if not checkpoint.holds_model(directory) or not any(directory.glob("*.safetensors")):
                raise InputError(f"{directory} does not hold a model: config.json and *.safetensors are needed")
        elif isinstance(path, Path) or self.path.startswith(("/", ".", "~")) or self.path.count("/") > 1:
            raise InputError(f"{directory} is not a directory")
        elif "/" in self.path and directory.parent.is_dir():  # no hub is asked for minutes over a mistyped folder
            raise InputError(
                f"{directory} is not a directory, though {directory.parent} is one (if a hub's model of this name is "
                "meant, start elsewhere)"
            )
        self.name = name or (directory.resolve().name if directory.is_dir() else self.path)
        self.concurrency = self.chunk_size = chunk_size
        self._revision = revision
        self._device = device
        self._dtype = dtype
        self._template = chat_template
        self._template_options = dict(template_options or {})
        self.system = system
        self._threads = threads
        self._tags = None if reasoning_tags is None else tuple(Tags(*pair) for pair in reasoning_tags)
        self._loaded: Loaded | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._stops: set[threading.Event] = set()
        self._speed = Speed()

    @property
    def window(self) -> int | None:
        """The context window in tokens that its folder states; None for a model of the hub."""
        return checkpoint.stated_window(Path(self.path))

    @functools.cached_property
    def fingerprint(self) -> str:
        """Content hash of weights, tokenizer, chat template, dtype and system prompt."""
        start = checkpoint.checkpoint_fingerprint(self.path, self._revision)
        system = () if self.system is None else (self.system,)  # keys of those without one stay what they were
        return content_hash("local", start, self._dtype, self._template, self._template_options, *system)

    def cannot_answer(self, labels: Sequence[str], prefill: str = "", *, reasons: bool = False) -> str | None:
        """Why it cannot be read which of several labels it would answer; None where it can. Reads its tokenizer only.

        Args:
            labels: digits, and numbers that begin with one of them.
            prefill: how its answer begins.
            reasons: whether it may reason before.
        """
        chat = self._chat
        spelled = {label: tuple(chat.tokens(label, inside=True)) for label in labels}
        unknown = chat.tokenizer.unk_token_id
        for label, tokens in spelled.items():
            if (unknown is not None and unknown in tokens) or chat.tokenizer.decode(tokens).strip() != label:
                return f"verdict logprob: its tokenizer cannot write the label {label}"
            most = 2 if label[:1] in labels and len(label) == 2 else 1
            if len(tokens) > most:
                return f"verdict logprob: its tokenizer writes the label {label} as {len(tokens)} tokens"
        alike = {tokens: label for label, tokens in spelled.items()}
        if len(alike) < len(labels):
            return "verdict logprob: its tokenizer writes several labels as the same token"
        if not reasons and (tag := opened_by(self._rendered() + prefill, self._tags)) is not None:
            return (
                f"verdict logprob: its chat template opens its reasoning ({tag.open}), so that no first token is a "
                f"label; set deciding_label: last, or prefill the end of an empty block ({tag.close!r})"
            )
        return None

    def may_reason(self, prefill: str = "") -> bool:
        """Whether its chat template can switch a block of reasoning off, and neither it nor a prefill does."""
        closed = any(tag.close and tag.close in prefill for tag in self._tags or FAMILIES)
        return not closed and self._rendered() != self._rendered(enable_thinking=False, thinking=False)

    @functools.cached_property
    def _chat(self) -> ChatTokens:
        """Its tokenizer with the chat template, without its weights."""
        tokenizer = checkpoint.load_tokenizer(self.path, self._revision)
        if self._template:
            tokenizer.chat_template = self._template
        return ChatTokens(tokenizer, self._template_options)

    def _rendered(self, **options: Any) -> str:
        """A short prompt as the model reads it; empty where the template refuses it."""
        chat = ChatTokens(self._chat.tokenizer, {**self._template_options, **options})
        try:
            return chat.render([{"role": "user", "content": "question"}], prompt=True)
        except Exception:  # templates raise errors of many kinds; a real prompt will say it
            return ""

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
        loop, notice = asyncio.get_running_loop(), NOTICE.get()
        told = None if notice is None else lambda text: loop.call_soon_threadsafe(notice, text)
        try:
            return await loop.run_in_executor(self._executor, self.generate, chunk, stop, told)
        finally:
            stop.set()  # a cancelled call leaves its thread nothing to go on for
            self._stops.discard(stop)

    def generate(
        self,
        chunk: Sequence[Request],
        stop: threading.Event | None = None,
        notice: Callable[[str], object] | None = None,
    ) -> list[Completion]:
        """Answer one chunk in the calling thread; `complete` and `complete_many` are the ways in for a run.

        A prompt that leaves no room in the context window, and a row that does not fit in memory even alone, come back
        with status `ERROR`. A chunk that does not fit in memory is halved. It is given up between two tokens once
        `stop` is set. While a chunk takes long, `notice` is told now and then how far it is.

        Raises:
            StoppedError: `stop` was set.
            InputError: the model cannot be loaded.
            ConfigError: it has no chat template, or its device is not there.
        """
        import torch

        started = time.perf_counter()
        if self._loaded is None:
            self._loaded = self._load()
            self._speed = self._speed._replace(loading=time.perf_counter() - started)
        model = self._loaded
        answers = [model.prepare(request) for request in chunk]
        rows = [answer for answer in answers if isinstance(answer, Continuation)]
        stop = stop or threading.Event()
        with checkpoint.torch_threads(self._threads or checkpoint.best_threads(model.module)), torch.inference_mode():
            told, never = self._progress(rows, notice), checkpoint.forbidden_ids(model.module)
            decode(model.module, rows, model.end_ids, stop=stop, step=told, forbidden=never)
        self._speed = self._speed.and_then(Speed(written=sum(max(0, len(row.tokens) - 1) for row in rows)))
        if stop.is_set():
            raise StoppedError(f"the model {self.name} was closed while it answered")
        seconds = (time.perf_counter() - started) / len(chunk)
        return [
            model.finish(answer, request, seconds) if isinstance(answer, Continuation) else answer
            for request, answer in zip(chunk, answers, strict=True)
        ]

    def _load(self) -> Loaded:
        device = checkpoint.torch_device(self._device)
        module, tokenizer = checkpoint.load_checkpoint(self.path, self._revision, dtype=self._dtype, device=device)
        if self._template:
            tokenizer.chat_template = self._template
        if not tokenizer.chat_template:
            raise ConfigError(
                f"the tokenizer of {self.path} has no chat template; set chat_template or use a chat model"
            )
        cache_argument(module)
        module.eval().to(device)
        chat = ChatTokens(tokenizer, self._template_options)
        ends, window = checkpoint.end_ids(tokenizer, module), checkpoint.context_window(module)
        return Loaded(module, tokenizer, chat, self.system, ends, window, self._tags)

    def speed_taken(self) -> Speed:
        """How fast it was since this was last asked."""
        speed, self._speed = self._speed, Speed()
        return speed

    def _progress(
        self, rows: Sequence[Continuation], notice: Callable[[str], object] | None
    ) -> Callable[[int, int], None]:
        """What measures a chunk, and says every `_TOLD_EVERY` seconds how far it is and at which speed."""
        begun = told = last = time.perf_counter()
        most = max((row.limit for row in rows), default=0)
        self._speed = self._speed.and_then(Speed(read=sum(len(row.prompt) for row in rows)))

        def step(done: int, going: int) -> None:
            nonlocal told, last
            now = time.perf_counter()
            # a chunk that is halved reads again what it has read, and that time belongs to its reading
            taken = Speed(reading=now - last) if done == 1 else Speed(writing=now - last)
            self._speed = self._speed.and_then(taken)
            last = now
            if notice is not None and going and now - told >= _TOLD_EVERY:
                told = now
                speed = sum(len(row.tokens) for row in rows) / max(now - begun, 1e-9)
                notice(
                    f"{self.name}: token {done:,} of at most {most:,}, {going:,} of {len(rows):,} answers of a chunk "
                    f"still going, {speed:,.0f} tokens/s"
                )

        return step
