"""Length control of pairs: a short one of the best answers against a long one of the worst (arXiv 2407.19594, §2.2).

Answers whose scores lie close to the best one's count as good as it, and of them the shortest is chosen; of those close
to the worst the longest is rejected. With ρ = 0 only equal scores are one tier.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

__all__ = ["MOST_RHO", "Pick", "pick"]

MOST_RHO = 0.5
"""Above it the tiers overlap, and one answer may be in both."""

_TOLERANCE = 1e-9


class Pick(NamedTuple):
    """Indices of the chosen and of the rejected answer."""

    chosen: int
    rejected: int


Dropped = Literal["fewer than 2 answers", "equal scores", "one answer in both tiers"]
"""Why there is no pair."""


def pick(
    scores: Sequence[float],
    lengths: Sequence[int],
    rho: float,
    *,
    allow_overlap: bool = False,
    spreads: Sequence[float] | None = None,
) -> Pick | Dropped:
    """The chosen and the rejected of several answers to one prompt.

    Chosen is the shortest answer with a score in ``[(1-ρ) max + ρ min, max]``, rejected the longest in
    ``[min, (1-ρ) min + ρ max]``. Of equally long ones the better is chosen and the worse rejected, then the first.

    Args:
        scores: of the answers that have one.
        lengths: of the same, in characters or tokens.
        rho: how much of the scores' range a tier covers.
        allow_overlap: take a ρ above 0.5, and drop prompts of which one answer is picked twice.
        spreads: of each answer the variance of its scores: with ρ = 0 they decide between equal scores before lengths
            do, the lowest first.

    Raises:
        ValueError: a ρ outside 0 to 0.5 (of overlapping tiers: 0 to 1), or other numbers of lengths than of scores.
    """
    if not 0 <= rho <= (1.0 if allow_overlap else MOST_RHO):
        raise ValueError(f"rho = {rho:g}: above {MOST_RHO:g} the tiers of best and worst answers overlap")
    if len(lengths) != len(scores) or (spreads is not None and len(spreads) != len(scores)):
        raise ValueError(f"{len(scores)} scores, but {len(lengths)} lengths")
    if len(scores) < 2:
        return "fewer than 2 answers"
    most, least = max(scores), min(scores)
    if most - least <= _TOLERANCE:
        return "equal scores"
    top = [i for i, score in enumerate(scores) if score >= (1 - rho) * most + rho * least - _TOLERANCE]
    bottom = [i for i, score in enumerate(scores) if score <= (1 - rho) * least + rho * most + _TOLERANCE]
    first = [0.0] * len(scores) if spreads is None or rho > 0 else [round(spread, 9) for spread in spreads]
    rounded = [round(score, 9) for score in scores]
    chosen = min(top, key=lambda i: (first[i], lengths[i], -rounded[i], i))
    rejected = min(bottom, key=lambda i: (first[i], -lengths[i], rounded[i], i))
    if chosen == rejected:
        return "one answer in both tiers"
    return Pick(chosen, rejected)
