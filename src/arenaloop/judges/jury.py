"""Several judges on one seating: each is asked and stored by itself, and a named rule makes one verdict of theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from arenaloop.judges.base import Judge
from arenaloop.types import Outcome, Status, Verdict, content_hash

__all__ = ["Jury", "JuryRule", "merge_members"]

JuryRule = Literal["majority", "mean", "weighted"]
"""`majority`: most votes win; `mean`: the mean of the scores; `weighted`: votes weigh as much as was measured."""


def merge_members(
    verdicts: Sequence[Verdict | None], rule: JuryRule = "majority", weights: Sequence[float] | None = None
) -> tuple[float, float] | None:
    """Scores of the first and the second seat, from the members' verdicts on one seating.

    Args:
        verdicts: one per member; those without an outcome do not vote.
        rule: see `JuryRule`. Votes count 1 for a win and 0.5 for a tie, and scores are shares of the votes.
        weights: one per member, for ``"weighted"``.

    Returns:
        The two scores, or None where no more than half of the members (by weight) has an outcome.
    """
    weight = [1.0] * len(verdicts) if weights is None else list(weights)
    voting = [(v, w) for v, w in zip(verdicts, weight, strict=True) if v is not None and v.outcome is not None and w]
    total = sum(w for _, w in voting)
    if not voting or total * 2 <= sum(weight):
        return None
    if rule == "mean":
        if any(v.score_first is None or v.score_second is None for v, _ in voting):
            raise ValueError("a jury of rule 'mean' needs judges that score; one of them only names a winner")
        first = sum(v.score_first or 0.0 for v, _ in voting) / len(voting)
        second = sum(v.score_second or 0.0 for v, _ in voting) / len(voting)
        return round(first, 9), round(second, 9)
    votes = sum(v.outcome.score_a * w for v, w in voting if v.outcome is not None)
    return round(votes / total, 9), round(1.0 - votes / total, 9)


class Jury:
    """A panel of judges.

    Args:
        members: who is asked; at least two, of different fingerprints.
        rule: how their verdicts become one.
        weights: of each member's vote, by its name; what `audit` measures. For ``"weighted"`` only.
        name: what reports call it; the members' names by default.
    """

    def __init__(
        self,
        members: Sequence[Judge],
        *,
        rule: JuryRule = "majority",
        weights: Mapping[str, float] | None = None,
        name: str | None = None,
    ) -> None:
        self.members = tuple(members)
        self.rule = rule
        self.weights = [float((weights or {}).get(m.name, 0.0)) for m in members] if rule == "weighted" else None
        self.name = name or "+".join(m.name for m in members)
        self.concurrency = sum(m.concurrency for m in members)
        self.fingerprint = content_hash("jury", [m.fingerprint for m in members], rule, self.weights)

    def verdict(self, verdicts: Sequence[Verdict | None]) -> Verdict | None:
        """What the members' verdicts on one seating come to (one each, in order); None if none was asked."""
        told = [v for v in verdicts if v is not None]
        if not told:
            return None
        scores = merge_members(verdicts, self.rule, self.weights) if len(verdicts) == len(self.members) else None
        failed = next((v.status for v in told if v.outcome is None), Status.ERROR)
        return Verdict(
            key=content_hash("jury", self.fingerprint, [v.key for v in told]),
            prompt_id=told[0].prompt_id,
            first_hash=told[0].first_hash,
            second_hash=told[0].second_hash,
            judge=self.name,
            status=Status.OK if scores else failed,
            score_first=scores[0] if scores else None,
            score_second=scores[1] if scores else None,
            outcome=Outcome.from_scores(*scores) if scores else None,
            judge_hash=self.fingerprint,
            calls=0,
        )

    async def aclose(self) -> None:
        """Close all members."""
        for member in self.members:
            await member.aclose()
