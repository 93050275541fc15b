"""The report of a run that goes on, as a page that follows it: served on this machine alone, until Ctrl-C.

A frame holds the report. A small script around it asks whether there is a newer one, and puts that in its place where
the reader was: the address after ``#`` and the scrolled line are kept. The report is written anew while somebody looks
and the run has written since, into a passing directory: nothing of the run's own is touched.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import tempfile
import time
from collections.abc import Callable
from html import escape
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from arenaloop.cli.directory import ARENA
from arenaloop.cli.standing import readable
from arenaloop.errors import ArenaloopError, ConfigError
from arenaloop.report import write_report
from arenaloop.report.texts import visible
from arenaloop.store.lock import being_written
from arenaloop.terminal import plain

__all__ = ["LivePage", "make_app", "serve_live"]

_WATCHED = (ARENA, f"{ARENA}-wal", "summary.json", "training.json", "metrics.jsonl")
_SHARE = 5.0  # of the time at most one part in so many goes into writing the report
_HOSTS = frozenset({"127.0.0.1", "localhost"})
_SCRIPT = """
const frame = document.querySelector("iframe"), told = document.querySelector("p");
let version = null;
async function look() {
  try {
    const state = await (await fetch("state", {cache: "no-store"})).json();
    told.textContent = state.told;
    if (version === null) version = state.version;
    else if (state.version !== version) {
      version = state.version;
      const inner = frame.contentWindow, at = inner.scrollY, hash = inner.location.hash;
      frame.addEventListener("load", () => {
        if (hash) inner.location.hash = hash;
        inner.scrollTo(0, at);
      }, {once: true});
      inner.location.reload();
    }
  } catch { told.textContent = "the command that serves this page has ended"; }
  setTimeout(look, 2000);
}
look();
"""
_STYLE = """
html, body { height: 100%; margin: 0; color-scheme: light dark; font: 14px system-ui, sans-serif; }
body { display: flex; flex-direction: column; }
p { margin: 0; padding: .4em 1em; }
iframe { flex: 1; width: 100%; border: 0; }
"""


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_AROUND = (
    f"default-src 'none'; script-src {_source(_SCRIPT)}; style-src {_source(_STYLE)}; frame-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class LivePage:
    """A report that is written again when its run has gone on.

    Args:
        directory: whatever `report.write_report` reads.
        folder: where the pages are written.
        every: seconds between two of them, at least; never more than a fifth of the time goes into it.

    Attributes:
        version: how many pages there have been. `told`: how the run stands, in a line.
    """

    def __init__(self, directory: Path, folder: Path, every: float = 5.0) -> None:
        self.directory, self.page, self.every = directory, folder / "report.html", every
        self.version, self.told = 0, ""
        self._seen: object = None
        self._next = 0.0

    def refresh(self) -> None:
        """Write the page again, if anything has changed since and it is time to."""
        going, seen = self._going(), self._stamp()
        if time.monotonic() >= self._next and (seen, going) != self._seen:
            began = time.monotonic()
            self._write()
            self._seen, self.version = (seen, going), self.version + 1
            self._next = time.monotonic() + max(self.every, _SHARE * (time.monotonic() - began))
        self.told = f"{self.directory}: {'going on' if going else 'nobody works on it now'}; page {self.version:,}"

    def _write(self) -> None:
        try:
            with readable(self.directory) as there:
                write_report(there, self.page)
        except ArenaloopError as error:  # nothing is there yet, say
            text = escape(visible(plain(str(error))))
            self.page.write_text(f"<!DOCTYPE html><meta charset=utf-8><title>report</title><p>{text}</p>")

    def _going(self) -> bool:
        arena = self.directory / ARENA
        return arena.is_file() and being_written(arena)

    def _stamp(self) -> list[tuple[int, int]]:
        watched = [self.directory / name for name in _WATCHED] if self.directory.is_dir() else [self.directory]
        found = []
        for path in watched:
            with contextlib.suppress(OSError):
                stat = path.stat()
                if stat.st_size:  # whoever reads may leave an empty log
                    found.append((stat.st_size, stat.st_mtime_ns))
        return found


def make_app(live: LivePage) -> web.Application:
    """The page, what it asks, and the report with the files beside it; for names of this machine alone."""
    writing = asyncio.Lock()
    beside = live.page.with_name(f"{live.page.stem}.battles")
    around = (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(visible(live.directory.name))}</title><style>{_STYLE}</style></head><body><p></p>"
        f'<iframe src="report.html" title="report"></iframe><script>{_SCRIPT}</script>'
        '<noscript><a href="report.html">report</a></noscript></body></html>'
    )

    @web.middleware
    async def guarded(request: web.Request, handler: Callable[[web.Request], object]) -> web.StreamResponse:
        if urlsplit(f"//{request.host}").hostname not in _HOSTS:  # another site's name that leads here
            return web.Response(status=403, text="this page is for this machine alone")
        response = await handler(request)  # type: ignore[misc]
        assert isinstance(response, web.StreamResponse)
        response.headers.update(_HEADERS)
        return response

    async def refreshed() -> None:
        async with writing:
            await asyncio.to_thread(live.refresh)

    async def index(_: web.Request) -> web.Response:
        policy = {"Content-Security-Policy": _AROUND}
        return web.Response(text=around, content_type="text/html", headers=policy)

    async def state(_: web.Request) -> web.Response:
        if not writing.locked():
            await refreshed()
        return web.json_response({"version": live.version, "told": plain(live.told)})

    async def page(_: web.Request) -> web.Response:
        if not live.version:
            await refreshed()
        body = await asyncio.to_thread(live.page.read_bytes)
        policy = {"Content-Security-Policy": "frame-ancestors 'self'"}  # beside the page's own
        return web.Response(body=body, content_type="text/html", charset="utf-8", headers=policy)

    async def part(request: web.Request) -> web.Response:
        path = beside / request.match_info["name"]
        if path.parent != beside or not path.is_file():
            raise web.HTTPNotFound
        return web.Response(body=await asyncio.to_thread(path.read_bytes), content_type="text/javascript")

    app = web.Application(middlewares=[guarded])
    app.router.add_get("/", index)
    app.router.add_get("/state", state)
    app.router.add_get("/report.html", page)
    app.router.add_get(f"/{beside.name}/{{name:[0-9a-z-]+\\.js}}", part)
    return app


def serve_live(directory: Path, port: int, announce: Callable[[str], object]) -> None:
    """Serve until interrupted.

    Args:
        directory: of the run.
        port: on loopback; 0 takes a free one.
        announce: is given the address once the server listens.

    Raises:
        ConfigError: the address cannot be served on.
    """

    async def main(folder: Path) -> None:
        runner = web.AppRunner(make_app(LivePage(directory, folder)), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, "127.0.0.1", port).start()
            except OSError as error:
                raise ConfigError(f"--port {port}: cannot be served on ({error.strerror or error})") from None
            announce(f"http://127.0.0.1:{runner.addresses[0][1]}/")
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    with tempfile.TemporaryDirectory(prefix="arenaloop-") as folder, contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(Path(folder)))
