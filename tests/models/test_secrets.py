"""Keys are sent and shown nowhere."""

from __future__ import annotations

import asyncio

import pytest
from misbehaving_server import KEY, Clock, Stub, http, request, said

from arenaloop.errors import EndpointDownError
from arenaloop.models.openai_api import OpenAIModel


@pytest.mark.parametrize(
    "fault",
    [
        http(401, {"error": {"message": f"Incorrect API key provided: {KEY}."}}),
        http(400, ("x" * 190 + KEY).encode()),
        http(500, f"Authorization: Bearer {KEY}\n".encode()),
        http(200, {"error": KEY}),
        http(418, {"error": {"message": "another's: sk-0987654321abc, Bearer abc.def"}}),
    ],
)
def test_the_key_is_sent_and_shown_nowhere(monkeypatch, fault):
    monkeypatch.setenv("THE_KEY", f" {KEY}\n")

    async def main():
        async with Stub(*[fault] * 20, said()) as stub:
            clock = Clock()
            model = OpenAIModel("m", "x", stub.url, key_env="THE_KEY", retries=0, sleep=clock.sleep)
            shown = []
            for _ in range(20):
                try:
                    shown.append(repr(await model.complete(request())))
                except EndpointDownError as error:
                    shown.append(repr(error))
            shown += [repr(model), str(model), model.fingerprint, repr(vars(model))]
            await model.aclose()
            return stub, " ".join(shown)

    stub, shown = asyncio.run(main())
    assert f"Authorization: Bearer {KEY}\r\n" in stub.heads[0]
    assert "EndpointDownError" in shown
    for part in (KEY, KEY[:12], "sk-0987654321abc", "abc.def"):
        assert part not in shown
