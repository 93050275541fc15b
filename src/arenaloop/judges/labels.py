"""Recorded labels as a judge: what somebody said before, looked up by prompt and both texts.

Label files mostly know one order of a pair. The verdict of the other seat is then the mirror of what was recorded, and
its raw text says so: a flip between such seats cannot occur, and says nothing about the judge.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from arenaloop.judges.base import verdict_key_parts
from arenaloop.models.recorded import match_keys
from arenaloop.types import Outcome, Prompt, Response, Status, Verdict, content_hash

__all__ = ["LabelsJudge", "Material", "RecordedVote", "looked_up", "material", "recorded"]

_PARSER = "labels:1"

Material = tuple[str, str, str]
"""What a label is about: a match key of the prompt, and the `text_hash` of the first and of the second output."""


class RecordedVote(NamedTuple):
    """One recorded preference: 1 the first output to 2 the second, None where the annotation failed."""

    preference: float | None
    usd: float | None = None
    seconds: float | None = None


def material(prompt: Prompt, first: Sequence[str], second: Sequence[str]) -> Material:
    """The key of a label about these texts; a judge finds it from prompts with and without a system message."""
    return match_keys(prompt)[0], content_hash(list(first)), content_hash(list(second))


def looked_up(verdict: Verdict) -> bool:
    """Whether a verdict came from a `LabelsJudge`, found or not."""
    return verdict.parser == _PARSER


def recorded(verdict: Verdict) -> dict[str, Any] | None:
    """What stands behind a verdict of a `LabelsJudge`: `preference`, `mirrored`, `usd`, `seconds`.

    None where there was no label, and for the verdicts of other judges.
    """
    return json.loads(verdict.raw) if looked_up(verdict) and verdict.raw else None


class LabelsJudge:
    """Recorded labels as a judge.

    A pair without a label gets a verdict of status `error`, never a tie; a recorded failure is `unparsed`. Asking again
    changes neither.

    Args:
        name: what reports call it.
        labels: recorded votes by `material`, several of a pair in the order of the file.
        repeat: which of the several votes speaks (see `repeats`).
    """

    template_hash = ""
    concurrency = 64

    def __init__(self, name: str, labels: Mapping[Material, Sequence[RecordedVote]], *, repeat: int = 0) -> None:
        self.name = name
        self._labels = labels
        self._repeat = repeat
        self.votes = max((len(votes) for votes in labels.values()), default=0)
        self._content = ""
        self.fingerprint = ""
        self._fix(content_hash("labels", sorted([*key, *map(list, votes)] for key, votes in labels.items())))

    def _fix(self, content: str) -> None:
        self._content = content
        self.fingerprint = content_hash("labels", content, self._repeat)

    def key(self, prompt: Prompt, first: Response, second: Response, sample: int = 0) -> str:
        """Hash of prompt, both texts in seat order, all labels and the sample index."""
        text = "\n".join((*verdict_key_parts(prompt, first, second), self.fingerprint, str(sample)))
        return blake2b(text.encode(), digest_size=16).hexdigest()

    def repeated(self, number: int) -> LabelsJudge:
        """The judge whose votes are each pair's recorded vote `number`."""
        other = object.__new__(LabelsJudge)
        other.name, other._labels, other._repeat, other.votes = self.name, self._labels, number, self.votes
        other._fix(self._content)
        return other

    async def judge(
        self, prompt: Prompt, first: Response, second: Response, *, secret: str, seed: int, sample: int = 0
    ) -> Verdict:
        """Look one seating up; `secret` and `seed` do not matter."""
        vote, mirrored = self._find(prompt, first.text_hash, second.text_hash)
        preference = vote.preference if vote is not None else None
        status = Status.ERROR if vote is None else Status.UNPARSED if preference is None else Status.OK
        raw = ""
        if vote is not None:
            raw = json.dumps({**vote._asdict(), "mirrored": mirrored})
        shares = None
        if preference is not None:
            one = round((preference - 1.0) if mirrored else (2.0 - preference), 12)
            shares = one, round(1.0 - one, 12)
        return Verdict(
            key=self.key(prompt, first, second, sample),
            prompt_id=prompt.id,
            first_hash=first.text_hash,
            second_hash=second.text_hash,
            judge=self.name,
            status=status,
            raw=raw,
            score_first=shares[0] if shares else None,
            score_second=shares[1] if shares else None,
            outcome=Outcome.from_scores(*shares) if shares else None,
            sample=sample,
            usd=0.0,
            error="no label for this pair" if vote is None else None,
            calls=0,
            judge_hash=self.fingerprint,
            parser=_PARSER,
        )

    def count(self, prompt: Prompt, first: Response, second: Response) -> int:
        """How many votes are recorded on two responses, in either order."""
        one, two = first.text_hash, second.text_hash
        orders = [(key, *pair) for key in match_keys(prompt) for pair in ((one, two), (two, one))]
        return max(len(self._labels.get(order, ())) for order in orders)

    def _find(self, prompt: Prompt, first: str, second: str) -> tuple[RecordedVote | None, bool]:
        keys = match_keys(prompt)
        for mirrored, (one, two) in ((False, (first, second)), (True, (second, first))):
            for key in keys:
                votes = self._labels.get((key, one, two), ())
                if len(votes) > self._repeat:
                    return votes[self._repeat], mirrored
        return None, False

    async def aclose(self) -> None:
        """Nothing to release."""
