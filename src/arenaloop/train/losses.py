"""Losses: pure functions from logits and log-probabilities to a loss and named statistics.

Shapes: B rows, T positions, N labelled tokens, V vocabulary entries, P pairs. Targets are shifted already:
``logits[..., t, :]`` predicts ``targets[..., t]``, and `IGNORE` marks positions that carry no loss.

Every loss is a mean over the *whole* optimiser batch. A caller that accumulates gradients over micro-batches passes the
whole batch's count, and then the losses and the statistics of the micro-batches add up to those of one big batch.
Statistics are detached tensors, so that nothing here waits for the device.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

__all__ = ["IGNORE", "dpo_loss", "token_cross_entropy", "token_entropy", "token_logprobs"]

IGNORE = -100
"""Target of a position that carries no loss (PyTorch's own default)."""

Statistics = dict[str, Tensor]


def token_logprobs(logits: Tensor, targets: Tensor) -> Tensor:
    """Log-probability of each target: ``logits[target] - logsumexp(logits)``, in nats and float32; 0 where `IGNORE`.

    (..., V) logits and (...) targets to (...).
    """
    flat = functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]).float(), targets.reshape(-1), ignore_index=IGNORE, reduction="none"
    )
    return -flat.view(targets.shape)


def token_entropy(logits: Tensor) -> Tensor:
    """Entropy of each position's distribution, ``-sum_v p_v ln p_v``, in nats and float32: (..., V) to (...)."""
    logprobs = logits.float().log_softmax(dim=-1)
    return -(logprobs.exp() * logprobs).sum(dim=-1)


def token_cross_entropy(logits: Tensor, targets: Tensor, tokens: int | None = None) -> tuple[Tensor, Statistics]:
    """Cross-entropy on the labelled tokens, ``-sum ln pi(y_t | ...) / tokens``: the SFT loss (scalar).

    (..., V) logits and (...) targets; `tokens` are the labelled ones of the whole optimiser batch, by default those
    given here. The statistic is ``token_accuracy``, the share of labelled tokens that are the likeliest.
    """
    labelled = targets != IGNORE
    total = int(labelled.sum()) if tokens is None else tokens
    loss = -token_logprobs(logits, targets).sum() / total
    hits = ((logits.detach().argmax(dim=-1) == targets) & labelled).sum()
    return loss, {"token_accuracy": hits / total}


def dpo_loss(
    chosen: Tensor,
    rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    beta: float,
    *,
    pairs: int | None = None,
    nll_weight: float = 0.0,
    chosen_tokens: int | None = None,
) -> tuple[Tensor, Statistics]:
    """The sigmoid loss of direct preference optimisation (Rafailov et al. 2023, equation 7).

    ``-ln sigma(beta * [(ln pi(y_w) - ln ref(y_w)) - (ln pi(y_l) - ln ref(y_l))])``, meaned over pairs. With
    `nll_weight`, that many times the cross-entropy per token of the chosen answers is added, which keeps their
    probability from falling (Pang et al. 2024, equation 1, there normalised per answer).

    Args:
        chosen, rejected: (P,), log-probabilities of the answers under the policy, summed over tokens.
        reference_chosen, reference_rejected: (P,), the same under the frozen reference.
        beta: weight of the implicit KL penalty.
        pairs: pairs in the whole optimiser batch; by default those given here.
        nll_weight: weight of the cross-entropy term; 0 = off.
        chosen_tokens: labelled tokens of the chosen answers in the whole optimiser batch; needed with `nll_weight`.

    Returns:
        The loss (scalar), and means over pairs: ``accuracy`` (margin above 0), ``margin`` (what sigma is taken of),
        ``chosen_logratio`` and ``rejected_logratio`` (policy less reference, without beta), ``chosen_falls`` (share of
        pairs whose chosen answer is less likely than under the reference); with `nll_weight` also ``chosen_nll``.

    Raises:
        ValueError: `nll_weight` without `chosen_tokens`.
    """
    total = len(chosen) if pairs is None else pairs
    chosen_logratio = chosen - reference_chosen
    rejected_logratio = rejected - reference_rejected
    margin = beta * (chosen_logratio - rejected_logratio)
    loss = -functional.logsigmoid(margin).sum() / total
    with torch.no_grad():
        statistics = {
            "accuracy": (margin > 0).sum() / total,
            "margin": margin.sum() / total,
            "chosen_logratio": chosen_logratio.sum() / total,
            "rejected_logratio": rejected_logratio.sum() / total,
            "chosen_falls": (chosen_logratio < 0).sum() / total,
        }
    if nll_weight:
        if not chosen_tokens:
            raise ValueError("nll_weight needs chosen_tokens, the labelled tokens of the chosen answers")
        nll = -chosen.sum() / chosen_tokens
        loss = loss + nll_weight * nll
        statistics["chosen_nll"] = nll.detach()
    return loss, statistics
