"""What a language model says of given tokens: log-probability, entropy and divergence, without its logits held whole.

The logits of a training pass are its largest tensor: 16,384 positions over a vocabulary of 131,072 are 8 GB in float32,
and a loss through autograd holds them three times over. Here they are made from the hidden states a chunk of positions
at a time, in the forward pass and again in the backward pass, which is exact and costs one more matrix product.

Shapes: N positions, D hidden, V vocabulary entries. Everything is in nats and float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["FORBIDDEN", "Head", "TokenScores", "chunk_length", "score_hidden", "score_logits"]

FORBIDDEN = -1e30
"""The logit of a token that can never be said; finite, so that zero times it is zero."""


class Head(NamedTuple):
    """The output layer of a language model: logits are ``hidden @ weight.T + bias``.

    Attributes:
        weight: (V, D).
        bias: (V,), or None.
    """

    weight: Tensor
    bias: Tensor | None = None


@dataclass(frozen=True, slots=True)
class TokenScores:
    """What is known of N targets.

    Attributes:
        logprobs: (N,) log-probability of each.
        likeliest: (N,) whether it is the likeliest token (bool, without gradient).
        entropy: (N,) of the distribution that it stands in, ``-sum_v p_v ln p_v``; None if not asked for.
        divergence: (N,) Kullback-Leibler divergence of that distribution from the reference's,
            ``sum_v p_v (ln p_v - ln q_v)``, over the whole vocabulary; None without a reference.
    """

    logprobs: Tensor
    likeliest: Tensor
    entropy: Tensor | None = None
    divergence: Tensor | None = None


def chunk_length(vocabulary: int, device: torch.device) -> int:
    """Positions whose logits are held at once: 64 MB of float32 on a CPU, 512 MB on a GPU, at least one position."""
    return max(1, (2**24 if device.type == "cpu" else 2**27) // vocabulary)


def score_logits(
    logits: Tensor,
    targets: Tensor,
    *,
    temperature: float = 1.0,
    entropy: bool = False,
    reference: Tensor | None = None,
    forbidden: Tensor | None = None,
) -> TokenScores:
    """Score targets by whole logits, through autograd.

    Args:
        logits: (N, V).
        targets: (N,) token ids.
        temperature: logits are divided by it, the reference's too.
        entropy: whether entropies are wanted.
        reference: (N, V) logits of another model, for the divergence; no gradient goes into them.
        forbidden: ids of tokens that can never be said: their probability is 0 under both models.
    """
    scaled = _scaled(logits, temperature, forbidden)
    logprobs = -functional.cross_entropy(scaled, targets, reduction="none")
    spread = divergence = None
    if entropy or reference is not None:
        each = scaled.log_softmax(dim=-1)
        if entropy:
            spread = -(each.exp() * each).sum(dim=-1)
        if reference is not None:
            other = _scaled(reference.detach(), temperature, forbidden).log_softmax(dim=-1)
            divergence = (each.exp() * (each - other)).sum(dim=-1)
    return TokenScores(logprobs, scaled.detach().argmax(dim=-1) == targets, spread, divergence)


def score_hidden(
    hidden: Tensor,
    head: Head,
    targets: Tensor,
    *,
    temperature: float = 1.0,
    entropy: bool = False,
    reference: tuple[Tensor, Head] | None = None,
    forbidden: Tensor | None = None,
    chunk: int | None = None,
) -> TokenScores:
    """Score targets by the hidden states that their logits come from; what `score_logits` gives, chunk by chunk.

    Under autocast the matrix products run in its precision, all else in float32.

    Args:
        hidden: (N, D) last hidden states.
        head: the output layer.
        targets: (N,) token ids.
        temperature, entropy, forbidden: as in `score_logits`.
        reference: hidden states (N, D') and head of another model, for the divergence; without gradient.
        chunk: positions at a time; None = `chunk_length`.
    """
    length = chunk or chunk_length(len(head.weight), hidden.device)
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
    asked = _Asked(temperature, entropy, length, dtype, forbidden, reference)
    logprobs, spread, divergence, likeliest = _Chunked.apply(hidden, head.weight, head.bias, targets, asked)
    return TokenScores(logprobs, likeliest, spread if entropy else None, None if reference is None else divergence)


class _Asked(NamedTuple):
    """What is asked of a chunked pass, beside its tensors with gradients."""

    temperature: float
    entropy: bool
    length: int
    dtype: torch.dtype
    forbidden: Tensor | None
    reference: tuple[Tensor, Head] | None

    def logits(self, hidden: Tensor, head: Head) -> Tensor:
        """Logits of the whole vocabulary at the positions of one chunk, ours to change: (n, V) float32."""
        logits = functional.linear(hidden.to(self.dtype), head.weight, head.bias)
        return _scaled(logits, self.temperature, self.forbidden)

    def cast(self, head: Head) -> Head:
        """The head in the precision of the matrix products."""
        return Head(head.weight.to(self.dtype), None if head.bias is None else head.bias.to(self.dtype))


class _Chunked(torch.autograd.Function):
    """The forward pass keeps the hidden states alone; the backward pass makes every chunk's logits again.

    With p the distribution, H its entropy and K its divergence from q, the gradients by the logits z are
    ``d ln p_y / dz_v = [v = y] - p_v``, ``dH / dz_v = -p_v (ln p_v + H)`` and
    ``dK / dz_v = p_v (ln p_v - ln q_v - K)``.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, asked: _Asked
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N,) each: log-probabilities, entropies, divergences (zero where not asked for), likeliest or not."""
        count = len(targets)
        logprobs, total, spread, divergence = hidden.new_zeros(4, count, dtype=_precision(hidden.dtype)).unbind()
        likeliest = torch.zeros(count, dtype=torch.bool, device=hidden.device)
        with torch.autocast(hidden.device.type, enabled=False):
            head = asked.cast(Head(weight, bias))
            other = None if asked.reference is None else asked.cast(asked.reference[1])
            for start in range(0, count, asked.length):
                part = slice(start, start + asked.length)
                each = asked.logits(hidden[part], head)
                target, most = each.gather(1, targets[part, None])[:, 0], each.amax(dim=-1)
                likeliest[part] = target == most
                if other is None and not asked.entropy:
                    total[part] = most + each.sub_(most[:, None]).exp_().sum(dim=-1).log()
                else:
                    total[part] = each.logsumexp(dim=-1)
                    each.sub_(total[part, None])
                logprobs[part] = target - total[part]
                if asked.entropy:
                    spread[part] = -(each.exp() * each).sum(dim=-1)
                if other is not None and asked.reference is not None:
                    away = each - asked.logits(asked.reference[0][part], other).log_softmax(dim=-1)
                    divergence[part] = (each.exp_() * away).sum(dim=-1)
        ctx.save_for_backward(hidden, weight, bias, targets, total, spread, divergence)
        ctx.asked = asked
        ctx.mark_non_differentiable(likeliest)
        return logprobs, spread, divergence, likeliest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        """Gradients by the hidden states, the weight and the bias."""
        hidden, weight, bias, targets, total, spread, divergence = ctx.saved_tensors
        of_logprob, of_entropy, of_divergence, _ = gradients
        asked: _Asked = ctx.asked
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        by_hidden = torch.empty_like(hidden) if wants_hidden else None
        by_weight = torch.zeros_like(weight, dtype=_precision(weight.dtype)) if wants_weight else None
        by_bias = torch.zeros_like(bias, dtype=_precision(bias.dtype)) if wants_bias else None
        with torch.autocast(hidden.device.type, enabled=False):
            head = asked.cast(Head(weight, bias))
            other = None if asked.reference is None else asked.cast(asked.reference[1])
            for start in range(0, len(targets), asked.length):
                part = slice(start, start + asked.length)
                each = asked.logits(hidden[part], head).sub_(total[part, None])
                factor = -of_logprob[part, None]
                if asked.entropy:
                    factor = factor - of_entropy[part, None] * (each + spread[part, None])
                if other is not None and asked.reference is not None:
                    away = each - asked.logits(asked.reference[0][part], other).log_softmax(dim=-1)
                    factor = factor + of_divergence[part, None] * (away - divergence[part, None])
                by_logits = each.exp_().mul_(factor)
                by_logits.scatter_add_(1, targets[part, None], of_logprob[part, None])
                if asked.temperature != 1.0:
                    by_logits.div_(asked.temperature)
                by_logits = by_logits.to(asked.dtype)
                if by_hidden is not None:
                    by_hidden[part] = (by_logits @ head.weight).to(hidden.dtype)
                if by_weight is not None:
                    states = hidden[part].to(asked.dtype)
                    if by_weight.dtype == asked.dtype:
                        by_weight.addmm_(by_logits.T, states)
                    else:
                        by_weight += by_logits.T @ states
                if by_bias is not None:
                    by_bias += by_logits.sum(dim=0)
        return (
            by_hidden,
            None if by_weight is None else by_weight.to(weight.dtype),
            None if by_bias is None else by_bias.to(bias.dtype),
            None,
            None,
        )


def _precision(dtype: torch.dtype) -> torch.dtype:
    """What losses are computed in: float32, or float64 where a model has it."""
    return torch.promote_types(dtype, torch.float32)


def _scaled(logits: Tensor, temperature: float, forbidden: Tensor | None) -> Tensor:
    """Logits as they are drawn from: float32, divided by the temperature, the forbidden ones out of reach."""
    scaled = logits.to(_precision(logits.dtype))
    if temperature != 1.0:
        scaled = scaled / temperature
    return scaled if forbidden is None else scaled.index_fill(-1, forbidden, FORBIDDEN)
