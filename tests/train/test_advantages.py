from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from arenaloop.train.advantages import (
    KLController,
    gae,
    kl_estimates,
    leave_one_out,
    row_sums,
    scale,
    shape_rewards,
    whiten,
)

LOGPROBS = torch.tensor([-1.0, -0.5, -2.0], dtype=torch.float64)
REFERENCE = torch.tensor([-1.2, -0.4, -2.6], dtype=torch.float64)
VALUES = torch.tensor([0.3, 0.5, 0.9], dtype=torch.float64)


@pytest.mark.parametrize(
    ("estimator", "lam", "shaped", "advantages", "returns"),
    [
        ("clamped", 1.0, (-0.004, 0, 1.488), (1.184, 0.988, 0.588), (1.484, 1.488, 1.488)),
        ("clamped", 0.95, (-0.004, 0, 1.488), (1.10667, 0.9586, 0.588), (1.40667, 1.4586, 1.488)),
        ("k1", 1.0, (-0.004, 0.002, 1.488), (1.186, 0.990, 0.588), (1.486, 1.490, 1.488)),
    ],
)
def test_ppo_golden_b3(estimator: Any, lam: float, shaped: Any, advantages: Any, returns: Any) -> None:
    """One answer of three tokens, score 1.5, weight of the penalty 0.02, without scaling; worked by hand."""
    row = torch.zeros(3, dtype=torch.long)
    penalties = kl_estimates(LOGPROBS, REFERENCE, estimator)
    rewards = shape_rewards(penalties, torch.tensor([1.5]), torch.tensor([2]), 0.02)
    assert rewards.tolist() == pytest.approx(shaped)
    found = gae(rewards, VALUES, row, 1.0, lam)
    assert found[0].tolist() == pytest.approx(advantages, abs=1e-5)
    assert found[1].tolist() == pytest.approx(returns, abs=1e-5)


def by_rows(rewards: Tensor, values: Tensor, lengths: list[int], gamma: float, lam: float) -> list[float]:
    """The recursion of Schulman et al. (2016), a row at a time."""
    out: list[float] = []
    start = 0
    for length in lengths:
        r, v = rewards[start : start + length].tolist(), values[start : start + length].tolist()
        after, row = 0.0, []
        for t in reversed(range(length)):
            following = v[t + 1] if t + 1 < length else 0.0
            after = r[t] + gamma * following - v[t] + gamma * lam * after
            row.append(after)
        out += row[::-1]
        start += length
    return out


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=8), st.floats(0.5, 1), st.floats(0, 1), st.integers(0, 2**31 - 1)
)
def test_flat_advantages_are_those_of_a_loop_over_rows(lengths: list[int], gamma: float, lam: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rewards, values = torch.randn(2, sum(lengths), generator=generator, dtype=torch.float64).unbind()
    row = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    found, returns = gae(rewards, values, row, gamma, lam)
    assert found.tolist() == pytest.approx(by_rows(rewards, values, lengths, gamma, lam), abs=1e-12)
    assert torch.equal(returns, found + values)


def test_estimates_of_the_kl_divergence_and_of_its_gradient() -> None:
    """Over ten categoricals of six classes: in a reward only k1 has the divergence's gradient, as a loss only k2."""
    cosines: dict[str, list[float]] = {"k1": [], "clamped": [], "k2": [], "k3": []}
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        logits, other = torch.randn(2, 6, generator=generator, dtype=torch.float64).unbind()
        logits.requires_grad_()
        policy, reference = logits.log_softmax(-1), other.log_softmax(-1)
        divergence = (policy.exp() * (policy - reference)).sum()
        (exact,) = torch.autograd.grad(divergence, logits, retain_graph=True)
        p = policy.exp().detach()
        scores = torch.eye(6, dtype=torch.float64) - p  # d ln pi(y) / d logits, a row for each y
        for name, found in cosines.items():
            each = kl_estimates(policy.detach(), reference, cast(Any, name))
            gradient = (p * each) @ scores
            found.append(float(torch.cosine_similarity(gradient, exact, dim=0)))
            if name == "k1":
                assert torch.allclose(gradient, exact, atol=1e-10)
        estimate = kl_estimates(policy, reference, "k2")
        (loss,) = torch.autograd.grad((p * estimate).sum(), logits)
        assert torch.allclose(loss, exact, atol=1e-10)
        for name in ("k1", "k3"):
            assert float((p * kl_estimates(policy.detach(), reference, cast(Any, name))).sum()) == pytest.approx(
                float(divergence.detach())
            )
    assert min(cosines["k1"]) > 1 - 1e-12
    assert sum(cosines["k3"]) / 10 < sum(cosines["k2"]) / 10 < sum(cosines["clamped"]) / 10 < 1


@pytest.mark.parametrize("mean", [-2.0, 0.0, 2.0])
def test_scaled_rewards_do_not_pay_for_length(mean: float) -> None:
    """512 answers whose scores know nothing of their lengths; putting the mean back would pay for every token."""
    generator = torch.Generator().manual_seed(int(mean) + 5)
    lengths = torch.randint(5, 60, (512,), generator=generator)
    row = torch.repeat_interleave(torch.arange(512), lengths)
    scores = mean + torch.randn(512, generator=generator, dtype=torch.float64)
    centred = lengths.double() - lengths.double().mean()
    scores = scores - centred * (centred @ scores) / (centred @ centred)  # exactly uncorrelated
    last = lengths.cumsum(0) - 1
    shaped = shape_rewards(torch.zeros(len(row), dtype=torch.float64), scores, last, 0.0)

    def slope(rewards: Tensor) -> float:
        return abs(float(centred @ row_sums(rewards, row, 512) / (centred @ centred)))

    assert slope(scale(shaped)) < 1e-6
    if mean:
        kept = whiten(shaped) + shaped.mean()  # the published code's way
        assert slope(kept) > 0.05


def test_whitening() -> None:
    values = torch.arange(10, dtype=torch.float64)
    white = whiten(values)
    assert float(white.mean()) == pytest.approx(0, abs=1e-12)
    assert float(white.std(correction=0)) == pytest.approx(1)
    assert scale(values).tolist() == pytest.approx((values / values.std(correction=0)).tolist())
    weights = torch.tensor([1.0] * 9 + [0.0])
    assert whiten(values, weights)[:9].tolist() == pytest.approx(whiten(values[:9]).tolist())
    for same in (torch.full((9,), 0.1), values[:7]):  # no spread, too few
        assert whiten(same) is same
        assert scale(same) is same


def test_leave_one_out_worked_by_hand() -> None:
    """Scores 1, 2, 6 of one prompt, 5 and one without a score of another, 4 alone."""
    scores = torch.tensor([1.0, 2.0, 6.0, 5.0, float("nan"), 4.0])
    group, weights = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([1.0, 1, 1, 1, 0, 1])
    assert leave_one_out(scores, group, weights).tolist() == [1 - 4, 2 - 3.5, 6 - 1.5, 0, 0, 0]
    assert float(leave_one_out(scores[:3], group[:3]).sum()) == pytest.approx(0)


def test_the_kl_controller_follows_its_target_and_never_jumps() -> None:
    fixed = KLController(0.02)
    assert fixed.after(100) == fixed
    following = KLController(0.02, target=6)
    assert following.after(6).value == pytest.approx(0.02)
    assert following.after(6.6).value == pytest.approx(0.02 * 1.01)
    assert following.after(600).value == pytest.approx(0.02 * 1.02)
    assert following.after(-3).value == pytest.approx(0.02 * 0.98)
