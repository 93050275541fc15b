"""How a judge's answer is read: one strict parser for each form of answer, and none that guesses.

A template declares its form (`Form`); the verdict mode decides how an answer of that form is given:

* ``text``: the judge writes it, and one line of its own is read;
* ``json``: the whole answer is one JSON object of a schema that the request carries;
* ``logprob``: the judge answers with the label of a seat, or with a whole number of its scale, and the probabilities
  of all labels are read (`label_logprobs`).

What cannot be read is no verdict (`Status.UNPARSED`), never a tie.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from arenaloop.judges.label_logprobs import (
    LABEL_MASS,
    SEAT_LABELS,
    DecidingLabel,
    UndecidedError,
    expected_score,
    first_number,
    label_shares,
)
from arenaloop.types import Completion, Status

__all__ = [
    "FORMS",
    "LABELS",
    "SCORE_FORMS",
    "Form",
    "Parser",
    "Scores",
    "VerdictMode",
    "parse_choices",
    "parse_first_line",
    "parse_json",
    "parse_label",
    "parse_labels",
    "parse_score",
    "parse_scores",
    "parse_winner",
    "parser_for",
    "score_labels",
]

Form = Literal["scores", "first_line", "labels", "label", "json", "score", "score_10", "winner", "choices"]
"""What a template asks for. Of two answers: ``Scores: 7 5`` on the last or on the first line, one of five labels, the
label of a seat, or (asked for in its own words, without a schema) a JSON object with scores. Of one answer, or of a
prompt: ``Score: 4`` on the last line, from 0 to 5 or from 0 to 10. Of two judgements of one answer: ``Winner: A``. Of
several pairs: ``Choices: 1 2 2``."""

VerdictMode = Literal["text", "json", "logprob"]
FORMS: tuple[Form, ...] = ("scores", "first_line", "labels", "label", "json")
SCORE_FORMS: tuple[Form, ...] = ("score", "score_10")
_MOST = {"score": 5.0, "score_10": 10.0}
LABELS = {"A>>B": 1.0, "A>B": 0.75, "A=B": 0.5, "B>A": 0.25, "B>>A": 0.0}
"""Arena-Hard's five labels (arXiv 2406.11939), and what each is worth to the first seat."""

_SEATS = {"1": 1.0, "2": 0.0}
_WINNERS = {"A": 1.0, "B": 0.0}
_TOP_LOGPROBS = 20  # what servers give at most
_KEPT_LOGPROBS = 32  # tokens at the deciding end whose log-probabilities are stored

_NUMBER = r"([0-9]+(?:\.[0-9]+)?)\s*(?:/\s*10(?:\.0+)?)?"
_SCORES = re.compile(
    rf"(?a:scores?)\s*[:=]\s*{_NUMBER}(?:\s*[,;|&]\s*|\s+and\s+|\s+)(?:and\s+)?{_NUMBER}\.?", re.IGNORECASE
)
_SCORE = re.compile(r"(?a:score)\s*[:=]\s*([0-9]+(?:\.[0-9]+)?)\s*(?:/\s*([0-9]+)(?:\.0+)?)?\.?", re.IGNORECASE)
_WINNER = re.compile(r"(?a:winner)\s*[:=]\s*[\[(]*\s*(?:(?a:judge?ment)\s+)?([AB])\s*[\])]*\.?", re.IGNORECASE)
_CHOICES = re.compile(r"(?a:choices?)\s*[:=]\s*([12](?:[\s,;|]+[12])*)\.?", re.IGNORECASE)
_LABEL = re.compile(r"\[\[\s*([AB])\s*(>>|>|=)\s*([AB])\s*\]\]")
_LONGEST_LINE = 200  # no line of a verdict is longer; keeps the expressions below linear on hostile text
_MARKDOWN = re.compile(r"^[\s*_`#>\-]+|[\s*_`]+$")
_EMPHASIS = re.compile(r"[*_`]+")
_FENCE = re.compile(r"```(?:json)?[ \t]*\r?\n(.*)\n[ \t]*```", re.DOTALL)


class Scores(NamedTuple):
    """What an answer gives the first and the second seat; the unit is the form's (1 to 10, or shares of 1)."""

    first: float
    second: float


# ---------------------------------------------------------------------- lines of text


def parse_scores(text: str) -> Scores | None:
    """Read ``Scores: 7 5`` (first seat, second seat) from the last non-blank line; None if it is anything else.

    The line, bared of markdown, must match whole, in any case; ``/10`` after a number and decimals are allowed. Scores
    outside 1 to 10 are no scores. Nothing but the last line counts, so a candidate's text quoted by the judge cannot
    decide.
    """
    return _score_line(_last_line(text))


def parse_first_line(text: str) -> Scores | None:
    """Read ``Scores: 7 5`` from the first non-blank line, as strictly as `parse_scores` reads the last one.

    That is no weaker: a quoted text can only stand after something that the judge has written, and before its first
    line the judge has written, and quoted, nothing.
    """
    return _score_line(text.lstrip().split("\n", 1)[0])


def parse_labels(text: str) -> Scores | None:
    """Read one of five labels, ``[[A>>B]]`` to ``[[B>>A]]``, from the last non-blank line, where it stands alone.

    Returns:
        1, 0.75, 0.5, 0.25 or 0 for the first seat (A), and the rest of 1 for the second; None if it is anything else.
    """
    match = _LABEL.fullmatch(_bare(_last_line(text)))
    return None if match is None else _shares(LABELS.get("".join(match.groups())))


def parse_label(text: str) -> Scores | None:
    """Read the label of a seat, ``1`` or ``2``, from the last non-blank line, where it stands alone."""
    return _shares(_SEATS.get(_bare(_last_line(text))))


def parse_score(text: str, form: Form = "score") -> float | None:
    """Read ``Score: 4`` from the last non-blank line; None if it is anything else.

    The line, bared of markdown, must match whole, in any case; decimals, and the most that the form allows after a
    slash, may stand there. The range is 0 to 5, of form ``score_10`` 0 to 10: what lies outside is no score.
    """
    match = _SCORE.fullmatch(_bare(_last_line(text)))
    if match is None or (match[2] is not None and float(match[2]) != _MOST[form]):
        return None
    return score if (score := float(match[1])) <= _MOST[form] else None


def parse_winner(text: str) -> Scores | None:
    """Read ``Winner: A`` (or ``B``) from the last non-blank line, where it stands alone; there is no tie.

    In any case; the letter may stand in brackets, and behind the word "judgement".
    """
    match = _WINNER.fullmatch(_bare(_last_line(text)))
    return None if match is None else _shares(_WINNERS[match[1].upper()])


def parse_choices(text: str) -> tuple[Scores, ...] | None:
    """Read ``Choices: 1 2 2``, the preferred answer of each pair in order, from the last non-blank line."""
    match = _CHOICES.fullmatch(_bare(_last_line(text)))
    if match is None:
        return None
    return tuple(Scores(_SEATS[label], 1.0 - _SEATS[label]) for label in re.findall("[12]", match[1]))


def _last_line(text: str) -> str:
    return text.rstrip().rsplit("\n", 1)[-1]


def _bare(line: str) -> str:
    return "" if len(line) > _LONGEST_LINE else _EMPHASIS.sub("", _MARKDOWN.sub("", line)).strip()


def _score_line(line: str) -> Scores | None:
    if (match := _SCORES.fullmatch(_bare(line))) is None:
        return None
    first, second = float(match[1]), float(match[2])
    return Scores(first, second) if 1.0 <= first <= 10.0 and 1.0 <= second <= 10.0 else None


def _shares(first: float | None) -> Scores | None:
    return None if first is None else Scores(first, 1.0 - first)


# ---------------------------------------------------------------------- JSON


def parse_json(text: str, form: Form = "scores") -> Scores | None:
    """Read a verdict from an answer that is one JSON object and nothing else.

    ``{"explanation": TEXT, "score_1": N, "score_2": N}``, scores being numbers from 1 to 10; for the forms ``labels``
    and ``label`` ``{"explanation": TEXT, "label": LABEL}``, for ``winner`` ``{"explanation": TEXT, "winner": "A"}``. A
    fenced block around the object is taken off. A missing, further or repeated key, a score outside 1 to 10 or written
    as text: None.
    """
    value = _json_object(text, form)
    if value is None:
        return None
    if form in _NAMED:
        key, known = _NAMED[form]
        return _shares(known.get(value[key])) if isinstance(value[key], str) else None
    scores = [value["score_1"], value["score_2"]]
    return Scores(*map(float, scores)) if all(_is_number(score, 1, 10) for score in scores) else None


def _parse_score_json(text: str, form: Form) -> float | None:
    value = _json_object(text, form)
    return float(value["score"]) if value is not None and _is_number(value["score"], 0, _MOST[form]) else None


def _is_number(value: object, least: float, most: float) -> bool:
    return type(value) in (int, float) and least <= value <= most  # type: ignore[operator]


def _json_object(text: str, form: Form) -> dict[str, Any] | None:
    """The object that an answer is, if it has exactly the form's fields."""
    bare = text.strip()
    fenced = _FENCE.fullmatch(bare)
    try:
        value = json.loads(fenced[1] if fenced else bare, object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or set(value) != set(_fields(form)) or not isinstance(value["explanation"], str):
        return None
    return value


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key is repeated")
    return dict(pairs)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number of JSON's")


_NAMED: dict[Form, tuple[str, Mapping[str, float]]] = {
    "labels": ("label", LABELS),
    "label": ("label", _SEATS),
    "winner": ("winner", _WINNERS),
}
"""Forms that name one of several words, under which key, and what each is worth to the first seat."""


def _fields(form: Form) -> dict[str, Any]:
    what = "why this score" if form in SCORE_FORMS else "a short comparison of the two"
    explanation = {"explanation": {"type": "string", "description": what}}
    if form in _NAMED:
        key, known = _NAMED[form]
        return explanation | {key: {"type": "string", "enum": list(known)}}
    if form in SCORE_FORMS:
        return explanation | {"score": {"type": "number", "description": f"the score, 0 to {_MOST[form]:g}"}}
    seats = (("score_1", "first"), ("score_2", "second"))
    scores = {key: {"type": "number", "description": f"the {seat} assistant's score, 1 to 10"} for key, seat in seats}
    # judges write the fields in the schema's order
    return scores | explanation if form == "first_line" else explanation | scores


def _schema(form: Form) -> dict[str, Any]:
    fields = _fields(form)
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


# ---------------------------------------------------------------------- label log-probabilities


def _read_seats(completion: Completion, which: DecidingLabel, least: float) -> Scores:
    if which == "last" and parse_label(completion.text) is None:
        # a label's token may stand in the reasoning too, or in what it quotes: only a last line decides
        raise UndecidedError("its last line is no label")
    return Scores(first := label_shares(completion.logprobs or (), which=which, least=least)["1"], 1.0 - first)


def _read_expectation(completion: Completion, form: Form, which: DecidingLabel, least: float) -> float:
    written = first_number(completion.text)
    if which == "last":
        # of "4/5" and "3.5" the last token that is a label is not the score's
        if parse_score(completion.text, form) is None or len(re.findall("[0-9]+", _last_line(completion.text))) != 1:
            raise UndecidedError("its last line is no score that is one whole number")
        written = first_number(_last_line(completion.text))
    return expected_score(completion.logprobs or (), score_labels(form), which, least, written=written)


def score_labels(form: Form) -> tuple[str, ...]:
    """The whole numbers that a judge of one text may answer in mode ``logprob``."""
    least, most = _scale(form)
    return tuple(str(score) for score in range(int(least), int(most) + 1))


# ---------------------------------------------------------------------- which parser reads what


Read = TypeVar("Read")


@dataclass(frozen=True)
class Parser(Generic[Read]):
    """Reads the answers of one form in one verdict mode: scores of two seats, or one score.

    Attributes:
        name: ``kind:version``; what `Verdict.parser` records. The version grows when the same answer is read otherwise.
        mode: the verdict mode.
        schema: the JSON schema that requests carry in mode ``json``.
        top_logprobs: alternatives per token that requests ask for in mode ``logprob``.
        deciding_label: which label token decides in mode ``logprob``.
        label_mass: probability that the labels must have together there.
        labels: what may be answered there.
        scale: the least and the most that one text can be given.
    """

    name: str
    mode: VerdictMode
    parse: Callable[[Completion], Read | None]
    schema: Mapping[str, Any] | None = None
    top_logprobs: int = 0
    deciding_label: DecidingLabel = "first"
    label_mass: float = 0.0
    labels: tuple[str, ...] = ()
    scale: tuple[float, float] = (0.0, 1.0)

    def read(self, completion: Completion) -> Read | None:
        """The scores (or what the form gives) that an answer holds; None where it holds none, or is not to be read.

        An answer that was cut off is not read, whatever it holds, with one exception: where the first label token
        decides, nothing that would have followed could change it (servers report a cut for every one-token answer).
        """
        cut = completion.status is Status.TRUNCATED and self.mode == "logprob" and self.deciding_label == "first"
        if completion.status is not Status.OK and not cut:
            return None
        try:
            return self.parse(completion)
        except UndecidedError:
            return None

    def why_not(self, completion: Completion) -> str | None:
        """Why log-probabilities that came decide nothing; None of other answers."""
        if self.mode != "logprob" or completion.logprobs is None:
            return None
        try:
            self.parse(completion)
        except UndecidedError as why:
            return str(why)
        return None

    def raw(self, completion: Completion) -> str:
        """What a verdict keeps of an answer: its text, or in mode ``logprob`` text and log-probabilities as JSON."""
        if self.mode != "logprob":
            return completion.text
        tokens = completion.logprobs
        if tokens is not None:
            tokens = tokens[:_KEPT_LOGPROBS] if self.deciding_label == "first" else tokens[-_KEPT_LOGPROBS:]
        kept = None if tokens is None else [dict(token) for token in tokens]
        return json.dumps({"text": completion.text, "logprobs": kept}, ensure_ascii=False)

    def answer(self, raw: str, status: Status) -> Completion:
        """The answer behind what `raw` kept, so that it can be read again.

        Raises:
            ValueError: it was not kept by a parser of this mode.
        """
        if self.mode != "logprob":
            return Completion(text=raw, status=status, calls=0)
        value = json.loads(raw)
        if not isinstance(value, dict) or set(value) != {"text", "logprobs"}:
            raise ValueError("no log-probabilities were stored")
        tokens = value["logprobs"]
        return Completion(
            text=value["text"], status=status, calls=0, logprobs=None if tokens is None else tuple(tokens)
        )


_TEXTS: dict[Form, Callable[[str], Any]] = {
    "scores": parse_scores,
    "first_line": parse_first_line,
    "labels": parse_labels,
    "label": parse_label,
    "json": parse_json,
    "score": parse_score,
    "score_10": partial(parse_score, form="score_10"),
    "winner": parse_winner,
    "choices": parse_choices,
}


def parser_for(
    form: Form, mode: VerdictMode = "text", deciding_label: DecidingLabel = "first", label_mass: float = LABEL_MASS
) -> Parser[Any]:
    """The parser of a template's form of answer in a verdict mode; `label_mass` as `least` of `label_shares`.

    Returns:
        Of answers about one text a parser of scores, about two texts one of `Scores`; about several pairs one of
        `Scores` for each (whoever asks compares how many were chosen between).
    """
    if mode == "logprob":
        last = "" if deciding_label == "first" else "_last"
        pointwise = form in SCORE_FORMS

        def by_labels(completion: Completion) -> Any:
            if completion.logprobs is None:
                return None
            if pointwise:
                return _read_expectation(completion, form, deciding_label, label_mass)
            return _read_seats(completion, deciding_label, label_mass)

        return Parser(
            f"logprob_{form}{last}:1" if pointwise else f"logprob{last}:2",
            mode,
            by_labels,
            top_logprobs=_TOP_LOGPROBS,
            deciding_label=deciding_label,
            label_mass=label_mass,
            labels=score_labels(form) if pointwise else SEAT_LABELS,
            scale=_scale(form) if pointwise else (0.0, 1.0),
        )
    if mode == "json":
        name = f"json_{form}:1" if form in _NAMED or form in SCORE_FORMS else "json:1"
        parse = _parse_score_json if form in SCORE_FORMS else parse_json
        return Parser(name, mode, lambda completion: parse(completion.text, form), _schema(form), scale=_scale(form))
    read = _TEXTS[form]
    return Parser(f"{form}:1", mode, lambda completion: read(completion.text), scale=_scale(form))


def _scale(form: Form) -> tuple[float, float]:
    """What a text can be given by an answer of this form: points of a score, or a share of a preference."""
    if form in SCORE_FORMS:
        return 0.0, _MOST[form]
    return (1.0, 10.0) if form in ("scores", "first_line", "json") else (0.0, 1.0)
