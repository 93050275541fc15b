"""A loopback server that misbehaves in every way that servers do, and a model that asks it; nothing sleeps."""

from __future__ import annotations

import asyncio
import json
import re

from arenaloop.models.openai_api import OpenAIModel
from arenaloop.types import Request, Sampling

KEY = "sk-Very-Secret_0123456789"
HANG, RESET = object(), object()


def http(status, body, *headers, length=None):
    """Raw bytes of a reply; `length` lies about the body's."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(data) if length is None else length}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + data


def said(text="hello", *, finish_reason="stop", usage=None, **message):
    choice = {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": text, **message}}
    return http(200, {"choices": [choice], **({"usage": usage} if usage else {})})


class Stub:
    """A server that gives each reply of a script in turn, the last one for ever; a function makes one of the body."""

    def __init__(self, *script):
        self.script = list(script)
        self.bodies, self.heads = [], []
        self.connections = self.open = self.most_open = 0

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_):
        self.server.close()

    async def _serve(self, reader, writer):
        self.connections += 1
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                body = await reader.readexactly(int(re.search(r"content-length: (\d+)", head, re.I)[1]))
                self.heads.append(head)
                self.bodies.append(json.loads(body))
                reply = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                self.open += 1
                self.most_open = max(self.open, self.most_open)
                if callable(reply):
                    reply = await reply(self.bodies[-1])
                self.open -= 1
                if reply is HANG:
                    await asyncio.Event().wait()
                if reply is RESET:
                    writer.transport.abort()
                    return
                writer.write(reply)
                if b"Connection: close" in reply:
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


class Clock:
    """Stands in for sleeping, and remembers how long."""

    def __init__(self):
        self.waits = []

    async def sleep(self, seconds):
        self.waits.append(seconds)
        await asyncio.sleep(0)


def request(text="hi", **sampling):
    return Request(({"role": "user", "content": text},), Sampling(**sampling))


def ask(*script, asked=None, **options):
    """One request to a scripted server: (completion, stub, waits)."""

    async def main():
        clock = Clock()
        async with Stub(*script) as stub:
            model = OpenAIModel("m", "model-id", stub.url, sleep=clock.sleep, **options)
            completion = await model.complete(asked or request())
            await model.aclose()
            return completion, stub, clock.waits

    return asyncio.run(main())
