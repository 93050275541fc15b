"""Weights in engines on a Ray cluster of this machine: engines that die, hang or are killed, and a poisoned row."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_engine import POISON

from arenaloop.calls.open_weights import pool
from arenaloop.cli import main
from arenaloop.types import content_hash

pytestmark = pytest.mark.cluster


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setattr(pool, "_FIRST_PAUSE", 0.05)


def weights(folder: Path) -> Path:
    """A folder that looks like a model, and beside it an adapter of it."""
    (model := folder / "weights").mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(content_hash(str(folder)).encode())
    (lora := folder / "tuned").mkdir()
    (lora / "adapter_config.json").write_text(json.dumps({"r": 12, "base_model_name_or_path": str(model)}))
    (lora / "adapter_model.safetensors").write_bytes(b"adapter")
    return model


def battle(folder: Path, patch: pytest.MonkeyPatch, query: str = "", *more_line: str, **options: Any) -> int:
    """The exit code of a battle of weights and their adapter, judged by the weights."""
    model = folder / "weights" if (folder / "weights").is_dir() else weights(folder)
    (counts := folder / "counts").mkdir(exist_ok=True)
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}}
    (folder / "env.yaml").write_text(yaml.safe_dump(environment))
    spec = f"ray-vllm:{model}?engine=fake_engine:FakeEngine&gpus=0&engines=2&env={folder / 'env.yaml'}{query}"
    for name, more in (("base", ""), ("tuned", f"&lora=tuned={folder / 'tuned'}"), ("judge", "")):
        told = {"spec": spec + more, "name": name, "options": {"folder": str(counts), **options}}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(told))
    rows = [{"prompt": f"Question number {n}" + f" ({POISON})" * (n == 3)} for n in range(12)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    line = ["--prompts", str(folder / "prompts.jsonl"), "--judge", str(folder / "judge.yaml")]
    models = [f"--model={name}={folder / name}.yaml" for name in ("base", "tuned")]
    patch.setattr("sys.argv", ["arenaloop", "battle", *models, *line, "--out", str(folder / "run"), *more_line])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


def lines(folder: Path, what: str) -> list[list[str]]:
    return [line.split() for line in (folder / "counts" / what).read_text().splitlines()]


def test_engines_that_fail_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    query = "&load_seconds=8"
    code = battle(tmp_path, monkeypatch, query, hangs=1, deaths=["exit", "dead", "memory"])
    told = "".join(capsys.readouterr())
    print(told)
    assert code == 3
    battles = [json.loads(line) for line in (tmp_path / "run" / "battles.jsonl").read_text().splitlines()]
    assert len(battles) == 11
    assert {row["winner"] for row in battles} == {"model_b" if battles[0]["model_a"] == "base" else "model_a"}
    assert "ValueError: The prompt cannot be tokenised" in told


def test_an_engine_that_never_loads_stops_the_run_and_the_next_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert battle(tmp_path, monkeypatch, "&load_seconds=2", hangs=9) == 4
    told = capsys.readouterr().err.splitlines()[-1]
    assert "engine " in told
    assert "did not load on" in told
    assert "within 2 s" in told
    for at in range(9):
        (tmp_path / "counts" / f"hang.{at}").touch()
    assert battle(tmp_path, monkeypatch, "&load_seconds=2", hangs=9) == 3
    asked = [key for _, *key in lines(tmp_path, "asked")]
    assert len(asked) == len({*map(tuple, asked)}) == 24 + 22


def test_engines_killed_again_and_again_stop_the_run_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    deaths = [f"memory{at}" for at in range(20)]
    assert battle(tmp_path, monkeypatch, deaths=deaths) == 4
    told = capsys.readouterr().err.splitlines()[-1]
    assert "engines are lost whatever they are asked: its process ended" in told
    assert not (tmp_path / "run" / "battles.jsonl").read_text()


def test_without_vllm_on_the_workers_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert battle(tmp_path, monkeypatch, missing=True) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert "vllm is not installed in the workers' environment on " in told
    assert not (tmp_path / "counts" / "asked").exists()


def test_verdicts_by_log_probabilities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert battle(tmp_path, monkeypatch, "", "--template", "labels", "--verdict", "logprob") == 3
    rows = [json.loads(line) for line in (tmp_path / "run" / "battles.jsonl").read_text().splitlines()]
    assert len(rows) == 11
    assert {row[row["winner"]] for row in rows} == {"tuned"}
    assert lines(tmp_path, "loaded")[0][1:] == ["1", "12"]
