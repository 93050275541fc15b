"""The forms of a judge's answer, and how one that is written out is read: by one line of its own.

The line, bared of markdown, must match whole: nothing else that stands in an answer counts.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

__all__ = [
    "CATEGORIES",
    "LABELS",
    "MOST",
    "SCORE_FORMS",
    "SEATS",
    "WINNERS",
    "Form",
    "Scores",
    "bare",
    "last_line",
    "parse_category",
    "parse_choices",
    "parse_first_line",
    "parse_label",
    "parse_labels",
    "parse_score",
    "parse_scores",
    "parse_winner",
    "shares_of",
]

Form = Literal[
    "scores", "first_line", "labels", "label", "json", "pattern", "score", "score_10", "category", "winner", "choices"
]
"""What a template asks for. Of two answers: ``Scores: 7 5`` on the last or on the first line, one of five labels, the
label of a seat, (asked for in its own words, without a schema) a JSON object with scores, or what a pattern of the
template's own reads (`verdict_pattern`), of one answer too. Of one answer, or of a
prompt: ``Score: 4`` on the last line, from 0 to 5 or from 0 to 10; of a prompt also ``Category: math``. Of two
judgements of one answer: ``Winner: A``. Of several pairs: ``Choices: 1 2 2``."""

SCORE_FORMS: tuple[Form, ...] = ("score", "score_10")
MOST = {"score": 5.0, "score_10": 10.0}

CATEGORIES = ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities")
"""What a prompt may be about: MT-Bench's eight (arXiv 2306.05685)."""

LABELS = {"A>>B": 1.0, "A>B": 0.75, "A=B": 0.5, "B>A": 0.25, "B>>A": 0.0}
"""Arena-Hard's five labels (arXiv 2406.11939), and what each is worth to the first seat."""

SEATS = {"1": 1.0, "2": 0.0}
WINNERS = {"A": 1.0, "B": 0.0}

_NUMBER = r"([0-9]+(?:\.[0-9]+)?)\s*(?:/\s*10(?:\.0+)?)?"
_SCORES = re.compile(
    rf"(?a:scores?)\s*[:=]\s*{_NUMBER}(?:\s*[,;|&]\s*|\s+and\s+|\s+)(?:and\s+)?{_NUMBER}\.?", re.IGNORECASE
)
_SCORE = re.compile(r"(?a:score)\s*[:=]\s*([0-9]+(?:\.[0-9]+)?)\s*(?:/\s*([0-9]+)(?:\.0+)?)?\.?", re.IGNORECASE)
_CATEGORY = re.compile(rf"(?a:category)\s*[:=]\s*[\[(]*\s*({'|'.join(CATEGORIES)})\s*[\])]*\.?", re.IGNORECASE)
_WINNER = re.compile(r"(?a:winner)\s*[:=]\s*[\[(]*\s*(?:(?a:judge?ment)\s+)?([AB])\s*[\])]*\.?", re.IGNORECASE)
_CHOICES = re.compile(r"(?a:choices?)\s*[:=]\s*([12](?:[\s,;|]+[12])*)\.?", re.IGNORECASE)
_LABEL = re.compile(r"\[\[\s*([AB])\s*(>>|>|=)\s*([AB])\s*\]\]")
_AROUND = " \t\r*_"  # blanks, and what sets a word off
_QUOTES = tuple("\"'`“”„‘’‚«»‹›")
_LONGEST_LINE = 200  # no line of a verdict is longer; keeps the expressions below linear on hostile text
_MARKDOWN = re.compile(r"^[\s*_`#>\-]+|[\s*_`]+$")
_EMPHASIS = re.compile(r"[*_`]+")


class Scores(NamedTuple):
    """What an answer gives the first and the second seat; the unit is the form's (1 to 10, or shares of 1)."""

    first: float
    second: float


def parse_scores(text: str) -> Scores | None:
    """Read ``Scores: 7 5`` (first seat, second seat) from the last non-blank line; None if it is anything else.

    The line, bared of markdown, must match whole, in any case; ``/10`` after a number and decimals are allowed. Scores
    outside 1 to 10 are no scores. Nothing but the last line counts, so a candidate's text quoted by the judge cannot
    decide.
    """
    return _score_line(last_line(text))


def parse_first_line(text: str) -> Scores | None:
    """Read ``Scores: 7 5`` from the first non-blank line, as strictly as `parse_scores` reads the last one.

    That is no weaker: a quoted text can only stand after something that the judge has written, and before its first
    line the judge has written, and quoted, nothing.
    """
    return _score_line(text.lstrip().split("\n", 1)[0])


def parse_labels(text: str) -> Scores | None:
    """Read one of five labels, ``[[A>>B]]`` to ``[[B>>A]]``, from the last non-blank line: alone, or at its end.

    At the end of a line, as in ``My final verdict is: [[A=B]]`` (Arena-Hard's wording), it counts only where no other
    label stands in that line and no other line ends with another one: an answer that was quoted may be either of them.
    A line of a quotation, and a label in quotation marks or backticks, are no verdict there.

    Returns:
        1, 0.75, 0.5, 0.25 or 0 for the first seat (A), and the rest of 1 for the second; None if it is anything else.
    """
    last = last_line(text)
    match = _LABEL.fullmatch(bare(last))
    if match is not None:
        return shares_of(LABELS.get("".join(match.groups())))
    ends = _label_at_end(last)
    if ends is None or any(other not in (None, ends) for other in map(_label_at_end, text.split("\n"))):
        return None
    return shares_of(LABELS.get(ends))


def _label_at_end(line: str) -> str | None:
    """The label that a line ends with, ``?`` where it holds another one too; None of other lines and of quotations."""
    if "]]" not in line or len(line) > _LONGEST_LINE or line.lstrip().startswith(">"):
        return None
    found = list(_LABEL.finditer(line))
    if not found or line[found[-1].end() :].strip(_AROUND + ".!") or _is_quoted(line[: found[-1].start()]):
        return None
    labels = {"".join(match.groups()) for match in found}
    return labels.pop() if len(labels) == 1 else "?"


def _is_quoted(before: str) -> bool:
    """Whether quotation marks, or backticks, are open where a text ends."""
    return (
        before.endswith(_QUOTES)
        or any(before.count(mark) % 2 for mark in '"`')
        or any(before.count(opening) != before.count(closing) for opening, closing in ("“”", "«»"))
    )


def parse_label(text: str) -> Scores | None:
    """Read the label of a seat, ``1`` or ``2``, from the last non-blank line, where it stands alone."""
    return shares_of(SEATS.get(bare(last_line(text))))


def parse_score(text: str, form: Form = "score") -> float | None:
    """Read ``Score: 4`` from the last non-blank line; None if it is anything else.

    The line, bared of markdown, must match whole, in any case; decimals, and the most that the form allows after a
    slash, may stand there. The range is 0 to 5, of form ``score_10`` 0 to 10: what lies outside is no score.
    """
    match = _SCORE.fullmatch(bare(last_line(text)))
    if match is None or (match[2] is not None and float(match[2]) != MOST[form]):
        return None
    return score if (score := float(match[1])) <= MOST[form] else None


def parse_winner(text: str) -> Scores | None:
    """Read ``Winner: A`` (or ``B``) from the last non-blank line, where it stands alone; there is no tie.

    In any case; the letter may stand in brackets, and behind the word "judgement".
    """
    match = _WINNER.fullmatch(bare(last_line(text)))
    return None if match is None else shares_of(WINNERS[match[1].upper()])


def parse_category(text: str) -> float | None:
    """Read ``Category: math`` from the last non-blank line, where it stands alone: its place in `CATEGORIES`."""
    match = _CATEGORY.fullmatch(bare(last_line(text)))
    return None if match is None else float(CATEGORIES.index(match[1].lower()))


def parse_choices(text: str) -> tuple[Scores, ...] | None:
    """Read ``Choices: 1 2 2``, the preferred answer of each pair in order, from the last non-blank line."""
    match = _CHOICES.fullmatch(bare(last_line(text)))
    if match is None:
        return None
    return tuple(Scores(SEATS[label], 1.0 - SEATS[label]) for label in re.findall("[12]", match[1]))


def last_line(text: str) -> str:
    """The last line that is not blank."""
    return text.rstrip().rsplit("\n", 1)[-1]


def bare(line: str, longest: int = _LONGEST_LINE) -> str:
    """A line without markdown and blanks around it; empty where it is longer than a verdict's can be."""
    return "" if len(line) > longest else _EMPHASIS.sub("", _MARKDOWN.sub("", line)).strip()


def _score_line(line: str) -> Scores | None:
    if (match := _SCORES.fullmatch(bare(line))) is None:
        return None
    first, second = float(match[1]), float(match[2])
    return Scores(first, second) if 1.0 <= first <= 10.0 and 1.0 <= second <= 10.0 else None


def shares_of(first: float | None) -> Scores | None:
    """Shares of 1 by what the first seat gets."""
    return None if first is None else Scores(first, 1.0 - first)
