"""Judging through batches gives what judging call by call gives, and is paid for once, wherever it is killed."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted_battles import summarise

from arenaloop.arena.batches import check_batches, play_batches
from arenaloop.arena.battles import play
from arenaloop.arena.matchmaking import Schedule, schedule
from arenaloop.arena.pairings import pairings
from arenaloop.arena.plan import BattlePlan
from arenaloop.calls.answers import Contestant
from arenaloop.calls.batch import batch_seconds, forget_batches, open_batches
from arenaloop.calls.budget import Budget
from arenaloop.config import BatchSettings
from arenaloop.errors import BudgetSpentError, ConfigError, StoppedError
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.models.batch_lines import Batch
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.models.openai_batch import BatchEndpoint
from arenaloop.models.openai_wire import Price
from arenaloop.models.scripted import ScriptedModel
from arenaloop.sandbox.batch_api import BatchApi
from arenaloop.sandbox.server import running_server
from arenaloop.store import Store
from arenaloop.types import Prompt, Request, Sampling, content_hash

PROMPTS = [Prompt.of(f"question {n}") for n in range(12)]
SETTINGS = BatchSettings(first_pause=1, longest_pause=4)


def number(*parts: object) -> int:
    return int(content_hash(*parts)[:8], 16)


def scores(request: Request) -> str:
    a, b = (number(request.messages[0]["content"].partition("Reference")[0], n) % 9 + 1 for n in "ab")
    return f"Explained.\nScores: {a} {b}"


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


class Api(BatchApi):
    """What becomes of each line is decided by `mishap`, from the line and how often its id was heard."""

    def __init__(self) -> None:
        super().__init__()
        self.mishap: Callable[[dict[str, Any], int], Any] = lambda line, times: None
        self.times: Counter[str] = Counter()

    def result(self, request: dict[str, Any]) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        self.times[request["custom_id"]] += 1
        told = self.mishap(request, self.times[request["custom_id"]])
        return super().result(request) if told is None else told


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def live() -> list[Request]:
    """Calls that the judge has heard one by one or in a batch."""
    return []


@pytest.fixture
def url(api: Api, live: list[Request]) -> Iterator[str]:
    def judge(request: Request) -> str:
        live.append(request)
        return scores(request)

    with running_server({"judge": judge}, api) as url:
        yield url


async def no_sleep(seconds: float) -> None:
    assert seconds > 0


def make_plan(url: str, **options: Any) -> BattlePlan:
    names = ["a", "b", "c"]
    ids = [p.id for p in PROMPTS]
    contestants = [
        Contestant(n, ScriptedModel(n, lambda request, n=n: f"{n}: {number(n, request.messages[-1]['content'])}"))  # type: ignore[misc]
        for n in names
    ]
    model = OpenAIModel("judge", "judge", url, price=Price(1.0, 2.0, batch=0.5))
    judge = PairwiseJudge(model, template="pairwise", sampling=Sampling(max_tokens=64))
    return BattlePlan(contestants, judge, ids, schedule("all", names, ids, 0), **options)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "arena.db") as store:
        store.add_prompts(PROMPTS)
        store.flush()
        yield store


def judged(plan: BattlePlan, store: Store, folder: Path, settings: BatchSettings = SETTINGS, **options: Any) -> Any:
    return play_batches(plan, store, folder, settings, sleep=no_sleep, **options)


def rows(path: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(path) as db:
        return db.execute("SELECT key, attempt, status, sample, calls, usd, tokens_in FROM verdicts").fetchall()


# ---------------------------------------------------------------------- the same as a live run, at half the price


def test_batches_give_what_live_calls_give(api: Api, url: str, store: Store, tmp_path: Path) -> None:
    tally = judged(make_plan(url), store, tmp_path / "batches")
    assert len(api.batches) == 1
    assert tally.verdicts == tally.verdicts_total == 72
    assert tally.failed == 0
    with Store(tmp_path / "live.db") as other:
        other.add_prompts(PROMPTS)
        other.flush()
        with sqlite3.connect(tmp_path / "arena.db") as db:  # the delimiters hang on the secret
            secret = db.execute("SELECT value FROM meta WHERE key = 'secret'").fetchone()[0]
        with sqlite3.connect(tmp_path / "live.db") as db:
            db.execute("UPDATE meta SET value = ? WHERE key = 'secret'", (secret,))
        play(make_plan(url), other)
        batched = [p.battles for p in pairings(make_plan(url), store)]
        assert batched == [p.battles for p in pairings(make_plan(url), other)]
        half, whole = store.usage(), other.usage()
    assert all(battles for battles in batched)
    assert (half.calls, half.tokens_in, half.tokens_out) == (whole.calls, whole.tokens_in, whole.tokens_out)
    assert half.usd is not None
    assert whole.usd is not None
    assert half.usd == pytest.approx(whole.usd / 2)
    assert not list((tmp_path / "batches").glob("*.jsonl"))  # request files are not kept
    assert open_batches(store) == {}


def test_the_lines_are_what_live_calls_send(api: Api, url: str, live: list[Request], store: Store) -> None:
    plan = make_plan(url)
    judged(plan, store, store.path.parent / "batches")
    sent = {line["custom_id"]: line["body"] for line in api.heard}
    assert len(sent) == 72
    assert all(len(key) <= 64 for key in sent)
    model = plan.judge.model  # type: ignore[union-attr]
    for key, body in sent.items():
        verdict = store.verdict(key)
        assert verdict is not None
        assert body["model"] == model.model
        assert body["max_tokens"] == 64
        assert body["temperature"] == 0.0


def test_a_finished_run_submits_nothing(api: Api, url: str, store: Store, tmp_path: Path) -> None:
    judged(make_plan(url), store, tmp_path)
    tally = judged(make_plan(url), store, tmp_path)
    assert len(api.batches) == 1
    assert (tally.cached, tally.calls) == (72, 36 * 0)


def test_files_are_cut_by_requests_and_by_bytes(api: Api, url: str, store: Store, tmp_path: Path) -> None:
    judged(make_plan(url), store, tmp_path, SETTINGS.model_copy(update={"max_requests": 20}))
    sizes = [len(api.files[b["input_file_id"]].splitlines()) for b in api.batches.values()]
    assert sizes == [20, 20, 20, 12]
    keys = [line["custom_id"] for line in api.heard]
    assert len(set(keys)) == len(keys) == 72


def test_files_are_no_longer_than_allowed(api: Api, url: str, store: Store, tmp_path: Path) -> None:
    judged(make_plan(url), store, tmp_path, SETTINGS.model_copy(update={"max_bytes": 10_000}))
    sizes = [len(api.files[b["input_file_id"]]) for b in api.batches.values()]
    assert len(sizes) > 5
    assert max(sizes) <= 10_000
    assert len(api.heard) == 72


# ---------------------------------------------------------------------- what goes wrong in a batch


def garbage(line: dict[str, Any]) -> tuple[dict[str, Any], None]:
    reply = {"choices": [{"message": {"content": "I cannot say"}, "finish_reason": "stop"}], "usage": {}}
    return {"status_code": 200, "request_id": "r", "body": reply}, None


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


# ---------------------------------------------------------------------- budgets


def test_a_budget_of_calls_is_never_overshot_and_can_be_raised(
    api: Api, url: str, store: Store, tmp_path: Path
) -> None:
    # scripted contestants' answers count as calls, too: 36 of them
    with pytest.raises(BudgetSpentError, match=r"the budget is spent \(66 of 66 calls\)"):
        judged(make_plan(url), store, tmp_path, budget=Budget(calls=66))
    assert len(api.heard) == 30
    with pytest.raises(BudgetSpentError):
        judged(make_plan(url), store, tmp_path, budget=Budget(calls=66))
    assert len(api.heard) == 30
    judged(make_plan(url), store, tmp_path, budget=Budget(calls=108))
    assert len(api.heard) == 72
    assert max(api.times.values()) == 1


def test_a_budget_in_dollars_is_never_overshot(api: Api, url: str, store: Store, tmp_path: Path) -> None:
    """Requests are cut to what may be spent; what they did not spend buys another batch."""
    with Store(tmp_path / "whole.db") as other:
        other.add_prompts(PROMPTS)
        other.flush()
        judged(make_plan(url), other, tmp_path)
        whole = other.usage().usd
    assert whole is not None
    made = len(api.batches)
    with pytest.raises(BudgetSpentError, match="may cost more than is left"):
        judged(make_plan(url), store, tmp_path, budget=Budget(usd=whole / 2))
    spent = store.usage().usd
    assert spent is not None
    assert 0.25 * whole < spent <= whole / 2
    assert len(api.batches) > made + 1


def billed(told: dict[str, Any] | None, density: float) -> tuple[Callable[[dict[str, Any], int], Any], list[float]]:
    """Answers that cost a token for so many bytes of a request; the server tells `told` of them (None: the truth)."""
    bill: list[float] = []

    def mishap(line: dict[str, Any], times: int) -> Any:
        size = len(json.dumps(line["body"], ensure_ascii=False).encode())
        truth = {"prompt_tokens": round(size / density), "completion_tokens": 9}
        bill.append(0.5 * (truth["prompt_tokens"] * 1.0 + 9 * 2.0) / 1e6)
        choice = {"message": {"content": "I say\nScores: 3 4"}, "finish_reason": "stop"}
        reply = {"choices": [choice], "usage": truth if told is None else told}
        return {"status_code": 200, "body": reply}, None

    return mishap, bill


@pytest.mark.parametrize(
    ("told", "density"), [({}, 4.0), ({"prompt_tokens": 0, "completion_tokens": 0}, 4.0), (None, 1.5), (None, 4.0)]
)
def test_a_batch_is_within_the_budget_whatever_its_results_tell(
    api: Api, url: str, store: Store, tmp_path: Path, told: dict[str, Any] | None, density: float
) -> None:
    """Missing usage is estimated before the next file is written, and the first file takes a token for each byte."""
    api.mishap, bill = billed(told, density)
    usd = 0.008
    with pytest.raises(BudgetSpentError, match="may cost more than is left"):
        judged(make_plan(url), store, tmp_path, budget=Budget(usd=usd))
    usage = store.usage()
    assert usage.usd is not None
    assert 0.6 * usd < sum(bill) <= usd
    assert usage.usd <= usd
    if told is None:
        assert (usage.usd, usage.usd_estimated) == (pytest.approx(sum(bill)), 0.0)
    else:
        assert usage.usd_estimated == usage.usd >= sum(bill)
    assert usage.calls_cut_off == 0


def test_results_that_count_what_no_price_covers_stop_the_next_batch(
    api: Api, url: str, store: Store, tmp_path: Path
) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 9, "search_units": 2}
    api.mishap, bill = billed(usage, 4.0)
    with pytest.raises(StoppedError, match=r"what no price covers \(search_units: 2\)"):
        judged(make_plan(url), store, tmp_path, budget=Budget(usd=0.02))
    assert len(api.batches) == 1
    assert store.usage().tokens_in == 9 * len(bill) > 0  # they are kept


def test_a_batch_that_is_given_up_has_been_sent(api: Api, url: str, store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoppedError, match="not done"):
        judged(make_plan(url), store, tmp_path, SETTINGS.model_copy(update={"wait": False}))
    before = store.usage()
    forget_batches(store, make_plan(url).judges)
    store.flush()
    after = store.usage()
    assert (after.calls - before.calls, after.calls_cut_off) == (72, 72)
    assert after.usd == after.usd_estimated > 0


def test_a_budget_in_dollars_needs_a_price(url: str, store: Store, tmp_path: Path) -> None:
    plan = make_plan(url)
    judge = PairwiseJudge(OpenAIModel("judge", "judge", url), template="pairwise")
    unknown = BattlePlan(plan.contestants, judge, plan.prompt_ids, plan.schedule)
    with pytest.raises(ConfigError, match="price"):
        judged(unknown, store, tmp_path, budget=Budget(usd=1.0))


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


def statuses(store: Store) -> Counter[str]:
    return Counter(status for (status,) in store._reader.execute("SELECT status FROM verdicts"))


# ---------------------------------------------------------------------- carried by hand


def test_files_in_a_folder_are_carried_by_hand(api: Api, url: str, store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "carry"
    settings = SETTINGS.model_copy(update={"folder": str(folder)})
    with pytest.raises(StoppedError, match=r"vllm run-batch -i .*\.jsonl -o .*\.results\.jsonl"):
        judged(make_plan(url), store, tmp_path / "unused", settings)
    (requests,) = folder.glob("*.jsonl")
    assert api.batches == {}
    results = requests.with_suffix(".results.jsonl")
    lines = []
    for line in requests.read_text().splitlines():
        row = json.loads(line)
        response, _ = api.result(row)
        lines.append(json.dumps({"id": "vllm-1", "custom_id": row["custom_id"], "response": response, "error": None}))
    results.write_text("\n".join(lines[:60]) + "\n")  # copied by half: what there is was paid for, and so is the rest
    with pytest.raises(StoppedError, match=r"of 72 results it holds 60; run again to collect"):
        judged(make_plan(url), store, tmp_path / "unused", settings)
    assert len(rows(store.path)) == 60
    results.write_text("\n".join(lines)[:-5])
    with pytest.raises(StoppedError, match="cut off"):
        judged(make_plan(url), store, tmp_path / "unused", settings)
    results.write_text("\n".join(lines))  # without a newline at the end it is whole all the same
    judged(make_plan(url), store, tmp_path / "unused", settings)
    assert summarise(list(pairings(make_plan(url), store))).decided == 36
    assert len(rows(store.path)) == 72


# ---------------------------------------------------------------------- refused, and told


def test_only_judges_on_servers_can_be_batched(url: str) -> None:
    plan = make_plan(url)
    judge = PairwiseJudge(ScriptedModel("s", lambda request: "Scores: 5 5"), template="pairwise")
    with pytest.raises(ConfigError, match="OpenAI-style server"):
        check_batches(BattlePlan(plan.contestants, judge, plan.prompt_ids, plan.schedule))
    check_batches(plan)


def test_pairs_that_hang_on_verdicts_cannot_be_batched(url: str) -> None:
    plan = make_plan(url)
    with pytest.raises(ConfigError, match="known before the first verdict"):
        check_batches(replace(plan, schedule=Schedule(plan.schedule.pairs, {}, wanted=5)))


def test_no_key_is_written_anywhere(
    api: Api, url: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "hush-0123456789")
    plan = make_plan(url)
    model = OpenAIModel("judge", "judge", url, key_env="JUDGE_KEY")
    told: list[str] = []
    with_key = BattlePlan(plan.contestants, PairwiseJudge(model, template="pairwise"), plan.prompt_ids, plan.schedule)
    settings = SETTINGS.model_copy(update={"wait": False})
    with pytest.raises(StoppedError):
        judged(with_key, store, tmp_path / "batches", settings, say=told.append)
    judged(with_key, store, tmp_path / "batches", say=told.append)
    store.flush()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 1
    assert all(b"hush-0123456789" not in path.read_bytes() for path in files)
    assert told
    assert "hush" not in " ".join(told)


def test_waiting_counts_as_time(api: Api, url: str, store: Store, tmp_path: Path) -> None:
    store.put_note("batch", "x", {"state": "closed", "number": 0, "from": 100.0, "to": 160.0})
    store.put_note("batch", "y", {"state": "closed", "number": 1, "from": 130.0, "to": 190.0})
    store.put_note("batch", "z", {"state": "closed", "number": 2, "from": 300.0, "to": 310.0})
    store.put_note("batch", "w", {"state": "closed", "number": 3})
    assert batch_seconds(store) == 100.0
