"""A held-out judge beside a recipe that trains for real: what it rates, what stops the run, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from small_recipe import settings

from arenaloop.arena.matchmaking import target_pairs
from arenaloop.arena.pairings import pairings
from arenaloop.errors import ConfigError, InputError
from arenaloop.recipes import arena_learning
from arenaloop.recipes.arena_learning_costs import estimate_costs
from arenaloop.recipes.arena_learning_plan import OF_HELD_OUT, inputs_key, outline, plan_calls
from arenaloop.recipes.observer import Observer
from arenaloop.recipes.parts import Arena
from arenaloop.specs.recipes.arena_learning import build_arena_learning
from arenaloop.store import Store

torch.set_num_threads(1)

SECOND = {"spec": "sandbox:judge", "name": "second", "options": {"seed": 7}}
PROMPTS = "sandbox:prompts?n=16&split=dev"
HELD_OUT = f"held_out={json.dumps({'judge': SECOND, 'prompts': PROMPTS})}"
NEVER = 'guards={"judges_part": null, "length": null, "distinct": null, "same_answer": null}'


class Heard(Observer):
    """Keeps what a run says, and which stages it has been through."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.phases: list[tuple[str, str]] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def phase(self, stage: str, doing: str) -> None:
        self.phases.append((stage, doing))


def run(out: Path, *changes: str, heard: Heard | None = None) -> Mapping[str, Any]:
    recipe = build_arena_learning(settings(*changes), out)
    out.mkdir(parents=True, exist_ok=True)
    with Store(out / "arena.db") as store:
        return arena_learning.run(recipe, store, out, heard).summary


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, Any], Heard]:
    """A run that is rated by a held-out judge, and that no rule stops."""
    out, heard = tmp_path_factory.mktemp("rated"), Heard()
    return out, run(out, HELD_OUT, NEVER, heard=heard), heard


def test_every_stage_is_rated_by_both_judges(rated: tuple[Path, Mapping[str, Any], Heard]) -> None:
    """The figures are those of the stored battles, read back by hand."""
    out, summary, heard = rated
    guards = summary["guards"]
    assert [one["name"] for one in guards["stages"]] == ["SFT-I0", "SFT-I1", "DPO-I1"]
    assert (guards["prompts"], guards["training_judge"], guards["held_out_judge"]) == (16, "sandbox-judge", "second")
    assert guards["stopped"] is None
    assert [stage for stage, doing in heard.phases if doing == "held-out judge"] == ["SFT-I0", "SFT-I1", "DPO-I1"]
    recipe = build_arena_learning(settings(HELD_OUT), out)
    last = recipe.target("DPO-I1", out / "checkpoints" / "DPO-I1")
    fighters = [last, *recipe.opponents]
    assert recipe.held_out_judge is not None
    with Store(out / "arena.db", readonly=True) as store:
        for judge, key in ((recipe.judge, "training_judge"), (recipe.held_out_judge, "held_out_judge")):
            plan = Arena(store, judge, recipe.settings).plan(
                fighters, [one.id for one in recipe.held_out], target_pairs([one.name for one in fighters], "DPO-I1")
            )
            scores = [winner.score for pairing in pairings(plan, store) for winner in pairing.winners]
            assert len(scores) == 16 * 2
            found = guards["stages"][-1][key]
            assert found["win_rate"] == pytest.approx(sum(scores) / len(scores))
            assert found["lower"] <= found["win_rate"] <= found["upper"]


def test_what_it_asks_stands_beside_the_stages(rated: tuple[Path, Mapping[str, Any], Heard]) -> None:
    """All rows of the counts come to what the directory has asked."""
    out, summary, _ = rated
    (counts,) = [one for one in summary["tables"] if one["title"] == "Counts"]
    calls = {row[0]: row[counts["columns"].index("calls")] for row in counts["rows"]}
    total = calls.pop("all")
    with Store(out / "arena.db", readonly=True) as store:
        assert total == sum(calls.values()) == store.usage().calls
    # 16 prompts, three stages, two opponents, both seats, two judges; the stages' answers; some texts are the same
    assert 3 * 16 < calls["held-out judge"] <= 3 * 16 * (1 + 2 * 2 * 2) + 2 * 16


def test_the_best_stage_is_named(rated: tuple[Path, Mapping[str, Any], Heard]) -> None:
    out, summary, _ = rated
    best, shares = summary["best"], [one["held_out_judge"]["win_rate"] for one in summary["guards"]["stages"]]
    assert best["win_rate"] == max(shares)
    assert best["stage"] == summary["guards"]["stages"][shares.index(max(shares))]["name"]
    assert best["by"] == "held-out judge second"
    assert (out / best["path"] / "model.safetensors").is_file()
    assert any(line.startswith(f"The result is {best['stage']}, by held-out judge second") for line in summary["prose"])
    curve = next(one for one in summary["curves"] if one["title"].startswith("Battles won against the opponents"))
    assert [one["name"] for one in curve["series"]] == ["training judge: sandbox-judge", "held-out judge: second"]
    assert [point["value"] for point in curve["series"][1]["points"]] == shares
    assert any(table["title"] == "What guards the training" for table in summary["tables"])


def test_the_plan_is_what_happens(rated: tuple[Path, Mapping[str, Any], Heard], tmp_path: Path) -> None:
    _, summary, _ = rated
    recipe = build_arena_learning(settings(HELD_OUT), tmp_path)
    plan = plan_calls(recipe)
    assert ("held out", 16, 3 * 2 * 16 * 4) in plan  # stages, opponents, prompts, seats of two judges
    assert sum(calls for _, _, calls in plan) == summary["verdicts_ok"]
    assert "held-out judge second on 16 prompts" in outline(recipe).facts
    parts = estimate_costs(recipe, tmp_path, None).parts
    for what in ("training judge's view", "held-out judge"):
        asked = [part for part in parts if part.what == what]
        assert [part.stage for part in asked] == ["SFT-I0", "SFT-I1", "DPO-I1"]
        assert [part.labels for part in asked] == [2 * 16] * 3
    # an answer is asked once: on the held-out prompts by the first stage, on the slices and the test set
    answers = [part.stage for part in parts if part.what == "answers of scholar"]
    assert sorted(answers) == ["DPO-I1", "SFT-I0", "SFT-I1", "leaderboard"]


def test_it_asks_nothing_again_and_trains_nothing_again(rated: tuple[Path, Mapping[str, Any], Heard]) -> None:
    out, summary, _ = rated
    heard = Heard()
    again = run(out, HELD_OUT, NEVER, heard=heard)
    assert again["calls"] == summary["calls"]
    assert again["cached"] == again["verdicts_ok"] == summary["verdicts_ok"]
    assert (again["best"], again["guards"]) == (summary["best"], summary["guards"])
    # another judge on the same prompts trains nothing anew, and another rule neither
    another = HELD_OUT.replace("second", "third").replace('"seed": 7', '"seed": 8')
    other = run(out, another, heard=heard)
    assert other["guards"]["held_out_judge"] == "third"
    assert not [doing for _, doing in heard.phases if doing in ("battles", "training") and _ != "leaderboard"]
    assert other["calls"] > again["calls"]


def test_a_broken_rule_ends_the_training_with_a_leaderboard(tmp_path: Path) -> None:
    """Answers may hardly be longer, nor less different, than SFT-I0's; then the rules go, and the run goes on."""
    guards = 'guards={"judges_part": null, "length": 1.0001, "distinct": 0.9999, "same_answer": 0.0001}'
    heard = Heard()
    more = (HELD_OUT, 'anchor=["DPO-I1", 1000]', "sft_init_training.epochs=6")
    summary = run(tmp_path, guards, *more, heard=heard)
    stopped = summary["guards"]["stopped"]
    assert stopped is not None
    names = [stage["name"] for stage in summary["stages"]]
    assert names == ["SFT-I0", "SFT-I1", "DPO-I1"][: len(names)]
    assert names[-1] == stopped["stage"]
    assert len(names) == 2
    assert not (tmp_path / "checkpoints" / "DPO-I1").exists()
    board = json.loads((tmp_path / "leaderboard.json").read_text())
    assert {row["model"] for row in board["leaderboard"]} == {*names, "scholar", "novice"}
    assert any(note.startswith(f"training stops after SFT-I1 (guards.{stopped['rule']}): ") for note in heard.notes)
    assert any("no contestant is anchored" in note for note in heard.notes)
    assert any(f"by the rule {stopped['rule']}: {stopped['why']}" in line for line in summary["prose"])
    resumed = run(tmp_path, NEVER, *more)
    assert [stage["name"] for stage in resumed["stages"]] == ["SFT-I0", "SFT-I1", "DPO-I1"]
    assert resumed["stages"][1]["seconds"] == summary["stages"][1]["seconds"]


def test_validation_is_watched_where_no_judge_is_held_out(tmp_path: Path) -> None:
    summary = run(tmp_path, "rounds=0", "data.validation=sandbox:prompts?n=10&split=dev")
    assert (summary["best"]["stage"], summary["best"]["by"]) == ("SFT-I0", "validation")
    assert summary["guards"]["prompts"] == 10
    assert summary["verdicts_ok"] == 2 * (10 * 2 + 12 * 3)  # its battles are those of the validation
    with Store(tmp_path / "arena.db", readonly=True) as store:
        (_, stage), *_ = store.stages()
    assert stage["validation_score"] == pytest.approx(summary["best"]["win_rate"])


# ---------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("judge", "why"),
    [
        ({"spec": "sandbox:judge", "options": {"noise": 0.5}}, "sandbox-judge is the training judge; take one of"),
        (
            {"spec": "sandbox:judge", "options": {"noise": 0.5}, "template": "labels"},
            "sandbox-judge is the model of the training judge sandbox-judge, asked otherwise",
        ),
        ({"jury": [SECOND, {"spec": "sandbox:judge", "options": {"noise": 0.5}}]}, "is the training judge"),
        (SECOND | {"options": {"noise": 0.5}}, "second is the training judge under another name"),
        ({"spec": "sandbox:judge", "options": {"seed": 3}}, "it is called sandbox-judge as the training judge is"),
    ],
)
def test_a_held_out_judge_that_is_the_training_judge_is_refused(
    judge: Mapping[str, Any], why: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=f"^held_out.judge: .*{why}"):
        build_arena_learning(settings(f"held_out={json.dumps({'judge': judge, 'prompts': PROMPTS})}"), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://127.0.0.1:9/v1#m", "http://127.0.0.1:10/v1#m"),
        ("openai:m", {"spec": "openai:m", "sampling": {"temperature": 0.5}, "extra_body": {"top_p": 1}}),
        ("builtin:longest", "builtin:longest"),
    ],
)
def test_one_model_is_one_model_wherever_it_is_served(
    one: object, other: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    held_out = {"judge": other, "prompts": PROMPTS}
    with pytest.raises(ConfigError, match=r"^held_out.judge: .* (is the model of the|is the training judge)"):
        build_arena_learning(settings(f"judge={json.dumps(one)}", f"held_out={json.dumps(held_out)}"), tmp_path)


def test_its_prompts_are_kept_out_of_training_and_away_from_the_test_set(tmp_path: Path) -> None:
    pool = build_arena_learning(settings(), tmp_path)
    own = {"judge": SECOND, "prompts": "sandbox:prompts?n=10&split=train&seed=0"}
    recipe = build_arena_learning(settings(f"held_out={json.dumps(own)}"), tmp_path)
    asked = {one.id for one in recipe.material.held_out}
    assert len(asked) == 10
    assert asked & {one.id for one in pool.material.pool}
    assert not asked & {one.id for one in recipe.material.pool}
    assert recipe.material.left_out["pool"] + recipe.material.left_out["demonstrations"] > 0
    assert inputs_key(recipe) != inputs_key(pool)  # other material
    apart = build_arena_learning(settings(HELD_OUT), tmp_path)
    assert inputs_key(apart) == inputs_key(pool)  # the same
    assert apart.material.left_out[OF_HELD_OUT] == 0


def test_prompts_of_the_test_set_are_refused(tmp_path: Path) -> None:
    held_out = {"judge": SECOND, "prompts": "sandbox:prompts?n=12&split=test"}
    with pytest.raises(InputError, match=r"12 of 12 prompts of held_out.prompts are test or validation prompts"):
        build_arena_learning(settings(f"held_out={json.dumps(held_out)}"), tmp_path)
