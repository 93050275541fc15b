"""What is saved of a damaged arena file: every row that can be read, as it was, and nothing else."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from arena_rows import dump, refused, start_writer, turn, verdict
from hypothesis import given, settings
from hypothesis import strategies as st

from arenaloop.errors import ArenaFileError
from arenaloop.store import Store
from arenaloop.store.pages import Pages
from arenaloop.store.recover import recover, replace
from arenaloop.types import Completion, Prompt, Status, content_hash

PAGE = 4096
TABLES = ("prompts", "responses", "verdicts", "judgements", "stages", "notes", "sent")

# texts around the sizes at which a row flows over into further pages, and such as UTF-8 has no bytes for
LENGTHS = [0, 1, 400, 3900, 4060, 4061, 4062, 4096, 8190, 30_000]


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "arena.db"
    with Store(path) as store:
        for n in range(300):
            prompt = Prompt.of(f"question {n} " + "x" * (LENGTHS[n % 7] // 4))
            store.add_prompts([prompt])
            text = "y" * LENGTHS[n % len(LENGTHS)] + ("\ud800" if n % 11 == 0 else "ü")
            completion = Completion(
                text, tokens_in=n, usd=None if n % 3 else n / 7, seconds=float(n), reasoning="r" * n
            )
            store.add_turns([(content_hash("r", n), 0, prompt.id, "m", completion, content_hash([text]))])
            store.add_verdict(verdict(content_hash("v", n), raw="z" * LENGTHS[-n % len(LENGTHS)]))
            store.add_verdict(verdict(content_hash("w", n), Status.ERROR, error="down", calls=3))
        store.put_stage("SFT-I0", "k", {"rows": 3})
        store.put_note("pairs", "chosen/0", {"turns": list(range(3000))})
        store.put_note("pairs", "chosen/0", {"turns": list(range(2000))})
        store.put_note("complete", "plan", store.ends())
    return path


def content(path: Path) -> dict[str, dict[Any, tuple[Any, ...]]]:
    """Rows of each table by what is its own: the id, or the key."""
    with closing(sqlite3.connect(path)) as db:
        db.text_factory = bytes
        found = {}
        for table in TABLES:
            width = 2 if table in ("stages", "notes") else 1
            found[table] = {row[:width]: row for row in db.execute(f"SELECT * FROM {table}")}
    return found


def without_complete(rows: dict[str, dict[Any, tuple[Any, ...]]]) -> dict[str, dict[Any, tuple[Any, ...]]]:
    return rows | {"notes": {key: row for key, row in rows["notes"].items() if key[0] != b"complete"}}


def test_a_whole_file_comes_over_whole(whole: Path, path: Path) -> None:
    found = recover(whole, path)
    assert content(path) == without_complete(content(whole))
    assert found.rows == {
        "prompts": 300,
        "responses": 300,
        "verdicts": 600,
        "judgements": 0,
        "stages": 1,
        "notes": 1,
        "sent": 0,
    }
    assert (found.missing, found.broken, found.unplaced, found.calls, found.committed) == (0, 0, 0, 900, 900)
    assert dump(path, "PRAGMA integrity_check") == [("ok",)]
    with Store(path) as store, Store(whole, readonly=True) as old:
        assert store.secret == old.secret  # judges' prompts stay as they were
        assert store.run == 1
        assert store.ends() == old.ends()


def test_the_list_of_tables_may_be_lost(whole: Path, path: Path) -> None:
    """Rows are told by their columns then; stages and notes have the same ones, and are not guessed apart."""
    data = bytearray(whole.read_bytes())
    data[:PAGE] = bytes(PAGE)
    (path.parent / "damaged.db").write_bytes(data)
    found = recover(path.parent / "damaged.db", path)
    old, new = content(whole), content(path)
    assert {table: new[table] for table in TABLES[:4]} == {table: old[table] for table in TABLES[:4]}
    assert not found.known
    assert found.unplaced == 3
    with Store(path, readonly=True) as store, Store(whole, readonly=True) as before:
        assert store.secret == before.secret


def test_a_damaged_header_loses_nothing(whole: Path, path: Path) -> None:
    data = bytearray(whole.read_bytes())
    data[:100] = random.Random(1).randbytes(100)
    (path.parent / "damaged.db").write_bytes(data)
    recover(path.parent / "damaged.db", path)
    assert content(path) == without_complete(content(whole))


@pytest.mark.parametrize("seed", range(6))
def test_every_row_outside_the_damage_is_saved(whole: Path, path: Path, seed: int) -> None:
    """Some pages of noise: rows that lie on none of them are there, whichever branch of a tree is gone."""
    rng = random.Random(seed)
    data = bytearray(whole.read_bytes())
    hit = {rng.randrange(2, len(data) // PAGE + 1) for _ in range(4)}
    hit.add(dump(whole, "SELECT rootpage FROM sqlite_master WHERE name = 'verdicts'")[0][0])
    for page in hit:
        data[(page - 1) * PAGE : page * PAGE] = rng.randbytes(PAGE)
    (path.parent / "damaged.db").write_bytes(data)
    shutil.copy(whole.with_name("arena.db.lock"), path.parent / "damaged.db.lock")  # knows of the last rows too
    found = recover(path.parent / "damaged.db", path)
    old, new = without_complete(content(whole)), content(path)
    lost = 0
    for table in TABLES:
        assert new[table].items() <= old[table].items()
        lost += len(old[table]) - len(new[table])
    # a page holds at most some forty of these rows; an inner page of a tree none, and an overflow page one
    assert lost <= 45 * len(hit)
    assert found.missing == 900 - found.calls
    assert dump(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_cut_file(whole: Path, path: Path) -> None:
    (path.parent / "damaged.db").write_bytes(whole.read_bytes()[: 200 * PAGE + 5])
    found = recover(path.parent / "damaged.db", path)
    old, new = content(whole), content(path)
    assert 0 < found.calls < 900
    assert all(new[table].items() <= old[table].items() for table in TABLES)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 3000), st.integers(1, 40))
def test_noise_never_brings_a_row_that_was_not_there_nor_a_bug(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, seed: int, length: int, times: int
) -> None:
    rng = random.Random(seed)
    data = bytearray(whole.read_bytes())
    for _ in range(times):
        start = rng.randrange(0, len(data) - length)
        data[start : start + length] = rng.randbytes(length)
    folder = tmp_path_factory.mktemp("noise")
    (folder / "damaged.db").write_bytes(data)
    try:
        recover(folder / "damaged.db", folder / "new.db")
    except ArenaFileError:
        return
    old, new = content(whole), content(folder / "new.db")
    assert new["responses"].keys() <= old["responses"].keys()
    # what an answer says is checked by its hash; its column of the text's own is therefore as it was
    said = {key: row[7] for key, row in old["responses"].items()}
    assert all(row[7] == said[key] for key, row in new["responses"].items())
    shutil.rmtree(folder)


def test_a_row_s_number_is_not_believed_whatever_it_is(path: Path) -> None:
    with Store(path) as store:
        store.add_verdict(verdict("v"))
        store.add_verdict(verdict("w"))
    with closing(sqlite3.connect(path)) as db:
        for key, number in (("v", -5), ("w", 2**62)):
            db.execute("UPDATE verdicts SET id = ? WHERE key = ?", (number, key))
        db.commit()
    found = recover(path, path.with_name("new.db"))
    assert (found.rows["verdicts"], found.broken, found.missing) == (0, 2, 2)


def test_rows_of_the_log_are_saved_too(path: Path) -> None:
    code = """
    import os
    for n in range(50):
        store.add_verdict(Verdict(f"v{n}", "p", "f", "s", "j", Status.OK, "x" * 3000, outcome=Outcome.A))
        store.flush()
    os.kill(os.getpid(), 9)
    """
    start_writer(path, code).communicate()
    before = path.read_bytes(), path.with_name("arena.db-wal").read_bytes()
    new = path.with_name("new.db")
    assert recover(path, new).rows["verdicts"] == 50
    # a log whose first frames are damaged: SQLite would drop all of it
    log = bytearray(before[1])
    log[32 + 24 + 100 : 32 + 24 + 200] = bytes(100)
    path.with_name("arena.db-wal").write_bytes(log)
    assert recover(path, new).rows["verdicts"] >= 49
    # a log alone
    path.with_name("arena.db-wal").write_bytes(before[1])
    path.unlink()
    assert recover(path, new).rows["verdicts"] == 50
    # no log
    path.write_bytes(before[0])
    path.with_name("arena.db-wal").unlink()
    found = recover(path, new)
    assert (found.rows["verdicts"], found.missing) == (0, 50)


def test_only_the_new_file_is_written(whole: Path, path: Path) -> None:
    (path.parent / "a").mkdir()
    old = path.parent / "a" / "arena.db"
    old.write_bytes(whole.read_bytes()[: 100 * PAGE])
    before = old.read_bytes()
    recover(old, path)
    assert [one.name for one in old.parent.iterdir()] == ["arena.db"]
    assert old.read_bytes() == before
    assert [one.name for one in path.parent.iterdir() if one.is_file()] == ["arena.db"]


@pytest.mark.parametrize("data", [b"", b"hello", bytes(100_000), random.Random(3).randbytes(100_000)])
def test_nothing_to_save_is_said_and_nothing_written(path: Path, data: bytes) -> None:
    old = path.with_name("old.db")
    old.write_bytes(data)
    with pytest.raises(ArenaFileError, match="nothing in it"):
        recover(old, path)
    assert not path.exists()


def test_a_later_version_is_not_guessed_at(whole: Path, path: Path) -> None:
    shutil.copy(whole, path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(ArenaFileError, match="version 99"):
        recover(path, path.with_name("new.db"))


def test_a_saved_file_takes_the_damaged_one_s_place(whole: Path, path: Path) -> None:
    path.write_bytes(whole.read_bytes()[: 200 * PAGE])
    path.with_name("arena.db-wal").write_bytes(b"x" * 500)
    shutil.copy(whole.with_name("arena.db.lock"), path.with_name("arena.db.lock"))
    refused(path)
    damaged = path.read_bytes()
    found = recover(path, path.with_name("arena.recovered.db"))
    kept = replace(path, path.with_name("arena.recovered.db"))
    assert kept.read_bytes() == damaged
    assert kept.with_name("arena.damaged.db-wal").exists()  # with its file, never with another
    assert not path.with_name("arena.db-wal").exists()
    with Store(path) as store:  # the rows that are missing were counted before, and are missed no more
        assert store.lost == ""
        store.add_turns([turn("new", Completion("x"))])
    assert content(path)["responses"].keys() >= {(found.numbered["responses"] + 1,)}
    recover(path, path.with_name("arena.recovered.db"))
    assert replace(path, path.with_name("arena.recovered.db")).name == "arena.damaged1.db"


def test_no_file_is_replaced_under_a_writer(whole: Path, path: Path) -> None:
    with Store(path) as store:
        store.add_verdict(verdict("v"))
        recover(whole, path.with_name("arena.recovered.db"))
        with pytest.raises(ArenaFileError, match="another process"):
            replace(path, path.with_name("arena.recovered.db"))


def test_pages_read_what_sqlite_reads(whole: Path) -> None:
    """Against SQLite itself: all values of all tables, numbers of every width among them."""
    path = whole.with_name("numbers.db")
    numbers = [0, 1, -1, 127, -128, 32767, -32768, 2**23 - 1, -(2**23), 2**31 - 1, 2**47 - 1, -(2**47), 2**63 - 1]
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE t (a, b, c)")
        db.executemany("INSERT INTO t VALUES (?, ?, ?)", [(n, n / 3, str(n) * (n % 900)) for n in numbers])
        db.execute("INSERT INTO t VALUES (NULL, x'00ff', 'ß')")
        db.execute("INSERT INTO t (rowid, a) VALUES (?, 7)", (-5,))
        db.commit()
        expected = sorted(db.execute("SELECT rowid, a, b, c FROM t"), key=str)
        root = db.execute("SELECT rootpage FROM sqlite_master").fetchone()[0]
    pages = Pages(path, path.with_name("none"))
    read = [((rowid + 2**63) % 2**64 - 2**63, *values) for rowid, values in pages.tree(root)]
    pages.close()
    assert sorted(read, key=str) == expected
    assert pages.broken == 0
