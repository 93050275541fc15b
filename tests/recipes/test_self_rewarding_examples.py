"""The example file of Meta-Rewarding at real size: what it plans, without weights, a key or a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from arenaloop.cli import app
from arenaloop.config import MetaRewardingSettings, read_yaml, validate

EXAMPLE = Path(__file__).parents[2] / "examples" / "meta_rewarding_llama3_8b.yaml"
PROMPTS = [{"prompt": f"Describe the number {n} as a letter to a friend."} for n in range(20_000)]
FEWER = "--set=prompts_per_iteration=20"
ADAPTERS = [
    f"--set={key}"
    for key in ("sft.lora.r=64", "dpo.lora.r=64", "sft.dtype=bfloat16", "dpo.dtype=bfloat16")
]  # fmt: skip


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with what the example names, a few rows each."""

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("a dry run loads nothing")

    turns = [{"role": "user", "content": "Name a river."}, {"role": "assistant", "content": "The Volga."}]
    rows: dict[str, list[dict[str, Any]]] = {
        "eft": [{"messages": turns, "judgement": "It does.\nScore: 4"}],
        "prompts": PROMPTS[:80],
        "test": [{"prompt": "Which planet is the fifth one from the sun?"}],
    }
    for name, some in rows.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("arenaloop.models.checkpoint.load_checkpoint", refused)
    monkeypatch.setattr("arenaloop.models.checkpoint.load_tokenizer", refused)
    return tmp_path


def planned(*changes: str) -> dict[str, Any]:
    told = CliRunner().invoke(app, ["run", str(EXAMPLE), "--dry-run", "--json", *changes])
    assert told.exit_code == 0, told.output
    plan: dict[str, Any] = json.loads(told.stdout)
    return plan


def test_it_plans_calls_tokens_memory_and_hours(files: Path) -> None:
    (files / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PROMPTS))
    before = sorted(files.iterdir())
    plan = planned()
    assert plan["stages"] == ["M1", "M2", "M3", "M4", "M5"]
    parts = {(part["stage"], part["what"]): part for part in plan["parts"]}
    own = ("samples", "scores", "judgements compared")
    # the paper's 7 + 77 + 110 calls a prompt in the first two iterations, then 84
    assert [[parts[f"M{n}", what]["calls"] for what in own] for n in (2, 3)] == [[35_000, 385_000, 550_000]] * 2
    assert sum(parts[stage, what]["calls"] for stage, what in parts if what in own) == 2 * 970_000 + 2 * 420_000
    for (stage, what), part in parts.items():
        assert part["seconds"] is not None, (stage, what)
        assert part["tokens_in"] > 0
        assert (part["memory"] is None) == (stage == "leaderboard")
    training = parts["M2", "training"]["memory"]
    # 8.03 G parameters in float32, with their gradients and AdamW's two numbers, are 16 bytes each
    assert training["weights"] + training["gradients"] + training["optimiser"] == 16 * 8_030_261_248
    assert 140e9 < plan["memory"] < 180e9
    assert parts["M2", "samples"]["memory"]["weights"] == 2 * 8_030_261_248
    assert plan["total"]["usd"] > 0
    assert any("(machine.mfu)" in note for note in plan["notes"])
    assert sorted(files.iterdir()) == before


def test_what_does_not_fit_is_said_and_adapters_fit(files: Path) -> None:
    told = CliRunner().invoke(app, ["run", str(EXAMPLE), "--dry-run", FEWER])
    words = " ".join(told.output.split())
    assert "GPU memory, at most (M1: training): 156" in words
    assert "that is more than one h100 has (80 GB): lora, load_in" in words
    assert planned(FEWER, *ADAPTERS)["memory"] < 0.95 * 80e9
    told = CliRunner().invoke(app, ["run", str(EXAMPLE), "--dry-run", FEWER, *ADAPTERS, "--set=machine.gpu=null"])
    words = " ".join(told.output.split())
    assert "that is more than" not in words
    assert "how fast sampling is here is unknown" in words
    told = CliRunner().invoke(app, ["run", str(EXAMPLE), "--dry-run", FEWER, "--set=target.model=hf:someone/large-8b"])
    words = " ".join(told.output.split())
    assert "the memory is unknown, as the sizes of the target's layers are: machine.config" in words
    assert "GPU memory" not in words


def test_the_example_is_the_published_run() -> None:
    """Wu et al. 2024 (arXiv 2407.19594), section 3: what is published is in the file, and the rest is the defaults'."""
    s = validate(MetaRewardingSettings, read_yaml(EXAMPLE), str(EXAMPLE))
    assert (s.iterations, s.prompts_per_iteration, s.samples, s.self_judge.votes) == (4, 5000, 7, 11)
    assert (s.sampling.temperature, s.sampling.top_p) == (0.8, 0.95)
    assert (s.rho, s.max_chosen, s.meta.max_chosen) == ((0.0, 0.32, 0.32, 0.4), (2500, None), (1100, 1000))
    assert (s.meta.iterations, s.meta.pairs, s.meta.weight_scope, s.meta.l2) == (2, "all", "global", 0.01)
    assert (s.sft.epochs, s.sft.learning_rate, s.sft.batch_size) == (10, 5e-8, 32)
    assert (s.dpo.epochs, s.dpo.learning_rate, s.dpo.batch_size, s.dpo.beta) == (10, 5e-6, 32, 0.1)
    assert s.reference == "round_init"
    defaults = validate(
        MetaRewardingSettings,
        {"recipe": "meta_rewarding", "target": {"model": "hf:x/8b"}, "judge": "builtin:longest",
         "data": {"prompts": "p", "test": "t"}},
        "plain",
    )  # fmt: skip
    for name in ("samples", "sampling", "self_judge", "rho", "max_chosen", "meta", "reference"):
        assert getattr(s, name) == getattr(defaults, name), name
