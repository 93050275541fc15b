"""People's labels beside a run: published figures, unknowns stay unknown."""

from __future__ import annotations

import pytest

from arenaloop.calls.costs import HumanLabel, cost_line, human_equivalent, human_line, times


def test_a_thousand_labels_cost_what_alpacaeval_publishes() -> None:
    # AlpacaEval's evaluator leaderboard, row of the humans: $300 and 36,800 s per 1,000 examples
    found = human_equivalent(1000, usd=6.0, seconds=92.0)
    assert found.usd == pytest.approx(300.0)
    assert found.seconds == pytest.approx(36_800.0)
    # AlpacaFarm (arXiv 2305.14387): $6 simulated against $300, fifty times
    assert found.cheaper == pytest.approx(50.0)
    assert found.faster == pytest.approx(400.0)


@pytest.mark.parametrize(
    ("usd", "seconds", "human", "cheaper", "faster"),
    [
        (None, 10.0, HumanLabel(), None, 3.68),  # a price of the run is unknown
        (0.0, 0.0, HumanLabel(), None, None),  # a free run is not infinitely cheaper
        (1.0, 10.0, HumanLabel(usd=None), None, 3.68),
        (1.0, 10.0, HumanLabel(seconds=None), 0.3, None),
        (1.0, 10.0, HumanLabel(usd=2.0, seconds=20.0), 2.0, 2.0),
    ],
)
def test_unknown_is_null(
    usd: float | None, seconds: float, human: HumanLabel, cheaper: float | None, faster: float | None
) -> None:
    found = human_equivalent(1, usd, seconds, human)
    assert found.cheaper == (None if cheaper is None else pytest.approx(cheaper))
    assert found.faster == (None if faster is None else pytest.approx(faster))
    assert found.usd == human.usd


def test_no_decided_battle_compares_with_nothing() -> None:
    found = human_equivalent(0, 1.0, 1.0)
    assert (found.cheaper, found.faster) == (None, None)
    assert human_line(found.to_json()) == ""


def test_the_line_names_what_is_known() -> None:
    line = human_line(human_equivalent(1000, 6.0, 92.0).to_json())
    assert line == "1,000 labels by people: $300.00 and 10.2 hours; this run was 50× cheaper and 400× faster"
    line = human_line(human_equivalent(1000, None, 92.0).to_json())
    assert line == "1,000 labels by people: $300.00 and 10.2 hours; this run was 400× faster"
    assert human_line(human_equivalent(10, 1.0, 1.0, HumanLabel(None, None)).to_json()) == ""


def test_ratios_below_one_are_told_as_they_are() -> None:
    assert times(0.25) == "0.25×"
    assert times(3.68) == "3.7×"
    assert times(44.6) == "45×"


def test_the_cost_is_told_in_money_or_else_in_tokens() -> None:
    assert cost_line(400, 102_000, 0.07) == "400 calls · $0.07"
    assert cost_line(1400, 102_000, 12.0, 0.011) == "1,400 calls · $12.00 (of which $0.011 estimated)"
    assert cost_line(400, 102_000, None) == "400 calls · 102,000 tokens"
    assert cost_line(1, 5, 0.0) == "1 call · $0"
    assert cost_line(0, 0, None) == "no call"
