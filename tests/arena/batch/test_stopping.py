"""Judging through batches is paid for once, wherever it is killed, and goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from batched_battles import PROMPTS, SETTINGS, Api, Killed, garbage, judged, make_plan, rows
from scripted_battles import summarise

from arenaloop.arena.batches import play_batches
from arenaloop.arena.pairings import pairings
from arenaloop.calls.batch import forget_batches
from arenaloop.errors import StoppedError
from arenaloop.models.batch_lines import Batch
from arenaloop.models.openai_batch import BatchEndpoint
from arenaloop.store import Store

# ---------------------------------------------------------------------- stopped and gone on


def test_without_waiting_each_run_goes_one_step(api: Api, url: str, store: Store, tmp_path: Path) -> None:
    api.looks = 2
    bad = "0123"
    api.mishap = lambda line, times: (
        garbage(line) if line["custom_id"][0] in bad and line["body"]["temperature"] == 0 else None
    )
    settings = SETTINGS.model_copy(update={"wait": False})
    for _ in range(4):  # two batches, each looked at in vain twice
        with pytest.raises(StoppedError, match="run again to collect"):
            judged(make_plan(url), store, tmp_path, settings)
    judged(make_plan(url), store, tmp_path, settings)
    assert len(api.batches) == 2
    assert max(api.times.values()) == 1
    assert summarise(list(pairings(make_plan(url), store))).decided == 36


@pytest.mark.parametrize("held", ["in_progress", "no results"])
def test_a_batch_that_never_ends_stops_the_run_and_can_be_gone_on_with(
    api: Api, url: str, store: Store, tmp_path: Path, held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    get, slept = BatchEndpoint.get, list[float]()

    async def never(self: BatchEndpoint, batch_id: str) -> Batch:
        changed: dict[str, Any] = {"status": "in_progress"} if held == "in_progress" else {"output_file": None}
        return replace(await get(self, batch_id), **changed)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    settings = SETTINGS.model_copy(update={"longest_wait": 10.0})
    monkeypatch.setattr(BatchEndpoint, "get", never)
    for _ in range(2):
        slept.clear()
        with pytest.raises(StoppedError, match=r"1 batch not done \(batch_.*batch.longest_wait; the same command"):
            play_batches(make_plan(url), store, tmp_path, settings, sleep=sleep)
        assert 10 <= sum(slept) <= 10 + settings.longest_pause
    monkeypatch.setattr(BatchEndpoint, "get", get)
    judged(make_plan(url), store, tmp_path, settings)
    assert len(api.batches) == 1
    assert summarise(list(pairings(make_plan(url), store))).decided == 36


STEPS = 16  # two files: seatings, written, uploaded, made, submitted, ended, collected, closed
PLACES = [(step, before) for step in range(STEPS) for before in (True, False)] + [(STEPS + n, True) for n in range(11)]


@pytest.mark.parametrize(("step", "before"), PLACES)
def test_killed_at_any_step_nothing_is_submitted_or_stored_twice(
    api: Api, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, before: bool
) -> None:
    """Before and after each commit of a batch's state, after a batch was made, between two verdicts."""
    steps = kept = 0
    put, make, add = Store.put_note, BatchEndpoint.create, Store.add_records

    def count() -> bool:
        nonlocal steps
        steps += 1
        return steps == step + 1

    def put_note(self: Store, *row: Any) -> None:
        here = count()
        if here and before:
            raise Killed
        put(self, *row)
        if here:
            raise Killed

    async def create(self: BatchEndpoint, *asked: Any) -> Batch:
        here = count()
        if here and before:
            raise Killed
        made = await make(self, *asked)
        if here:
            raise Killed  # the batch is there, and nobody noted its id
        return made

    def add_records(self: Store, records: Any) -> None:
        nonlocal kept
        kept += 1
        if kept == 1 + 7 * (step - STEPS):
            raise Killed
        add(self, records)

    monkeypatch.setattr(Store, "put_note", put_note)
    monkeypatch.setattr(BatchEndpoint, "create", create)
    monkeypatch.setattr(Store, "add_records", add_records)
    settings = SETTINGS.model_copy(update={"max_requests": 40})
    with Store(tmp_path / "arena.db") as store:
        store.add_prompts(PROMPTS)
        store.flush()
        with pytest.raises(Killed):
            judged(make_plan(url), store, tmp_path, settings)
    monkeypatch.undo()
    with Store(tmp_path / "arena.db") as store:
        judged(make_plan(url), store, tmp_path, settings)
        assert summarise(list(pairings(make_plan(url), store))).decided == 36
    assert max(api.times.values()) == 1
    assert len(api.times) == 72
    stored = rows(tmp_path / "arena.db")
    assert len(stored) == len({row[0] for row in stored}) == 72


def test_a_batch_that_the_server_forgot_can_be_given_up(api: Api, url: str, store: Store, tmp_path: Path) -> None:
    plan = make_plan(url)
    settings = SETTINGS.model_copy(update={"wait": False})
    with pytest.raises(StoppedError, match="not done"):
        judged(plan, store, tmp_path, settings)
    api.batches.clear()
    with pytest.raises(StoppedError, match="no such batch; --forget-batches gives it up"):
        judged(plan, store, tmp_path)
    assert forget_batches(store, plan.judges) == 1
    assert forget_batches(store, plan.judges) == 0
    judged(plan, store, tmp_path)
    assert summarise(list(pairings(plan, store))).decided == 36


def test_a_lost_request_file_is_written_again(api: Api, url: str, store: Store, tmp_path: Path) -> None:
    async def down(self: BatchEndpoint, path: Path) -> str:
        raise StoppedError("no network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BatchEndpoint, "upload", down)
        with pytest.raises(StoppedError, match="no network"):
            judged(make_plan(url), store, tmp_path)
    (written,) = tmp_path.glob("*.jsonl")
    content = written.read_bytes()
    written.unlink()
    judged(make_plan(url), store, tmp_path)
    assert len(api.batches) == 1
    assert api.files[next(iter(api.batches.values()))["input_file_id"]] == content
