"""Runs in shards: the same plan on all, each its own part, and merged the run that one process would have made."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arenaloop.calls.gate import Gate
from arenaloop.store import Store

Command = Callable[..., Any]

THREE = ["--model", "a=sandbox:scholar", "--model", "b=sandbox:novice", "--model", "c=sandbox:clerk"]
BATTLE = ["battle", *THREE, "--prompts", "sandbox:prompts?n=14", "--judge", "sandbox:judge", "--pairs", "sample:30"]
FEW = [*BATTLE[:-1], "sample:6"]
OF_TIME = {"cached", "seconds", "human_equivalent"}


def derived(out: Path) -> dict[str, Any]:
    """A directory's results, but for times and what goes with them."""
    summary = json.loads((out / "summary.json").read_text())
    files = {name: (out / name).read_bytes() for name in ("battles.jsonl", "leaderboard.json", "config.yaml")}
    return files | {"summary": {name: value for name, value in summary.items() if name not in OF_TIME}}


def contents(out: Path) -> dict[str, str]:
    """Hashes of all files; SQLite makes the index of its log anew."""
    files = (path for path in out.iterdir() if not path.name.endswith("-shm"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def shards(arenaloop: Command, tmp_path: Path) -> Path:
    """Two shards of a battle, in s1 and s2."""
    for n in (1, 2):
        assert arenaloop(*BATTLE, "--shard", f"{n}/2", "--out", f"s{n}").code == 0
    return tmp_path


def test_two_shards_one_stopped_and_resumed_are_the_whole_run(
    arenaloop: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert arenaloop(*BATTLE, "--out", "whole").code == 0
    stopped = arenaloop(*BATTLE, "--shard", "1/2", "--out", "s1", "--budget-calls", "9")
    assert stopped.code == 4
    assert arenaloop(*BATTLE, "--shard", "2/2", "--out", "s2").code == 0
    part = arenaloop("merge", "all", "s1")
    assert part.code == 3
    assert "shard 2 of 2 is not here" in part.out
    both = arenaloop("merge", "all", "s1", "s2")
    assert both.code == 3  # the first is not through
    assert "all of its shards" in both.out
    resumed = arenaloop(*BATTLE, "--shard", "1/2", "--out", "s1")
    assert resumed.code == 0
    assert any("s1: shard 1 of 2 of plan" in line for line in resumed.lines)
    assert arenaloop("merge", "all", "s1", "s2").code == 0
    assert derived(tmp_path / "all") == derived(tmp_path / "whole")
    rated = arenaloop("rank", "whole", "--json").out
    assert arenaloop("rank", "all", "--json").out == rated
    assert arenaloop("rank", "s2", "s1", "--json").out == rated
    before = contents(tmp_path / "all")
    assert arenaloop("merge", "all", "s2", "s1").code == 0
    assert contents(tmp_path / "all") == before

    def refuse(*_: object) -> None:
        raise AssertionError("asked again")

    monkeypatch.setattr(Gate, "together", refuse)
    again = arenaloop("battle", "all/config.yaml", "--json")
    assert again.code == 0
    assert json.loads(again.out)["calls"] == json.loads((tmp_path / "whole" / "summary.json").read_text())["calls"]


def test_a_shard_says_so(arenaloop: Command, shards: Path) -> None:
    told = json.loads((shards / "s1" / "summary.json").read_text())["shard"]
    assert (told["index"], told["of"]) == (1, 2)
    assert "shard: 1/2\n" in (shards / "s1" / "config.yaml").read_text()
    with (
        Store(shards / "s1" / "arena.db", readonly=True) as one,
        Store(shards / "s2" / "arena.db", readonly=True) as two,
    ):
        ids = [{prompt.id for prompt in store.prompts()} for store in (one, two)]
    assert len(ids[0] | ids[1]) == len(ids[0]) + len(ids[1]) == 14
    assert arenaloop("battle", "s1/config.yaml").code == 0  # its own settings go on with it


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--shard", "1/3", "--out", "s1"], "s1: holds shard 1/2 of battle, and shard 1/3 of battle belongs elsewhere"),
        (["--out", "s1"], "s1: holds shard 1/2 of battle, and all of a plan of battle belongs elsewhere"),
        (["--shard", "2/2", "--out", "whole"], "whole: holds a run that is no shard, and shard 2/2 belongs elsewhere"),
        (["--shard", "0/4", "--out", "new"], "--shard 0/4: shards are counted from 1 to N"),
        (["--shard", "x", "--out", "new"], "--shard x: expected I/N"),
        (["--shard", "1/2", "--out", "new", "--pairs", "optimal:9"], "pairs optimal:N are chosen by earlier verdicts"),
    ],
)
def test_what_is_no_shard_of_the_directory_is_refused(
    arenaloop: Command, tmp_path: Path, more: list[str], told: str
) -> None:
    few = [*BATTLE[:-1], "sample:3"]
    assert arenaloop(*few, "--shard", "1/2", "--out", "s1").code == 0
    if "whole" in more:
        assert arenaloop(*few, "--out", "whole").code == 0
    for extra in ([], ["--dry-run"]):
        refused = arenaloop(*few, *more, *extra)
        assert (refused.code, told in refused.lines[-1]) == (2, True)
    assert not (tmp_path / "new").exists()


def test_what_does_not_belong_together_is_not_merged(arenaloop: Command, shards: Path) -> None:
    assert arenaloop(*BATTLE, "--shard", "1/2", "--out", "seed", "--seed", "1").code == 0
    shutil.copytree(shards / "s1", shards / "template")
    other = arenaloop(*BATTLE, "--shard", "1/2", "--out", "template", "--template", "labels")
    assert other.code == 0
    (shards / "p.jsonl").write_text("{}\n")
    for directories, told in (
        (
            ["all", "s2", "seed"],
            "seed: a shard of another plan than s2: another list of prompts; another set of pairs; ",
        ),
        (["all", "s2", "template"], "template: a shard of another plan than s2: another judge; judge.template labels"),
        (["s1", "s2"], "s1: holds shard 1/2 itself"),
        (["all", "p.jsonl"], "p.jsonl: neither a run directory nor an arena file"),
        (["all", "none"], "none: no run directory"),
        (["p.jsonl", "s1"], "p.jsonl: a file, where the directory belongs"),
    ):
        refused = arenaloop("merge", *directories)
        assert (refused.code, told in refused.lines[-1]) == (2, True), refused.lines
        assert not (shards / "all").exists()
    assert arenaloop("merge", "all", "s1").code == 3
    refused = arenaloop("merge", "all", "seed")
    assert "all: holds shards of another plan than seed" in refused.lines[-1]
    assert "seed: is no shard" not in refused.lines[-1]


def test_shards_without_prompts_are_shards(arenaloop: Command, tmp_path: Path) -> None:
    few = [*BATTLE[:-2], "--limit", "2"]
    assert arenaloop(*few, "--out", "whole").code == 0
    for n in range(1, 6):
        assert arenaloop(*few, "--shard", f"{n}/5", "--out", f"s{n}").code == 0
    assert arenaloop("merge", "all", *(f"s{n}" for n in range(1, 6))).code == 0
    assert derived(tmp_path / "all") == derived(tmp_path / "whole")


def test_an_anchor_goes_with_the_shards(arenaloop: Command, tmp_path: Path) -> None:
    few = [*BATTLE[:-1], "sample:8", "--anchor", "b=1200"]
    assert arenaloop(*few, "--out", "whole").code == 0
    assert arenaloop(*few, "--shard", "1/1", "--out", "s1").code == 0
    assert arenaloop("merge", "all", "s1").code == 0
    assert derived(tmp_path / "all") == derived(tmp_path / "whole")


def test_shards_judge_a_run_again(arenaloop: Command, tmp_path: Path) -> None:
    assert arenaloop(*BATTLE, "--out", "run").code == 0
    shutil.copytree(tmp_path / "run", tmp_path / "one")
    again = ["--template", "labels"]
    assert arenaloop("rejudge", "one", *again).code == 0
    for n in (1, 2):
        assert arenaloop("rejudge", "run", *again, "--shard", f"{n}/2", "--out", f"s{n}").code == 0
    assert not (tmp_path / "run" / "rejudged").exists()
    for wrong, told in (
        (["--shard", "1/2"], "name the shard's own directory by --out"),
        (["--out", "s1"], "--out goes with --shard"),
        (["--shard", "2/2", "--out", "s1"], "s1: holds shard 1/2 of rejudge"),
        (["--shard", "1/2", "--out", "run"], "is the run itself"),
    ):
        refused = arenaloop("rejudge", "run", *again, *wrong)
        assert (refused.code, told in refused.lines[-1]) == (2, True)
    assert "merged into the run that they judged again" in arenaloop("merge", "new", "s1").lines[-1]
    assert arenaloop("merge", "run", "s1", "s2").code == 0
    assert arenaloop("rejudge", "run", *again, "--json").code == 0
    name = Path("rejudged") / "labels-sandbox-judge"
    for file in ("battles.jsonl", "leaderboard.json"):
        assert (tmp_path / "run" / name / file).read_bytes() == (tmp_path / "one" / name / file).read_bytes()


def told(result: Any) -> str:
    """Standard output in one line."""
    return " ".join(result.out.split())


def test_each_judging_again_has_a_list_of_its_own(arenaloop: Command, tmp_path: Path) -> None:
    for n in (1, 2):
        assert arenaloop(*FEW, "--shard", f"{n}/2", "--out", f"s{n}").code == 0
    assert arenaloop("merge", "all", "s1", "s2").code == 0
    plans = {"labels": ["1/1"], "short": ["1/3", "2/3", "3/3"]}
    for template, shards in plans.items():
        for shard in shards:
            out = f"{template}-{shard[0]}"
            assert arenaloop("rejudge", "all", "--template", template, "--shard", shard, "--out", out).code == 0
    refused = arenaloop("rank", "short-1", "short-2")  # names what was given, not the passing directory
    assert (refused.code, "short-1, short-2: shards of rejudge are merged into" in refused.lines[-1]) == (2, True)
    whole = arenaloop("merge", "all", "labels-1")
    assert (whole.code, "all of its shards" in told(whole)) == (0, True)
    assert "arenaloop rejudge all with the same --judge/--template, without --shard, writes the results" in told(whole)
    part = arenaloop("merge", "all", "short-1")
    assert (part.code, "shards 2 and 3 of 3 are not here" in told(part)) == (3, True)
    assert "without --shard, asks what is missing and writes the results" in told(part)
    assert arenaloop("merge", "all", "short-3", "short-2").code == 0
    again = arenaloop("merge", "all", "s2")  # the battle's own list is as it was
    assert (again.code, "all of its shards" in told(again)) == (0, True)


def test_runs_that_once_came_in_shards_are_merged_as_runs(arenaloop: Command, tmp_path: Path) -> None:
    for n in (1, 2):
        assert arenaloop(*FEW, "--shard", f"{n}/2", "--out", f"s{n}").code == 0
    assert arenaloop("merge", "part", "s1").code == 3
    assert arenaloop("merge", "m", "s1", "s2").code == 0
    few = [word.replace("c=sandbox:clerk", "d=sandbox:clerk") for word in FEW]
    assert arenaloop(*few, "--out", "other").code == 0
    assert arenaloop("rejudge", "other", "--template", "labels", "--shard", "1/1", "--out", "again").code == 0
    assert arenaloop("merge", "other", "again").code == 0
    refused = arenaloop("merge", "all", "part", "other")
    assert (refused.code, "other: is no shard, and part is" in refused.lines[-1]) == (2, True)
    both = arenaloop("merge", "all", "m", "other")
    assert (both.code, "the battle of all 4 models" in told(both)) == (0, True)
    shutil.copytree(tmp_path / "m", tmp_path / "n")
    with Store(tmp_path / "n" / "arena.db") as store:  # as of another plan
        note = store.note("shard", "merged")
        store.put_note("shard", "merged", note | {"parts": note["parts"] | {"seed": "1"}})
    for directories in (["m", "other"], ["n", "m"]):
        assert arenaloop("rank", *directories).code == 0


def test_a_command_that_completes_shards_has_their_anchor(arenaloop: Command, tmp_path: Path) -> None:
    few = [*FEW, "--anchor", "b=1200"]
    assert arenaloop(*few, "--out", "whole").code == 0
    assert arenaloop(*few, "--shard", "1/2", "--out", "s1", "--budget-calls", "1").code == 4
    assert arenaloop(*few, "--shard", "2/2", "--out", "s2").code == 0
    assert arenaloop("merge", "all", "s1", "s2").code == 3
    named = "arenaloop battle all/config.yaml --anchor b=1200.0"
    assert named in (tmp_path / "all" / "summary.json").read_text()
    ranked = told(arenaloop("rank", "s1", "s2"))
    assert "what is missing is asked by the run that arenaloop merge makes of them" in ranked
    assert arenaloop("merge", "alone", "s2").code == 3
    assert arenaloop("battle", "alone/config.yaml", *named.split()[3:]).code == 0
    whole, alone = (json.loads((tmp_path / name / "leaderboard.json").read_text()) for name in ("whole", "alone"))
    assert alone == whole
    again = arenaloop("merge", "alone", "s2", "--json")
    assert (again.code, json.loads(again.out)["shards"]["missing"]) == (0, [])
    assert "all of its prompts" in " ".join(again.lines)
    assert "not here" not in " ".join(again.lines)
    assert not any("not here" in line for line in arenaloop("rank", "alone", "s2").lines)


def pairs(path: Path) -> Path:
    rows = [
        {
            "instruction": f"reverse: {'abcdefghi'[n % 9]}ko",
            "output_1": "a" * (n + 1),
            "output_2": "b" * (20 - n),
            "preference": 1 + n % 2,
        }
        for n in range(14)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_shards_of_an_audit(arenaloop: Command, tmp_path: Path) -> None:
    audit = ["audit", "--judge", "builtin:longest", "--labels", pairs(tmp_path / "l.jsonl"), "--samples", "10"]
    assert arenaloop(*audit, "--out", "whole").code == 0
    for n in (1, 2):
        assert arenaloop(*audit, "--shard", f"{n}/2", "--out", f"s{n}").code == 0
    assert arenaloop(*audit, "--out", "s1").code == 2
    assert arenaloop("merge", "all", "s1", "s2").code == 0
    assert arenaloop(*audit, "--out", "all").code == 0
    both = [json.loads((tmp_path / name / "audit.json").read_text()) for name in ("whole", "all")]
    assert [one | {"seconds": 0} for one in both[:1]] == [one | {"seconds": 0} for one in both[1:]]


def test_shards_of_labels(arenaloop: Command, tmp_path: Path) -> None:
    label = ["annotate", pairs(tmp_path / "p.jsonl"), "--pool", "synthetic", "--preset", "p_eval"]
    assert arenaloop(*label, "--out", "whole.jsonl").code == 0
    for n in (1, 2):
        assert arenaloop(*label, "--shard", f"{n}/2", "--out", f"s{n}.jsonl").code == 0
    assert sum(len((tmp_path / f"s{n}.labels.jsonl").read_text().splitlines()) for n in (1, 2)) == 14
    merged = arenaloop("merge", "all.jsonl", "s1.jsonl", "s2.jsonl")
    assert merged.code == 0
    assert "arenaloop annotate without --shard, with --out all.jsonl" in " ".join(merged.out.split())
    assert arenaloop(*label, "--out", "all.jsonl").code == 0
    for name in ("all.jsonl", "all.labels.jsonl"):
        assert (tmp_path / name).read_bytes() == (tmp_path / name.replace("all", "whole")).read_bytes()


def test_shards_of_a_test_sets_ratings(arenaloop: Command, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    draw = ["testset", "--prompts", "sandbox:prompts?n=60", "--clusters", "3", "--diverse", "6", "--hard", "6"]
    draw += ["--rated", "20", "--judge", "sandbox:judge"]
    assert arenaloop(*draw, "--out", "whole.jsonl").code == 0
    for n in (1, 2):
        rated = arenaloop(*draw, "--shard", f"{n}/2", "--out", f"s{n}.jsonl", "--json")
        assert rated.code == 0
        assert json.loads(rated.out)["shard"]["index"] == n
        assert not (tmp_path / f"s{n}.jsonl").exists()
    assert arenaloop("merge", "all.jsonl", "s1.jsonl", "s2.jsonl").code == 0
    assert json.loads(arenaloop(*draw, "--out", "all.jsonl", "--json").out)["calls"] == 20
    assert (tmp_path / "all.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert (
        "would pay a server"
        in arenaloop(*draw, "--embeddings", "http://127.0.0.1:9/v1#e", "--shard", "1/2", "--out", "x.jsonl").lines[-1]
    )
