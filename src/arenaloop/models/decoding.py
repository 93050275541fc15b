"""Token ids in, token ids out: the decoding loop over a causal language model that is in memory.

Rows are padded on the left, prefilled once and decoded with a key-value cache; rows that are finished leave the batch.
Each sampled row draws from random numbers of its own, so that what it says depends on the other rows through
floating-point rounding alone. It knows neither texts nor files: a local model's answers and the samples of a training
on its own module come from here alike.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from arenaloop.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Continuation", "cache_argument", "decode", "forward_arguments"]


@dataclass(slots=True, eq=False)
class Continuation:
    """A prompt, how it is to be continued, and what has been generated.

    Attributes:
        prompt: its token ids, at least one.
        limit: tokens to generate at most, at least one.
        temperature: 0 = the likeliest token, the first of equals.
        top_p: draws come from the smallest set of tokens that holds this much of the probability.
        seed: of the row's random numbers; prompt, sampling and seed decide what is drawn.
        stops: told the tokens so far, whether they are the last for a reason other than an end token.
        alternatives: of how many of the likeliest tokens at each step the log-probabilities are wanted.
        likeliest: these, (token, log-probability in nats) of each step, under the distribution at temperature 1.
        look_after: told what is likeliest at a step, after which token, if any, the likeliest next ones are wanted,
            too, whatever is drawn.
        looked: by step, that token and what is likeliest after it.
        tokens: what was generated, with the end token if there is one.
        logprobs: log-probability of each of them, in nats and float32, where it was asked for: under the distribution
            at the row's temperature, before `top_p` cuts it (a greedy row's at temperature 1).
        finish_reason: ``"stop"``, or ``"length"`` at the limit.
        error: why there are no tokens: the row does not fit in the device's memory even alone.
    """

    prompt: Sequence[int]
    limit: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stops: Callable[[list[int]], bool] | None = None
    alternatives: int = 0
    likeliest: list[list[tuple[int, float]]] = field(default_factory=list)
    look_after: Callable[[Sequence[tuple[int, float]]], int | None] | None = None
    looked: dict[int, tuple[int, list[tuple[int, float]]]] = field(default_factory=dict)
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: Literal["stop", "length"] = "length"
    error: str | None = None

    def add(self, token: int, end_ids: Collection[int]) -> bool:
        """Take one more token; whether it is the last."""
        self.tokens.append(token)
        if token in end_ids or (self.stops is not None and self.stops(self.tokens)):
            self.finish_reason = "stop"
            return True
        return len(self.tokens) >= self.limit


_WORTH_SHARING = 256
"""Tokens from which what all prompts begin with is read once: a short one costs less than to part the reading."""


def decode(
    module: Any,
    rows: Sequence[Continuation],
    end_ids: Collection[int],
    *,
    logprobs: bool = False,
    stop: threading.Event | None = None,
    step: Callable[[int, int], None] | None = None,
    forbidden: Tensor | None = None,
) -> None:
    """Continue rows in place, without gradients. Where memory is not enough for all of them, half at a time.

    Args:
        module: a `transformers` causal language model in evaluation mode.
        rows: new ones, without tokens.
        end_ids: the tokens that end a row.
        logprobs: whether the log-probabilities of the tokens are wanted.
        stop: given up between two tokens once it is set; the rows are then incomplete.
        step: told after every token how many each row has at most, and how many rows are still going.
        forbidden: ids of tokens that are never said: they have no probability.

    Raises:
        ConfigError: the module cannot continue from a cache.
    """
    import torch

    try:
        if rows:
            with torch.no_grad():
                told = step or (lambda *_: None)
                _decode(module, rows, end_ids, logprobs, stop or threading.Event(), told, forbidden)
        return
    except torch.OutOfMemoryError:
        for row in rows:
            row.tokens.clear()
            row.logprobs.clear()
            row.likeliest.clear()
            row.looked.clear()
            row.finish_reason = "length"
    torch.cuda.empty_cache()  # outside the handler, whose traceback still holds the tensors
    if len(rows) == 1:
        rows[0].error = "out of memory on the device, even alone; lower max_tokens or use a smaller dtype"
        return
    half = len(rows) // 2
    for part in (rows[:half], rows[half:]):
        decode(module, part, end_ids, logprobs=logprobs, stop=stop, step=step, forbidden=forbidden)


def forward_arguments(module: Any) -> frozenset[str]:
    """The arguments that a module's forward pass takes."""
    return _arguments(type(module).forward)


@functools.lru_cache(maxsize=64)
def _arguments(forward: Any) -> frozenset[str]:
    return frozenset(inspect.signature(forward).parameters)


def cache_argument(module: Any) -> str:
    """The argument by which a module's forward pass takes its cache.

    Raises:
        ConfigError: there is none.
    """
    for name in ("past_key_values", "cache_params"):
        if name in forward_arguments(module):
            return name
    raise ConfigError(f"{module.name_or_path} is a {type(module).__name__}, which cannot continue from a cache")


def _decode(
    module: Any,
    rows: Sequence[Continuation],
    end_ids: Collection[int],
    logprobs: bool,
    stop: threading.Event,
    step_done: Callable[[int, int], None],
    forbidden: Tensor | None,
) -> None:
    """The decoding loop. B rows are still active, `length` columns are in the cache, the first `shared` of all rows."""
    import torch
    from transformers import DynamicCache

    device, accepts = module.device, forward_arguments(module)
    cache = DynamicCache(config=module.config)
    arguments: dict[str, Any] = {cache_argument(module): cache, "use_cache": True}
    if "logits_to_keep" in accepts:
        arguments["logits_to_keep"] = 1
    # several samples of one prompt read it once
    prompts: dict[tuple[int, ...], int] = {}
    source = [prompts.setdefault(tuple(row.prompt), len(prompts)) for row in rows]
    repeated = torch.tensor(source, device=device) if len(prompts) < len(rows) else None
    # models that are told no positions do not always count them on from a cache
    shared = _shared([list(prompt) for prompt in prompts], cache) if "position_ids" in accepts else 0
    if shared:  # what all prompts begin with is read once
        module(input_ids=torch.tensor([rows[0].prompt[:shared]], device=device), **arguments)
        cache.batch_repeat_interleave(len(prompts))
    lengths = torch.tensor([len(prompt) - shared for prompt in prompts])
    width = int(lengths.max())
    ids = torch.zeros(len(prompts), width, dtype=torch.long)  # padding is masked, so any token will do
    for at, prompt in enumerate(prompts):
        ids[at, width - len(prompt) + shared :] = torch.tensor(prompt[shared:])
    ids = ids.to(device)
    padding = (width - lengths).to(device)  # (B,) masked columns after what is shared
    padded = bool(padding.any())
    sampler = _Sampler(rows, device)
    column = torch.arange(shared + width + max(row.limit for row in rows), device=device)
    active = list(rows)
    length, step = shared + width, 0
    while not stop.is_set():
        if "position_ids" in accepts:
            position = column[length - ids.shape[1] : length]
            arguments["position_ids"] = (position - padding[:, None]).clamp_(min=shared) if padded else position[None]
        mask = None
        if padded:
            mask = ((column[:length] < shared) | (column[:length] >= shared + padding[:, None])).long()
        logits = module(input_ids=ids, attention_mask=mask, **arguments).logits[:, -1]
        if repeated is not None:
            logits, padding = logits[repeated], padding[repeated]
            cache.reorder_cache(repeated)  # type: ignore[arg-type]  # beam search's, which every kind of layer has
            repeated = None
        if forbidden is not None:
            logits = logits.index_fill(1, forbidden, float("-inf"))
        tokens = sampler.next(logits, step)
        if logprobs:
            for row, value in zip(active, sampler.logprobs(logits, tokens).tolist(), strict=True):
                row.logprobs.append(value)
        if most := max(row.alternatives for row in active):
            _note_likeliest(logits, active, most)
            after = [None if row.look_after is None else row.look_after(row.likeliest[-1]) for row in active]
            if any(token is not None for token in after) and _plain_layers(cache):
                column_at = column[length : length + 1]
                if "position_ids" in accepts:
                    there = (column_at - padding[:, None]).clamp_(min=shared) if padded else column_at[None]
                    arguments["position_ids"] = there
                seen = column[: length + 1]
                mask = ((seen < shared) | (seen >= shared + padding[:, None])).long() if padded else None
                ids = torch.tensor([[token or 0] for token in after], device=device)
                ahead = module(input_ids=ids, attention_mask=mask, **arguments).logits[:, -1]
                cache.crop(-1)  # what was looked at is not what is drawn
                _note_looked(ahead, active, after, step)
        going = [at for at, token in enumerate(tokens.tolist()) if not active[at].add(token, end_ids)]
        step_done(step + 1, len(going))
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


def _note_likeliest(logits: Tensor, rows: Sequence[Continuation], most: int) -> None:
    """Note for every row that wants it what was likeliest: (B, V) logits."""
    values, tokens = logits.float().log_softmax(dim=-1).topk(min(most, logits.shape[-1]))
    for row, some, which in zip(rows, values.tolist(), tokens.tolist(), strict=True):
        if row.alternatives:
            row.likeliest.append(list(zip(which, some, strict=True))[: row.alternatives])


def _note_looked(logits: Tensor, rows: Sequence[Continuation], after: Sequence[int | None], step: int) -> None:
    """Note what is likeliest after the token that each row has looked after, if any: (B, V) logits."""
    values, tokens = logits.float().log_softmax(dim=-1).topk(min(max(r.alternatives for r in rows), logits.shape[-1]))
    for row, token, some, which in zip(rows, after, values.tolist(), tokens.tolist(), strict=True):
        if token is not None:
            row.looked[step] = token, list(zip(which, some, strict=True))


def _plain_layers(cache: Any) -> bool:
    """Whether all layers keep what they have read: those that forget cannot hand it on, nor take it back."""
    from transformers.cache_utils import DynamicLayer

    return all(type(layer) is DynamicLayer for layer in cache.layers)


def _shared(prompts: Sequence[list[int]], cache: Any) -> int:
    """How many tokens all prompts begin with, the last of each left out; 0 where reading them once gains nothing.

    Judge prompts share their template's words, samples their whole prompt.
    """
    if len(prompts) == 1 or not _plain_layers(cache):
        return 0
    first, last = min(prompts), max(prompts)  # in their order all others lie between
    most = min(len(prompt) for prompt in prompts) - 1
    same = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), most)
    return min(same, most) if min(same, most) >= _WORTH_SHARING else 0


class _Sampler:
    """Chooses each row's next token by its own temperature, top-p and random numbers.

    A token is drawn by inverting the cumulative distribution at a uniform number of the row's own generator, so that a
    row's draws do not depend on the other rows.
    """

    def __init__(self, rows: Sequence[Continuation], device: Any) -> None:
        import numpy as np
        import torch

        self._temperature = torch.tensor([row.temperature for row in rows], device=device)  # (B,)
        self._any = any(row.temperature > 0 for row in rows)
        if not self._any:
            return
        uniform = np.zeros((max(row.limit for row in rows), len(rows)))
        for at, row in enumerate(rows):
            uniform[: row.limit, at] = np.random.default_rng(row.seed).random(row.limit)
        self._uniform = torch.from_numpy(uniform).to(device)  # (steps, B)
        self._top_p = torch.tensor([row.top_p for row in rows], device=device)
        self._cuts = any(row.top_p < 1 for row in rows)

    def select(self, left: Tensor) -> None:
        """Keep these rows only."""
        self._temperature = self._temperature[left]
        if self._any:
            self._uniform, self._top_p = self._uniform[:, left], self._top_p[left]

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

    def logprobs(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """Log-probabilities of tokens at the rows' temperatures: (B, V) and (B,) to (B,) float32."""
        temperature = self._temperature.where(self._temperature > 0, 1.0)[:, None]
        return (logits.float() / temperature).log_softmax(dim=-1).gather(1, tokens[:, None])[:, 0]


def _inverse(cumulative: Tensor, value: Tensor) -> Tensor:
    """The first entry of each row of a cumulative sum that exceeds `value`: (B, V) and (B,) to (B,)."""
    import torch

    at = torch.searchsorted(cumulative, value[:, None], right=True)[:, 0]
    return at.clamp(max=cumulative.shape[-1] - 1)
