"""Recorded labels as a judge: what somebody said before, looked up by prompt and both texts.

Label files mostly know one order of a pair. The verdict of the other seat is then the mirror of what was recorded, and
its raw text says so: a flip between such seats cannot occur, and says nothing about the judge.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from arenaloop.judges.base import decided
from arenaloop.judges.builtin import FreeJudge
from arenaloop.models.recorded_rows import match_keys
from arenaloop.types import Prompt, Response, Status, Verdict, content_hash

__all__ = ["LabelsJudge", "Material", "RecordedVote", "looked_up", "material", "recorded"]

_PARSER = "labels:1"

Material = tuple[str, str, str]
"""What a label is about: a match key of the prompt, and the `text_hash` of the first and of the second output."""


class RecordedVote(NamedTuple):
    """One recorded preference: 1 the first output to 2 the second, None where the annotation failed.

    Attributes:
        seat: which output sat first, 1 or 2, where the file tells.
    """

    preference: float | None
    usd: float | None = None
    seconds: float | None = None
    seat: int | None = None

    def told(self) -> dict[str, Any]:
        """Its fields; without the seat, where that is not known."""
        return {name: value for name, value in self._asdict().items() if name != "seat" or value is not None}


def material(prompt: Prompt, first: Sequence[str], second: Sequence[str]) -> Material:
    """The key of a label about these texts; a judge finds it from prompts with and without a system message."""
    return match_keys(prompt)[0], content_hash(list(first)), content_hash(list(second))


def looked_up(verdict: Verdict) -> bool:
    """Whether a verdict came from a `LabelsJudge`, found or not."""
    return verdict.parser == _PARSER and not verdict.template_hash  # a template's `labels` were read by that name, too


def recorded(verdict: Verdict) -> dict[str, Any] | None:
    """What stands behind a verdict of a `LabelsJudge`: `preference`, `mirrored`, `usd`, `seconds`, `seat` where told.

    None where there was no label, and for the verdicts of other judges.
    """
    return json.loads(verdict.raw) if looked_up(verdict) and verdict.raw else None


class LabelsJudge(FreeJudge):
    """Recorded labels as a judge.

    A pair without a label gets a verdict of status `error`, never a tie; a recorded failure is `unparsed`. Asking again
    changes neither.

    Args:
        name: what reports call it.
        labels: recorded votes by `material`, several of a pair in the order of the file.
        notes: what the reader of the file had to say.
    """

    def __init__(self, name: str, labels: Mapping[Material, Sequence[RecordedVote]], notes: Sequence[str] = ()) -> None:
        self._labels = labels
        self.notes = tuple(notes)
        self._content = content_hash(
            "labels", sorted([*key, *(list(vote.told().values()) for vote in votes)] for key, votes in labels.items())
        )
        super().__init__(name, max((len(votes) for votes in labels.values()), default=0))

    def _identity(self) -> str:
        return content_hash("labels", self._content, self.vote)

    async def judge(
        self, prompt: Prompt, first: Response, second: Response, *, secret: str, seed: int, sample: int = 0
    ) -> Verdict:
        """Look one seating up; `secret` and `seed` do not matter."""
        found = ((votes[self.vote], m) for votes, m in self._on(prompt, first, second) if len(votes) > self.vote)
        vote, mirrored = next(found, (None, False))
        if vote is None:
            error = "no label for this pair"
            return self._verdict(prompt, first, second, sample, Status.ERROR, error=error, parser=_PARSER)
        raw = json.dumps({**vote.told(), "mirrored": mirrored})
        if vote.preference is None:
            return self._verdict(prompt, first, second, sample, Status.UNPARSED, raw=raw, parser=_PARSER)
        one = round((vote.preference - 1.0) if mirrored else (2.0 - vote.preference), 12)
        scores = one, round(1.0 - one, 12)
        return self._verdict(prompt, first, second, sample, raw=raw, parser=_PARSER, **decided(scores))

    def count(self, prompt: Prompt, first: Response, second: Response) -> int:
        """How many votes are recorded on two responses, in either order."""
        return max(len(votes) for votes, _ in self._on(prompt, first, second))

    def _on(self, prompt: Prompt, first: Response, second: Response) -> Iterator[tuple[Sequence[RecordedVote], bool]]:
        """What is recorded on two responses in this order, and then in the other one, mirrored."""
        keys = match_keys(prompt)
        for mirrored, (one, two) in ((False, (first, second)), (True, (second, first))):
            for key in keys:
                yield self._labels.get((key, one.text_hash, two.text_hash), ()), mirrored
