"""Judging through batches gives what judging call by call gives, or is carried by hand, or is refused."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from batched_battles import PROMPTS, SETTINGS, Api, judged, make_plan, rows
from scripted_battles import summarise

from arenaloop.arena.batches import check_batches
from arenaloop.arena.battles import play
from arenaloop.arena.matchmaking import Schedule
from arenaloop.arena.pairings import pairings
from arenaloop.arena.plan import BattlePlan
from arenaloop.calls.batch import batch_seconds, open_batches
from arenaloop.errors import ConfigError, StoppedError
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.models.scripted import ScriptedModel
from arenaloop.store import Store
from arenaloop.types import Request

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
