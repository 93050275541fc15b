"""`report --live`: a page that follows a run, over loopback."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from arenaloop.cli.live_report import LivePage, make_app
from arenaloop.store import Store

Command = Callable[..., Any]
BATTLE = ("--model", "a=sandbox:scholar", "--model", "b=sandbox:novice", "--judge", "sandbox:judge", "--out", "out")


@pytest.fixture
def run(arenaloop: Command, tmp_path: Path) -> Path:
    """6 battles, of which some are decided."""
    prompts = arenaloop("sandbox", "prompts", "--n", "6", "--split", "test").out
    (tmp_path / "prompts.jsonl").write_text(prompts)
    assert arenaloop("battle", *BATTLE, "--prompts", "prompts.jsonl", "--budget-calls", "12").code == 4
    return tmp_path / "out"


def test_the_page_follows_the_run(arenaloop: Command, run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    folder.mkdir()
    live = LivePage(Path("out"), folder, every=0.0)
    before = {path.name for path in run.iterdir()}

    async def asked() -> None:
        runner = web.AppRunner(make_app(live), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            async with ClientSession(f"http://127.0.0.1:{port}") as client:

                async def get(path: str, **headers: str) -> tuple[int, str, Any]:
                    async with client.get(path, headers=headers) as reply:
                        return reply.status, await reply.text(), reply.headers

                status, page, told = await get("/")
                assert status == 200
                assert 'src="report.html"' in page
                assert told["Content-Security-Policy"].startswith("default-src 'none'; script-src 'sha256-")
                assert told["X-Content-Type-Options"] == "nosniff"
                first = json.loads((await get("/state"))[1])
                assert first["version"] == 1
                report = (await get("/report.html"))[1]
                assert "The run is not through" in report
                live._next = 0.0
                assert json.loads((await get("/state"))[1])["version"] == 1  # nothing has changed
                done = await asyncio.to_thread(arenaloop, "battle", *BATTLE, "--prompts", "prompts.jsonl")
                assert done.code == 0, done.lines
                live._next = 0.0
                assert json.loads((await get("/state"))[1])["version"] == 2
                status, report, told = await get("/report.html")
                assert "The run is not through" not in report
                assert told["Content-Security-Policy"] == "frame-ancestors 'self'"
                assert (await get("/report.html", Host="evil.example"))[0] == 403
                for path in ("/report.battles/..%2Freport.html", "/report.battles/00000-x.js", "/arena.db"):
                    assert (await get(path))[0] == 404, path
        finally:
            await runner.cleanup()

    asyncio.run(asked())
    assert {path.name for path in run.iterdir()} <= before | {"arena.db-wal", "arena.db-shm"}


def test_what_cannot_be_reported_yet_is_a_page_too(tmp_path: Path) -> None:
    (tmp_path / "<run>").mkdir()
    live = LivePage(tmp_path / "<run>", tmp_path)
    live.refresh()
    assert "&lt;run&gt;: no run directory" in live.page.read_text()
    with Store(tmp_path / "<run>" / "arena.db"):
        live.refresh()  # not yet: the last one was just written
        assert (live.version, "going on" in live.told) == (1, True)


def test_the_command_ends_with_ctrl_c(run: Path, arenaloop: Command) -> None:
    code = "from arenaloop.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "report", "out", "--live"], stdout=subprocess.PIPE, text=True, cwd=run.parent
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with urllib.request.urlopen(f"{url}report.html") as reply:
            assert b"The run is not through" in reply.read()
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
    refused = arenaloop("report", "out", "--live", "--out", "x.html")
    assert (refused.code, len(refused.lines)) == (2, 1)
    assert arenaloop("report", "nowhere", "--live").lines == ["arenaloop: nowhere: no such run directory"]
