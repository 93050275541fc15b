"""A best-of-n model from its file into the arena."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arenaloop.config import ModelSettings, validate
from arenaloop.errors import ConfigError
from arenaloop.models.best_of_n import BestOfN
from arenaloop.specs import contestant
from arenaloop.store import Store

Command = Callable[..., Any]


def test_the_best_of_n_beats_its_model_and_a_run_goes_on_where_it_stopped(
    arenaloop: Command, served: Any, tmp_path: Path
) -> None:
    served.answer = lambda body: "x" * (1 + len(served.heard) * 7 % 11)
    (tmp_path / "length.py").write_text("def length(prompts, answers):\n    return [len(a) for a in answers]\n")
    (tmp_path / "best.yaml").write_text(
        f"spec: {served.url}#m\nbest_of_n: {{n: 8, reward: 'python:length.py:length'}}\nsampling: {{max_tokens: 32}}\n"
    )
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"go {n}"}) + "\n" for n in range(10)))
    arguments = [
        *(
            "battle",
            "--model",
            "best=best_of_n:best.yaml",
            "--model",
            f"one={served.url}#m",
            "--prompts",
            "prompts.jsonl",
        ),
        *("--judge", "builtin:longest", "--out", "run"),
    ]
    planned = arenaloop(*arguments, "--dry-run")
    assert planned.code == 0, planned.lines
    assert any("contestant best: 80 calls" in line for line in planned.lines), planned.lines
    assert served.heard == []
    stopped = arenaloop(*arguments, "--budget-calls", 41)
    assert (stopped.code, len(served.heard)) == (4, 41)
    done = arenaloop(*arguments)
    assert done.code == 0, done.lines
    assert len(served.heard) == 90
    assert sorted({body["temperature"] for body in served.heard}) == [0.0, 1.0]
    board = json.loads((tmp_path / "run" / "leaderboard.json").read_text())["leaderboard"]
    assert [row["model"] for row in board] == ["best", "one"]
    assert board[0]["win_rate"] > 0.7
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["calls"] == 90
    with Store(tmp_path / "run" / "arena.db", readonly=True) as store:
        stored = store.answers_by_model()
    assert stored == {"best": 10, "one": 10} | {f"best#{n}": 10 for n in range(1, 9)}
    again = arenaloop("rejudge", "run", "--judge", "builtin:shortest")  # what battled, not the samples
    assert again.code == 0, again.lines
    (folder,) = {path.parent for path in (tmp_path / "run").rglob("leaderboard.json")} - {tmp_path / "run"}
    board = json.loads((folder / "leaderboard.json").read_text())["leaderboard"]
    assert [row["model"] for row in board] == ["one", "best"]


def test_its_spec_names_a_file_that_says_of_how_many(arenaloop: Command, tmp_path: Path) -> None:
    (tmp_path / "best.yaml").write_text("spec: sandbox:novice\nbest_of_n: {n: 2, reward: sandbox:gold}\n")
    (tmp_path / "plain.yaml").write_text("spec: sandbox:novice\n")
    arguments = [
        *("battle", "--model", "one=sandbox:scholar", "--prompts", "sandbox:prompts?n=2"),
        *("--judge", "builtin:longest", "--out", "run", "--dry-run"),
    ]
    for spec in ("best.yaml", "best_of_n:best.yaml"):
        planned = arenaloop(*arguments, "--model", f"best={spec}")
        assert planned.code == 0, planned.lines
        assert any("contestant best: 4 calls" in line for line in planned.lines), planned.lines
    for spec, says in [
        ("best_of_n:plain.yaml", "plain.yaml: 'best_of_n' is missing"),
        ("best_of_n:novice", "expected best_of_n:FILE.yaml"),
        ("best_of_n:none.yaml", "none.yaml: No such file"),
    ]:
        refused = arenaloop(*arguments, "--model", f"best={spec}")
        assert (refused.code, len(refused.lines)) == (2, 1), refused.lines
        assert says in refused.lines[0]


def build(**settings: Any) -> Any:
    return contestant(validate(ModelSettings, {"spec": "sandbox:novice"} | settings, "best.yaml"))


def test_what_a_models_file_may_say() -> None:
    one = build(best_of_n={"n": 4, "reward": "sandbox:gold"})
    assert isinstance(one.model, BestOfN)
    assert (one.name, one.model.n, one.sampling.temperature) == ("novice", 4, 1.0)
    warm = build(best_of_n={"reward": "sandbox:gold"}, sampling={"temperature": 0.7})
    assert (warm.model.n, warm.sampling.temperature) == (16, 0.7)
    assert build(best_of_n={"n": 1, "reward": "sandbox:gold"}, sampling={"temperature": 0}).sampling.temperature == 0
    saved = validate(
        ModelSettings,
        validate(ModelSettings, {"spec": "sandbox:novice", "best_of_n": {"reward": "sandbox:gold"}}, "x").model_dump(),
        "saved",
    )
    assert saved.sampling.temperature == 1.0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"best_of_n": {"n": 2}}, "'best_of_n.reward' is missing"),
        ({"best_of_n": {"n": 0, "reward": "sandbox:gold"}}, "best_of_n.n"),
        ({"best_of_n": {"reward": "sandbox:gold"}, "sampling": {"temperature": 0}}, "a temperature above 0"),
        ({"best_of_n": {"reward": "sandbox:gold", "m": 3}}, "unknown key 'best_of_n.m'"),
        ({"best_of_n": {"reward": "judge:judge.yaml"}}, "no place for them"),
        ({"best_of_n": {"reward": "silver"}}, "expected one of"),
    ],
)
def test_what_it_may_not(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        build(**settings)


def test_recorded_answers_have_no_samples(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"instruction": "a", "output": "b"}\n')
    with pytest.raises(ConfigError, match="recorded answers are none"):
        build(spec=f"file:{tmp_path / 'a.jsonl'}", best_of_n={"reward": "sandbox:gold"})
