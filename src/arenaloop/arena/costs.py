"""What the same labels would have cost from people, beside what the run has cost.

People's figures are those of AlpacaEval's evaluator leaderboard: $0.30 and 36.8 seconds for each label of a crowd
worker, so $300 and 36,800 seconds per 1,000 (AlpacaFarm, arXiv 2305.14387, gives the same $300). One label stands
against one decided battle: a worker compares a pair once, a judge once from each seat. Time is wall time of the run
against the seconds of one person after another; many workers at once would need less.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["CROWD_WORKER", "HumanEquivalent", "HumanLabel", "human_equivalent", "human_line"]


@dataclass(frozen=True, slots=True)
class HumanLabel:
    """What one label of a person costs.

    Attributes:
        usd: US dollars, None if unknown.
        seconds: of work, None if unknown.
    """

    usd: float | None = 0.30
    seconds: float | None = 36.8


CROWD_WORKER = HumanLabel()
"""AlpacaEval's published figures: $0.30 and 36.8 seconds."""


@dataclass(frozen=True, slots=True)
class HumanEquivalent:
    """The labels of a run, at people's price and pace.

    Attributes:
        labels: decided battles, one label for each.
        usd, seconds: what people's labels would cost; None if their price or pace is unknown.
        cheaper: people's dollars over the run's; None if either is unknown or the run has cost nothing.
        faster: people's seconds, one after another, over the run's wall time; None if either is unknown or zero.
    """

    labels: int
    usd: float | None
    seconds: float | None
    cheaper: float | None
    faster: float | None

    def to_json(self) -> dict[str, Any]:
        """The mapping that ``summary.json`` holds."""
        return asdict(self)


def human_equivalent(
    labels: int, usd: float | None, seconds: float | None, human: HumanLabel = CROWD_WORKER
) -> HumanEquivalent:
    """Compare a run with people who label as many battles.

    Args:
        labels: decided battles.
        usd: what the run has cost, contestants' answers included; None if a price is unknown.
        seconds: wall time of the run.
        human: what one label of a person costs.
    """
    paid = None if human.usd is None else labels * human.usd
    worked = None if human.seconds is None else labels * human.seconds
    return HumanEquivalent(labels, paid, worked, _ratio(paid, usd), _ratio(worked, seconds))


def _ratio(human: float | None, run: float | None) -> float | None:
    return human / run if human and run else None


def human_line(equivalent: Mapping[str, Any]) -> str:
    """One line for people, from `HumanEquivalent.to_json`; empty where there is nothing to compare."""
    labels, usd, seconds = (equivalent.get(key) for key in ("labels", "usd", "seconds"))
    if not labels or (usd is None and seconds is None):
        return ""
    what = " and ".join(
        part
        for part in (
            f"${usd:,.2f}" if usd is not None else "",
            f"{seconds / 3600:,.1f} hours" if seconds is not None else "",
        )
        if part
    )
    ratios = " and ".join(
        f"{times(equivalent[key])} {key}" for key in ("cheaper", "faster") if equivalent.get(key) is not None
    )
    return f"{labels:,} labels by people: {what}" + (f"; this run was {ratios}" if ratios else "")


def times(ratio: float) -> str:
    """A ratio as ``45×``; two digits below ten."""
    return f"{ratio:,.0f}×" if ratio >= 10 else f"{ratio:.2g}×"
