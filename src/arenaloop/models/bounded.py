"""Reading what a server sends, but not without end: bounds of size and of time for replies, errors and result files."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp

__all__ = ["LONGEST_REPLY", "SLOWEST", "beginning", "lines", "whole"]

LONGEST_REPLY = 128 << 20
"""Bytes of one reply, or of one line of a file; 100,000 tokens with five log-probabilities each are half of it."""

SLOWEST = 10_000
"""Bytes a second that a file must make, up or down, once the time for one call is over."""


async def whole(response: aiohttp.ClientResponse) -> bytes:
    """A reply's body, as ``response.read()`` gives it. A body may be small only while it is packed.

    Raises:
        aiohttp.ClientPayloadError: it is longer than `LONGEST_REPLY`.
    """
    from aiohttp import ClientPayloadError

    parts: list[bytes] = []
    size = 0
    try:
        while part := await response.content.readany():
            parts.append(part)
            if (size := size + len(part)) > LONGEST_REPLY:
                raise ClientPayloadError(f"the reply is longer than {LONGEST_REPLY >> 20} MB")
    except BaseException:
        response.close()
        raise
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def beginning(response: aiohttp.ClientResponse, most: int = 1 << 16, timeout: float | None = None) -> bytes:
    """The first bytes of a body, `most` of them or a little more: of an error's nobody reads more.

    Args:
        response: its body has not been read.
        most: bytes that are enough.
        timeout: seconds after which what has come is enough; None = as long as the call may take.
    """
    parts: list[bytes] = []
    try:
        async with asyncio.timeout(timeout) as limit:
            while most > 0 and (part := await response.content.readany()):
                parts.append(part)
                most -= len(part)
    except TimeoutError:
        if not limit.expired():
            raise
        most = 0
    if most <= 0:
        response.close()
    return b"".join(parts)


async def lines(response: aiohttp.ClientResponse, longest: int, timeout: float) -> AsyncIterator[bytes]:
    """The lines of a JSONL file in a reply's body, each as it arrives; blank ones are left out.

    Args:
        longest: bytes of all lines.
        timeout: seconds for which nobody needs to hurry; then the file must have made `SLOWEST` on the average.

    Raises:
        aiohttp.ClientPayloadError: the body or a line of it is too long, or ends within a line.
        TimeoutError: it comes too slowly.
    """
    from aiohttp import ClientPayloadError

    rest: list[bytes] = []  # of the line that has begun
    held = size = 0
    waited = 0.0
    while True:
        began = time.monotonic()
        chunk = await response.content.readany()
        waited += time.monotonic() - began
        if not chunk:
            break
        size += len(chunk)
        if size > longest:
            raise ClientPayloadError(f"the file is longer than {longest >> 20:,} MB")
        if waited > timeout + size / SLOWEST:
            raise TimeoutError(f"{size:,} bytes in {waited:.0f} s")
        first, *more = chunk.split(b"\n")
        rest.append(first)
        held += len(first)
        if held > LONGEST_REPLY:
            raise ClientPayloadError(f"a line is longer than {LONGEST_REPLY >> 20} MB")
        for line in more:
            complete = b"".join(rest)
            rest, held = [line], len(line)
            if complete.strip():
                yield complete
    if (complete := b"".join(rest)).strip():
        try:
            json.loads(complete)
        except (ValueError, RecursionError):
            raise ClientPayloadError("the file ends within a line") from None
        yield complete
