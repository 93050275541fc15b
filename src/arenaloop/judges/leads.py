"""An answer's lead over stored ones: which seatings are judged, and what their verdicts come to."""

from __future__ import annotations

from collections.abc import Sequence

from arenaloop.judges.seats import merge_seats
from arenaloop.types import Prompt, Response, Verdict

__all__ = ["both_seats", "mean_lead"]


def both_seats(prompt: Prompt, answer: Response, others: Sequence[Response]) -> list[tuple[Prompt, Response, Response]]:
    """The seatings of an answer against each of the others, from both seats, two for each."""
    return [seated for other in others for seated in ((prompt, answer, other), (prompt, other, answer))]


def mean_lead(verdicts: Sequence[Verdict | None]) -> float | None:
    """The mean lead of an answer, in the judge's units, from the verdicts on its seatings as of `both_seats`.

    Each battle is merged by its mean scores; one without both verdicts counts nowhere. None where none counts.
    """
    leads = []
    for first, second in zip(verdicts[::2], verdicts[1::2], strict=True):
        if first is None or second is None:
            continue
        battle = merge_seats("policy", "stored", first, second)
        if battle is not None:
            leads.append(battle.score_a - battle.score_b)
    return sum(leads) / len(leads) if leads else None
