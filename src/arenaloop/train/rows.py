"""Training rows as conversations: which columns they stand in, and what a row may not hold.

A text stands for one turn: a prompt's is the user's, an answer's the assistant's. A prompt that `completion`, `chosen`
or `rejected` repeats is taken off; preferences without a `prompt` column have in common what both sides begin with.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from arenaloop.errors import InputError
from arenaloop.messages import message_text
from arenaloop.types import Message

__all__ = ["conversation", "preference", "prompt_turns", "refuse_unread"]

_ROLES = ("system", "developer", "user", "assistant", "tool")
_ROW_MEANING = ("tools", "functions", "images", "image", "videos", "audio", "system", "weight", "weights")
_TURN_MEANING = (
    *("tool_calls", "function_call", "images", "audio", "weight", "train", "loss", "prefix", "partial"),
    *("reasoning_content", "reasoning", "thinking"),
)
"""Columns, and fields of a turn, that change what a row means and are not trained on: their rows are refused."""


def conversation(row: Mapping[str, Any], at: int) -> tuple[list[Message], list[Message]]:
    """What is given and what is learned of an SFT row: ``{"messages"}`` or ``{"prompt", "completion"}``.

    Raises:
        InputError: the row is malformed; `at` names it.
    """
    where = f"training row {at}"
    _check(row, where, ("messages",), ("prompt", "completion"))
    if "messages" in row:
        messages = _turns(row, "messages", where, "")
        prompt, completion = messages[:-1], messages[-1:]
    else:
        prompt = _turns(row, "prompt", where, "user")
        completion = _answer(row, "completion", prompt, where)
    if completion[-1]["role"] != "assistant":
        raise InputError(f"{where}: the conversation does not end with an assistant turn")
    if not prompt and len(completion) == 1:
        raise InputError(f"{where}: there is no turn before the answer")
    return prompt, completion


def preference(row: Mapping[str, Any], at: int) -> tuple[list[Message], list[Message], list[Message]]:
    """Prompt, chosen and rejected answer of a preference row: ``{"prompt", "chosen", "rejected"}``, or the last two.

    Raises:
        InputError: the row is malformed; `at` names it.
    """
    where = f"preference row {at}"
    _check(row, where, ("chosen", "rejected"))
    if row.get("prompt") is None:
        chosen, rejected = (_turns(row, name, where, "assistant") for name in ("chosen", "rejected"))
        prompt = _in_common(chosen, rejected)
        if not prompt:
            raise InputError(
                f"{where}: there is no column 'prompt', and chosen and rejected begin with no turn in common"
            )
        chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
    else:
        prompt = _turns(row, "prompt", where, "user")
        if not prompt:
            raise InputError(f"{where}: the prompt is empty")
        chosen, rejected = (_answer(row, name, prompt, where) for name in ("chosen", "rejected"))
    if any(
        not side or side[0]["role"] != "assistant" or side[-1]["role"] != "assistant" for side in (chosen, rejected)
    ):
        raise InputError(
            f"{where}: chosen and rejected must begin and end with an assistant turn, after the same prompt"
        )
    return prompt, chosen, rejected


def prompt_turns(row: Mapping[str, Any], at: int) -> list[Message]:
    """The turns of a prompt row, ``{"prompt"}``: a user's text, or turns that do not end with an assistant's.

    Raises:
        InputError: the row is malformed; `at` names it.
    """
    where = f"prompt row {at}"
    _check(row, where, ("prompt",))
    turns = _turns(row, "prompt", where, "user")
    if not turns or turns[-1]["role"] == "assistant":
        raise InputError(f"{where}: the prompt {'ends with an assistant turn' if turns else 'is empty'}")
    return turns


def refuse_unread(row: Mapping[str, Any], read: Container[str], at: int) -> None:
    """Refuse a row with a column that changes what it means and is not among those that are `read`.

    Raises:
        InputError: the column is named; `at` names the row.
    """
    meant = [name for name in _ROW_MEANING if name not in read and row.get(name) not in (None, [], {}, "")]
    if meant:
        raise InputError(
            f"training row {at}: the column {meant[0]!r} changes what the row means and is not trained on; take it out"
        )


def _check(row: Mapping[str, Any], where: str, *forms: Sequence[str]) -> None:
    """Refuse a row that has the columns of no form."""
    if not any(all(name in row for name in form) for form in forms):
        wanted = " nor ".join(" and ".join(map(repr, form)) for form in forms)
        begun = next((form for form in forms if form[0] in row), None)
        missing = [name for name in begun or () if name not in row]
        found = ", ".join(map(str, row)) or "none"
        if missing:
            raise InputError(f"{where}: there is no column {missing[0]!r}; found: {found}")
        raise InputError(f"{where}: there is {'neither ' if len(forms) > 1 else 'no '}{wanted}; found: {found}")


def _answer(row: Mapping[str, Any], name: str, prompt: list[Message], where: str) -> list[Message]:
    """The turns of an answer, without those of the prompt that it repeats."""
    turns = _turns(row, name, where, "assistant")
    most = min(len(prompt), len(turns) - 1)
    repeated = next((n for n in range(most, 0, -1) if turns[:n] == prompt[-n:]), 0)
    turns = turns[repeated:]
    if prompt and turns[0]["role"] != "assistant" and prompt[-1]["role"] != "assistant":
        raise InputError(f"{where}: {name!r} begins with a {turns[0]['role']} turn that is not the prompt's")
    return turns


def _in_common(chosen: list[Message], rejected: list[Message]) -> list[Message]:
    """The turns that both sides begin with, up to an assistant turn in which their answers begin."""
    most = min(len(chosen), len(rejected)) - 1
    same = next((n for n in range(most) if chosen[n] != rejected[n]), most)
    while same and any(side[same]["role"] != "assistant" for side in (chosen, rejected)):
        same -= 1
    return chosen[:same]


def _turns(row: Mapping[str, Any], name: str, where: str, role: str) -> list[Message]:
    turns = row.get(name)
    if isinstance(turns, str) and role:
        return [{"role": role, "content": turns}]
    if not isinstance(turns, list | tuple) or (not turns and name != "prompt"):
        raise InputError(f"{where}: {name!r} is not a list of messages")
    return [_turn(turn, name, where) for turn in turns]


def _turn(turn: Any, name: str, where: str) -> Message:
    if not isinstance(turn, Mapping) or turn.get("role") not in _ROLES:
        shown = f" ({', '.join(map(str, turn))})" if isinstance(turn, Mapping) else ""
        raise InputError(f"{where}: {name!r} holds a turn without a known role and a text content{shown}")
    meant = [field for field in _TURN_MEANING if turn.get(field) not in (None, [], {}, "")]
    if meant:
        raise InputError(f"{where}: a turn of {name!r} holds {meant[0]!r}, which is not trained on; take it out")
    try:
        return {"role": turn["role"], "content": message_text(turn.get("content"))}
    except ValueError:
        raise InputError(f"{where}: {name!r} holds a turn without a known role and a text content") from None
