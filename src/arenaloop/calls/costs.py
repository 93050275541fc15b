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

from arenaloop.calls.budget import dollars
from arenaloop.store import Usage
from arenaloop.terminal import counted

__all__ = [
    "CROWD_WORKER",
    "HumanEquivalent",
    "HumanLabel",
    "cost_line",
    "estimated_line",
    "human_equivalent",
    "human_line",
    "ratios",
    "times",
]


@dataclass(frozen=True, slots=True)
class HumanLabel:
    """US dollars and seconds of work that one label of a person costs; None = unknown."""

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
    """Compare a run that decided `labels` battles with people who label as many.

    `usd` is what the run has cost, contestants' answers included (None if a price is unknown), `seconds` its wall time.
    """
    paid = None if human.usd is None else labels * human.usd
    worked = None if human.seconds is None else labels * human.seconds
    cheaper, faster = (people / run if people and run else None for people, run in ((paid, usd), (worked, seconds)))
    return HumanEquivalent(labels, paid, worked, cheaper, faster)


def cost_line(calls: int, tokens: int, usd: float | None, estimated: float = 0.0) -> str:
    """What calls have cost, for people: ``400 calls · $0.07 (of which $0.01 estimated)``.

    Args:
        calls: requests sent.
        tokens: that they read and wrote; told where the money is not known.
        usd: None where a price is unknown.
        estimated: the part of `usd` that no server has told.
    """
    if not calls:
        return "no call"
    if usd is None:
        return f"{counted(calls, 'call')} · {counted(tokens, 'token')}"
    part = f" (of which ${dollars(estimated)} estimated)" if estimated else ""
    return f"{counted(calls, 'call')} · ${dollars(usd)}{part}"


def estimated_line(usage: Usage) -> str:
    """What of a run's money no server has told, for people; empty where all of it was told."""
    if not usage.usd_estimated and not usage.calls_cut_off:
        return ""
    cut = f"{usage.calls_cut_off:,} calls were cut off and count as sent" if usage.calls_cut_off else ""
    if usage.usd is None or not usage.usd_estimated:
        return cut
    money = f"${dollars(usage.usd_estimated)} of the ${dollars(usage.usd)} spent is an estimate: "
    return money + (cut or "answers came late, broken, or without a count of tokens")


def human_line(equivalent: Mapping[str, Any]) -> str:
    """One line for people, from `HumanEquivalent.to_json`; empty where there is nothing to compare."""
    labels, usd, seconds = (equivalent.get(key) for key in ("labels", "usd", "seconds"))
    if not labels or (usd is None and seconds is None):
        return ""
    dollars = [] if usd is None else [f"${usd:,.2f}"]
    hours = [] if seconds is None else [f"{seconds / 3600:,.1f} hours"]
    return f"{counted(labels, 'label')} by people: {' and '.join(dollars + hours)}{ratios(equivalent)}"


def ratios(equivalent: Mapping[str, Any]) -> str:
    """``; this run was 50× cheaper and 400× faster``, as far as that is known; empty where it is not."""
    known = [f"{times(ratio)} {key}" for key in ("cheaper", "faster") if (ratio := equivalent.get(key))]
    return f"; this run was {' and '.join(known)}" if known else ""


def times(ratio: float) -> str:
    """A ratio as ``45×``; two digits below ten."""
    return f"{ratio:,.0f}×" if ratio >= 10 else f"{ratio:.2g}×"
