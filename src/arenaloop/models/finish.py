"""How a reply ended, by the word that the server gives for it: a list of words that mean a whole answer, and no other.

A word that nobody knows is no `OK`: the answer may be half of one. It is an error that names the word.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from arenaloop.types import Status

__all__ = ["Ending", "ending"]


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
    "end", "complete", "completed", "finished", "done",
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
    r"network|crash|shutdown"
)
"""OpenRouter, vLLM and SGLang (abort), DeepSeek (insufficient_system_resource), GLM (network_error)."""


def ending(word: object) -> Ending:
    """What a finish reason says of a reply; None and an empty word say nothing against it."""
    if word is None or word == "":
        return Ending(Status.OK)
    # stop, STOP, FINISH_REASON_STOP, max-tokens, MaxTokens
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(word)).strip().lower().replace("-", "_").replace(" ", "_")
    plain = plain.removeprefix("finish_reason_")
    if plain in _WHOLE:
        return Ending(Status.OK)
    if plain in _LIMIT:
        return Ending(Status.TRUNCATED)
    if _REFUSED.search(plain):
        return Ending(Status.REFUSED)
    return Ending(Status.ERROR, passing=_FAILED.search(plain) is not None)
