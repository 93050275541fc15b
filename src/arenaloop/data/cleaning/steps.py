"""The steps that look at each row once: toxic, too short, a shared beginning, another language.

Each is a function from a stream of rows to the stream of those that stay, in their order; `drop` is told of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from hashlib import blake2b
from itertools import islice
from typing import Any, TypeAlias

from arenaloop.data.cleaning.rows import TURN, Drop, Dropping, Row, Rows
from arenaloop.data.question_form import size
from arenaloop.errors import ConfigError, MissingExtraError, nearest
from arenaloop.types import Message

__all__ = ["Filter", "Length", "check_language", "length_in", "other_language", "shared_prefix", "too_short", "toxic"]

Filter: TypeAlias = Callable[[Sequence[Sequence[Message]]], Sequence[bool | str]]
"""Conversations to whether each of them goes; a text says why."""

Length: TypeAlias = Callable[[Row], float]

_ASKED_AT_ONCE = 256  # conversations that a filter is given together: one with a model behind it wants some
_READ = 2_000  # characters by which a language is told
_NO_LANGUAGE = "zxx"
_SAME = "the same when normalised: case, blanks, punctuation, markup and labels put aside"


def toxic(rows: Rows, drop: Dropping, is_toxic: Filter) -> Iterator[Row]:
    """Drop what a filter finds illegal or toxic; the conversation is shown whole, answers included."""
    rest = iter(rows)
    while batch := list(islice(rest, _ASKED_AT_ONCE)):
        found = is_toxic([[{"role": turn.role, "content": turn.text} for turn in row.turns] for row in batch])
        for row, why in zip(batch, found, strict=True):
            if why:
                drop(Drop(row, "toxic", why if isinstance(why, str) else "toxic"))
            else:
                yield row


def length_in(unit: str, tokens: Callable[[str], int] | None = None) -> Length:
    """The length of what a row's user says: characters without blanks around them, words, or tokens.

    A character of a script without blanks is half a word (see `question_form.size`).
    """
    if unit == "char":
        return lambda row: sum(len(turn.text.strip()) for turn in row.turns if turn.role == "user")
    if unit == "word":
        return lambda row: size([word for word in row.words if word and word != TURN])
    assert unit == "token"
    assert tokens is not None
    return lambda row: sum(tokens(turn.text) for turn in row.turns if turn.role == "user")


def too_short(rows: Rows, drop: Dropping, least: int, length: Length, unit: str) -> Iterator[Row]:
    """Drop rows of a length under `least`."""
    for row in rows:
        if (found := length(row)) < least:
            drop(Drop(row, "min_len", f"{found:g} {unit}{'' if found == 1 else 's'}"))
        else:
            yield row


def shared_prefix(rows: Rows, drop: Dropping, length: int, unit: str) -> Iterator[Row]:
    """Of rows whose normal forms begin with the same `length` words (or characters) keep the first.

    A row that is shorter than that is dropped where another is equal to it. Turns count: a question asked in two turns
    begins otherwise than in one.
    """
    first: dict[bytes, tuple[int, bytes]] = {}
    for row in rows:
        begins = row.form[:length] if unit == "char" else " ".join(row.form.split(" ", length)[:length])
        whole = _digest(row.form)
        key = _digest(begins)
        if key not in first:
            first[key] = row.line, whole
            yield row
        else:
            line, other = first[key]
            equal = other == whole
            why = _SAME if equal else f"begins with the same {length} {unit}s"
            drop(Drop(row, "prefix", why, line, 1.0 if equal else None))


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def other_language(rows: Rows, drop: Dropping, language: str, sure: float) -> Iterator[Row]:
    """Drop rows whose user surely writes another language.

    What is no language to the detector (numbers, markup) stays, and so does what it is less sure of than `sure`.
    """
    classify = _identifier().classify
    for row in rows:
        found, probability = classify(row.asked[:_READ])
        if found not in (language, _NO_LANGUAGE) and probability >= sure:
            drop(Drop(row, "lang", f"written in {found} ({probability:.2f} sure)"))
        else:
            yield row


def check_language(language: str) -> None:
    """Refuse a language that cannot be told from others.

    Raises:
        ConfigError: nobody knows it. MissingExtraError: py3langid is not installed.
    """
    known = [*_identifier().nb_classes]
    if language not in known or language == _NO_LANGUAGE:
        raise ConfigError(
            f"lang: no language {language!r}; expected any, or a code as en or de{nearest(language, known)}"
        )


@cache
def _identifier() -> Any:
    """Tells a text's language, and how probable it is among those that the library knows."""
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise MissingExtraError("telling languages apart", "data") from None
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
