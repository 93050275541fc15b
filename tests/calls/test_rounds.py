"""Votes of a rubric and meta-verdicts through batches: each stored under its own key, paid once, killed anywhere."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from arenaloop.calls.batch import Round, open_batches
from arenaloop.calls.batch.requests import Line
from arenaloop.calls.judging import AskedJudge, InStore, JudgeUnit
from arenaloop.calls.progress import Tally
from arenaloop.config import BatchSettings
from arenaloop.errors import StoppedError
from arenaloop.judges.meta import MetaJudge, seated
from arenaloop.judges.pointwise import RubricJudge
from arenaloop.models.batch_lines import Batch
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.models.openai_batch import BatchEndpoint
from arenaloop.models.openai_wire import Price
from arenaloop.sandbox.batch_api import BatchApi
from arenaloop.sandbox.server import running_server
from arenaloop.store import Store, TurnRow
from arenaloop.types import Completion, Judgement, Prompt, Request, Response, Status

PROMPTS = [Prompt.of(f"question {n}") for n in range(3)]
ANSWERS = [Response(p.id, "m", (f"answer to {p.last_user}",)) for p in PROMPTS]
JUDGED = [
    [Judgement(f"{p.id}{n}", p.id, a.text_hash, "j", Status.OK, f"{p.last_user}: {n}\nScore: {n}", n) for n in range(2)]
    for p, a in zip(PROMPTS, ANSWERS, strict=True)
]
SETTINGS = BatchSettings(first_pause=1, longest_pause=2, max_requests=4)
STEP_BY_STEP = SETTINGS.model_copy(update={"wait": False})
VOTES = 3
Units = Callable[[Store], list[JudgeUnit]]


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


@pytest.fixture
def api() -> BatchApi:
    return BatchApi()


@pytest.fixture
def model(api: BatchApi) -> Iterator[OpenAIModel]:
    def say(request: Request) -> str:
        meta = "Winner:" in request.messages[0]["content"]
        return f"Winner: {'AB'[request.seed % 2]}" if meta else f"Reasons.\nScore: {request.seed % 6}"

    with running_server({"judge": say}, api) as url:
        yield OpenAIModel("judge", "judge", url, price=Price(1.0, 2.0, batch=0.5))


def votes_of(model: OpenAIModel, votes: int = VOTES) -> Units:
    """Every vote on every answer."""

    def units(store: Store) -> list[JudgeUnit]:
        asked = [AskedJudge(RubricJudge(model).repeated(n), store.secret) for n in range(votes)]
        statuses = InStore(store.judgement)
        return [JudgeUnit(one, (p, a), statuses) for p, a in zip(PROMPTS, ANSWERS, strict=True) for one in asked]

    return units


def meta_of(model: OpenAIModel) -> Units:
    """Both orders of two judgements of every answer, the answer shown before the seats."""

    def units(store: Store) -> list[JudgeUnit]:
        asked, statuses = AskedJudge(MetaJudge(model), store.secret), InStore(store.verdict)
        return [
            JudgeUnit(asked, (p, a, seated(one), seated(two)), statuses)
            for p, a, judged in zip(PROMPTS, ANSWERS, JUDGED, strict=True)
            for one, two in permutations(judged)
        ]

    return units


def about_of(model: OpenAIModel) -> Units:
    """The same, by a judge for each answer."""

    def units(store: Store) -> list[JudgeUnit]:
        statuses = InStore(store.verdict)
        return [
            JudgeUnit(AskedJudge(MetaJudge(model).about(a), store.secret), (p, seated(one), seated(two)), statuses)
            for p, a, judged in zip(PROMPTS, ANSWERS, JUDGED, strict=True)
            for one, two in permutations(judged)
        ]

    return units


KINDS = pytest.mark.parametrize("kind", [votes_of, meta_of, about_of])


def open_store(path: Path) -> Store:
    """An arena file with the answers, and the judgements that a meta-judge is asked about."""
    store = Store(path)
    if store.prompt(PROMPTS[0].id) is None:
        store.add_prompts(PROMPTS)
        for p, a in zip(PROMPTS, ANSWERS, strict=True):
            store.add_turns([TurnRow(f"of {p.id}", 0, p.id, "m", Completion(a.texts[0]), a.text_hash)])
        store.add_records([one for judged in JUDGED for one in judged])
        store.flush()
    return store


async def no_sleep(seconds: float) -> None:
    assert seconds > 0


def judged(units: Units, store: Store, settings: BatchSettings = SETTINGS) -> Tally:
    wanted = units(store)
    tally = Tally(verdicts_total=len(wanted))
    judges = list({id(unit.asked): unit.asked for unit in wanted}.values())
    folder = store.path.parent / "batches"
    round_ = Round(judges, lambda: iter(wanted), store, folder, settings, tally, lambda line: None, no_sleep)
    asyncio.run(round_.run(None))
    assert round_.left == 0
    round_.close()
    store.flush()
    return tally


def records(units: Units, store: Store) -> list[Any]:
    """What is stored of each unit, each once and as its own judge reads it."""
    wanted = units(store)
    assert set(store.attempts([unit.key() for unit in wanted]).values()) == {1}
    found = [store.judgement(unit.key()) or store.verdict(unit.key()) for unit in wanted]
    assert [one is not None and one.status for one in found] == [Status.OK] * len(wanted)
    return found


def heard(api: BatchApi) -> Counter[str]:
    return Counter(line["custom_id"] for line in api.heard)


@KINDS
def test_everything_is_stored_once_and_nothing_is_asked_again(
    api: BatchApi, model: OpenAIModel, tmp_path: Path, kind: Callable[[OpenAIModel], Units]
) -> None:
    units = kind(model)
    with open_store(tmp_path / "arena.db") as store:
        before = store.usage().calls
        wanted = units(store)
        tally = judged(units, store)
        assert (tally.verdicts, tally.calls, tally.failed) == (len(wanted), len(wanted), 0)
        assert heard(api) == Counter(unit.key() for unit in wanted)
        for unit, record in zip(wanted, records(units, store), strict=True):
            hashes = tuple(text.text_hash for text in unit.material[1:])
            assert isinstance(record, Judgement) == (kind is votes_of)
            told = (record.response_hash,) if kind is votes_of else (record.first_hash, record.second_hash)
            assert told == hashes[-len(told) :]
        assert (store.usage().calls - before, open_batches(store)) == (len(wanted), {})
        again = judged(units, store)
        assert (again.cached, again.calls, len(api.heard)) == (len(wanted), 0, len(wanted))


STEPS = 7  # one file: its lines, written, uploaded, made, submitted, ended, collected
PLACES = [(step, before) for step in range(STEPS) for before in (True, False)] + [(STEPS + n, True) for n in range(3)]


@KINDS
@pytest.mark.parametrize(("step", "before"), PLACES)
def test_killed_at_any_step_nothing_is_paid_or_stored_twice(
    api: BatchApi,
    model: OpenAIModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: Callable[[OpenAIModel], Units],
    step: int,
    before: bool,
) -> None:
    """Before and after each commit of a batch's state, around its making, between two verdicts."""
    steps = kept = 0
    put, make, add = Store.put_note, BatchEndpoint.create, Store.add_records

    def here() -> bool:
        nonlocal steps
        steps += 1
        return steps == step + 1

    def put_note(self: Store, *row: Any) -> None:
        dies = here()
        if not (dies and before):
            put(self, *row)
        if dies:
            raise Killed

    async def create(self: BatchEndpoint, *asked: Any) -> Batch:
        dies = here()
        if dies and before:
            raise Killed
        made = await make(self, *asked)
        if dies:
            raise Killed
        return made

    def add_records(self: Store, some: Any) -> None:
        nonlocal kept
        kept += 1
        if kept == 1 + 2 * (step - STEPS):
            raise Killed
        add(self, some)

    units = kind(model)
    with open_store(tmp_path / "arena.db") as store:
        monkeypatch.setattr(Store, "put_note", put_note)
        monkeypatch.setattr(BatchEndpoint, "create", create)
        monkeypatch.setattr(Store, "add_records", add_records)
        with pytest.raises(Killed):
            judged(units, store, SETTINGS.model_copy(update={"max_requests": 100}))
        monkeypatch.undo()
    with open_store(tmp_path / "arena.db") as store:
        judged(units, store)
        assert heard(api) == Counter(unit.key() for unit in units(store))
        records(units, store)


@KINDS
def test_a_lost_request_file_is_written_again(
    api: BatchApi, model: OpenAIModel, tmp_path: Path, kind: Callable[[OpenAIModel], Units]
) -> None:
    async def down(self: BatchEndpoint, path: Path) -> str:
        raise StoppedError("no network")

    units = kind(model)
    with open_store(tmp_path / "arena.db") as store:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(BatchEndpoint, "upload", down)
            with pytest.raises(StoppedError, match="no network"):
                judged(units, store)
        (written,) = (tmp_path / "batches").glob("*.jsonl")
        content = written.read_bytes()
        written.unlink()
        judged(units, store)
        assert content in api.files.values()
        records(units, store)


def test_a_vote_that_cannot_be_read_is_asked_again_as_itself(
    api: BatchApi, model: OpenAIModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    units, result = votes_of(model), api.result
    with open_store(tmp_path / "arena.db") as store:
        bad = units(store)[1]

        def garbage(line: Any) -> Any:
            response, error = result(line)
            if line["custom_id"] == bad.key():
                assert response is not None
                response["body"]["choices"][0]["message"]["content"] = "I like it."
            return response, error

        monkeypatch.setattr(api, "result", garbage)
        judged(units, store)
        assert heard(api) == Counter([*(unit.key() for unit in units(store)), bad.key(1)])
        first, second = (store.judgement(bad.key(sample)) for sample in (0, 1))
        assert first is not None
        assert second is not None
        assert (first.status, second.status, second.sample) == (Status.UNPARSED, Status.OK, 1)


def test_results_of_a_vote_that_nobody_casts_any_more_are_left(
    api: BatchApi, model: OpenAIModel, tmp_path: Path
) -> None:
    with open_store(tmp_path / "arena.db") as store:
        with pytest.raises(StoppedError, match="run again to collect"):
            judged(votes_of(model), store, STEP_BY_STEP)
        with pytest.raises(StoppedError, match="no vote of the judge has its key"):
            judged(votes_of(model, 1), store)
        store.flush()
        judged(votes_of(model), store)  # and they are there when it is cast again
        assert set(heard(api).values()) == {1}
        records(votes_of(model), store)


def test_notes_that_have_two_hashes_of_every_line_are_read(api: BatchApi, model: OpenAIModel, tmp_path: Path) -> None:
    """So they were written when there were only pairs; a judgement's second hash was empty."""
    with open_store(tmp_path / "arena.db") as store:
        with pytest.raises(StoppedError, match="run again to collect"):
            judged(votes_of(model), store, STEP_BY_STEP)
        for tag, note in list(store.notes("batch requests")):
            rows = [[key, prompt_id, text_hash, "", *rest] for key, prompt_id, text_hash, *rest in note["requests"]]
            store.put_note("batch requests", tag, {"requests": rows})
        judged(votes_of(model), store)
        assert set(heard(api).values()) == {1}
        records(votes_of(model), store)


@pytest.mark.parametrize("hashes", [("a",), ("a", "b"), ("a", "b", "c")])
def test_a_line_comes_back_from_its_note(hashes: Sequence[str]) -> None:
    line = Line("key", "prompt", tuple(hashes), 1, 2)
    assert Line.of(json.loads(json.dumps(line.row))) == line
