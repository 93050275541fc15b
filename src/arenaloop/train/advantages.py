"""From scores of whole answers to what each token earned: pure functions over flat tokens.

Shapes: B rows (answers), N tokens of all of them, one row after the other in order; ``row[t]`` is the row that token t
belongs to, and no padding exists. A token's value is that of the state before it; after the last token it is 0, also
where the answer was cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

__all__ = [
    "KLController",
    "KLEstimator",
    "gae",
    "kl_estimates",
    "leave_one_out",
    "row_sums",
    "scale",
    "shape_rewards",
    "whiten",
]

KLEstimator = Literal["k1", "clamped", "k2", "k3"]
"""Estimates of a token's KL divergence by its own log-ratio; see `kl_estimates`."""

EPSILON = 1e-8
"""Added to standard deviations before they divide."""

FEWEST_TO_WHITEN = 8
"""Tokens from which a mean and a standard deviation are taken at all."""


def kl_estimates(logprobs: Tensor, reference: Tensor, estimator: KLEstimator = "k1") -> Tensor:
    """Estimates of KL(policy || reference) at tokens that the policy has sampled (Schulman 2020): (N,) in nats.

    With ``d = ln pi - ln ref``: ``k1 = d``; ``clamped = max(d, 0)`` (Dubois et al. 2023); ``k2 = d^2 / 2``;
    ``k3 = exp(-d) - 1 + d``. As a penalty in a *reward* only k1 has the gradient of the KL divergence; as a term of a
    *loss* k2 has it, k3 that of the divergence the other way round, and k1 none.

    Args:
        logprobs, reference: (N,), of the sampled tokens under either.
        estimator: which.
    """
    difference = logprobs - reference
    if estimator == "clamped":
        return difference.clamp(min=0)
    if estimator == "k2":
        return difference.square() / 2
    return difference if estimator == "k1" else torch.expm1(-difference) + difference


def row_sums(values: Tensor, row: Tensor, rows: int) -> Tensor:
    """Sums of the tokens' values by row: (N,) to (B,)."""
    return values.new_zeros(rows).index_add(0, row, values)


def shape_rewards(penalties: Tensor, scores: Tensor, last: Tensor, kl_coef: float) -> Tensor:
    """Rewards by token: ``-kl_coef * penalty`` each, and the answer's score at its last token: (N,).

    Args:
        penalties: (N,), of `kl_estimates`.
        scores: (B,), of the answers.
        last: (B,), the index among the N of each answer's last token.
        kl_coef: weight of the penalty.
    """
    return (-kl_coef * penalties).index_add(0, last, scores.to(penalties.dtype))


def scale(values: Tensor, weights: Tensor | None = None) -> Tensor:
    """Values divided by their standard deviation, their mean as it is in proportion: (N,).

    The mean is *not* put back as it was: that would add a constant to every token, and so pay for length. Values
    without spread, and fewer than eight of them, come back as they are.

    Args:
        values: (N,).
        weights: (N,), 0 for tokens that do not count.
    """
    return _standardised(values, weights, centred=False)


def whiten(values: Tensor, weights: Tensor | None = None) -> Tensor:
    """Values with mean 0 and standard deviation 1; otherwise as `scale`: (N,)."""
    return _standardised(values, weights, centred=True)


def _standardised(values: Tensor, weights: Tensor | None, *, centred: bool) -> Tensor:
    counted = values if weights is None else values[weights > 0]
    if len(counted) < FEWEST_TO_WHITEN:
        return values
    spread = counted.std(correction=0)
    # rounding alone leaves a spread in equal values
    if not spread > 1e-7 * counted.abs().max():
        return values
    return (values - counted.mean() if centred else values) / (spread + EPSILON)


def gae(rewards: Tensor, values: Tensor, row: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimates and returns (Schulman et al. 2016, equation 16): (N,) and (N,).

    ``delta_t = r_t + gamma V_{t+1} - V_t``, ``A_t = delta_t + gamma lam A_{t+1}``, ``R_t = A_t + V_t``, within each
    row.

    Args:
        rewards, values: (N,).
        row: (N,), ascending.
        gamma: discount.
        lam: weight of longer sums of rewards against the value function.
    """
    lengths = torch.bincount(row)
    column = torch.arange(len(row), device=row.device) - (lengths.cumsum(0) - lengths)[row]
    width = int(lengths.max())
    reward, value = values.new_zeros(2, len(lengths), width + 1).unbind()
    reward[row, column], value[row, column] = rewards, values
    advantage = torch.zeros_like(value)
    for at in range(width - 1, -1, -1):  # behind the end of a row all is zero
        delta = reward[:, at] + gamma * value[:, at + 1] - value[:, at]
        inside = at < lengths
        advantage[:, at] = torch.where(inside, delta + gamma * lam * advantage[:, at + 1], 0)
    flat = advantage[row, column]
    return flat, flat + values


def leave_one_out(scores: Tensor, group: Tensor, weights: Tensor | None = None) -> Tensor:
    """Each score less the mean of the others of its prompt (Kool et al. 2019; Ahmadian et al. 2024): (B,).

    A score that is alone in its prompt has nothing to be compared with: 0.

    Args:
        scores: (B,).
        group: (B,), the prompt of each, from 0.
        weights: (B,), 0 for answers without a score: they get 0 and count in no mean.
    """
    weights = torch.ones_like(scores) if weights is None else weights
    counted = torch.where(weights > 0, scores, 0)
    groups = int(group.max()) + 1
    total, number = row_sums(counted, group, groups), row_sums(weights, group, groups)
    others = number[group] - 1
    mean = (total[group] - counted) / others.clamp(min=1)
    return torch.where((weights > 0) & (others > 0), counted - mean, 0)


@dataclass(frozen=True, slots=True)
class KLController:
    """The weight of the KL penalty, fixed or following a target (Ziegler et al. 2019, section 2.2).

    Attributes:
        value: the weight.
        target: nats per answer that are aimed at; None = the weight stays.
        rate: how fast it follows.
    """

    value: float
    target: float | None = None
    rate: float = 0.1

    def after(self, kl: float) -> KLController:
        """The controller after an iteration in which an answer's KL divergence was `kl` nats on average.

        ``value * (1 + rate * clip(kl / target - 1, -0.2, 0.2))``.
        """
        if self.target is None:
            return self
        error = min(max(kl / self.target - 1, -0.2), 0.2)
        return KLController(self.value * (1 + self.rate * error), self.target, self.rate)
