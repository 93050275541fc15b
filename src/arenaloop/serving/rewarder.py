"""From an answer to its reward: what is asked about it, and what the verdicts come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from arenaloop.errors import InputError
from arenaloop.judges.leads import both_seats, mean_lead
from arenaloop.types import Judgement, Prompt, Response, Verdict

__all__ = ["HELLO", "Rewarder"]

HELLO = Prompt.of("Say hello.")
"""What is asked about before a server listens."""


@dataclass(frozen=True)
class Rewarder:
    """A judge of one answer, or one of two with the stored answers that an answer battles against.

    Attributes:
        judge: who decides.
        reask: how often what cannot be read is asked again.
        opponents: the stored answers to a prompt, raises InputError where there is none; None for a judge of one
            answer.
    """

    judge: Any
    reask: int = 0
    opponents: Callable[[Prompt], list[Response]] | None = None

    @property
    def several(self) -> bool:
        """Whether answers battle."""
        return self.opponents is not None

    def questions(self, prompt: Prompt, answer: Response) -> list[tuple[Prompt, *tuple[Response, ...]]] | None:
        """What is to be asked about an answer; None where it has no opponent."""
        if self.opponents is None:
            return [(prompt, answer)]
        try:
            return [*both_seats(prompt, answer, self.opponents(prompt))]
        except InputError:
            return None

    def trial(self) -> list[tuple[Prompt, *tuple[Response, ...]]]:
        """What is asked before anything else, to see that the judge answers; it needs no stored answer."""
        hello, hi = (Response(HELLO.id, who, (said,)) for who, said in (("policy", "Hello."), ("stored", "Hi.")))
        return [(HELLO, hello)] if self.opponents is None else [(HELLO, hello, hi)]

    def reward(self, records: Sequence[Verdict | Judgement | None]) -> float | str:
        """The reward by the records of the questions, in their order; a text says why there is none."""
        value: float | None
        if self.opponents is None:
            (one,) = records
            value = one.score if isinstance(one, Judgement) else None
        else:
            value = mean_lead([each if isinstance(each, Verdict) else None for each in records])
        if value is not None:
            return value
        failed = next((each for each in records if each is not None and each.status != "ok"), None)
        return "error" if failed is None else failed.status.value
