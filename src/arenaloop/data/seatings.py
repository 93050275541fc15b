"""What the judge decided in each seating behind a run's battles, where both seats are wanted and not their merger.

A jury's seating is decided by its rule, which the run's ``config.yaml`` holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

from arenaloop.config import read_yaml
from arenaloop.errors import ConfigError, InputError
from arenaloop.judges.jury import JuryRule, merge_members
from arenaloop.judges.written_labels import written_label
from arenaloop.types import Outcome, Ruling, Winner

__all__ = ["Deciding", "Seating", "deciding", "halves", "seated"]


class Seating(NamedTuple):
    """A seating that was decided.

    Attributes:
        outcome: by seat.
        lead: by how much the one seat is ahead, in the judge's unit.
        label: the one of five labels that a lone judge wrote; None where it wrote none, or its words were not read.
    """

    outcome: Outcome
    lead: float
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Deciding:
    """How the calls of one seating become one: a lone judge's own, or a jury's by its rule.

    Attributes:
        rule: of a jury; None of a lone judge, and where no settings say so.
        members: how many there are.
        weights: of their votes, by name.
    """

    rule: JuryRule | None = None
    members: int = 1
    weights: Mapping[str, float] | None = None

    def of(self, rulings: Sequence[Ruling]) -> tuple[float, float] | None:
        """The scores of both seats; None where too few of the calls have an outcome."""
        if self.rule is None:
            return _mean(rulings)
        absent = [None] * (self.members - len(rulings))
        weights = None
        if self.rule == "weighted" and self.weights is not None:
            there = [ruling.judge for ruling in rulings]
            rest = [weight for name, weight in self.weights.items() if name not in there]
            weights = [*(self.weights.get(name, 0.0) for name in there), *rest][: len(rulings) + len(absent)]
        try:
            return merge_members([*rulings, *absent], self.rule, weights)
        except ValueError:  # the settings are of other verdicts than these
            return _mean(rulings)


def deciding(directory: Path) -> Deciding:
    """How the judge of a run directory decides."""
    try:
        judge = read_yaml(directory / "config.yaml").get("judge")
    except (ConfigError, InputError):
        return Deciding()
    jury = judge.get("jury") if isinstance(judge, Mapping) else None
    if not isinstance(judge, Mapping) or not isinstance(jury, list) or not jury:
        return Deciding()
    rule, weights = judge.get("rule", "majority"), judge.get("weights")
    if rule not in get_args(JuryRule):
        return Deciding()
    told = {str(name): float(weight) for name, weight in weights.items()} if isinstance(weights, Mapping) else None
    return Deciding(cast("JuryRule", rule), len(jury), told)


def halves(
    row: Mapping[str, Any], told: Sequence[Ruling], hashes: tuple[str, str] | tuple[None, None]
) -> tuple[list[str], list[str]]:
    """The keys of the calls that seat `model_a` first, and of those that seat `model_b` first.

    Args:
        row: the battle. told: what its calls decided. hashes: of what `model_a` and `model_b` said.
    """
    keys = [str(key) for key in row.get("verdicts") or ()]
    if hashes[0] == hashes[1] and len(set(keys)) < len(keys):  # equal texts: one call serves both seats
        half = len(keys) // 2
        return keys[:half], keys[half:]
    if hashes[0] == hashes[1]:  # and each of them is a battle of its own
        turned = any(
            one.outcome in (Outcome.A, Outcome.B) and row.get("winner") == _SECOND[one.outcome] for one in told
        )
        return ([], keys) if turned else (keys, [])
    firsts = {ruling.key: ruling.first_hash for ruling in told}
    first, second = ([key for key in dict.fromkeys(keys) if firsts.get(key) == one] for one in hashes)
    return first, second


_SECOND = {Outcome.A: Winner.MODEL_B.value, Outcome.B: Winner.MODEL_A.value}
"""Who won by a verdict, if `model_b` sat first."""


def seated(
    keys: Sequence[str], rulings: Mapping[str, Ruling], said: Mapping[str, str], judge: Deciding
) -> Seating | None:
    """What the calls of one seating came to; None where that is nothing.

    Args:
        keys: of the calls.
        rulings: what was decided, by key. said: the words, by key; empty where no label is wanted.
        judge: who decides.
    """
    there = [rulings[key] for key in keys if key in rulings]
    scores = judge.of(there) if there else None
    if scores is None:
        return None
    lead = scores[0] - scores[1]
    label = written_label(said.get(there[0].key, ""), there[0].score_first) if len(there) == 1 else None
    return Seating(Outcome.from_scores(lead, 0.0), abs(lead), label)


def _mean(rulings: Sequence[Ruling]) -> tuple[float, float] | None:
    """Of scores where all have some, else of winners as 1, 0.5 and 0; None where none has an outcome."""
    decided = [ruling for ruling in rulings if ruling.outcome is not None]
    if not decided:
        return None
    scored = [(one.score_first, one.score_second) for one in decided if one.score_first is not None]
    if len(scored) < len(decided):
        scored = [(one.outcome.score_a, 1.0 - one.outcome.score_a) for one in decided if one.outcome is not None]
    return sum(one or 0.0 for one, _ in scored) / len(scored), sum(two or 0.0 for _, two in scored) / len(scored)
