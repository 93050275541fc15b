"""What a chat template has made of a conversation, compared with what was said: nothing lost, nothing learned besides.

A template is a program, and some leave turns out, cut, escape or rewrite texts, or write more than the end of a turn
after it. So no template is trusted: every turn's text must stand in what was rendered, and between the prompt and the
end of the turn that is learned there may be the answer alone, with blanks and what the model itself has to write around
it: a header that the generation prompt lacks, an empty block of reasoning. Texts are compared as rendered, marks of
`ChatTokens` included, before they become tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from arenaloop.models.chat import REASONING_TAG, ChatTokens
from arenaloop.types import Message

__all__ = ["AlteredError", "Rendered"]

_BRACKETED = r"[<\[◁{|]+\S{1,30}?[>\]▷}|]+"  # an end of turn that the tokenizer has no token for
_SHOWN = 40  # characters of a text in a message


class AlteredError(Exception):
    """The template has not kept to what was said: the reason to count the row under, and what there is to say."""


class Rendered:
    """Compares renderings of one chat template with their conversations.

    Args:
        chat: the template, with its tokenizer.
        ends: the texts of the special tokens that end a turn; no text of a row becomes one.
    """

    def __init__(self, chat: ChatTokens, ends: Sequence[str]) -> None:
        self._chat = chat
        special = {token.content for token in chat.tokenizer.added_tokens_decoder.values() if token.special}
        end, control, tag = _any_of(ends), _any_of(special - set(ends)), REASONING_TAG.pattern
        header = rf"{control}(?:\w+(?={control}))?"  # <|channel|>final<|message|>
        role = r"\W*+(?:assistant|model|bot|ai)\b[^\w\s]*+"  # of a template that has no generation prompt
        # possessive throughout: what is compared may be long, and no character may be tried twice
        self._before = re.compile(rf"(?:\s|{tag}(?:\W*?{tag})?|{header}|{role})*+", re.IGNORECASE)
        self._within = re.compile(rf"(?:\s|{tag})*+", re.IGNORECASE)
        self._end = re.compile(end)
        self._ended = re.compile(rf"(?:\s|{tag})*+{end}", re.IGNORECASE)
        self._open = re.compile(rf"(?:{_BRACKETED}|\W|{tag})*+\Z", re.IGNORECASE)
        self._between = re.compile(rf"(?:\s|{tag}|{end}|{header}|{_BRACKETED})*+", re.IGNORECASE)

    def given(self, messages: Sequence[Message], text: str) -> None:
        """Check that the turns before an answer stand in a text, each after the one before.

        A system message may have moved into a later turn, and an earlier answer may have lost its reasoning.

        Raises:
            AlteredError: ``turn_lost`` or ``text_changed``.
        """
        pieces = [self._pieces(message) for message in messages]
        at = 0
        for number, (message, each) in enumerate(zip(messages, pieces, strict=True)):
            for piece in each[-1:]:
                found = text.find(piece, 0 if message["role"] == "system" else at)
                if found < 0:
                    raise _changed(message, number)
                at = max(at, found + len(piece)) if message["role"] != "system" else at

    def lost(self, messages: Sequence[Message]) -> None:
        """Check that the template has a place for every turn of a conversation.

        Raises:
            AlteredError: ``turn_lost``.
        """
        for at in self._chat.lost_turns(tuple(message["role"] for message in messages)):
            if messages[at]["content"].strip():
                raise _lost(messages[at], at)

    def answer(self, message: Message, rest: str) -> None:
        """Check that a text, from the end of the prompt on, is an answer and the end of its turn.

        Raises:
            AlteredError: ``text_changed`` or ``more_than_the_answer``.
        """
        at, allowed = 0, self._before
        for piece in self._pieces(message):
            found = rest.find(piece, at)
            if found < 0:
                raise _changed(message)
            if not allowed.fullmatch(rest, at, found):
                raise _more(rest[at:found], "before")
            at, allowed = found + len(piece), self._within
        # an empty answer has nothing but its end, behind what the model has to write to get there
        begin = self._before.match(rest) if at == 0 else None
        at = begin.end() if begin else at
        if not (self._ended if self.ended(rest, at) else self._open).match(rest, at):
            raise _more(rest[at:], "after")

    def ended(self, text: str, start: int) -> bool:
        """Whether a token that ends a turn stands in a text from `start` on."""
        return self._end.search(text, start) is not None

    def marked(self, messages: Sequence[Message], spans: Sequence[str]) -> None:
        """Check that what a template marks as generated are the answers among these messages, and their ends.

        A template that leaves out an answer's reasoning may do so.

        Raises:
            AlteredError: ``marks_misplaced``.
        """
        text, at = "\n".join(spans), 0
        for message in messages:
            pieces = self._pieces(message)
            for piece in pieces:
                found = text.find(piece, at)
                if found < 0 and piece is not pieces[-1]:
                    continue
                if found < 0 or not self._between.fullmatch(text, at, found):
                    raise _misplaced(text[at:])
                at = found + len(piece)
        if not self._between.fullmatch(text, at):
            raise _misplaced(text[at:])

    def _pieces(self, message: Message) -> list[str]:
        """A message's text without the blanks around it; an assistant's in parts, apart from its reasoning tags."""
        text = self._chat.marked(message)
        parts = REASONING_TAG.split(text) if message["role"] == "assistant" else [text]
        return [part.strip() for part in parts if part.strip()]


def _changed(message: Message, number: int | None = None) -> AlteredError:
    which = "the answer" if number is None else f"turn {number + 1}"
    return AlteredError(
        "text_changed",
        f"the chat template does not keep the text of {which} ({message['role']}) as it stands: it cuts, escapes or "
        "rewrites it; mend the model's template",
    )


def _lost(message: Message, number: int) -> AlteredError:
    system = "; take system messages out of the rows, or write their text into the user's turn"
    return AlteredError(
        "turn_lost",
        f"the chat template leaves out turn {number + 1} ({message['role']})"
        + (system if message["role"] in ("system", "developer") else "; mend the model's template"),
    )


def _more(text: str, where: str) -> AlteredError:
    return AlteredError(
        "more_than_the_answer",
        f"the chat template writes {_shown(text)} {where} the answer, which a model would learn to say; put "
        "{% generation %} and {% endgeneration %} around the assistant's text and its end of turn in it",
    )


def _misplaced(text: str) -> AlteredError:
    return AlteredError(
        "marks_misplaced",
        f"the chat template marks {_shown(text)} as generated, which is not the answer; put {{% generation %}} and "
        "{% endgeneration %} around the assistant's text and its end of turn alone",
    )


def _shown(text: str) -> str:
    words = " ".join(text.split())
    return repr(words if len(words) <= _SHOWN else words[:_SHOWN] + "…")


def _any_of(words: Sequence[str] | set[str]) -> str:
    return "(?:" + ("|".join(map(re.escape, sorted(words, key=len, reverse=True))) or r"(?!)") + ")"
