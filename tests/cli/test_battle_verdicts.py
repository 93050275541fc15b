"""`arenaloop battle` with other templates, verdict modes and merge rules."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arenaloop.store import Store

Command = Callable[..., Any]

MODELS = ["--model", "a=sandbox:scholar", "--model", "b=sandbox:novice", "--prompts", "sandbox:prompts?n=20"]
SANDBOX = [*MODELS, "--judge", "sandbox:judge", "--out", "out"]


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out" / "battles.jsonl").read_text().splitlines()]


def parsers(folder: Path) -> set[str]:
    with Store(folder / "out" / "arena.db", readonly=True) as store:
        return {row[0] for row in store._reader.execute("SELECT DISTINCT parser FROM verdicts")}


@pytest.mark.parametrize(
    ("options", "parser"),
    [
        ([], "scores:1"),
        (["--template", "score_first"], "first_line:1"),
        (["--template", "labels"], "labels:2"),
        (["--verdict", "json"], "json:1"),
        (["--template", "labels", "--verdict", "json"], "json_labels:1"),
        (["--verdict", "logprob"], "logprob:2"),
    ],
)
def test_every_form_decides_every_battle(arenaloop: Command, tmp_path: Path, options: list[str], parser: str) -> None:
    result = arenaloop("battle", *SANDBOX, *options)
    assert result.code == 0
    assert len(rows(tmp_path)) == 20
    assert parsers(tmp_path) == {parser}
    if options:  # the same texts under another form are verdicts of their own
        first = {key for row in rows(tmp_path) for key in row["verdicts"]}
        assert arenaloop("battle", *SANDBOX).code == 0
        assert first.isdisjoint(key for row in rows(tmp_path) for key in row["verdicts"])


def test_what_a_server_is_asked_in_each_mode(arenaloop: Command, served: Any) -> None:
    served.answer = lambda body: '{"explanation": "", "score_1": 7, "score_2": 5}'
    judge = ["--judge", f"{served.url}#j", "--out", "out"]
    assert arenaloop("battle", *MODELS, *judge, "--verdict", "json").code == 0
    asked = served.heard[0]["response_format"]
    assert asked["type"] == "json_schema"
    assert list(asked["json_schema"]["schema"]["properties"]) == ["explanation", "score_1", "score_2"]
    assert "logprobs" not in served.heard[0]
    served.heard.clear()
    result = arenaloop("battle", *MODELS, *judge, "--verdict", "logprob", "--concurrency", "1")
    assert (served.heard[0]["logprobs"], served.heard[0]["top_logprobs"]) == (True, 20)
    assert "response_format" not in served.heard[0]
    # this server gives none: that is plain after one call, and what it cost is stored
    assert result.code == 4
    assert len(served.heard) == 1
    assert "judge j: it answers without log-probabilities" in result.lines[-1]
    assert "--verdict json or text" in result.lines[-1]


def test_an_own_template_of_a_judges_file(arenaloop: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.jinja").write_text(
        "{# parser: labels #}{% for c in criteria %}{{ c }}. {% endfor %}\n"
        '{% include "layout" %}\n{% include "material" %}\nGive one label in double brackets.'
    )
    (tmp_path / "judge.yaml").write_text(
        "spec: sandbox:judge\ntemplate: mine.jinja\ncriteria: [is it true, is it short]\n"
    )
    result = arenaloop("battle", *MODELS, "--judge", "judge.yaml", "--out", "out")
    assert result.code == 0
    assert parsers(tmp_path) == {"labels:2"}
    config = (tmp_path / "out" / "config.yaml").read_text()
    assert "template: mine.jinja" in config
    assert "- is it true" in config


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{# parser: scores #}\n{{ answer }}", "mine.jinja, line 2: no variable 'answer'"),
        ("{# parser: scores #}{{ user }}{{ seats }}", "mine.jinja: does not use tag"),
        ("{{ tag }}{{ user }}{{ seats }}", "mine.jinja: its first comment does not say"),
    ],
)
def test_a_template_that_cannot_be_is_refused_in_one_line(
    arenaloop: Command, tmp_path: Path, template: str, complaint: str
) -> None:
    (tmp_path / "mine.jinja").write_text(template)
    result = arenaloop("battle", *SANDBOX, "--template", "mine.jinja")
    assert (result.code, len(result.lines)) == (2, 1)
    assert complaint in result.lines[0]
    assert not (tmp_path / "out").exists()


def test_two_battles_a_pair(arenaloop: Command, tmp_path: Path) -> None:
    """Two rows a pair with one key each; a pair counts once in the summary, its games twice on the leaderboard."""
    result = arenaloop("battle", *SANDBOX, "--merge", "two_battles", "--json")
    assert result.code == 0
    summary = json.loads(result.out)
    assert (summary["battles_wanted"], summary["battles_decided"], summary["verdicts_ok"]) == (20, 20, 40)
    found = rows(tmp_path)
    assert len(found) == 40
    assert all(len(row["verdicts"]) == 1 for row in found)
    board = json.loads((tmp_path / "out" / "leaderboard.json").read_text())
    assert board["battles"] == 40
    by_seat = [(one["score_a"] + two["score_a"]) / 2 for one, two in zip(found[::2], found[1::2], strict=True)]
    assert arenaloop("battle", *SANDBOX).code == 0  # the same verdicts, merged
    assert [row["score_a"] for row in rows(tmp_path)] == by_seat


def test_one_seat_may_stand_for_both(arenaloop: Command, tmp_path: Path) -> None:
    (tmp_path / "judge.yaml").write_text("spec: sandbox:judge\nreask: 0\noptions: {unparsed_rate: 0.4}\n")
    command = ["battle", *MODELS, "--judge", "judge.yaml", "--out", "out", "--json"]
    dropped = arenaloop(*command)
    used = arenaloop(*command, "--one-seat-failed", "use_one")
    assert dropped.code == 3
    assert re.search(r" unparsed, for example “.+”\)", dropped.lines[-1]), dropped.lines
    counts = [json.loads(result.out)["battles_decided"] for result in (dropped, used)]
    assert counts[0] < counts[1]
    lone = [row for row in rows(tmp_path) if len(row["verdicts"]) == 1]
    assert len(lone) == counts[1] - counts[0]


def test_a_rule_that_is_none(arenaloop: Command) -> None:
    result = arenaloop("battle", *SANDBOX, "--one-seat-failed", "guess")
    assert result.code == 2
    assert "one_seat_failed" in result.lines[0]


def test_a_juror_that_never_answers_is_told(arenaloop: Command, served: Any, tmp_path: Path) -> None:
    """Two of three decide, so that nothing is undecided: without a word nobody would see that the third is dead."""
    served.answer = lambda body: 400 if body["model"] == "dead" else "Scores: 7 5"
    members = [f"{served.url}#fine", f"{served.url}#dead", "builtin:longest"]
    (tmp_path / "jury.yaml").write_text(json.dumps({"jury": members}))
    result = arenaloop(
        "battle", "--model", "a=sandbox:scholar", "--model", "b=sandbox:novice", "--prompts", "sandbox:prompts?n=2",
        "--judge", "jury.yaml", "--out", "run",
    )  # fmt: skip
    assert result.code == 0
    assert any("verdicts of the jury's members without outcome" in line for line in result.lines), result.lines
