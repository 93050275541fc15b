"""What goes wrong in a batch, or with its results: nothing is lost, and nothing is paid for twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from batched_battles import SETTINGS, Api, garbage, judged, make_plan, number, rows, scores, statuses
from scripted_battles import summarise

from arenaloop.arena.pairings import pairings
from arenaloop.calls.batch import open_batches
from arenaloop.errors import StoppedError
from arenaloop.models.batch_lines import Batch
from arenaloop.models.openai_batch import BatchEndpoint
from arenaloop.sandbox.server import running_server
from arenaloop.store import Store
from arenaloop.types import Request

# ---------------------------------------------------------------------- what goes wrong in a batch


def test_garbage_is_asked_again_warmer_in_a_second_batch(api: Api, url: str, store: Store, tmp_path: Path) -> None:
    bad = {number(n) % 72 for n in range(5)}
    first: list[str] = []

    def mishap(line: dict[str, Any], times: int) -> Any:
        if line["body"]["temperature"] == 0:
            first.append(line["custom_id"])
            return garbage(line) if len(first) - 1 in bad else None
        return None

    api.mishap = mishap
    judged(make_plan(url), store, tmp_path)
    assert len(api.batches) == 2
    again = api.heard[72:]
    assert len(again) == len(bad)
    assert {line["body"]["temperature"] for line in again} == {0.7}
    assert summarise(list(pairings(make_plan(url), store))).decided == 36
    samples = Counter(row[3] for row in rows(store.path))
    assert samples == {0: 72, 1: len(bad)}


def test_garbage_to_the_end_is_recorded_and_the_run_ends(api: Api, url: str, store: Store, tmp_path: Path) -> None:
    api.mishap = lambda line, times: garbage(line)
    tally = judged(make_plan(url, reask=2), store, tmp_path)
    assert len(api.batches) == 3
    assert tally.verdicts == 72
    summary = summarise(list(pairings(make_plan(url), store)))
    assert summary.decided == 0
    assert summary.failed["unparsed"] == 72
    assert len(rows(store.path)) == 3 * 72
    judged(make_plan(url, reask=0), store, tmp_path)  # the next run asks again
    assert len(api.batches) == 4
    assert len(rows(store.path)) == 4 * 72


def test_error_lines_are_recorded_and_asked_once_more(api: Api, url: str, store: Store, tmp_path: Path) -> None:
    broken = {"status_code": 500, "request_id": "r", "body": {"error": {"message": "overloaded"}}}
    api.mishap = lambda line, times: (broken, None) if times == 1 and line["custom_id"][0] in "0123" else None
    judged(make_plan(url), store, tmp_path)
    assert len(api.batches) == 2
    failed = [row for row in rows(store.path) if row[2] == "error"]
    assert failed
    assert {row[5] for row in failed} == {0.0}  # a failed request is not charged for
    assert Counter(api.times.values()) == {1: 72 - len(failed), 2: len(failed)}
    assert summarise(list(pairings(make_plan(url), store))).decided == 36


def test_errors_that_stay_are_left_undecided(api: Api, url: str, store: Store, tmp_path: Path) -> None:
    expired = {"code": "batch_expired", "message": "not run in time"}
    keys = set("0123")
    api.mishap = lambda line, times: (None, expired) if line["custom_id"][0] in keys else None
    tally = judged(make_plan(url), store, tmp_path)
    assert len(api.batches) == 2
    failed = [row for row in rows(store.path) if row[2] == "error"]
    assert {row[4] for row in failed} == {0}  # what was never run is no call
    assert tally.verdicts == 72
    assert any(not p.battles for p in pairings(make_plan(url), store))
    told = set(store._reader.execute("SELECT DISTINCT error FROM verdicts WHERE status = 'error'"))
    assert told == {("batch_expired: not run in time",)}


@pytest.mark.parametrize("end", ["expired", "cancelled"])
def test_a_batch_that_ended_early_is_ingested_as_far_as_it_exists(
    api: Api, url: str, store: Store, tmp_path: Path, end: str
) -> None:
    class Early(Api):
        def run(self, batch: dict[str, Any]) -> None:
            super().run(batch)
            if len(self.batches) == 1:
                batch["status"] = end
                batch["request_counts"]["completed"] = 30
                name = batch["output_file_id"]
                self.files[name] = b"".join(self.files[name].splitlines(keepends=True)[:30])

    early = Early()
    with running_server({"judge": scores}, early) as other:
        judged(make_plan(other), store, tmp_path)
        assert len(early.batches) == 2
        second = list(early.batches.values())[1]
        assert len(early.files[second["input_file_id"]].splitlines()) == 42
        assert summarise(list(pairings(make_plan(other), store))).decided == 36
        lost = [row for row in rows(store.path) if row[2] == "error"]
    assert len(lost) == 42


def test_a_batch_that_fails_whole_stops_with_the_server_s_reason(
    api: Api, url: str, store: Store, tmp_path: Path
) -> None:
    class Failing(Api):
        def run(self, batch: dict[str, Any]) -> None:
            batch["status"] = "failed"
            batch["errors"] = {"data": [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}]}

    failing = Failing()
    with running_server({"judge": scores}, failing) as other:
        for batches in (1, 2):  # the next run makes it again
            with pytest.raises(StoppedError, match="Enqueued token limit reached"):
                judged(make_plan(other), store, tmp_path)
            assert len(failing.batches) == batches
    assert rows(store.path) == []


def test_results_that_the_server_counts_and_does_not_give_are_not_paid_twice(
    api: Api, url: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cuts = BatchEndpoint.lines, [70, 71]

    async def cut_off(self: BatchEndpoint, file_id: str, requests: int) -> Any:
        at = cuts.pop(0) if cuts else limit
        async for line in whole(self, file_id, requests):
            if (at := at - 1) < 0:
                return
            yield line

    limit = 71  # one result never comes
    monkeypatch.setattr(BatchEndpoint, "lines", cut_off)
    with pytest.raises(StoppedError, match="counts 72 results and gives 71; run again"):
        judged(make_plan(url), store, tmp_path / "batches")
    assert len(rows(store.path)) == 71
    limit = 72
    tally = judged(make_plan(url), store, tmp_path / "batches")
    assert (len(api.batches), tally.failed) == (1, 0)
    assert len(rows(store.path)) == 72


def test_results_that_are_not_there_yet_are_waited_for(
    api: Api, url: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get, early = BatchEndpoint.get, [True, True]

    async def not_yet(self: BatchEndpoint, batch_id: str) -> Batch:
        batch = await get(self, batch_id)
        return replace(batch, output_file=None) if not batch.running and early and early.pop() else batch

    monkeypatch.setattr(BatchEndpoint, "get", not_yet)
    assert judged(make_plan(url), store, tmp_path / "batches").failed == 0
    assert (len(api.batches), early) == (1, [])


def test_the_rest_can_be_asked_live(api: Api, url: str, live: list[Request], store: Store, tmp_path: Path) -> None:
    api.mishap = lambda line, times: garbage(line) if line["custom_id"][0] in "01234567" else None
    judged(make_plan(url), store, tmp_path, SETTINGS.model_copy(update={"rest": "live"}))
    assert len(api.batches) == 1
    assert summarise(list(pairings(make_plan(url), store))).decided == 36
    assert open_batches(store) == {}
    assert len(live) == 72  # those that were not garbage in the batch, and the others live


@pytest.mark.parametrize("cuts", [[40], [71], [0]])
def test_a_download_cut_at_a_line_s_end_is_noticed_where_the_server_counts_nothing(
    api: Api, url: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuts: list[int]
) -> None:
    """Of a completed batch each request has its line; what is missing is looked for before it is paid again."""
    whole, get, left = BatchEndpoint.lines, BatchEndpoint.get, list(cuts)

    async def cut_off(self: BatchEndpoint, file_id: str, requests: int) -> Any:
        at = left.pop(0) if left else requests
        async for line in whole(self, file_id, requests):
            if (at := at - 1) < 0:
                return
            yield line

    async def uncounted(self: BatchEndpoint, batch_id: str) -> Any:
        return replace(await get(self, batch_id), total=0, completed=0, failed=0)

    monkeypatch.setattr(BatchEndpoint, "lines", cut_off)
    monkeypatch.setattr(BatchEndpoint, "get", uncounted)
    judged(make_plan(url), store, tmp_path / "batches")
    assert left == []
    assert len(api.batches) == 1
    assert statuses(store) == {"ok": 72}


@pytest.mark.parametrize("spoilt", [b"{broken", b"[1]", b'{"custom_id": 5}', b"null"])
def test_a_line_that_nobody_can_read_does_not_stop_the_others(
    api: Api, url: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoilt: bytes
) -> None:
    """Its request has no result, and is asked once more; the server counts it, so that there is nothing to wait for."""
    whole, spoil = BatchEndpoint.lines, [True]

    async def one_bad_line(self: BatchEndpoint, file_id: str, requests: int) -> Any:
        async for line in whole(self, file_id, requests):
            yield spoilt if spoil and spoil.pop() else line

    monkeypatch.setattr(BatchEndpoint, "lines", one_bad_line)
    judged(make_plan(url), store, tmp_path / "batches")
    assert len(api.batches) == 2
    assert statuses(store) == {"ok": 72, "error": 1}


def test_a_file_of_other_results_is_not_read_to_its_end(
    url: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 0

    async def endless(self: BatchEndpoint, file_id: str, requests: int) -> Any:
        nonlocal read
        while True:
            read += 1
            yield b'{"custom_id": "of another run", "response": null}'

    monkeypatch.setattr(BatchEndpoint, "lines", endless)
    with pytest.raises(StoppedError, match="most lines belong to no request; is it another file"):
        judged(make_plan(url), store, tmp_path / "batches")
    assert read == 72 + 1000 + 1
    assert rows(store.path) == []
