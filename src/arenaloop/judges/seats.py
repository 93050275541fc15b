"""How the two seats of a pair become one battle: only seats with an outcome count, and no failure becomes a tie."""

from __future__ import annotations

from typing import Literal

from arenaloop.types import Battle, Outcome, Ruling, Verdict, Winner

__all__ = ["MergeRule", "OneSeatFailed", "merge_pair", "merge_seats"]

MergeRule = Literal["mean", "agree_or_tie", "two_battles"]
"""How the two seats of a pair enter: `mean` compares the mean scores, `agree_or_tie` needs both seats to agree, and
with `two_battles` each seat is a battle of its own."""

OneSeatFailed = Literal["drop_battle", "use_one"]
"""What becomes of a pair of which one seat alone was decided."""


def merge_seats(
    model_a: str,
    model_b: str,
    a_first: Verdict | Ruling,
    b_first: Verdict | Ruling,
    rule: MergeRule = "mean",
) -> Battle | None:
    """Merge both seats of one pair into a battle (Arena Learning, arXiv 2407.10627, section 3).

    Args:
        model_a, model_b: the pair.
        a_first, b_first: the verdicts with `model_a` and `model_b` in the first seat.
        rule: ``"mean"``: each model's score is its mean over both seats, the higher mean wins, equal means tie.
            ``"agree_or_tie"``: a model wins only if both seats name it; scores are still the means. (For
            ``"two_battles"`` see `merge_pair`.)

    Returns:
        The battle, or None if either verdict has no outcome.
    """
    if a_first.outcome is None or b_first.outcome is None:
        return None
    # A judge that only labels has no scores: a win counts 1, a tie 0.5.
    a1, b1 = _scores(a_first)
    b2, a2 = _scores(b_first)
    score_a, score_b = _mean(a1, a2), _mean(b1, b2)
    if rule == "mean":
        outcome = Outcome.from_scores(score_a, score_b)
    elif rule == "agree_or_tie":
        outcome = a_first.outcome if a_first.outcome is b_first.outcome.swap() else Outcome.TIE
    else:
        raise ValueError(f"unknown merge rule {rule!r}")
    return Battle(
        prompt_id=a_first.prompt_id,
        model_a=model_a,
        model_b=model_b,
        winner=Winner.of(outcome),
        score_a=score_a,
        score_b=score_b,
        flipped=a_first.outcome is b_first.outcome is not Outcome.TIE,  # one seat won both times
        judge=a_first.judge,
        verdicts=(a_first.key, b_first.key),
    )


def merge_pair(
    model_a: str,
    model_b: str,
    a_first: Verdict | Ruling | None,
    b_first: Verdict | Ruling | None,
    rule: MergeRule = "mean",
    one_seat_failed: OneSeatFailed = "drop_battle",
) -> tuple[Battle, ...]:
    """The battles that a pair's two seats come to: none, one, or with ``"two_battles"`` up to two.

    Args:
        model_a, model_b: the pair.
        a_first, b_first: the verdicts with `model_a` and `model_b` in the first seat; None was not asked.
        rule: see `MergeRule`. Each of ``"two_battles"`` enters by itself, also where the other seat failed.
        one_seat_failed: ``"drop_battle"``, or ``"use_one"`` to let the seat that was decided stand for both.
    """
    a_won = a_first if a_first is not None and a_first.outcome is not None else None
    b_won = b_first if b_first is not None and b_first.outcome is not None else None
    if rule != "two_battles":
        if a_won is not None and b_won is not None:
            battle = merge_seats(model_a, model_b, a_won, b_won, rule)
            return () if battle is None else (battle,)
        if one_seat_failed == "drop_battle":
            return ()
    flipped = a_won is not None and b_won is not None and a_won.outcome is b_won.outcome is not Outcome.TIE
    games = []
    for verdict, a_is_first in ((a_won, True), (b_won, False)):
        if verdict is None or verdict.outcome is None:
            continue
        one, two = _scores(verdict)
        outcome = verdict.outcome if a_is_first else verdict.outcome.swap()
        games.append(
            Battle(
                prompt_id=verdict.prompt_id,
                model_a=model_a,
                model_b=model_b,
                winner=Winner.of(outcome),
                score_a=one if a_is_first else two,
                score_b=two if a_is_first else one,
                flipped=flipped,
                judge=verdict.judge,
                verdicts=(verdict.key,),
            )
        )
    return tuple(games)


def _mean(one: float, two: float) -> float:
    """Rounded far below any judge's decimals: 7.1 + 6.3 and 6.9 + 6.5 differ in floating point, and are a tie."""
    total = float(one + two)
    return total / 2 if total.is_integer() else round(total / 2, 9)  # rounding is dear, and whole scores are common


def _scores(verdict: Verdict | Ruling) -> tuple[float, float]:
    if verdict.score_first is not None and verdict.score_second is not None:
        return verdict.score_first, verdict.score_second
    assert verdict.outcome is not None
    return verdict.outcome.score_a, 1.0 - verdict.outcome.score_a
