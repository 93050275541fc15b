"""Conversations to tokens, once: the chat template is applied and the loss is put on the answers.

The loss falls on the assistant's text and on the token that ends its turn, and on nothing else. Where a template marks
assistant text with ``{% generation %}`` its marks are obeyed. Elsewhere the answer is what the whole conversation has
beyond the prompt with its generation prompt, up to the last end-of-turn token; so the model is trained on exactly what
it will be asked to continue.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from arenaloop.errors import ConfigError, InputError
from arenaloop.models.checkpoint import end_ids as turn_ends
from arenaloop.types import Message

__all__ = ["ChatEncoder", "Encoded", "EncodedRows", "encode_conversations", "encode_pairs"]

_GENERATION_MARK = re.compile(r"\{%-?\s*generation\b")
_ROLES = ("system", "developer", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class Encoded:
    """One tokenised conversation.

    Attributes:
        ids: its tokens, at most the window's length.
        labelled: for each token, whether it carries the loss.
        truncated: whether the answer was cut at the window, and so has no labelled end of turn.
    """

    ids: list[int]
    labelled: list[bool]
    truncated: bool


@dataclass(slots=True)
class EncodedRows:
    """What is left of the rows that were given, and why the others are not.

    Attributes:
        rows: the tokenised conversations; of N pairs the N chosen ones, then the N rejected ones.
        source: for each row or pair kept, its index among those given.
        dropped: rows dropped, by reason.
        truncated: rows or pairs kept although an answer was cut at the window.
    """

    rows: list[Encoded] = field(default_factory=list)
    source: list[int] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    truncated: int = 0

    def take(self, at: int, sides: Sequence[Encoded | str]) -> None:
        """Keep what row `at` gave, or count it as dropped for the first reason among its sides."""
        reason = next((side for side in sides if isinstance(side, str)), None)
        if reason is not None:
            self.dropped[reason] += 1
            return
        kept = [side for side in sides if isinstance(side, Encoded)]
        self.rows += kept
        self.source.append(at)
        self.truncated += any(side.truncated for side in kept)


class ChatEncoder:
    """A tokenizer with a chat template, and the rules of where the loss falls.

    Args:
        tokenizer: a Hugging Face tokenizer.
        max_length: the window in tokens, prompt and answer together.
        end_ids: the tokens that end a turn; by default those that the tokenizer knows (see `checkpoint.end_ids`).

    Raises:
        ConfigError: the tokenizer has no chat template, or nothing that ends a turn.
    """

    def __init__(self, tokenizer: Any, max_length: int, end_ids: frozenset[int] | None = None) -> None:
        template = tokenizer.chat_template
        if not template:
            raise ConfigError(
                f"the tokenizer of {tokenizer.name_or_path or 'this model'} has no chat template; "
                "chat models have one, base models need one set first"
            )
        self.tokenizer = tokenizer
        self.max_length = max_length
        self._prompt: tuple[list[Message], str, list[int]] = ([], "", [])
        # marks are read through character offsets, which only fast tokenizers keep
        marked = isinstance(template, str) and bool(_GENERATION_MARK.search(template))
        self.marks_answers = marked and bool(tokenizer.is_fast)
        self.end_ids = turn_ends(tokenizer) if end_ids is None else end_ids
        if not self.end_ids:
            raise ConfigError(f"the tokenizer of {tokenizer.name_or_path} has no end-of-sequence token")

    def encode(
        self, prompt: list[Message], completion: list[Message], turns: Literal["last", "all"], where: str
    ) -> Encoded | str:
        """Tokenise one conversation, or say why its row is dropped: ``"prompt_too_long"``.

        Args:
            prompt, completion: the conversation's turns; the completion ends with an assistant turn.
            turns: which assistant turns carry the loss: ``"last"`` those of the completion (an answer to follow-ups has
                several), ``"all"`` those of the prompt too.
            where: names the row in errors.

        Raises:
            InputError: the chat template refuses the conversation or does not continue its own prompt.
        """
        messages = prompt + completion
        ids, marks = None, []
        if self.marks_answers:
            out = self._render(messages, where, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
            ids, marks = list(out["input_ids"]), list(out["assistant_masks"])
        ids, start = self._split(messages, len(messages) - 1, where, ids)
        since = 0 if turns == "all" else len(prompt)
        earlier = self._earlier_spans(messages, since, ids, where) if turns == "last" else []
        first = 0 if turns == "all" else min([start, *(span[0] for span in earlier)])
        if turns == "last" and first >= self.max_length:
            return "prompt_too_long"
        labelled = [False] * len(ids)
        # an answer that had to be tokenised apart from its prompt has other tokens than the marked ones, and one that
        # is empty may have no marks
        if len(marks) == len(ids) and any(marks[start:]):
            labelled[first:] = [bool(mark) for mark in marks[first:]]
        else:
            end = self._end(ids, start, len(ids))
            if end == start or ids[end - 1] not in self.end_ids:  # a template that leaves the last turn open
                eos = self.tokenizer.eos_token_id
                closing = min(self.end_ids) if eos is None else int(eos)
                ids, labelled, end = [*ids, closing], [*labelled, True], len(ids) + 1
            if turns == "all":
                earlier = self._earlier_spans(messages, since, ids, where)
            for first, last in [(start, end), *earlier]:
                labelled[first:last] = [True] * (last - first)
        end = max((at + 1 for at, on in enumerate(labelled) if on), default=0)
        ids, labelled = ids[: min(end, self.max_length)], labelled[: min(end, self.max_length)]
        if not any(labelled):
            return "prompt_too_long"
        return Encoded(ids, labelled, truncated=end > self.max_length)

    def _render(self, messages: list[Message], where: str, *, tokenize: bool = False, **options: Any) -> Any:
        try:
            return self.tokenizer.apply_chat_template(messages, tokenize=tokenize, **options)
        except Exception as error:  # templates raise jinja2 errors of many kinds
            raise InputError(f"{where}: the chat template refuses the conversation: {error}") from error

    def _tokens(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _split(
        self, messages: list[Message], turn: int, where: str, ids: list[int] | None = None
    ) -> tuple[list[int], int]:
        """Tokens of the conversation up to and with `turn` (`ids`, if known), and where that turn's answer starts."""
        if self._prompt[0] != messages[:turn]:  # the two sides of a pair share it
            text = self._render(messages[:turn], where, add_generation_prompt=True)
            self._prompt = (messages[:turn], text, self._tokens(text))
        _, before, head = self._prompt
        if ids is not None and ids[: len(head)] == head:
            return ids, len(head)
        whole = self._render(messages[: turn + 1], where)
        ids = self._tokens(whole)
        if ids[: len(head)] == head:
            return ids, len(head)
        if whole.startswith(before):
            # The first characters of the answer merge with the prompt's last token ("\n" + "\n..."). A model that
            # answers starts after the prompt's own tokens, so those are what it is trained on.
            joined = head + self._tokens(whole[len(before) :])
            if self.tokenizer.decode(joined) == self.tokenizer.decode(ids):
                return joined, len(head)
        raise InputError(
            f"{where}: the chat template does not continue its own generation prompt, so the answer cannot be told "
            "from the prompt; use a template with {% generation %} marks or one that keeps earlier turns as they are"
        )

    def _earlier_spans(self, messages: list[Message], since: int, ids: list[int], where: str) -> list[tuple[int, int]]:
        """Where the assistant turns from `since` on, the last one left out, stand in the conversation's tokens."""
        spans = []
        for turn in range(since, len(messages) - 1):
            if messages[turn]["role"] != "assistant" or not messages[turn]["content"].strip():
                continue
            head, start = self._split(messages, turn, where)
            end = self._end(head, start, len(head))
            if ids[:end] != head[:end]:
                raise InputError(
                    f"{where}: the chat template rewrites earlier assistant turns, so they cannot be trained on; "
                    "learn the last turn alone (rows with messages, assistant_turns: last)"
                )
            spans.append((start, end))
        return spans

    def _end(self, ids: list[int], start: int, stop: int) -> int:
        """One past the last end-of-turn token in ``ids[start:stop]``; `stop` if there is none."""
        return next((at + 1 for at in range(stop - 1, start - 1, -1) if ids[at] in self.end_ids), stop)


def encode_conversations(
    encoder: ChatEncoder, rows: Sequence[Mapping[str, Any]], turns: Literal["last", "all"] = "last"
) -> EncodedRows:
    """Tokenise SFT rows: ``{"messages"}`` or ``{"prompt", "completion"}``, message lists; other columns are ignored.

    Dropped and counted: ``empty_response``, ``prompt_too_long``. An answer that is longer than the window is cut there,
    has no end-of-turn label, and is counted as truncated.

    Raises:
        InputError: a malformed row (its index, from 0, is named), no row left, or a template that cannot be used.
    """
    out = EncodedRows()
    for at, row in enumerate(rows):
        if "messages" in row:
            messages = _turns(row, "messages", at)
            prompt, completion = messages[:-1], messages[-1:]
        else:
            prompt, completion = _turns(row, "prompt", at), _turns(row, "completion", at)
        if completion[-1]["role"] != "assistant":
            raise InputError(f"training row {at}: the conversation does not end with an assistant turn")
        if not prompt and len(completion) == 1:
            raise InputError(f"training row {at}: there is no turn before the answer")
        empty = not completion[-1]["content"].strip()
        out.take(at, ["empty_response" if empty else encoder.encode(prompt, completion, turns, f"training row {at}")])
    if not out.rows:
        raise InputError(f"no training row is left of {len(rows)}: {dict(out.dropped)}")
    return out


def encode_pairs(encoder: ChatEncoder, rows: Sequence[Mapping[str, Any]]) -> EncodedRows:
    """Tokenise preference rows ``{"prompt", "chosen", "rejected"}``, message lists; other columns are ignored.

    Dropped and counted: ``equal_texts`` (also where the window leaves the same tokens), ``empty_response`` (the chosen
    one; an empty answer may be rejected), ``prompt_too_long``. Pairs with an answer that was cut at the window are
    counted as truncated.

    Raises:
        InputError: a malformed row (its index, from 0, is named), no row left, or a template that cannot be used.
    """
    out = EncodedRows()
    for at, row in enumerate(rows):
        where = f"preference row {at}"
        prompt, chosen, rejected = (_turns(row, name, at) for name in ("prompt", "chosen", "rejected"))
        if chosen[-1]["role"] != "assistant" or rejected[-1]["role"] != "assistant":
            raise InputError(f"{where}: chosen and rejected must end with an assistant turn")
        if not prompt:
            raise InputError(f"{where}: the prompt is empty")
        sides: list[Encoded | str]
        if chosen == rejected:
            sides = ["equal_texts"]
        elif not chosen[-1]["content"].strip():
            sides = ["empty_response"]
        else:
            sides = [encoder.encode(prompt, answer, "last", where) for answer in (chosen, rejected)]
            first, second = sides
            if isinstance(first, Encoded) and isinstance(second, Encoded) and first.ids == second.ids:
                sides = ["equal_texts"]
        out.take(at, sides)
    out.rows = out.rows[::2] + out.rows[1::2]
    if not out.rows:
        raise InputError(f"no preference row is left of {len(rows)}: {dict(out.dropped)}")
    return out


def _turns(row: Mapping[str, Any], name: str, at: int) -> list[Message]:
    turns = row.get(name)
    if not isinstance(turns, list | tuple) or (not turns and name != "prompt"):
        raise InputError(f"training row {at}: {name!r} is not a list of messages")
    for turn in turns:
        if not isinstance(turn, Mapping) or turn.get("role") not in _ROLES or not isinstance(turn.get("content"), str):
            raise InputError(f"training row {at}: {name!r} holds a turn without a known role and a text content")
    return [{"role": turn["role"], "content": turn["content"]} for turn in turns]
