"""Judges that need no model: the baselines that a real judge has to beat."""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal, get_args

from arenaloop.judges.base import verdict_key_parts
from arenaloop.types import Outcome, Prompt, Response, Status, Verdict, content_hash

__all__ = ["BUILTIN", "BuiltinJudge", "BuiltinKind"]

BuiltinKind = Literal["longest", "shortest", "random", "first"]
"""`longest` and `shortest` compare characters over all turns, `random` throws a coin for every seating, and `first`
takes whatever stands in the first seat."""

BUILTIN: tuple[str, ...] = get_args(BuiltinKind)


class BuiltinJudge:
    """A rule in place of a judge. Free, and the same at every run.

    Args:
        kind: which rule. The coin of ``"random"`` is a hash of the material, so it falls the same way whenever the
            same texts are judged, whatever the run's seed; the two seats are two throws.
        name: what reports call it; the kind by default.
        repeat: which of several coins is thrown (see `repeats`); for ``"random"`` only.
    """

    template_hash = ""
    concurrency = 64

    def __init__(self, kind: BuiltinKind, *, name: str | None = None, repeat: int = 0) -> None:
        if kind not in BUILTIN:
            raise ValueError(f"no built-in judge {kind!r}: {', '.join(BUILTIN)}")
        self.kind = kind
        self.name = name or kind
        self._repeat = repeat
        self.votes = None if kind == "random" else 1
        self.fingerprint = content_hash("builtin", kind, repeat, 1)

    def key(self, prompt: Prompt, first: Response, second: Response, sample: int = 0) -> str:
        """Hash of prompt, both texts in seat order, the rule and the sample index."""
        text = "\n".join((*verdict_key_parts(prompt, first, second), self.fingerprint, str(sample)))
        return blake2b(text.encode(), digest_size=16).hexdigest()

    def repeated(self, number: int) -> BuiltinJudge:
        """The judge of the vote `number`: another coin; the same rule where nothing is random."""
        return BuiltinJudge(self.kind, name=self.name, repeat=number if self.kind == "random" else 0)

    async def judge(
        self, prompt: Prompt, first: Response, second: Response, *, secret: str, seed: int, sample: int = 0
    ) -> Verdict:
        """Apply the rule to one seating; `secret` and `seed` do not matter."""
        key = self.key(prompt, first, second, sample)
        return Verdict(
            key=key,
            prompt_id=prompt.id,
            first_hash=first.text_hash,
            second_hash=second.text_hash,
            judge=self.name,
            status=Status.OK,
            outcome=self._decide(key, first, second),
            sample=sample,
            usd=0.0,
            calls=0,
            judge_hash=self.fingerprint,
        )

    def _decide(self, key: str, first: Response, second: Response) -> Outcome:
        if self.kind == "first":
            return Outcome.A
        if self.kind == "random":
            return Outcome.A if int(key, 16) & 1 else Outcome.B
        lengths = [float(sum(map(len, response.texts))) for response in (first, second)]
        longest = Outcome.from_scores(*lengths)
        return longest if self.kind == "longest" else longest.swap()

    async def aclose(self) -> None:
        """Nothing to release."""
