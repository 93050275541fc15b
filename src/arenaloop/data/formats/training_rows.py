r"""Training rows in every form that people keep them in: one reader for conversations, one for preferences.

| form | conversation | preference |
|---|---|---|
| messages (TRL, OpenAI) | ``messages`` | ``chosen`` and ``rejected``, which begin with the prompt's turns |
| prompt (TRL; UltraFeedback) | ``prompt`` and ``completion`` | ``prompt``, ``chosen`` and ``rejected`` |
| ShareGPT | ``conversations`` or ``conversation`` | the same, ``chosen`` and ``rejected`` |
| Alpaca | ``instruction``, ``input``, ``output``, ``history`` | ``instruction``, ``input``, ``chosen``, ``rejected`` |
| Orca | | ``question``, ``chosen`` and ``rejected`` |
| OpenRLHF | ``input`` and ``output`` | as prompt |
| HH | a ``prompt`` of ``\n\nHuman: …\n\nAssistant:`` | ``chosen`` and ``rejected``, transcripts |

A list holds messages (``role`` and ``content``, or ShareGPT's ``from`` and ``value``; contents may be text parts). A
text stands for one turn: a prompt's is the user's, an answer's the assistant's. A column ``system`` is the system
message. A prompt that an answer repeats is taken off. A row is of the first form of the list below whose first column
it has. Columns that say the same thing twice are compared: where they contradict each other, neither is believed.

Functions raise ValueError with what is wrong; a caller that knows file and line adds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from arenaloop.data.formats.training_columns import HISTORY, SYSTEM, own_scores
from arenaloop.data.formats.training_turns import history_turns, is_transcript, read_turns, transcript_turns
from arenaloop.messages import instruction_text
from arenaloop.types import Message

__all__ = [
    "CONVERSATION_COLUMNS",
    "PREFERENCE_COLUMNS",
    "PROMPT_COLUMNS",
    "ContradictionError",
    "ConversationRow",
    "PreferenceRow",
    "compared",
    "contradiction",
    "form_of",
    "read_conversation",
    "read_preference",
    "read_prompt",
]

_Forms = tuple[tuple[str, ...], ...]

CONVERSATION_COLUMNS: _Forms = (
    ("messages", *SYSTEM),
    ("conversations", *SYSTEM),
    ("conversation", *SYSTEM),
    ("prompt", "completion", *SYSTEM, *HISTORY),
    ("instruction", "output", "input", *SYSTEM, *HISTORY),
    ("input", "output", *SYSTEM, *HISTORY),
)
"""What is read of a conversation, by form; `_NEEDED` of them must be there."""

PREFERENCE_COLUMNS: _Forms = (
    ("prompt", "chosen", "rejected", *SYSTEM, *HISTORY),
    ("conversations", "chosen", "rejected", *SYSTEM),
    ("instruction", "chosen", "rejected", "input", *SYSTEM, *HISTORY),
    ("question", "chosen", "rejected", *SYSTEM, *HISTORY),
    ("chosen", "rejected", *SYSTEM),
)
"""What is read of a preference, by form."""

PROMPT_COLUMNS: _Forms = (
    ("prompt", *SYSTEM, *HISTORY),
    ("instruction", "input", *SYSTEM, *HISTORY),
    ("question", *SYSTEM, *HISTORY),
    ("messages", *SYSTEM),
    ("conversations", *SYSTEM),
    ("input", "label", *SYSTEM, *HISTORY),
)
"""What is read of a prompt that a model answers itself, by form; a ``label`` beside ``input`` is the reward's."""

_NEEDED = frozenset({"messages", "conversations", "conversation", "prompt", "completion", "instruction", "output"}) | {
    "question",
    "chosen",
    "rejected",
}
_TWICE = ("messages", "conversations", "conversation", "prompt", "completion", "instruction", "question", "output")
"""Columns that, beside the form's own, say again what it says."""


class ContradictionError(ValueError):
    """Columns of one row say different things of it: the row is in doubt, and neither is believed."""


@dataclass(frozen=True, slots=True)
class ConversationRow:
    """What is given and what is learned of a conversation; the completion ends with an assistant turn.

    Attributes:
        form: the columns that it was read from.
        prompt: the turns before; may be empty where the completion begins with a user turn.
        completion: the turns whose assistant ones are learned.
    """

    form: tuple[str, ...]
    prompt: list[Message]
    completion: list[Message]


@dataclass(frozen=True, slots=True)
class PreferenceRow:
    """A prompt and its two answers, each of which begins and ends with an assistant turn.

    Attributes:
        form: the columns that it was read from.
        prompt, chosen, rejected: their turns.
    """

    form: tuple[str, ...]
    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]


def form_of(row: Mapping[str, Any], forms: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The first form whose first column the row has, by those of its columns that the row has; else none.

    Of columns that need not be there (a system message, a history) empty ones are as good as missing.
    """
    form = next((form for form in forms if row.get(form[0]) is not None), ())
    return tuple(name for name in form if name in row and (row[name] or name not in (*SYSTEM, *HISTORY, "input")))


def read_conversation(row: Mapping[str, Any]) -> ConversationRow:
    """Read an SFT row.

    Raises:
        ContradictionError: its columns contradict each other.
        ValueError: the row is malformed.
    """
    form = _form(row, CONVERSATION_COLUMNS)
    name = form[0]
    if name in ("prompt", "instruction", "input"):
        prompt = _asked(row, name)
        learned = "completion" if name == "prompt" else "output"
        completion = _answer(row, learned, prompt)
    else:
        turns = _turns(row, name)
        prompt, completion = _with_system(turns[:-1], row), turns[-1:]
    if completion[-1]["role"] != "assistant":
        raise ValueError("the conversation does not end with an assistant turn")
    if len(completion) == 1 and all(turn["role"] == "system" for turn in prompt):
        raise ValueError("there is no turn before the answer")
    _compare(row, form, [prompt, completion])
    return ConversationRow(form, prompt, completion)


def read_preference(row: Mapping[str, Any]) -> PreferenceRow:
    """Read a preference row.

    Raises:
        ContradictionError: its columns contradict each other, its own scores among them.
        ValueError: the row is malformed.
    """
    form = _form(row, PREFERENCE_COLUMNS)
    if form[0] == "chosen":
        chosen, rejected = (_whole(row, name) for name in ("chosen", "rejected"))
        prompt = _in_common(chosen, rejected)
        if not prompt:
            raise ValueError("there is no column 'prompt', and chosen and rejected begin with no turn in common")
        chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
        prompt = _with_system(prompt, row)
    else:
        prompt = _asked(row, form[0])
        if not prompt:
            raise ValueError("the prompt is empty")
        chosen, rejected = (_answer(row, name, prompt) for name in ("chosen", "rejected"))
    sides = (chosen, rejected)
    if any(not side or side[0]["role"] != "assistant" or side[-1]["role"] != "assistant" for side in sides):
        raise ValueError("chosen and rejected must begin and end with an assistant turn, after the same prompt")
    _compare(row, form, [prompt, chosen, rejected])
    for name, value, other, against in own_scores(row):
        if value < against:
            raise ContradictionError(f"{name} {value:g} is below {other} {against:g}".replace(" nothing", ""))
    return PreferenceRow(form, prompt, chosen, rejected)


def read_prompt(row: Mapping[str, Any]) -> list[Message]:
    """Read a prompt row: turns of which the last is not an assistant's.

    Raises:
        ContradictionError: its columns contradict each other.
        ValueError: the row is malformed.
    """
    form = _form(row, PROMPT_COLUMNS)
    name = form[0]
    turns = _with_system(_turns(row, name), row) if name in ("messages", "conversations") else _asked(row, name)
    if not turns or all(turn["role"] == "system" for turn in turns):
        raise ValueError("the prompt is empty")
    if turns[-1]["role"] == "assistant":
        raise ValueError("the prompt ends with an assistant turn")
    _compare(row, form, [turns])
    return turns


def contradiction(row: Mapping[str, Any], forms: Sequence[Sequence[str]]) -> str:
    """In what a row's columns contradict each other; empty where they do not, or nothing like this can be read of it.

    Args:
        row: cells by column.
        forms: what is read of it: a preference where that has a rejected answer.
    """
    try:
        if any("rejected" in form for form in forms):
            read_preference(row)
        elif forms == PROMPT_COLUMNS:
            read_prompt(row)
        else:
            read_conversation(row)
    except ContradictionError as error:
        return str(error)
    except ValueError:
        pass
    return ""


def compared(row: Mapping[str, Any]) -> Iterator[str]:
    """The columns that are compared with what is read of a row."""
    yield from _TWICE
    for name, _, other, _ in own_scores(row):
        yield name
        yield other


# ---------------------------------------------------------------------- parts of a row


def _form(row: Mapping[str, Any], forms: _Forms) -> tuple[str, ...]:
    """The columns of a row's form; a row without those that its form needs is refused by what it has."""
    found = ", ".join(list(map(str, row))[:12]) or "none"
    form = next((form for form in forms if row.get(form[0]) is not None), None)
    if form is None:
        each = [" and ".join(map(repr, _needed(form))) for form in forms]
        raise ValueError(f"there is no column {', nor '.join(each)}; found: {found}")
    missing = [name for name in _needed(form) if row.get(name) is None]
    if missing:
        empty = " (it is null)" if missing[0] in row else ""
        raise ValueError(f"there is no column {missing[0]!r}{empty}; found: {found}")
    return form_of(row, forms)


def _needed(form: Sequence[str]) -> list[str]:
    """Of a form's columns those that must be there: an ``input`` where nothing else asks."""
    return [name for name in form if name in _NEEDED or name == form[0]]


def _asked(row: Mapping[str, Any], name: str) -> list[Message]:
    """The turns that are answered: a system message, a history, the question."""
    given = row[name]
    if name == "instruction":
        turns: list[Message] = [{"role": "user", "content": instruction_text(row)}]
    elif is_transcript(given, answered=False):
        turns = transcript_turns(given)
    else:
        turns = read_turns(given, name, "user")
    history = history_turns(row)
    if history and len(turns) > 1:
        raise ValueError(f"there are both a 'history' and a {name!r} of several turns; write them as messages")
    return _with_system([*history, *turns], row)


def _answer(row: Mapping[str, Any], name: str, prompt: list[Message]) -> list[Message]:
    """The turns of an answer, without those of the prompt that it repeats."""
    given = row[name]
    turns = transcript_turns(given) if is_transcript(given, answered=True) else read_turns(given, name, "assistant")
    if not turns:
        raise ValueError(f"{name!r} is not a list of messages (it is empty)")
    most = min(len(prompt), len(turns) - 1)
    repeated = next((n for n in range(most, 0, -1) if turns[:n] == prompt[-n:]), 0)
    turns = turns[repeated:]
    if prompt and turns[0]["role"] != "assistant" and prompt[-1]["role"] != "assistant":
        raise ValueError(f"{name!r} begins with a {turns[0]['role']} turn that is not the prompt's")
    return turns


def _turns(row: Mapping[str, Any], name: str) -> list[Message]:
    turns = read_turns(row[name], name)
    if not turns:
        raise ValueError(f"{name!r} is not a list of messages (it is empty)")
    return turns


def _whole(row: Mapping[str, Any], name: str) -> list[Message]:
    """A conversation with its answer: messages, or a transcript."""
    if is_transcript(row[name], answered=True):
        return transcript_turns(row[name])
    if isinstance(row[name], str):
        raise ValueError(
            "there is no column 'prompt', and chosen and rejected begin with no turn in common: "
            f"{name!r} is a text that names no speakers (Human:, Assistant:)"
        )
    return _turns(row, name)


def _in_common(chosen: list[Message], rejected: list[Message]) -> list[Message]:
    """The turns that both sides begin with, up to an assistant turn in which their answers begin."""
    most = min(len(chosen), len(rejected)) - 1
    same = next((n for n in range(most) if chosen[n] != rejected[n]), most)
    while same and any(side[same]["role"] != "assistant" for side in (chosen, rejected)):
        same -= 1
    return chosen[:same]


def _with_system(turns: list[Message], row: Mapping[str, Any]) -> list[Message]:
    """The turns behind the system message that a row has in a column of its own."""
    found = {name: row[name] for name in SYSTEM if row.get(name)}
    wrong = next((name for name, text in found.items() if not isinstance(text, str)), None)
    if wrong is not None:
        raise ValueError(f"{wrong!r} is not a text")
    if turns and turns[0]["role"] in ("system", "developer"):
        found[f"the {turns[0]['role']} turn"] = turns[0]["content"]
    if len({text.strip() for text in found.values()}) > 1:
        raise ContradictionError(f"{' and '.join(found)} differ")
    if not found or (turns and turns[0]["role"] in ("system", "developer")):
        return turns
    return [{"role": "system", "content": next(iter(found.values()))}, *turns]


def _compare(row: Mapping[str, Any], form: Sequence[str], parts: Sequence[list[Message]]) -> None:
    """Refuse to choose where another column says otherwise what the form's columns have said."""
    said = {turn["content"].strip() for part in parts for turn in part}
    for name in _TWICE:
        other = row.get(name)
        if name in form or not other:
            continue
        if isinstance(other, list):
            try:
                texts = [turn["content"].strip() for turn in read_turns(other, name)]
            except ValueError as error:
                raise ContradictionError(f"{name!r} beside {form[0]!r} cannot be compared: {error}") from None
        elif isinstance(other, str):
            texts = [other.strip()]
        else:
            continue
        # an instruction may stand in a prompt with more around it
        if any(
            text not in said and not (name == "instruction" and any(text in whole for whole in said)) for text in texts
        ):
            raise ContradictionError(f"{name!r} and {form[0]!r} say different things")
