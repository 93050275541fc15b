"""A page in a real Chromium, driven by its DevTools protocol over aiohttp, which the package needs anyway.

Nothing is installed for it: where the machine has no browser, `found` is None and whoever needs one is skipped.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

__all__ = ["Tab", "browser", "found"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "headless_shell")
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"),
    *("--disable-component-update", "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-port=0"),
)
_PATIENCE = 200.0
"""seconds until a page that does not answer is given up"""
_KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32}


def found() -> str | None:
    """The browser of ``$CHROMIUM`` or of this machine."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)


class Tab:
    """One page: what is sent to it, what it says, and what it complains of.

    Attributes:
        complaints: console errors and warnings, uncaught exceptions, refusals of the content security policy and loads
            that failed, in order.
        requested: the addresses that it asked for.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: ClientWebSocketResponse) -> None:
        self._loop, self._socket, self._last = loop, socket, 0
        self._session = ""
        self.complaints: list[str] = []
        self.requested: list[str] = []

    def send(self, method: str, **parameters: object) -> dict[str, Any]:
        """Call a method of the protocol, and give its result."""
        return self._loop.run_until_complete(asyncio.wait_for(self._send(method, parameters), _PATIENCE))

    async def _send(self, method: str, parameters: dict[str, object], wait_for: str | None = None) -> dict[str, Any]:
        self._last += 1
        number, result = self._last, None
        told = {"id": number, "method": method, "params": parameters}
        await self._socket.send_str(json.dumps(told | ({"sessionId": self._session} if self._session else {})))
        while True:
            message = await self._socket.receive()
            if message.type is not WSMsgType.TEXT:
                raise RuntimeError("the browser has ended")
            found = json.loads(message.data)
            self._note(found)
            if found.get("id") == number:
                if "error" in found:
                    raise RuntimeError(f"{method}: {found['error']['message']}")
                result = found["result"]
            waited = wait_for is None or found.get("method") == wait_for
            if result is not None and waited:
                return dict(result)

    def _note(self, message: dict[str, Any]) -> None:
        what, told = message.get("method"), message.get("params", {})
        if what == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.complaints.append(" ".join(str(one.get("value", one.get("description"))) for one in told["args"]))
        elif what == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif what == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.complaints.append(told["entry"]["text"])
        elif what == "Network.requestWillBeSent":
            self.requested.append(told["request"]["url"])

    def attach(self) -> None:
        """Open the tab in the browser."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def open(self, url: str, *, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        """Open an address in a window of this size (CSS pixels) and colour scheme, and wait until it is loaded."""
        self.resize(width, height)
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._navigate("about:blank")  # of one address with another end the page would stay
        self.complaints.clear()
        self.requested.clear()
        self._navigate(url)

    def _navigate(self, url: str) -> None:
        asked = self._send("Page.navigate", {"url": url}, wait_for="Page.loadEventFired")
        self._loop.run_until_complete(asyncio.wait_for(asked, _PATIENCE))

    def resize(self, width: int, height: int = 900) -> None:
        """Give the window another size in CSS pixels."""
        size: dict[str, object] = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited if it is a promise."""
        told = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in told:
            details = told["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description") or details["text"])
        return told["result"].get("value")

    def until(self, expression: str) -> Any:
        """The first truthy value of an expression, looked at whenever the page draws itself."""
        return self.ask(
            "new Promise((done, failed) => { const began = performance.now(); const look = () => {"
            f"let value = null; try {{ value = ({expression}); }} catch (error) {{ failed(error); return; }}"
            f"if (value) done(value); else if (performance.now() - began > {1000 * (_PATIENCE - 5)})"
            f"failed(new Error({json.dumps(f'never: {expression}')}));"
            "else setTimeout(look, 20); }; look(); })"
        )

    def choose(self, name: str, value: str) -> None:
        """Set a field of the page's form as a user does, and wait until the page has taken it."""
        event = "new Event(field.tagName === 'SELECT' ? 'change' : 'input', {bubbles: true})"
        self.ask(
            f"(async () => {{ const field = document.querySelector('#filters').elements[{json.dumps(name)}];"
            f"field.value = {json.dumps(value)}; field.dispatchEvent({event});"
            "await new Promise((done) => setTimeout(done, field.tagName === 'SELECT' ? 20 : 260)); })()"
        )

    def press(self, key: str, *, shift: bool = False) -> None:
        """A key, as from the keyboard."""
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        told = {"key": key, "code": key, "windowsVirtualKeyCode": _KEYS.get(key, ord(key[0].upper()))}
        more: dict[str, object] = {"modifiers": 8 if shift else 0}
        self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **told, **more)
        self.send("Input.dispatchKeyEvent", type="keyUp", **told, **more)

    def picture(self, path: Path, *, top: int = 0, height: int = 900) -> None:
        """Write a slice of the page as PNG: from `top` CSS pixels below its beginning."""
        width = self.ask("innerWidth")
        clip = {"x": 0, "y": top, "width": width, "height": height, "scale": 1}
        told = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(told["data"]))


@contextmanager
def browser() -> Iterator[Tab]:
    """A tab in a browser of its own, with nothing of a user's in it; it ends with the block."""
    program = found()
    assert program is not None
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"], stderr=subprocess.PIPE, text=True
        )
        loop = asyncio.new_event_loop()
        try:
            assert process.stderr is not None
            address = next(filter(None, (re.search(r"ws://\S+", line) for line in process.stderr)), None)
            if address is None:
                raise RuntimeError(f"{program} has not begun")
            session = loop.run_until_complete(_session())
            socket = loop.run_until_complete(session.ws_connect(address[0], max_msg_size=0))
            tab = Tab(loop, socket)
            tab.attach()
            try:
                yield tab
            finally:
                loop.run_until_complete(socket.send_str('{"id": 0, "method": "Browser.close"}'))
                loop.run_until_complete(session.close())
        finally:
            loop.close()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stderr is not None:
                process.stderr.close()


async def _session() -> ClientSession:
    return ClientSession()
