"""The arena file's rows as records, and back; the keys under which they are stored.

Keys are content hashes of everything that determines an answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar

from arenaloop.store.faults import UnreadableRowError
from arenaloop.store.schema import Row
from arenaloop.types import (
    Completion,
    Judgement,
    Outcome,
    Prompt,
    Response,
    Ruling,
    Status,
    Verdict,
    canonical_json,
    content_hash,
)

__all__ = ["Record", "TurnRow", "recorded_key", "response_key", "response_keys", "whole_response"]


def from_stored(value: Any) -> Any:
    """A value as it was before it was stored; texts with lone surrogates are stored as bytes."""
    if type(value) is not bytes:
        return value
    try:
        return value.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise UnreadableRowError(f"a text cannot be read: {error.reason}") from None


def to_json(value: object) -> str:
    """The text in which lists and mappings are stored."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def from_json(text: Any) -> Any:
    """The list or mapping that was stored."""
    try:
        return json.loads(text)
    except (ValueError, TypeError) as error:
        raise UnreadableRowError(f"a stage or note cannot be read: {error}") from None


_HASHED = re.compile("[0-9a-f]{16}")  # a prompt's id, where no caller has given it another


class _Words(dict[Any, Any]):
    """What a column's words stand for; a word that stands for nothing is damage."""

    def __missing__(self, word: object) -> Any:
        raise UnreadableRowError(f"a row holds {str(word)[:40]!r}, which is no status or outcome")


# look-ups in a mapping cost a third of Status(value)
STATUSES: Mapping[Any, Status] = _Words({status.value: status for status in Status})
_OUTCOMES: Mapping[Any, Outcome | None] = _Words({None: None} | {outcome.value: outcome for outcome in Outcome})

COLUMNS = {kind: ", ".join(kind.__dataclass_fields__) for kind in (Verdict, Judgement)}
RULING_COLUMNS = ", ".join(Ruling._fields)

Record = TypeVar("Record", Verdict, Judgement)


class TurnRow(NamedTuple):
    """An answer to one turn, to be stored.

    Attributes:
        key: of the whole response; `turn`: which of its turns this is, from 0.
        text_hash: hash of all texts up to this turn.
        sample: which of several answers of the model to this prompt it is.
    """

    key: str
    turn: int
    prompt_id: str
    model: str
    completion: Completion
    text_hash: str
    sample: int = 0


def prompt_row(prompt: Prompt) -> Row:
    """The row of a prompt in `PROMPTS`."""
    messages = [dict(message) for message in prompt.messages]
    return prompt.id, to_json(messages), to_json(list(prompt.follow_ups)), to_json(dict(prompt.tags))


def prompt_of(row: Row) -> Prompt:
    """The prompt of a row of `PROMPTS`."""
    prompt_id, messages, follow_ups, tags = row
    try:
        prompt = Prompt(tuple(json.loads(messages)), tuple(json.loads(follow_ups)), prompt_id, dict(json.loads(tags)))
        other = _HASHED.fullmatch(prompt_id) and prompt_id != Prompt(prompt.messages, prompt.follow_ups).id
    except (ValueError, TypeError) as error:
        raise UnreadableRowError(f"the prompt {str(prompt_id)[:40]!r} cannot be read: {error}") from None
    if other:
        raise UnreadableRowError(f"the prompt {prompt_id} is not the one that was stored")
    return prompt


def missing_prompt(prompt_id: str) -> UnreadableRowError:
    """The error of answers to a prompt that is gone."""
    return UnreadableRowError(f"the prompt {prompt_id[:40]} is missing, while answers to it are stored")


def check_text(key: str, text: str, text_hash: str) -> None:
    """Raise UnreadableRowError if the text of a first turn or judgement is not the one that its row was stored with."""
    if content_hash([text]) != text_hash:
        raise changed_text(key)


def changed_text(key: str) -> UnreadableRowError:
    """The error of a text that is not the one of its row's hash."""
    return UnreadableRowError(f"the text under the key {key[:40]} is not the one that was stored")


def record_of(kind: type[Record], row: Row) -> Record:
    """The verdict or judgement of a row of the columns that its fields name."""
    values = dict(zip(kind.__dataclass_fields__, map(from_stored, row), strict=True))
    values["status"] = STATUSES[values["status"]]
    if "outcome" in values:
        values["outcome"] = _OUTCOMES[values["outcome"]]
    try:
        record = kind(**values)
    except (ValueError, TypeError) as error:
        raise UnreadableRowError(f"a row of judge calls cannot be read: {error}") from None
    if isinstance(record, Judgement):
        check_text(record.key, record.raw, record.text_hash)
    return record


def rulings_by_key(rows: Iterable[Row]) -> dict[str, Ruling]:
    """Rows of `RULING_COLUMNS` by key; later ones replace earlier ones."""
    statuses, outcomes = STATUSES, _OUTCOMES
    found = {}
    for key, prompt_id, first, second, judge, sample, status, score_first, score_second, outcome in rows:
        name = judge if type(judge) is str else from_stored(judge)
        found[key] = Ruling(
            key, prompt_id, first, second, name, sample, statuses[status], score_first, score_second, outcomes[outcome]
        )
    return found


def whole_response(
    prompt: Prompt, model: str, turn: Callable[[int], tuple[str, Status] | None], text_hash: str = ""
) -> Response | None:
    """A response of its turns, once every turn is answered or one has failed; None while turns are missing.

    Its status is that of the turn that failed (the last one then), else of the first that was cut off or empty: a good
    later turn does not make up for it.

    Args:
        prompt, model: whose answer to what.
        turn: text and status of a turn by its number; None where it was not asked.
        text_hash: of the texts, where it is known.
    """
    texts: list[str] = []
    whole = Status.OK
    for number in range(prompt.turns):
        if (found := turn(number)) is None:
            return None
        text, status = found
        texts.append(text)
        if status in (Status.ERROR, Status.REFUSED):
            whole = status
            break
        if whole is Status.OK:
            whole = status
    return Response(prompt.id, model, tuple(texts), whole, text_hash)


def response_key(prompt_id: str, fingerprint: str, sampling_key: list[object], sample: int) -> str:
    """Content hash under which a model's answer to a prompt is stored."""
    return content_hash("response", prompt_id, fingerprint, sampling_key, sample)


def response_keys(fingerprint: str, sampling_key: list[object], sample: int) -> Callable[[str], str]:
    """`response_key` of one model's answers, by prompt id: what they share is encoded once."""
    rest = canonical_json([fingerprint, sampling_key, sample])[1:]

    def key(prompt_id: str) -> str:
        if not (prompt_id.isascii() and prompt_id.isalnum()):  # its JSON form is longer than itself
            return response_key(prompt_id, fingerprint, sampling_key, sample)
        return blake2b(f'["response","{prompt_id}",{rest}'.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    return key


def recorded_key(prompt_id: str, texts: Sequence[str], statuses: Sequence[Status] = ()) -> str:
    """Content hash of a recorded answer: its own text, so that a changed file is seen as changed.

    Args:
        prompt_id, texts: what it answers, and how.
        statuses: of its turns, where its file says that one is not whole.
    """
    return content_hash("recorded", prompt_id, list(texts), *([list(statuses)] if any(statuses) else []))
