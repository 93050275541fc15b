from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from arenaloop.train import losses
from arenaloop.train.losses import IGNORE, token_cross_entropy, token_logprobs

dpo_loss: Any = losses.dpo_loss  # its four columns are unpacked below

logprob = st.floats(-50, 0, allow_subnormal=False)
four = st.tuples(logprob, logprob, logprob, logprob)
betas = st.floats(0.01, 2)


def sequence_logprobs(logits: Tensor, targets: Tensor) -> Tensor:
    """Log-probability of each row's answer: ln pi(y | x) = sum_t ln pi(y_t | x, y_<t)."""
    return token_logprobs(logits, targets).sum(dim=-1)


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


def logits_and_targets(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 4, 7, generator=generator)
    targets = torch.randint(0, 7, (3, 4), generator=generator)
    targets[0, :2] = targets[1] = targets[2, 3] = IGNORE
    return logits, targets


def test_cross_entropy_worked_by_hand() -> None:
    """Odds 1 : 3 give -ln 0.75 for the likelier token and -ln 0.25 for the other; the ignored one gives nothing."""
    logits = torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)], [9.0, -9.0]])
    loss, statistics = token_cross_entropy(logits, torch.tensor([1, 0, IGNORE]))
    assert float(loss) == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)
    assert float(statistics["token_accuracy"]) == 0.5
    assert token_logprobs(logits, torch.tensor([1, 0, IGNORE])).tolist() == pytest.approx(
        [math.log(0.75), math.log(0.25), 0.0]
    )


def test_sequence_logprobs_sum_labelled_tokens_only() -> None:
    logits, targets = logits_and_targets()
    probs = logits.softmax(-1)
    by_hand = [
        math.log(probs[0, 2, targets[0, 2]]) + math.log(probs[0, 3, targets[0, 3]]),
        0.0,
        sum(math.log(probs[2, t, targets[2, t]]) for t in range(3)),
    ]
    assert sequence_logprobs(logits, targets).tolist() == pytest.approx(by_hand, rel=1e-5)


def test_cross_entropy_of_micro_batches_adds_up() -> None:
    logits, targets = logits_and_targets(1)
    tokens = int((targets != IGNORE).sum())
    whole, statistics = token_cross_entropy(logits, targets)
    # the rows have 2, 0 and 3 labelled tokens: a mean of the rows' means would be another number
    parts = [token_cross_entropy(logits[at], targets[at], tokens) for at in range(3)]
    assert float(sum(loss for loss, _ in parts)) == pytest.approx(float(whole))
    assert float(sum(each["token_accuracy"] for _, each in parts)) == pytest.approx(float(statistics["token_accuracy"]))
    means = [float(token_cross_entropy(logits[at], targets[at])[0]) for at in (0, 2)]
    assert sum(means) / 2 != pytest.approx(float(whole), abs=1e-3)
