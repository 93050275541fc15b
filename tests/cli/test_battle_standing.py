"""A battle into a directory that has a board: nothing leaves it unsaid, models join it, its settings are a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arenaloop.store import Store

Command = Callable[..., Any]

WORLD = ["--prompts", "sandbox:prompts?n=12", "--judge", "sandbox:judge", "--out", "out"]
TWO = ["--model", "a=sandbox:scholar", "--model", "b=sandbox:novice"]


@pytest.fixture
def out(arenaloop: Command, tmp_path: Path) -> Path:
    """A directory in which two models have battled."""
    assert arenaloop("battle", *TWO, *WORLD).code == 0
    return tmp_path / "out"


def board(out: Path) -> set[str]:
    return {row["model"] for row in json.loads((out / "leaderboard.json").read_text())["leaderboard"]}


def verdicts(out: Path) -> int:
    with Store(out / "arena.db", readonly=True) as store:
        return store.usage().calls


def test_models_do_not_leave_the_board_unsaid(arenaloop: Command, out: Path) -> None:
    others = ["--model", "a=sandbox:scholar", "--model", "c=sandbox:clerk"]
    before = (out / "leaderboard.json").read_bytes()
    refused = arenaloop("battle", *others, *WORLD)
    assert refused.code == 2
    assert "1 model (b): this battle would take that off its board" in refused.lines[-1]
    assert arenaloop("battle", *others, *WORLD, "--dry-run").code == 2
    assert (out / "leaderboard.json").read_bytes() == before
    assert arenaloop("battle", *others, *WORLD, "--replace").code == 0
    assert board(out) == {"a", "c"}


def test_the_report_says_which_calls_were_about_models_that_left(arenaloop: Command, out: Path) -> None:
    assert "that are not on the board" not in (out / "report.html").read_text()
    others = ["--model", "a=sandbox:scholar", "--model", "c=sandbox:clerk"]
    assert arenaloop("battle", *others, *WORLD, "--replace").code == 0
    with Store(out / "arena.db", readonly=True) as store:
        texts = {(p.id, r.text_hash) for p in store.prompts() for r in store.responses_of(p).values() if r.model != "b"}
        rulings = [(p.id, one) for p in store.prompts() for one in store.rulings_of(p.id).values()]
    beside = sum({(prompt, one.first_hash), (prompt, one.second_hash)} - texts != set() for prompt, one in rulings)
    assert beside
    told = f"{beside} of these calls were about answers of models that are not on the board (<bdi>b</bdi>)"
    assert told in (out / "report.html").read_text()


def test_one_model_joins_and_what_was_decided_is_not_asked_again(arenaloop: Command, out: Path) -> None:
    before = verdicts(out)
    assert arenaloop("battle", "--add", "--model", "c=sandbox:clerk", "--out", "out").code == 0
    assert board(out) == {"a", "b", "c"}
    told = json.loads((out / "summary.json").read_text())
    assert told["battles_wanted"] == 36
    assert told["cached"] >= 24  # equal pairs of texts are asked once, whoever gave them
    assert verdicts(out) - before <= 12 + 48  # c's answers, and both seats of its 24 battles


def test_fewer_prompts_take_battles_off(arenaloop: Command, out: Path) -> None:
    refused = arenaloop("battle", *TWO, *WORLD, "--limit", "5")
    assert refused.code == 2
    assert "battles on 7 prompts" in refused.lines[-1]
    assert arenaloop("battle", *TWO, *WORLD, "--limit", "5", "--replace").code == 0
    assert len((out / "battles.jsonl").read_text().splitlines()) == 5
    assert arenaloop("battle", *TWO, *WORLD).code == 0  # more prompts take nothing off


def test_rules_that_take_verdicts_off_are_refused(arenaloop: Command, out: Path) -> None:
    add = ["--add", "--model", "c=sandbox:clerk", "--out", "out"]
    before = (out / "leaderboard.json").read_bytes()
    for flags, told, keeps in (
        (["--seats", "seeded"], "one seat of 6 battles (seats was both here, and is seeded)", "--seats"),
        (["--pairs", "target:c"], "12 battles (pairs was all here, and is target:c)", "--pairs"),
        (["--pairs", "optimal:4"], "up to 12 battles (pairs was all here, and is optimal:4)", "--pairs"),
    ):
        for more in ([], ["--dry-run"]):
            refused = arenaloop("battle", *add, *flags, *more)
            assert refused.code == 2
            assert told in refused.lines[-1]
            assert f"keep it with --add without {keeps} or another --out" in refused.lines[-1]
    assert (out / "leaderboard.json").read_bytes() == before
    allowed = arenaloop("battle", *TWO, *WORLD, "--seats", "seeded", "--replace")
    assert allowed.code == 0
    assert "note: seats was both here, and is seeded from now on" in " ".join(allowed.lines)
    config = (out / "config.yaml").read_text()
    (out / "config.yaml").write_text(config.replace("seed: 0", "seed: 5"))
    reseated = arenaloop("battle", *TWO, *WORLD, "--seats", "seeded", "--dry-run")
    assert "battles (seed was 5 here, and is 0): this battle would take that off" in reseated.lines[-1]
    (out / "config.yaml").write_text(config)
    assert arenaloop("battle", "--add", "--seats", "both", "--out", "out").code == 0  # more seats take nothing off
    assert arenaloop("battle", *TWO, *WORLD, "--pairs", "sample:5").code == 2


def test_battles_of_one_seat_that_another_rule_drops_are_refused_and_losses_are_noted(
    arenaloop: Command, out: Path
) -> None:
    file = out / "battles.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[0] |= {"own_failure": "a", "reason": "refused", "verdicts": [], "score_a": None, "score_b": None}
    rows[1]["verdicts"] = rows[1]["verdicts"][:1]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    noted = arenaloop("battle", *TWO, *WORLD, "--own-failure", "drop", "--dry-run")  # no verdict is behind a loss
    assert noted.code == 0
    assert "note: own_failure was loss here, and is drop from now on" in " ".join(noted.lines)
    config = (out / "config.yaml").read_text()
    (out / "config.yaml").write_text(config.replace("drop_battle", "use_one"))
    refused = arenaloop("battle", *TWO, *WORLD, "--dry-run")
    assert "1 battle that one seat decided (one_seat_failed was use_one here, and is drop_b" in refused.lines[-1]
    kept = arenaloop("battle", *TWO, *WORLD, "--one-seat-failed", "use_one", "--dry-run")
    assert kept.code == 0


def test_its_own_settings_are_a_battle(arenaloop: Command, out: Path) -> None:
    before = verdicts(out)
    again = arenaloop("battle", "out/config.yaml", "--json")
    assert again.code == 0
    assert json.loads(again.out)["battles_decided"] == 12
    assert verdicts(out) == before
    assert arenaloop("battle", "out/config.yaml", "--model", "c=sandbox:clerk", "--merge", "agree_or_tie").code == 0
    assert board(out) == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--add", "--model", "c=sandbox:clerk", "--out", "none"], "--add: there is no battle in none yet"),
        (["out/config.yaml", "--add"], "--add starts from a directory's own settings"),
        (["--model", "a=sandbox:scholar", *WORLD], "at least two --model"),
        ([*TWO, "--judge", "sandbox:judge"], "a battle needs --prompts"),
        ([*TWO, "--prompts", "sandbox:prompts?n=5"], "a battle needs --judge"),
        (["recipe.yaml"], "settings of a recipe; run it by: arenaloop run recipe.yaml"),
        (["odd.yaml"], "odd.yaml: models"),
        (["missing.yaml"], "missing.yaml: No such file"),
    ],
)
def test_refused(arenaloop: Command, out: Path, tmp_path: Path, arguments: list[str], told: str) -> None:
    (tmp_path / "recipe.yaml").write_text("recipe: arena_learning\n")
    (tmp_path / "odd.yaml").write_text("models: 7\nprompts: p.jsonl\njudge: sandbox:judge\n")
    result = arenaloop("battle", *arguments)
    assert result.code == 2
    assert told in result.lines[-1]


def test_what_another_run_has_is_not_asked_again(arenaloop: Command, out: Path, tmp_path: Path) -> None:
    three = [*TWO, "--model", "c=sandbox:clerk", *WORLD[:-1], "other"]
    rehearsed = [
        json.loads(arenaloop("battle", *three, *more, "--dry-run", "--json").out)["estimate"]["calls"]
        for more in ([], ["--reuse", "out"])
    ]
    assert rehearsed[1] < rehearsed[0]
    assert not (tmp_path / "other").exists()
    assert arenaloop("battle", *three, "--reuse", "missing", "--dry-run").code == 2
    assert arenaloop("battle", *three, "--reuse", "out").code == 0
    told = json.loads((tmp_path / "other" / "summary.json").read_text())
    alone = json.loads((out / "summary.json").read_text())
    whole = arenaloop("battle", *three[:-1], "third", "--json")
    assert told["calls"] <= json.loads(whole.out)["calls"] - alone["calls"]
    boards = [(tmp_path / name / "leaderboard.json").read_text() for name in ("other", "third")]
    assert boards[0] == boards[1]
    assert arenaloop("battle", *three, "--reuse", "missing").code == 2


def test_directories_are_merged_into_the_battle_of_all(arenaloop: Command, out: Path, tmp_path: Path) -> None:
    second = ["--model", "b=sandbox:novice", "--model", "c=sandbox:clerk", *WORLD[:-1], "second"]
    assert arenaloop("battle", *second).code == 0
    merged = arenaloop("merge", "all", "out", "second")
    assert merged.code == 0
    assert "the battle of all 3 models: arenaloop battle all/config.yaml" in merged.out
    assert arenaloop("battle", "all/config.yaml", "--json").code == 0
    assert board(tmp_path / "all") == {"a", "b", "c"}
    assert verdicts(tmp_path / "all") >= verdicts(out)
    assert "nothing added" in arenaloop("merge", "all", "out").out
    assert arenaloop("merge", "all", "all").code == 2
    assert arenaloop("merge", "all", "nowhere").code == 2


def test_battles_that_differ_in_more_are_merged_without_settings(arenaloop: Command, out: Path, tmp_path: Path) -> None:
    assert arenaloop("battle", *TWO, *WORLD[:-1], "second", "--seats", "seeded").code == 0
    merged = arenaloop("merge", "all", "out", "second")
    assert merged.code == 0
    told = " ".join(merged.out.split())
    assert "second/config.yaml differs in seats" in told
    assert (
        "by the settings of out, without a call for what is stored: arenaloop battle out/config.yaml --out all" in told
    )
    assert not (tmp_path / "all" / "config.yaml").exists()
    refused = arenaloop("rank", "all")
    assert refused.code == 2
    assert "holds answers and verdicts, but no battle" in refused.lines[-1]
    told = " ".join(arenaloop("rank", "out", "second").lines)
    assert "differs in seats; by the settings of out" in told
    assert "after arenaloop merge MERGED out second" in told
    before = verdicts(tmp_path / "all")
    assert arenaloop("battle", "out/config.yaml", "--out", "all").code == 0
    assert verdicts(tmp_path / "all") == before
    assert board(tmp_path / "all") == {"a", "b"}


def test_how_it_was_asked_and_where_equal_files_lay_keeps_nothing_apart(arenaloop: Command, tmp_path: Path) -> None:
    def battle(folder: str, name: str, *more: object, prompts: int = 12) -> None:
        (tmp_path / folder).mkdir()
        asked = [{"prompt": f"Say {n}", "tags": {"question_id": n}} for n in range(prompts)]
        (tmp_path / folder / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
        for who, length in (("base", 3), (name, 9 if name == "new" else 1)):
            rows = [{"instruction": row["prompt"], "output": "x" * (length + n % 5)} for n, row in enumerate(asked)]
            (tmp_path / folder / f"{who}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        models = [x for who in ("base", name) for x in ("--model", f"{who}=file:{folder}/{who}.jsonl")]
        judged = ["--prompts", f"{folder}/q.jsonl", "--judge", "builtin:longest", "--out", folder + "-run"]
        assert arenaloop("battle", *models, *judged, *more).code == 0

    battle("one", "new", "--concurrency", 4)
    battle("two", "third", "--budget-calls", 999)
    merged = arenaloop("merge", "all", "one-run", "two-run")
    told = " ".join(merged.out.split())
    assert "all gets concurrency, budget_calls of one-run, where others have other ones; no battle depends" in told
    assert "24 of 36 battles decided" in told
    assert board(tmp_path / "all") == {"base", "new", "third"}
    assert len(json.loads(arenaloop("rank", "two-run", "one-run", "--json").out)["leaderboard"]) == 3

    for name in ("base.jsonl", "q.jsonl"):  # a colleague's files, of which ours are copies
        (tmp_path / "two" / name).unlink()
    assert "24 of 36 battles decided" in arenaloop("merge", "again", "two-run", "one-run").out

    battle("longer", "new", "--limit", 12, prompts=13)  # of a longer file the same first prompts
    assert "24 of 36 battles decided" in arenaloop("merge", "longest", "one-run", "longer-run", "two-run").out
    battle("other", "third", prompts=11)
    assert "other-run/config.yaml differs in prompts" in " ".join(
        arenaloop("merge", "no", "one-run", "other-run").out.split()
    )
    rows = (tmp_path / "longer" / "base.jsonl").read_text()
    (tmp_path / "longer" / "base.jsonl").write_text(rows.replace("xxx", "y"))
    assert "has another base" in " ".join(arenaloop("merge", "nor", "one-run", "longer-run").out.split())


def test_another_model_or_judge_of_a_known_name_is_said(arenaloop: Command, out: Path) -> None:
    assert not any("from now on" in line for line in arenaloop("battle", *TWO, *WORLD, "--dry-run").lines)
    other = ["--model", "a=sandbox:clerk", "--model", "b=sandbox:novice", *WORLD, "--judge", "builtin:longest"]
    told = " ".join(arenaloop("battle", *other, "--dry-run").lines)
    assert "note: a was sandbox:scholar here, and is sandbox:clerk from now on" in told
    assert "note: the judge was sandbox:judge here, and is builtin:longest from now on" in told
    assert "b was" not in told
    told = " ".join(arenaloop("battle", *TWO, *WORLD, "--template", "labels", "--dry-run").lines)
    assert "note: the judge's template was pairwise here, and is labels from now on" in told
    (out / "config.yaml").write_text("models: [")
    assert arenaloop("battle", *TWO, *WORLD, "--dry-run").code == 0


def test_settings_of_another_version_are_named(arenaloop: Command, out: Path) -> None:
    with (out / "config.yaml").open("a") as file:
        file.write("later: 1\n")
    refused = arenaloop("battle", "--add", "--model", "c=sandbox:clerk", "--out", "out")
    assert refused.code == 2
    assert refused.lines[-1] == "arenaloop: out/config.yaml: unknown key 'later'"
    merged = arenaloop("merge", "all", "out")
    assert "out/config.yaml is not that of a battle (out/config.yaml: unknown key 'later')" in " ".join(
        merged.out.split()
    )
