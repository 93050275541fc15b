"""New prompts as a run of calls: who is shown what, in which order, and what is kept of what comes back.

Calls are numbered. Of its eight examples two are prompts that were kept before the call's round began, so that the
calls of one round may be under way at once, and what is kept depends on the answers and on nothing else: not on how
many calls are in flight, how often the run is broken off, or how many prompts are wanted in the end.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from arenaloop.calls.answers import Contestant
from arenaloop.data.cleaning.rows import BenchmarkItem
from arenaloop.data.self_instruct.filters import KEYWORDS, NewPrompts, Refused
from arenaloop.data.self_instruct.lists import EIGHT, examples, listed_prompts, written_prompts
from arenaloop.types import Prompt, Response, Status, content_hash

__all__ = ["Call", "NewPrompt", "SelfInstruct", "Written"]

_LIKELY = 0.7
"""Share of what a model writes that is taken to be new before it has written anything."""


@dataclass(frozen=True)
class SelfInstruct:
    """What is wanted, of whom, and by which examples.

    Attributes:
        people: seeds: prompts of people, each once.
        writer: who writes, and how it decodes.
        count: new prompts that are wanted.
        test: prompts that none may be like. `known`: others that are there and are no seeds.
        each: prompts asked for in a call.
        calls_per_round: calls that draw their examples from the same prompts.
        rouge_max, least, most, keywords: as of `NewPrompts`.
        stop_below: share of what a round's calls wrote, below which the writer gives nothing new; with 0 only where
            nothing is.
        seed: of the run.
        concurrency: calls in flight; None for what the model bears.
    """

    people: Sequence[str]
    writer: Contestant
    count: int
    test: Sequence[BenchmarkItem] = ()
    known: Sequence[str] = ()
    each: int = 8
    calls_per_round: int = 32
    rouge_max: float = 0.7
    least: int = 3
    most: int = 150
    keywords: Sequence[str] = KEYWORDS
    stop_below: float = 0.02
    seed: int = 0
    concurrency: int | None = None

    @property
    def identity(self) -> str:
        """Hash of what decides which prompts come, in which order; how many are wanted does not."""
        return content_hash(
            [list(self.people), list(self.known)],
            self.writer.identity,
            [item.prompt.id for item in self.test],
            [self.each, self.calls_per_round, self.rouge_max, self.least, self.most, [*self.keywords], self.seed],
        )

    def filters(self) -> NewPrompts:
        """The filters, to which all prompts that are there, and the test prompts, are known."""
        found = NewPrompts(self.rouge_max, self.least, self.most, self.keywords)
        found.know([*self.people, *self.known])
        found.keep_out(self.test)
        return found


class Call(NamedTuple):
    """One call.

    Attributes:
        shown: the examples, in their order. `prompt`: what is asked.
        sample: how often the same was asked before.
    """

    number: int
    shown: list[str]
    prompt: Prompt
    sample: int


class NewPrompt(NamedTuple):
    """A prompt that a model wrote, and where it comes from.

    Attributes:
        item: its place in the list of its call. `response`: the key of that answer in the arena file.
        refused: why it was not kept; None of one that was.
    """

    text: str
    call: int
    item: int
    response: str
    shown: list[str]
    refused: Refused | None = None

    def row(self, model: str) -> dict[str, Any]:
        """A row that is read as a prompt; ids of the examples, the call and the answer are its tags."""
        origin: dict[str, Any] = {
            "model": model,
            "call": self.call,
            "item": self.item,
            "response": self.response,
            "examples": [Prompt.of(text).id for text in self.shown],
        }
        row: dict[str, Any] = {
            "messages": [{"role": "user", "content": self.text}],
            "tags": {"self_instruct": origin},
        }
        if self.refused is not None:
            why, like, similarity = self.refused
            row["dropped"] = {"why": why, "like": like, "similarity": similarity}
        return row


@dataclass
class Written:
    """What was written so far.

    Attributes:
        kept, dropped: prompts, in the order of their calls.
        calls: how each ended; ``no list`` of an answer that holds none.
        saturated: why the writer is asked no more, where it gives nothing new.
    """

    plan: SelfInstruct
    kept: list[NewPrompt] = field(default_factory=list)
    dropped: list[NewPrompt] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    saturated: str | None = None

    def __post_init__(self) -> None:
        self._filters = self.plan.filters()
        self._asked: Counter[str] = Counter()  # each prompt, by its id
        self._before: list[str] = []  # what was kept before this round
        self._round = [0, 0]  # prompts read and kept in it

    @property
    def done(self) -> int:
        """Calls that are taken in."""
        return self.calls.total()

    @property
    def missing(self) -> int:
        """New prompts that are still wanted."""
        return max(0, self.plan.count - len(self.kept))

    @property
    def over(self) -> bool:
        """Whether nothing more is to be asked."""
        return not self.missing or self.saturated is not None

    def calls_left(self) -> int:
        """How many calls the missing prompts take, at what calls have given so far."""
        kept, done = len(self.kept), self.done
        per_call = kept / done if kept else self.plan.each * _LIKELY if not done else 1 / (done + 1)
        return math.ceil(self.missing / per_call)

    def next_calls(self, block: int | None = None) -> list[Call]:
        """The calls that come next: of one round, and no more than are likely to be needed.

        Args:
            block: so many at a time, counted from each round's begin, whatever is needed.
        """
        first, size = self.done, self.plan.calls_per_round
        within = first % size
        if not within:
            self._before = [one.text for one in self.kept]
        wanted = self.calls_left() if block is None else block - within % block
        asked = Counter(self._asked)
        out: list[Call] = []
        for number in range(first, first + min(max(1, wanted), size - within)):
            shown = examples(self.plan.people, self._before, self.plan.seed, number)
            prompt = listed_prompts(shown, self.plan.each)
            out.append(Call(number, shown, prompt, asked[prompt.id]))
            asked[prompt.id] += 1
        return out

    def take(self, call: Call, answer: Response | None, key: str) -> None:
        """Take in what became of the next call; a failed one gives nothing."""
        self._asked[call.prompt.id] += 1
        status = Status.ERROR if answer is None else answer.status
        texts: list[str] = []
        if answer is not None and status in (Status.OK, Status.TRUNCATED):
            texts = written_prompts(answer.texts[0], len(call.shown), cut=status is Status.TRUNCATED)
        self.calls[status.value if texts or status not in (Status.OK, Status.TRUNCATED) else "no list"] += 1
        for item, text in enumerate(texts):
            one = NewPrompt(text, call.number, item, key, call.shown, self._filters.add(text))
            (self.kept if one.refused is None else self.dropped).append(one)
            self._round[0] += 1
            self._round[1] += one.refused is None
        if self.done % self.plan.calls_per_round == 0:
            self._end_round()

    def _end_round(self) -> None:
        read, kept = self._round
        self._round = [0, 0]
        calls, least = self.plan.calls_per_round, self.plan.stop_below
        if not read:
            self.saturated = f"none of the last {calls:,} calls gave a list of prompts"
        elif not kept or kept < least * read:
            self.saturated = f"of the {read:,} prompts of the last {calls:,} calls {kept:,} were new"

    def reasons(self) -> dict[str, int]:
        """How many prompts were left out, by reason, the commonest first."""
        return dict(self._filters.dropped.most_common())

    def to_json(self) -> dict[str, Any]:
        """Counts as one mapping."""
        wanted, per_call = self.plan.count, sum(EIGHT)
        return {
            "wanted": wanted,
            "kept": min(len(self.kept), wanted),
            "written": len(self.kept) + len(self.dropped),
            "dropped": self.reasons(),
            "beyond": max(0, len(self.kept) - wanted),
            "calls": self.done,
            "calls_by_end": dict(self.calls),
            "examples_per_call": per_call,
            "seeds": len(self.plan.people),
            "saturated": self.saturated,
        }
