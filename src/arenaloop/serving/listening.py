"""An aiohttp application on an address, for the servers of this project."""

from __future__ import annotations

from aiohttp import web

from arenaloop.errors import ConfigError

__all__ = ["listen"]


async def listen(app: web.Application, host: str, port: int) -> tuple[web.AppRunner, str]:
    """Start serving; port 0 takes a free one.

    Returns:
        What ends it, and the URL of its root, without a slash at the end.

    Raises:
        ConfigError: the address cannot be served on.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=1024).start()
    except OSError as error:
        await runner.cleanup()
        raise ConfigError(f"cannot serve on {host}:{port} ({error.strerror or error})") from None
    address = runner.addresses[0]
    shown = f"[{address[0]}]" if ":" in address[0] else address[0]
    return runner, f"http://{shown}:{address[1]}"
