"""The reward server as an aiohttp application: ``POST /get_reward`` takes a batch, ``GET /health`` says how it goes.

Errors are ``{"error": one line}``: 400 for a body that cannot be read, 401 without the key, 413 for one that is too
large, 415 for one that is not called JSON (so that no page in a browser can post unasked), 429 while too much waits,
503 where nothing is asked any more.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from arenaloop.serving.asking import OverError
from arenaloop.serving.service import BusyError, RewardService
from arenaloop.serving.wire import KnownPrompts, WireError, read_body

__all__ = ["PATH", "make_app"]

PATH = "/get_reward"
"""Where batches go: OpenRLHF's own server has it there."""
MOST_BYTES = 64 << 20
"""Of one body."""

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(service: RewardService, known: KnownPrompts, *, most_characters: int, key: str | None) -> web.Application:
    """The application.

    Args:
        service: answers batches.
        known: the prompts that are answered for.
        most_characters: of a prompt and its answer together.
        key: which every request has to bring as a bearer token; None for none.
    """

    async def rewards(request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            return _error(415, "the body is to be JSON, and its Content-Type application/json")
        raw = await request.read()
        try:
            return _json(200, await service.answer(read_body(raw, known, most_characters=most_characters)))
        except WireError as error:
            return _error(400, str(error))
        except BusyError as error:
            return _error(429, str(error))
        except OverError as error:
            return _error(503, str(error))

    async def health(_: web.Request) -> web.Response:
        return _json(200, service.health())

    async def elsewhere(request: web.Request) -> web.Response:
        return _error(404, f"{request.method} {request.path[:80]} is not offered; POST {PATH} is")

    @web.middleware
    async def guarded(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if key is not None and not _has_key(request, key):
            return _error(401, "the key is missing or another: Authorization: Bearer KEY")
        try:
            return await handler(request)
        except web.HTTPRequestEntityTooLarge:
            return _error(413, f"the body has more than {MOST_BYTES >> 20} MB")

    app = web.Application(client_max_size=MOST_BYTES, middlewares=[guarded])
    app.router.add_post(PATH, rewards)
    app.router.add_get("/health", health)
    app.router.add_route("*", "/{anything:.*}", elsewhere)
    return app


def _has_key(request: web.Request, key: str) -> bool:
    given = request.headers.get("Authorization", "").encode("utf-8", "replace")
    return hmac.compare_digest(given, f"Bearer {key}".encode())


def _json(status: int, value: dict[str, Any]) -> web.Response:
    return web.Response(status=status, body=json.dumps(value).encode(), content_type="application/json")


def _error(status: int, what: str) -> web.Response:
    return _json(status, {"error": " ".join(what.split())})
