"""Labels read by their log-probabilities: how likely each of a few words is as the judge's answer.

A judge of two texts names a seat, ``1`` or ``2``; the share of the first label is the first seat's score (AlpacaEval's
way). A judge of one text names a number of its scale, and its score is the expectation over these numbers (G-Eval,
Liu et al. 2023, arXiv 2303.16634, equation 1). Both are normalised over the labels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal

__all__ = [
    "LABEL_MASS",
    "SEAT_LABELS",
    "DecidingLabel",
    "UndecidedError",
    "expected_score",
    "label_shares",
]

DecidingLabel = Literal["first", "last"]
"""Which token that is a label decides in mode ``logprob``: the first, or the last for judges that reason first."""

LABEL_MASS = 0.2
"""Least probability of all labels together, by default: below it the judge was about to say something else."""
SEAT_LABELS = ("1", "2")
_UNSURE_AT_MOST = 0.5
"""Of a score, how far what is not known of a label of two tokens may move it, in points."""

Tokens = Sequence[Mapping[str, float]]
"""For each new token the log-probabilities (natural) of its likeliest alternatives."""


class UndecidedError(ValueError):
    """The labels decide nothing; the message says why."""


class _Token:
    """The alternatives of one token, by the labels that they are when bare of surrounding blanks.

    Attributes:
        masses: probability of each label, None of one that is not listed. Several alternatives of a label add up.
        listed: probabilities of all alternatives.
        other: of the likeliest alternative that is no label.
        numbers: whether a number of several digits is among them, so that the tokens are no single digits.
    """

    def __init__(self, alternatives: Mapping[str, float], labels: Sequence[str]) -> None:
        self.masses: dict[str, float | None] = dict.fromkeys(labels)
        self.listed: list[float] = []
        self.other, self.numbers = 0.0, False
        for text, logprob in alternatives.items():
            if logprob != logprob:  # not a number is no probability
                continue
            self.listed.append(probability := math.exp(min(0.0, logprob)))
            label = text.strip()
            self.numbers |= len(label) > 1 and label.isdecimal()
            if label in self.masses:
                self.masses[label] = (self.masses[label] or 0.0) + probability
            else:
                self.other = max(self.other, probability)

    @property
    def mass(self) -> float:
        """Of all labels together, as far as they are listed."""
        return math.fsum(mass or 0.0 for mass in self.masses.values())

    @property
    def decides(self) -> bool:
        """Whether no other alternative is likelier than all labels together."""
        return self.mass > 0 and self.mass >= self.other

    def unlisted(self, labels: int) -> float:
        """The most that so many labels have together which are not listed.

        None of them is likelier than the least likely alternative that is, and all are what the listed ones leave.
        """
        return min(labels * min(self.listed), max(0.0, 1.0 - math.fsum(self.listed)))


def _deciding(tokens: Tokens, labels: Sequence[str], which: DecidingLabel) -> tuple[int, _Token] | None:
    order = range(len(tokens)) if which == "first" else reversed(range(len(tokens)))
    found = ((at, _Token(tokens[at], labels)) for at in order)
    return next(((at, token) for at, token in found if token.decides), None)


def label_shares(
    tokens: Tokens,
    labels: Sequence[str] = SEAT_LABELS,
    which: DecidingLabel = "first",
    least: float = 0.0,
    *,
    written: str = "",
) -> dict[str, float]:
    """How likely each label is, of all labels together, at the token that decides.

    A label that is not listed is bounded, not zero: it is at most as likely as the least likely alternative that is,
    and as what all listed ones leave, and the smaller of the two is taken for it (of several, they share the latter).

    A label may be two tokens, ``10`` where digits stand alone (no number of several is listed). Then ``1`` is the
    beginning of both, and what follows it parts them: the alternatives after it, which are there if the answer went
    that way. If it did not, the probability of ``1`` is halved between them as long as an expected score moves by half
    a point at most from one end to the other.

    Args:
        tokens: of the answer.
        labels: what may be answered.
        which: a token is a label's where no other alternative is likelier than all labels together; the first such
            token decides, or the last.
        least: probability that the listed labels must have together.
        written: the label that the answer's text has there; tells whether it went on to a second token.

    Raises:
        UndecidedError: no token is a label's, the labels have less than `least`, or one of two tokens cannot be told.
    """
    found = _deciding(tokens, labels, which)
    if found is None:
        raise UndecidedError("no token of the answer is a label")
    at, token = found
    begun = None if which == "first" else _begun(tokens, labels, at, written)
    if begun is not None:
        at, token = at - 1, begun
    if token.mass < least:
        raise UndecidedError(f"the labels hold {token.mass:.3f} of the probability, less than label_mass {least:g}")
    masses = token.masses
    for label in labels:
        if len(label) > 1 and not token.numbers and masses.get(label[:1]):
            went_on = written.startswith(label[:1]) and at + 1 < len(tokens)
            _part(masses, label, tokens[at + 1] if went_on else None)
    if missing := [label for label, mass in masses.items() if mass is None]:
        bound = token.unlisted(len(missing)) / len(missing)
        masses |= dict.fromkeys(missing, bound)
    total = math.fsum(mass or 0.0 for mass in masses.values())
    return {label: (mass or 0.0) / total for label, mass in masses.items()}


def _begun(tokens: Tokens, labels: Sequence[str], at: int, written: str) -> _Token | None:
    """The token before the last label's, where the written label is of two tokens and begins there."""
    if at == 0 or len(written) < 2 or _Token(tokens[at], labels).numbers:
        return None
    before = _Token(tokens[at - 1], labels)
    return before if before.masses.get(written[:1]) else None


def _part(masses: dict[str, float | None], label: str, following: Mapping[str, float] | None) -> None:
    """Part the probability of a label of two tokens from that of the one which it begins with."""
    first, second = label[:1], label[1:]
    whole = masses[first] or 0.0
    if following is None:
        total = math.fsum(mass or 0.0 for mass in masses.values())
        if whole / total * (float(label) - float(first)) > _UNSURE_AT_MOST:
            raise UndecidedError(
                f"label {first} (probability {whole:.3f}) may be the beginning of {label}, and the answer does not say "
                "which, its tokens being single digits: take verdict text or json, or a judge in this process"
            )
        share = 0.5
    else:
        after = _Token({text: logprob for text, logprob in following.items() if not text[:1].isspace()}, [second])
        share = min(1.0, after.masses[second] or after.unlisted(1)) if after.listed else 0.0
    masses[first], masses[label] = whole * (1.0 - share), whole * share


def expected_score(
    tokens: Tokens, labels: Sequence[str], which: DecidingLabel, least: float, *, written: str = ""
) -> float:
    """The mean of the labels as numbers, each weighed by its share; arguments as of `label_shares`.

    Raises:
        UndecidedError: as of `label_shares`.
    """
    shares = label_shares(tokens, labels, which, least, written=written)
    return math.fsum(float(label) * share for label, share in shares.items())


_NUMBER = re.compile(r"[0-9]+")


def first_number(text: str) -> str:
    """The first digits of an answer; empty where it has none."""
    found = _NUMBER.search(text)
    return found[0] if found else ""
