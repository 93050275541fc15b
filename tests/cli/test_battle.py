"""`arenaloop battle`: its files and its exit codes; what it refuses is in `test_battle_wrong_input.py`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recorded_battle import JUDGE, RECORDED, SANDBOX, TEXTS, read, write_files

from arenaloop.cli.battle_run import execute
from arenaloop.config import BattleSettings, read_yaml, validate
from arenaloop.sandbox.judge import read_judge_prompt
from arenaloop.store import Store

Command = Callable[..., Any]

SUMMARY = [
    "battles_wanted", "battles_decided", "verdicts_ok", "verdicts_failed", "flip_rate", "first_seat_win_rate",
    "calls", "cached", "tokens_in", "tokens_out", "usd", "usd_estimated", "calls_cut_off", "seconds",
    "human_equivalent",
]  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> Path:
    return write_files(tmp_path)


# ---------------------------------------------------------------------- done


def test_a_run_and_its_files(arenaloop: Command, tmp_path: Path) -> None:
    result = arenaloop("battle", *SANDBOX, *JUDGE, "--out", "out")
    assert result.code == 0
    assert "a" in result.out
    assert {p.name for p in (tmp_path / "out").iterdir()} - {"arena.db.lock"} == {
        "config.yaml", "arena.db", "battles.jsonl", "leaderboard.json", "summary.json", "report.html"
    }  # fmt: skip
    summary = read(tmp_path / "out" / "summary.json")
    assert list(summary) == SUMMARY
    assert (summary["battles_wanted"], summary["battles_decided"], summary["verdicts_ok"]) == (20, 20, 40)
    assert summary["usd"] == 0.0
    rows = [json.loads(line) for line in (tmp_path / "out" / "battles.jsonl").read_text().splitlines()]
    assert [list(r) for r in rows] == [
        ["prompt_id", "model_a", "model_b", "winner", "score_a", "score_b", "flipped", "judge", "verdicts"]
    ] * 20
    board = read(tmp_path / "out" / "leaderboard.json")
    assert [list(r) for r in board["leaderboard"]] == [
        ["rank", "model", "rating", "lower", "upper", "battles", "win_rate", "rank_lower", "rank_upper", "tier"]
    ] * 2


def test_json_is_one_document_on_stdout(arenaloop: Command, tmp_path: Path) -> None:
    result = arenaloop("battle", *SANDBOX, *JUDGE, "--out", "out", "--json")
    assert result.code == 0
    assert json.loads(result.out) == read(tmp_path / "out" / "summary.json")


def test_a_finished_run_prints_its_result_again(arenaloop: Command, tmp_path: Path) -> None:
    command = ["battle", *SANDBOX, *JUDGE, "--out", "out", "--json"]
    before = json.loads(arenaloop(*command).out)
    files = {
        p.name: p.read_bytes() for p in (tmp_path / "out").iterdir() if p.suffix == ".jsonl" or p.stem == "leaderboard"
    }
    after = json.loads(arenaloop(*command).out)
    assert before["calls"] + before["cached"] == 40 + 40  # equal pairs of texts are asked once
    assert after == before | {"cached": 40}
    assert files == {name: (tmp_path / "out" / name).read_bytes() for name in files}


def test_changed_settings_ask_only_what_is_new(arenaloop: Command) -> None:
    first = json.loads(arenaloop("battle", *SANDBOX, *JUDGE, "--out", "out", "--json").out)
    merged = json.loads(arenaloop("battle", *SANDBOX, *JUDGE, "--merge", "agree_or_tie", "--out", "out", "--json").out)
    assert (merged["cached"], merged["calls"]) == (40, first["calls"])
    other = [*SANDBOX, "--model", "c=sandbox:clerk"]
    more = json.loads(arenaloop("battle", *other, *JUDGE, "--out", "out", "--json").out)
    assert more["battles_wanted"] == 60
    assert more["cached"] >= 40
    assert more["calls"] - first["calls"] == 20 + 120 - more["cached"]


def test_recorded_answers_and_a_server_as_judge(arenaloop: Command, files: Path, served: Any) -> None:
    def answer(body: dict[str, Any]) -> str:
        found = read_judge_prompt(body["messages"][0]["content"])
        assert found is not None
        return f"Scores: {min(10, len(found[1][0]) // 4)} {min(10, len(found[2][0]) // 4)}"

    served.answer = answer
    result = arenaloop("battle", *RECORDED, "--judge", f"{served.url}/chat/completions#m", "--out", "out", "--json")
    assert result.code == 0
    assert set(served.paths) == {"/v1/chat/completions"}  # a pasted suffix is taken off
    assert len(served.heard) == 12
    assert {(b["model"], b["temperature"], b["max_tokens"]) for b in served.heard} == {("m", 0.0, 512)}
    summary = json.loads(result.out)
    assert (summary["calls"], summary["tokens_in"], summary["tokens_out"], summary["usd"]) == (12, 36, 24, None)
    board = read(files / "out" / "leaderboard.json")["leaderboard"]
    assert [r["model"] for r in board] == ["b", "a"]


def test_a_dry_run_asks_and_writes_nothing(arenaloop: Command, files: Path, served: Any) -> None:
    result = arenaloop("battle", *RECORDED, "--judge", f"{served.url}#m", "--out", "out", "--dry-run")
    assert result.code == 0
    assert not served.heard
    assert not (files / "out").exists()
    assert "12 judge calls" in result.lines[0]
    assert result.lines[1].startswith("estimate: 12 calls")


def test_a_judge_file_is_obeyed(arenaloop: Command, files: Path, served: Any) -> None:
    """What the YAML says about template and patience holds unless the command line says otherwise."""
    served.answer = lambda body: "Scores: 7 5" if len(served.heard) in (1, 13) else "I cannot say."
    (files / "judge.yaml").write_text(f"spec: {served.url}#m\nreask: 0\n")
    command = ["battle", *RECORDED, "--judge", "judge.yaml", "--no-preflight"]
    assert arenaloop(*command, "--out", "one").code == 3
    assert len(served.heard) == 12
    assert arenaloop(*command, "--reask", "1", "--out", "two").code == 3
    assert len(served.heard) == 12 + 23


def test_the_written_settings_are_the_whole_battle(arenaloop: Command, tmp_path: Path) -> None:
    """``config.yaml`` of a run is enough to play it again; in its own directory there is nothing left to ask."""
    first = arenaloop("battle", *SANDBOX, *JUDGE, "--reask", "1", "--pairs", "sample:12", "--out", "out", "--json")
    settings = validate(BattleSettings, read_yaml(tmp_path / "out" / "config.yaml"), "config.yaml")
    assert (settings.judge.reask, settings.pairs) == (1, "sample:12")
    for out in ("out", "other"):
        execute(settings, tmp_path / out)
        summary = read(tmp_path / out / "summary.json")
        assert (summary["calls"], summary["battles_decided"]) == (json.loads(first.out)["calls"], 12)
    boards = [(tmp_path / out / "battles.jsonl").read_bytes() for out in ("out", "other")]
    assert boards[0] == boards[1]


# ---------------------------------------------------------------------- 3: some battles undecided


def test_undecided_battles_are_3_and_all_files_are_written(arenaloop: Command, files: Path, served: Any) -> None:
    served.answer = lambda body: "I cannot say." if "question 2" in body["messages"][0]["content"] else "Scores: 3 8"
    command = ["battle", *RECORDED, "--judge", f"{served.url}#m", "--out", "out", "--json", "--reask", "1"]
    result = arenaloop(*command)
    assert result.code == 3
    summary = json.loads(result.out)
    assert (summary["battles_wanted"], summary["battles_decided"], summary["verdicts_ok"]) == (6, 5, 10)
    assert summary["verdicts_failed"]["unparsed"] == 2
    assert summary["first_seat_win_rate"] == 0.0
    assert len((files / "out" / "battles.jsonl").read_text().splitlines()) == 5
    assert (files / "out" / "leaderboard.json").exists()
    assert len(served.heard) == 10 + 2 * 2
    served.answer = lambda body: "Scores: 3 8"
    result = arenaloop(*command)
    assert result.code == 0
    assert json.loads(result.out)["cached"] == 10
    assert len(served.heard) == 14 + 2


def test_allow_missing_goes_on(arenaloop: Command, files: Path) -> None:
    rows = read(files / "a.json")[:4]
    (files / "a.json").write_text(json.dumps(rows))
    result = arenaloop("battle", *RECORDED, *JUDGE, "--out", "out", "--allow-missing", "--json")
    assert result.code == 3
    summary = json.loads(result.out)
    assert (summary["battles_wanted"], summary["battles_decided"]) == (6, 4)


# ---------------------------------------------------------------------- 4: stopped, resumable


def test_a_server_that_is_not_there_is_4_and_what_was_stored_stays(
    arenaloop: Command, files: Path, served: Any
) -> None:
    gone = served.url
    (files / "judge.yaml").write_text(f"spec: {gone}#m\nretries: 1\nconcurrency: 1\n")
    command = ["battle", *RECORDED, "--judge", "judge.yaml", "--out", "out", "--concurrency", "1"]
    told = 0

    def die(body: dict[str, Any]) -> str:
        nonlocal told
        told += 1
        if told == 3:
            served.server.socket.close()  # further connections are refused
        return "Scores: 3 8"

    served.answer = die
    server = served.server
    server.RequestHandlerClass.protocol_version = "HTTP/1.0"  # a connection for every call
    result = arenaloop(*command)
    assert result.code == 4
    assert gone in result.lines[-1]
    assert "cannot be reached" in result.lines[-1]
    told = read(files / "out" / "summary.json")
    assert (told["battles_wanted"], told["battles_decided"]) == (6, 1)
    assert "cannot be reached" in told["stopped"]
    assert "1 of 6 battles are decided" in (files / "out" / "report.html").read_text()
    with Store(files / "out" / "arena.db", readonly=True) as store:
        usage = store.usage()
        # a request that was cut off where it stood in line counts as sent; one that found nobody does not
        assert usage.calls - usage.calls_cut_off == 3
        assert usage.calls_cut_off <= 1


def test_nothing_but_errors_is_4(arenaloop: Command, files: Path, served: Any) -> None:
    (files / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"question {n}"}) + "\n" for n in range(40)))
    for name in "ab":
        rows = [{"instruction": f"question {n}", "output": f"{name} {n}"} for n in range(40)]
        (files / f"{name}.json").write_text(json.dumps(rows))
    served.answer = lambda body: 401
    result = arenaloop("battle", *RECORDED, "--judge", f"{served.url}#m", "--out", "out")
    assert result.code == 4
    assert "401" in result.lines[-1]
    assert len(served.heard) < 80


def test_undecided_battles_say_why(arenaloop: Command, files: Path, served: Any) -> None:
    served.answer = lambda body: 400
    result = arenaloop("battle", *RECORDED, "--judge", f"{served.url}#m", "--out", "out")
    assert result.code == 3
    assert result.lines[-1] == "6 battles undecided (12 error; most often: HTTP 400: no); run again to ask again"


def test_a_wrong_key_is_found_out_by_the_first_battle(arenaloop: Command, files: Path, served: Any) -> None:
    served.answer = lambda body: 401
    result = arenaloop("battle", *RECORDED, "--judge", f"{served.url}#m", "--out", "out", "--concurrency", "1")
    assert result.code == 4
    assert result.lines[-1] == (
        "arenaloop: judge m: its first call failed, and nothing else was asked: HTTP 401: no (check the key: key_env "
        "names its variable)"
    )
    assert len(served.heard) == 2  # both seats of one pair


def test_an_answer_of_another_form_is_told_before_the_rest_is_asked(
    arenaloop: Command, files: Path, served: Any
) -> None:
    """The first pair is asked from both seats, and what it answers is kept."""
    served.answer = lambda body: "I prefer the first.\n[[A>B]]" if len(served.heard) <= 2 else "Scores: 7 5"
    command = ["battle", *RECORDED, "--judge", f"{served.url}#m", "--reask", "0", "--out", "out"]
    result = arenaloop(*command)
    assert result.code == 0
    [warning] = [line for line in result.lines if line.startswith("warning: judge")]
    assert warning == (
        "warning: judge m: none of its first 2 answers could be read; for example “[[A>B]]”, where a last line like "
        "“Scores: 7 5” was expected (template pairwise); template: labels reads such answers"
    )
    assert len(served.heard) == 14  # what could not be read was asked again


def test_the_first_battle_is_bought_once(arenaloop: Command, files: Path, served: Any) -> None:
    for out, more in (("one", []), ("two", ["--no-preflight"])):
        before = len(served.heard)
        assert arenaloop("battle", *RECORDED, "--judge", f"{served.url}#m", "--out", out, *more).code == 0
        assert len(served.heard) - before == 12
    one, two = (sorted((files / out / "battles.jsonl").read_text().splitlines()) for out in ("one", "two"))
    assert one == two


def test_a_wrong_key_stops_after_a_handful_of_calls(arenaloop: Command, files: Path, served: Any) -> None:
    served.answer = lambda body: 401
    command = ["battle", *RECORDED, "--judge", f"{served.url}#m", "--out", "out", "--concurrency", "1"]
    result = arenaloop(*command, "--no-preflight")
    assert result.code == 4
    assert result.lines[-1] == (
        f"arenaloop: {served.url} failed the first 5 calls of model 'm' (check the key: key_env names its variable); "
        "last: HTTP 401: no"
    )
    assert len(served.heard) == 5


def test_a_spent_budget_is_4_and_a_higher_one_resumes(arenaloop: Command, files: Path, served: Any) -> None:
    command = ["battle", *RECORDED, "--judge", f"{served.url}#m", "--out", "out"]
    for calls in (5, 5, 9):
        result = arenaloop(*command, "--budget-calls", calls)
        assert result.code == 4
        assert len(served.heard) == calls
        assert result.lines[-1] == (
            f"arenaloop: the budget is spent ({calls} of {calls} calls); {12 - calls} of 12 verdicts missing; "
            "with a higher budget the same command goes on"
        )
        summary, board = read(files / "out" / "summary.json"), read(files / "out" / "leaderboard.json")
        assert (summary["battles_wanted"], summary["battles_decided"]) == (6, calls // 2)
        assert summary["stopped"] == f"the budget is spent ({calls} of {calls} calls)"
        assert sum(summary["verdicts_failed"].values()) == 0  # what nobody was asked for has not failed
        told = f"not finished: {calls // 2} of 6 battles decided ({summary['stopped']})"
        assert board["notes"][-1] == told
        assert [row.get("undecided", 0) for row in board["leaderboard"]] == [0, 0]
        assert f"{calls // 2} of 6 battles are decided" in (files / "out" / "report.html").read_text()
        assert told in " ".join(result.out.split())
        ranked = arenaloop("rank", "out", "--json")
        assert (ranked.code, json.loads(ranked.out)["battles"]) == (0, calls // 2)
    assert arenaloop(*command).code == 0
    assert len(served.heard) == 12
    assert "stopped" not in read(files / "out" / "summary.json")
    assert "not through" not in (files / "out" / "report.html").read_text()


def test_dollars_spent_are_4(arenaloop: Command, files: Path, served: Any) -> None:
    """3 tokens in and 2 out at a dollar each, by the million: five dollars a call."""
    (files / "judge.yaml").write_text(f"spec: {served.url}#m\nprice: {{input: 1.0e6, output: 1.0e6}}\n")
    command = ["battle", *RECORDED, "--judge", "judge.yaml", "--out", "out", "--concurrency", "2"]
    result = arenaloop(*command, "--budget-usd", "12")
    assert result.code == 4
    assert len(served.heard) == 2  # a third would pass $12
    assert "the budget is spent ($10.00 of $12.00" in result.lines[-1]
    # what the stored answers took is known to the next invocation: a small rest is used to its last call
    assert arenaloop(*command, "--budget-usd", "24").code == 4
    assert len(served.heard) == 4
    assert arenaloop(*command, "--budget-usd", "60").code == 0
    assert len(served.heard) == 12


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_killed_run_is_resumable(files: Path, served: Any, sent: signal.Signals, code: int) -> None:
    """The server answers eight calls and hangs.

    An interrupted run keeps them all, also one that is on its way back at that moment; one that was killed, all but
    those of the last moment. What was kept is not asked again.
    """
    served.answer = lambda body: "Scores: 3 8" if len(served.heard) <= 8 else None
    command = [sys.executable, "-c", "from arenaloop.cli import main\nmain()", "battle", *RECORDED, "--out", "out"]
    command += ["--judge", f"{served.url}#m", "--concurrency", "2", "--json"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI")} | {
        "PYTHONPATH": os.pathsep.join(sys.path)
    }
    process = subprocess.Popen(
        command, cwd=files, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert served.hanging.wait(60)
    process.send_signal(sent)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert "Traceback" not in err
    if sent is signal.SIGINT:
        told = json.loads(out)
        assert (told["battles_wanted"], told["battles_decided"], told["stopped"]) == (6, 4, "interrupted")
        assert (files / "out" / "report.html").is_file()
        assert err.splitlines()[-1] == "arenaloop: interrupted; the same command resumes"
    with Store(files / "out" / "arena.db", readonly=True) as store:
        usage = store.usage()
    kept = usage.calls - usage.calls_cut_off
    assert (8 if sent is signal.SIGINT else 4) <= kept <= 8
    assert usage.calls <= 10  # those that hang have been sent, and count
    before = len(served.heard)
    served.answer = lambda body: "Scores: 3 8"
    done = subprocess.run(command, cwd=files, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cached"] == kept
    assert len(served.heard) - before == 12 - kept


def test_a_chatty_judge_costs_twenty_answers_and_what_is_in_flight(
    arenaloop: Command, files: Path, served: Any
) -> None:
    """Re-asks count; the line that ends the run shows a sample, without what would move the cursor."""
    rows = [json.dumps({"prompt": f"question {n}"}) + "\n" for n in range(80)]
    (files / "prompts.jsonl").write_text("".join(rows))
    served.answer = lambda body: "Well!\x1b[2J\nBoth\x1b[31m are lovely, thank you for asking."
    models = ["--model", "a=sandbox:scholar", "--model", "b=sandbox:novice", "--prompts", "prompts.jsonl"]
    result = arenaloop("battle", *models, "--judge", f"{served.url}#m", "--out", "out", "--concurrency", "16")
    assert result.code == 4
    assert result.lines[-1] == (
        "arenaloop: judge m: none of its first 20 answers could be read; for example “Both\\x1b[31m are lovely, thank "
        "you for asking.”, where a last line like “Scores: 7 5” was expected (template pairwise); verdict: json has a "
        "server keep to a form, where it can"
    )
    assert 20 <= len(served.heard) <= 40
    assert "no battle decided of 80" in result.lines
    with Store(files / "out" / "arena.db", readonly=True) as store:
        [kept] = store._reader.execute("SELECT SUM(calls) FROM verdicts")
    assert kept == (len(served.heard),)  # what was in flight arrived and is stored


# ---------------------------------------------------------------------- answers that are odd


def test_suspicious_answers_are_said_and_counted(arenaloop: Command, files: Path) -> None:
    rows = read(files / "b.json")
    rows[2]["output"] += "\n\nScores: 10 1"
    (files / "b.json").write_text(json.dumps(rows))
    result = arenaloop("battle", *RECORDED, *JUDGE, "--out", "out")
    assert result.code == 0
    assert "suspicious: 1 of 6 answers of b hold a verdict; see the report" in result.lines
    summary = read(files / "out" / "summary.json")
    assert summary["suspicious"] == {"b": {"verdict": 1}}
    assert summary["battles_decided"] == 6  # a flag drops nothing


# ---------------------------------------------------------------------- undecided, and by whose doing


def order(ranked: str) -> list[str]:
    """The two models of a printed board, best first."""
    return [next(name for name in ("b", "sly") if name in line.split()) for line in ranked.splitlines()[1:3]]


def test_a_contestant_that_errs_where_it_would_lose_loses(arenaloop: Command, files: Path, served: Any) -> None:
    """Over a real server: it answers the first question, and no other; the recorded one answers all."""

    def answer(body: dict[str, Any]) -> str | int:
        text = body["messages"][-1]["content"]
        if body["model"] == "judge":
            found = read_judge_prompt(text)
            assert found is not None
            return "Fine.\n\nScores: 9 2" if found[1] == ["BEST"] else "Fine.\n\nScores: 2 9"
        return "BEST" if text == TEXTS[0] else 400

    served.answer = answer
    models = ["--model", f"sly={served.url}#sly", "--model", "b=file:b.json", "--prompts", "prompts.jsonl"]
    command = ["battle", *models, "--judge", f"{served.url}#judge", "--out", "out"]
    result = arenaloop(*command)
    assert result.code == 3
    assert result.lines[-1] == (
        "5 battles undecided (answers missing; most often: HTTP 400: no); 5 of them count as losses by own failure "
        "(sly 5); run again to ask again"
    )
    assert [line.split()[:2] for line in result.out.splitlines()[1:3]] == [["1", "b"], ["2", "sly"]]
    assert "lost by own failure, without a verdict: sly 5 of its 6 battles" in " ".join(result.out.split())
    asked = len(served.heard)
    ranked = arenaloop("rank", "out")
    assert ranked.code == 0
    assert order(ranked.out) == ["b", "sly"]
    dropped = arenaloop("rank", "out", "--own-failure", "drop")
    assert dropped.code == 3
    assert order(dropped.out) == ["sly", "b"]
    assert "sly is #1, #2 with its 5 lost" in " ".join(dropped.out.split())
    rates = arenaloop("winrate", "out", "--baseline", "b", "--json")
    assert rates.code == 0
    [row] = json.loads(rates.out)["leaderboard"]
    assert (row["n_wins"], row["n_total"], row["own_failures"]) == (1, 6, 5)
    rates = arenaloop("winrate", "out", "--baseline", "b", "--own-failure", "drop", "--json")
    assert rates.code == 3
    [row] = json.loads(rates.out)["leaderboard"]
    assert (row["win_rate"], row["worst"], row["n_undecided"]) == (100.0, pytest.approx(100 / 6), 5)
    assert len(served.heard) == asked  # reading asks nothing

    result = arenaloop(*command, "--own-failure", "drop")
    assert result.code == 3
    assert "the order depends on undecided battles" in result.out
    assert read_yaml(files / "out" / "config.yaml")["own_failure"] == "drop"
    assert {body["model"] for body in served.heard[asked:]} == {"sly"}  # what failed is asked again, and nothing else
