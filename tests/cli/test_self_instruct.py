"""`arenaloop self-instruct`: new prompts, each paid once, in files that the other verbs read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arenaloop.data.prompts import read_prompts
from arenaloop.sandbox.author import Author
from arenaloop.types import Request

Command = Callable[..., Any]
SEEDS = "sandbox:prompts?n=40"
AUTHOR = ["self-instruct", "--prompts", SEEDS, "--model", "sandbox:author", "--min-words", "2"]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def told(done: Any) -> str:
    return " ".join(" ".join(done.lines).split())


def author(body: dict[str, Any]) -> str:
    return Author()(Request(messages=tuple(body["messages"]), sample=body.get("seed", 0)))


def test_new_prompts_are_prompts_to_the_other_verbs(arenaloop: Command, tmp_path: Path) -> None:
    done = arenaloop(*AUTHOR, "--count", 60, "-o", "new.jsonl")
    assert done.code == 0, done.lines
    assert "new.jsonl: 60 new prompts by author after 40 seeds" in done.lines
    assert "60 of 60 new prompts; new.dropped.jsonl holds what was left out" in told(done)
    table = {" ".join(line.split()[:-2]): line.split()[-2] for line in done.out.splitlines()[1:]}
    card, dropped = json.loads((tmp_path / "new.card.json").read_text()), rows(tmp_path / "new.dropped.jsonl")
    assert table["kept"] == "60"
    assert {why: int(table[why]) for why in card["dropped"]} == card["dropped"]
    assert sum(card["dropped"].values()) == len(dropped)
    assert card["written"] == 60 + card["beyond"] + len(dropped)
    found = read_prompts(tmp_path / "new.jsonl")
    assert (len(found), found.duplicates, found.unknown) == (60, 0, ())
    seeds = arenaloop("sandbox", "prompts", "--n", 40)
    known = {json.loads(line)["messages"][-1]["content"] for line in seeds.out.splitlines()}
    assert known.isdisjoint(prompt.last_user for prompt in found)
    copied = [row for row in dropped if row["dropped"]["why"] == "like one that is there"]
    assert any(row["dropped"]["like"] in known and row["dropped"]["similarity"] == 1.0 for row in copied)
    clean = arenaloop("clean", "--prompts", "new.jsonl", "--out", "clean.jsonl", "--dry-run", "--lang", "any")
    assert clean.code == 0, clean.lines


def test_nothing_is_asked_twice(arenaloop: Command, served: Any, tmp_path: Path) -> None:
    served.answer = author
    line = [*AUTHOR[:4], f"{served.url}#m", *AUTHOR[5:], "--out", "new.jsonl"]
    dry = arenaloop(*line, "--count", 50, "--dry-run")
    assert (dry.code, dry.out) == (0, "")
    assert "9 calls" in told(dry)
    assert "70% of what is written is taken to be new (assumed)" in told(dry)
    assert served.heard == []
    assert list(tmp_path.iterdir()) == []
    stopped = arenaloop(*line, "--count", 50, "--budget-calls", 3)
    assert stopped.code == 4
    assert "3 of 3 calls" in stopped.lines[-1]
    assert "of 50 new prompts kept; with a higher budget the same command goes on" in told(stopped)
    assert (tmp_path / "new.jsonl").exists()
    done = arenaloop(*line, "--count", 50)
    assert done.code == 0, done.lines
    asked = [body["messages"][-1]["content"] for body in served.heard]
    assert len(set(asked)) == len(asked)
    assert {(body["temperature"], body["top_p"], body["max_tokens"]) for body in served.heard} == {(0.6, 0.9, 1024)}
    first = (tmp_path / "new.jsonl").read_bytes()
    assert arenaloop(*line, "--count", 50).code == 0
    assert (tmp_path / "new.jsonl").read_bytes() == first
    assert len(served.heard) == len(asked)
    dry = arenaloop(*line, "--count", 90, "--dry-run", "--json")
    document = json.loads(dry.out)
    assert document["calls"] == len(asked)
    assert 0 < document["estimate"]["calls"] < 20
    assert arenaloop(*line, "--count", 90, "--temperature", 1).code == 0
    assert served.heard[-1]["temperature"] == 1
    assert len(served.heard) > len(asked) + 10  # another decoding, other answers


def test_what_it_costs_is_told_and_limited(arenaloop: Command, served: Any, tmp_path: Path) -> None:
    served.answer = author
    (tmp_path / "prices.yaml").write_text(f"prices: {{'{served.url}#m': {{input: 1000, output: 1000}}}}\n")
    line = [*AUTHOR[:4], f"{served.url}#m", *AUTHOR[5:], "--out", "new.jsonl", "--count", 500]
    refused = arenaloop(*line, "--budget-usd", 1)
    assert refused.code == 2
    assert "needs the price of 'm'" in told(refused)
    priced = [*line, "--prices", "prices.yaml"]
    assert "$" in told(arenaloop(*priced, "--dry-run"))
    stopped = arenaloop(*priced, "--budget-usd", 0.5, "--json")
    assert stopped.code == 4
    card = json.loads(stopped.out)
    assert 0 < card["usd"] <= 0.5
    assert card["kept"] < 500


def test_test_prompts_stay_out(arenaloop: Command, tmp_path: Path) -> None:
    assert arenaloop(*AUTHOR, "--count", 20, "--out", "free.jsonl").code == 0
    test = rows(tmp_path / "free.jsonl")[:5]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in test))
    done = arenaloop(*AUTHOR, "--count", 20, "--out", "new.jsonl", "--against", "test.jsonl")
    assert done.code == 0, done.lines
    assert "like none of 5 test prompts" in told(done)
    texts = {row["messages"][0]["content"] for row in test}
    assert texts.isdisjoint(row["messages"][0]["content"] for row in rows(tmp_path / "new.jsonl"))
    why = {row["dropped"]["why"] for row in rows(tmp_path / "new.dropped.jsonl")}
    assert "asks a test prompt" in why


def test_where_nothing_new_comes_it_stops_and_says_why(arenaloop: Command, served: Any, tmp_path: Path) -> None:
    served.answer = lambda body: "9. Tell me a story about the sea\n10. \x1b[31mTell\x1b[0m me more of it"
    line = ["self-instruct", "--prompts", SEEDS, "--model", f"{served.url}#m", "--calls-per-round", 4]
    done = arenaloop(*line, "--out", "new.jsonl", "--stop-below", 0.2)
    assert done.code == 4
    assert done.lines[-1].startswith("arenaloop: m gives nothing new: of the 8 prompts of the last 4 calls 1 were new")
    assert "\x1b" not in done.out + "".join(done.lines)
    assert len(rows(tmp_path / "new.jsonl")) == 1
    assert json.loads((tmp_path / "new.card.json").read_text())["saturated"] is not None
    served.answer = lambda body: 400
    failed = arenaloop(*line, "--out", "other.jsonl")
    assert failed.code == 4
    assert "none of the last 4 calls gave a list" in told(failed)
    assert "4 of 4 calls gave none (4 error; most often: HTTP 400" in told(failed)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--count", "0"], "Invalid value for '--count'"),
        (["--prompts", "none.jsonl"], "none.jsonl"),
        (["--prompts", "turns.jsonl"], "turns.jsonl: no prompt of one turn"),
        (["--model", "file:turns.jsonl"], "recorded answers write no new prompts"),
        (["--model", "best.yaml"], "take best_of_n out"),
        (["--model", "sandbox:authors"], "did you mean 'author'?"),
        (["--against", "none.jsonl"], "none.jsonl"),
        (["--min-words", "9", "--max-words", "5"], "min_words 9: more than max_words 5"),
        (["--rouge-max", "1.5"], "rouge_max"),
        (["--out", "there.jsonl"], "there.jsonl is there without there.jsonl.db"),
        (["--out", "."], "a directory, where a file"),
    ],
)
def test_refusals(arenaloop: Command, tmp_path: Path, more: list[str], says: str) -> None:
    (tmp_path / "turns.jsonl").write_text(json.dumps({"turns": ["Say a word", "Say another one"]}))
    (tmp_path / "best.yaml").write_text("{spec: 'sandbox:novice', best_of_n: {n: 2, reward: 'sandbox:gold'}}")
    (tmp_path / "there.jsonl").write_text("{}")
    before = sorted(tmp_path.iterdir())
    done = arenaloop(*AUTHOR, "--out", "new.jsonl", *more)
    assert done.code == 2
    assert says in told(done)
    assert sorted(tmp_path.iterdir()) == before
