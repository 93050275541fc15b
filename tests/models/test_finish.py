"""Only words that are known to mean a whole answer do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from misbehaving_server import ask, http, said

from arenaloop.models.finish import _LIMIT, _WHOLE, ending
from arenaloop.types import Status


@pytest.mark.parametrize(
    ("word", "status", "passing"),
    [
        (None, Status.OK, False),
        ("", Status.OK, False),
        *((word, Status.OK, False) for word in ("stop", "STOP", "FINISH_REASON_STOP", "eos", "end_turn", "endTurn")),
        *((word, Status.TRUNCATED, False)
          for word in ("length", "model_length", "MAX_TOKENS", "max-tokens", "maxTokens", "repetition")),
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
    completion, _, _ = ask(said("half", finish_reason="model_length"))
    assert (completion.status, completion.text) == (Status.TRUNCATED, "half")
    completion, _, _ = ask(said(None, finish_reason="tool_calls"))
    assert completion.status is Status.EMPTY
