"""Judges that need no model: what all of them share, and the baselines that a real judge has to beat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any, Self

from arenaloop.judges.base import pair_key
from arenaloop.types import Outcome, Prompt, Response, Status, Verdict, content_hash

__all__ = ["BUILTIN", "BuiltinJudge", "FreeJudge", "Rule"]

Rule = Callable[[str, Response, Response], Outcome]
"""(key of the seating, first response, second response) → who is better."""


def _longest(key: str, first: Response, second: Response) -> Outcome:
    return Outcome.from_scores(*(float(sum(map(len, response.texts))) for response in (first, second)))


BUILTIN: Mapping[str, Rule] = {
    "longest": _longest,
    "shortest": lambda key, first, second: _longest(key, first, second).swap(),
    "random": lambda key, first, second: Outcome.A if int(key, 16) & 1 else Outcome.B,
    "first": lambda key, first, second: Outcome.A,
}
"""The rules by name: `longest` and `shortest` compare characters over all turns, `random` throws a coin for every
seating, and `first` takes whatever stands in the first seat."""


class FreeJudge:
    """A judge that looks at nothing but the texts, and says the same whenever it is asked.

    Attributes:
        votes: how many different votes there are to be had (see `repeats`); None without limit, 1 for a fixed rule.
        vote: which of them speaks, from 0.
    """

    template_hash = ""
    concurrency = 64
    scale = (0.0, 1.0)

    def __init__(self, name: str, votes: int | None) -> None:
        self.name = name
        self.votes = votes
        self.vote = 0
        self.fingerprint = self._identity()

    def _identity(self) -> str:
        """The fingerprint of the vote that speaks."""
        raise NotImplementedError

    def repeated(self, number: int) -> Self:
        """The judge of the vote `number`, from 0."""
        other = copy(self)
        other.vote = number
        other.fingerprint = other._identity()
        return other

    def key(self, prompt: Prompt, first: Response, second: Response, sample: int = 0) -> str:
        """Hash of prompt, both texts in seat order, the judge and the sample index."""
        return pair_key(self.fingerprint, prompt, first, second, sample)

    def _verdict(
        self, prompt: Prompt, first: Response, second: Response, sample: int, status: Status = Status.OK, **found: Any
    ) -> Verdict:
        return Verdict(
            key=self.key(prompt, first, second, sample),
            prompt_id=prompt.id,
            first_hash=first.text_hash,
            second_hash=second.text_hash,
            judge=self.name,
            status=status,
            sample=sample,
            usd=0.0,
            calls=0,
            judge_hash=self.fingerprint,
            **found,
        )

    async def aclose(self) -> None:
        """Nothing to release."""


class BuiltinJudge(FreeJudge):
    """A rule in place of a judge. Free, and the same at every run.

    Args:
        kind: which rule. The coin of ``"random"`` is a hash of the material, so it falls the same way whenever the
            same texts are judged, whatever the run's seed; the two seats are two throws, and each vote has a coin of
            its own.
        name: what reports call it; the kind by default.
    """

    def __init__(self, kind: str, *, name: str | None = None) -> None:
        if kind not in BUILTIN:
            raise ValueError(f"no built-in judge {kind!r}: {', '.join(BUILTIN)}")
        self.kind = kind
        super().__init__(name or kind, None if kind == "random" else 1)

    def _identity(self) -> str:
        return content_hash("builtin", self.kind, self.vote if self.kind == "random" else 0, 1)

    async def judge(
        self, prompt: Prompt, first: Response, second: Response, *, secret: str, seed: int, sample: int = 0
    ) -> Verdict:
        """Apply the rule to one seating; `secret` and `seed` do not matter."""
        key = self.key(prompt, first, second, sample)
        return self._verdict(prompt, first, second, sample, outcome=BUILTIN[self.kind](key, first, second))
