"""Embeddings over HTTP: what is sent, what is read, what that costs, and what is no answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from misbehaving_server import HANG, RESET, Clock, Stub, http

from arenaloop.errors import EndpointDownError
from arenaloop.models.embedding_wire import from_text, to_text
from arenaloop.models.openai_api import OpenAIModel, Price
from arenaloop.models.server_url import ServerUrl
from arenaloop.types import Completion, Request, Sampling, Status

TEXTS = ("one", "two")
ASKED = Request(tuple({"role": "user", "content": text} for text in TEXTS), Sampling(max_tokens=0))


def reply(rows: Any, usage: Any = None) -> bytes:
    return http(200, {"object": "list", "data": rows, **({"usage": usage} if usage else {})})


def row(index: int, *numbers: float) -> dict[str, Any]:
    return {"object": "embedding", "index": index, "embedding": list(numbers)}


GOOD = reply([row(1, 3.0, 4.0), row(0, 1.0, 2.0)], {"prompt_tokens": 7, "total_tokens": 7})


def ask(*script: Any, **options: Any) -> tuple[Completion, Any]:
    async def main() -> tuple[Completion, Any]:
        async with Stub(*script) as stub:
            model = OpenAIModel("e", "model-id", stub.url, embeds=True, sleep=Clock().sleep, **options)
            completion = await model.complete(ASKED)
            await model.aclose()
            return completion, stub

    return asyncio.run(main())


@given(arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 9)), elements=st.floats(-1e9, 1e9, width=32)))
def test_vectors_go_into_a_text_and_back(vectors: Any) -> None:
    assert (from_text(to_text(vectors)) == vectors).all()


def test_texts_are_sent_and_vectors_come_back_in_their_order() -> None:
    completion, stub = ask(GOOD, price=Price(1000.0, 5000.0), extra_body={"dimensions": 2})
    assert stub.bodies == [{"model": "model-id", "input": ["one", "two"], "encoding_format": "float", "dimensions": 2}]
    assert stub.heads[0].startswith("POST /v1/embeddings ")
    assert from_text(completion.text).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert (completion.status, completion.tokens_in, completion.tokens_out) == (Status.OK, 7, 0)
    assert (completion.usd, completion.usd_estimated) == (pytest.approx(7 * 1000 / 1e6), 0.0)


def test_without_usage_the_prompt_alone_is_estimated() -> None:
    completion, _ = ask(reply([row(0, 1.0), row(1, 2.0)]), price=Price(1000.0, 5000.0))
    assert completion.tokens_in is None
    assert completion.usd == completion.usd_estimated
    assert 0 < (completion.usd or 0) < 60 * 1000 / 1e6  # some tens of tokens of the body, and no answer's


def test_what_passes_is_tried_again() -> None:
    completion, stub = ask(http(429, {"error": "slow"}, "Retry-After: 1"), http(500, {}), RESET, GOOD)
    assert (completion.status, completion.calls, len(stub.bodies)) == (Status.OK, 4, 4)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"data": [row(0, 1.0)]}, "1 embeddings of 2 texts"),
        ({"data": [row(0, 1.0), row(1, 1.0, 2.0)]}, "embeddings of different widths in one reply: 1, 2"),
        ({"data": [row(0, 1.0), row(0, 1.0)]}, "embeddings of different widths in one reply: 0, 1"),
        ({"data": [row(0), row(1)]}, "embeddings of different widths in one reply: 0"),
        ({"data": [{"embedding": "AACAPw=="}, row(1, 1.0)]}, "embeddings of different widths in one reply: 0, 1"),
        ({"data": [{"embedding": ["x"]}, row(1, 1.0)]}, "an embedding holds something else than numbers"),
        ({"data": [{"embedding": [None]}, row(1, 1.0)]}, "an embedding holds something else than"),
        ({"data": [{"embedding": [1e300]}, row(1, 1.0)]}, "an embedding holds something else than finite numbers"),
        ({"data": "none"}, "no embeddings in the reply"),
        ({"choices": []}, "no embeddings in the reply"),
        ({"error": {"message": "no such model"}}, "no such model"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_what_is_no_embedding_is_a_failure(body: Any, why: str) -> None:
    completion, _ = ask(http(200, body), retries=0)
    assert (completion.status, completion.text) == (Status.ERROR, "")
    assert why in str(completion.error)
    json.dumps(completion.error)


def test_a_server_that_hangs_is_not_waited_for() -> None:
    completion, _ = ask(HANG, retries=0, timeout=0.2)
    assert (completion.status, completion.error) == (Status.ERROR, "no answer within 0.2 s")


def test_a_server_that_is_not_there() -> None:
    async def main() -> None:
        model = OpenAIModel("e", "m", "http://127.0.0.1:9/v1", embeds=True, retries=0)
        try:
            await model.complete(ASKED)
        finally:
            await model.aclose()

    with pytest.raises(EndpointDownError, match="cannot be reached"):
        asyncio.run(main())


def test_it_is_another_model_and_another_address_than_the_chat_model_of_the_name() -> None:
    chat, embeds = (OpenAIModel("e", "m", "http://h/v1?api-version=3", embeds=one) for one in (False, True))
    assert chat.fingerprint != embeds.fingerprint
    assert ServerUrl.of("http://h/v1?api-version=3").embedding().chat == "http://h/v1/embeddings?api-version=3"
