"""`arenaloop audit`, and battles judged without a model or by a jury, from the command line."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]

PAIRS = [(f"question {n}", "short", "much longer than " + "that " * 10) for n in range(12)]
VOTES = ["model_b"] * 8 + ["model_a"] * 3 + ["tie"]


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """People's votes as a CSV, and a recorded judge's labels on all pairs but the last."""
    with (tmp_path / "human.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["prompt", "response_a", "response_b", "winner"])
        rows.writerows([*pair, vote] for pair, vote in zip(PAIRS, VOTES, strict=True))
    recorded = [
        {"instruction": q, "output_1": a, "output_2": b, "preference": 2 if n < 10 else 1, "annotator": "gpt4",
         "price_per_example": 0.01, "time_per_example": 1.0}
        for n, (q, a, b) in enumerate(PAIRS[:-1])
    ]  # fmt: skip
    (tmp_path / "recorded.json").write_text(json.dumps(recorded))
    return tmp_path / "human.csv"


def test_baselines_side_by_side(arenaloop: Command, labels: Path) -> None:
    ended = arenaloop("audit", "--judge", "builtin:longest", "--judge", "builtin:random", "--labels", labels, "--json")
    assert ended.code == 0, ended.lines
    document = json.loads(ended.out)
    assert document == json.loads(Path("runs/audit/audit.json").read_text())
    assert (document["pairs"], document["prompts"], document["cluster"], document["calls"]) == (12, 12, "prompt", 0)
    rows = {row["judge"]: row for row in document["leaderboard"]}
    longest = rows["longest"]
    assert longest["agreement"] == pytest.approx(100 * 8.5 / 12)
    assert longest["agreement_n"] == 12
    assert 0 < longest["agreement_lower"] < longest["agreement"] < longest["agreement_upper"] < 100
    assert (longest["longer"], longest["variance"], longest["usd_per_1000"], longest["flips"]) == (1.0, 0.0, 0.0, 0.0)
    assert (longest["spearman"], longest["failed"], longest["unparsed"]) == (None, {}, 0.0)
    assert document["humans"]["agreement"] is None
    assert document["humans"]["usd_per_1000"] == 300.0
    assert [row["rank"] for row in document["leaderboard"]] == list(range(1, len(document["leaderboard"]) + 1))
    assert "NaN" not in ended.out


def test_what_the_labels_could_have_shown_what_stands_and_the_self_test(arenaloop: Command, labels: Path) -> None:
    told = ("audit", "--judge", "gpt4=labels:recorded.json", "--judge", "builtin:longest", "--labels", labels)
    ended = arenaloop(*told, "--self-test", "--planted", "0.3", "--json")
    assert ended.code == 3, ended.lines  # one pair has no recorded label
    document = json.loads(ended.out)
    tests = {test["figure"]: test for test in document["tests"]}
    assert {test["judge"] for test in document["tests"]} == {"gpt4"}  # a baseline is no finding
    assert tests["agreement"]["fair"] == 50.0
    assert all(test["p"] <= test["q"] <= 1.0 for test in tests.values())
    assert all(test["stands"] == (test["q"] <= 0.05) for test in tests.values())
    assert document["smallest_effects"]["power"] == 0.8
    # eleven pairs: half of all, 0.5 / sqrt(11), at t of ten degrees of freedom 2.2281 + 0.8791
    shown = document["smallest_effects"]["gpt4"]["agreement"]
    assert shown == pytest.approx(100 * 0.5 / 11**0.5 * (2.228139 + 0.879058), rel=0.1)
    seat, length = document["self_test"]
    assert (seat["bias"], seat["plantings"], seat["enough"]) == ("seat", 0, False)
    assert (length["bias"], length["plantings"], length["size"]) == ("length", 0, 0.3)  # all pairs differ alike
    table = arenaloop(*told, "--self-test")
    for words in ("smallest", "stands at 5%", "seats not known", "what these labels would have shown"):
        assert words in table.out
    assert "self_test" not in json.loads(arenaloop(*told, "--json").out)
    refused = arenaloop(*told, "--self-test", "--planted", "0.7")
    assert refused.code == 2
    assert "--planted" in refused.lines[-1]


def test_the_tables_fit_80_columns(arenaloop: Command, labels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ended = arenaloop(
        "audit", "--judge", "builtin:longest", "--judge", "coin=builtin:random", "--labels", labels, "--self-test"
    )
    assert ended.code == 0, ended.lines
    tables = [line for line in ended.out.splitlines() if not line.startswith("note:")]
    assert max(map(len, tables)) <= 80
    assert "…" in ended.out  # intervals
    for word in ("agree %", "longest", "coin", "humans", "jury:majority", "$/1k", "seat 1"):
        assert word in ended.out
    assert any(line.split()[:4] == ["longest", "70.8", "39.7…89.9", "12"] for line in tables), ended.out


def test_recorded_labels_judge_what_they_hold(arenaloop: Command, labels: Path) -> None:
    ended = arenaloop("audit", "--judge", "labels:recorded.json#annotator=gpt4", "--labels", labels, "--json")
    assert ended.code == 3
    assert "no label for this pair" in ended.lines[-1]
    (row,) = json.loads(ended.out)["leaderboard"]
    assert (row["judge"], row["undecided"], row["wanted"]) == ("gpt4", 1, 12)
    assert row["agreement"] == pytest.approx(100 * 9 / 11)  # wrong on two of the three that people gave to A
    assert (row["flips"], row["first_seat"]) == (None, None)
    assert (row["usd_per_1000"], row["seconds_per_1000"]) == (pytest.approx(10.0), pytest.approx(1000.0))


def test_a_served_judge_is_asked_once_and_costs_nothing_again(arenaloop: Command, labels: Path, served: Any) -> None:
    command = ("audit", "--judge", f"judge={served.url}#m", "--labels", labels, "--json", "--limit", "5")
    first = arenaloop(*command)
    assert first.code == 0, first.lines
    assert len(served.heard) == 10
    (row,) = json.loads(first.out)["leaderboard"]
    assert row["judge"] == "judge"
    assert (row["first_seat"], row["flips"], row["agreement"]) == (1.0, 1.0, 50.0)
    assert row["usd_per_1000"] is None  # no price is known
    again = arenaloop(*command)
    assert len(served.heard) == 10
    assert json.loads(again.out)["leaderboard"] == json.loads(first.out)["leaderboard"]
    more = arenaloop(*command, "--seeds", "2", "--judge", "builtin:longest")
    assert more.code == 0
    assert len(served.heard) == 20
    assert [row["votes"] for row in json.loads(more.out)["leaderboard"] if row["kind"] == "judge"] == [5, 10]


def test_votes_at_temperature_0_are_said_to_be_alike_before_they_are_paid_for(
    arenaloop: Command, labels: Path, served: Any, tmp_path: Path
) -> None:
    def told(*arguments: str) -> str:
        ended = arenaloop("audit", "--labels", labels, "--limit", "2", "--judge", *arguments)
        assert ended.code == 0, ended.lines
        return " ".join(ended.lines)

    judge, said = f"judge={served.url}#m", "judge: temperature 0, so that 3 votes are paid for"
    assert f"warning: {said}" in told(judge, "--seeds", "3", "--dry-run")
    assert served.heard == []
    assert "temperature" not in told(judge)
    assert f"warning: {said}" in told(judge, "--seeds", "3")
    notes = json.loads(Path("runs/audit/audit.json").read_text())["notes"]
    assert any(said in note for note in notes)
    for setting in ("sampling: {temperature: 0.7}", "drop_params: [temperature]", "extra_body: {temperature: 1}"):
        (tmp_path / "j.yaml").write_text(f"spec: {served.url}#m\n{setting}\n")
        assert "temperature 0" not in told(str(tmp_path / "j.yaml"), "--seeds", "3", "--judge", "builtin:longest")


def test_a_judge_that_cannot_be_read_ends_with_3_and_is_asked_again(
    arenaloop: Command, labels: Path, served: Any
) -> None:
    served.answer = lambda body: "I cannot say."
    command = ("audit", "--judge", f"{served.url}#m", "--labels", labels, "--json", "--limit", "2")
    ended = arenaloop(*command)
    assert ended.code == 3
    assert len(served.heard) == 2 * 2 * 3  # re-asked twice
    (row,) = json.loads(ended.out)["leaderboard"]
    assert (row["agreement"], row["unparsed"], row["failed"]) == (None, 1.0, {"unparsed": 4})
    served.answer = lambda body: "Scores: 7 5"
    assert arenaloop(*command).code == 0


def test_each_judge_is_asked_again_as_often_as_its_own_file_says(
    arenaloop: Command, labels: Path, served: Any, tmp_path: Path
) -> None:
    served.answer = lambda body: "They are both fine."
    judges = ["--judge", "builtin:longest"]
    for name, reask in (("once", 0), ("twice", 1)):
        (tmp_path / f"{name}.yaml").write_text(json.dumps({"spec": f"{served.url}#{name}", "reask": reask}))
        judges += ["--judge", f"{name}.yaml"]
    assert arenaloop("audit", *judges, "--labels", labels, "--limit", 1).code == 3
    assert Counter(body["model"] for body in served.heard) == {"once": 2, "twice": 4}


def test_a_budget_stops_the_audit_resumably(arenaloop: Command, labels: Path, served: Any) -> None:
    command = ("audit", "--judge", f"{served.url}#m", "--labels", labels, "--json")
    ended = arenaloop(*command, "--budget-calls", "7")
    assert ended.code == 4
    assert "the budget is spent" in ended.lines[-1]
    assert len(served.heard) == 7
    stopped = json.loads(Path("runs/audit/audit.json").read_bytes())
    assert stopped == json.loads(ended.out)
    assert (stopped["votes_wanted"], stopped["stopped"]) == (12, "the budget is spent (7 of 7 calls)")
    assert (
        stopped["notes"][-1] == f"not finished: {stopped['votes_decided']} of 12 votes decided ({stopped['stopped']})"
    )
    (row,) = stopped["leaderboard"]
    assert (row["undecided"], row["failed"]) == (0, {})  # nobody was asked: no fault of the judge's
    assert row["votes"] == stopped["votes_decided"] == 12 - row["unasked"] > 0
    done = arenaloop(*command)
    assert (done.code, len(served.heard)) == (0, 24)
    whole = json.loads(Path("runs/audit/audit.json").read_bytes())
    assert whole == json.loads(done.out)
    assert (whole["votes_decided"], whole["leaderboard"][0]["unasked"], "stopped" in whole) == (12, 0, False)


def test_a_judge_that_nobody_reaches_leaves_what_rules_decided(arenaloop: Command, labels: Path) -> None:
    dead = arenaloop("audit", "--judge", "http://127.0.0.1:9/v1#m", "--judge", "builtin:longest", "--labels", labels)
    assert dead.code == 4
    assert "of 24 votes decided (" in " ".join(dead.out.split())
    written = json.loads(Path("runs/audit/audit.json").read_bytes())
    rows = {row["judge"]: row for row in written["leaderboard"] if row["kind"] == "judge"}
    assert len(rows) == 2
    assert written["votes_decided"] == sum(row["votes"] for row in rows.values())


def test_an_interrupted_audit_keeps_what_it_has(labels: Path, served: Any) -> None:
    """The server answers nine calls and hangs."""
    served.answer = lambda body: "Scores: 7 5" if len(served.heard) <= 9 else None
    command = [sys.executable, "-c", "from arenaloop.cli import main\nmain()", "audit", "--labels", str(labels)]
    command += ["--judge", f"{served.url}#m", "--concurrency", "2", "--json"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI")} | {
        "PYTHONPATH": os.pathsep.join(sys.path)
    }
    process = subprocess.Popen(
        command, cwd=labels.parent, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert served.hanging.wait(60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    stopped = json.loads(out)
    assert (stopped["stopped"], stopped["votes_wanted"]) == ("interrupted", 12)
    assert 0 < stopped["votes_decided"] < 12
    assert err.splitlines()[-1] == "arenaloop: interrupted; the same command resumes"
    before = len(served.heard)
    served.answer = lambda body: "Scores: 7 5"
    done = subprocess.run(command, cwd=labels.parent, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert len(served.heard) - before == 24 - 9


def test_template_and_verdict_mode_are_those_of_the_models(arenaloop: Command, labels: Path, served: Any) -> None:
    served.answer = lambda body: json.dumps({"explanation": "x", "score_1": 7, "score_2": 5})
    ended = arenaloop(
        "audit", "--judge", f"{served.url}#m", "--judge", "builtin:longest", "--labels", labels, "--limit", "1",
        "--verdict", "json",
    )  # fmt: skip
    assert ended.code == 0, ended.lines
    assert [("response_format" in body) for body in served.heard] == [True, True]


def test_a_dry_run_asks_and_writes_nothing(arenaloop: Command, labels: Path, served: Any) -> None:
    ended = arenaloop(
        "audit",
        "--judge",
        f"{served.url}#m",
        "--judge",
        "builtin:first",
        "--labels",
        labels,
        "--seeds",
        "4",
        "--dry-run",
    )
    assert (ended.code, ended.out, served.heard) == (0, "", [])
    assert "2 judges (m, first) · 12 labelled pairs · at most 96 judge calls" in ended.lines[0]
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--judge", "builtin:longst", "--labels", "human.csv"], "did you mean 'longest'?"),
        (["--judge", "labels:none.json", "--labels", "human.csv"], "none.json: no such file"),
        (["--judge", "labels:recorded.json#annotator=x", "--labels", "human.csv"], "no row with annotator=x"),
        (["--judge", "builtin:longest", "--labels", "none.csv"], "none.csv: no such file"),
        (["--judge", "builtin:first", "--judge", "builtin:first", "--labels", "human.csv"], "2 judges are called"),
        (["--judge", "jury.yaml", "--labels", "human.csv"], "audit its members"),
        (["--judge", "builtin:first", "--labels", "human.csv", "--level", "1"], "--level"),
        (["--judge", "builtin:first", "--labels", "human.csv", "--merge", "two_battles"], "merge"),
    ],
)
def test_refused_before_anything_is_written(arenaloop: Command, labels: Path, arguments: list[str], said: str) -> None:
    Path("jury.yaml").write_text("jury: [builtin:longest, builtin:first]\n")
    ended = arenaloop("audit", *arguments)
    assert (ended.code, len(ended.lines), ended.out) == (2, 1, "")
    assert said in ended.lines[0]
    assert not Path("runs").exists()


# ---------------------------------------------------------------- in battles


@pytest.fixture
def contestants(tmp_path: Path) -> list[str]:
    prompts = [q for q, _, _ in PAIRS]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": q}) + "\n" for q in prompts))
    for name, side in (("a", 1), ("b", 2)):
        rows = [{"instruction": pair[0], "output": pair[side]} for pair in PAIRS]
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    return ["battle", "--model", "a=file:a.json", "--model", "b=file:b.json", "--prompts", "prompts.jsonl"]


def test_battles_are_judged_by_rules_and_labels(arenaloop: Command, labels: Path, contestants: list[str]) -> None:
    ended = arenaloop(*contestants, "--judge", "builtin:longest", "--out", "rule", "--json")
    assert ended.code == 0, ended.lines
    summary = json.loads(ended.out)
    assert (summary["battles_decided"], summary["calls"], summary["flip_rate"]) == (12, 0, 0.0)
    winners = {json.loads(line)["winner"] for line in Path("rule/battles.jsonl").read_text().splitlines()}
    assert winners == {"model_b"}
    ended = arenaloop(*contestants, "--judge", "labels:recorded.json", "--out", "recorded", "--json")
    assert ended.code == 3
    summary = json.loads(ended.out)
    assert (summary["battles_decided"], summary["verdicts_failed"]["error"]) == (11, 2)


def test_a_jury_judges_battles(arenaloop: Command, contestants: list[str], served: Any) -> None:
    Path("jury.yaml").write_text(
        f"jury:\n- {{spec: '{served.url}#m', name: seat}}\n- builtin:longest\n- {{spec: builtin:shortest, name: s}}\n"
        "rule: weighted\nweights: {seat: 1, longest: 2, s: 0.5}\nname: panel\n"
    )
    ended = arenaloop(*contestants, "--judge", "jury.yaml", "--out", "panel", "--json")
    assert ended.code == 0, ended.lines
    assert len(served.heard) == 24
    summary = json.loads(ended.out)
    assert (summary["battles_decided"], summary["flip_rate"]) == (12, 0.0)
    rows = [json.loads(line) for line in Path("panel/battles.jsonl").read_text().splitlines()]
    assert {row["winner"] for row in rows} == {"model_b"}
    assert {row["judge"] for row in rows} == {"panel"}
    assert {len(row["verdicts"]) for row in rows} == {6}
    assert "jury" in Path("panel/config.yaml").read_text()
    again = arenaloop(*contestants, "--judge", "jury.yaml", "--out", "panel", "--json")
    assert again.code == 0
    assert len(served.heard) == 24


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jury: [builtin:longest]\n", "two members or more"),
        ("jury: [builtin:longest, builtin:longest]\n", "is there 2 times"),
        ("jury: [builtin:longest, builtin:first]\nrule: mean\n", "no common scale"),
        ("jury: [builtin:longest, builtin:first]\nrule: weighted\n", "one weight for each member"),
        ("jury: [builtin:longest, builtin:first]\nspec: builtin:first\n", "either a spec or a jury"),
        ("spec: builtin:first\nrule: mean\n", "rule and weights are those of a jury"),
        ("jury: [builtin:longest, {jury: [builtin:first, builtin:random]}]\n", "a jury sits in no jury"),
        ("{}\n", "'spec' is missing"),
    ],
)
def test_juries_that_cannot_be(arenaloop: Command, contestants: list[str], text: str, said: str) -> None:
    Path("jury.yaml").write_text(text)
    ended = arenaloop(*contestants, "--judge", "jury.yaml")
    assert (ended.code, len(ended.lines)) == (2, 1), ended.lines
    assert said in ended.lines[0]


def test_who_judges_himself_is_named(arenaloop: Command, contestants: list[str], served: Any) -> None:
    own = f"mine={served.url}#m"
    ended = arenaloop(*contestants, "--model", own, "--judge", f"{served.url}#m", "--dry-run")
    assert ended.code == 0, ended.lines
    assert any(line.startswith("warning: mine judges its own answers") for line in ended.lines)
    other = arenaloop(*contestants, "--model", own, "--judge", f"{served.url}#other", "--dry-run")
    assert not any("judges its own answers" in line for line in other.lines)


def test_rows_that_are_no_label_are_left_out_and_said(arenaloop: Command, labels: Path) -> None:
    text = labels.read_text()
    head, first, *rest = text.splitlines()
    odd = first.rpartition(",")[0] + ",invalid"
    labels.write_text("\n".join([head, odd, *[first, *rest] * 2, ""]))
    ended = arenaloop("audit", "--judge", "builtin:longest", "--labels", labels, "--json")
    assert ended.code == 0, ended.lines
    notes = json.loads(ended.out)["notes"]
    assert "1 of 25 rows without a known winner left out: column winner: 'invalid' (1, first line 2)" in notes
    labels.write_text("\n".join([head, odd, odd, first, *rest, ""]))
    ended = arenaloop("audit", "--judge", "builtin:longest", "--labels", labels, "--out", "other")
    assert ended.code == 2
    assert "human.csv, line 2: column winner: 'invalid': 2 of 14 rows lack a known winner" in ended.lines[-1]
    assert not Path("other").exists()
