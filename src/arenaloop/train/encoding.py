"""Conversations to tokens, once: the chat template is applied and the loss is put on the answers.

The loss falls on the assistant's text and on the token that ends its turn, and on nothing else: what a template writes
is compared with what was said (`rendered`), and a row with which it does otherwise is dropped and says so.

Where a template marks assistant text with ``{% generation %}`` its marks are obeyed, and the end of turn that follows
is added where they leave it out. Elsewhere the answer is what the whole conversation has beyond the prompt with its
generation prompt, up to the end of turn behind it; so the model is trained on exactly what it will be asked to
continue. That holds for an empty block of reasoning too: where the template writes one before an answer that has none,
and its generation prompt does not, the model has to write it and is trained to.

Where a generation prompt opens the reasoning and the finished turn shows none (as DeepSeek-R1's template does), the
answer is put after the generation prompt as it stands in the row, an empty block first if it has no reasoning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from jinja2 import TemplateSyntaxError

from arenaloop.data.formats.training_rows import ContradictionError
from arenaloop.errors import ConfigError, first_line
from arenaloop.models.chat import ChatTokens, closing_tag
from arenaloop.models.checkpoint import end_ids as turn_ends
from arenaloop.train.encoded import IN_DOUBT, Encoded, EncodedRows, Unfit
from arenaloop.train.preparing import going_through
from arenaloop.train.rendered import AlteredError, Rendered
from arenaloop.train.rows import conversation, labels, preference
from arenaloop.types import Message, content_hash

__all__ = [
    "GENERATION_MARK",
    "ChatEncoder",
    "Encoded",
    "EncodedRows",
    "Unfit",
    "encode_chosen",
    "encode_conversations",
    "encode_pairs",
]

_SURROGATE = re.compile(r"[\ud800-\udfff]")
GENERATION_MARK = re.compile(r"\{%-?\s*generation\b")
"""What a chat template marks the assistant's text by."""

_REWRITTEN = (
    "the chat template rewrites earlier assistant turns, so they cannot be trained on; learn the last turn alone "
    "(rows with messages, assistant_turns: last)"
)


class _UnfitError(Exception):
    """A conversation that is not tokenised as it should be: reason and words of an `Unfit`."""


F = TypeVar("F")


class ChatEncoder:
    """A tokenizer with a chat template, and the rules of where the loss falls.

    Args:
        tokenizer: a Hugging Face tokenizer.
        max_length: the window in tokens, prompt and answer together.
        end_ids: the tokens that end a turn; by default those that the tokenizer knows (see `checkpoint.end_ids`).
        vocabulary: how many tokens the model has; by default as many as the tokenizer may give.

    Raises:
        ConfigError: the tokenizer has no chat template, one that is no template, or nothing that ends a turn.
    """

    def __init__(
        self,
        tokenizer: Any,
        max_length: int,
        end_ids: frozenset[int] | None = None,
        vocabulary: int | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self._name = tokenizer.name_or_path or "this model"
        if not tokenizer.chat_template:
            raise ConfigError(
                f"the tokenizer of {self._name} has no chat template; "
                "chat models have one, base models need one set first"
            )
        self.max_length = max_length
        self._chat = ChatTokens(tokenizer)
        self.marks_answers = bool(GENERATION_MARK.search(self._template()))
        self._vocabulary = vocabulary
        self.end_ids = turn_ends(tokenizer) if end_ids is None else end_ids
        if not self.end_ids:
            raise ConfigError(f"the tokenizer of {tokenizer.name_or_path} has no end-of-sequence token")
        special = {at for at, token in tokenizer.added_tokens_decoder.items() if token.special}
        self._control_ends = self.end_ids & special
        self._rendered = Rendered(self._chat, [tokenizer.decode([token]) for token in sorted(self._control_ends)])

    def _template(self) -> str:
        """The chat template, which must be one."""
        try:
            template = str(self.tokenizer.get_chat_template())
        except ValueError as error:  # several templates, none of them the default
            raise ConfigError(f"the chat template of {self._name} cannot be used: {first_line(error)}") from error
        try:
            self._chat.render([{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}])
        except Exception as error:  # another kind: it refuses this conversation, and may take others
            if isinstance(error, TemplateSyntaxError):
                raise ConfigError(f"the chat template of {self._name} is no template: {first_line(error)}") from error
        return template

    def encode(
        self, prompt: list[Message], completion: list[Message], turns: Literal["last", "all"], where: str
    ) -> Encoded | Unfit:
        """Tokenise one conversation, or say why its row is dropped.

        The reasons: ``prompt_too_long``; ``template_refuses`` (a system turn, say, where it takes none); ``turn_lost``,
        ``text_changed``, ``more_than_the_answer`` and ``marks_misplaced``, where the template does not keep to what was
        said (see `rendered`); ``prompt_not_continued``, ``earlier_turns_rewritten`` and ``no_end_of_turn``, where it
        does not let the answer be told from the rest; ``token_boundary``, where the tokenizer does not;
        ``spells_turns``, where a text spells what the template writes between turns and that is plain text;
        ``not_unicode``, ``not_tokenised`` and ``token_unknown``, where a text cannot become tokens of the model.

        Args:
            prompt, completion: the conversation's turns; the completion ends with an assistant turn.
            turns: which assistant turns carry the loss: ``"last"`` those of the completion (an answer to follow-ups has
                several), ``"all"`` those of the prompt too, but for one that nothing stands before.
            where: names the row in what is said of it.
        """
        messages, since = prompt + completion, 0 if turns == "all" else len(prompt)
        return self._fit(lambda: self._encoded(messages, since), where)

    def _fit(self, work: Callable[[], F], where: str) -> F | Unfit:
        """What `work` makes of a conversation, or why it cannot."""
        try:
            return work()
        except (_UnfitError, AlteredError) as error:
            reason, words = error.args
        except BaseException as error:  # of the tokenizer's and jinja's many kinds; its Rust panics are no Exception
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            reason, words = "not_tokenised", f"template or tokenizer fail: {type(error).__name__}: {first_line(error)}"
        return Unfit(reason, words and f"{where}: {words}")

    def _encoded(self, messages: list[Message], since: int) -> Encoded:
        _refuse_halves(messages)
        if self._chat.spells_turns(messages):
            raise _UnfitError("spells_turns", "")
        self._render(messages)  # says how it refuses a conversation
        self._rendered.lost(messages)
        found = self._marked(messages, since) if self.marks_answers else None
        ids, labelled = found or self._continued(messages, since)
        end = max((at + 1 for at, on in enumerate(labelled) if on), default=0)
        ids, labelled = ids[: min(end, self.max_length)], labelled[: min(end, self.max_length)]
        if not any(labelled):
            raise _UnfitError("prompt_too_long", "")
        if labelled[0]:
            raise _UnfitError("turn_lost", "the chat template writes nothing before the answer")
        self._refuse_unknown(ids)
        return Encoded(ids, labelled, truncated=end > self.max_length, spelled=self._chat.spelled(messages))

    def prompt(self, messages: list[Message], where: str = "the prompt") -> list[int] | Unfit:
        """Tokens of a conversation with the generation prompt, as a model answers it; or why its row is dropped."""
        return self._fit(lambda: self._asked(messages), where)

    def _asked(self, messages: list[Message]) -> list[int]:
        _refuse_halves(messages)
        ids = self._chat.tokens(self._render(messages, prompt=True))
        self._refuse_unknown(ids)
        return ids

    def _refuse_unknown(self, ids: Sequence[int]) -> None:
        if self._vocabulary is not None and max(ids) >= self._vocabulary:
            unknown = self.tokenizer.convert_ids_to_tokens(max(ids))
            raise _UnfitError("token_unknown", f"the model has no embedding for the tokenizer's token {unknown!r}")

    def _render(self, messages: list[Message], *, prompt: bool = False) -> str:
        try:
            return self._chat.render(messages, prompt=prompt)
        except Exception as error:  # templates raise jinja2 errors of many kinds
            raise _UnfitError(
                "template_refuses", f"the chat template refuses the conversation: {first_line(error)}"
            ) from error

    def _cut(self, text: str, cuts: Sequence[int]) -> tuple[list[int], list[int]]:
        try:
            return self._chat.cut(text, cuts)
        except ValueError as error:
            raise _UnfitError("token_boundary", str(error)) from error

    # ------------------------------------------------------------------ by the template's marks

    def _marked(self, messages: list[Message], since: int) -> tuple[list[int], list[bool]] | None:
        """Tokens and labels where the template marks answers from turn `since` on; None where it marks none of them."""
        text, spans = self._chat.render_marks(messages)
        before = len(self._chat.render_marks(messages[:since])[1]) if since else 0
        spans = [span for span in spans[before:] if span[1] > span[0]]
        if not spans or not messages[-1]["content"].strip():
            return None
        self._rendered.given(messages[:-1], text)
        learned = [turn for turn in messages[since:] if turn["role"] == "assistant"]
        self._rendered.marked(learned, [text[start:stop] for start, stop in spans])
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
        self._rendered.given(messages[:last], before)
        self._rendered.answer(messages[last], self._finished(text, len(before))[len(before) :])
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
            ids, starts = self._cut(self._finished(text, len(before)), cuts)
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
        text = self._render(messages)
        self._rendered.answer(messages[-1], self._finished(text, cuts[-1])[cuts[-1] :])
        alone, starts = self._cut(text, cuts)
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
        """One past the end-of-turn token of the answer in ``ids[start:stop]``; None if there is none.

        It is the first, since no text becomes a special token; of ends that a text may spell it is the last.
        """
        first = next((at + 1 for at in range(start, stop) if ids[at] in self._control_ends), None)
        return first or next((at + 1 for at in range(stop - 1, start - 1, -1) if ids[at] in self.end_ids), None)

    def _finished(self, text: str, start: int) -> str:
        """A rendered text; if its answer from `start` on has no end, without a generation prompt written unasked."""
        return text if self._rendered.ended(text, start) else text.removesuffix(self._chat.written_prompt)

    @property
    def _end_id(self) -> int:
        """The token that ends a turn which the template leaves open."""
        eos = self.tokenizer.eos_token_id
        return min(self.end_ids) if eos is None else int(eos)


def _refuse_halves(messages: Sequence[Message]) -> None:
    for number, message in enumerate(messages, 1):
        if broken := _SURROGATE.search(message["content"]):
            half = f"half a character (\\u{ord(broken[0]):04x})"
            raise _UnfitError("not_unicode", f"turn {number} ({message['role']}) holds {half}, which no text can")


def encode_conversations(
    encoder: ChatEncoder, rows: Sequence[Mapping[str, Any]], turns: Literal["last", "all"] = "last"
) -> EncodedRows:
    """Tokenise SFT rows; see `data.formats.training_rows` for their forms.

    Dropped and counted: ``empty_response``, ``contradiction``, and what `ChatEncoder.encode` cannot use. An answer that
    is longer than the window is cut there, has no end-of-turn label, and is counted as truncated.

    Raises:
        InputError: a malformed row (its index, from 0, is named), more than a few contradictions, or no row left.
    """
    out = EncodedRows()
    for at, row in enumerate(going_through("tokenizing", rows)):
        try:
            prompt, completion = conversation(row, at)
        except ContradictionError as error:
            out.take(at, [Unfit(IN_DOUBT, f"training row {at}: {error}")])
            continue
        empty = not completion[-1]["content"].strip()
        where = f"training row {at}"
        found = Unfit("empty_response") if empty else encoder.encode(prompt, completion, turns, where)
        out.take(at, [found])
        unlearned = turns == "last" and any(message["role"] == "assistant" for message in prompt)
        out.earlier += unlearned and isinstance(found, Encoded)
    out.require("training", len(rows))
    return out


def encode_chosen(encoder: ChatEncoder, rows: Sequence[Mapping[str, Any]]) -> EncodedRows:
    """Tokenise the chosen answers of preference rows, each once, as far as they are the better ones.

    Dropped and counted: what `encode_pairs` drops of pairs that are to be `decided`, but nothing for the rejected
    answer's sake, which is not tokenised.

    Raises:
        InputError: as `encode_pairs`.
    """
    out = EncodedRows()
    for at, row in enumerate(going_through("tokenizing", rows)):
        pair = _pair(row, at, decided=True)
        out.take(
            at,
            [pair if isinstance(pair, Unfit) else encoder.encode(pair[0], pair[1], "last", f"preference row {at}")],
        )
    out.require("preference", len(rows))
    return out


def encode_pairs(
    encoder: ChatEncoder, rows: Sequence[Mapping[str, Any]], *, uncut: bool = False, decided: bool = False
) -> EncodedRows:
    """Tokenise preference rows; see `data.formats.training_rows` for their forms.

    Dropped and counted: ``equal_texts`` (also where the window leaves the same tokens), ``empty_response`` (the chosen
    one; an empty answer may be rejected), ``mirrored`` (another row prefers the other answer), ``contradiction`` (also
    where a pair's own scores put the rejected answer first), and what `ChatEncoder.encode` cannot use. Pairs with an
    answer cut at the window are counted as truncated, or with `uncut` dropped as ``answer_too_long``. With `decided`,
    pairs whose ``preference`` is one half are dropped as ``tie``, and below it as ``rejected_is_better``.

    Raises:
        InputError: a malformed row (its index, from 0, is named), more than a few contradictions, or no row left.
    """
    out = EncodedRows()
    pairs = [_pair(row, at, decided) for at, row in enumerate(rows)]
    said = {content_hash(*pair) for pair in pairs if not isinstance(pair, Unfit)}
    for at, pair in enumerate(going_through("tokenizing", pairs)):
        sides: list[Encoded | Unfit]
        if isinstance(pair, Unfit):
            sides = [pair]
        elif "preference" not in rows[at] and content_hash(pair[0], pair[2], pair[1]) in said:
            sides = [Unfit("mirrored", f"preference row {at}: another row prefers the other one of its answers")]
        else:
            prompt, *answers = pair
            sides = [encoder.encode(prompt, answer, "last", f"preference row {at}") for answer in answers]
            first, second = sides
            if isinstance(first, Encoded) and isinstance(second, Encoded):
                if first.ids == second.ids:
                    alike = f"preference row {at}: its answers are the same as far as the window (max_length) reaches"
                    sides = [Unfit("equal_texts", alike)]
                elif uncut and (first.truncated or second.truncated):
                    sides = [Unfit("answer_too_long")]
        out.take(at, sides)
    out.rows = out.rows[::2] + out.rows[1::2]
    out.require("preference", len(rows))
    return out


Pair = tuple[list[Message], list[Message], list[Message]]
"""A prompt, and the chosen and the rejected answer."""


def _pair(row: Mapping[str, Any], at: int, decided: bool) -> Pair | Unfit:
    """What a preference row holds, or why nothing can be learned of it."""
    try:
        prompt, chosen, rejected = preference(row, at)
    except ContradictionError as error:
        return Unfit(IN_DOUBT, f"preference row {at}: {error}")
    if decided and (probability := labels(row, at)[0]) <= 0.5:
        return Unfit("tie" if probability == 0.5 else "rejected_is_better")
    if chosen == rejected:
        return Unfit("equal_texts")
    return (prompt, chosen, rejected) if chosen[-1]["content"].strip() else Unfit("empty_response")
