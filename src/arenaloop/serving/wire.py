"""What is posted to the reward server and what it replies, as values: no server, no model, no clock.

Two bodies are taken, each a batch. OpenRLHF's:

    {"query": [prompt and answer as one text], "prompts": [the prompt as it was rendered], "labels": [its id]}

and a plain one, which says outright what is what:

    {"prompts": [text, or list of messages], "answers": [text], "prompt_ids": [its id, or null]}

`prompt_ids` may be missing, and `prompts` where they are there. The reply holds a number for each row (`rewards`), and
why a row has none of its own (`flags`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from arenaloop.control_tokens import FAMILIES, control_tokens, unmistakable
from arenaloop.messages import ROLES, message_text
from arenaloop.types import Message, Prompt

__all__ = ["Batch", "Fallback", "Flag", "KnownPrompts", "Question", "WireError", "answer_of", "read_body", "reply"]

Flag = str
"""Why a row has no reward of its own:

    unknown_prompt   no prompt of the server's has its id or text
    no_opponent      no stored answer to battle against
    no_answer        the answer cannot be told from the prompt in OpenRLHF's `query`
    marked_up        the prompt is rendered with a template's tokens, and has no id by which to look it up
    too_long         prompt and answer together have too many characters
    not_unicode      half of a surrogate pair, which is no text
    late             not judged within the time; the verdict is kept when it comes
    judge_down       the judge behind did not answer of late; asked again soon
    error, refused, unparsed, empty, truncated   how the judge's call ended
"""

MOST_ROWS = 4096
"""Of one body."""
_TAIL = 64
"""Characters at a prompt's end by which it is found in a query that begins otherwise (a cut prompt, another blank)."""
_SHOWN = 8

_ENDS = tuple(
    sorted(
        (token for family, tokens in FAMILIES.items() for token in tokens if not family.startswith(("think", "tool"))),
        key=len,
        reverse=True,
    )
)


class WireError(ValueError):
    """A body that cannot be read: the whole of it is refused, in one line."""


@dataclass(frozen=True, slots=True)
class Question:
    """One answer to be rewarded, or the flag of a row about which nothing can be asked.

    Attributes:
        prompt: what was asked; None with a flag.
        answer: the answer's text.
        flag: why there is nothing to judge; None where there is.
    """

    prompt: Prompt | None = None
    answer: str = ""
    flag: Flag | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of one body.

    Attributes:
        form: whose shape the body has, which decides what `scores` of the reply are.
        questions: in the body's order.
    """

    form: Literal["openrlhf", "plain"]
    questions: tuple[Question, ...]


@dataclass(slots=True)
class KnownPrompts:
    """The prompts that rewards are given for; any, where none are named.

    Args:
        prompts: of which each is known by its id, its source's id and its messages. User turns that would follow an
            answer are left off, since one answer is judged.
    """

    prompts: Sequence[Prompt] | None = None
    _by_id: dict[str, Prompt] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for prompt in self.prompts or ():
            asked = Prompt(prompt.messages, tags=prompt.tags) if prompt.follow_ups else prompt
            for name in (prompt.id, asked.id, prompt.tags.get("source_id")):
                if name is not None:
                    self._by_id.setdefault(str(name), asked)

    def find(self, name: object, asked: Prompt | None) -> Prompt | None:
        """The prompt of an id, or else of messages; None where neither is known."""
        if name not in (None, "") and (found := self._by_id.get(str(name))) is not None:
            return found
        if asked is None:
            return None
        return asked if self.prompts is None else self._by_id.get(asked.id)


# ---------------------------------------------------------------------- in


def read_body(raw: bytes, known: KnownPrompts, *, most_characters: int) -> Batch:
    """What a body asks.

    Args:
        raw: as it came.
        known: the prompts that are answered for.
        most_characters: of a prompt and its answer together.

    Raises:
        WireError: it is no JSON, or a field is missing or of another type than it must be.
    """
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise WireError("the body is not JSON") from None
    if not isinstance(body, dict):
        raise WireError("the body is not a JSON object")
    if "query" in body:
        queries = _texts(body, "query")
        rows = len(queries)
        prompts, labels = _texts(body, "prompts", rows), _column(body, "labels", rows)
        asked = [_openrlhf(*row, known) for row in zip(queries, prompts, labels, strict=True)]
        form: Literal["openrlhf", "plain"] = "openrlhf"
    elif "answers" in body:
        answers = _texts(body, "answers")
        rows = len(answers)
        if "prompts" not in body and "prompt_ids" not in body:
            raise WireError("neither prompts nor prompt_ids beside the answers")
        shown, names = _column(body, "prompts", rows), _column(body, "prompt_ids", rows)
        given = [_prompt(prompt, at) for at, prompt in enumerate(shown)]
        asked = [_plain(*row, known) for row in zip(given, names, answers, strict=True)]
        form = "plain"
    else:
        found = ", ".join(str(name)[:40] for name in list(body)[:_SHOWN])
        raise WireError(f"neither query, prompts and labels nor prompts and answers (found: {found or 'nothing'})")
    return Batch(form, tuple(_fit(question, most_characters) for question in asked))


def _column(body: Mapping[str, Any], name: str, rows: int | None = None) -> list[Any]:
    """A list of as many cells as there are rows; of a missing column, None in each."""
    cells = body.get(name)
    if cells is None and rows is not None:
        return [None] * rows
    if not isinstance(cells, list):
        raise WireError(f"{name} is not a list")
    if len(cells) > MOST_ROWS:
        raise WireError(f"{len(cells):,} rows, of which a body may hold {MOST_ROWS:,}")
    if rows is not None and len(cells) != rows:
        raise WireError(f"{name} has {len(cells):,} rows, and there are {rows:,} answers")
    return cells


def _texts(body: Mapping[str, Any], name: str, rows: int | None = None) -> list[str]:
    cells = _column(body, name, rows)
    for at, cell in enumerate(cells):
        if not isinstance(cell, str):
            raise WireError(f"{name}[{at}] is not a text")
    return cells


def _prompt(cell: object, at: int) -> Prompt | None:
    """A prompt from its text or its messages."""
    if cell is None:
        return None
    if isinstance(cell, str):
        return Prompt.of(cell)
    if not isinstance(cell, list) or not cell:
        raise WireError(f"prompts[{at}] is neither a text nor a list of messages")
    messages: list[Message] = []
    for message in cell:
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ROLES:
            raise WireError(f"prompts[{at}] holds a message whose role is none of {', '.join(ROLES)}")
        try:
            messages.append({"role": role, "content": message_text(message.get("content"))})
        except ValueError:
            raise WireError(f"prompts[{at}] holds a message without a text") from None
    if messages[-1]["role"] != "user":
        raise WireError(f"prompts[{at}] does not end with the user's turn")
    return Prompt(tuple(messages))


def _plain(asked: Prompt | None, name: object, answer: str, known: KnownPrompts) -> Question:
    prompt = known.find(name, asked)
    return Question(flag="unknown_prompt") if prompt is None else Question(prompt, answer)


def _openrlhf(query: str, rendered: str, label: object, known: KnownPrompts) -> Question:
    """The prompt by its label, since what was rendered cannot be read back; the answer is what follows it."""
    if known.prompts is None and unmistakable(control_tokens(rendered)):
        return Question(flag="marked_up")
    prompt = known.find(label, Prompt.of(rendered))
    if prompt is None:
        return Question(flag="unknown_prompt")
    answer = answer_of(query, rendered)
    return Question(flag="no_answer") if answer is None else Question(prompt, answer)


def answer_of(query: str, rendered: str) -> str | None:
    """The answer within a text that holds prompt and answer, without the tokens that end its turn.

    A query that does not begin with the prompt, which was cut or decoded with other blanks, is parted behind the
    prompt's last characters, if these stand in it once. None where it cannot be told.
    """
    if query.startswith(rendered):
        said = query[len(rendered) :]
    else:
        tail = rendered[-_TAIL:]
        if not tail.strip() or query.count(tail) != 1:
            return None
        said = query.partition(tail)[2]
    while True:
        bare = said.rstrip()
        end = next((token for token in _ENDS if bare.endswith(token)), None)
        if end is None:
            return said
        said = bare[: -len(end)]


def _fit(question: Question, most: int) -> Question:
    if question.prompt is None:
        return question
    texts = [question.answer, *(message["content"] for message in question.prompt.messages)]
    if sum(map(len, texts)) > most:
        return Question(flag="too_long")
    try:
        for text in texts:
            text.encode()
    except UnicodeEncodeError:
        return Question(flag="not_unicode")
    return question


# ---------------------------------------------------------------------- out


@dataclass(slots=True)
class Fallback:
    """The number that stands for a reward that is missing: the mean of those that were given, or one that is set.

    Attributes:
        fixed: the number; None for the mean, which is 0 before there is any.
    """

    fixed: float | None = None
    _sum: float = 0.0
    _given: int = 0

    def note(self, reward: float) -> None:
        """Take note of a reward that was given."""
        self._sum += reward
        self._given += 1

    @property
    def value(self) -> float:
        """What stands for a missing one."""
        if self.fixed is not None:
            return self.fixed
        return self._sum / self._given if self._given else 0.0


def reply(form: str, found: Sequence[float | Flag], fallback: Callable[[], float]) -> dict[str, Any]:
    """The reply to a batch, from a reward or a flag for each row.

    ``rewards`` are always numbers. ``scores`` are the same for OpenRLHF, which computes with them; else null stands for
    a missing one. ``extra_logs.failed`` is 1 for a flagged row: OpenRLHF logs its mean.
    """
    flags = [each if isinstance(each, str) else None for each in found]
    own = [None if isinstance(each, str) or not math.isfinite(each) else float(each) for each in found]
    rewards = [fallback() if each is None else each for each in own]
    return {
        "rewards": rewards,
        "scores": rewards if form == "openrlhf" else own,
        "flags": flags,
        "failed": sum(flag is not None for flag in flags),
        "extra_logs": {"failed": [float(flag is not None) for flag in flags]},
    }
