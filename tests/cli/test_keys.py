"""API keys are sent to their server and appear nowhere else: not in what a command prints, not in what it writes."""

from __future__ import annotations

import gzip
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from arenaloop.cli import main

# every encoding changes it: signs that URLs escape, and that base64 and JSON write differently
KEY = 'sk-Test+7/Qz="9%w~KEY&that:nobody@must?see'
BEARER = f"Bearer {KEY}"
# in base64 the letters depend on where the key begins; the ends share bits with their neighbours
CODED = {
    encode(bytes(pad) + KEY.encode())[4 * (pad > 0) : -4].decode()
    for encode in (b64encode, urlsafe_b64encode)
    for pad in range(3)
}
FORMS = {KEY, KEY[::-1], quote(KEY), quote(KEY, safe=""), quote_plus(KEY), json.dumps(KEY)[1:-1], KEY.encode().hex()}
FORMS |= {KEY[:16], KEY[-16:]}  # nor a part of it
SAID = "Scores: 7 5\n\nBoth try.\n\nScores: 7 5"  # for templates that want the scores first, too
ECHO = " ".join(
    [f"wrong key {KEY}", f"Authorization: {BEARER}", f"key={quote(KEY, safe='')}", b64encode(BEARER.encode()).decode()]
)


def leaks(data: bytes) -> list[str]:
    """The forms of the key that stand in some bytes, line breaks and blanks aside."""
    text = "".join(data.decode("latin-1").split()).casefold()
    return sorted(form for form in FORMS | CODED if "".join(form.split()).casefold() in text)


def leaking_files(folder: Path) -> dict[str, list[str]]:
    """Every file below a folder in which a form of the key stands, compressed ones unpacked."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        if some := leaks(data) + leaks(str(path).encode()):
            found[str(path.relative_to(folder))] = some
    return found


class Guarded:
    """A chat server that wants the key. The first part of the path says how it answers."""

    def __init__(self) -> None:
        self.keys: list[str | None] = []
        self.hanging = threading.Event()
        self.closing = threading.Event()
        self.after = 10**9  # requests after which it hangs
        guarded = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                guarded.keys.append(self.headers["Authorization"])
                mode = self.path.split("/")[1]
                if self.headers["Authorization"] != BEARER:
                    mode = "401"
                if len(guarded.keys) > guarded.after:
                    guarded.hanging.set()
                    guarded.closing.wait()
                if mode == "some":
                    mode = "200" if len(guarded.keys) % 3 else "400"
                if mode == "malformed":
                    self.wfile.write(f"HTTP/1.1 200 OK\r\n{ECHO}\x00\r\nbad {KEY}\r\n\r\n".encode())
                    self.close_connection = True
                    return
                self.reply(mode)

            def do_GET(self) -> None:
                self.do_POST()

            def reply(self, mode: str) -> None:
                usage = {"prompt_tokens": 3, "completion_tokens": 2}
                said = {
                    "message": {"role": "assistant", "content": SAID},
                    "finish_reason": "stop",
                }
                body: object = {"choices": [said], "usage": usage}
                if mode == "text":
                    data = f"<html>{ECHO}</html>".encode()
                else:
                    if mode != "200":
                        body = {"error": {"message": ECHO, "code": KEY, "param": BEARER}}
                    data = json.dumps(body).encode()
                status = int(mode) if mode.isdigit() else 200
                self.send_response(status, f"no {KEY}" if status != 200 else "OK")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.send_header("X-Your-Key", ECHO)
                self.send_header("WWW-Authenticate", f'Bearer realm="{quote(KEY)}"')
                self.send_header("Set-Cookie", f"key={quote(KEY, safe='')}")
                if status == 307:
                    self.send_header("Location", f"/200/v1/chat/completions?key={quote(KEY, safe='')}")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients are killed on purpose
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    server = Guarded()
    yield server
    server.close()


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    prompts = [f"question {n}" for n in range(6)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": p}) + "\n" for p in prompts))
    answers = [{"instruction": p, "output": f"recorded {p}"} for p in prompts]
    (tmp_path / "old.json").write_text(json.dumps(answers))
    labels = [
        {"instruction": p, "output_1": f"one {p}", "output_2": f"two {p}", "preference": 1 + n % 2}
        for n, p in enumerate(prompts)
    ]
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    return tmp_path


Ran = subprocess.CompletedProcess[bytes]


@pytest.fixture
def command(inputs: Path) -> Callable[..., Ran]:
    """Runs a command with the key in the environment; nothing of it may be printed, or stand in a file afterwards."""
    environment = os.environ | {"MY_KEY": KEY, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "80"}
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        environment.pop(name, None)

    def call(*arguments: str) -> Ran:
        line = [sys.executable, "-c", "from arenaloop.cli import main; main()", *arguments]
        ran = subprocess.run(line, cwd=inputs, env=environment, capture_output=True, timeout=120)
        assert leaks(ran.stdout) == []
        assert leaks(ran.stderr) == []
        assert leaking_files(inputs) == {}
        return ran

    return call


@pytest.fixture
def here(
    inputs: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Callable[..., Ran]:
    """As `command`, in this process: keys are no process's state, and what is printed is heard where it is written."""
    monkeypatch.chdir(inputs)
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["arenaloop", *arguments])
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capfdbinary.readouterr()
        assert leaks(said.out) == []
        assert leaks(said.err) == []
        assert leaking_files(inputs) == {}
        assert isinstance(ended.value.code, int)
        return Ran(arguments, ended.value.code, said.out, said.err)

    return call


def model_file(inputs: Path, guarded: Guarded, mode: str, model: str = "m") -> str:
    """A SPEC file; a fault is not tried again."""
    path = inputs / f"{mode}-{model}.yaml"
    spec = f"{guarded.url}/{mode}/v1#{model}"
    path.write_text(json.dumps({"spec": spec, "key_env": "MY_KEY", "retries": 0, "timeout": 20, "concurrency": 2}))
    return str(path)


def battle(inputs: Path, guarded: Guarded, mode: str, contestant: str = "200") -> list[str]:
    new, decider = model_file(inputs, guarded, contestant, "new"), model_file(inputs, guarded, mode, "judge")
    run = ["battle", "--model", f"new={new}", "--model", "old=file:old.json"]
    return [*run, "--prompts", "prompts.jsonl", "--judge", decider, "--out", "run"]


def test_the_search_finds_every_form(tmp_path: Path) -> None:
    """It can fail: each form is found, whatever stands around it and wherever a line is broken."""
    for form in (
        KEY,
        quote(KEY, safe=""),
        json.dumps({"k": KEY}),
        KEY.encode().hex().upper(),
        f"{KEY[:30]}\n{KEY[30:]}",
    ):
        assert leaks(f"before {form} after".encode())
    for before in ("", "a", "ab", "Bearer ", "user:"):
        assert leaks(b64encode(f"{before}{KEY} and more".encode()))
        assert leaks(urlsafe_b64encode(f"{before}{KEY}".encode()))
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "file.gz").write_bytes(gzip.compress(ECHO.encode()))
    assert list(leaking_files(tmp_path)) == ["some/file.gz"]
    assert leaks(b"sk-Test is a prefix that anybody may know") == []


@pytest.mark.slow
def test_a_run_with_all_that_follows(
    inputs: Path, guarded: Guarded, command: Callable[..., Ran], here: Callable[..., Ran]
) -> None:
    run = battle(inputs, guarded, "200")
    assert here(*run, "--dry-run").returncode == 0
    assert guarded.keys == []
    assert command(*run).returncode == 0
    assert guarded.keys == [BEARER] * 18  # six answers, twelve verdicts: the key is used
    assert here(*run, "--json").returncode == 0
    assert here("report", "run").returncode == 0
    assert here("rank", "run", "--json").returncode == 0
    assert here("rejudge", "run", "--template", "score_first").returncode == 0
    audit = ["audit", "--judge", model_file(inputs, guarded, "200", "judge"), "--labels", "labels.json"]
    assert here(*audit, "--out", "audit").returncode == 0
    assert guarded.keys == [BEARER] * (18 + 12 + 12)
    for name in ("config.yaml", "arena.db", "summary.json", "battles.jsonl", "leaderboard.json", "report.html"):
        assert (inputs / "run" / name).stat().st_size > 0
    assert "MY_KEY" in (inputs / "run" / "config.yaml").read_text()


@pytest.mark.parametrize("mode", ["400", "401", "500", "307", "text", "malformed"])
def test_a_server_that_echoes_the_key(mode: str, inputs: Path, guarded: Guarded, here: Callable[..., Ran]) -> None:
    """In error bodies, headers, reasons and places to go: what is stored and said of a failure leaves it out."""
    run = battle(inputs, guarded, mode)
    ran = here(*run)
    assert ran.returncode in (3, 4), ran.stderr.decode()
    assert BEARER in guarded.keys
    assert ran.stderr
    assert ran.returncode == 4 or (inputs / "run" / "summary.json").exists()


def test_an_audit_of_a_judge_that_echoes_the_key(inputs: Path, guarded: Guarded, here: Callable[..., Ran]) -> None:
    decider = model_file(inputs, guarded, "403", "judge")
    assert here("audit", "--judge", decider, "--labels", "labels.json", "--out", "audit").returncode in (3, 4)
    assert BEARER in guarded.keys


def test_a_server_that_fails_now_and_then(inputs: Path, guarded: Guarded, here: Callable[..., Ran]) -> None:
    """Failed rows are stored with a reason, shown in the report, and read again; the reasons keep the key out."""
    ran = here(*battle(inputs, guarded, "some", contestant="some"))
    assert ran.returncode == 3, ran.stderr.decode()
    assert here("report", "run").returncode == 0
    assert here("rejudge", "run", "--template", "score_first").returncode in (0, 3)
    with closing(sqlite3.connect(inputs / "run" / "arena.db")) as db:
        reasons = [r for (r,) in db.execute("SELECT error FROM verdicts WHERE error IS NOT NULL")]
    assert reasons
    assert all("400" in reason for reason in reasons)


def test_batches(inputs: Path, guarded: Guarded, here: Callable[..., Ran]) -> None:
    """A Batch API that refuses, with the key in its reason."""
    ran = here(*battle(inputs, guarded, "403"), "--batch", "--no-wait")
    assert ran.returncode != 0
    assert BEARER in guarded.keys


def test_a_wrong_variable_and_a_wrong_key(
    inputs: Path, guarded: Guarded, here: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = inputs / "judge.yaml"
    path.write_text(json.dumps({"spec": f"{guarded.url}/200/v1#judge", "key_env": "OTHER_KEY"}))
    line = ["battle", "--model", "a=file:old.json", "--model", "b=file:old.json", "--prompts", "prompts.jsonl"]
    for value in ("", "line\nbreak", "sk-\x7fbroken", "schlüssel-" + KEY):
        monkeypatch.setenv("OTHER_KEY", value)
        ran = here(*line, "--judge", str(path), "--out", "run")
        assert ran.returncode == 2, ran.stderr.decode()
        assert b"OTHER_KEY" in ran.stderr
        assert not value or value.encode() not in ran.stderr + ran.stdout
    assert guarded.keys == []


def test_killed_with_the_log_not_yet_folded_in(inputs: Path, guarded: Guarded) -> None:
    """The write-ahead log of a killed run holds no key either."""
    guarded.after = 12
    line = [sys.executable, "-c", "from arenaloop.cli import main; main()", *battle(inputs, guarded, "some")]
    environment = os.environ | {"MY_KEY": KEY, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(line, cwd=inputs, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert guarded.hanging.wait(60)
        log = inputs / "run" / "arena.db-wal"
        while b"Both try." not in log.read_bytes():
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        said = b"".join(process.communicate())
    assert log.stat().st_size > 0
    assert leaks(said) == []
    assert leaking_files(inputs) == {}
