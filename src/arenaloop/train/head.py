"""What a language model says of given tokens: log-probability, entropy and divergence, without its logits held whole.

The logits of a training pass are its largest tensor: 16,384 positions over a vocabulary of 131,072 are 8 GB in float32,
and a loss through autograd holds them three times over. Here they are made from the hidden states a block of the
vocabulary at a time, in the forward pass and again in the backward pass (Wijmans et al. 2024), which is exact and costs
one more matrix product; in exchange no block leaves the caches before it is done with.

Shapes: N positions, D hidden, V vocabulary entries. Everything is in nats and float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["FORBIDDEN", "Head", "TokenScores", "block_width", "score_hidden", "score_logits"]

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
        variance: (N,) of ``ln p_v`` under the distribution, without gradient; None if not asked for.
    """

    logprobs: Tensor
    likeliest: Tensor
    entropy: Tensor | None = None
    divergence: Tensor | None = None
    variance: Tensor | None = None


def block_width(positions: int, vocabulary: int, device: torch.device) -> int:
    """Vocabulary entries whose logits are held at once, for that many positions.

    All of them where they are 64 MB of float32 on a CPU, 512 MB on a GPU; else as many as stay in a CPU's caches and in
    memory that it need not ask for anew, or fit in a GPU's 512 MB, but enough for the matrix products to be worth it.
    """
    whole, part = (2**24, 2**21) if device.type == "cpu" else (2**27, 2**27)
    return vocabulary if positions * vocabulary <= whole else min(vocabulary, max(1024, part // positions))


def score_logits(
    logits: Tensor,
    targets: Tensor,
    *,
    temperature: float = 1.0,
    entropy: bool = False,
    reference: Tensor | None = None,
    forbidden: Tensor | None = None,
    variance: bool = False,
) -> TokenScores:
    """Score targets by whole logits, through autograd.

    Args:
        logits: (N, V).
        targets: (N,) token ids.
        temperature: logits are divided by it, the reference's too.
        entropy: whether entropies are wanted.
        reference: (N, V) logits of another model, for the divergence; no gradient goes into them.
        forbidden: ids of tokens that can never be said: their probability is 0 under both models.
        variance: whether the variances of log-probabilities are wanted.
    """
    scaled = _scaled(logits, temperature, forbidden)
    logprobs = -functional.cross_entropy(scaled, targets, reduction="none")
    spread = divergence = around = None
    if entropy or variance or reference is not None:
        each = scaled.log_softmax(dim=-1)
        if entropy:
            spread = -(each.exp() * each).sum(dim=-1)
        if variance:
            known, p = each.detach(), each.detach().exp()
            apart = known - (p * known).sum(dim=-1, keepdim=True)
            around = (p * apart * apart).sum(dim=-1)  # in this order: the square of what is forbidden is infinite
        if reference is not None:
            other = _scaled(reference.detach(), temperature, forbidden).log_softmax(dim=-1)
            divergence = (each.exp() * (each - other)).sum(dim=-1)
    return TokenScores(logprobs, scaled.detach().argmax(dim=-1) == targets, spread, divergence, around)


def score_hidden(
    hidden: Tensor,
    head: Head,
    targets: Tensor,
    *,
    temperature: float = 1.0,
    entropy: bool = False,
    reference: tuple[Tensor, Head] | None = None,
    forbidden: Tensor | None = None,
    variance: bool = False,
    width: int | None = None,
) -> TokenScores:
    """Score targets by the hidden states that their logits come from; what `score_logits` gives, block by block.

    Under autocast the matrix products run in its precision, all else in float32.

    Args:
        hidden: (N, D) last hidden states.
        head: the output layer.
        targets: (N,) token ids.
        temperature, entropy, forbidden, variance: as in `score_logits`.
        reference: hidden states (N, D') and head of another model, for the divergence; without gradient.
        width: vocabulary entries at a time; None = `block_width`.
    """
    kind, vocabulary = hidden.device.type, len(head.weight)
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
    never = None
    if forbidden is not None:
        never = torch.zeros(vocabulary, dtype=torch.bool, device=hidden.device).index_fill_(0, forbidden, True)
    width = width or block_width(len(targets), vocabulary, hidden.device)
    asked = _Asked(temperature, entropy, variance, width, dtype, never, reference)
    logprobs, spread, divergence, around, likeliest = _Blocks.apply(hidden, head.weight, head.bias, targets, asked)
    return TokenScores(
        logprobs,
        likeliest,
        spread if entropy else None,
        None if reference is None else divergence,
        around if variance else None,
    )


class _Asked(NamedTuple):
    """What is asked of a pass by blocks, beside its tensors with gradients."""

    temperature: float
    entropy: bool
    variance: bool
    width: int
    dtype: torch.dtype
    never: Tensor | None
    reference: tuple[Tensor, Head] | None

    def logits(self, states: Tensor, head: Head, part: slice) -> Tensor:
        """Logits of one block of the vocabulary at all positions, ours to change: (N, n) float32."""
        bias = None if head.bias is None else head.bias[part].to(self.dtype)
        logits = functional.linear(states.to(self.dtype), head.weight[part].to(self.dtype), bias)
        logits = logits.to(_precision(logits.dtype))
        if self.temperature != 1.0:
            logits.div_(self.temperature)
        return logits if self.never is None else logits.masked_fill_(self.never[part], FORBIDDEN)


class _Blocks(torch.autograd.Function):
    """The forward pass keeps the hidden states alone; the backward pass makes every block's logits again.

    With p the distribution, H its entropy and K its divergence from q, the gradients by the logits z are
    ``d ln p_y / dz_v = [v = y] - p_v``, ``dH / dz_v = -p_v (ln p_v + H)`` and
    ``dK / dz_v = p_v (ln p_v - ln q_v - K)``.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, asked: _Asked
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """(N,) each: log-probabilities, entropies, divergences, variances (zero where not asked for), likeliest."""
        # of the vocabulary so far: means of z and of z less the reference's, the variance of z, logarithms of sums of
        # exp, the largest z
        target, mean, away, around = hidden.new_zeros(4, len(targets), dtype=_precision(hidden.dtype)).unbind()
        total, other_total, most = torch.full_like(torch.stack([target, mean, away]), -torch.inf).unbind()
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, len(weight), asked.width):
                part = slice(start, start + asked.width)
                each = asked.logits(hidden, Head(weight, bias), part)
                at, inside = _within(targets, start, each.shape[1])
                target = torch.where(inside, each.gather(1, at[:, None])[:, 0], target)
                largest = each.amax(dim=-1)
                most = torch.maximum(most, largest)
                difference = None
                if asked.reference is not None:
                    other = asked.logits(*asked.reference, part)
                    other_total = torch.logaddexp(other_total, other.logsumexp(dim=-1))
                    difference = torch.sub(each, other, out=other)
                each.sub_(largest[:, None])
                below = each.clone() if asked.entropy or asked.variance else None
                sums = each.exp_().sum(dim=-1)
                here = largest + sums.log()
                total = torch.logaddexp(total, here)
                share = (here - total).exp()
                if difference is not None:
                    away = away.lerp(difference.mul_(each).sum(dim=-1) / sums, share)
                if below is not None:
                    middle = torch.linalg.vecdot(below, each) / sums
                    if asked.variance:
                        within = below.sub_(middle[:, None])
                        around = around.lerp(torch.linalg.vecdot(within, each.mul_(within)) / sums, share)
                        # all may be forbidden so far, of share 0
                        apart = (largest + middle - mean).clamp(-1e9, 1e9)
                        around = around + share * (1 - share) * apart**2
                    mean = mean.lerp(largest + middle, share)
        spread, divergence, likeliest = total - mean, away - total + other_total, target == most
        ctx.save_for_backward(hidden, weight, bias, targets, total, other_total, spread, divergence)
        ctx.asked = asked
        ctx.mark_non_differentiable(around, likeliest)
        return target - total, spread, divergence, around, likeliest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        """Gradients by the hidden states, the weight and the bias."""
        hidden, weight, bias, targets, total, other_total, spread, divergence = ctx.saved_tensors
        of_logprob, of_entropy, of_divergence, *_ = gradients
        asked: _Asked = ctx.asked
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        by_hidden = torch.zeros_like(hidden, dtype=_precision(hidden.dtype)) if wants_hidden else None
        by_weight = torch.empty_like(weight) if wants_weight else None
        by_bias = torch.empty_like(bias) if wants_bias else None
        states = hidden.to(asked.dtype)
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, len(weight), asked.width):
                part = slice(start, start + asked.width)
                each = asked.logits(states, Head(weight, bias), part)
                factor = -of_logprob[:, None]
                if asked.reference is not None:
                    away = each - asked.logits(*asked.reference, part)
                    factor = factor + of_divergence[:, None] * away.sub_((total - other_total + divergence)[:, None])
                each.sub_(total[:, None])
                if asked.entropy:
                    factor = factor - of_entropy[:, None] * (each + spread[:, None])
                by_logits = each.exp_().mul_(factor)
                at, inside = _within(targets, start, each.shape[1])
                by_logits.scatter_add_(1, at[:, None], (of_logprob * inside)[:, None])
                if asked.temperature != 1.0:
                    by_logits.div_(asked.temperature)
                if by_bias is not None:
                    by_bias[part] = by_logits.sum(dim=0)
                by_logits = by_logits.to(asked.dtype)
                if by_hidden is not None:
                    rows = weight[part].to(asked.dtype)
                    if by_hidden.dtype == asked.dtype:
                        by_hidden.addmm_(by_logits, rows)
                    else:
                        by_hidden += by_logits @ rows
                if by_weight is not None:
                    if by_weight.dtype == asked.dtype:
                        torch.mm(by_logits.T, states, out=by_weight[part])
                    else:
                        by_weight[part] = by_logits.T @ states
        return None if by_hidden is None else by_hidden.to(hidden.dtype), by_weight, by_bias, None, None


def _within(targets: Tensor, start: int, width: int) -> tuple[Tensor, Tensor]:
    """Where each target stands in the block that begins at `start`, and whether it stands there; (N,) each."""
    at = targets - start
    return at.clamp(0, width - 1), (at >= 0) & (at < width)


def _precision(dtype: torch.dtype) -> torch.dtype:
    """What losses are computed in: float32, or float64 where a model has it."""
    return torch.promote_types(dtype, torch.float32)


def _scaled(logits: Tensor, temperature: float, forbidden: Tensor | None) -> Tensor:
    """Logits as they are drawn from: float32, divided by the temperature, the forbidden ones out of reach."""
    scaled = logits.to(_precision(logits.dtype))
    if temperature != 1.0:
        scaled = scaled / temperature
    return scaled if forbidden is None else scaled.index_fill(-1, forbidden, FORBIDDEN)
