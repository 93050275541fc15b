"""Only words that are known to mean a whole answer do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from misbehaving_server import ask, http, said

from arenaloop.models.finish import _LIMIT, _WHOLE, Ending, ending, worst_ending
from arenaloop.types import Status


@pytest.mark.parametrize(
    ("word", "status", "passing"),
    [
        (None, Status.OK, False),
        ("", Status.OK, False),
        *((word, Status.OK, False) for word in ("stop", "STOP", "FINISH_REASON_STOP", "eos", "end_turn", "endTurn")),
        *((word, Status.TRUNCATED, False)
          for word in ("length", "model_length", "MAX_TOKENS", "max-tokens", "maxTokens", "repetition",
                       "answer_cut_off", "outputLimitReached", "partial")),
        *((word, Status.REFUSED, False)
          for word in ("content_filter", "SAFETY", "refusal", "RECITATION", "guardrail_intervened", "ERROR_TOXIC")),
        *((word, Status.ERROR, True)
          for word in ("error", "abort", "insufficient_system_resource", "network_error", "cancelled", "timeout")),
        *((word, Status.ERROR, False) for word in ("OTHER", "banana", 7, "tool_calls")),
    ],
)  # fmt: skip
def test_what_each_word_means(word: object, status: Status, passing: bool) -> None:
    assert ending(word) == (status, passing)


@given(st.text(min_size=1).filter(lambda w: w.strip().lower() not in _WHOLE | _LIMIT))
def test_an_unknown_word_is_never_a_whole_answer(word: str) -> None:
    if ending(word).status is Status.OK:
        assert ending(word.lower()).status is Status.OK
        assert any(whole.replace("_", "") in word.lower().replace("_", "").replace("-", "").replace(" ", "")
                   for whole in _WHOLE)  # fmt: skip


HALF = [
    ({"native_finish_reason": "MAX_TOKENS"}, {}, "MAX_TOKENS"),
    ({"gateway_stop_cause": "length"}, {}, "length"),
    ({"stop_reason": "max_tokens"}, {}, "max_tokens"),
    ({"stopReason": "maxTokens"}, {}, "maxTokens"),
    ({"finish_details": {"type": "max_tokens"}}, {}, "max_tokens"),
    ({"message": {"stop_reason": "max_tokens"}}, {}, "max_tokens"),
    ({"truncated": True}, {}, "truncated"),
    ({"hit_max_tokens": True}, {}, "hit_max_tokens"),
    ({"eosReached": False}, {}, "incomplete (eos_reached: false)"),
    ({"terminated_how": "length"}, {}, "length"),
    ({"meta_info": {"finish_reason": {"type": "length", "length": 256}}}, {}, "length"),
    ({}, {"provider": {"raw": {"stopReason": "MAX_TOKENS"}}}, "MAX_TOKENS"),
    ({}, {"isTruncated": True}, "is_truncated"),
    ({}, {"done": False}, "incomplete (done: false)"),
    ({}, {"done_reason": "length"}, "length"),
    ({}, {"stop_type": "limit"}, "limit"),
    ({}, {"status": "incomplete"}, "incomplete"),
    ({}, {"incomplete_details": {"reason": "max_output_tokens"}}, "max_output_tokens"),
    ({}, {"incomplete_details": {"reason": "who knows"}}, "incomplete (who knows)"),
]


@pytest.mark.parametrize(("choice", "reply", "word"), HALF)
@pytest.mark.parametrize("said", ["stop", None, "end_turn"])
def test_a_reply_that_says_twice_how_it_ended_has_ended_the_worse_way(
    choice: dict[str, object], reply: dict[str, object], word: str, said: str | None
) -> None:
    assert worst_ending({"finish_reason": said, **choice}, reply) == (Status.TRUNCATED, word, None)
    assert worst_ending({"finish_reason": "SAFETY", **choice}, reply)[:2] == (Status.REFUSED, "SAFETY")
    assert worst_ending({"finish_reason": "abort", **choice}, reply)[:2] == (Status.ERROR, "abort")


@pytest.mark.parametrize(
    ("choice", "reply"),
    [
        ({"meta_info": {"finish_reason": {"type": "stop", "matched": 7}}}, {"id": "lengthy", "model": "max"}),
        ({"native_finish_reason": "completed"}, {"status": "success"}),  # OpenRouter
        ({"native_finish_reason": "STOP", "logprobs": None}, {"provider": "x"}),
        ({"stop_reason": None}, {}),  # vLLM
        ({"stop_reason": 128009}, {}),
        ({"stop_reason": "\n\nQ:", "matched_stop": "END"}, {"metadata": {"weight_version": "default"}}),  # SGLang
        ({"stop_reason": "the word limit"}, {}),  # a stop sequence of two words or more is no ending word
        ({}, {"done": True, "done_reason": "stop"}),  # Ollama
        ({}, {"stop_type": "eos", "truncated": False, "tokens_evaluated": 3}),  # llama.cpp
        ({}, {"stop_type": "word", "status": 200}),
        ({"content_filter_results": {"hate": {"filtered": False}}}, {"system_fingerprint": "f", "service_tier": None}),
        ({}, {"incomplete_details": None, "status": "completed", "truncation": "disabled"}),
    ],
)
def test_what_honest_servers_say_besides_is_nothing_against_an_answer(
    choice: dict[str, object], reply: dict[str, object]
) -> None:
    assert worst_ending({"finish_reason": "stop", **choice}, reply) == (Status.OK, "stop", None)


@given(st.text("bdgjqvwxyz_QX", min_size=1, max_size=80))
def test_a_word_beside_the_finish_reason_that_nobody_knows_is_named(word: str) -> None:
    assert ending(word) == Ending(Status.ERROR)
    for name in ("native_finish_reason", "gateway_stop_type", "status"):
        end = worst_ending({"finish_reason": "stop"}, {name: word})
        assert end == (Status.OK, "stop", f"{name}: {word[:60]}")


def test_half_an_answer_is_none_and_is_tried_again_where_that_may_help() -> None:
    completion, stub, _ = ask(said("half", finish_reason="abort"), said("whole"))
    assert (completion.text, completion.calls, len(stub.bodies)) == ("whole", 2, 2)
    usage = {"prompt_tokens": 9, "completion_tokens": 4}
    completion, stub, _ = ask(said("half", finish_reason="banana", usage=usage))
    assert (completion.status, completion.error) == (Status.ERROR, "HTTP 200: finish reason banana")
    assert (completion.text, completion.calls, completion.tokens_out, completion.finish_reason) == ("", 1, 4, "banana")
    choice = {"finish_reason": "error", "error": {"code": 502, "message": "Upstream provider disconnected"},
              "message": {"content": "half"}}  # fmt: skip
    completion, _, _ = ask(http(200, {"choices": [choice]}), retries=0)
    assert completion.error == "HTTP 200: finish reason error: Upstream provider disconnected"
    completion, _, _ = ask(said("half", native_finish_reason="MAX_TOKENS"))
    assert (completion.status, completion.text, completion.finish_reason) == (Status.TRUNCATED, "half", "MAX_TOKENS")
    completion, _, _ = ask(said("half", finish_reason="model_length"))
    assert (completion.status, completion.text) == (Status.TRUNCATED, "half")
    completion, _, _ = ask(said(None, finish_reason="tool_calls"))
    assert completion.status is Status.EMPTY
