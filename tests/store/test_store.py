"""The arena file: what is acknowledged stays, whatever happens to the process, the disk or the file."""

from __future__ import annotations

import fcntl
import os
import random
import select
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arenaloop.errors import ArenaFileError, StorageError
from arenaloop.store import SCHEMA_VERSION, Store, recorded_key, response_key
from arenaloop.store.schema import MIGRATIONS, response_keys
from arenaloop.store.writer import _LINGER
from arenaloop.types import Completion, Outcome, Prompt, Status, Verdict, content_hash

TEXTS = st.text(st.characters(), max_size=30) | st.sampled_from(
    ["\x00", "a\x00b", "\x00json:", '\x00json:"x"', "\ud800", "x\udfffy", "\ud83d\ude00", "\U0001f600", ""]
)


Turn = tuple[str, int, str, str, Completion, str]


def verdict(key: str, status: Status = Status.OK, **fields: Any) -> Verdict:
    scores: dict[str, Any] = (
        {"score_first": 7.0, "score_second": 5.0, "outcome": Outcome.A} if status is Status.OK else {}
    )
    return Verdict(key, "p", "f", "s", "judge", status, **{"usd": 0.0, **scores, **fields})


def turn(key: str, completion: Completion, number: int = 0, prompt_id: str = "p") -> Turn:
    return key, number, prompt_id, "model", completion, content_hash([completion.text])


def dump(path: Path, query: str) -> list[Any]:
    with sqlite3.connect(path) as db:
        return db.execute(query).fetchall()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "arena.db"


# ---------------------------------------------------------------------- what goes in comes out


def test_append_and_reopen(path: Path) -> None:
    prompt = Prompt(({"role": "user", "content": "hi"},), ("more",), tags={"source_id": 7})
    first = verdict("v", raw="Scores: 7 5", tokens_in=3, tokens_out=4, usd=0.5, seconds=1.5, calls=2)
    with Store(path) as store:
        store.add_prompts([prompt, prompt])
        store.add_turns([turn("r", Completion("one"), 0), turn("r", Completion("two"), 1)])
        store.add_verdict(first)
        store.put_stage("SFT-I0", "key", {"rows": 3, "nested": [None, 1.5]})
        secret = store.secret
    with Store(path, readonly=True) as store:
        assert store.prompt(prompt.id) == prompt
        assert list(store.prompts()) == [prompt]
        assert store.verdict("v") == first
        assert store.verdicts(["v", "none"]) == {"v": first}
        response = store.response("r", prompt, "someone")
        assert response is not None
        assert (response.texts, response.status, response.model) == (("one", "two"), Status.OK, "someone")
        assert store.stage("SFT-I0", "key") == {"rows": 3, "nested": [None, 1.5]}
        assert store.stage("SFT-I0", "other") is None
        assert store.prompt("none") is None
        assert store.verdict("none") is None
        assert store.secret == secret
        assert len(secret) == 32


def test_a_response_is_whole_or_nothing(path: Path) -> None:
    prompt = Prompt(({"role": "user", "content": "hi"},), ("more",))
    with Store(path) as store:
        assert store.response("r", prompt, "m") is None
        store.add_turns([turn("r", Completion("one"))])
        assert store.response("r", prompt, "m") is None
        store.add_turns([turn("r", Completion(status=Status.ERROR, error="boom"), 1)])
        failed = store.response("r", prompt, "m")
        assert failed is not None
        assert failed.status is Status.ERROR


@pytest.mark.parametrize("early", [Status.TRUNCATED, Status.EMPTY])
def test_a_cut_or_empty_early_turn_marks_the_whole_response(path: Path, early: Status) -> None:
    """A later good turn must not hide it: such a response may never be chosen for training."""
    prompt = Prompt(({"role": "user", "content": "hi"},), ("more",))
    with Store(path) as store:
        store.add_turns([turn("r", Completion("", status=early), 0), turn("r", Completion("fine"), 1)])
        response = store.response("r", prompt, "m")
    assert response is not None
    assert response.status is early
    assert response.battles


def test_the_latest_attempt_wins_and_all_are_kept(path: Path) -> None:
    with Store(path) as store:
        for text in ("a", "b", "c"):
            store.add_turns([turn("r", Completion(text))])
            assert store.turn("r", 0) == (text, Status.OK)
        store.add_verdict(verdict("v", Status.UNPARSED))
        store.flush()
        store.add_verdict(verdict("v", Status.ERROR, error="down"))
        store.add_verdict(verdict("v"))
        assert store.verdict("v").outcome is Outcome.A
        store.flush()
        assert store.turn("r", 0) == ("c", Status.OK)
        assert store.verdict("v").outcome is Outcome.A
        assert store.verdicts(["v"])["v"].outcome is Outcome.A
        assert store.statuses_of("p") == {"v": Status.OK}
        assert store.turns_of("p") == {("r", 0): ("c", Status.OK)}
    assert dump(path, "SELECT attempt, text FROM responses ORDER BY id") == [(0, "a"), (1, "b"), (2, "c")]
    kept = dump(path, "SELECT attempt, status, error FROM verdicts ORDER BY id")
    assert kept == [(0, "unparsed", None), (1, "error", "down"), (2, "ok", None)]


def test_what_is_still_on_its_way_is_read_back_at_every_moment(path: Path) -> None:
    """Two attempts at one key in two transactions: no moment may show the older one, or none at all."""
    with Store(path) as store:
        for n in range(120):
            store.add_verdict(verdict(f"v{n % 3}", raw=str(n)))
            store.add_turns([turn(f"r{n % 3}", Completion(str(n)))])
            for _ in range(20):
                assert store.verdict(f"v{n % 3}").raw == str(n)
                assert store.verdicts([f"v{n % 3}"])[f"v{n % 3}"].raw == str(n)
                assert store.turn(f"r{n % 3}", 0) == (str(n), Status.OK)


@given(text=TEXTS, reasoning=st.none() | TEXTS, error=st.none() | TEXTS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_any_text_survives(path: Path, text: str, reasoning: str | None, error: str | None) -> None:
    key = content_hash(text, reasoning, error)
    prompt = Prompt.of(text, note=text)
    said = Completion(text, reasoning=reasoning, error=error)
    with Store(path) as store:
        store.add_prompts([prompt])
        store.add_turns([turn(key, said)])
        store.add_verdict(verdict(key, raw=text, error=error))
    with Store(path, readonly=True) as store:
        assert store.prompt(prompt.id) == prompt
        assert store.turn(key, 0) == (text, Status.OK)
        assert store.turns_of("p")[key, 0] == (text, Status.OK)
        found = store.verdict(key)
        assert found is not None
        assert (found.raw, found.error) == (text, error)


def test_odd_names_of_a_server_do_not_stop_the_writer(path: Path) -> None:
    """Names and finish reasons come from outside too."""
    odd = Completion("fine", finish_reason="st\ud800op")
    with Store(path) as store:
        store.add_turns([("r", 0, "p", "mo\ud800del", odd, content_hash(["fine"]))])
        store.add_verdict(replace(verdict("v"), judge="ju\udfffdge"))
        store.flush()
        found = store.verdict("v")
        assert found is not None
        assert found.judge == "ju\udfffdge"
        assert store.turn("r", 0) == ("fine", Status.OK)


def test_a_row_that_cannot_be_stored_is_refused_aloud(path: Path) -> None:
    """It neither hangs whoever waits nor takes later rows with it in silence."""
    store = Store(path)
    store.add_verdict(verdict("before"))
    store.flush()
    store.add_verdict(verdict("huge", tokens_in=2**70))
    with pytest.raises(StorageError, match="too large"):
        store.flush()
    with pytest.raises(StorageError):
        store.add_verdict(verdict("after"))
    with pytest.raises(StorageError):
        store.close()
    with Store(path, readonly=True) as store:
        assert store.verdict("before") is not None
        assert store.verdict("huge") is None


def test_texts_behind_a_hash_are_those_with_that_hash(path: Path) -> None:
    """An answer that was generated again has a second text: each hash still leads to its own."""
    with Store(path) as store:
        for text in ("old", "new"):
            store.add_turns([turn("r", Completion(text))])
        store.flush()
        assert store.texts(content_hash(["old"])) in (("old",), None)
        assert store.texts(content_hash(["new"])) == ("new",)
        assert store.texts("none") is None


def test_keys() -> None:
    """Everything that determines an answer is part of its key, and of a recorded one its text alone."""
    base = response_key("p", "f", [0.0, 1.0, 512, []], 0)
    others = {
        response_key("q", "f", [0.0, 1.0, 512, []], 0),
        response_key("p", "g", [0.0, 1.0, 512, []], 0),
        response_key("p", "f", [0.7, 1.0, 512, []], 0),
        response_key("p", "f", [0.0, 1.0, 512, []], 1),
        recorded_key("p", ["x"]),
        recorded_key("p", ["y"]),
        recorded_key("p", ["x", ""]),
    }
    assert len(others | {base}) == 8
    assert recorded_key("p", ("x",)) == recorded_key("p", ["x"])


def test_usage_sums_over_invocations(path: Path) -> None:
    with Store(path) as store:
        said = Completion("x", tokens_in=10, tokens_out=2, usd=0.25, calls=3, seconds=2.0)
        store.add_turns([turn("r", said)])
        recorded = Completion("from a file", calls=0, usd=None, seconds=99.0)
        store.add_turns([turn("file", recorded)])
        store.flush()
        usage = store.usage()
        assert usage[:4] == (3, 10, 2, 0.25)
        assert usage.seconds == pytest.approx(2.0, abs=1e-6)
    with Store(path) as store:
        store.add_verdict(verdict("v", Status.ERROR, calls=2, usd=0.5, tokens_in=None, tokens_out=None, seconds=1.0))
        store.flush()
        usage = store.usage()
        assert usage[:4] == (5, 10, 2, 0.75)
        assert usage.seconds == pytest.approx(3.0, abs=1e-6)  # not the time between the two invocations
    with Store(path) as store:
        store.add_verdict(verdict("w", usd=None))
        store.flush()
        assert store.usage()[:4] == (6, 10, 2, None)


def test_an_empty_file_has_cost_nothing(path: Path) -> None:
    with Store(path) as store:
        assert store.usage() == (0, 0, 0, 0.0, 0)


# ---------------------------------------------------------------------- files that cannot be opened


def refused(path: Path, *, readonly: bool = False) -> str:
    with pytest.raises(ArenaFileError) as caught:
        Store(path, readonly=readonly)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("readonly", [False, True])
def test_another_version(path: Path, readonly: bool) -> None:
    Store(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    assert "version 99" in refused(path, readonly=readonly)
    assert f"version {SCHEMA_VERSION}" in refused(path, readonly=readonly)
    assert path.read_bytes() == before


@pytest.mark.parametrize("readonly", [False, True])
def test_another_sqlite_file(path: Path, readonly: bool) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE mine (x)")
    before = path.read_bytes()
    assert "no arena file" in refused(path, readonly=readonly)
    assert path.read_bytes() == before


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("content", [b"not a database, but text" * 50, bytes(range(256)) * 40, b"SQLite format 3\x00"])
def test_garbage(path: Path, readonly: bool, content: bytes) -> None:
    path.write_bytes(content)
    assert "no arena file" in refused(path, readonly=readonly)
    assert path.read_bytes() == content


def test_a_reader_needs_a_file(path: Path) -> None:
    refused(path, readonly=True)
    path.write_bytes(b"")
    assert "empty" in refused(path, readonly=True)
    Store(path).close()  # a writer may fill an empty file


def test_a_refused_file_frees_the_lock(path: Path) -> None:
    path.write_bytes(b"x" * 5000)
    refused(path)
    path.unlink()
    Store(path).close()


def test_a_folder_that_is_not_there_or_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for bad in (tmp_path / "none" / "arena.db", tmp_path / "file" / "arena.db", tmp_path):
        with pytest.raises((ArenaFileError, StorageError)) as caught:
            Store(bad)
        assert "\n" not in str(caught.value)


def test_a_reader_cannot_write(path: Path) -> None:
    Store(path).close()
    with Store(path, readonly=True) as store, pytest.raises(StorageError):
        store.add_verdict(verdict("v"))


# ---------------------------------------------------------------------- one writer, many readers

WRITER = """
import sys
from arenaloop.store import Store, writer
from arenaloop.store.schema import MIGRATIONS, response_keys
from arenaloop.types import Completion, Outcome, Status, Verdict

store = Store(sys.argv[1])
print("open", flush=True)
"""


def start_writer(path: Path, code: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER + textwrap.dedent(code), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process


def test_one_writer_and_the_kernel_frees_its_lock(path: Path) -> None:
    process = start_writer(path, "sys.stdin.read()")
    try:
        message = refused(path)
        assert "another process is writing" in message
        Store(path, readonly=True).close()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdin.close()
        process.stdout.close()
    Store(path).close()


def test_a_second_writer_of_this_process_is_refused_too(path: Path) -> None:
    with Store(path):
        refused(path)
    Store(path).close()


def test_readers_see_commits_while_another_writes(path: Path) -> None:
    with Store(path) as store, Store(path, readonly=True) as reader:
        assert reader.verdict("v0") is None
        for n in range(50):
            store.add_verdict(verdict(f"v{n}"))
            store.flush()
            assert reader.verdict(f"v{n}") is not None
        assert reader.usage().calls == 50


def test_the_log_is_folded_in_at_the_end(path: Path) -> None:
    log = path.with_name(path.name + "-wal")
    store = Store(path)
    store.add_verdict(verdict("v"))
    store.flush()
    assert log.stat().st_size > 0
    store.close()
    assert not log.exists() or log.stat().st_size == 0
    assert dump(path, "SELECT key FROM verdicts") == [("v",)]


def test_an_append_is_committed_without_a_flush(path: Path) -> None:
    """A reader that polls sees it; how long that takes is measured by `benchmarks/million.py --latency`."""
    with Store(path) as store, Store(path, readonly=True) as reader:
        for n in range(40):
            store.add_verdict(verdict(f"v{n}"))
            while reader.verdict(f"v{n}") is None:
                pass


def test_many_threads_may_wait_for_a_flush(path: Path) -> None:
    with Store(path) as store:
        for n in range(100):
            store.add_verdict(verdict(f"v{n}"))
        threads = [threading.Thread(target=store.flush) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert not any(thread.is_alive() for thread in threads)
        assert store.usage().calls == 100
        assert store.backlog == 0


# ---------------------------------------------------------------------- kill -9


def test_what_was_acknowledged_before_the_last_commit_survives_kill_9(path: Path) -> None:
    """A child appends on request and says so through a pipe, a thousand a second, and is killed at random moments.

    It also says how long the writer waits for company, which is once or twice a commit. What was acknowledged before a
    commit began to wait is in it, and it is over when the next one begins: all of that must be there. No wait may use
    up the 10 ms that are promised; what commits take beside, a busy machine decides.
    """
    rng = random.Random(7)
    code = """
    import os, time
    from types import SimpleNamespace

    def wait(seconds):
        os.write(1, f"wait {seconds}\\n".encode())
        time.sleep(seconds)

    writer.time = SimpleNamespace(sleep=wait)
    for line in sys.stdin:
        key = line.strip()
        store.add_verdict(Verdict(key, "p", "f", "s", "j", Status.OK, outcome=Outcome.A, raw="x" * 300))
        os.write(1, f"{key}\\n".encode())
    """
    begins = f"wait {_LINGER[0]}"
    counted = 0
    for attempt in range(8):
        process = start_writer(path, code)
        assert process.stdin is not None
        assert process.stdout is not None
        sent: list[str] = []
        lines: list[str] = []
        least, commits = rng.randrange(50, 200), rng.randrange(3, 20)
        while len(sent) < least or lines.count(begins) < commits:
            sent.append(f"v{attempt}-{len(sent)}")
            process.stdin.write(f"{sent[-1]}\n")
            process.stdin.flush()
            while not lines or lines[-1] != sent[-1]:
                lines.append(process.stdout.readline().strip())
                assert lines[-1], "the child has ended"
            select.select([], [], [], 0.0005)  # about the pace of a fast server, not that of a benchmark
        process.kill()
        process.wait()
        lines += process.stdout.read().splitlines()
        process.stdin.close()
        process.stdout.close()
        last_but_one = [at for at, line in enumerate(lines) if line == begins][-2]
        said = sum(not line.startswith("wait") for line in lines[:last_but_one])
        with Store(path, readonly=True) as store:
            kept = [store.verdict(key) is not None for key in sent]
        assert kept == sorted(kept, reverse=True)  # in the order in which they came
        assert sum(kept) >= said
        assert dump(path, "PRAGMA integrity_check") == [("ok",)]
        counted += said
        waits = {float(line.split()[1]) for line in lines if line.startswith("wait")}
        assert sum(waits) < 0.010
    assert counted > 200


def test_killed_while_it_is_made(tmp_path: Path) -> None:
    """Whatever the moment, the file can be opened again and has its secret."""
    rng = random.Random(3)
    code = (
        "import sys\nfrom arenaloop.store import Store\nprint('go', flush=True)\nStore(sys.argv[1])\nsys.stdin.read()"
    )
    for n in range(6):
        path = tmp_path / f"{n}.db"
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert process.stdout is not None
        process.stdout.readline()
        wait = time.monotonic() + rng.uniform(0, 0.02)
        while time.monotonic() < wait:
            pass
        process.kill()
        process.communicate()
        with Store(path) as store:
            assert len(store.secret) == 32


# ---------------------------------------------------------------------- a full disk


def fill(store: Store) -> None:
    """Append until the store refuses, or much longer than the limit allows."""
    for n in range(3000):
        store.add_verdict(verdict(f"v{n}", raw="x" * 5000))
        if n % 10 == 9:
            store.flush()


def test_a_full_file_stops_resumably(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = Store._connect

    def small(self: Store, **options: bool) -> sqlite3.Connection:
        connection = connect(self, **options)
        connection.execute("PRAGMA max_page_count = 200")
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(Store, "_connect", small)
        store = Store(path)
        with pytest.raises(StorageError, match="full"):
            fill(store)
        with pytest.raises(StorageError):
            store.add_verdict(verdict("late"))
        with pytest.raises(StorageError):
            store.flush()
        with pytest.raises(StorageError):
            store.close()
    with Store(path) as store:
        kept = store.usage().calls
        assert kept >= 10
        assert all(store.verdict(f"v{n}") is not None for n in range(kept))
        store.add_verdict(verdict("again"))
    with Store(path, readonly=True) as store:
        assert store.verdict("again") is not None


def test_a_real_write_limit_stops_resumably(path: Path) -> None:
    """The kernel refuses to let a file grow (RLIMIT_FSIZE), as a full disk would."""
    code = """
    import resource, signal
    from arenaloop.errors import StorageError
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
    flushed = 0
    try:
        with store:
            for n in range(3000):
                raw = "x" * 5000
                store.add_verdict(Verdict(f"v{n}", "p", "f", "s", "j", Status.OK, outcome=Outcome.A, raw=raw))
                store.flush()
                flushed = n + 1
    except StorageError as error:
        print(flushed, error, flush=True)
    """
    process = start_writer(path, code)
    out, _ = process.communicate("", timeout=60)
    assert process.returncode == 0
    flushed = int(out.split()[0])
    assert flushed > 10
    assert str(path) in out
    with Store(path) as store:
        assert all(store.verdict(f"v{n}") is not None for n in range(flushed))
        store.add_verdict(verdict("again"))


def test_the_first_error_is_not_hidden_by_a_failing_close(path: Path) -> None:
    def fail() -> None:
        with Store(path) as store:
            store._writer.failure = StorageError("disk full")
            raise KeyError("first")

    with pytest.raises(KeyError):
        fail()


# ---------------------------------------------------------------------- attempts, and the log


def test_known_and_new_keys_in_one_commit(path: Path) -> None:
    with Store(path) as store:
        for n in range(0, 900, 3):
            store.add_verdict(verdict(f"v{n}", Status.UNPARSED))
        store.add_turns([turn("r", Completion("one"))])
    with Store(path) as store:  # many rows at once, some of them twice, some known from before
        for n in range(900):
            store.add_verdict(verdict(f"v{n}", Status.EMPTY))
        store.add_verdict(verdict("v0"))
        store.add_verdict(verdict("v1"))
        store.add_turns([turn("r", Completion("two")), turn("r", Completion("more"), 1), turn("s", Completion("new"))])
    counts = dict(dump(path, "SELECT key, COUNT(*) FROM verdicts GROUP BY key"))
    assert counts == {f"v{n}": 1 + (n % 3 == 0) + (n < 2) for n in range(900)}
    last = "SELECT key, MAX(attempt), COUNT(DISTINCT attempt) FROM verdicts GROUP BY key"
    assert all(top + 1 == distinct == counts[key] for key, top, distinct in dump(path, last))
    assert dump(path, "SELECT key, turn, attempt, text FROM responses ORDER BY id") == [
        ("r", 0, 0, "one"), ("r", 0, 1, "two"), ("r", 1, 0, "more"), ("s", 0, 0, "new"),
    ]  # fmt: skip
    with Store(path, readonly=True) as store:
        assert store.rulings_of("p")["v0"].outcome is Outcome.A
        assert store.rulings_of("p")["v2"].status is Status.EMPTY


def test_the_log_begins_anew_while_appends_keep_coming(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is folded in beside the commits; its size stays near the limit however much is written."""
    monkeypatch.setattr("arenaloop.store.writer._LONGEST_LOG", 400)
    monkeypatch.setattr("arenaloop.store.writer._FOLD_AFTER", 50)
    log = path.with_name(path.name + "-wal")
    with Store(path) as store:
        for n in range(3000):
            store.add_verdict(verdict(content_hash(n), raw="x" * 2000))
            if n % 5 == 0:
                store.flush()
        largest = log.stat().st_size  # it never shrinks before the end
    assert path.stat().st_size > 6_000_000
    assert 0 < largest < 6_000_000


# ---------------------------------------------------------------------- rows without their words


def test_rulings_are_verdicts_without_their_words(path: Path) -> None:
    first = verdict("v", raw="Scores: 7 5", sample=2)
    second = replace(verdict("w", Status.TRUNCATED), judge="ju\udfffdge")
    with Store(path) as store:
        store.add_verdict(verdict("v", Status.ERROR, error="down"))
        store.add_verdict(first)
        store.add_verdict(second)
        store.add_verdict(replace(first, key="x", prompt_id="other"))
        store.flush()
        found = store.rulings_of("p")
        assert set(found) == {"v", "w"}
        for ruling, whole in ((found["v"], first), (found["w"], second)):
            assert ruling._asdict() == {name: getattr(whole, name) for name in ruling._fields}
        assert store.rulings_of("none") == {}


def test_responses_of_a_prompt_are_those_found_one_by_one(path: Path) -> None:
    prompt = Prompt(({"role": "user", "content": "hi"},), ("more",))
    single = Prompt.of("hi")
    error, refused_ = Completion(status=Status.ERROR), Completion(status=Status.REFUSED)
    with Store(path) as store:
        for key, turns in {
            "whole": [Completion("one"), Completion("two")],
            "begun": [Completion("one")],
            "failed": [error],
            "late": [Completion("one"), refused_],
            "cut": [Completion("on", status=Status.TRUNCATED), Completion("two")],
        }.items():
            store.add_turns([turn(key, said, number, prompt.id) for number, said in enumerate(turns)])
        store.add_turns([turn("whole", Completion("three"), 1, prompt.id)])  # asked again
        store.add_turns([turn("alone", Completion("one"), 0, single.id)])
        store.flush()
        for asked, keys in ((prompt, ["whole", "begun", "failed", "late", "cut"]), (single, ["alone"])):
            expected = {key: store.response(key, asked, "model") for key in keys}
            assert store.responses_of(asked) == {key: said for key, said in expected.items() if said is not None}
        assert store.responses_of(prompt)["whole"].texts == ("one", "three")
        assert set(store.responses_of(prompt)) == {"whole", "failed", "late", "cut"}


# ---------------------------------------------------------------------- files of version 1

VERSION_1 = f"""
PRAGMA journal_mode = WAL;
BEGIN;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE prompts (
    id TEXT PRIMARY KEY, messages TEXT NOT NULL, follow_ups TEXT NOT NULL, tags TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE responses (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, turn INTEGER NOT NULL, attempt INTEGER NOT NULL,
    prompt_id TEXT NOT NULL, model TEXT NOT NULL, status TEXT NOT NULL, text TEXT NOT NULL, text_hash TEXT NOT NULL,
    reasoning TEXT, finish_reason TEXT, tokens_in INTEGER, tokens_out INTEGER, usd REAL, seconds REAL, error TEXT,
    calls INTEGER NOT NULL, run INTEGER NOT NULL, at REAL NOT NULL
);
CREATE UNIQUE INDEX responses_key ON responses (key, turn, attempt);
CREATE INDEX responses_prompt ON responses (prompt_id);
CREATE INDEX responses_text ON responses (text_hash);
CREATE TABLE verdicts (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, attempt INTEGER NOT NULL,
    prompt_id TEXT NOT NULL, first_hash TEXT NOT NULL, second_hash TEXT NOT NULL, judge TEXT NOT NULL,
    sample INTEGER NOT NULL, status TEXT NOT NULL, score_first REAL, score_second REAL, outcome TEXT, raw TEXT NOT NULL,
    tokens_in INTEGER, tokens_out INTEGER, usd REAL, seconds REAL, error TEXT,
    calls INTEGER NOT NULL, run INTEGER NOT NULL, at REAL NOT NULL
);
CREATE UNIQUE INDEX verdicts_key ON verdicts (key, attempt);
CREATE INDEX verdicts_prompt ON verdicts (prompt_id);
CREATE TABLE stages (name TEXT NOT NULL, key TEXT NOT NULL, result TEXT NOT NULL, PRIMARY KEY (name, key));
INSERT INTO meta VALUES ('secret', '{"ab" * 16}'), ('runs', '1');
INSERT INTO prompts VALUES ('p', '[{{"role":"user","content":"hi"}}]', '[]', '{{}}');
INSERT INTO responses VALUES
    (1, 'r', 0, 0, 'p', 'm', 'ok', 'hello', '{content_hash(["hello"])}', NULL, 'stop', 1, 2, 0.5, 1.0, NULL, 1, 0, 9.0);
INSERT INTO verdicts VALUES
    (1, 'v', 0, 'p', 'f', 's', 'judge', 0, 'ok', 7.0, 5.0, 'A', 'Scores: 7 5', 3, 4, 0.25, 1.5, NULL, 2, 0, 10.0),
    (2, 'w', 0, 'p', 's', 'f', 'judge', 0, 'error', NULL, NULL, NULL, '', NULL, NULL, NULL, NULL, 'down', 3, 0, 11.0);
PRAGMA application_id = {0x41524C50};
PRAGMA user_version = 1;
COMMIT;
"""  # as the schema stood then
OLD_VERDICT = Verdict(
    "v", "p", "f", "s", "judge", Status.OK, "Scores: 7 5", 7.0, 5.0, Outcome.A, 0,
    tokens_in=3, tokens_out=4, usd=0.25, seconds=1.5, calls=2,
)  # fmt: skip


@pytest.fixture
def old(path: Path) -> Path:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript(VERSION_1)
    return path


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


@pytest.mark.parametrize("readonly", [False, True])
def test_an_old_file_is_brought_up_to_date(old: Path, readonly: bool) -> None:
    """What was paid for stays: rows are read as they were, and go on."""
    with Store(old, readonly=readonly) as store:
        assert store.verdict("v") == OLD_VERDICT
        assert store.rulings_of("p")["v"].outcome is Outcome.A
        assert store.turn("r", 0) == ("hello", Status.OK)
        assert store.prompt("p") is not None
        assert store.secret == "ab" * 16
        assert store.usage() == (6, 4, 6, None, 3.0)
    assert version(old) == SCHEMA_VERSION
    with Store(old) as store:
        store.add_verdict(verdict("w", reasoning="well", judge_hash="j", template_hash="t", parser="scores:1"))
        store.add_turns([turn("r", Completion("again"))])
    with Store(old, readonly=True) as store:
        found = store.verdict("w")
        assert found is not None
        assert (found.reasoning, found.judge_hash, found.template_hash, found.parser) == ("well", "j", "t", "scores:1")
        assert store.verdict("v") == OLD_VERDICT
    assert dump(old, "SELECT key, attempt FROM verdicts ORDER BY id") == [("v", 0), ("w", 0), ("w", 1)]
    assert dump(old, "PRAGMA integrity_check") == [("ok",)]


def test_an_updated_file_has_the_columns_of_a_new_one(old: Path, tmp_path: Path) -> None:
    Store(old).close()
    Store(tmp_path / "new.db").close()
    for table in ("prompts", "responses", "verdicts", "stages", "meta"):
        query = f"SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_info('{table}') ORDER BY cid"
        assert dump(old, query) == dump(tmp_path / "new.db", query)


@pytest.mark.parametrize("readonly", [False, True])
def test_an_old_file_that_another_process_writes_is_left_alone(old: Path, readonly: bool) -> None:
    lock = os.open(old.with_name(old.name + ".lock"), os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        message = refused(old, readonly=readonly)
    finally:
        os.close(lock)
    assert "another process is writing" in message
    assert not readonly or "version 1" in message
    assert version(old) == 1
    Store(old, readonly=readonly).close()
    assert version(old) == SCHEMA_VERSION


def test_killed_while_it_is_brought_up_to_date(old: Path) -> None:
    """The steps are one transaction: a process that dies before its end leaves the old version whole."""
    code = """
    import os, sqlite3, sys
    import arenaloop.store.store as store
    connect = store.Store._connect
    def dying(self, **options):
        db = connect(self, **options)
        db.create_function("die", 0, lambda: os.kill(os.getpid(), 9))
        return db
    store.Store._connect = dying
    store.MIGRATIONS[1] = store.MIGRATIONS[1] + "UPDATE meta SET value = die();"
    store.Store(sys.argv[1])
    """
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(old)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.returncode == -signal.SIGKILL
    assert version(old) == 1
    with Store(old) as store:
        assert store.verdict("v") == OLD_VERDICT
    assert version(old) == SCHEMA_VERSION


def test_a_step_that_fails_leaves_the_old_version(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(MIGRATIONS, 1, MIGRATIONS[1] + "INSERT INTO nowhere VALUES (1);")
        refused(old)
    assert version(old) == 1
    assert len(dump(old, "SELECT name FROM pragma_table_info('verdicts')")) == 21
    Store(old).close()


@given(st.text(max_size=20), st.text(max_size=8), st.integers(0, 3))
def test_keys_of_one_models_answers_are_response_keys(prompt_id: str, fingerprint: str, sample: int) -> None:
    sampling: list[object] = [0.5, 1.0, 16, ["\n"]]
    expected = response_key(prompt_id, fingerprint, sampling, sample)
    assert response_keys(fingerprint, sampling, sample)(prompt_id) == expected


def test_usage_counts_what_came_after_it_was_asked(path: Path) -> None:
    with Store(path) as store:
        store.add_verdict(verdict("v", calls=2))
        store.flush()
        assert store.usage().calls == store.usage().calls == 2
        store.add_verdict(verdict("w", calls=3))
        store.flush()
        assert store.usage().calls == 5
