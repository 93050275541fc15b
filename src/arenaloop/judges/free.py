"""Judges that need no model, whose verdicts cost nothing: what rules and recorded labels share."""

from __future__ import annotations

from copy import copy
from hashlib import blake2b
from typing import Any, Self

from arenaloop.types import Prompt, Response, Status, Verdict

__all__ = ["FreeJudge"]


class FreeJudge:
    """A judge that looks at nothing but the texts, and says the same whenever it is asked.

    Attributes:
        votes: how many different votes there are to be had (see `repeats`); None without limit, 1 for a fixed rule.
        vote: which of them speaks, from 0.
    """

    template_hash = ""
    concurrency = 64

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
        text = "\n".join((prompt.id, first.text_hash, second.text_hash, self.fingerprint, str(sample)))
        return blake2b(text.encode(), digest_size=16).hexdigest()

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
