"""`arenaloop rejudge`: what it reads, writes, prints and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arenaloop.store import Store

Command = Callable[..., Any]

BATTLE = [
    "battle", "--model", "a=sandbox:scholar", "--model", "b=sandbox:novice", "--model", "c=sandbox:parrot",
    "--prompts", "sandbox:prompts?n=20", "--judge", "sandbox:judge", "--out", "run",
]  # fmt: skip
RECIPE = """
recipe: arena_learning
rounds: 0
target: {model: sandbox:target}
opponents: [sandbox:scholar, sandbox:novice]
judge: sandbox:judge
data: {demonstrations: "sandbox:demonstrations?n=10", prompts: "sandbox:prompts?n=9", test: "sandbox:prompts?n=20"}
"""


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def rows(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def run(arenaloop: Command, tmp_path: Path) -> Path:
    assert arenaloop(*BATTLE).code == 0
    return tmp_path / "run"


def test_another_template(arenaloop: Command, run: Path) -> None:
    before = {p.name: p.read_bytes() for p in run.iterdir() if p.suffix in (".json", ".jsonl", ".yaml")}
    result = arenaloop("rejudge", "run", "--template", "labels", "--json")
    assert result.code == 0
    document = json.loads(result.out)
    assert list(document) == [
        "directory", "judge", "battles_wanted", "decided_before", "decided_after", "compared", "moved", "moved_share",
        "moved_lower", "moved_upper", "kinds", "reread", "flip_rate_before", "flip_rate_after", "spearman",
        "largest_rank_change", "leaderboard", "calls", "usd", "cached",
    ]  # fmt: skip
    assert (document["battles_wanted"], document["compared"], document["decided_after"]) == (60, 60, 60)
    assert document["calls"] > 0
    new = run / "rejudged" / "labels-sandbox-judge"
    assert str(new).endswith(document["directory"])
    assert {p.name for p in new.iterdir()} == {"config.yaml", "battles.jsonl", "leaderboard.json", "summary.json"}
    assert {p.name: p.read_bytes() for p in run.iterdir() if p.name in before} == before
    assert "template: labels" in (new / "config.yaml").read_text()
    assert {row["score_a"] for row in rows(new / "battles.jsonl")} <= {n / 8 for n in range(9)}
    assert read(new / "summary.json")["calls"] == document["calls"]
    with Store(run / "arena.db", readonly=True) as store:
        parsers = {row[0] for row in store._reader.execute("SELECT DISTINCT parser FROM verdicts")}
        assert parsers == {"scores:1", "labels:2"}


def test_the_same_command_asks_nothing_again(arenaloop: Command, run: Path) -> None:
    first = json.loads(arenaloop("rejudge", "run", "--verdict", "json", "--json").out)
    second = json.loads(arenaloop("rejudge", "run", "--verdict", "json", "--json").out)
    assert first["calls"] > 0 == second["calls"]
    assert second["cached"] == 120
    changing = ("calls", "cached")
    assert {k: v for k, v in first.items() if k not in changing} == {
        k: v for k, v in second.items() if k not in changing
    }


@pytest.mark.parametrize("mode", ["json", "logprob"])
def test_another_way_of_answering(arenaloop: Command, run: Path, mode: str) -> None:
    """The small world's judge is of one opinion, however it is asked."""
    result = arenaloop("rejudge", "run", "--verdict", mode)
    assert result.code == 0
    assert "60 battles compared" in result.out
    assert (run / "rejudged" / f"pairwise-{mode}-sandbox-judge" / "battles.jsonl").exists()


def test_another_judge_takes_over_the_form_of_the_first(arenaloop: Command, run: Path, served: Any) -> None:
    served.answer = lambda body: "[[A>B]]"
    (run.parent / "other.yaml").write_text(f"spec: {served.url}#other\nprice: {{input: 1, output: 1}}\n")
    told = arenaloop("rejudge", "run", "--judge", "other.yaml", "--template", "labels")
    assert told.code == 0
    result = arenaloop("rejudge", "run", "--judge", "other.yaml", "--template", "labels", "--json")
    document = json.loads(result.out)
    assert (document["judge"], document["calls"], document["flip_rate_after"]) == ("other", 0, 1.0)
    assert document["kinds"]["tie_to_win"] == 0
    # every first seat wins, so that every pair is a tie now
    assert document["moved"] == document["kinds"]["win_to_tie"] > 0
    summary = read(run / "rejudged" / "labels-other" / "summary.json")
    assert summary["usd"] == pytest.approx(summary["calls"] * 5e-6)
    assert summary["calls"] == len(served.heard)
    assert f"{summary['calls']} calls · ${summary['usd']:.2g}" in told.out


def test_no_option_reads_again_and_asks_nothing(arenaloop: Command, run: Path) -> None:
    result = arenaloop("rejudge", "run")
    assert result.code == 0
    assert "60 battles compared · 0 moved (0.0%, 95 % interval 0.0% to " in result.out
    assert "no call" in result.out
    new = run / "rejudged" / "pairwise-sandbox-judge"
    assert (new / "battles.jsonl").read_text() == (run / "battles.jsonl").read_text()
    assert read(new / "leaderboard.json") == read(run / "leaderboard.json")


def test_an_own_template_with_criteria(arenaloop: Command, run: Path) -> None:
    (run.parent / "mine.jinja").write_text(
        '{# parser: scores #}\nShorter is better.\n{% include "material" %}\nEnd with one line, as in\nScores: 7 5'
    )
    result = arenaloop("rejudge", "run", "--template", "mine.jinja", "--json")
    assert result.code == 0
    assert json.loads(result.out)["decided_after"] == 60
    assert (run / "rejudged" / "mine-sandbox-judge").is_dir()
    result = arenaloop("rejudge", "run", "--template", "mine.jinja", "--verdict", "json")
    assert (result.code, len(result.lines)) == (2, 1)
    assert "mine.jinja: does not use mode" in result.lines[0]


def test_rank_reads_a_rejudged_directory(arenaloop: Command, run: Path) -> None:
    arenaloop("rejudge", "run", "--template", "labels")
    new = "run/rejudged/labels-sandbox-judge"
    ranked = json.loads(arenaloop("rank", new, "--json").out)
    assert ["--rule arena_hard" in note for note in ranked["notes"]] == [True]  # of how its strong labels count
    assert ranked | {"notes": []} == read(run.parent / new / "leaderboard.json")


def test_undecided_battles_end_in_exit_code_3(
    arenaloop: Command, run: Path, served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arenaloop.calls.run.MOST_UNREAD", 1_000)  # a judge that is never read would stop it
    served.answer = lambda body: "I would rather not say."
    result = arenaloop("rejudge", "run", "--judge", f"{served.url}#shy", "--reask", "0", "--json")
    assert result.code == 3
    document = json.loads(result.out)
    assert (document["compared"], document["decided_after"], document["moved_share"]) == (0, 0, None)
    assert "60 battles undecided" in result.lines[-1]
    # a judge that finds its words decides the same battles, in the same directory
    served.answer = lambda body: "Scores: 7 5"
    assert arenaloop("rejudge", "run", "--judge", f"{served.url}#shy", "--reask", "0").code == 0


def test_reading_again_decides_nothing_that_was_never_read(arenaloop: Command, tmp_path: Path) -> None:
    (tmp_path / "judge.yaml").write_text("spec: sandbox:judge\nreask: 0\noptions: {unparsed_rate: 0.4}\n")
    command = [part if part != "sandbox:judge" else "judge.yaml" for part in BATTLE]
    assert arenaloop(*command).code == 3
    result = arenaloop("rejudge", "run", "--json")
    document = json.loads(result.out)
    assert (result.code, document["calls"]) == (3, 0)
    assert document["decided_after"] == document["decided_before"] < document["battles_wanted"] == 60
    assert "battles undecided; nothing was asked (--reask N asks)" in result.lines[-1]
    asked = json.loads(arenaloop("rejudge", "run", "--reask", "5", "--json").out)
    assert asked["calls"] > 0
    assert asked["decided_after"] > document["decided_after"]


def test_a_budget_stops_it_and_the_same_command_goes_on(arenaloop: Command, run: Path, served: Any) -> None:
    spent = read(run / "summary.json")["calls"]
    command = ["rejudge", "run", "--judge", f"{served.url}#other", "--concurrency", "1"]
    result = arenaloop(*command, "--budget-calls", str(spent + 10))
    assert result.code == 4
    assert len(served.heard) == 10
    stopped = read(run / "rejudged" / "pairwise-other" / "summary.json")
    assert 0 < stopped["battles_decided"] < 60
    assert stopped["stopped"].startswith("the budget is spent (")
    assert (stopped["calls"], stopped["battles_wanted"]) == (10, 60)
    assert arenaloop(*command).code == 0
    with Store(run / "arena.db", readonly=True) as store:
        judged = next(store._reader.execute("SELECT COUNT(*), COUNT(DISTINCT key) FROM verdicts WHERE judge = 'other'"))
    assert judged == (len(served.heard), len(served.heard))


def test_contestants_need_not_be_there(arenaloop: Command, tmp_path: Path, served: Any) -> None:
    """Their server may be gone; nothing is asked of it, and no key of it is needed."""
    said = iter(range(1000))
    served.answer = lambda body: f"answer {next(said)}" if body["model"] != "j" else "Scores: 7 5"
    models = [part for name in "xy" for part in ("--model", f"{name}={served.url}#{name}")]
    judge = ["--judge", f"{served.url}#j"]
    assert arenaloop("battle", *models, "--prompts", "sandbox:prompts?n=5", *judge, "--out", "run").code == 0
    served.close()
    result = arenaloop("rejudge", "run", "--judge", "sandbox:judge", "--json")
    assert result.code == 0
    assert json.loads(result.out)["compared"] == 5


def test_prompts_that_are_gone_are_found_in_the_arena_file(arenaloop: Command, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"question {n}"}) + "\n" for n in range(6)))
    command = list(BATTLE)
    command[command.index("sandbox:prompts?n=20")] = "prompts.jsonl"
    assert arenaloop(*command).code == 0
    prompts.unlink()
    result = arenaloop("rejudge", "run", "--template", "labels", "--json")
    assert result.code == 0
    assert json.loads(result.out)["battles_wanted"] == 18
    assert any("only decided battles are judged again (prompts.jsonl: no such file)" in line for line in result.lines)


def test_a_recipes_final_leaderboard(arenaloop: Command, run: Path) -> None:
    """The directory of a recipe: its settings, and the battles of its leaderboard."""
    (run / "config.yaml").write_text(RECIPE)
    result = arenaloop("rejudge", "run", "--template", "score_first", "--json")
    assert result.code == 0
    assert json.loads(result.out)["compared"] == 60
    assert "recipe: arena_learning" in (run / "rejudged" / "score_first-sandbox-judge" / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nowhere"], "nowhere: no such run directory"),
        (["run/rejudged"], "run/rejudged: no such run directory"),
        ([".", "--template", "labels"], "no config.yaml, so no finished run"),
        (["run", "--template", "label"], "judge template 'label' (did you mean 'labels'?)"),
        (["run", "--template", "gone.jinja"], "judge template gone.jinja: No such file"),
        (["run", "--verdict", "words"], "rejudge: verdict: Input should be 'text', 'json' or 'logprob'"),
        (["run", "--judge", "sandbox:jury"], "the sandbox's judge is called sandbox:judge"),
        (["run", "--judge", "gone.yaml"], "gone.yaml: No such file"),
        (["run", "--judge", "file:answers.json"], "answers.json"),
    ],
)
def test_what_is_refused_before_anything_is_written(
    arenaloop: Command, run: Path, arguments: list[str], complaint: str
) -> None:
    before = sorted(p.name for p in run.rglob("*"))
    result = arenaloop("rejudge", *arguments)
    assert (result.code, len(result.lines)) == (2, 1)
    assert complaint in result.lines[0]
    assert sorted(p.name for p in run.rglob("*")) == before


def test_a_rejudged_directory_is_no_run(arenaloop: Command, run: Path) -> None:
    arenaloop("rejudge", "run")
    result = arenaloop("rejudge", "run/rejudged/pairwise-sandbox-judge")
    assert result.code == 2
    assert "is itself rejudged; give the run directory, run" in result.lines[0]


@pytest.mark.parametrize("text", ["[", "null", '{"leaderboard": 5}', '{"leaderboard": [5]}', "{}"])
def test_a_leaderboard_that_is_none_is_refused(arenaloop: Command, run: Path, text: str) -> None:
    (run / "leaderboard.json").write_text(text)
    result = arenaloop("rejudge", "run", "--template", "labels")
    assert result.code == 2
    assert result.lines[-1].endswith("leaderboard.json: no leaderboard")


def test_what_is_on_its_way_in_batches_is_not_asked_again(arenaloop: Command, run: Path) -> None:
    with Store(run / "arena.db") as store:
        (judge,) = next(iter(store._reader.execute("SELECT DISTINCT judge_hash FROM verdicts")))
        store.put_note("batch", "tag", {"state": "submitted", "number": 0, "judge_hash": judge})
    result = arenaloop("rejudge", "run", "--reask", "3")
    assert result.code == 2
    assert "on their way in batches (1 not collected)" in result.lines[-1]
    assert arenaloop("rejudge", "run", "--judge", "builtin:longest").code == 0


def test_a_part_of_a_battle_is_judged_again_as_that_part(arenaloop: Command, tmp_path: Path) -> None:
    """A limit, or a shard, of the prompts: what the battle left out is not wanted of the judging either."""
    for name, part in {"lim": ["--limit", "5"], "s1": ["--shard", "1/2"]}.items():
        assert arenaloop(*BATTLE[:-1], name, *part).code == 0
        wanted = read(tmp_path / name / "summary.json")["battles_wanted"]
        assert 0 < wanted < 60
        result = arenaloop("rejudge", name, "--template", "labels", "--json")
        document = json.loads(result.out)
        assert (result.code, document["battles_wanted"], document["decided_after"]) == (0, wanted, wanted)


def test_prompts_that_the_run_never_had_are_undecided_by_one_count(arenaloop: Command, run: Path) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("prompts?n=20", "prompts?n=22"))
    result = arenaloop("rejudge", "run", "--template", "labels", "--json")
    summary = read(run / "rejudged" / "labels-sandbox-judge" / "summary.json")
    assert (result.code, summary["battles_wanted"], json.loads(result.out)["battles_wanted"]) == (3, 66, 66)
    assert "6 battles undecided (answers missing)" in result.lines[-1]


def test_a_stopped_shard_says_which_it_is(arenaloop: Command, run: Path) -> None:
    shard = ["--template", "labels", "--shard", "1/2", "--out", "s1", "--budget-calls", "4"]
    assert arenaloop("rejudge", "run", *shard).code == 4
    assert read(run.parent / "s1" / "summary.json")["shard"]["index"] == 1


def test_a_dry_run_leaves_a_run_that_was_cut_off_as_it_is(arenaloop: Command, run: Path) -> None:
    for name in ("battles.jsonl", "leaderboard.json", "summary.json"):
        (run / name).unlink()
    result = arenaloop("rejudge", "run", "--template", "labels", "--dry-run", "--json")
    assert (result.code, json.loads(result.out)["battles"]) == (0, 60)
    assert not [*run.glob("*.jsonl"), *run.glob("*.json")]
    assert arenaloop("rejudge", "run", "--template", "labels").code == 0
    assert (run / "battles.jsonl").exists()
