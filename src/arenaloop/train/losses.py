"""Losses: pure functions from log-probabilities, scores and values to a loss and named statistics.

Shapes: N labelled tokens, P pairs. Padding does not exist here: tokens of all rows lie in one flat tensor.

Every loss is a mean over the *whole* optimiser batch. A caller that accumulates gradients over micro-batches passes the
whole batch's count, and then the losses and the statistics of the micro-batches add up to those of one big batch.
Statistics are detached tensors, so that nothing here waits for the device.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as functional
from torch import Tensor

__all__ = [
    "DPOKind",
    "cross_entropy_loss",
    "dpo_loss",
    "ppo_policy_loss",
    "quark_loss",
    "reward_loss",
    "value_loss",
]

Statistics = dict[str, Tensor]

DPOKind = Literal["sigmoid", "ipo", "sigmoid_norm", "robust"]
"""The losses of the DPO family; see `dpo_loss`."""

RATIO_RANGE = 20.0
"""Log-ratios of probabilities are cut to this range before they are exponentiated."""


def cross_entropy_loss(logprobs: Tensor, likeliest: Tensor, tokens: int | None = None) -> tuple[Tensor, Statistics]:
    """Cross-entropy on the labelled tokens, ``-sum ln pi(y_t | ...) / tokens``: the SFT loss (scalar).

    Args:
        logprobs: (N,), of the labelled tokens.
        likeliest: (N,), whether each is the likeliest token where it stands.
        tokens: labelled tokens of the whole optimiser batch; by default those given here.

    Returns:
        The loss, and ``token_accuracy``, the share of labelled tokens that are the likeliest.
    """
    total = len(logprobs) if tokens is None else tokens
    return -logprobs.sum() / total, {"token_accuracy": likeliest.sum() / total}


def dpo_loss(
    chosen: Tensor,
    rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    beta: float,
    *,
    kind: DPOKind = "sigmoid",
    label_smoothing: float = 0.0,
    lengths: tuple[Tensor, Tensor] | None = None,
    pairs: int | None = None,
    nll_weight: float = 0.0,
    chosen_tokens: int | None = None,
) -> tuple[Tensor, Statistics]:
    """The losses of direct preference optimisation, meaned over pairs.

    With the log-ratios ``r = ln pi(y) - ln ref(y)`` and the margin ``m = beta * (r_w - r_l)``:

    * ``sigmoid``: ``-ln sigma(m)`` (Rafailov et al. 2023, equation 7); with `label_smoothing` e, a share e of the
      labels is taken to be wrong: ``-(1 - e) ln sigma(m) - e ln sigma(-m)``.
    * ``robust``: the same, unbiased under such labels (Chowdhury et al. 2024):
      ``(-(1 - e) ln sigma(m) + e ln sigma(-m)) / (1 - 2 e)``.
    * ``sigmoid_norm``: log-ratios per token, so that length does not pay (Lambert et al. 2024).
    * ``ipo``: ``(r_w - r_l - 1 / (2 beta))^2`` with log-ratios per token (Azar et al. 2023, equation 17).

    With `nll_weight`, that many times the cross-entropy per token of the chosen answers is added, which keeps their
    probability from falling (Pang et al. 2024, equation 1, there normalised per answer).

    Args:
        chosen, rejected: (P,), log-probabilities of the answers under the policy, summed over tokens.
        reference_chosen, reference_rejected: (P,), the same under the frozen reference.
        beta: weight of the implicit KL penalty.
        kind: which loss.
        label_smoothing: share of labels taken to be wrong, below 0.5; ``sigmoid`` and ``robust`` only.
        lengths: (P,) and (P,), tokens of the chosen and rejected answers; needed by ``ipo`` and ``sigmoid_norm``.
        pairs: pairs in the whole optimiser batch; by default those given here.
        nll_weight: weight of the cross-entropy term; 0 = off.
        chosen_tokens: labelled tokens of the chosen answers in the whole optimiser batch; needed with `nll_weight`.

    Returns:
        The loss (scalar), and means over pairs: ``accuracy`` (margin above 0), ``margin`` (what sigma is taken of),
        ``chosen_logratio`` and ``rejected_logratio`` (policy less reference, without beta), ``chosen_falls`` (share of
        pairs whose chosen answer is less likely than under the reference); with `nll_weight` also ``chosen_nll``.

    Raises:
        ValueError: `nll_weight` without `chosen_tokens`, or a loss per token without `lengths`.
    """
    total = len(chosen) if pairs is None else pairs
    chosen_logratio = chosen - reference_chosen
    rejected_logratio = rejected - reference_rejected
    difference = chosen_logratio - rejected_logratio
    if kind in ("ipo", "sigmoid_norm"):
        if lengths is None:
            raise ValueError(f"{kind} needs lengths, the tokens of the answers")
        difference = chosen_logratio / lengths[0] - rejected_logratio / lengths[1]
    margin = beta * difference
    if kind == "ipo":
        each = (difference - 1 / (2 * beta)) ** 2
    elif label_smoothing:
        sign = -1.0 if kind == "robust" else 1.0
        right, wrong = -functional.logsigmoid(margin), -functional.logsigmoid(-margin)
        each = (1 - label_smoothing) * right + sign * label_smoothing * wrong
        if kind == "robust":
            each = each / (1 - 2 * label_smoothing)
    else:
        each = -functional.logsigmoid(margin)
    loss = each.sum() / total
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


def reward_loss(
    first: Tensor,
    second: Tensor,
    preference: Tensor,
    *,
    margin: Tensor | None = None,
    pairs: int | None = None,
) -> tuple[Tensor, Statistics]:
    """The Bradley-Terry loss of a reward model (Stiennon et al. 2020, section 3.4; soft targets: cross-entropy).

    ``-[p ln sigma(r_1 - r_2) + (1 - p) ln sigma(r_2 - r_1)]``, meaned over pairs.

    Args:
        first, second: (P,), scores of the two answers.
        preference: (P,), probability that the first is the better one: 1, 0, or between for a soft label.
        margin: (P,), how much higher the better one ought to be scored (Touvron et al. 2023, equation 2); hard labels.
        pairs: pairs in the whole optimiser batch; by default those given here.

    Returns:
        The loss (scalar), and means over pairs: ``accuracy`` (the preferred answer is scored higher; an equal score or
        an equal preference is half right) and ``gap`` (score of the better less that of the worse).
    """
    total = len(first) if pairs is None else pairs
    difference = first - second
    shown = difference if margin is None else difference - margin * (2 * preference - 1)
    loss = functional.binary_cross_entropy_with_logits(shown, preference.to(shown.dtype), reduction="sum") / total
    with torch.no_grad():
        side = torch.sign(preference - 0.5)
        right = 0.5 + 0.5 * torch.sign(difference) * side
        statistics = {"accuracy": right.sum() / total, "gap": (difference * side).sum() / total}
    return loss, statistics


def ppo_policy_loss(
    logprobs: Tensor,
    old: Tensor,
    advantages: Tensor,
    clip: float,
    *,
    weights: Tensor | None = None,
    tokens: float | None = None,
) -> tuple[Tensor, Statistics]:
    """The clipped surrogate of proximal policy optimisation (Schulman et al. 2017, equation 7).

    ``sum_t max(-A_t ratio_t, -A_t clip(ratio_t, 1 - clip, 1 + clip)) / tokens`` with ``ratio = exp(new - old)``.

    Args:
        logprobs: (N,), of the sampled tokens under the policy as it is.
        old: (N,), the same before the first update of the roll-out.
        advantages: (N,).
        clip: half width of the range of ratios that earn anything.
        weights: (N,), of each token; 0 leaves one out. By default 1.
        tokens: weights of the whole optimiser batch, summed; by default of those given here.

    Returns:
        The loss (scalar), and means over tokens: ``ratio``, ``clip_fraction`` (tokens where the clipped term is the
        larger one) and ``policy_kl`` (``ratio - 1 - ln ratio``, Schulman's third estimator, of old from new).
    """
    weights = torch.ones_like(logprobs) if weights is None else weights
    total = weights.sum() if tokens is None else tokens
    logratio = (logprobs - old).clamp(-RATIO_RANGE, RATIO_RANGE)
    ratio = logratio.exp()
    plain, clipped = -advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip)
    loss = (torch.maximum(plain, clipped) * weights).sum() / total
    with torch.no_grad():
        statistics = {
            "ratio": (ratio * weights).sum() / total,
            "clip_fraction": ((clipped > plain) * weights).sum() / total,
            "policy_kl": ((ratio - 1 - logratio) * weights).sum() / total,
        }
    return loss, statistics


def value_loss(
    values: Tensor,
    old: Tensor,
    returns: Tensor,
    clip: float,
    *,
    weights: Tensor | None = None,
    tokens: float | None = None,
) -> tuple[Tensor, Statistics]:
    """The clipped squared error of a value function (Schulman et al.'s published code; Dubois et al. 2023's too).

    ``0.5 * sum_t max((V_t - R_t)^2, (clip(V_t, V_old - clip, V_old + clip) - R_t)^2) / tokens``.

    Args:
        values, old: (N,), of the state before each token, as it is and before the first update of the roll-out.
        returns: (N,), what they ought to be.
        clip: how far from the old value a prediction may go.
        weights, tokens: as in `ppo_policy_loss`.

    Returns:
        The loss (scalar), and ``value_clip_fraction``, the share of tokens where the clipped term is the larger one.
    """
    weights = torch.ones_like(values) if weights is None else weights
    total = weights.sum() if tokens is None else tokens
    plain = (values - returns) ** 2
    clipped = (old + (values - old).clamp(-clip, clip) - returns) ** 2
    loss = 0.5 * (torch.maximum(plain, clipped) * weights).sum() / total
    return loss, {"value_clip_fraction": ((clipped > plain) * weights).sum().detach() / total}


def quark_loss(
    logprobs: Tensor,
    divergence: Tensor,
    entropy: Tensor | None,
    *,
    kl_coef: float,
    entropy_coef: float = 0.0,
    weights: Tensor | None = None,
    tokens: float | None = None,
) -> tuple[Tensor, Statistics]:
    """The loss of quantised reward conditioning (Lu et al. 2022, section 2): likelihood held near the reference.

    ``sum_t [-ln pi(y_t) + kl_coef KL(pi || ref) - entropy_coef H(pi)] / tokens``, KL and H over the whole vocabulary.

    Args:
        logprobs: (N,), of the answers' tokens, their ends included.
        divergence: (N,), of the policy's distribution from the reference's at each.
        entropy: (N,), of the policy's distribution; needed with `entropy_coef`.
        kl_coef, entropy_coef: weights of the two terms.
        weights, tokens: as in `ppo_policy_loss`.

    Returns:
        The loss (scalar), and means over tokens: ``nll``, ``kl`` and, where it was given, ``entropy``.

    Raises:
        ValueError: `entropy_coef` without `entropy`.
    """
    if entropy_coef and entropy is None:
        raise ValueError("entropy_coef needs the entropies")
    weights = torch.ones_like(logprobs) if weights is None else weights
    total = weights.sum() if tokens is None else tokens
    loss = ((kl_coef * divergence - logprobs) * weights).sum() / total
    told = {"nll": -logprobs, "kl": divergence, **({} if entropy is None else {"entropy": entropy})}
    if entropy is not None and entropy_coef:
        loss = loss - entropy_coef * (entropy * weights).sum() / total
    return loss, {name: (each.detach() * weights).sum() / total for name, each in told.items()}
