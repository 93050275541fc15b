from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.train import losses
from arenaloop.train.head import score_logits
from arenaloop.train.losses import cross_entropy_loss, ppo_policy_loss, quark_loss, reward_loss, value_loss

dpo_loss: Any = losses.dpo_loss  # its four columns are unpacked below

logprob = st.floats(-50, 0, allow_subnormal=False)
four = st.tuples(logprob, logprob, logprob, logprob)
betas = st.floats(0.01, 2)


def loss_of(values: tuple[float, float, float, float], beta: float) -> float:
    return float(dpo_loss(*(torch.tensor([value], dtype=torch.float64) for value in values), beta)[0])


def test_dpo_golden_b4() -> None:
    """Worked by hand: 0.1 * ((-10 + 11) - (-12 + 11.5)) = 0.15, and -ln sigma(0.15) = 0.620957."""
    loss, statistics = dpo_loss(*(torch.tensor([value]) for value in (-10.0, -12.0, -11.0, -11.5)), 0.1)
    assert float(loss) == pytest.approx(0.620957, abs=1e-6)
    assert {name: pytest.approx(float(value)) for name, value in statistics.items()} == {
        "accuracy": 1.0,
        "margin": 0.15,
        "chosen_logratio": 1.0,
        "rejected_logratio": -0.5,
        "chosen_falls": 0.0,
    }


@given(logprob, logprob, betas)
def test_dpo_starts_at_ln_2(chosen: float, rejected: float, beta: float) -> None:
    assert loss_of((chosen, rejected, chosen, rejected), beta) == math.log(2)


@given(four, betas)
def test_dpo_losses_of_a_pair_and_its_swap_differ_by_the_margin(values: tuple[float, ...], beta: float) -> None:
    """-ln sigma(m) + ln sigma(-m) = -m, and their probabilities sum to 1."""
    chosen, rejected, reference_chosen, reference_rejected = values
    there = loss_of((chosen, rejected, reference_chosen, reference_rejected), beta)
    back = loss_of((rejected, chosen, reference_rejected, reference_chosen), beta)
    margin = beta * ((chosen - reference_chosen) - (rejected - reference_rejected))
    assert there - back == pytest.approx(-margin, abs=1e-9)
    assert math.exp(-there) + math.exp(-back) == pytest.approx(1)


@given(four, betas, st.floats(-20, 20), st.floats(0.01, 5))
def test_dpo_sees_only_log_ratios_and_falls_with_the_chosen_one(
    values: tuple[float, ...], beta: float, shift: float, rise: float
) -> None:
    chosen, rejected, reference_chosen, reference_rejected = values
    before = loss_of((chosen, rejected, reference_chosen, reference_rejected), beta)
    moved = loss_of((chosen + shift, rejected, reference_chosen + shift, reference_rejected), beta)
    assert moved == pytest.approx(before, abs=1e-9)
    assert loss_of((chosen + rise, rejected, reference_chosen, reference_rejected), beta) < before or before < 1e-12


@given(st.lists(four, min_size=2, max_size=9), st.data())
def test_dpo_parts_add_up_to_the_whole(rows: list[tuple[float, ...]], data: st.DataObject) -> None:
    columns = torch.tensor(rows, dtype=torch.float64).T
    cut = data.draw(st.integers(1, len(rows) - 1))
    settings: dict[str, Any] = {"pairs": len(rows), "nll_weight": 0.5, "chosen_tokens": 17}
    whole, statistics = dpo_loss(*columns, 0.3, **settings)
    parts = [dpo_loss(*part, 0.3, **settings) for part in (columns[:, :cut], columns[:, cut:])]
    assert float(parts[0][0] + parts[1][0]) == pytest.approx(float(whole))
    for name, value in statistics.items():
        # shares of pairs are counted in single precision
        assert float(parts[0][1][name] + parts[1][1][name]) == pytest.approx(float(value), abs=1e-6)
    plain, _ = dpo_loss(*columns, 0.3)
    assert float(whole - plain) == pytest.approx(-0.5 * float(columns[0].sum()) / 17)


def test_dpo_nll_needs_its_count() -> None:
    with pytest.raises(ValueError, match="chosen_tokens"):
        dpo_loss(*(torch.zeros(1) for _ in range(4)), 0.1, nll_weight=1.0)


def test_cross_entropy_worked_by_hand() -> None:
    """Odds 1 : 3 give -ln 0.75 for the likelier token and -ln 0.25 for the other."""
    scores = score_logits(torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)]]), torch.tensor([1, 0]))
    loss, statistics = cross_entropy_loss(scores.logprobs, scores.likeliest)
    assert float(loss) == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)
    assert float(statistics["token_accuracy"]) == 0.5


def test_cross_entropy_of_micro_batches_adds_up() -> None:
    logprobs, likeliest = torch.tensor([-1.0, -2.0, -4.0]), torch.tensor([True, False, False])
    whole, statistics = cross_entropy_loss(logprobs, likeliest)
    parts = [cross_entropy_loss(logprobs[part], likeliest[part], 3) for part in (slice(0, 1), slice(1, 3))]
    assert float(sum(loss for loss, _ in parts)) == pytest.approx(float(whole)) == pytest.approx(7 / 3)
    assert float(sum(each["token_accuracy"] for _, each in parts)) == pytest.approx(float(statistics["token_accuracy"]))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # log-ratios of 1 and -0.5 over 4 and 2 tokens: margin 0.1 * 1.5 = 0.15, per token 0.1 * (0.25 + 0.25) = 0.05
        ({"kind": "sigmoid", "label_smoothing": 0.2}, 0.8 * 0.620957 + 0.2 * 0.770957),
        ({"kind": "robust", "label_smoothing": 0.2}, (0.8 * 0.620957 - 0.2 * 0.770957) / 0.6),
        ({"kind": "sigmoid_norm"}, math.log1p(math.exp(-0.05))),
        ({"kind": "ipo"}, (0.5 - 5) ** 2),
    ],
)
def test_the_dpo_family_worked_by_hand(settings: dict[str, Any], expected: float) -> None:
    columns = (torch.tensor([value]) for value in (-10.0, -12.0, -11.0, -11.5))
    loss, _ = dpo_loss(*columns, 0.1, lengths=(torch.tensor([4]), torch.tensor([2])), **settings)
    assert float(loss) == pytest.approx(expected, abs=1e-6)


def test_losses_per_token_need_the_tokens() -> None:
    with pytest.raises(ValueError, match="lengths"):
        dpo_loss(*(torch.zeros(1) for _ in range(4)), 0.1, kind="ipo")


@given(st.floats(-6, 6), st.floats(0.01, 0.45))
def test_the_robust_loss_is_on_average_the_clean_one(margin: float, wrong: float) -> None:
    """Its expectation over labels that are wrong with the stated probability is the loss of the right label."""

    def loss(value: float, **settings: Any) -> float:
        zero = torch.zeros(1, dtype=torch.float64)
        return float(dpo_loss(zero + value, zero, zero, zero, 1.0, **settings)[0])

    noisy = [loss(sign * margin, kind="robust", label_smoothing=wrong) for sign in (1, -1)]
    assert (1 - wrong) * noisy[0] + wrong * noisy[1] == pytest.approx(loss(margin), abs=1e-9)


def test_reward_golden_b2() -> None:
    """-ln sigma(1.2 - 0.7) = 0.474077 where the second is the better one, 0.974077 where the first is."""
    first, second = torch.tensor([0.7]), torch.tensor([1.2])
    loss, statistics = reward_loss(first, second, torch.tensor([0.0]))
    assert float(loss) == pytest.approx(0.474077, abs=1e-6)
    assert {name: float(value) for name, value in statistics.items()} == {"accuracy": 1.0, "gap": pytest.approx(0.5)}
    assert float(reward_loss(first, second, torch.tensor([1.0]))[0]) == pytest.approx(0.974077, abs=1e-6)
    soft, statistics = reward_loss(first, second, torch.tensor([0.25]))
    assert float(soft) == pytest.approx(0.75 * 0.474077 + 0.25 * 0.974077, abs=1e-6)
    # a margin of 0.5 takes the difference away: ln 2
    assert float(reward_loss(first, second, torch.tensor([0.0]), margin=torch.tensor([0.5]))[0]) == pytest.approx(
        math.log(2)
    )
    _, tied = reward_loss(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 5.0]), torch.tensor([1.0, 0.5]))
    assert float(tied["accuracy"]) == 0.5


def test_ppo_policy_loss_worked_by_hand() -> None:
    """Ratios 1.5 and 0.5 beside advantages of both signs: what has moved far enough already earns nothing more."""
    old = torch.zeros(4)
    logprobs = torch.tensor([1.5, 1.5, 0.5, 0.5]).log().requires_grad_()
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0])
    loss, statistics = ppo_policy_loss(logprobs, old, advantages, 0.2)
    assert loss.item() == pytest.approx((-1.2 + 1.5 - 0.5 + 0.8) / 4)
    assert float(statistics["clip_fraction"]) == 0.5
    assert float(statistics["ratio"]) == pytest.approx(1.0)
    assert float(statistics["policy_kl"]) == pytest.approx((-2 * math.log(1.5) - 2 * math.log(0.5)) / 4)
    loss.backward()
    assert logprobs.grad.tolist() == pytest.approx([0.0, 1.5 / 4, -0.5 / 4, 0.0])


def test_a_token_without_weight_counts_nowhere() -> None:
    logprobs, old, weights = torch.tensor([0.1, 3.0]), torch.zeros(2), torch.tensor([1.0, 0.0])
    loss, statistics = ppo_policy_loss(logprobs, old, torch.tensor([1.0, 9.0]), 0.2, weights=weights)
    alone, expected = ppo_policy_loss(logprobs[:1], old[:1], torch.tensor([1.0]), 0.2)
    assert float(loss) == pytest.approx(float(alone))
    assert {k: float(v) for k, v in statistics.items()} == pytest.approx({k: float(v) for k, v in expected.items()})
    both = value_loss(torch.tensor([1.0, 7.0]), old, torch.tensor([2.0, 0.0]), 0.2, weights=weights)
    one = value_loss(torch.tensor([1.0]), old[:1], torch.tensor([2.0]), 0.2)
    assert float(both[0]) == pytest.approx(float(one[0]))


def test_value_loss_worked_by_hand() -> None:
    """Value 1 with old value 0 is cut to 0.2: (1 - 2)^2 = 1 against (0.2 - 2)^2 = 3.24; without a cut (0.1 - 1)^2."""
    loss, statistics = value_loss(torch.tensor([1.0, 0.1]), torch.zeros(2), torch.tensor([2.0, 1.0]), 0.2)
    assert float(loss) == pytest.approx(0.5 * (3.24 + 0.81) / 2)
    assert float(statistics["value_clip_fraction"]) == 0.5


def test_quark_loss_worked_by_hand() -> None:
    logprobs, divergence, entropy = torch.tensor([-1.0, -2.0]), torch.tensor([0.5, 0.1]), torch.tensor([2.0, 1.0])
    loss, statistics = quark_loss(logprobs, divergence, entropy, kl_coef=0.5, entropy_coef=0.1, tokens=4)
    assert float(loss) == pytest.approx((3.0 + 0.3 - 0.3) / 4)
    assert {name: float(value) for name, value in statistics.items()} == pytest.approx(
        {"nll": 0.75, "kl": 0.15, "entropy": 0.75}
    )
    with pytest.raises(ValueError, match="entropies"):
        quark_loss(logprobs, divergence, None, kl_coef=0.5, entropy_coef=0.1)
