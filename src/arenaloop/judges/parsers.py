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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Literal, TypeVar

from arenaloop.judges.answer_json import NAMED, json_schema, parse_choices_json, parse_json, parse_score_json
from arenaloop.judges.answer_lines import (
    CATEGORIES,
    MOST,
    SCORE_FORMS,
    Form,
    Scores,
    bare,
    last_line,
    parse_category,
    parse_choices,
    parse_first_line,
    parse_label,
    parse_labels,
    parse_score,
    parse_scores,
    parse_winner,
)
from arenaloop.judges.label_logprobs import (
    LABEL_MASS,
    SEAT_LABELS,
    DecidingLabel,
    UndecidedError,
    expected_score,
    first_number,
    label_shares,
)
from arenaloop.judges.verdict_pattern import VerdictPattern
from arenaloop.types import Completion, Status

__all__ = ["FORMS", "Parser", "Read", "VerdictMode", "parser_for", "score_labels"]


VerdictMode = Literal["text", "json", "logprob"]
FORMS: tuple[Form, ...] = ("scores", "first_line", "labels", "label", "json", "pattern")

_TOP_LOGPROBS = 20  # what servers give at most
_KEPT_LOGPROBS = 32  # tokens at the deciding end whose log-probabilities are stored


# ---------------------------------------------------------------------- label log-probabilities


def _read_seats(
    completion: Completion, which: DecidingLabel, least: float, labels: tuple[str, str] = SEAT_LABELS
) -> Scores:
    if which == "last" and bare(last_line(completion.text)) not in labels:
        # a label's token may stand in the reasoning too, or in what it quotes: only a last line decides
        raise UndecidedError("its last line is no label")
    first = label_shares(completion.logprobs or (), labels, which, least)[labels[0]]
    return Scores(first, 1.0 - first)


def _read_expectation(completion: Completion, form: Form, which: DecidingLabel, least: float) -> float:
    written = first_number(completion.text)
    if which == "last":
        # of "4/5" and "3.5" the last token that is a label is not the score's
        if parse_score(completion.text, form) is None or len(re.findall("[0-9]+", last_line(completion.text))) != 1:
            raise UndecidedError("its last line is no score that is one whole number")
        written = first_number(last_line(completion.text))
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
    "category": parse_category,
    "winner": parse_winner,
    "choices": parse_choices,
}
_VERSIONS: dict[Form, int] = {"labels": 2}
"""Of how texts are read, where it is not 1."""


def parser_for(
    form: Form,
    mode: VerdictMode = "text",
    deciding_label: DecidingLabel = "first",
    label_mass: float = LABEL_MASS,
    pattern: VerdictPattern | None = None,
) -> Parser[Any]:
    """The parser of a template's form of answer in a verdict mode; `label_mass` as `least` of `label_shares`.

    Args:
        form: of the template; ``pattern`` goes with a `pattern`.
        mode, deciding_label, label_mass: of the judge.
        pattern: the template's own.

    Returns:
        Of answers about one text a parser of scores, about two texts one of `Scores`; about several pairs one of
        `Scores` for each (whoever asks compares how many were chosen between).
    """
    if mode == "logprob":
        last = "" if deciding_label == "first" else "_last"
        pointwise = form in SCORE_FORMS
        seats = SEAT_LABELS if pattern is None else pattern.seat_labels or SEAT_LABELS

        def by_labels(completion: Completion) -> Any:
            if completion.logprobs is None:
                return None
            if pointwise:
                return _read_expectation(completion, form, deciding_label, label_mass)
            return _read_seats(completion, deciding_label, label_mass, seats)

        return Parser(
            f"logprob_{form}{last}:1" if pointwise else f"logprob{last}:2",
            mode,
            by_labels,
            top_logprobs=_TOP_LOGPROBS,
            deciding_label=deciding_label,
            label_mass=label_mass,
            labels=score_labels(form) if pointwise else seats,
            scale=_scale(form) if pointwise else (0.0, 1.0),
        )
    if pattern is not None:
        reads: Callable[[str], Any] = pattern.read_score if "score" in pattern.groups else pattern.read
        return Parser("pattern:1", mode, lambda completion: reads(completion.text), scale=pattern.scale)
    if mode == "json":
        name = f"json_{form}:1" if form in NAMED or form in SCORE_FORMS or form == "choices" else "json:1"
        parse: Callable[[str], Any] = partial(parse_score_json if form in SCORE_FORMS else parse_json, form=form)
        if form == "choices":
            parse = parse_choices_json
        return Parser(name, mode, lambda completion: parse(completion.text), json_schema(form), scale=_scale(form))
    read = _TEXTS[form]
    return Parser(
        f"{form}:{_VERSIONS.get(form, 1)}", mode, lambda completion: read(completion.text), scale=_scale(form)
    )


def _scale(form: Form) -> tuple[float, float]:
    """What a text can be given by an answer of this form: points of a score, or a share of a preference."""
    if form in SCORE_FORMS:
        return 0.0, MOST[form]
    if form == "category":
        return 0.0, len(CATEGORIES) - 1.0
    return (1.0, 10.0) if form in ("scores", "first_line", "json") else (0.0, 1.0)
