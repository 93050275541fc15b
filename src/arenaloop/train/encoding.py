"""Conversations to tokens, once: the chat template is applied and the loss is put on the answers.

The loss falls on the assistant's text and on the token that ends its turn, and on nothing else. Where a template marks
assistant text with ``{% generation %}`` its marks are obeyed, and the end of turn that follows is added where they
leave it out. Elsewhere the answer is what the whole conversation has beyond the prompt with its generation prompt, up
to the last end-of-turn token; so the model is trained on exactly what it will be asked to continue. That holds for an
empty block of reasoning too: where the template writes one before an answer that has none, and its generation prompt
does not, the model has to write it and is trained to.

Where a generation prompt opens the reasoning and the finished turn shows none (as DeepSeek-R1's template does), the
answer is put after the generation prompt as it stands in the row, an empty block first if it has no reasoning.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from arenaloop.errors import ConfigError, InputError
from arenaloop.models.chat import ChatTokens, closing_tag
from arenaloop.models.checkpoint import end_ids as turn_ends
from arenaloop.train.rows import conversation, preference
from arenaloop.types import Message

__all__ = ["ChatEncoder", "Encoded", "EncodedRows", "Unfit", "encode_conversations", "encode_pairs"]

_GENERATION_MARK = re.compile(r"\{%-?\s*generation\b")
_REWRITTEN = (
    "the chat template rewrites earlier assistant turns, so they cannot be trained on; learn the last turn alone "
    "(rows with messages, assistant_turns: last)"
)


@dataclass(frozen=True, slots=True)
class Encoded:
    """One tokenised conversation.

    Attributes:
        ids: its tokens, at most the window's length.
        labelled: for each token, whether it carries the loss.
        truncated: whether the answer was cut at the window, and so has no labelled end of turn.
        spelled: whether a text in it spells a control token of the model; it was kept as text.
    """

    ids: list[int]
    labelled: list[bool]
    truncated: bool
    spelled: bool = False


@dataclass(frozen=True, slots=True)
class Unfit:
    """A row that cannot be trained on: the reason that it is counted under, and what there is to say of it."""

    reason: str
    words: str = ""


@dataclass(slots=True)
class EncodedRows:
    """What is left of the rows that were given, and why the others are not.

    Attributes:
        rows: the tokenised conversations; of N pairs the N chosen ones, then the N rejected ones.
        source: for each row or pair kept, its index among those given.
        dropped: rows dropped, by reason.
        explained: what there is to say of the first of them, by reason.
        truncated: rows or pairs kept although an answer was cut at the window.
        spelled: rows or pairs kept in which a text spells a control token; it was kept as text.
    """

    rows: list[Encoded] = field(default_factory=list)
    source: list[int] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    explained: dict[str, str] = field(default_factory=dict)
    truncated: int = 0
    spelled: int = 0

    def take(self, at: int, sides: Sequence[Encoded | Unfit]) -> None:
        """Keep what row `at` gave, or count it as dropped for the first reason among its sides."""
        unfit = next((side for side in sides if isinstance(side, Unfit)), None)
        if unfit is not None:
            self.dropped[unfit.reason] += 1
            if unfit.words:
                self.explained.setdefault(unfit.reason, unfit.words)
            return
        kept = [side for side in sides if isinstance(side, Encoded)]
        self.rows += kept
        self.source.append(at)
        self.truncated += any(side.truncated for side in kept)
        self.spelled += any(side.spelled for side in kept)

    def require(self, kind: str, given: int) -> None:
        """Refuse what nothing is left of."""
        if not self.rows:
            left = f"no {kind} row is left of {given}: {dict(self.dropped)}"
            raise InputError("; ".join([*self.explained.values(), left]))


class _UnfitError(Exception):
    """A conversation that is not tokenised as it should be: reason and words of an `Unfit`."""


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
        if not tokenizer.chat_template:
            raise ConfigError(
                f"the tokenizer of {tokenizer.name_or_path or 'this model'} has no chat template; "
                "chat models have one, base models need one set first"
            )
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.marks_answers = bool(_GENERATION_MARK.search(tokenizer.get_chat_template()))
        self._chat = ChatTokens(tokenizer)
        self.end_ids = turn_ends(tokenizer) if end_ids is None else end_ids
        if not self.end_ids:
            raise ConfigError(f"the tokenizer of {tokenizer.name_or_path} has no end-of-sequence token")

    def encode(
        self, prompt: list[Message], completion: list[Message], turns: Literal["last", "all"], where: str
    ) -> Encoded | Unfit:
        """Tokenise one conversation, or say why its row is dropped.

        The reasons: ``prompt_too_long``; ``template_refuses`` (a system turn, say, where it takes none);
        ``prompt_not_continued``, ``earlier_turns_rewritten`` and ``no_end_of_turn``, where the template does not let
        the answer be told from the rest; ``token_boundary``, where the tokenizer does not; ``spells_turns``, where a
        text spells what the template writes between turns and that is plain text.

        Args:
            prompt, completion: the conversation's turns; the completion ends with an assistant turn.
            turns: which assistant turns carry the loss: ``"last"`` those of the completion (an answer to follow-ups has
                several), ``"all"`` those of the prompt too, but for one that nothing stands before.
            where: names the row in what is said of it.
        """
        messages, since = prompt + completion, 0 if turns == "all" else len(prompt)
        if self._chat.spells_turns(messages):
            return Unfit("spells_turns")
        try:
            found = self._marked(messages, since) if self.marks_answers else None
            ids, labelled = found or self._continued(messages, since)
        except _UnfitError as error:
            reason, words = error.args
            return Unfit(reason, f"{where}: {words}")
        end = max((at + 1 for at, on in enumerate(labelled) if on), default=0)
        ids, labelled = ids[: min(end, self.max_length)], labelled[: min(end, self.max_length)]
        if not any(labelled):
            return Unfit("prompt_too_long")
        return Encoded(ids, labelled, truncated=end > self.max_length, spelled=self._chat.spelled(messages))

    def prompt(self, messages: list[Message]) -> list[int] | None:
        """Tokens of a conversation with the generation prompt, as a model answers it; None if it is refused."""
        try:
            return self._chat.tokens(self._render(messages, prompt=True))
        except _UnfitError:
            return None

    def _render(self, messages: list[Message], *, prompt: bool = False) -> str:
        try:
            return self._chat.render(messages, prompt=prompt)
        except Exception as error:  # templates raise jinja2 errors of many kinds
            raise _UnfitError("template_refuses", f"the chat template refuses the conversation: {error}") from error

    def _cut(self, text: str, cuts: Sequence[int]) -> tuple[list[int], list[int]]:
        try:
            return self._chat.cut(text, cuts)
        except ValueError as error:
            raise _UnfitError("token_boundary", str(error)) from error

    # ------------------------------------------------------------------ by the template's marks

    def _marked(self, messages: list[Message], since: int) -> tuple[list[int], list[bool]] | None:
        """Tokens and labels where the template marks answers from turn `since` on; None where it marks none of them."""
        self._render(messages)  # says how it refuses a conversation
        text, spans = self._chat.render_marks(messages)
        before = len(self._chat.render_marks(messages[:since])[1]) if since else 0
        spans = [span for span in spans[before:] if span[1] > span[0]]
        if not spans or not messages[-1]["content"].strip():
            return None
        ids, at = self._cut(text, [edge for span in spans for edge in span])
        labelled = [False] * len(ids)
        for start, stop in zip(at[::2], at[1::2], strict=True):
            end = self._closing(ids, stop)
            labelled[start:end] = [True] * (end - start)
        last = max(at + 1 for at, on in enumerate(labelled) if on)
        if ids[last - 1] in self.end_ids:
            return ids, labelled
        return [*ids[:last], self._end_id], [*labelled[:last], True]

    def _closing(self, ids: list[int], stop: int) -> int:
        """One past the end of turn that closes a marked answer; `stop` where marks or the template have it so."""
        at = stop
        while ids[stop - 1] not in self.end_ids and at < len(ids):
            if ids[at] in self.end_ids:
                return at + 1
            if self.tokenizer.decode([ids[at]]).strip():
                break
            at += 1
        return stop

    # ------------------------------------------------------------------ by what continues the generation prompt

    def _continued(self, messages: list[Message], since: int) -> tuple[list[int], list[bool]]:
        """Tokens and labels of the answers from turn `since` on, each being what continues its prompt."""
        last = len(messages) - 1
        text, before = self._render(messages), self._render(messages[:last], prompt=True)
        if not text.startswith(before):
            text = self._reopened(messages, before)
        earlier = [
            turn
            for turn in range(max(since, 1), last)
            if messages[turn]["role"] == "assistant" and messages[turn]["content"].strip()
        ]
        prompts = [*(self._render(messages[:turn], prompt=True) for turn in earlier), before]
        if not all(text.startswith(prompt) for prompt in prompts):
            raise _UnfitError("earlier_turns_rewritten", _REWRITTEN)
        cuts = [len(prompt) for prompt in prompts]
        ids, starts = self._cut(text, cuts)
        spans = [self._earlier(messages[: turn + 1], cuts[: at + 1], ids) for at, turn in enumerate(earlier)]
        end = self._end(ids, starts[-1], len(ids))
        if end is None:  # a template that leaves the last turn open
            if self._chat.written_prompt and text.endswith(self._chat.written_prompt):
                ids, starts = self._cut(text[: -len(self._chat.written_prompt)], cuts)
            end = len(ids) + 1
            ids = [*ids, self._end_id]
        labelled = [False] * len(ids)
        for first, stop in [*spans, (starts[-1], end)]:
            labelled[first:stop] = [True] * (stop - first)
        return ids, labelled

    def _reopened(self, messages: list[Message], before: str) -> str:
        """The last answer after a generation prompt that opens its reasoning, where the finished turn shows none."""
        tags = closing_tag(before)
        if tags is None:
            changing = self._render(messages) != self._render(messages)
            raise _UnfitError(
                "prompt_not_continued",
                "the chat template does not continue its own generation prompt"
                + (", it writes something new each time (a clock?)" if changing else "")
                + ", so the answer cannot be told from the prompt; put {% generation %} and {% endgeneration %} around "
                "the assistant's text and its end of turn in the model's chat template",
            )
        opened, closed = tags
        answer = self._chat.marked(messages[-1])
        if answer.lstrip().startswith(opened):
            answer = answer.lstrip().removeprefix(opened).lstrip("\n")
        elif closed not in answer:
            answer = f"\n{closed}\n\n" + answer.lstrip("\n")
        return before + answer + self._chat.after_answer

    def _earlier(self, messages: list[Message], cuts: list[int], ids: list[int]) -> tuple[int, int]:
        """Where the last of `messages`, an answer before others, stands in the whole conversation's tokens."""
        alone, starts = self._cut(self._render(messages), cuts)
        end = self._end(alone, starts[-1], len(alone))
        if end is None:
            raise _UnfitError(
                "no_end_of_turn",
                "the chat template ends earlier assistant turns with no token of its own, so a model would learn never "
                "to end them; learn the last turn alone (rows with messages, assistant_turns: last)",
            )
        if ids[:end] != alone[:end]:
            raise _UnfitError("earlier_turns_rewritten", _REWRITTEN)
        return starts[-1], end

    def _end(self, ids: list[int], start: int, stop: int) -> int | None:
        """One past the last end-of-turn token in ``ids[start:stop]``; None if there is none."""
        return next((at + 1 for at in range(stop - 1, start - 1, -1) if ids[at] in self.end_ids), None)

    @property
    def _end_id(self) -> int:
        """The token that ends a turn which the template leaves open."""
        eos = self.tokenizer.eos_token_id
        return min(self.end_ids) if eos is None else int(eos)


def encode_conversations(
    encoder: ChatEncoder, rows: Sequence[Mapping[str, Any]], turns: Literal["last", "all"] = "last"
) -> EncodedRows:
    """Tokenise SFT rows: ``{"messages"}`` or ``{"prompt", "completion"}``; see `rows` for what may stand in them.

    Dropped and counted: ``empty_response``, and what `ChatEncoder.encode` cannot use. An answer that is longer than the
    window is cut there, has no end-of-turn label, and is counted as truncated.

    Raises:
        InputError: a malformed row (its index, from 0, is named), or no row left.
    """
    out = EncodedRows()
    for at, row in enumerate(rows):
        prompt, completion = conversation(row, at)
        empty = not completion[-1]["content"].strip()
        where = f"training row {at}"
        out.take(at, [Unfit("empty_response") if empty else encoder.encode(prompt, completion, turns, where)])
    out.require("training", len(rows))
    return out


def encode_pairs(encoder: ChatEncoder, rows: Sequence[Mapping[str, Any]], *, uncut: bool = False) -> EncodedRows:
    """Tokenise preference rows ``{"prompt", "chosen", "rejected"}``; see `rows` for what may stand in them.

    Dropped and counted: ``equal_texts`` (also where the window leaves the same tokens), ``empty_response`` (the chosen
    one; an empty answer may be rejected), and what `ChatEncoder.encode` cannot use. Pairs with an answer that was cut
    at the window are counted as truncated, or with `uncut` dropped as ``answer_too_long``.

    Raises:
        InputError: a malformed row (its index, from 0, is named), or no row left.
    """
    out = EncodedRows()
    for at, row in enumerate(rows):
        prompt, chosen, rejected = preference(row, at)
        sides: list[Encoded | Unfit]
        if chosen == rejected:
            sides = [Unfit("equal_texts")]
        elif not chosen[-1]["content"].strip():
            sides = [Unfit("empty_response")]
        else:
            sides = [encoder.encode(prompt, answer, "last", f"preference row {at}") for answer in (chosen, rejected)]
            first, second = sides
            if isinstance(first, Encoded) and isinstance(second, Encoded):
                if first.ids == second.ids:
                    sides = [Unfit("equal_texts")]
                elif uncut and (first.truncated or second.truncated):
                    sides = [Unfit("answer_too_long")]
        out.take(at, sides)
    out.rows = out.rows[::2] + out.rows[1::2]
    out.require("preference", len(rows))
    return out
