"""The small world as an OpenAI-compatible server, so that any client can play in it.

``POST /v1/chat/completions`` answers as the contestant that ``model`` names (the players, and ``judge``);
``GET /v1/models`` lists them; ``/v1/files`` and ``/v1/batches`` take the same in batches. Errors have OpenAI's form. A
token is a word between white space. The same request gets the same answer; a ``seed`` numbers a prompt's samples.
The judge answers by a `response_format`'s schema; the players write what they always do. Streaming, several choices and
log-probabilities are not offered.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from aiohttp import web

from arenaloop.errors import nearest
from arenaloop.messages import message_text
from arenaloop.sandbox.author import AUTHOR, Author
from arenaloop.sandbox.batch_api import BatchApi
from arenaloop.sandbox.editors import EDITORS, Editor
from arenaloop.sandbox.judge import SandboxJudge
from arenaloop.sandbox.players import SKILLS, Player
from arenaloop.serving.listening import listen
from arenaloop.types import Message, Request, Sampling

__all__ = ["count_tokens", "make_app", "running_server", "sandbox_contestants", "serve"]

Contestant = Callable[[Request], str]

_WORD = re.compile(r"\S+")
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_ROLES = ("system", "developer", "user", "assistant")


class _BadRequestError(Exception):
    """What is wrong with a request, and the field that it is about."""

    def __init__(self, what: str, param: str | None = None) -> None:
        super().__init__(what)
        self.param = param


def sandbox_contestants(seed: int = 0) -> dict[str, Contestant]:
    """Every player and editor by name, the author of prompts, and the judge of that seed as ``judge``."""
    writers: dict[str, Contestant] = {**{name: Player(name) for name in SKILLS}, **{n: Editor(n) for n in EDITORS}}
    return {**writers, AUTHOR: Author(), "judge": SandboxJudge(seed=seed)}


def count_tokens(text: str) -> int:
    """Words between white space in `text`: what this server counts as tokens."""
    return len(text.split())


def make_app(contestants: Mapping[str, Contestant], batches: BatchApi | None = None) -> web.Application:
    """The server as an aiohttp application.

    Args:
        contestants: functions from request to text, by the name that clients ask for.
        batches: its Batch API; a plain one by default.
    """
    created = int(time.time())
    numbers = itertools.count(1)

    def answer(raw: bytes) -> web.Response:
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            return _error(400, "the body is not JSON")
        if not isinstance(body, dict):
            return _error(400, "the body is not a JSON object")
        name = body.get("model")
        contestant = contestants.get(name) if isinstance(name, str) else None
        if contestant is None:
            known = ", ".join(contestants)
            what = f"the model {name!r} does not exist; known are {known}{nearest(str(name), list(contestants))}"
            return _error(404, what, param="model", code="model_not_found")
        try:
            request = read_request(body)
        except _BadRequestError as error:
            return _error(400, str(error), param=error.param)
        try:
            text = contestant(request)
        except Exception as error:  # a contestant's bug is this server's error, not the end of the server
            return _error(500, f"{name} failed: {type(error).__name__}: {error}", kind="server_error")
        text, tokens, finish_reason = _cut(text, request.sampling)
        prompt_tokens = sum(count_tokens(message["content"]) for message in request.messages)
        reply = {
            "id": f"chatcmpl-{next(numbers)}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": name,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text, "refusal": None},
                    "finish_reason": finish_reason,
                    "logprobs": None,
                }
            ],
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": tokens,
                "total_tokens": prompt_tokens + tokens,
            },
        }
        return _json(200, reply)

    async def complete(http_request: web.Request) -> web.Response:
        return answer(await http_request.read())

    async def models(_: web.Request) -> web.Response:
        rows = [{"id": n, "object": "model", "created": created, "owned_by": "sandbox"} for n in contestants]
        return _json(200, {"object": "list", "data": rows})

    async def elsewhere(http_request: web.Request) -> web.Response:
        what = f"{http_request.method} {http_request.path} is not offered; POST /v1/chat/completions is"
        return _error(404, what, code="unknown_url")

    app = web.Application(client_max_size=256 << 20)
    app.router.add_post("/v1/chat/completions", complete)
    (batches or BatchApi()).add_routes(app, answer)
    app.router.add_get("/v1/models", models)
    app.router.add_route("*", "/{anything:.*}", elsewhere)
    return app


def read_request(body: Mapping[str, Any]) -> Request:
    """What a chat-completions body asks for.

    Raises:
        _BadRequestError: a field is missing, malformed or not offered here.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _BadRequestError("messages is not a list of at least one message", "messages")
    conversation: list[Message] = []
    for number, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in _ROLES:
            raise _BadRequestError(
                f"messages[{number}].role is none of {', '.join(_ROLES)}", f"messages[{number}].role"
            )
        try:
            conversation.append({"role": role, "content": message_text(message.get("content"))})
        except ValueError:
            raise _BadRequestError(f"messages[{number}].content is not a text", f"messages[{number}].content") from None
    if conversation[-1]["role"] != "user":
        raise _BadRequestError("the last message is not the user's", "messages")
    if body.get("stream"):
        raise _BadRequestError("streaming is not offered", "stream")
    if body.get("n") not in (None, 1):
        raise _BadRequestError("n is not 1; ask again with another seed", "n")
    stop = body.get("stop") or []
    stop = (stop,) if isinstance(stop, str) else tuple(stop) if isinstance(stop, list) else None
    if stop is None or not all(isinstance(text, str) for text in stop):
        raise _BadRequestError("stop is neither a text nor a list of texts", "stop")
    limit = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    sampling = Sampling(
        temperature=_number(body, "temperature", 1.0, 0.0),
        top_p=_number(body, "top_p", 1.0, 0.0),
        max_tokens=int(_number(body, limit, 1 << 30, 1)),
        stop=stop,
    )
    seed = int(_number(body, "seed", 0, -math.inf))
    return Request(tuple(conversation), sampling, sample=seed, seed=seed, schema=_schema(body))


def _schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the answer has to be an object of; None where it may be any text."""
    form = body.get("response_format")
    if form is None or (isinstance(form, dict) and form.get("type") == "text"):
        return None
    told = form.get("json_schema") if isinstance(form, dict) else None
    schema = told.get("schema") if isinstance(told, dict) else None
    if not isinstance(schema, dict) or not isinstance(schema.get("properties"), dict):
        raise _BadRequestError("response_format is neither text nor a json_schema of an object", "response_format")
    return schema


def _number(body: Mapping[str, Any], field: str, default: float, least: float) -> float:
    value = body.get(field)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < least:
        floor = "" if least == -math.inf else f" of at least {least:g}"
        raise _BadRequestError(f"{field} is not a number{floor}", field)
    return value


def _cut(text: str, sampling: Sampling) -> tuple[str, int, str]:
    """The text up to its first stop string and within the token limit, its tokens, and the finish reason."""
    for stop in sampling.stop:
        if stop:
            text = text.partition(stop)[0]
    tokens = count_tokens(text)
    if tokens <= sampling.max_tokens:
        return text, tokens, "stop"
    first_left_out = next(itertools.islice(_WORD.finditer(text), sampling.max_tokens, None))
    return text[: first_left_out.start()], sampling.max_tokens, "length"


def _json(status: int, value: object) -> web.Response:
    # a lone surrogate, which UTF-8 cannot hold, becomes a question mark
    return web.Response(
        status=status, body=_ENCODER.encode(value).encode("utf-8", "replace"), content_type="application/json"
    )


def _error(
    status: int, what: str, *, param: str | None = None, code: str | None = None, kind: str = "invalid_request_error"
) -> web.Response:
    return _json(status, {"error": {"message": what, "type": kind, "param": param, "code": code}})


def _print_url(url: str) -> None:
    print(url, flush=True)  # a script that started the server reads this line from a pipe


def serve(
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    seed: int = 0,
    contestants: Mapping[str, Contestant] | None = None,
    announce: Callable[[str], object] = _print_url,
) -> None:
    """Serve until interrupted.

    Args:
        host, port: where; port 0 takes a free one.
        seed: which judge the small world has.
        contestants: who answers; the whole small world by default.
        announce: is given the base URL once the server listens.

    Raises:
        ConfigError: the address cannot be served on.
    """
    app = make_app(sandbox_contestants(seed) if contestants is None else contestants)

    async def main() -> None:
        runner, root = await listen(app, host, port)
        try:
            announce(f"{root}/v1")
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())


@contextlib.contextmanager
def running_server(
    contestants: Mapping[str, Contestant] | None = None, batches: BatchApi | None = None
) -> Iterator[str]:
    """A server on a free loopback port, in a thread of this process; gives its base URL and ends with the block."""
    app = make_app(sandbox_contestants() if contestants is None else contestants, batches)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="sandbox server", daemon=True)
    thread.start()
    runner: web.AppRunner | None = None
    try:
        runner, root = asyncio.run_coroutine_threadsafe(listen(app, "127.0.0.1", 0), loop).result()
        yield f"{root}/v1"
    finally:
        if runner is not None:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
