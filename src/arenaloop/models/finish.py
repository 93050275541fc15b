"""How a reply ended, by the words that the server gives for it: a list of words that mean a whole answer, and no other.

A finish reason that nobody knows is no `OK`: the answer may be half of one. It is an error that names the word. Many
replies tell their end twice, in a gateway's words and in the provider's own; all are read, and the worst holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from arenaloop.types import Status

__all__ = ["End", "Ending", "ending", "worst_ending"]


class Ending(NamedTuple):
    """What a finish reason means.

    Attributes:
        status: `OK`, `TRUNCATED`, `REFUSED` or `ERROR`.
        passing: of an error, whether the same request may well be answered when it is sent again.
    """

    status: Status
    passing: bool = False


_WHOLE = frozenset({
    "stop", "eos", "eos_token", "stop_sequence", "stop_token", "stop_string", "stop_word", "end_turn", "end_of_turn",
    "end", "complete", "completed", "finished", "done", "success", "succeeded", "ok", "normal", "natural",
})  # fmt: skip
"""OpenAI; Together, TGI and watsonx; Anthropic, Bedrock; Cohere; Ollama. Missing is whole, too: many leave it out."""
_LIMIT = frozenset({
    "length", "max_length", "model_length", "max_tokens", "max_output_tokens", "max_new_tokens",
    "max_completion_tokens", "token_limit", "max_token", "error_limit", "incomplete", "not_finished",
    "model_context_window_exceeded",
    "context_length", "context_length_exceeded", "context_window_exceeded", "length_limit", "repetition",
})  # fmt: skip
"""OpenAI; Mistral; Anthropic, Gemini; Cohere; watsonx; vLLM's end of an answer that only repeats itself."""
_REFUSED = re.compile(
    r"filter|safety|refus|guardrail|moderat|prohibited|blocklist|blocked|toxic|sensitive|policy|recitation|spii|harm"
)
"""OpenAI, Azure; Gemini (SAFETY, RECITATION, BLOCKLIST, PROHIBITED_CONTENT, SPII); Anthropic; Bedrock; Cohere; GLM."""
_FAILED = re.compile(
    r"error|abort|cancel|fail|timeout|timed_out|overload|resource|unavailable|interrupt|disconnect|preempt|evict|"
    r"network|crash|shutdown|rate_limit"
)
"""OpenRouter, vLLM and SGLang (abort), DeepSeek (insufficient_system_resource), GLM (network_error)."""


_SHORT = re.compile(r"limit|length|trunc|incomplete|unfinished|partial|cut|exceed|max(imum)?_?(output_|new_)?token")
"""What a word that is on no list holds where it tells of an answer that goes no further."""


def ending(word: object) -> Ending:
    """What a finish reason says of a reply; None and an empty word say nothing against it."""
    if word is None or word == "":
        return Ending(Status.OK)
    return _ending_of_word(word) if isinstance(word, str) and len(word) < 100 else _ending_of(word)


@lru_cache(maxsize=256)
def _ending_of_word(word: str) -> Ending:
    return _ending_of(word)


def _ending_of(word: object) -> Ending:
    plain = _plain(str(word)).removeprefix("finish_reason_")
    if plain in _WHOLE:
        return Ending(Status.OK)
    if plain in _LIMIT:
        return Ending(Status.TRUNCATED)
    if _REFUSED.search(plain):
        return Ending(Status.REFUSED)
    if _FAILED.search(plain):
        return Ending(Status.ERROR, passing=True)
    if isinstance(word, str) and _SHORT.search(plain):
        return Ending(Status.TRUNCATED)
    return Ending(Status.ERROR)


def _plain(word: str) -> str:
    # stop, STOP, FINISH_REASON_STOP, max-tokens, MaxTokens
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", word).strip().lower().replace("-", "_").replace(" ", "_")


# ---------------------------------------------------------------------- all that a reply says of its end


class End(NamedTuple):
    """How a reply ended, by all that it says.

    Attributes:
        status: of the worst word.
        word: that one; None where the reply has none.
        unknown: a field beside the finish reason, and its word, that nobody knows; None where there is none.
    """

    status: Status
    word: object
    unknown: str | None


_REASON = re.compile(
    r"(\w+_)?(finish|finished|stop|stopping|stopped|end|ending|done|completion|generation|terminat\w+|exit|cut|cutoff|"
    r"truncat\w+|incomplete|cancel\w*|abort\w*|refusal|block|blocked)_"
    r"(reason|type|cause|details?|status|info|code|message|note|by)|status"
)
"""Names of fields that hold a word for the end: ``native_finish_reason`` (OpenRouter), ``stop_reason`` (Anthropic),
``finish_details``, ``incomplete_details`` and ``status`` (OpenAI), ``done_reason`` (Ollama), ``stop_type``
(llama.cpp), ``meta_info.finish_reason`` (SGLang). Any other field that holds a word of `_LIMIT` tells, too."""
_BROKEN_OFF = re.compile(
    r"truncated|incomplete|unfinished|aborted|cancell?ed|interrupted|cut_?off|"
    r"(^|_)(partial|refused|blocked|filtered|has_more|limit|limited|exceeded|max_tokens|max_length)(_|$)"
)
_FINISHED = re.compile(r"(^|_)(complete|completed|finished|done|ended|end_turn|eos)(_|$)")
"""What the names of flags hold that tell of half an answer where they are true, and where they are false."""
_DEPTH = 3  # of objects within a choice or a reply that are looked into
_NOT_OF_THE_END = frozenset({"message", "choices", "usage", "logprobs", "delta", "error", "content"})
_STOPS = frozenset({"stop_reason", "matched_stop", "stopping_reason"})
"""Where vLLM and others put the stop sequence that they met, which may be any text, or a token's number."""
_SAYS_NOTHING = frozenset({"", "none", "null", "unknown", "word", "auto", "disabled"})  # "word": llama.cpp's stop text
_WORST = (Status.OK, Status.TRUNCATED, Status.REFUSED, Status.ERROR)


def worst_ending(choice: Mapping[str, Any], reply: Mapping[str, Any]) -> End:
    """How a reply ended, by its finish reason and whatever else it says of it; of two that contradict, the worse.

    A word beside the finish reason that nobody knows makes no error, since the finish reason is known to be whole or
    worse by itself; it is named.

    Args:
        choice: with its ``finish_reason``.
        reply: the object that the choice stands in.
    """
    word: object = choice.get("finish_reason")
    status, unknown = ending(word).status, None
    message = choice.get("message")
    for part in (choice, message if isinstance(message, Mapping) else {}, reply):
        for name, other in _words(part):
            end = ending(other)
            if end == Ending(Status.ERROR):  # it is on no list
                if name not in _STOPS:
                    unknown = unknown or f"{name}: {other[:60]}"
            elif end.status is Status.OK:
                word = other if word is None or word == "" else word
            elif _WORST.index(end.status) > _WORST.index(status) and not (name in _STOPS and re.search(r"\s", other)):
                word, status = other, end.status
    return End(status, word, unknown)


def _words(part: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[str, str]]:
    """Each field of an object that tells of an end, by its name in snake case, and its word."""
    for key, value in part.items():
        if (
            value is None
            or key in _NOT_OF_THE_END
            or (key == "finish_reason" and not depth)
            or not isinstance(key, str)
        ):
            continue
        name, names_a_reason, breaks_off, finishes = _told_by(key)
        if isinstance(value, bool):
            if breaks_off if value else finishes:
                known = value and ending(name) != Ending(Status.ERROR)
                yield name, name if known else f"incomplete ({name}: {str(value).lower()})"
        elif isinstance(value, str):
            if (names_a_reason and _plain(value) not in _SAYS_NOTHING) or value.strip().lower() in _LIMIT:
                yield name, f"incomplete ({value})" if _is_incomplete(name, value) else value
        elif isinstance(value, Mapping):
            if names_a_reason and name.startswith("incomplete") and value:
                yield name, _why_incomplete(value)
            elif names_a_reason and (found := _named(value)) is not None and _plain(found) not in _SAYS_NOTHING:
                yield name, found
            elif not names_a_reason and depth < _DEPTH:
                yield from _words(value, depth + 1)


def _named(value: Mapping[str, Any]) -> str | None:
    return next((value[key] for key in ("reason", "type", "code", "status") if isinstance(value.get(key), str)), None)


def _why_incomplete(value: Mapping[str, Any]) -> str:
    """The word of ``incomplete_details``; that there are any says that the answer is, whatever they are."""
    found = _named(value)
    known = found is not None and ending(found).status not in (Status.OK, Status.ERROR)
    return str(found) if known else f"incomplete ({found})" if found else "incomplete"


def _is_incomplete(name: str, value: str) -> bool:
    return name.startswith("incomplete") and ending(value).status in (Status.OK, Status.ERROR)


@lru_cache(maxsize=1024)
def _told_by(key: str) -> tuple[str, bool, bool, bool]:
    """A field's name in snake case, and whether it holds a word for the end, or tells of half or of a whole answer."""
    name = _plain(key[:100])
    return (
        name,
        _REASON.fullmatch(name) is not None,
        _BROKEN_OFF.search(name) is not None,
        _FINISHED.search(name) is not None,
    )
