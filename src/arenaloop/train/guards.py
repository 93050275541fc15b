"""When learning from one's own answers goes wrong: stops with a named reason, before the money and the model are gone.

Each rule is for a failure that users of such trainings report again and again, and says what is likely behind it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor

from arenaloop.config import RolloutSettings
from arenaloop.errors import StoppedError
from arenaloop.train.advantages import KLController

__all__ = ["Watch", "ratio_error", "refuse_another_start", "refuse_moved_ratios"]

IN_A_ROW = 3
"""Roll-outs in a row after which a rule that one roll-out may break stops a training."""

SURPRISED = 5.0
"""Standard errors by which the answers' likelihood may differ from what the policy draws on average."""

FURTHEST_AT_START = {"float32": 1e-3, "lower": 0.05}
"""Nats by which a token's log-probability under the start and its reference may differ before the first step."""


def refuse_another_start(difference: float, lower: bool) -> None:
    """Before the first step the policy is its reference.

    Args:
        difference: the largest difference of a token's log-probabilities, in nats.
        lower: whether forward passes run in less than float32.

    Raises:
        StoppedError: it is not: penalties would be taken from another model.
    """
    most = FURTHEST_AT_START["lower" if lower else "float32"]
    if not difference <= most:
        raise StoppedError(
            f"the reference is another model than the start: a token's log-probability differs by {difference:.3g} "
            f"nats (more than {most:g}) before the first step"
        )


def ratio_error(logprobs: Tensor, old: Tensor, lower: bool) -> float:
    """How far tokens' log-probabilities are from what they were: the largest difference, in nats.

    In less than float32 it is the mean: there the logits of an unlikely token of a real vocabulary are rounded by more
    than a tenth of a nat, otherwise in every batch, while dropout or another temperature moves all tokens.
    """
    moved = (logprobs.detach() - old).abs()
    return float(moved.mean() if lower else moved.max())


def refuse_moved_ratios(ratio_error: float, lower: bool) -> None:
    """In the first step of a roll-out the policy is the one that was scored.

    Args:
        ratio_error: see `ratio_error`.
        lower: whether forward passes run in less than float32.

    Raises:
        StoppedError: it is not.
    """
    most = FURTHEST_AT_START["lower" if lower else "float32"]
    if not ratio_error <= most:
        raise StoppedError(
            f"the first step of a roll-out sees other probabilities than were scored: a ratio differs from 1 by "
            f"{ratio_error:.3g} (more than {most:g}{' on average' if lower else ''}); is dropout on, or the precision "
            "not the same?"
        )


def _standard_errors(surprise: np.ndarray, variance: np.ndarray) -> float:
    """How many standard errors the sum of all surprise is away from 0; 0 for fewer than sixteen answers.

    The variance is the larger one of the distribution's own and the sample's. Where a policy is nearly sure of its
    tokens its entropy is one of rare tokens: a roll-out may hold none of them, and then the sample's variance says too
    little; or several, and then the distribution's does, of a sum so skewed.
    """
    if len(surprise) < 16:
        return 0.0
    error = math.sqrt(max(float(variance.sum()), float(surprise.var(ddof=1)) * len(surprise)))
    return float(surprise.sum()) / error if error > 0 else 0.0


class Watch:
    """Rules over the roll-outs of a training, and the weight of its KL penalty: what a checkpoint keeps of them.

    Args:
        settings: the limits.
    """

    def __init__(self, settings: RolloutSettings) -> None:
        self._settings = settings
        self.kl = KLController(settings.kl_coef, settings.kl_target)
        self._broken: dict[str, int] = {}
        self._cut_at_start: float | None = None
        self._told_apart = False

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs."""
        return {
            "kl_coef": self.kl.value,
            "broken": dict(self._broken),
            "cut_at_start": self._cut_at_start,
            "told_apart": self._told_apart,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state that was kept."""
        self.kl = KLController(state["kl_coef"], self._settings.kl_target)
        self._broken, self._cut_at_start = dict(state["broken"]), state["cut_at_start"]
        self._told_apart = state["told_apart"]

    def check(self, iteration: int, kl: np.ndarray, surprise: np.ndarray, figures: dict[str, float]) -> None:
        """Look at a roll-out.

        Args:
            iteration: its number, from 0.
            kl: (B,) log-ratio of each answer to the reference, summed over its tokens, in nats.
            surprise: (B, 2) by how much each answer is less likely than the policy's own draws are on average, in nats,
                and the variance that this has where it is drawn by the policy (`rollouts.token_logprobs_and_surprise`).
            figures: of `Rollout.figures`.

        Raises:
            StoppedError: a rule is broken; the text says which.
        """
        settings = self._settings
        where = f"stopped at roll-out {iteration + 1}: "
        mean, error = float(kl.mean()), float(kl.std(ddof=1)) / math.sqrt(len(kl)) if len(kl) > 1 else 0.0
        if mean < -3 * error - 1e-3 * figures["completions/mean_length"]:
            raise StoppedError(
                f"{where}the KL divergence from the start is {mean:.3g} nats an answer, and no true one is below 0 (3 "
                f"standard errors are {3 * error:.2g}): sampling draws from another distribution than is trained"
            )
        apart = _standard_errors(*surprise.T)
        if abs(apart) > SURPRISED:
            side = "less" if apart > 0 else "more"
            raise StoppedError(
                f"{where}the answers are {side} likely than what the model draws on average, "
                f"by {abs(apart):.1f} standard errors: sampling draws from another distribution than is trained "
                "(another temperature, a cut tail, other weights)"
            )
        if mean > settings.stop_kl:
            raise StoppedError(
                f"{where}answers are {mean:.3g} nats from the start (stop_kl {settings.stop_kl:g}); a higher kl_coef, "
                "kl_target or a lower learning_rate may help"
            )
        if self._cut_at_start is None:
            self._cut_at_start = figures["completions/clipped_ratio"]
        self._told_apart = self._told_apart or figures["objective/scores_std"] > 0
        self._often(
            "equal scores",
            not self._told_apart,  # all alike later on may be all that can be reached
            f"{where}the reward has said the same of all answers in {IN_A_ROW} roll-outs, so there is nothing to learn",
        )
        self._often(
            "few different answers",
            figures["completions/distinct"] < settings.stop_distinct,
            f"{where}only {figures['completions/distinct']:.1%} of the answers are different in {IN_A_ROW} roll-outs "
            f"in a row (stop_distinct {settings.stop_distinct:g}): the model says one thing to every prompt",
        )
        self._often(
            "cut answers",
            figures["completions/clipped_ratio"] > settings.stop_cut >= self._cut_at_start,
            f"{where}{figures['completions/clipped_ratio']:.0%} of the answers are cut at max_new_tokens in {IN_A_ROW} "
            f"roll-outs in a row ({self._cut_at_start:.0%} at the start): does the reward pay for length?",
        )

    def _often(self, rule: str, broken: bool, words: str) -> None:
        self._broken[rule] = self._broken.get(rule, 0) + 1 if broken else 0
        if self._broken[rule] >= IN_A_ROW:
            raise StoppedError(words)
