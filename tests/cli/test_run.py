"""`arenaloop run` and `demo`: one recipe through the command, its exit codes, and what it refuses."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console

from arenaloop.cli.run import _say_result
from arenaloop.config import RecipeSettings
from arenaloop.specs.recipes import RECIPES
from arenaloop.store import Store

torch.set_num_threads(1)

Command = Callable[..., Any]

TRAINING = {
    "optimizer": "muon",
    "learning_rate": 0.01,
    "batch_size": 16,
    "threads": 1,
    "max_length": 64,
    "device": "cpu",
}
RECIPE: dict[str, Any] = {
    "recipe": "arena_learning",
    "name": "tiny",
    "rounds": 1,
    "stages": ["sft"],
    "target": {
        "model": "sandbox:target",
        "sampling": {"max_tokens": 8},
        "device": "cpu",
        "options": {"width": 16, "layers": 1, "heads": 2},
    },
    "opponents": ["sandbox:scholar", "sandbox:novice"],
    "judge": "sandbox:judge",
    "data": {
        "demonstrations": "sandbox:demonstrations?n=32",
        "prompts": "sandbox:prompts?n=12",
        "test": "sandbox:prompts?n=8&split=test",
    },
    "k_sft": [1.0],
    "sft_init_training": TRAINING | {"epochs": 1},
    "sft": TRAINING | {"epochs": 1},
}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    return path


def everything(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_a_recipe_runs_and_prints_its_result_again(arenaloop: Command, recipe: Path) -> None:
    result = arenaloop("run", recipe, "--out", "out", "--json")
    assert result.code == 0, result.lines
    summary = json.loads(result.out)
    out = recipe.parent / "out"
    assert summary == json.loads((out / "summary.json").read_text())
    assert [s["name"] for s in summary["stages"]] == ["SFT-I0", "SFT-I1"]
    for name in ("config.yaml", "arena.db", "battles.jsonl", "leaderboard.json", "report.html", "data/SFT-I1.jsonl"):
        assert (out / name).exists(), name
    saved = yaml.safe_load((out / "config.yaml").read_text())
    assert (saved["rounds"], saved["judge"]["spec"], saved["k_sft"]) == (1, "sandbox:judge", [1.0])
    again = arenaloop("run", recipe, "--out", "out", "--json")
    assert again.code == 0
    assert json.loads(again.out) == summary | {"cached": summary["verdicts_ok"]}
    shown = arenaloop("run", recipe, "--out", "out")
    assert shown.code == 0
    assert "SFT-I1" in shown.out
    assert json.loads(arenaloop("rank", out, "--json").out)["battles"] == 8 * 6
    # what was saved is a recipe by itself
    assert arenaloop("run", out / "config.yaml", "--out", "out", "--json").code == 0


def test_the_default_directory_is_named_by_the_recipe(arenaloop: Command, recipe: Path) -> None:
    result = arenaloop("run", recipe, "--dry-run")
    assert result.code == 0
    assert any("runs/tiny" in line for line in result.lines)
    assert everything(recipe.parent) == {recipe}


def test_hostile_names_reach_the_terminal_as_text(arenaloop: Command, recipe: Path) -> None:
    result = arenaloop("run", recipe, "--out", "[/x]", "--dry-run", "--set", 'opponents.0.name="\\e[2Jevil[/b]"')
    assert result.code == 0, result.lines
    text = " ".join(" ".join(result.lines).split())
    assert "[/x]: 2 stages" in text
    assert "\x1b" not in text
    assert "\\x1b[2Jevil[/b]" in text


def test_damaged_weights_of_an_opponent_are_one_line(arenaloop: Command, recipe: Path) -> None:
    assert arenaloop("run", recipe, "--out", "first", "--set", "rounds=0").code == 0
    weights = recipe.parent / "first" / "checkpoints" / "SFT-I0" / "model.safetensors"
    weights.write_bytes(b"\xff" * 100)
    changes = ["--set", "opponents.0.spec=hf:first/checkpoints/SFT-I0", "--set", "opponents.0.name=damaged"]
    result = arenaloop("run", recipe, "--out", "out", *changes)
    assert result.code == 2, result.lines
    assert "cannot load the model first/checkpoints/SFT-I0" in result.lines[-1]


def test_a_dry_run_counts_the_calls(arenaloop: Command, recipe: Path) -> None:
    command = ("run", recipe, "--out", "out", "--dry-run", "--set", "rounds=2", "--set", "machine.training_tflops=1")
    before = everything(recipe.parent)
    result = arenaloop(*command, "--json")
    assert result.code == 0
    told = json.loads(result.out)
    calls = {(part["stage"], part["what"]): part["calls"] for part in told["parts"]}
    # two slices of 6 prompts with 3 pairs from both seats, and 10 pairs on 8 test prompts
    assert [calls[stage, "verdicts"] for stage in ("SFT-I1", "SFT-I2", "leaderboard")] == [36, 36, 160]
    assert [calls[stage, "answers"] for stage in ("SFT-I0", "SFT-I1", "SFT-I2")] == [8] * 3
    assert calls["SFT-I2", "answers of SFT-I1"] == 6
    people = told["human"]
    assert people["labels"] == 2 * 6 * 3 + 8 * 10
    assert people["usd"] == pytest.approx(0.30 * people["labels"])
    assert told["total"]["usd"] == 0.0
    assert told["total"]["seconds"] is None  # nobody has told how fast sampling is
    assert any(note.startswith("how fast sampling is here is unknown") for note in told["notes"])
    trained = next(part for part in told["parts"] if part["stage"] == "SFT-I0" and part["what"] == "training")
    assert trained["seconds"] > 0
    assert everything(recipe.parent) == before
    shown = " ".join(" ".join(result.lines).split())
    assert "SFT-I1: verdicts 36" in shown
    assert "unknown" in shown


def test_a_dry_run_needs_no_key_and_unknown_prices_are_said(
    arenaloop: Command, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    command = ("run", recipe, "--out", "out", "--set", "judge=openai:judge", "--dry-run", "--json")
    told = json.loads(arenaloop(*command).out)
    assert told["total"]["usd"] is None
    assert told["human"]["cheaper"] is None
    (recipe.parent / "prices.yaml").write_text(
        "prices: {judge: {input: 2.0, output: 10.0}}\nhuman: {usd: 0.5, seconds: 10}\n"
    )
    priced = json.loads(arenaloop(*command, "--prices", "prices.yaml").out)
    judged = [part for part in priced["parts"] if part["what"] == "verdicts"]
    usd = sum(part["tokens_in"] * 2 + part["tokens_out"] * 10 for part in judged) / 1e6
    assert priced["total"]["usd"] == pytest.approx(usd)
    people = priced["human"]
    assert people["usd"] == pytest.approx(0.5 * people["labels"])
    assert people["cheaper"] == pytest.approx(people["usd"] / usd)
    assert people["usd_per_1000"] == pytest.approx(1000 * usd / people["labels"])
    assert people["by_kind"]["verdicts"]["usd_per_1000"] == people["usd_per_1000"]
    refused = arenaloop("run", recipe, "--out", "out", "--set", "judge=openai:judge")
    assert refused.code == 2
    assert "OPENAI_API_KEY is not set" in " ".join(refused.lines)


def test_the_example_for_real_models_is_planned_without_key_gpu_or_model(
    arenaloop: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("a dry run loads no model")

    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("arenaloop.models.checkpoint.load_checkpoint", refused)
    monkeypatch.setattr("arenaloop.models.checkpoint.load_tokenizer", refused)
    example = Path(__file__).parents[2] / "examples" / "alpaca_farm_qwen.yaml"
    (tmp_path / "data").mkdir()
    for name, count in (("preference", 40), ("unlabeled", 600), ("eval", 20)):
        rows = [json.dumps({"prompt": f"{name} question {n}"}) for n in range(count)]
        (tmp_path / "data" / f"{name}.jsonl").write_text("\n".join(rows))
    chat = [{"role": "user", "content": "a" * 40}, {"role": "assistant", "content": "b" * 360}]
    (tmp_path / "data" / "sft.jsonl").write_text("\n".join([json.dumps({"messages": chat})] * 100))
    result = arenaloop("run", example, "--dry-run", "--json")
    assert result.code == 0, result.lines
    told = json.loads(result.out)
    first, *rest = told["parts"]
    assert first["tokens_in"] == 3 * 100 * 100  # epochs, rows, and 400 characters are taken for 100 tokens
    assert first["seconds"] == pytest.approx(6 * 0.5e9 * 30_000 / 60e12)
    labels = next(part for part in rest if part["what"] == "labels")
    assert 0 < labels["calls"] <= 0.75 * 40  # half by noise, and several in a call
    assert labels["usd"] == pytest.approx((0.15 * labels["tokens_in"] + 0.60 * labels["tokens_out"]) / 1e6)
    total, people = told["total"], told["human"]
    assert None not in total.values()
    assert total["usd_most"] > total["usd"] > 0
    assert people["labels"] == 40 + 20 * 7
    assert people["cheaper"] > 50
    assert not (tmp_path / "runs").exists()


def test_undecided_battles_are_3(arenaloop: Command, recipe: Path) -> None:
    changes = ["--set", "judge.options.unparsed_rate=0.2", "--set", "judge.reask=0"]
    result = arenaloop("run", recipe, "--out", "out", "--json", *changes)
    assert result.code == 3, result.lines
    summary = json.loads(result.out)
    assert 0 < summary["battles_decided"] < summary["battles_wanted"]
    undecided = summary["battles_wanted"] - summary["battles_decided"]
    assert result.lines[-1].startswith(f"{undecided} battles undecided (")
    assert "unparsed" in result.lines[-1]
    assert (recipe.parent / "out" / "leaderboard.json").exists()


def test_no_rows_is_4_and_says_why(arenaloop: Command, recipe: Path) -> None:
    result = arenaloop("run", recipe, "--out", "out", "--set", "k_sft=[9]")
    assert result.code == 4
    assert "k_sft = 9 " in result.lines[-1]
    assert "gaps" in result.lines[-1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("ruonds=1", "did you mean 'rounds'"),
        ("judge.reaks=1", "did you mean 'reask'"),
        ("sft.epocs=1", "did you mean 'epochs'"),
        ("rounds=many", "rounds"),
        ("rounds", "key=value"),
        ("opponents.5=x", "no setting '5'"),
        ("recipe=arena_lerning", "did you mean 'arena_learning'"),
        ("opponents.0=sandbox:scholr", "did you mean 'scholar'"),
        ("opponents.0.name=SFT-I1", "SFT-I1"),
        ("opponents.0.name=novice", "two opponents"),
        ("anchor=[nobody, 1000]", "anchor 'nobody'"),
        ("anchor=[novice, .nan]", "finite"),
        ("sft.learning_rate=.inf", "finite"),
        ("target.model=hf:./nowhere", "nowhere"),
        ("target.model=nothing", "target.model"),
        ("target.options.widht=3", "widht"),
        ("target.options.width=3", "multiple of twice the heads"),
        ("target.options.width=wide", "wide"),
        ("data.test=sandbox:prompts?n=0", "test set"),
        ("data.prompts=sandbox:prompts?n=0", "pool"),
        ("data.prompts=nowhere.jsonl", "nowhere.jsonl"),
        ("data.demonstrations=nowhere.jsonl", "nowhere.jsonl"),
    ],
)
def test_refused_in_one_line_and_nothing_written(arenaloop: Command, recipe: Path, change: str, says: str) -> None:
    result = arenaloop("run", recipe, "--out", "out", "--set", change)
    assert result.code == 2, result
    assert len(result.lines) == 1, result.lines
    assert says in result.lines[0]
    assert everything(recipe.parent) == {recipe}


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "recipe.yaml"), ("- a\n", "mapping"), ("recipe: [\n", "line"), ("name: x\n", "recipe None is not known")],
)
def test_a_wrong_recipe_file(arenaloop: Command, tmp_path: Path, content: str | None, says: str) -> None:
    if content is not None:
        (tmp_path / "recipe.yaml").write_text(content)
    before = everything(tmp_path)
    result = arenaloop("run", "recipe.yaml", "--out", "out")
    assert result.code == 2
    assert len(result.lines) == 1
    assert says in result.lines[0]
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ('{"messages": [{"role": "user", "content": "x"}]}\n', "line 1"),
        ('{"text": "x"}\n', "line 1"),
        ('{"messages": [{"role": "user"', "line 1"),
        ("", "the file is empty"),
    ],
)
def test_wrong_demonstrations(arenaloop: Command, recipe: Path, rows: str, says: str) -> None:
    data = recipe.parent / "d.jsonl"
    data.write_text(rows)
    result = arenaloop("run", recipe, "--out", "out", "--set", "data.demonstrations=d.jsonl")
    assert result.code == 2, result
    assert len(result.lines) == 1, result.lines
    assert "d.jsonl" in result.lines[0]
    assert says in result.lines[0]
    assert everything(recipe.parent) == {recipe, data}


def test_a_second_writer_and_another_version(arenaloop: Command, recipe: Path) -> None:
    out = recipe.parent / "out"
    out.mkdir()
    with Store(out / "arena.db"):
        result = arenaloop("run", recipe, "--out", "out")
        assert (result.code, len(result.lines)) == (2, 1)
        assert "another process" in result.lines[0]
    with sqlite3.connect(out / "arena.db") as db:
        db.execute("PRAGMA user_version = 7")
    result = arenaloop("run", recipe, "--out", "out")
    assert (result.code, len(result.lines)) == (2, 1)
    assert "version 7" in result.lines[0]
    assert not (out / "config.yaml").exists()


def test_the_demo_can_be_planned(arenaloop: Command, tmp_path: Path) -> None:
    result = arenaloop("demo", "--dry-run", "--rounds", "1", "--out", "out")
    assert result.code == 0
    assert any("SFT-I0, SFT-I1, DPO-I1" in line for line in result.lines)
    assert everything(tmp_path) == set()
    assert arenaloop("demo", "--split", "tset", "--dry-run").code == 2


def test_a_demo_of_another_name(arenaloop: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = arenaloop("demo", "arena_learning", "--dry-run", "--rounds", "0")
    assert named.code == 0
    assert any("runs/demo: 1 stage (SFT-I0)" in line for line in named.lines)
    unknown = arenaloop("demo", "arena_lerning", "--dry-run")
    assert (unknown.code, len(unknown.lines)) == (2, 1)
    assert "did you mean 'arena_learning'" in unknown.lines[0]
    known = RECIPES["arena_learning"]
    monkeypatch.setitem(RECIPES, "roundless", replace(known, settings=RecipeSettings))
    refused = arenaloop("demo", "roundless", "--rounds", "1")
    assert (refused.code, refused.lines) == (2, ["arenaloop: --rounds: the recipe roundless has no rounds"])
    assert everything(tmp_path) == set()


def test_a_battles_own_config_is_run_as_that_battle(arenaloop: Command, tmp_path: Path) -> None:
    arguments = ["battle", "--model", "a=sandbox:scholar", "--model", "b=sandbox:novice"]
    arguments += ["--prompts", "sandbox:prompts?n=6", "--judge", "sandbox:judge", "--out", "first"]
    assert arenaloop(*arguments).code == 0
    again = arenaloop("run", "first/config.yaml", "--out", "second", "--json")
    assert again.code == 0
    first, second = (json.loads((tmp_path / name / "leaderboard.json").read_text()) for name in ("first", "second"))
    assert first == second
    assert json.loads(again.out)["battles_decided"] == 6
    assert arenaloop("run", "first/config.yaml", "--set", "pairs=none").code == 2


def test_without_anything_held_out_no_stage_is_called_the_best(capsys: pytest.CaptureFixture[str]) -> None:
    best = {
        "stage": "DPO-I1",
        "path": "checkpoints/DPO-I1",
        "win_rate": None,
        "lower": None,
        "upper": None,
        "alike": [],
    }
    for by in ("last stage", "validation"):
        _say_result(Console(), {"best": {**best, "by": by}}, Path("runs/x"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "last: DPO-I1 (nothing held out to choose by)"
    assert lines[2] == "best: DPO-I1 by validation"
