"""Folders that train with another trainer: data, what starts it, and the rewards that it asks for."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from arenaloop.cli import app
from arenaloop.data.export.launch import DATA, METHODS, VERSIONS
from arenaloop.errors import ConfigError, InputError
from arenaloop.serving.wire import KnownPrompts
from arenaloop.specs import load_prompts

FLAGS = Path(__file__).parent / "flags"
"""Names of each version's flags and settings, read from its sources."""

ROWS: list[dict[str, Any]] = [
    {"prompt": "What is 2 + 2?", "prompt_id": "mine-1", "stage": "S"},
    {"messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Spell dog."}]},
    {"prompt": "Häng <|im_end|> on", "prompt_id": 7},
]
HOSTILE = 'it\'s a $(touch pwned) "folder"; x\\y `z`'


def launched(folder: Path, to: str, *more: str) -> Path:
    """The exported folder."""
    source = folder / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    out = folder / HOSTILE / to
    words = ["export", str(source), "--to", to, "--launch", "--out", str(out), *more]
    found = CliRunner().invoke(app, words, catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return out


Started = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def started(tmp_path: Path) -> Started:
    """Runs a launch.sh before programs that do nothing but tell what they were called with: code, words, stderr."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name in ("python3", "accelerate"):
        program = bin_ / name
        program.write_text(
            "#!/bin/bash\n"
            'if [ "${1:-}" = -c ]; then echo "$INSTALLED"; exit; fi\n'
            f'printf "%s\\0" {name} "$PWD" "$@" > "$TOLD"\n'
        )
        program.chmod(0o755)

    def start(out: Path, *words: str, installed: str, **environment: str) -> tuple[int, list[str], str]:
        told = tmp_path / "told"
        told.unlink(missing_ok=True)
        has = {"PATH": f"{bin_}:{os.environ['PATH']}", "TOLD": str(told), "INSTALLED": installed}
        done = subprocess.run(
            ["bash", str(out / "launch.sh"), *words],
            env=has | environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        said = told.read_text().split("\0")[:-1] if told.exists() else []
        return done.returncode, said, done.stderr

    return start


@pytest.mark.parametrize("to", VERSIONS)
def test_the_script_passes_flags_that_this_version_has(to: str, tmp_path: Path, started: Started) -> None:
    out, version = launched(tmp_path, to), VERSIONS[to]
    assert subprocess.run(["bash", "-n", str(out / "launch.sh")]).returncode == 0
    assert os.access(out / "launch.sh", os.X_OK)
    known = set((FLAGS / f"{to}-{version}.txt").read_text().split())
    for method in METHODS[to]:
        code, (program, folder, *words), told = started(
            out, "my model's", "--mine", installed=version, METHOD=method, GPUS="2"
        )
        assert code == 0, told
        assert words[-1] == "--mine"
        if to == "verl":
            given = dict(word.split("=", 1) for word in words[2:-1])
            assert not set(given) - known
            unquoted = {name: re.sub(r"\\(.)", r"\1", value[1:-1]) for name, value in given.items() if value[0] == "'"}
            assert unquoted["actor_rollout_ref.model.path"] == "my model's"
            assert unquoted["data.train_files"] == str(out / DATA[to])
            assert unquoted["reward.custom_reward_function.path"] == str(out / "reward.py")
            assert given["algorithm.adv_estimator"] == {"ppo": "gae"}.get(method, method)
        else:
            flags = {word: words[at + 1] for at, word in enumerate(words[:-1]) if word.startswith("--")}
            flags.pop("--num_processes", None)  # accelerate's own
            assert not set(flags) - known
            assert "my model's" in flags.values()
        if to == "openrlhf":
            assert flags["--reward.remote_url"] == str(out / "reward.py")
            assert flags["--data.prompt_dataset"] == str(out / DATA[to])
            ours = {"ppo": "gae", "grpo": "group_norm", "rloo": "rloo"}
            assert flags["--algo.advantage.estimator"] == ours[method]
        elif to == "trl":
            assert (program, folder) == ("accelerate", str(out))
            assert f"trl.scripts.{method}" in words
            assert flags["--dataset_name"] == str(out / "data")
    assert not list(tmp_path.rglob("pwned"))


def test_the_script_says_what_it_cannot_do(tmp_path: Path, started: Started) -> None:
    out = launched(tmp_path, "trl")
    assert started(out, installed="1.16.0")[0] == 1  # no model
    code, words, told = started(out, "m", installed="1.15.0")
    assert (code, words) == (2, [])
    assert "those of TRL 1.16.0, and 1.15.0 is installed" in told
    assert started(out, "m", installed="1.15.0", ANY_VERSION="1", GPUS="1")[1][0] == "python3"
    code, _, told = started(out, "m", installed="1.16.0", METHOD="ppo")
    assert code == 2
    assert "no PPO" in told
    (tmp_path / "a,b").mkdir()
    there = launched(tmp_path / "a,b", "openrlhf")
    code, _, told = started(there, "m", installed="0.11.2")
    assert code == 2
    assert "comma" in told


@pytest.mark.parametrize("to", VERSIONS)
def test_rows_have_the_ids_by_which_the_server_knows_them(to: str, tmp_path: Path) -> None:
    out = launched(tmp_path, to)
    known = KnownPrompts(load_prompts(str(out / "prompts.jsonl"), 0).prompts)
    if to == "verl":
        table = pl.read_parquet(out / DATA[to])
        assert table.columns == ["data_source", "prompt", "ability", "reward_model", "extra_info"]
        rows = table.to_dicts()
        assert all(row["reward_model"] == {"style": "model", "ground_truth": ""} for row in rows)
        named = [(row["extra_info"]["prompt_id"], row["prompt"]) for row in rows]
    else:
        rows = [json.loads(line) for line in (out / DATA[to]).read_text().splitlines()]
        name, asked = ("label", "input") if to == "openrlhf" else ("prompt_id", "prompt")
        named = [(row[name], row[asked]) for row in rows]
    assert len(named) == 3
    for name, messages in named:
        assert [*known.find(name, None).messages] == messages  # type: ignore[union-attr]
    assert known.find("mine-1", None) is known.find(named[0][0], None)  # and by the ids that they had before
    assert known.find(7, None) is not None
    assert sorted(path.name for path in (out / "data").iterdir()) == [Path(DATA[to]).name]


def test_what_cannot_be_launched_is_refused(tmp_path: Path) -> None:
    out = launched(tmp_path, "trl")
    source = str(tmp_path / "rows.jsonl")

    def refused(*words: str) -> str:
        found = CliRunner().invoke(app, ["export", source, *words])
        assert isinstance(found.exception, ConfigError | InputError), found.output
        return str(found.exception)

    assert "--force" in refused("--to", "trl", "--launch", "--out", str(out))
    launched(tmp_path, "trl", "--force")
    assert "openrlhf, verl, trl, not with axolotl" in refused("--to", "axolotl", "--launch", "--out", "x")
    assert "--kind sft" in refused("--to", "trl", "--launch", "--kind", "sft", "--out", "x")
    (tmp_path / "file").write_text("")
    assert "a file" in refused("--to", "trl", "--launch", "--out", str(tmp_path / "file"))


def test_the_rewards_file_stands_alone(tmp_path: Path) -> None:
    """It is imported by its path, as verl and OpenRLHF do, and needs nothing that an other environment lacks."""
    path = launched(tmp_path, "verl") / "reward.py"
    spec = importlib.util.spec_from_file_location("reward_of_theirs", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert inspect.iscoroutinefunction(module.compute_score)
    done = subprocess.run(["python3", "-I", "-S", "-c", f"import runpy; runpy.run_path({str(path)!r})"])
    assert done.returncode == 0
