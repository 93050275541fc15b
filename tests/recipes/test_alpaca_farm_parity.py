"""`parity: alpaca_farm`: it sets everything at once, a file's own settings go before it, and the tables are true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_farm import FARM, run
from typer.testing import CliRunner

from arenaloop.cli import app
from arenaloop.config import AlpacaFarmSettings, validate
from arenaloop.config.recipes.alpaca_farm_parity import CHOICES, REMAINING, shown
from arenaloop.recipes.alpaca_farm_plan import outline
from arenaloop.specs.recipes.alpaca_farm import build_alpaca_farm

torch.set_num_threads(1)

DOCS = Path(__file__).parents[2] / "docs" / "alpaca_farm.md"
PLAIN: dict[str, Any] = {
    "recipe": "alpaca_farm",
    "target": {"model": "hf:some/model"},
    "annotators": {"model": "openai:gpt-4o-mini"},
    "data": {"sft": "sft.jsonl", "preference": "pairs.jsonl", "unlabeled": "more.jsonl", "evaluation": "eval.jsonl"},
}
OURS = validate(AlpacaFarmSettings, PLAIN | {"judge": "openai:gpt-4o"}, "plain")


def test_the_preset_sets_all_that_differs_from_our_defaults() -> None:
    found = validate(AlpacaFarmSettings, PLAIN | {"parity": "alpaca_farm"}, "plain")
    assert [(choice.path, here) for choice, here in found.beside_parity()] == [
        (choice.path, shown(choice.value)) for choice in CHOICES
    ]
    same = [choice.path for choice, here in OURS.beside_parity() if here == shown(choice.value)]
    # a default of 300 tokens is not AlpacaFarm's where the window is 492: it takes half of the window at most
    assert same == ["expert_iteration: max_new_tokens", "ppo: max_new_tokens", "quark: max_new_tokens"]
    assert found.evaluators is not None
    assert (found.evaluators.preset, found.evaluators.seat_mode) == ("p_eval", "compat")
    assert found.evaluators.model is not None
    assert found.evaluators.model.spec == "openai:gpt-4o-mini"


def test_what_a_file_sets_goes_before_the_preset() -> None:
    own = {
        "judge": "openai:gpt-4o",
        "annotators": {"seat_mode": "seeded"},
        "sft": {"learning_rate": 1e-4},
        "methods": {
            "PPO": {"method": "ppo", "training": {"kl_estimator": "k1"}},
            "Again": {"method": "ppo", "reward": "sandbox:gold"},
            "Best": {"method": "best_of_n"},
        },
    }
    found = validate(AlpacaFarmSettings, PLAIN | own | {"parity": "alpaca_farm"}, "plain")
    here = {choice.path: value for choice, value in found.beside_parity()}
    assert here["judge"] == "openai:gpt-4o"
    assert here["annotators.seat_mode"] == "seeded"
    assert here["sft.learning_rate"] == "0.0001"
    assert here["sft.max_length"] == "512"
    assert here["ppo: kl_estimator"] == "k1, clamped"  # of the two that are there
    assert here["dpo: beta"] == "–"  # there is none
    assert dict(found.methods["Best"].training) == {}


def test_saved_settings_say_the_same() -> None:
    found = validate(AlpacaFarmSettings, PLAIN | {"parity": "alpaca_farm"}, "plain")
    assert validate(AlpacaFarmSettings, found.model_dump(mode="json"), "saved") == found


def test_a_run_at_parity(tmp_path: Path) -> None:
    """Everything else that the preset names holds in a real run; what would not fit a tiny model is set."""
    some = {name: FARM["methods"][name] for name in ("DPO", "PPO")}
    small = {"parity": "alpaca_farm", "methods": some, "eval_pairs": 6}
    farm = {key: value for key, value in FARM.items() if key != "judge"} | small
    farm["target"] = FARM["target"] | {"sampling": {"max_tokens": 12}}
    checked = validate(AlpacaFarmSettings, farm | {"annotators": {"pool": "synthetic"}}, "small")
    recipe = build_alpaca_farm(checked, tmp_path / "dry", dry=True)
    (fact,) = [fact for fact in outline(recipe).facts if fact.startswith("parity")]
    assert fact.startswith("parity alpaca_farm but for target.sampling.max_tokens, eval_pairs, sft.learning_rate, ")
    assert recipe.sampling.top_p == 0.9
    assert recipe.sampling.temperature == 1.0
    result = run(tmp_path / "out", checked)
    assert [stage["name"] for stage in result.stages] == ["SFT", "RM", "DPO", "PPO"]
    (table,) = [table for table in result.summary["tables"] if table["title"].startswith("Pairs not learned from")]
    assert [row[:2] for row in table["rows"]] == [["RM", 6], ["DPO", 6]]


def test_explain_shows_both_tables(tmp_path: Path) -> None:
    (tmp_path / "farm.yaml").write_text("recipe: alpaca_farm\nparity: alpaca_farm\ntarget: {model: 'hf:x'}\n"
                                        "data: {sft: a, preference: b, evaluation: c}\n")  # fmt: skip
    result = CliRunner().invoke(app, ["run", str(tmp_path / "farm.yaml"), "--explain"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    for choice in CHOICES:
        assert choice.path in result.stdout
    for one in REMAINING:
        assert one.what in result.stdout


def test_explain_is_for_recipes_with_published_code(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(
        "recipe: arena_learning\ntarget: {model: 'hf:x'}\njudge: openai:x\nopponents: [openai:y]\n"
        "data: {demonstrations: a, prompts: b, test: c}\n"
    )
    result = CliRunner().invoke(app, ["run", str(tmp_path / "other.yaml"), "--explain"])
    assert "no published code" in str(result.exception or result.output)


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: choice.path)
def test_the_page_has_every_choice(choice: Any) -> None:
    ours = next(here for one, here in OURS.beside_parity() if one is choice)
    ours = "–" if choice.path == "judge" else ours
    assert f"| `{choice.path}` | {ours} | {shown(choice.value)} | {choice.why} |" in DOCS.read_text("utf-8")


def test_the_page_has_what_no_setting_expresses() -> None:
    text = DOCS.read_text("utf-8")
    for one in REMAINING:
        assert f"| {one.what} | {one.ours} | {one.theirs} |" in text
