"""The example files of Arena Learning, with prompts of a user's own: what they plan, without weights or a network."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
from typer.testing import CliRunner

from arenaloop.cli import app
from arenaloop.config import ArenaLearningSettings, read_yaml, validate

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a few demonstrations, a pool and a test set, as the examples name them."""
    verbs = ("Describe", "Explain", "Criticise", "Rewrite")
    things = ("how bread rises", "why glaciers shrink", "the rules of chess", "the migration of storks", "old bridges")
    ways = ("as a letter to a friend", "without any numbers", "in two careful paragraphs")
    asked = [{"prompt": f"{verb} {thing}, {way}, please."} for verb, thing, way in product(verbs, things, ways)]
    held = [{"prompt": f"Who invented the {what}?"} for what in ("telescope", "zip", "umbrella")]
    test = [{"turns": ["Which planet is the fifth one from the sun?", "Who found it first?"]}]
    said = [{"role": "user", "content": "Name a river of the east."}, {"role": "assistant", "content": "The Volga."}]
    for name, rows in (("d0", [{"messages": said}]), ("pool", asked), ("held", held), ("test", test)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


@pytest.mark.parametrize("name", ["arena_learning_7b", "arena_learning_qwen"])
def test_an_example_plans_a_users_own_files(files: Path, name: str) -> None:
    before = sorted(files.iterdir())
    told = CliRunner().invoke(app, ["run", str(EXAMPLES / f"{name}.yaml"), "--dry-run", "--json"])
    assert told.exit_code == 0, told.output
    plan = json.loads(told.stdout)
    assert plan["stages"][:3] == ["SFT-I0", "SFT-I1", "DPO-I1"]
    assert len(plan["stages"]) == (13 if name == "arena_learning_7b" else 7)
    assert sorted(files.iterdir()) == before


def test_the_7b_example_is_the_published_run() -> None:
    """Arena Learning, sections 3 and 4: what is published is in the file, and the rest is the defaults'."""
    file = EXAMPLES / "arena_learning_7b.yaml"
    s = validate(ArenaLearningSettings, read_yaml(file), str(file))
    assert (s.rounds, s.stages, s.battle_mode, s.rejected) == (3, ("sft", "dpo", "ppo"), "all_pairs", "worst")
    assert (s.k_sft, s.k_dpo, s.k_rm) == ((3, 1, 1), (2, 2, 2), (0,))
    assert (s.sft.epochs, s.sft.learning_rate, s.sft.batch_size, s.sft.max_length) == (3, 5e-6, 128, 4096)
    assert (s.dpo.epochs, s.dpo.learning_rate, s.dpo.beta) == (2, 5e-7, 0.3)
    assert (s.reward_model.epochs, s.reward_model.learning_rate, s.ppo.learning_rate) == (1, 1e-6, 1e-7)
    assert (s.sft_init, s.accumulate, s.seats, s.merge) == ("base", True, "both", "mean")
    names = [one.name for one in s.opponents]
    assert s.opponents_by_round == (tuple(names[:3]),)
    assert s.anchor == (names[3], 1100)
    assert (s.rating.interval, s.rating.samples, s.rating.cluster, s.rating.score) == (
        "bootstrap", 100, "battle", "median",
    )  # fmt: skip
    assert s.data.cleaning is not None
    assert s.held_out is not None
