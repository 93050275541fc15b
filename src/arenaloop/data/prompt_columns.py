"""Columns beside a prompt: which belong to what is asked, which describe it, and which nobody knows.

A column that belongs to the question (choices, documents, images, an input, examples) is part of it: where the prompt
does not already say what it says, the row is refused, since a model would be asked something else. What describes a
prompt (ids, categories, answers of other models) is passed over. What is neither is named, once for a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from arenaloop.data.question_form import key, plain, tokens_of

__all__ = ["differing", "refuse_parts", "unknown_columns"]

_PARTS = frozenset({
    "choice", "option", "alternative", "candidate", "document", "doc", "context", "passage", "paragraph", "article",
    "background", "evidence", "snippet", "excerpt", "abstract", "transcript", "story", "premise", "hypothesis",
    "sentence", "input", "content", "text", "body", "question", "query", "instruction", "image", "img", "picture",
    "photo", "figure", "video", "audio", "speech", "tool", "function", "history", "dialogue", "dialog", "conversation",
    "example", "exemplar", "demonstration", "shot", "fewshot", "attachment", "file", "table", "schema", "code",
    "starter", "constraint", "hint", "prefix", "suffix", "persona",
    "developer", "knowledge", "chunk", "material", "scenario", "preamble", "guideline", "rule",
})  # fmt: skip
"""Last words of a column's name that make it part of the question."""

_TOLD = re.compile(
    r"(?:.*_)?(?:ids?|uid|uuid|key|index|idx|number|num|n|count|hash|rank|order|dataset|datasplit|split|source|origin"
    r"|category|categories|subcategory|cluster|class|type|kind|task|topic|domain|subject|field|skill|capability|intent"
    r"|language|lang|locale|difficulty|level|hardness|quality|score|scores|rating|label|labels|preference|winner|weight"
    r"|answer|answers|reference|references|target|targets|solution|gold|rationale|explanation|output|outputs|response"
    r"|responses|completion|completions|chosen|rejected|output_1|output_2|response_a|response_b|generator"
    r"|generator_1|generator_2|model|models|model_a|model_b|annotator|author|user|name|title|tags?|metadata|meta|info"
    r"|date|time|timestamp|tstamp|created|created_at|updated|version|license|url|link|comments?|notes?|length|len"
    r"|tokens|chars|words|seed|turn|messages|turns|prompt|system|system_prompt|opposite|flag|flags|status)(?:_\d+)?"
)
"""Columns that describe a prompt, or hold what came of it."""


def _words(column: str) -> list[str]:
    return re.findall(r"[a-z]+|\d+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column).lower())


@lru_cache(maxsize=4096)
def _is_part(column: str) -> bool:
    words = [word for word in _words(column) if not word.isdigit()]
    if len(words) > 1 and len(words[-1]) == 1:  # option_a
        del words[-1]
    last = words[-1] if words else ""
    return last in _PARTS or last.removesuffix("s") in _PARTS


@lru_cache(maxsize=4096)
def _is_told(column: str) -> bool:
    return _TOLD.fullmatch("_".join(_words(column))) is not None


def _texts(value: object) -> Iterator[str]:
    """The texts in a value, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _form(text: str) -> str:
    return f" {key(tokens_of(plain(text)))} "


def refuse_parts(row: Mapping[str, Any], read: tuple[str, ...], asked: str) -> None:
    """Refuse a row with a column that belongs to the question and that the prompt does not say.

    Args:
        row: cells by column. `read`: columns that the prompt was read from.
        asked: all the texts of the prompt.

    Raises:
        ValueError: such a column; it is named.
    """
    said = ""
    for column, value in row.items():
        if column in read or not value or isinstance(value, bool | int | float) or not _is_part(column):
            continue
        texts = [form for text in _texts(value) if (form := _form(text)).strip()]
        if isinstance(value, str | list | tuple | Mapping) and not texts and not _has_more(value):
            continue
        said = said or _form(asked)
        if not texts or any(form not in said for form in texts):
            raise ValueError(
                f"column {column}: it belongs to what is asked and is not read here; write it into {read[0]}, or take "
                "the column out"
            )


def _has_more(value: object) -> bool:
    """Whether a value holds anything but empty ones."""
    if isinstance(value, Mapping):
        return any(map(_has_more, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_more, value))
    return value is not None and value != ""


def differing(one: str, others: list[str]) -> bool:
    """Whether a text asks what none of the others asks."""
    return _form(one) not in [_form(other) for other in others]


def unknown_columns(row: Mapping[str, Any], read: tuple[str, ...]) -> list[str]:
    """Columns with a value that are neither read nor known to describe a prompt."""
    return [
        column
        for column, value in row.items()
        if column not in read and _has_more(value) and not _is_part(column) and not _is_told(column)
    ]
