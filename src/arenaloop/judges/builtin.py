"""Judges that need no model: the baselines that a real judge has to beat."""

from __future__ import annotations

from typing import Literal, get_args

from arenaloop.judges.free import FreeJudge
from arenaloop.types import Outcome, Prompt, Response, Verdict, content_hash

__all__ = ["BUILTIN", "BuiltinJudge", "BuiltinKind"]

BuiltinKind = Literal["longest", "shortest", "random", "first"]
"""`longest` and `shortest` compare characters over all turns, `random` throws a coin for every seating, and `first`
takes whatever stands in the first seat."""

BUILTIN: tuple[str, ...] = get_args(BuiltinKind)


class BuiltinJudge(FreeJudge):
    """A rule in place of a judge. Free, and the same at every run.

    Args:
        kind: which rule. The coin of ``"random"`` is a hash of the material, so it falls the same way whenever the
            same texts are judged, whatever the run's seed; the two seats are two throws, and each vote has a coin of
            its own.
        name: what reports call it; the kind by default.
    """

    def __init__(self, kind: BuiltinKind, *, name: str | None = None) -> None:
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
        return self._verdict(prompt, first, second, sample, outcome=self._decide(key, first, second))

    def _decide(self, key: str, first: Response, second: Response) -> Outcome:
        if self.kind == "first":
            return Outcome.A
        if self.kind == "random":
            return Outcome.A if int(key, 16) & 1 else Outcome.B
        lengths = [float(sum(map(len, response.texts))) for response in (first, second)]
        longest = Outcome.from_scores(*lengths)
        return longest if self.kind == "longest" else longest.swap()
