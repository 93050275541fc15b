"""How a judge's answer is read that is one JSON object of a schema, which the request carries."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from arenaloop.judges.answer_lines import LABELS, MOST, SCORE_FORMS, SEATS, WINNERS, Form, Scores, shares_of

__all__ = ["NAMED", "json_schema", "parse_choices_json", "parse_json", "parse_score_json"]

_FENCE = re.compile(r"```(?:json)?[ \t]*\r?\n(.*)\n[ \t]*```", re.DOTALL)


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
    if form in NAMED:
        key, known = NAMED[form]
        return shares_of(known.get(value[key])) if isinstance(value[key], str) else None
    scores = [value["score_1"], value["score_2"]]
    return Scores(*map(float, scores)) if all(_is_number(score, 1, 10) for score in scores) else None


def parse_score_json(text: str, form: Form) -> float | None:
    """Read a score of one text from ``{"explanation": TEXT, "score": N}``, as strictly as `parse_json`."""
    value = _json_object(text, form)
    return float(value["score"]) if value is not None and _is_number(value["score"], 0, MOST[form]) else None


def parse_choices_json(text: str) -> tuple[Scores, ...] | None:
    """Read the preferred answer of each pair from ``{"explanation": TEXT, "choices": [1, 2, 2]}``, as strictly."""
    value = _json_object(text, "choices")
    chosen = [] if value is None or not isinstance(value["choices"], list) else value["choices"]
    if not chosen or not all(type(one) is int and one in (1, 2) for one in chosen):
        return None
    return tuple(Scores(2.0 - one, one - 1.0) for one in chosen)


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


NAMED: dict[Form, tuple[str, Mapping[str, float]]] = {
    "labels": ("label", LABELS),
    "label": ("label", SEATS),
    "winner": ("winner", WINNERS),
}
"""Forms that name one of several words, under which key, and what each is worth to the first seat."""


def _fields(form: Form) -> dict[str, Any]:
    what = "why this score" if form in SCORE_FORMS else "a short comparison of the two"
    explanation = {"explanation": {"type": "string", "description": what}}
    if form in NAMED:
        key, known = NAMED[form]
        return explanation | {key: {"type": "string", "enum": list(known)}}
    if form in SCORE_FORMS:
        return explanation | {"score": {"type": "number", "description": f"the score, 0 to {MOST[form]:g}"}}
    if form == "choices":
        # how many there are is not part of the schema: servers differ in whether they take lengths
        chosen = {"type": "integer", "enum": [1, 2]}
        return explanation | {"choices": {"type": "array", "items": chosen, "description": "one for each pair"}}
    seats = (("score_1", "first"), ("score_2", "second"))
    scores = {key: {"type": "number", "description": f"the {seat} assistant's score, 1 to 10"} for key, seat in seats}
    # judges write the fields in the schema's order
    return scores | explanation if form == "first_line" else explanation | scores


def json_schema(form: Form) -> dict[str, Any]:
    """The schema that an answer of this form must have."""
    fields = _fields(form)
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
