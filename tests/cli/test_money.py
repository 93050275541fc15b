"""`arenaloop battle`: prices, the estimate, people's labels, and judging through batches."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from till import Said, running_till, scores

from arenaloop.sandbox.batch_api import BatchApi
from arenaloop.sandbox.server import running_server
from arenaloop.store import Store

Command = Callable[..., Any]
TEXTS = [f"question {n}" for n in range(6)]
RECORDED = ["--model", "a=file:a.json", "--model", "b=file:b.json", "--prompts", "prompts.jsonl"]


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> Path:
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": t}) + "\n" for t in TEXTS))
    for name, word in (("a", "short"), ("b", "rather longer")):
        rows = [{"instruction": t, "output": f"{word} answer to {t}"} for t in TEXTS]
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    (tmp_path / "prices.yaml").write_text("prices:\n  judge: {input: 2.0, output: 10.0}\n")
    return tmp_path


@pytest.fixture
def api() -> BatchApi:
    return BatchApi()


@pytest.fixture
def url(api: BatchApi, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    async def no_sleep(seconds: float) -> None:
        pass

    monkeypatch.setattr("arenaloop.calls.batch.rounds.DEFAULT_SLEEP", no_sleep)
    with running_server(batches=api) as url:
        yield url


def read(path: Path) -> Any:
    return json.loads(path.read_text())


# ---------------------------------------------------------------------- prices and the estimate


def test_a_dry_run_prints_one_document_and_writes_nothing(arenaloop: Command, tmp_path: Path, url: str) -> None:
    before = sorted(tmp_path.iterdir())
    result = arenaloop("battle", *RECORDED, "--judge", f"{url}#judge", "--prices", "prices.yaml", "--dry-run", "--json")
    assert result.code == 0
    document = json.loads(result.out)
    assert document["battles"] == 6
    estimate = document["estimate"]
    assert estimate["calls"] == 12
    assert estimate["tokens_out_most"] == 3 * 12 * 512  # asked again twice
    expected = (estimate["tokens_in"] * 2 + estimate["tokens_out"] * 10) / 1e6
    assert estimate["usd"] == pytest.approx(expected)
    assert estimate["human"]["usd"] == pytest.approx(6 * 0.30)
    assert sorted(tmp_path.iterdir()) == before
    half = arenaloop(
        "battle", *RECORDED, "--judge", f"{url}#judge", "--prices", "prices.yaml", "--batch", "--dry-run", "--json"
    )
    assert json.loads(half.out)["estimate"]["usd"] == pytest.approx(expected / 2)


def test_a_dry_run_on_a_finished_directory_has_nothing_left(arenaloop: Command, tmp_path: Path, url: str) -> None:
    command = ["battle", *RECORDED, "--judge", f"{url}#judge", "--out", "out"]
    first = arenaloop(*command)
    assert first.code == 0
    assert first.lines[1].startswith("estimate: 12 calls")
    summary = read(tmp_path / "out" / "summary.json")
    tokens = summary["tokens_in"] + summary["tokens_out"]
    assert f"this run took {summary['calls']} calls · {tokens:,} tokens" in first.out
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    result = arenaloop(*command, "--dry-run")
    assert result.lines[1].startswith("nothing left to ask")
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir() if p.name in before} == before


def test_the_price_file_is_resolved_into_the_settings(arenaloop: Command, tmp_path: Path, url: str) -> None:
    (tmp_path / "prices.yaml").write_text(
        f"prices:\n  {url}#judge: {{input: 1.0, output: 2.0, batch: 0.4}}\n  other: {{input: 9.0, output: 9.0}}\n"
        "human: {usd: 1.5, seconds: 60}\n"
    )
    result = arenaloop("battle", *RECORDED, "--judge", f"{url}#judge", "--prices", "prices.yaml", "--out", "out")
    assert result.code == 0
    settings = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    assert settings["judge"]["price"] == {"input": 1.0, "output": 2.0, "cached": None, "batch": 0.4, "units": {}}
    assert settings["models"][0]["price"] is None
    summary = read(tmp_path / "out" / "summary.json")
    assert summary["usd"] == pytest.approx((summary["tokens_in"] + 2 * summary["tokens_out"]) / 1e6)
    human = summary["human_equivalent"]
    assert (human["labels"], human["usd"], human["seconds"]) == (6, pytest.approx(9.0), pytest.approx(360.0))
    assert human["cheaper"] == pytest.approx(9.0 / summary["usd"])
    assert human["faster"] == pytest.approx(360.0 / summary["seconds"])
    assert any("6 labels by people: $9.00" in line for line in result.out.splitlines())
    money = f"{summary['calls']} calls · ${summary['usd']:.2g}"
    assert any(line.startswith(f"this run took {money}") for line in result.out.splitlines())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("prices: {judge: {input: 1.0}}", "'prices.judge.output' is missing"),
        ("price: {}", "did you mean 'prices'?"),
        ("prices: {judge: {input: -1, output: 1}}", "prices.judge.input"),
        ("- 3", "expected a mapping"),
    ],
)
def test_a_wrong_price_file_is_refused(arenaloop: Command, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "prices.yaml").write_text(content)
    result = arenaloop("battle", *RECORDED, "--judge", "http://127.0.0.1:9/v1#judge", "--prices", "prices.yaml")
    assert result.code == 2
    assert message in result.lines[-1]
    assert "prices.yaml" in result.lines[-1]


def test_without_a_price_people_are_still_shown_and_the_ratio_is_null(
    arenaloop: Command, tmp_path: Path, url: str
) -> None:
    result = arenaloop("battle", *RECORDED, "--judge", f"{url}#judge", "--out", "out")
    assert result.code == 0
    human = read(tmp_path / "out" / "summary.json")["human_equivalent"]
    assert human["usd"] == pytest.approx(1.8)
    assert human["cheaper"] is None
    assert human["faster"] > 0


# ---------------------------------------------------------------------- batches


def test_batches_end_in_the_same_battles_at_half_the_price(
    arenaloop: Command, tmp_path: Path, url: str, api: BatchApi
) -> None:
    command = ["battle", *RECORDED, "--judge", f"{url}#judge", "--prices", "prices.yaml"]
    result = arenaloop(*command, "--batch", "--out", "batch")
    assert result.code == 0
    assert len(api.batches) == 1
    assert any("12 verdicts submitted" in line for line in result.lines)
    assert arenaloop(*command, "--out", "live").code == 0
    batch, live = (read(tmp_path / name / "summary.json") for name in ("batch", "live"))
    assert batch["usd"] == pytest.approx(live["usd"] / 2, rel=0.05)  # delimiters differ between directories
    assert batch["battles_decided"] == live["battles_decided"] == 6
    again = arenaloop(*command, "--batch", "--out", "batch")
    assert again.code == 0
    assert len(api.batches) == 1


def test_without_waiting_the_run_is_4_until_it_is_done(arenaloop: Command, tmp_path: Path, url: str) -> None:
    command = ["battle", *RECORDED, "--judge", f"{url}#judge", "--out", "out", "--batch", "--no-wait"]
    result = arenaloop(*command)
    assert result.code == 4
    assert "run again to collect" in result.lines[-1]
    assert read(tmp_path / "out" / "leaderboard.json")["battles"] == 0
    live = arenaloop(*command[:-2])
    assert live.code == 2  # judging live would pay again for what is on its way
    assert "go on with --batch" in live.lines[-1]
    given_up = arenaloop(*command[:-2], "--forget-batches", "--dry-run")
    assert given_up.code == 0
    assert arenaloop(*command[:-2]).code == 2  # a dry run gives nothing up
    assert arenaloop(*command).code == 0
    assert read(tmp_path / "out" / "summary.json")["battles_decided"] == 6


def test_batch_files_are_carried_by_hand(arenaloop: Command, tmp_path: Path, url: str, api: BatchApi) -> None:
    command = ["battle", *RECORDED, "--judge", f"{url}#judge", "--out", "out", "--batch-files", "carry"]
    result = arenaloop(*command)
    assert result.code == 4
    (requests,) = (tmp_path / "carry").glob("*.jsonl")
    rows = [json.loads(line) for line in requests.read_text().splitlines()]
    answers = [{"custom_id": row["custom_id"], "response": api.result(row)[0], "error": None} for row in rows]
    requests.with_suffix(".results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    assert arenaloop(*command).code == 0
    assert read(tmp_path / "out" / "summary.json")["battles_decided"] == 6
    assert api.batches == {}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--no-wait"], "--no-wait goes with --batch"),
        (["--batch-rest", "live"], "--batch-rest goes with --batch"),
        (["--batch", "--batch-rest", "never"], "rest: Input should be 'batch' or 'live'"),
    ],
)
def test_flags_that_cannot_be_are_refused(arenaloop: Command, flags: list[str], message: str) -> None:
    result = arenaloop("battle", *RECORDED, "--judge", "http://127.0.0.1:9/v1#judge", *flags)
    assert result.code == 2
    assert message in result.lines[-1]


def test_a_judge_that_is_on_no_server_cannot_be_batched(arenaloop: Command, tmp_path: Path) -> None:
    result = arenaloop("battle", *RECORDED, "--judge", "sandbox:judge", "--batch", "--out", "out")
    assert result.code == 2
    assert "OpenAI-style server" in result.lines[-1]
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------------- budgets


def stored_calls(out: Path) -> int:
    with Store(out / "arena.db", readonly=True) as store:
        return store.usage().calls


def test_retries_are_calls_of_the_budget(arenaloop: Command, tmp_path: Path, served: Any) -> None:
    """A server that fails everything gets as many requests as the budget has, and no retries on top."""
    served.answer = lambda body: 500
    command = ["battle", *RECORDED, "--judge", f"{served.url}#judge", "--out", "out", "--budget-calls"]
    result = arenaloop(*command, 5)
    assert (result.code, len(served.heard)) == (4, 5)
    assert "5 of 5 calls" in result.lines[-1]
    assert stored_calls(tmp_path / "out") == 5  # each with its reason
    served.answer = lambda body: "Scores: 7 5" if len(served.heard) % 2 else 500
    (tmp_path / "judge.yaml").write_text(json.dumps({"spec": f"{served.url}#judge", "concurrency": 1}))
    command[command.index(f"{served.url}#judge")] = "judge.yaml"
    result = arenaloop(*command, 8)
    assert (result.code, len(served.heard)) == (4, 8)
    assert stored_calls(tmp_path / "out") == 8
    assert arenaloop(*command, 100).code == 0
    assert stored_calls(tmp_path / "out") == len(served.heard) == read(tmp_path / "out" / "summary.json")["calls"]


@pytest.mark.parametrize("verb", ["battle", "rejudge"])
def test_a_budget_that_cannot_count_writes_nothing(arenaloop: Command, tmp_path: Path, served: Any, verb: str) -> None:
    command = ["battle", *RECORDED, "--judge", f"{served.url}#other", "--out", "out"]
    assert arenaloop(*command).code == 0
    (tmp_path / "judge.yaml").write_text(
        json.dumps({"spec": f"{served.url}#judge", "price": {"input": 1, "output": 1}})
    )
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.name != "arena.db"}
    if verb == "battle":
        command[command.index(f"{served.url}#other")] = "judge.yaml"
    else:
        command = ["rejudge", "out", "--judge", "judge.yaml", "--template", "labels"]
    result = arenaloop(*command, "--budget-usd", 1)
    assert result.code == 2
    assert "price of some earlier calls" in result.lines[-1]
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir() if p.name != "arena.db"} == before


# ---------------------------------------------------------------------- a price file for every verb


def priced(tmp_path: Path, *names: str) -> list[str]:
    (tmp_path / "all.yaml").write_text(yaml.safe_dump({"prices": {n: {"input": 1.0, "output": 2.0} for n in names}}))
    return ["--prices", "all.yaml"]


def test_a_price_file_reaches_the_members_of_a_jury(arenaloop: Command, tmp_path: Path, served: Any) -> None:
    (tmp_path / "jury.yaml").write_text(yaml.safe_dump({"jury": [f"{served.url}#{n}" for n in ("j1", "j2", "j3")]}))
    command = ["battle", *RECORDED, "--judge", "jury.yaml", "--out", "out", "--budget-usd", "5"]
    assert "price of 'j1'" in arenaloop(*command).lines[-1]
    assert arenaloop(*command, *priced(tmp_path, "j1", "j2", "j3")).code == 0
    members = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())["judge"]["jury"]
    assert [member["price"]["output"] for member in members] == [2.0] * 3
    summary = read(tmp_path / "out" / "summary.json")
    assert summary["usd"] > summary["usd_estimated"] == 0


def test_a_price_file_reaches_rejudging_and_audits(arenaloop: Command, tmp_path: Path, served: Any) -> None:
    prices = priced(tmp_path, "m")
    judge = f"{served.url}#m"
    assert arenaloop("battle", *RECORDED, "--judge", judge, "--out", "out", *prices).code == 0
    again = ["rejudge", "out", "--template", "score_first", "--budget-usd", "5"]
    result = arenaloop(*again, *prices, "--json")
    assert result.code == 0
    assert json.loads(result.out)["usd"] > 0
    rows = [f"question {n},one,another,{1 + n % 2}\n" for n in range(12)]
    (tmp_path / "labels.csv").write_text("instruction,output_1,output_2,preference\n" + "".join(rows))
    audit = ["audit", "--judge", judge, "--labels", "labels.csv", "--budget-usd", "5", "--out", "audit"]
    assert "price of 'm'" in arenaloop(*audit).lines[-1]
    assert arenaloop(*audit, *prices).code == 0
    document = read(tmp_path / "audit" / "audit.json")
    assert document["usd"] > document["usd_estimated"] == 0


def test_a_price_file_reaches_the_models_of_a_recipe(arenaloop: Command, tmp_path: Path, served: Any) -> None:
    recipe = {
        "recipe": "arena_learning", "rounds": 0, "target": {"model": "sandbox:target"}, "budget_usd": 5.0,
        "opponents": ["sandbox:scholar", f"{served.url}#rival"], "judge": f"{served.url}#m",
        "data": {"demonstrations": "sandbox:demonstrations?n=10", "prompts": "sandbox:prompts?n=9",
                 "test": "sandbox:prompts?n=20"},
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert "price of" in arenaloop("run", "recipe.yaml", "--dry-run").lines[-1]
    result = arenaloop("run", "recipe.yaml", "--dry-run", *priced(tmp_path, "m", "rival"))
    assert result.code == 0, result.lines


def test_what_had_to_be_estimated_is_told_apart(arenaloop: Command, tmp_path: Path) -> None:
    with running_till(lambda n, body, size: Said(scores(body), 100, 20, None)) as till:
        judge = ["--judge", f"{till.url}#m", *priced(tmp_path, "m")]
        result = arenaloop("battle", *RECORDED, *judge, "--out", "out", "--budget-usd", "5")
    assert result.code == 0
    summary = read(tmp_path / "out" / "summary.json")
    assert summary["usd"] == summary["usd_estimated"] > 0
    assert any("spent is an estimate" in line and "without a count of tokens" in line for line in result.lines)
    assert arenaloop("report", "out").code == 0
    assert "Of it estimated" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(("flag", "budget", "battles"), [("--budget-usd", "0.05", 44), ("--budget-calls", "40", 10)])
def test_a_budget_that_is_too_small_buys_battles_and_not_answers_alone(
    arenaloop: Command, tmp_path: Path, served: Any, flag: str, budget: str, battles: int
) -> None:
    """As many as it pays for, whole, though all prompts could be answered at once."""
    long = {"cheap": 20, "dear": 50, "judge": 5}

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        text = "Scores: 7 5" if body["model"] == "judge" else f"{body['model']} says so"
        usage = {"prompt_tokens": 10, "completion_tokens": long[body["model"]]}
        return {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": usage}

    served.answer = answer
    prices = {"cheap": (0, 1), "dear": (0, 20), "judge": (0, 10)}  # a battle: 0.00002 + 0.001 + 2 × 0.00005
    for name, (read_, written) in prices.items():
        price = {"input": read_, "output": written}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"spec": f"{served.url}#{name}", "price": price}))
    rows = [json.dumps({"prompt": f"question {n}"}) + "\n" for n in range(60)]
    (tmp_path / "many.jsonl").write_text("".join(rows))
    command = ["battle", "--model", "cheap=cheap.yaml", "--model", "dear=dear.yaml", "--judge", "judge.yaml"]
    stopped = arenaloop(*command, "--prompts", "many.jsonl", "--out", "out", flag, budget)
    assert stopped.code == 4
    told = read(tmp_path / "out" / "summary.json")
    assert told["battles_decided"] in (battles - 1, battles)
    asked = [body["model"] for body in served.heard]
    assert asked.count("dear") <= told["battles_decided"] + 1
    assert len(read(tmp_path / "out" / "leaderboard.json")["leaderboard"]) == 2
