"""Tokenised rows, and why others are not among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from arenaloop.errors import InputError
from arenaloop.ratings.cells import UNKNOWN_SHARE

__all__ = ["IN_DOUBT", "Encoded", "EncodedRows", "Unfit"]

IN_DOUBT = "contradiction"
"""The reason of rows whose columns contradict each other."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One tokenised conversation.

    Attributes:
        ids: its tokens, at most the window's length.
        labelled: for each token, whether it carries the loss.
        truncated: whether the answer was cut at the window, and so has no labelled end of turn.
        spelled: whether a text in it spells a control token of the model; it was kept as text.
    """

    ids: list[int]
    labelled: list[bool]
    truncated: bool
    spelled: bool = False


@dataclass(frozen=True, slots=True)
class Unfit:
    """A row that cannot be trained on: the reason that it is counted under, and what there is to say of it."""

    reason: str
    words: str = ""


@dataclass(slots=True)
class EncodedRows:
    """What is left of the rows that were given, and why the others are not.

    Attributes:
        rows: the tokenised conversations; of N pairs the N chosen ones, then the N rejected ones.
        source: for each row or pair kept, its index among those given.
        dropped: rows dropped, by reason.
        explained: what there is to say of the first of them, by reason.
        truncated: rows or pairs kept although an answer was cut at the window.
        spelled: rows or pairs kept in which a text spells a control token; it was kept as text.
        earlier: rows kept with assistant turns that are not learned, before those that are.
    """

    rows: list[Encoded] = field(default_factory=list)
    source: list[int] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    explained: dict[str, str] = field(default_factory=dict)
    truncated: int = 0
    spelled: int = 0
    earlier: int = 0

    def take(self, at: int, sides: Sequence[Encoded | Unfit]) -> None:
        """Keep what row `at` gave, or count it as dropped for the first reason among its sides."""
        unfit = next((side for side in sides if isinstance(side, Unfit)), None)
        if unfit is not None:
            self.dropped[unfit.reason] += 1
            if unfit.words:
                self.explained.setdefault(unfit.reason, unfit.words)
            return
        kept = [side for side in sides if isinstance(side, Encoded)]
        self.rows += kept
        self.source.append(at)
        self.truncated += any(side.truncated for side in kept)
        self.spelled += any(side.spelled for side in kept)

    def require(self, kind: str, given: int) -> None:
        """Refuse what nothing is left of, and a file whose columns contradict each other in more than a few rows."""
        doubtful = self.dropped[IN_DOUBT]
        if self.rows and doubtful > UNKNOWN_SHARE * given:
            raise InputError(
                f"{self.explained[IN_DOUBT]}; so it is in {doubtful:,} of {given:,} rows, and more than "
                f"{UNKNOWN_SHARE * 100:g} % are not left out: keep the column that holds"
            )
        if not self.rows:
            left = f"no {kind} row is left of {given}: {dict(self.dropped)}"
            raise InputError("; ".join([*self.explained.values(), left]))
