"""Appending to the arena file: what is acknowledged stays, whatever happens to the process or the disk."""

from __future__ import annotations

import random
import select
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from arena_rows import dump, start_writer, turn, verdict

from arenaloop.errors import StorageError
from arenaloop.store import Store
from arenaloop.store.writer import _LINGER
from arenaloop.types import Completion, Outcome, Status, content_hash


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
