"""Connections of which is known whether a request has got one: without, nothing was sent."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

__all__ = ["Connector"]


class Connector(aiohttp.TCPConnector):
    """Connections without a limit of their own (the endpoint's slots are the limit).

    Attributes:
        connected: tasks whose request has got a connection; whoever reads it takes them out again.
    """

    def __init__(self) -> None:
        super().__init__(limit=0, ttl_dns_cache=300)
        self.connected: set[asyncio.Task[Any] | None] = set()

    async def connect(self, *args: Any, **options: Any) -> aiohttp.connector.Connection:
        """A connection for the running task's request."""
        connection = await super().connect(*args, **options)
        self.connected.add(asyncio.current_task())
        return connection
