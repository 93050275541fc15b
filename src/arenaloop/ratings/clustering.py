"""What of a board's battles is independent: prompts, voters, or battles; and what it costs to take it for less.

Battles on one prompt share its quirks, and those of one voter share that voter's tastes. Of what the columns name, the
most cautious is taken: that by which the ratings vary most. (A variance that is corrected for both would be that by
prompt, plus that by voter, less that by both: Cameron, Gelbach & Miller 2011. The larger of the two is what is told
here, as it is one interval and not three.) A few voters tell no variance: with fewer than `FEWEST` they are left to
`--cluster voter`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from arenaloop.ratings.bradley_terry import fit
from arenaloop.ratings.intervals import Intervals, sandwich
from arenaloop.ratings.sums import BattleSums

__all__ = ["CLUSTERS", "FEWEST", "Chosen", "choose_cluster"]

CLUSTERS = ("prompt", "voter", "battle")
FEWEST = 20
"""Voters from which on battles are clustered by them without being asked to."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Battles with what is independent as their clusters.

    Attributes:
        cluster: which of `CLUSTERS` that is.
        battles: with it in the place of prompts.
        notes: what a reader should know of the choice.
        power_voters: standard errors by voter over those by battle, and the share of the battles that the busiest
            hundredth of the voters decided; None with fewer than `FEWEST` voters.
        spread: the sandwich intervals of the battles by what was chosen, ties as half wins, where they were made on the
            way.
    """

    cluster: str
    battles: BattleSums
    notes: tuple[str, ...] = ()
    power_voters: tuple[float, float] | None = None
    spread: Intervals | None = None

    def told(self, note: str) -> str:
        """A note on prompts, as one on voters where they stand in their place."""
        return note.replace("prompt", "voter") if self.cluster == "voter" else note


def choose_cluster(battles: BattleSums, wanted: str | None) -> Chosen:
    """What is independent among some battles.

    Args:
        battles: with prompts and voters as far as their columns name them.
        wanted: one of `CLUSTERS`; None for the most cautious.

    Raises:
        ValueError: the battles do not name what is `wanted`.
    """
    if wanted == "prompt" and not battles.clustered:
        raise ValueError("these battles carry no prompt_id to cluster by: use cluster battle")
    if wanted == "voter" and not battles.by_people:
        raise ValueError("these battles name no voter to cluster by: use cluster prompt or battle")
    people = battles.by_voter() if battles.by_people else None
    voters = None
    spreads: dict[str, Intervals] = {}
    if people is not None and people.clusters >= FEWEST and len(battles):
        fitted = fit(battles)
        spreads = {name: sandwich(people, fitted, cluster=name) for name in ("prompt", "battle")}
        spreads["voter"] = spreads.pop("prompt")
        alone = _variance(spreads["battle"])
        counts = np.sort(people.cluster_sizes())[::-1]
        busiest = float(counts[: max(1, len(counts) // 100)].sum() / counts.sum())
        voters = (math.sqrt(_variance(spreads["voter"]) / alone) if alone > 0 else 1.0, busiest)
        if wanted is None and battles.clustered:
            spreads["prompt"] = sandwich(battles, fitted, cluster="prompt")
        if wanted is None:
            wanted = max((name for name in spreads if name != "battle"), key=lambda name: _variance(spreads[name]))
    if wanted == "voter":
        assert people is not None
        notes = ("clustered by voter, which makes intervals wider than by prompt",) if "prompt" in spreads else ()
        return Chosen("voter", people, notes, voters, spreads.get("voter"))
    if wanted is None:
        wanted = "prompt" if battles.clustered else "battle"
        if wanted == "battle" and len(battles):
            few = f"{battles.voters} voters are too few to cluster by" if people is not None else "no prompt_id"
            return Chosen("battle", battles, (f"{few}: intervals take every battle as independent",), voters)
    return Chosen(wanted, battles, (), voters, spreads.get(wanted))


def _variance(spread: Intervals) -> float:
    """Mean variance of the centred strengths."""
    own = np.diag(spread.covariance)
    return float(np.nanmean(own)) if np.isfinite(own).any() else 0.0
