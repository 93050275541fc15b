"""Who decides: the judge protocol, and how the two seats of a pair become one battle.

A judge is asked once per seating. Its `Verdict` carries a status; only `ok` verdicts have an outcome, and a battle is
decided only when both seats are. Nothing here turns a failure into a tie.
"""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

from arenaloop.types import Battle, Outcome, Prompt, Response, Verdict

__all__ = ["Judge", "MergeRule", "merge_seats", "verdict_key_parts"]

MergeRule = Literal["mean", "agree_or_tie"]
"""How two seats become one battle: `mean` compares the mean scores, `agree_or_tie` needs both seats to agree."""


@runtime_checkable
class Judge(Protocol):
    """Anything that compares two responses to one prompt, in seat order."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    @property
    def fingerprint(self) -> str:
        """Content hash of the judging model, template, sampling and parser."""
        ...

    @property
    def concurrency(self) -> int:
        """How many calls may be in flight at once."""
        ...

    def key(self, prompt: Prompt, first: Response, second: Response, sample: int = 0) -> str:
        """Content hash under which the verdict is stored; model names are not part of it."""
        ...

    async def judge(
        self, prompt: Prompt, first: Response, second: Response, *, secret: str, seed: int, sample: int = 0
    ) -> Verdict:
        """Decide one seating. `secret` feeds the delimiters, `seed` the judge's own randomness."""
        ...

    async def aclose(self) -> None:
        """Release connections."""
        ...


def verdict_key_parts(prompt: Prompt, first: Response, second: Response) -> tuple[str, str, str]:
    """What identifies the material of one seating: the prompt and the text in each seat."""
    return prompt.id, first.text_hash, second.text_hash


def merge_seats(
    model_a: str,
    model_b: str,
    a_first: Verdict,
    b_first: Verdict,
    rule: MergeRule = "mean",
) -> Battle | None:
    """Merge both seats of one pair into a battle (METHODS of Arena Learning, arXiv 2407.10627, section 3).

    Args:
        model_a, model_b: the pair.
        a_first: the verdict with `model_a` in the first seat.
        b_first: the verdict with `model_b` in the first seat.
        rule: ``"mean"``: each model's score is its mean over both seats, the higher mean wins, equal means tie.
            ``"agree_or_tie"``: a model wins only if both seats name it; scores are still the means.

    Returns:
        The battle, or None if either verdict has no outcome.
    """
    if a_first.outcome is None or b_first.outcome is None:
        return None
    # A judge that only labels has no scores: a win counts 1, a tie 0.5.
    a1, b1 = _scores(a_first)
    b2, a2 = _scores(b_first)
    # Rounded far below any judge's decimals: 7.1 + 6.3 and 6.9 + 6.5 differ in floating point, and are a tie.
    score_a, score_b = round((a1 + a2) / 2, 9), round((b1 + b2) / 2, 9)
    second = b_first.outcome.swap()
    if rule == "mean":
        outcome = Outcome.from_scores(score_a, score_b)
    elif rule == "agree_or_tie":
        outcome = a_first.outcome if a_first.outcome is second else Outcome.TIE
    else:
        raise ValueError(f"unknown merge rule {rule!r}")
    return Battle(
        prompt_id=a_first.prompt_id,
        model_a=model_a,
        model_b=model_b,
        winner={Outcome.A: "model_a", Outcome.B: "model_b", Outcome.TIE: "tie"}[outcome],
        score_a=score_a,
        score_b=score_b,
        flipped={a_first.outcome, second} == {Outcome.A, Outcome.B},
        judge=a_first.judge,
        verdicts=(a_first.key, b_first.key),
    )


def _scores(verdict: Verdict) -> tuple[float, float]:
    if verdict.score_first is not None and verdict.score_second is not None:
        return verdict.score_first, verdict.score_second
    assert verdict.outcome is not None
    return verdict.outcome.score_a, 1.0 - verdict.outcome.score_a
