"""Several judges on one seating: each is asked and stored by itself, and a named rule makes one verdict of theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Literal, TypeAlias

from arenaloop.judges.base import Judge, decided
from arenaloop.types import Outcome, Ruling, Status, Verdict, content_hash

__all__ = ["Decider", "Jury", "JuryRule", "merge_members", "score_alike"]

JuryRule = Literal["majority", "mean", "weighted", "reliability"]
"""`majority`: the seat wins that more than half of the votes name, else it is a tie, as if one judge had labelled it;
`mean`: the mean of the scores; `weighted`: scores are shares of the votes' weight, so that a battle goes to whom the
votes of both seats together favour; `reliability`: a seating by itself is decided as by majority, and the leaderboard
rates all members' votes by what a joint fit finds them worth (`ratings.reliability`)."""


def merge_members(
    verdicts: Sequence[Verdict | Ruling | None], rule: JuryRule = "majority", weights: Sequence[float] | None = None
) -> tuple[float, float] | None:
    """Scores of the first and the second seat, from the members' verdicts on one seating.

    Args:
        verdicts: one per member; those without an outcome do not vote.
        rule: see `JuryRule`. A majority scores as a label does: 1 and 0, or 0.5 each, however large it is. Shares of
            votes count 1 for a win and 0.5 for a tie; so does ``"mean"`` where no member scores.
        weights: one per member, at least 0, for ``"weighted"``.

    Returns:
        The two scores, or None where no more than half of the members (by weight) has an outcome.

    Raises:
        ValueError: ``"mean"`` over members some of which score and some only name a winner.
    """
    weight = [1.0] * len(verdicts) if weights is None else list(weights)
    voting = [(v, w) for v, w in zip(verdicts, weight, strict=True) if v is not None and v.outcome is not None and w]
    total = sum(w for _, w in voting)
    if not voting or total * 2 <= sum(weight):
        return None
    if rule == "mean":
        scored = [(v.score_first, v.score_second) for v, _ in voting if v.score_first is not None]
        if 0 < len(scored) < len(voting):
            raise ValueError("a jury of rule 'mean' needs judges that all score; one of them only names a winner")
        if scored:
            first = sum(one or 0.0 for one, _ in scored) / len(scored)
            second = sum(two or 0.0 for _, two in scored) / len(scored)
            return round(first, 9), round(second, 9)
    if rule in ("majority", "reliability"):
        named = Counter(v.outcome for v, _ in voting)
        winner = next((seat for seat in (Outcome.A, Outcome.B) if 2 * named[seat] > len(voting)), Outcome.TIE)
        return winner.score_a, 1.0 - winner.score_a
    votes = sum(v.outcome.score_a * w for v, w in voting if v.outcome is not None)
    return round(votes / total, 9), round(1.0 - votes / total, 9)


def score_alike(members: Sequence[Judge]) -> bool:
    """Whether the mean of the members' scores means something: all fill one template and answer it in one mode."""
    scales = {(member.template_hash, getattr(member, "verdict", "text")) for member in members}
    return len(scales) == 1 and all(member.template_hash for member in members)


class Jury:
    """A panel of judges.

    Args:
        members: who is asked; at least two, of different names and fingerprints.
        rule: how their verdicts become one.
        weights: of each member's vote, by its name; what `audit` measures. For ``"weighted"``, and there for every
            member: at least 0, not all 0.
        name: what reports call it; the members' names by default.

    Raises:
        ValueError: members that are one and the same, weights that do not fit, or ``"mean"`` over different scales.
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
        _check(self.members, rule, weights)
        self.rule: JuryRule = rule
        self.weights = [float(weights[m.name]) for m in members] if rule == "weighted" and weights else None
        self.name = name or "+".join(m.name for m in members)
        self.concurrency = sum(m.concurrency for m in members)
        self.scale = members[0].scale if rule == "mean" else (0.0, 1.0)  # labels, or shares of the votes
        told = "labels" if rule in ("majority", "reliability") else "scores"  # what a seating comes to is part of it
        self.fingerprint = content_hash("jury", [m.fingerprint for m in members], rule, told, self.weights)

    @property
    def notes(self) -> tuple[str, ...]:
        """What its members have to say, each with its name."""
        return tuple(f"{member.name}: {note}" for member in self.members for note in getattr(member, "notes", ()))

    @staticmethod
    def of(decider: Decider) -> Jury:
        """Whoever decides as a jury: a lone judge is one whose name, fingerprint and verdicts are the judge's own."""
        return decider if isinstance(decider, Jury) else _LoneJudge(decider)

    def verdict(self, verdicts: Sequence[Verdict | Ruling | None]) -> Verdict | Ruling | None:
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
            judge_hash=self.fingerprint,
            calls=0,
            **decided(scores),
        )

    async def aclose(self) -> None:
        """Close all members."""
        for member in self.members:
            await member.aclose()


class _LoneJudge(Jury):
    """A jury of one."""

    def __init__(self, judge: Judge) -> None:
        self.members = (judge,)
        self.rule: JuryRule = "majority"
        self.weights = None
        self.name, self.fingerprint, self.concurrency = judge.name, judge.fingerprint, judge.concurrency
        self.scale = judge.scale

    @property
    def notes(self) -> tuple[str, ...]:
        """The judge's own."""
        return tuple(getattr(self.members[0], "notes", ()))

    def verdict(self, verdicts: Sequence[Verdict | Ruling | None]) -> Verdict | Ruling | None:
        """The judge's own; None where it was not asked."""
        return verdicts[0] if verdicts else None


Decider: TypeAlias = Judge | Jury
"""Who decides: a judge, or several."""


def _check(members: Sequence[Judge], rule: JuryRule, weights: Mapping[str, float] | None) -> None:
    if len(members) < 2:
        raise ValueError("a jury needs two members or more")
    for what, values in (("name", [m.name for m in members]), ("judge", [m.fingerprint for m in members])):
        (value, count) = Counter(values).most_common(1)[0]
        if count > 1:
            who = value if what == "name" else next(m.name for m in members if m.fingerprint == value)
            raise ValueError(f"a jury's members differ: the {what} {who!r} is there {count} times")
    if rule == "mean" and not score_alike(members):
        raise ValueError("a jury of rule 'mean' needs members of one template, or their scores have no common scale")
    if rule != "weighted":
        if weights:
            raise ValueError(f"weights go with rule 'weighted', not {rule!r}")
        return
    names = {m.name for m in members}
    given = dict(weights or {})
    if given.keys() != names:
        odd = sorted(names ^ given.keys())
        raise ValueError(f"a jury of rule 'weighted' needs one weight for each member; see {', '.join(odd)}")
    if not all(isfinite(w) and w >= 0 for w in given.values()) or not any(given.values()):
        raise ValueError("a jury's weights are numbers from 0 up, and not all of them 0")
