"""`arenaloop testset`: diverse and hard prompts of a pool, rated once, in prompt files; and what is refused."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arenaloop.data.prompts import read_prompts
from arenaloop.store import Store

Command = Callable[..., Any]
TOPICS = ("bread and dough", "python loops", "court and law", "stars and planets")


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def write(path: Path, some: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in some), "utf-8")


def pool(count: int = 120) -> list[dict[str, Any]]:
    """Prompts on four topics; every third has two turns, every sixth a system message, and all have a difficulty."""
    some: list[dict[str, Any]] = []
    for n in range(count):
        text = f"{TOPICS[n % 4]} {TOPICS[n % 4]} number {n} hard {n * 7 % 101}"
        row: dict[str, Any] = {"prompt": text, "id": n, "category": "own" if n % 2 else None}
        if n % 3 == 0:
            row = {"turns": [text, "now shorter"], "question_id": n}
        if n % 6 == 0:
            row["system"] = "Be brief."
        some.append(row)
    return some


def prompt_of(body: dict[str, Any]) -> str:
    """The user's first turn that a judge is asked about."""
    found = re.search(r"user prompt ===\n(.*?)\n===", body["messages"][-1]["content"], re.DOTALL)
    assert found is not None
    return found[1]


def rated(body: dict[str, Any]) -> str:
    """The difficulty that the text names, from 0 to 10."""
    if "Category:" in body["messages"][-1]["content"]:
        return "Something.\nCategory: coding"
    number = int(prompt_of(body).split()[-1])
    return f"It says so.\n\n**Score: {number / 10}**"


def said(done: Any) -> str:
    return " ".join(" ".join(done.lines).split())


SIZES = ("--clusters", 4, "--diverse", 8, "--hard", 10, "--rated", 60)


def test_diverse_and_hard_prompts_are_drawn_and_paid_once(arenaloop: Command, served: Any, tmp_path: Path) -> None:
    served.answer = rated
    write(tmp_path / "pool.jsonl", [*pool(), pool()[1]])
    command = ("testset", "--prompts", "pool.jsonl", "--judge", f"{served.url}#m", *SIZES, "--out", "sets/test.jsonl")
    dry = arenaloop(*command, "--dry-run", "--json")
    assert (dry.code, served.heard) == (0, []), dry.lines
    plan = json.loads(dry.out)
    assert (plan["prompts"], plan["rated"], plan["estimate"]["calls"]) == (120, 60, 60)
    assert plan["estimate"]["usd"] is None
    assert "other prompts of the pool stand for those that will be drawn" in said(dry)
    assert not (tmp_path / "sets").exists()

    done = arenaloop(*command, "--json")
    assert done.code == 0, done.lines
    card = json.loads(done.out)
    assert card == json.loads((tmp_path / "sets" / "test.card.json").read_text())
    assert (len(served.heard), card["calls"], card["duplicates"]) == (60, 60, 1)
    mix, diverse, hard = (read_prompts(tmp_path / "sets" / f"test{which}.jsonl") for which in ("", ".diverse", ".hard"))
    assert (len(mix), len(diverse), len(hard)) == (18, 8, 10)
    known = {prompt.id: prompt for prompt in read_prompts(tmp_path / "pool.jsonl")}
    for prompt in mix:  # each comes back as it was, with what it was tagged with
        assert (prompt.messages, prompt.follow_ups) == (known[prompt.id].messages, known[prompt.id].follow_ups)
        assert prompt.tags["source_id"] == known[prompt.id].tags["source_id"]
        assert prompt.tags.get("category") == known[prompt.id].tags.get("category")
        assert prompt.tags["split"] in ("diverse", "hard")
    assert {p.id for p in diverse}.isdisjoint(p.id for p in hard)
    assert {p.id for p in diverse} | {p.id for p in hard} == {p.id for p in mix}
    assert Counter(p.tags["cluster"] for p in diverse) == {0: 2, 1: 2, 2: 2, 3: 2}
    scores = [prompt.tags["difficulty"] for prompt in hard]
    asked = sorted((int(prompt_of(body).split()[-1]) / 10 for body in served.heard), reverse=True)
    assert scores == asked[:10]
    assert card["sets"]["mix"]["multi_turn"] == sum(bool(prompt.follow_ups) for prompt in mix) > 0
    assert sum(row["rated"] for row in card["difficulty"]["histogram"]) == 60
    assert sum(row["hard"] for row in card["difficulty"]["histogram"]) == 10
    assert {row["category"] for row in card["categories"]} == {"own", "unknown"}
    assert "have a category; --categories judge asks for them" in said(done)
    assert (tmp_path / "sets" / "test.card.html").read_text().startswith("<!DOCTYPE html>")

    before = (tmp_path / "sets" / "test.jsonl").read_bytes()
    again = arenaloop(*command)
    assert (again.code, len(served.heard)) == (0, 60)
    assert "nothing left to ask" in said(again)
    assert (tmp_path / "sets" / "test.jsonl").read_bytes() == before
    anew = arenaloop(*command[:-1], "other.jsonl")  # from nothing: the same seed, the same set
    assert (anew.code, (tmp_path / "other.jsonl").read_bytes() == before) == (0, True)
    other = arenaloop(*command, "--seed", 1)
    assert (other.code, (tmp_path / "sets" / "test.jsonl").read_bytes() == before) == (0, False)


def test_categories_by_the_judge_where_the_data_have_none(arenaloop: Command, served: Any, tmp_path: Path) -> None:
    served.answer = rated
    write(tmp_path / "pool.jsonl", pool())
    command = ("testset", "--prompts", "pool.jsonl", "--judge", f"{served.url}#m", *SIZES, "--out", "test.jsonl")
    done = arenaloop(*command, "--categories", "judge")
    assert done.code == 0, done.lines
    categories = Counter(row["category"] for row in rows(tmp_path / "test.jsonl"))
    assert set(categories) == {"own", "coding"}
    assert len(served.heard) == 60 + categories["coding"]

    def at_times(body: dict[str, Any]) -> str:
        odd = int(prompt_of(body).split()[-3]) % 2
        return rated(body).replace("coding", "cooking") if odd else rated(body)

    served.answer = at_times
    unknown = arenaloop(*command[:-1], "unknown.jsonl", "--categories", "judge", "--json")
    assert unknown.code == 3
    found = Counter(row["category"] for row in rows(tmp_path / "unknown.jsonl"))
    assert set(found) == {"own", "coding", None}
    assert found["coding"] + found[None] == categories["coding"]
    assert json.loads(unknown.out)["categories_unread"] == found[None]
    assert f"{found[None]} categories could not be read; run again to ask again" in said(unknown)


def test_what_cannot_be_rated_is_left_out_and_counted(arenaloop: Command, served: Any, tmp_path: Path) -> None:
    """30 % of the ratings cannot be read, however often they are asked."""

    def at_times(body: dict[str, Any]) -> str:
        number = int(prompt_of(body).split()[-3])
        return "It depends." if number % 10 < 3 else rated(body)

    served.answer = at_times
    write(tmp_path / "pool.jsonl", pool())
    command = ("testset", "--prompts", "pool.jsonl", "--judge", f"{served.url}#m", *SIZES, "--out", "test.jsonl")
    done = arenaloop(*command, "--json")
    assert done.code == 3
    card = json.loads(done.out)
    failed = sum(int(prompt_of(body).split()[-3]) % 10 < 3 for body in served.heard) // 3  # asked three times
    assert card["difficulty"]["failed"] == {"unparsed": failed}
    assert 10 <= failed <= 26
    assert card["difficulty"]["with_score"] == 60 - failed
    assert sum(row["rated"] for row in card["difficulty"]["histogram"]) == 60 - failed
    assert f"{failed} of 60 prompts could not be rated and were left out ({failed} unparsed)" in said(done)
    hard = rows(tmp_path / "test.hard.jsonl")
    assert len(hard) == 10
    assert all(row["difficulty"] is not None for row in hard)
    assert "Left out" in (tmp_path / "test.card.html").read_text()
    served.answer = rated  # asked again, they are rated
    heard = len(served.heard)
    assert arenaloop(*command).code == 0
    assert len(served.heard) - heard == failed
    served.answer = at_times
    few = arenaloop(*command[:-4], "--rated", 10, "--out", "few.jsonl")
    assert few.code == 3
    assert "hard prompts where 10 are wanted" in said(few)


def stored(path: Path) -> tuple[int, int]:
    """How many ratings and how many sent calls an arena file holds that another process writes."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as file:
        query = "SELECT (SELECT COUNT(*) FROM judgements), (SELECT TOTAL(calls) FROM sent)"
        ratings, calls = file.execute(query).fetchone()
        return int(ratings), int(calls)


@pytest.mark.slow
def test_killed_while_rating_nothing_is_paid_twice(arenaloop: Command, served: Any, tmp_path: Path) -> None:
    write(tmp_path / "pool.jsonl", pool())
    command = ("testset", "--prompts", "pool.jsonl", "--judge", f"{served.url}#m", *SIZES, "--out", "test.jsonl")
    served.answer = lambda body: rated(body) if len(served.heard) <= 25 else None  # then it hangs
    run = [sys.executable, "-c", "from arenaloop.cli import main; main()", *map(str, command), "--concurrency", "1"]
    with subprocess.Popen(run, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        assert served.hanging.wait(120)
        while stored(tmp_path / "test.jsonl.db") != (25, 26) and process.poll() is None:
            threading.Event().wait(0.01)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    answered = Counter(prompt_of(body) for body in served.heard[:25])
    assert not (tmp_path / "test.jsonl").exists()
    served.answer = rated
    done = arenaloop(*command, "--json")
    assert done.code == 0, done.lines
    later = Counter(prompt_of(body) for body in served.heard[26:])
    assert not answered & later
    assert len(answered | later) == 60
    assert max((answered + later).values()) == 1
    assert len(served.heard) == 61  # the one that hung was never answered
    assert json.loads(done.out)["calls"] == 61


def test_a_budget_stops_the_rating_and_a_higher_one_goes_on(arenaloop: Command, served: Any, tmp_path: Path) -> None:
    served.answer = rated
    write(tmp_path / "pool.jsonl", pool())
    command = ("testset", "--prompts", "pool.jsonl", "--judge", f"{served.url}#m", *SIZES, "--out", "test.jsonl")
    stopped = arenaloop(*command, "--budget-calls", 20)
    assert (stopped.code, len(served.heard)) == (4, 20)
    assert "the budget is spent" in said(stopped)
    assert arenaloop(*command, "--budget-calls", 60).code == 0
    assert len(served.heard) == 60
    unpriced = arenaloop(*command, "--budget-usd", 1)
    assert unpriced.code == 2
    assert "needs the price of 'm'" in said(unpriced)


def test_ratings_by_batch_files(arenaloop: Command, served: Any, tmp_path: Path) -> None:
    write(tmp_path / "pool.jsonl", pool())
    command = ("testset", "--prompts", "pool.jsonl", "--judge", f"{served.url}#m", *SIZES, "--out", "test.jsonl")
    ordered = arenaloop(*command, "--batch", "--batch-files", "files")
    assert (ordered.code, served.heard) == (4, [])
    assert "put them beside each" in said(ordered)
    file = next((tmp_path / "files").glob("*.jsonl"))
    results = []
    for line in rows(file):
        choice = {"message": {"role": "assistant", "content": rated(line["body"])}, "finish_reason": "stop"}
        body = {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
        results.append({"custom_id": line["custom_id"], "response": {"status_code": 200, "body": body}})
    write(file.with_suffix(".results.jsonl"), results)
    live = arenaloop(*command)
    assert live.code == 2
    assert "go on with --batch, or give them up with --forget-batches" in said(live)
    done = arenaloop(*command, "--batch", "--batch-files", "files")
    assert (done.code, served.heard) == (0, []), done.lines
    assert len(rows(tmp_path / "test.hard.jsonl")) == 10
    by_batch = (tmp_path / "test.jsonl").read_bytes()
    served.answer = rated
    assert arenaloop(*command[:-1], "live.jsonl").code == 0
    assert (tmp_path / "live.jsonl").read_bytes() == by_batch


# ---------------------------------------------------------------------- embeddings endpoints


def vectors(body: dict[str, Any], width: int = 8) -> dict[str, Any]:
    """A reply of an embeddings endpoint, in another order than was asked: one direction a topic, and some noise."""
    found = []
    for at, text in enumerate(body["input"]):
        noise = np.random.default_rng(abs(hash(text)) % 2**32).normal(0, 0.05, width)
        noise[next((n for n, topic in enumerate(TOPICS) if topic in text), 7)] += 1
        found.append({"object": "embedding", "index": at, "embedding": noise.tolist()})
    usage = {"prompt_tokens": 5 * len(found), "total_tokens": 5 * len(found)}
    return {"object": "list", "data": found[::-1], "model": body["model"], "usage": usage}


def endpoint(body: dict[str, Any]) -> Any:
    return vectors(body) if "input" in body else rated(body)


@pytest.fixture
def by_endpoint(served: Any, tmp_path: Path) -> Iterator[tuple[Any, ...]]:
    """A command whose embeddings and ratings are the loopback server's, with prices."""
    write(tmp_path / "pool.jsonl", pool())
    (tmp_path / "prices.yaml").write_text("prices: {e: {input: 20000, output: 0}, m: {input: 0, output: 0}}\n")
    served.answer = endpoint
    return iter(
        [
            ("testset", "--prompts", "pool.jsonl", "--judge", f"{served.url}#m", "--embeddings", f"{served.url}#e",
             *SIZES, "--prices", "prices.yaml", "--out", "test.jsonl")
        ]
    )  # fmt: skip


def test_embeddings_of_an_endpoint(by_endpoint: Any, arenaloop: Command, served: Any, tmp_path: Path) -> None:
    command = next(by_endpoint)
    dry = arenaloop(*command, "--dry-run", "--json")
    assert (dry.code, served.heard) == (0, []), dry.lines
    plan = json.loads(dry.out)["estimate"]
    assert plan["calls"] == 60 + 2
    assert {role["role"]: role["calls"] for role in plan["roles"]} == {"judge": 60, "embeddings": 2}
    embeddings = next(role for role in plan["roles"] if role["role"] == "embeddings")
    assert embeddings["tokens_out"] == 0
    assert embeddings["usd"] == pytest.approx(embeddings["tokens_in"] * 0.02)
    done = arenaloop(*command, "--json")
    assert done.code == 0, done.lines
    card = json.loads(done.out)
    assert Counter(served.paths) == {"/v1/embeddings": 2, "/v1/chat/completions": 60}
    assert card["usd"] == pytest.approx(120 * 5 * 0.02)
    sent = [text for body in served.heard for text in body.get("input", ())]
    assert len(set(sent)) == len(sent) == 120
    assert sum("now shorter" in text for text in sent) == 40  # all turns of a conversation are embedded
    assert card["clusters"] | {"median": None} == {"clusters": 4, "smallest": 30, "median": None, "largest": 30}
    assert arenaloop(*command).code == 0
    assert len(served.heard) == 62
    more = arenaloop(*command, "--clusters", 5, "--json")  # other clusters of vectors that are paid for
    assert more.code == 0, more.lines
    assert Counter(served.paths)["/v1/embeddings"] == 2


def test_an_endpoint_that_changes_its_width(by_endpoint: Any, arenaloop: Command, served: Any) -> None:
    command = (*next(by_endpoint), "--concurrency", 1)
    widths = iter((8, 16, 16))
    served.answer = lambda body: vectors(body, next(widths))
    done = arenaloop(*command)
    assert done.code == 4
    told = f"arenaloop: embeddings e at {served.url}: vectors of 16 numbers, after some of 8: "
    assert done.lines[-1].startswith(told)
    assert len(served.heard) == 2
    again = arenaloop(*command)  # it is known from what is stored
    assert (again.code, len(served.heard)) == (4, 2)
    assert again.lines[-1].startswith(told)


def test_an_endpoint_that_is_down_or_refuses(by_endpoint: Any, arenaloop: Command, served: Any, tmp_path: Path) -> None:
    command = next(by_endpoint)
    down = list(command)
    down[down.index("--embeddings") + 1] = "http://127.0.0.1:9/v1#e"
    (tmp_path / "down.yaml").write_text("{spec: 'http://127.0.0.1:9/v1#e', retries: 0, price: {input: 1, output: 0}}")
    down[down.index("--embeddings") + 1] = "down.yaml"
    done = arenaloop(*down)
    assert (done.code, served.heard) == (4, [])
    assert done.lines[-1].startswith("arenaloop: http://127.0.0.1:9/v1 cannot be reached (tried once): ")
    replies: list[Any] = [400, {"data": []}, {"choices": []}]
    whys = ("HTTP 400: no", "HTTP 200: 0 embeddings of 64 texts", "HTTP 200: no embeddings in the reply")
    for reply, why in zip(replies, whys, strict=True):
        served.answer = lambda body, reply=reply: reply
        (tmp_path / "e.yaml").write_text(f"{{spec: '{served.url}#e', retries: 0, concurrency: 1}}")
        down[down.index("--embeddings") + 1] = "e.yaml"
        refused = arenaloop(*down)
        assert refused.code == 4
        assert why in refused.lines[-1], refused.lines
    served.answer = endpoint
    assert arenaloop(*down).code == 0


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--clusters", 200), "120 prompts cannot make 200 clusters: take fewer (--clusters)"),
        (("--diverse", 121), "121 diverse prompts of 120: take fewer (--diverse)"),
        (("--diverse", 100, "--hard", 30, "--rated", 30), "30 hard prompts of 120, less 100 diverse ones: take fewer"),
        (("--diverse", 8, "--rated", 113), "113 rated prompts of 120, less 8 diverse ones: take fewer (--rated)"),
        (("--hard", 70), "hard 70 is more than rated 60"),
        (("--hard", 0, "--diverse", 0), "diverse and hard are both 0"),
        (("--embeddings", "word2vec"), "embeddings 'word2vec': expected tfidf, st:PATH"),
        (("--embeddings", "st:./none"), "embeddings st:./none: no such folder"),
        (("--judge", "builtin:longest"), "judge builtin:longest: rates no prompt; that takes one judging model"),
        (("--judge", "sandbox:judge", "--verdict", "logprob"), "rates prompts with verdict text or json, not logprob"),
        (("--judge", "sandbox:judge", "--template", "rubric"), "is a template of layout answer"),
        (("--prompts", "none.jsonl"), "none.jsonl"),
        (("--batch",), "judge sandbox-judge: batches are for judges on an OpenAI-style server"),
        (("--out", "pool.jsonl"), "--out pool.jsonl: that is what is read; take another file"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    arenaloop: Command, tmp_path: Path, options: tuple[Any, ...], why: str
) -> None:
    write(tmp_path / "pool.jsonl", pool())
    before = sorted(tmp_path.iterdir())
    base = ("testset", "--prompts", "pool.jsonl", "--judge", "sandbox:judge", *SIZES, "--out", "test.jsonl")
    done = arenaloop(*base, *options)
    assert done.code == 2, done.lines
    assert why in said(done)
    assert sorted(tmp_path.iterdir()) == before


def test_a_judge_is_needed_for_hard_prompts_alone(arenaloop: Command, tmp_path: Path) -> None:
    write(tmp_path / "pool.jsonl", pool())
    command = ("testset", "--prompts", "pool.jsonl", "--clusters", 4, "--diverse", 8, "--out", "test.jsonl")
    refused = arenaloop(*command, "--hard", 3)
    assert refused.code == 2
    assert "a judge is needed to rate prompts" in said(refused)
    done = arenaloop(*command, "--hard", 0, "--json")
    assert done.code == 0, done.lines
    card = json.loads(done.out)
    assert (card["calls"], card["difficulty"], card["sets"]["hard"]["prompts"]) == (0, None, 0)
    assert len(rows(tmp_path / "test.jsonl")) == 8
    dry = arenaloop(*command, "--hard", 0, "--dry-run", "--json")
    assert json.loads(dry.out)["estimate"] is None


@pytest.mark.parametrize(
    ("some", "why"),
    [
        ([{"prompt": "the same"}] * 50, "1 prompts cannot make 4 clusters"),
        # other ids, and yet one and the same vector
        ([{"prompt": f"{' ' * n}The SAME  text"} for n in range(50)], "50 prompts, of which 1 differ by their embed"),
        (
            [{"messages": [{"role": "assistant", "content": "hi"}]}],
            "pool.jsonl, line 1: a prompt ends with a user turn",
        ),
        ([{"turns": []}], "pool.jsonl, line 1: turns is not a list of the user's texts"),
        ([{"answer": "4"}], "pool.jsonl, line 1: no column messages, turns, prompt, instruction or question"),
        ([], "pool.jsonl: the file is empty"),
    ],
)
def test_pools_that_cannot_be(arenaloop: Command, tmp_path: Path, some: list[dict[str, Any]], why: str) -> None:
    write(tmp_path / "pool.jsonl", some)
    done = arenaloop(
        "testset", "--prompts", "pool.jsonl", "--judge", "sandbox:judge", *SIZES, "--rated", 10, "--out", "test.jsonl"
    )
    assert done.code == 2, done.lines
    assert why in said(done)
    assert not (tmp_path / "test.jsonl").exists()


def test_one_prompt_in_both_halves_where_that_is_wanted(arenaloop: Command, tmp_path: Path) -> None:
    write(tmp_path / "pool.jsonl", pool(20))
    command = ("testset", "--prompts", "pool.jsonl", "--judge", "sandbox:judge", "--clusters", 4, "--out", "t.jsonl")
    done = arenaloop(*command, "--diverse", 20, "--hard", 10, "--rated", 20, "--overlap", "--json")
    assert done.code == 0, done.lines
    kinds = Counter(row["split"] for row in rows(tmp_path / "t.jsonl"))
    assert kinds == {"diverse": 10, "diverse+hard": 10}
    with Store(tmp_path / "t.jsonl.db", readonly=True) as store:
        assert store.usage().calls == 20
