"""Every rule stops what it is for, with a reason of its own, and lets pass what merely looks like it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from arenaloop.config import PPOSettings
from arenaloop.errors import StoppedError
from arenaloop.train.guards import Watch

SOUND = {
    "completions/mean_length": 5.0,
    "completions/clipped_ratio": 0.0,
    "completions/distinct": 0.9,
    "objective/scores_std": 0.4,
}
CUT, ALIKE, ONE_TEXT = (
    {"completions/clipped_ratio": 0.97},
    {"objective/scores_std": 0.0},
    {"completions/distinct": 0.01},
)
NOISE = np.random.default_rng(0).normal(size=64)
NOISE = (NOISE - NOISE.mean()) / NOISE.std(ddof=1)
"""(64,) mean 0, standard deviation 1: a standard error is an eighth."""
TOLD = np.stack([NOISE, np.ones(64)], axis=1)
"""As surprising as its variance has it."""


def watched(rollouts: Sequence[dict[str, float]], *, kl: float = 1.0, surprise: float = 0.0) -> None:
    """Roll-outs with these figures beside sound ones; mean KL and surprise of each, in nats."""
    watch = Watch(PPOSettings())
    for iteration, figures in enumerate(rollouts):
        watch.check(iteration, NOISE + kl, TOLD + np.array([surprise, 0.0]), {**SOUND, **figures})


@pytest.mark.parametrize(
    ("rollouts", "nats", "reason"),
    [
        ([ALIKE] * 3, {}, "roll-out 3: the reward has said the same of all answers"),
        ([{}, *[ONE_TEXT] * 3], {}, r"roll-out 4: only 1.0% of the answers are different"),
        ([{}, *[CUT] * 3], {}, r"roll-out 4: 97% of the answers are cut .* \(0% at the start\): .* pay for length"),
        ([{}], {"kl": 201.0}, r"roll-out 1: answers are 201 nats from the start \(stop_kl 200\)"),
        ([{}], {"kl": -0.5}, r"roll-out 1: the KL divergence from the start is -0.5 nats"),
        ([{}], {"surprise": 0.7}, r"roll-out 1: the answers are less likely .* by 5.6 standard errors"),
        ([{}], {"surprise": -0.7}, r"roll-out 1: the answers are more likely .* by 5.6 standard errors"),
    ],
)
def test_a_broken_rule_stops(rollouts: list[dict[str, float]], nats: dict[str, float], reason: str) -> None:
    with pytest.raises(StoppedError, match=reason):
        watched(rollouts, **nats)


def test_a_policy_that_is_nearly_sure_is_not_taken_for_another() -> None:
    """Its entropy is that of tokens so rare that most roll-outs hold none: their spread alone would say nothing."""
    rng, rare, tokens, answers = np.random.default_rng(0), 0.001, 5, 256
    entropy = -(rare * np.log(rare) + (1 - rare) * np.log1p(-rare))
    variance = rare * (1 - rare) * (np.log(rare) - np.log1p(-rare)) ** 2
    watch, by_spread = Watch(PPOSettings()), 0
    for iteration in range(200):
        odd = rng.random((answers, tokens)) < rare
        surprise = (np.where(odd, -np.log(rare), -np.log1p(-rare)) - entropy).sum(axis=1)
        surprise += rng.normal(scale=1e-4, size=answers)  # no two are quite alike
        watch.check(iteration, NOISE, np.stack([surprise, np.full(answers, tokens * variance)], axis=1), SOUND)
        by_spread += abs(surprise.mean()) > 5 * surprise.std(ddof=1) / 16
    assert by_spread > 20  # by its own spread alone it would have been stopped again and again


@pytest.mark.parametrize(
    ("rollouts", "nats"),
    [
        ([ALIKE, ALIKE, {}, *[ALIKE] * 5], {}),  # told apart once: all may be as good as can be
        ([*[ONE_TEXT] * 2, {}, *[ONE_TEXT] * 2], {}),
        ([{"completions/distinct": 0.02}] * 5, {}),
        ([CUT] * 5, {}),  # the start does not end its answers either
        ([{}, CUT, CUT, {}, CUT, CUT], {}),
        ([{}, *[{"completions/clipped_ratio": 0.95}] * 5], {}),
        ([{}] * 5, {"kl": 199.0}),
        ([{}] * 5, {"kl": -0.37}),  # three standard errors are 0.375
        ([{}] * 5, {"surprise": 0.6}),
        ([{}] * 5, {"surprise": -0.6}),
    ],
)
def test_what_only_looks_like_it_goes_on(rollouts: list[dict[str, float]], nats: dict[str, float]) -> None:
    watched(rollouts, **nats)


def test_a_resumed_training_has_not_forgotten_what_was_seen() -> None:
    for broken in (ALIKE, ONE_TEXT, CUT):
        before = Watch(PPOSettings())
        for iteration, figures in enumerate([{} if broken is CUT else broken, broken, broken][broken is not CUT :]):
            before.check(iteration, NOISE + 1, TOLD, {**SOUND, **figures})
        after = Watch(PPOSettings())
        after.load_state_dict(before.state_dict())
        with pytest.raises(StoppedError):
            after.check(9, NOISE + 1, TOLD, {**SOUND, **broken})
        Watch(PPOSettings()).check(9, NOISE + 1, TOLD, {**SOUND, **broken})
