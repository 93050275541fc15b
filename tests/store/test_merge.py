"""Arena files in one: the union by key, whatever the order, and nothing twice."""

from __future__ import annotations

import json
import random
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from arena_rows import dump, turn, verdict

from arenaloop.store import Store
from arenaloop.store.merge import COUNTED, Merged, has_news, merge
from arenaloop.types import Completion, Prompt, Status

CONTENT = "SELECT key, attempt, status, raw, usd, calls, at FROM verdicts ORDER BY key, attempt"


def into(target: Path, *sources: Path, **options: Any) -> Merged:
    """The last of several merges."""
    with Store(target) as store:
        for source in sources:
            with Store(source, readonly=True) as other:
                merged = merge(store, other, **options)
    return merged


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three files that share keys: failed here and read there, failed in both, read in both."""
    draw, made = random.Random(3), []
    for n in range(3):
        path = tmp_path / f"{n}.db"
        with Store(path) as store:
            store.add_prompts([Prompt.of(f"prompt {draw.randrange(6)}") for _ in range(4)])
            for _ in range(30):
                status = draw.choice([Status.OK, Status.UNPARSED, Status.ERROR])
                store.add_verdict(verdict(f"v{draw.randrange(12)}", status, raw=str(draw.random()), usd=0.5))
                store.add_turns([turn(f"r{draw.randrange(9)}", Completion(str(draw.random()), status, usd=0.25))])
                store.flush()
            store.sent.begin(2, 0.25)
            store.put_sent()
            store.put_note("best_of_n", f"n{n}", {"sample": n})
            store.put_note("complete", "plan", n)
            store.put_stage("SFT-I1", "k", {"rows": n})
        made.append(path)
    return made


def test_every_attempt_is_kept_once_whatever_the_order(files: list[Path], tmp_path: Path) -> None:
    found = []
    for n, order in enumerate(permutations(files)):
        target = tmp_path / f"all{n}.db"
        into(target, *order)
        found.append(dump(target, CONTENT))
        assert found[-1] == found[0]
        ids = [key_attempt for *key_attempt, _ in dump(target, "SELECT key, attempt, id FROM verdicts ORDER BY id")]
        for key, attempt in ids:  # readers go by ids or by attempts
            assert [a for k, a in ids if k == key] == sorted(a for k, a in ids if k == key)
            assert attempt >= 0
    assert len(found[0]) == 90
    assert sum(row[4] for row in found[0]) == 45.0


def test_a_result_stands_before_failures_that_came_later(tmp_path: Path) -> None:
    with Store(tmp_path / "first.db") as store:
        store.add_verdict(verdict("v", raw="read"))
    with Store(tmp_path / "second.db") as store:
        store.add_verdict(verdict("v", Status.UNPARSED, raw="odd"))
    into(tmp_path / "first.db", tmp_path / "second.db")
    with Store(tmp_path / "first.db") as store:
        found = store.verdict("v")
        assert found is not None
        assert (found.status, found.raw) == (Status.OK, "read")
    assert dump(tmp_path / "first.db", "SELECT attempt, raw FROM verdicts ORDER BY id") == [(0, "odd"), (1, "read")]


def test_merging_again_adds_what_is_new_alone(files: list[Path], tmp_path: Path) -> None:
    target = tmp_path / "all.db"
    into(target, *files)
    before = {table: dump(target, f"SELECT * FROM {table} ORDER BY 1, 2") for table in ("verdicts", "sent", "notes")}
    again = into(target, *files)
    assert not any(again.added.values())
    assert {table: dump(target, f"SELECT * FROM {table} ORDER BY 1, 2") for table in before} == before
    with Store(files[0]) as store:
        store.add_verdict(verdict("later"))
    assert into(target, *files).added["verdicts"] == 0
    assert into(target, files[0]).there["verdicts"] == 31
    assert ("later",) in dump(target, "SELECT key FROM verdicts")


def test_costs_add_up_and_by_way_of_another_file_they_do_so_once(files: list[Path], tmp_path: Path) -> None:
    first, way, target = files[0], tmp_path / "way.db", tmp_path / "all.db"
    into(way, first, files[1])
    into(target, first, way, files[2], first)
    with Store(target, readonly=True) as store:
        usage = store.usage()
        singly = [Store(path, readonly=True).usage() for path in files]
        assert usage.calls == sum(one.calls for one in singly)
        assert usage.usd == pytest.approx(sum(one.usd or 0.0 for one in singly))
    into(first, way)  # its own rows come back
    assert len(dump(first, "SELECT * FROM sent")) == 2


def test_what_is_reused_costs_nothing_here(files: list[Path], tmp_path: Path) -> None:
    target = tmp_path / "new.db"
    into(target, files[0], paid=False)
    with Store(target, readonly=True) as store:
        usage = store.usage()
    assert (usage.calls, usage.usd, usage.calls_cut_off) == (0, 0.0, 0)
    assert into(target, files[0], paid=False).there["verdicts"] == 30


def test_rows_of_some_prompts(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db") as store:
        store.add_turns([turn("r1", Completion("x"), prompt_id="p"), turn("r2", Completion("y"), prompt_id="q")])
        store.add_prompts([Prompt.of("one")])
    merged = into(tmp_path / "b.db", tmp_path / "a.db", prompts=frozenset({"q"}))
    assert merged.added == {"prompts": 0, "responses": 1, "verdicts": 0, "judgements": 0}
    assert merged.told() == "1 answer added"


def test_what_speaks_of_one_directory_stays_there(files: list[Path], tmp_path: Path) -> None:
    target = tmp_path / "all.db"
    into(target, *files)
    rooms = {room for (room,) in dump(target, "SELECT room FROM notes")}
    assert rooms == {"best_of_n", "merged"}
    assert dump(target, "SELECT * FROM stages") == []


def test_counts_of_replies_are_taken_once_by_whatever_way(tmp_path: Path) -> None:
    def counting(path: Path, replies: int) -> Path:
        with Store(path) as store:
            store.put_note(COUNTED, "http://h/v1#m", {"replies": replies, "counts": {}, "examples": {}})
        return path

    def counts(path: Path) -> list[int]:
        query = "SELECT value FROM notes WHERE room IN ('reply notices', 'reply notices elsewhere')"
        return sorted(json.loads(value)["replies"] for (value,) in dump(path, query))

    one, two = counting(tmp_path / "1.db", 3), counting(tmp_path / "2.db", 5)
    into(tmp_path / "all.db", one, two)
    assert counts(tmp_path / "all.db") == [3, 5]
    into(tmp_path / "again.db", one, tmp_path / "all.db", two)
    assert counts(tmp_path / "again.db") == [3, 5]
    counting(one, 4)  # it went on
    into(tmp_path / "again.db", one, tmp_path / "all.db")  # of which one holds an older count
    assert counts(tmp_path / "again.db") == [4, 5]
    into(one, tmp_path / "again.db")  # its own come back
    assert counts(one) == [4, 5]
    with Store(tmp_path / "again.db", readonly=True) as target, Store(one, readonly=True) as source:
        assert not has_news(target, source)


def test_a_merged_file_is_whole_and_goes_on(files: list[Path], tmp_path: Path) -> None:
    target = tmp_path / "all.db"
    into(target, *files)
    with Store(target) as store:  # would be refused with rows missing
        assert store.lost == ""
        store.add_verdict(verdict("v1", raw="next"))
    runs = dump(target, "SELECT MAX(run) FROM verdicts WHERE raw != 'next'")
    assert dump(target, "SELECT run FROM verdicts WHERE raw = 'next'")[0] > runs[0]


def test_what_was_reused_is_paid_for_once_whatever_the_order(files: list[Path], tmp_path: Path) -> None:
    free = tmp_path / "free.db"
    into(free, files[0], paid=False)
    costs = []
    for n, order in enumerate(([files[0], free], [free, files[0]])):
        target = tmp_path / f"both{n}.db"
        into(target, *order)
        with Store(target, readonly=True) as store:
            costs.append(store.usage())
    with Store(files[0], readonly=True) as store:
        alone = store.usage()
    for usage in costs:
        assert (usage.calls, usage.tokens_in, usage.usd) == (alone.calls, alone.tokens_in, alone.usd)
