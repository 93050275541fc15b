"""The vocabulary: small frozen records that every other module speaks in. Imports nothing of arenaloop.

Data flows one way: prompts → responses → verdicts → battles → ratings and training rows → a new checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from operator import attrgetter
from typing import Any, Literal, NamedTuple

__all__ = [
    "Battle",
    "Completion",
    "Cost",
    "Judgement",
    "Message",
    "Outcome",
    "Preference",
    "Prompt",
    "Request",
    "Response",
    "Ruling",
    "Sampling",
    "Status",
    "Verdict",
    "VerdictKind",
    "Winner",
    "canonical_json",
    "content_hash",
    "derive_seed",
]

Message = dict[str, str]
"""One turn of a conversation: ``{"role": "system" | "user" | "assistant", "content": str}``."""


_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def canonical_json(value: object) -> str:
    """The JSON text that content hashes are taken of: sorted keys, no blanks."""
    return _CANONICAL.encode(value)


def content_hash(*parts: object, size: int = 16) -> str:
    """Hex BLAKE2b of the canonical JSON of `parts`; equal parts give equal hashes on every machine.

    Args:
        parts: anything JSON can hold; mappings are sorted by key.
        size: digest length in bytes (the hex text has twice as many characters).
    """
    return blake2b(canonical_json(parts).encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()


def derive_seed(*parts: object) -> int:
    """A 63-bit seed for one unit of work, from the run's seed and the unit's key.

    Units seeded so give the same result in any order, at any concurrency and after any interruption.
    """
    return int(content_hash(*parts, size=8), 16) >> 1


class Status(StrEnum):
    """How one model call, or the reading of one verdict, ended. Only `OK` carries a usable result."""

    __hash__ = str.__hash__  # as its value's, which it equals; Enum's own is written in Python, and look-ups are many
    OK = "ok"
    UNPARSED = "unparsed"
    """a verdict whose last line could not be read"""
    REFUSED = "refused"
    """the server says that the model refused (a field or a finish reason; never guessed from the text)"""
    TRUNCATED = "truncated"
    """``finish_reason=length``, whatever the text holds"""
    EMPTY = "empty"
    """no text came back"""
    ERROR = "error"
    """the call itself failed, after its retries"""


_BATTLING = frozenset({Status.OK, Status.TRUNCATED, Status.EMPTY})


class Outcome(StrEnum):
    """Who won, by seat: `A` is the first seat, `B` the second."""

    __hash__ = str.__hash__
    A = "A"
    B = "B"
    TIE = "TIE"

    def swap(self) -> Outcome:
        """The same outcome with the seats exchanged; swapping twice changes nothing."""
        return _SWAPPED[self]

    @property
    def score_a(self) -> float:
        """What the first seat gets: 1 for a win, 0.5 for a tie, 0 for a loss."""
        return _SCORE_A[self]

    @classmethod
    def from_scores(cls, score_a: float, score_b: float) -> Outcome:
        """The higher score wins; equal scores tie."""
        return cls.A if score_a > score_b else cls.B if score_b > score_a else cls.TIE


_SWAPPED = {Outcome.A: Outcome.B, Outcome.B: Outcome.A, Outcome.TIE: Outcome.TIE}
_SCORE_A = {Outcome.A: 1.0, Outcome.B: 0.0, Outcome.TIE: 0.5}


class Winner(StrEnum):
    """Who won a battle, by model, as ``battles.jsonl`` spells it."""

    __hash__ = str.__hash__
    MODEL_A = "model_a"
    MODEL_B = "model_b"
    TIE = "tie"

    @classmethod
    def of(cls, outcome: Outcome) -> Winner:
        """The winner where `model_a` sat first."""
        return _WINNER[outcome]

    @property
    def score(self) -> float:
        """What `model_a` gets: 1 for a win, 0.5 for a tie, 0 for a loss."""
        return _SCORE[self]

    @property
    def preference(self) -> float:
        """As label files write it: 1 for `model_a`, 2 for `model_b`, 1.5 for a tie."""
        return 2.0 - _SCORE[self]


_WINNER = {Outcome.A: Winner.MODEL_A, Outcome.B: Winner.MODEL_B, Outcome.TIE: Winner.TIE}
_SCORE = {winner: outcome.score_a for outcome, winner in _WINNER.items()}


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation that ends with a user turn, and the user turns that follow once it is answered.

    Attributes:
        messages: the given history (fixed) and the first user turn to be answered.
        follow_ups: later user turns (MT-Bench has one); a response holds one text for each turn.
        id: 64-bit BLAKE2b (16 hex characters) of messages and follow-ups, nothing trimmed.
        tags: source ids, categories and the like; not part of the id.
    """

    messages: tuple[Message, ...]
    follow_ups: tuple[str, ...] = ()
    id: str = ""
    tags: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.id:
            key = content_hash([dict(m) for m in self.messages], list(self.follow_ups), size=8)
            object.__setattr__(self, "id", key)

    @classmethod
    def of(cls, text: str, **tags: Any) -> Prompt:
        """A single-turn prompt from the user's text."""
        return cls(messages=({"role": "user", "content": text},), tags=tags)

    @property
    def question_id(self) -> str | int | None:
        """Its id in the file that it came from (tag ``source_id``), of the type that it has there; None without one.

        Our own id in its place tells nothing more, and is none.
        """
        own = self.tags.get("source_id")
        return own if isinstance(own, str | int) and not isinstance(own, bool) and own != self.id else None

    @property
    def references(self) -> tuple[str, ...]:
        """Reference answers, what its tag ``reference`` holds: a text or a list of them, of FastChat one for each turn.

        They are no part of the id: the same is asked with and without them.
        """
        told = self.tags.get("reference")
        if not told:
            return ()
        texts = [told] if isinstance(told, str) else told if isinstance(told, list | tuple) else ()
        return tuple(text for text in texts if isinstance(text, str) and text.strip())

    @property
    def turns(self) -> int:
        """How many answers a response to this prompt holds."""
        return 1 + len(self.follow_ups)

    @property
    def last_user(self) -> str:
        """The first turn that is to be answered."""
        return self.messages[-1]["content"]

    def conversation(self, answers: Sequence[str]) -> list[Message]:
        """The whole conversation with `answers` put in, ending with the next user turn or the last answer."""
        out = [dict(m) for m in self.messages]
        for turn, answer in enumerate(answers):
            out.append({"role": "assistant", "content": answer})
            if turn < len(self.follow_ups):
                out.append({"role": "user", "content": self.follow_ups[turn]})
        return out


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a model decodes. `max_tokens` counts new tokens."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 512
    stop: tuple[str, ...] = ()

    def key(self) -> list[object]:
        """What identifies these settings inside a content hash."""
        return [self.temperature, self.top_p, self.max_tokens, list(self.stop)]


@dataclass(frozen=True, slots=True)
class Request:
    """What goes to a model.

    Attributes:
        messages: the conversation, ending with a user turn.
        sample: index of this sample among several of the same messages.
        seed: seed of this unit of work; local and scripted models obey it, servers get it where they take one.
        key: the content hash under which the answer is stored.
        top_logprobs: how many alternatives' log-probabilities are wanted for each new token; 0 asks for none.
        schema: a JSON schema that the answer must obey, for servers with structured output; None asks for text.
        labels: words of which one is to be the answer, whose log-probabilities are wanted whole: a model in this
            process lists a word of two tokens as one alternative. Servers are not told.
        prefill: how the answer begins: the model is given it as its own words and goes on from there; the completion
            does not repeat it.
    """

    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    sample: int = 0
    seed: int = 0
    key: str = ""
    top_logprobs: int = 0
    schema: Mapping[str, Any] | None = None
    labels: tuple[str, ...] = ()
    prefill: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one model call cost, and what else its server said of it; part of every record of a call.

    Attributes:
        tokens_in, tokens_out: token usage, or None where the server does not say.
        usd: price of the call, or None where no price is known.
        usd_estimated: the part of `usd` that no server has told the tokens of, and that was estimated.
        seconds: wall time of the call, retries included.
        calls: requests that were sent for it, retries included (0 when nothing was asked).
        error: the reason, when the call failed.
        finish_reason: as the server gave it.
        reasoning: the reasoning text of a thinking model, kept apart from the answer.
    """

    tokens_in: int | None = None
    tokens_out: int | None = None
    usd: float | None = None
    usd_estimated: float = 0.0
    seconds: float = 0.0
    calls: int = 1
    error: str | None = None
    finish_reason: str | None = None
    reasoning: str | None = None

    def cost(self) -> dict[str, Any]:
        """These fields, for another record of the same call."""
        return dict(zip(Cost.__slots__, _COST(self), strict=True))


_COST = attrgetter(*Cost.__slots__)


@dataclass(frozen=True, slots=True)
class Completion(Cost):
    """What came back from one model call. A failed call is a completion too: it has a status and a reason.

    Attributes:
        text: the answer, reasoning removed.
        status: `OK`, `REFUSED`, `TRUNCATED`, `EMPTY` or `ERROR`. Truncated and empty answers still battle.
        logprobs: for each new token the log-probabilities of its likeliest alternatives, by their text (natural log);
            None where they were not asked for or the server does not give them.
    """

    text: str = ""
    status: Status = Status.OK
    logprobs: tuple[Mapping[str, float], ...] | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """A contestant's answer: one text per user turn to be answered.

    Attributes:
        texts: one text per turn; may be empty text.
        status: `OK`, `TRUNCATED` or `EMPTY` battle; `REFUSED` and `ERROR` do not (there is no answer to judge).
        text_hash: content hash of `texts`, which stands for them in verdict keys.
    """

    prompt_id: str
    model: str
    texts: tuple[str, ...]
    status: Status = Status.OK
    text_hash: str = ""

    def __post_init__(self) -> None:
        if not self.text_hash:
            object.__setattr__(self, "text_hash", content_hash(list(self.texts)))

    @property
    def battles(self) -> bool:
        """Whether there is an answer to judge."""
        return self.status in _BATTLING


VerdictKind = Literal["pairwise", "meta"]
"""Whether the two texts in the seats are answers, or judgements of one answer."""


@dataclass(frozen=True, slots=True)
class Verdict(Cost):
    """One judge call over two responses in seat order.

    A meta-verdict is a verdict, too: its seats hold the hashes of two judgements' texts, and its key covers the answer
    that they are about.

    Attributes:
        key: content hash of everything that determines the call (no model names are part of it).
        prompt_id, first_hash, second_hash: the prompt and the `text_hash` of the response in each seat.
        raw: the judge's whole text; for a verdict read from label log-probabilities, those as JSON.
        score_first, score_second, outcome: None unless the status is `OK`.
        sample: index among re-asked calls.
        judge_hash: fingerprint of the judge that was asked.
        template_hash: hash of the template's text; empty for a judge that fills none.
        parser: version of the parser that read `raw`, as ``kind:number``.
        kind: what the seats hold.
    """

    key: str
    prompt_id: str
    first_hash: str
    second_hash: str
    judge: str
    status: Status
    raw: str = ""
    score_first: float | None = None
    score_second: float | None = None
    outcome: Outcome | None = None
    sample: int = 0
    judge_hash: str = ""
    template_hash: str = ""
    parser: str = ""
    kind: VerdictKind = "pairwise"

    def __post_init__(self) -> None:
        if (self.outcome is not None) != (self.status is Status.OK):
            raise ValueError(f"a verdict has an outcome exactly when its status is ok, not {self.status.value}")


@dataclass(frozen=True, slots=True)
class Judgement(Cost):
    """One judge call about one response.

    Attributes:
        key: content hash of everything that determines the call.
        prompt_id, response_hash: the prompt and the `text_hash` of the response.
        raw: the judge's whole text.
        score: in the judge's units; None unless the status is `OK`.
        sample: index among the re-asked calls of one vote; several votes on one response differ in their keys.
        judge_hash, template_hash, parser: as in `Verdict`.
        text_hash: content hash of `raw`, which stands for it in the seats of a meta-verdict.
    """

    key: str
    prompt_id: str
    response_hash: str
    judge: str
    status: Status
    raw: str = ""
    score: float | None = None
    sample: int = 0
    judge_hash: str = ""
    template_hash: str = ""
    parser: str = ""
    text_hash: str = ""

    def __post_init__(self) -> None:
        if (self.score is not None) != (self.status is Status.OK):
            raise ValueError(f"a judgement has a score exactly when its status is ok, not {self.status.value}")
        if not self.text_hash:
            object.__setattr__(self, "text_hash", content_hash([self.raw]))


class Ruling(NamedTuple):
    """What a stored verdict decided, without its words and costs: all that merging and counting need.

    The fields are those of `Verdict`. Reading a million of these back takes a fraction of what whole verdicts take.
    """

    key: str
    prompt_id: str
    first_hash: str
    second_hash: str
    judge: str
    sample: int
    status: Status
    score_first: float | None
    score_second: float | None
    outcome: Outcome | None


@dataclass(frozen=True, slots=True)
class Battle:
    """Both seats of one pair, merged by a named rule.

    Attributes:
        score_a, score_b: merged scores of each model (the unit is the judge's: 1 to 10 by default).
        flipped: whether the two seats named different winners.
        verdicts: keys of the judge calls: first those that seat `model_a` first (one of each member of a jury).
    """

    prompt_id: str
    model_a: str
    model_b: str
    winner: Winner
    score_a: float
    score_b: float
    flipped: bool
    judge: str
    verdicts: tuple[str, ...]

    @property
    def gap(self) -> float:
        """How far apart the two scores are."""
        return abs(self.score_a - self.score_b)


@dataclass(frozen=True, slots=True)
class Preference:
    """A chosen and a rejected answer to one prompt, and the verdicts that said so.

    Attributes:
        chosen, rejected: the answers' texts, one per turn.
        chosen_model, rejected_model: who wrote them.
        margin: difference of their response scores, in the judge's units.
        verdicts: keys of the judge calls behind the scores (lineage).
        scores: of chosen and rejected, in the same units; None where a label only says which is better.
    """

    prompt: Prompt
    chosen: tuple[str, ...]
    rejected: tuple[str, ...]
    chosen_model: str
    rejected_model: str
    margin: float
    verdicts: tuple[str, ...]
    scores: tuple[float, float] | None = None
