"""Damaged arena files, and such as lost their log: one line, never the traceback of a bug."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from arena_rows import dump, refused, start_writer, turn, verdict

from arenaloop.errors import ArenaFileError, ArenaloopError, StorageError
from arenaloop.store import Store, counts
from arenaloop.store.schema import META, TABLES
from arenaloop.types import Completion, Judgement, Prompt, Status, content_hash

PAGE = 4096


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An arena file of some hundred pages, long texts among them."""
    return filled(tmp_path_factory.mktemp("whole") / "arena.db")


def filled(path: Path) -> Path:
    with Store(path) as store:
        for n in range(120):
            prompt = Prompt.of(f"question {n}")
            store.add_prompts([prompt])
            for model in "ab":
                said = Completion(f"{model} says {n} " + "ä word " * (20 + 37 * (n % 40)))
                key = content_hash(model, n)
                store.add_turns([(key, 0, prompt.id, model, said, content_hash([said.text]))])
            store.add_verdict(verdict(content_hash("v", n), raw="because " * (n % 90), judge_hash="j"))
            store.add_verdict(verdict(content_hash("w", n), Status.UNPARSED, raw="?", judge_hash="j"))
        store.put_stage("SFT-I0", "k", {"rows": 3})
        store.put_note("pairs", "chosen/0", {"turn": 0})
        store.put_note("complete", "plan", store.ends())
    return path


def read_everything(path: Path) -> None:
    """All kinds of readings that verbs do."""
    with Store(path, readonly=True) as store:
        ids = [prompt.id for prompt in store.prompts()]
        for found in store.on_prompts(ids):
            store.responses_of(found.prompt)
            store.rulings_of(found.prompt.id)
        store.verdicts([content_hash("v", n) for n in range(120)])
        store.statuses([content_hash("w", n) for n in range(120)])
        list(store.answers())
        for n in range(120):
            store.turn(content_hash("a", n), 0)
        list(store.stages())
        list(store.notes("pairs"))
        store.usage()
        counts.judges(store, ["j"], 5)
        counts.failure_reasons(store, ["j"], 5)
        counts.models(store, ["j"])


def write_and_read(path: Path) -> None:
    """As `read_everything`, after a row was added."""
    with Store(path) as store:
        store.add_verdict(verdict("new"))
        store.flush()
    read_everything(path)


def zero(data: bytearray, start: int, length: int) -> None:
    data[start : start + length] = bytes(length)


def noise(data: bytearray, start: int, length: int) -> None:
    data[start : start + length] = random.Random(start).randbytes(length)


def every_ninth_page(data: bytearray) -> None:
    for page in range(8, len(data) // PAGE, 9):
        noise(data, page * PAGE, PAGE)


DAMAGE: dict[str, Callable[[bytearray], object]] = {
    "a zeroed page": lambda data: zero(data, 12 * PAGE, PAGE),
    "a third of zeros": lambda data: zero(data, len(data) // 3, len(data) // 3),
    "noise in the header": lambda data: noise(data, 0, 100),
    "noise in the first page": lambda data: noise(data, 0, PAGE),
    "cut in the middle of a page": lambda data: data.__delitem__(slice(len(data) // 2 + 77, None)),
    "cut to one page": lambda data: data.__delitem__(slice(PAGE, None)),
    "every ninth page": every_ninth_page,
    "a text file": lambda data: data.__setitem__(slice(None), b"hello"),
}


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_one_line_that_says_what_helps(whole: Path, path: Path, kind: str, readonly: bool) -> None:
    data = bytearray(whole.read_bytes())
    DAMAGE[kind](data)
    path.write_bytes(data)
    with pytest.raises(ArenaFileError) as caught:
        read_everything(path) if readonly else write_and_read(path)
    message = str(caught.value)
    assert f"{path}: damaged, or no arena file" in message
    assert f"arenaloop recover {path.parent}" in message
    assert "\n" not in message


def test_no_damage_is_a_bug_of_ours(whole: Path, path: Path) -> None:
    """Bytes anywhere in the file, in pages that SQLite believes as well: a reading works or refuses."""
    rng = random.Random(11)
    original = whole.read_bytes()
    refusals: list[str] = []
    for _ in range(60):
        data = bytearray(original)
        for _ in range(rng.choice([1, 3, 20])):
            start, length = rng.randrange(PAGE, len(data)), rng.choice([1, 2, 8, 200, PAGE])
            rng.choice([zero, noise])(data, start, min(length, len(data) - start))
        path.write_bytes(data)
        try:
            read_everything(path)
        except ArenaloopError as error:
            refusals.append(str(error))
    assert len(refusals) > 20
    assert all(str(path) in line and "\n" not in line for line in refusals)


def test_damage_found_while_writing_is_told_as_such(whole: Path, path: Path) -> None:
    """The writer's thread meets it, in an index."""
    shutil.copy(whole, path)
    root = dump(path, "SELECT rootpage FROM sqlite_master WHERE name = 'verdicts_key'")[0][0]
    data = bytearray(path.read_bytes())
    zero(data, (root - 1) * PAGE, PAGE)
    path.write_bytes(data)
    with pytest.raises(ArenaFileError, match="damaged"):
        write_and_read(path)


@pytest.mark.parametrize("table", ["prompts", "responses", "verdicts", "judgements", "stages", "notes", "meta"])
@pytest.mark.parametrize("readonly", [False, True])
def test_a_missing_table_is_damage(whole: Path, path: Path, table: str, readonly: bool) -> None:
    shutil.copy(whole, path)
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"DROP TABLE {table}")
        db.commit()
    assert table in refused(path, readonly=readonly)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE prompts SET messages = '[{'",
        "UPDATE prompts SET tags = x'ff'",
        "UPDATE verdicts SET status = 'fine'",
        "UPDATE verdicts SET outcome = 'C' WHERE status = 'ok'",
        "UPDATE verdicts SET outcome = NULL WHERE status = 'ok'",
        "UPDATE responses SET status = 'fine'",
        "UPDATE responses SET text = CAST(x'ff61' AS TEXT)",
        "UPDATE stages SET result = '{'",
        "UPDATE notes SET value = ''",
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_row_that_is_none_of_ours_is_damage(whole: Path, path: Path, statement: str) -> None:
    shutil.copy(whole, path)
    with closing(sqlite3.connect(path)) as db:
        db.execute(statement)
        db.commit()
    with pytest.raises(ArenaFileError, match="damaged"):
        read_everything(path)


def test_the_reason_is_short_whatever_the_text(whole: Path, path: Path) -> None:
    """SQLite gives out the whole text that it cannot read."""
    shutil.copy(whole, path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE responses SET text = CAST(x'ff0a' || zeroblob(50000) AS TEXT)")
        db.commit()
    with pytest.raises(ArenaFileError) as caught:
        read_everything(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + 2 * len(str(path))


def test_a_bug_of_ours_is_no_damage(path: Path) -> None:
    with pytest.raises(sqlite3.ProgrammingError), Store(path) as store:
        store._reader.execute("SELECT ?", ())


# ---------------------------------------------------------------------- a file that lost its log


@pytest.fixture
def killed(path: Path) -> Path:
    """A file whose writer was killed after twenty rows, all of them in the log."""
    code = """
    import os
    for n in range(20):
        store.add_verdict(Verdict(f"v{n}", "p", "f", "s", "j", Status.OK, outcome=Outcome.A))
        store.flush()
    os.kill(os.getpid(), 9)
    """
    process = start_writer(path, code)
    process.communicate()
    assert path.with_name("arena.db-wal").stat().st_size > 0
    return path


def test_a_killed_writer_s_rows_are_all_there(killed: Path) -> None:
    with Store(killed, readonly=True) as store:
        assert store.lost == ""
        assert store.usage().calls == 20
    with Store(killed) as store:
        assert store.usage().calls == 20


@pytest.mark.parametrize("how", ["deleted", "emptied", "damaged"])
def test_a_lost_log_is_noticed(killed: Path, how: str) -> None:
    log = killed.with_name("arena.db-wal")
    kept, file = log.read_bytes(), killed.read_bytes()
    if how == "deleted":
        log.unlink()
        killed.with_name("arena.db-shm").unlink()
    elif how == "emptied":
        log.write_bytes(b"")
    else:
        log.write_bytes(b"x" * len(kept))
    message = refused(killed)
    assert "20 rows fewer than were committed" in message
    assert "arena.db-wal" in message
    with Store(killed, readonly=True) as store:
        assert store.lost == "20 rows fewer than were committed"
    assert killed.read_bytes() == file  # so that the log may be put back
    log.write_bytes(kept)
    with Store(killed) as store:
        assert store.usage().calls == 20


def test_a_copy_of_the_file_alone_is_noticed(killed: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone" / "arena.db"
    alone.parent.mkdir()
    shutil.copy(killed, alone)
    assert "had not closed it" in refused(alone)
    with Store(alone, readonly=True) as store:
        assert "had not closed it" in store.lost


def test_a_copy_of_a_closed_file_alone_is_whole(whole: Path, path: Path) -> None:
    shutil.copy(whole, path)
    with Store(path, readonly=True) as store:
        assert store.lost == ""
    Store(path).close()


def test_a_deleted_file_whose_rows_are_remembered(killed: Path) -> None:
    for name in ("arena.db", "arena.db-wal", "arena.db-shm"):
        killed.with_name(name).unlink()
    assert "no row, where 20 were committed" in refused(killed)
    killed.unlink()  # it was made, empty
    killed.with_name("arena.db.lock").unlink()
    Store(killed).close()  # nothing tells any more that there was a file: it begins anew


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("empty", [False, True])
def test_a_log_without_its_file_is_not_thrown_away(killed: Path, readonly: bool, empty: bool) -> None:
    killed.unlink()
    if empty:
        killed.write_bytes(b"")
    log = killed.with_name("arena.db-wal")
    before = log.read_bytes()
    assert "arena.db-wal holds rows" in refused(killed, readonly=readonly)
    assert log.read_bytes() == before


def test_another_file_in_the_place_of_one_is_not_taken_for_it(killed: Path, whole: Path) -> None:
    """The count of the side file is that of one file."""
    for name in ("arena.db-wal", "arena.db-shm"):
        killed.with_name(name).unlink()
    shutil.copy(whole, killed)
    Store(killed).close()


# ---------------------------------------------------------------------- where nothing can be written


def without_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite as it is on a read-only file system: what is not `immutable` cannot be opened."""
    connect = sqlite3.connect

    def refuses(uri: str, /, **options):
        if "mode=ro" in uri and "immutable" not in uri:
            error = sqlite3.OperationalError("unable to open database file")
            error.sqlite_errorname = "SQLITE_CANTOPEN"
            raise error
        return connect(uri, **options)

    monkeypatch.setattr(sqlite3, "connect", refuses)


def test_read_only_media_are_read(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_shared_memory(monkeypatch)
    before = sorted(whole.parent.iterdir())
    read_everything(whole)
    assert sorted(whole.parent.iterdir()) == before


def test_read_only_media_with_a_log_are_read_in_a_copy(
    killed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_shared_memory(monkeypatch)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    before = {one.name: one.read_bytes() for one in killed.parent.iterdir() if one.is_file()}
    with Store(killed, readonly=True) as store:
        assert store.usage().calls == 20
        assert store.lost == ""
    assert {one.name: one.read_bytes() for one in killed.parent.iterdir() if one.is_file()} == before
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
def test_a_read_only_mount(killed: Path, whole: Path, tmp_path: Path) -> None:
    for path, rows in ((killed, 20), (whole, 480)):
        place = tmp_path / f"mount-{rows}"
        place.mkdir()
        if subprocess.run(["mount", "--bind", path.parent, place], capture_output=True).returncode:
            pytest.skip("no mounts here")
        try:
            subprocess.run(["mount", "-o", "remount,ro,bind", place], check=True)
            with Store(place / "arena.db", readonly=True) as store:
                assert sum(store.ends()[table] or 0 for table in ("responses", "verdicts")) == rows
            assert "cannot be written" in refused(place / "arena.db")
        finally:
            subprocess.run(["umount", place], check=True)


def test_a_file_that_may_not_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(path).close()
    without_shared_memory(monkeypatch)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "cannot be read" in refused(path, readonly=True)


def test_a_full_disk_is_no_damage(path: Path) -> None:
    def fill() -> None:
        with Store(path) as store:
            store._reader.execute("PRAGMA max_page_count = 30")
            for n in range(500):
                store._reader.execute("INSERT INTO notes VALUES ('r', ?, ?)", (str(n), "x" * 4000))

    with pytest.raises(StorageError, match="full"):
        fill()


def test_turns_are_read_by_their_words(path: Path) -> None:
    with Store(path) as store:
        store.add_turns([turn("r", Completion("one"))])
        store.flush()
        store._reader.execute("UPDATE responses SET status = 'odd'")
        with pytest.raises(sqlite3.DatabaseError, match="'odd'"):
            store.turn("r", 0)


RENAMED = [(table.name, column.split()[0]) for table in (META, *TABLES) for column in table.columns]


@pytest.mark.parametrize("readonly", [False, True])
def test_a_missing_column_is_damage(whole: Path, path: Path, readonly: bool) -> None:
    for table, column in RENAMED:
        shutil.copy(whole, path)
        with closing(sqlite3.connect(path)) as db:
            db.execute(f"ALTER TABLE {table} RENAME COLUMN {column} TO other")
            db.commit()
        message = refused(path, readonly=readonly)
        assert column in message
        assert table in message or f"no such column: {column}" in message  # which a query met before the check


@pytest.mark.parametrize("readonly", [False, True])
def test_a_missing_index_is_damage(whole: Path, path: Path, readonly: bool) -> None:
    """Without it two rows could be the same attempt."""
    shutil.copy(whole, path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP INDEX verdicts_key")
        db.commit()
    assert "verdicts_key" in refused(path, readonly=readonly)


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DELETE FROM meta", "secret"),
        ("DELETE FROM meta WHERE key = 'secret'", "secret"),
        ("UPDATE meta SET value = '' WHERE key = 'secret'", "secret"),
        ("DELETE FROM meta WHERE key = 'runs'", "runs"),
        ("UPDATE meta SET value = 'many' WHERE key = 'runs'", "runs"),
        ("UPDATE meta SET value = '0' WHERE key = 'runs'", "runs"),
    ],
)
@pytest.mark.parametrize("readonly", [False, True])
def test_what_a_file_must_say_of_itself(whole: Path, path: Path, statement: str, told: str, readonly: bool) -> None:
    shutil.copy(whole, path)
    with closing(sqlite3.connect(path)) as db:
        db.execute(statement)
        db.commit()
    assert told in refused(path, readonly=readonly)


def test_rows_that_were_deleted_are_missed(whole: Path, path: Path) -> None:
    """Whether or not a side file remembers how many there were."""
    shutil.copy(whole, path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM verdicts WHERE id IN (3, 7, 8)")
        db.commit()
    assert "3 rows fewer than were committed" in refused(path)
    with Store(path, readonly=True) as store:
        assert store.lost == "3 rows fewer than were committed"


@pytest.mark.parametrize("table", ["responses", "judgements"])
def test_a_text_that_was_changed_is_damage(whole: Path, path: Path, table: str) -> None:
    shutil.copy(whole, path)
    with Store(path) as store:
        store.add_records([Judgement("k", "p", "r", "judge", Status.OK, "Score: 7", 7.0)])
        store.flush()
        assert store.judgement("k") is not None
    column = "raw" if table == "judgements" else "text"
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"UPDATE {table} SET {column} = {column} || '.' WHERE id = 1")
        db.commit()
        key = db.execute(f"SELECT key FROM {table} WHERE id = 1").fetchone()[0]
    told = f"the text under the key {key} is not the one that was stored"
    with pytest.raises(ArenaFileError, match=told), Store(path, readonly=True) as store:
        _ = store.judgement("k"), list(store.on_prompts([prompt.id for prompt in store.prompts()]))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE verdicts SET usd = -1e9",
        "UPDATE verdicts SET calls = -5",
        "UPDATE responses SET tokens_out = -1",
        "UPDATE responses SET tokens_in = 'many'",
        "UPDATE verdicts SET at = 'noon'",
        "UPDATE verdicts SET score_first = 'high'",
        'UPDATE prompts SET messages = \'[{"role": "user", "content": "another"}]\'',
    ],
)
def test_figures_that_cannot_be_are_damage(whole: Path, path: Path, statement: str) -> None:
    shutil.copy(whole, path)
    with closing(sqlite3.connect(path)) as db:
        db.execute(statement)
        db.commit()
    with pytest.raises(ArenaFileError, match="damaged"):
        read_everything(path)


def test_answers_without_their_prompt_are_damage(whole: Path, path: Path) -> None:
    shutil.copy(whole, path)
    with closing(sqlite3.connect(path)) as db:
        ids = [prompt_id for (prompt_id,) in db.execute("SELECT id FROM prompts")]
        db.execute("DELETE FROM prompts")
        db.commit()
    with pytest.raises(ArenaFileError, match=f"{ids[0]} is missing"), Store(path, readonly=True) as store:
        store.prompt(ids[0])
    with Store(path, readonly=True) as store:
        assert store.prompt("of nobody") is None


@pytest.mark.parametrize("column", ["parser", "raw"])
def test_a_row_that_cannot_be_read_keeps_nobody_from_folding_the_log_in(path: Path, column: str) -> None:
    """Its error outlives the reading, and with it what was being read: closing the file would wait for that."""
    filled(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"UPDATE verdicts SET {column} = x'ff'")
        db.commit()

    def write_and_look_up() -> None:
        with Store(path) as store:
            store.add_verdict(verdict("new"))
            store.flush()
            store.verdicts([content_hash("v", n) for n in range(120)])

    with pytest.raises(ArenaFileError, match="damaged") as held:
        write_and_look_up()
    assert held.value.__cause__ is not None
    assert not path.with_name("arena.db-wal").exists()
