"""The Slurm example as a shell script: a `sbatch` that runs its tasks here and now, and what comes of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "slurm" / "battle_array.sh"

SBATCH = r"""#!/bin/bash
# runs what it is given: an array task by task, another job once; its number is that of the lines in the log
set -u
echo "$*" >>"$LOG"
tasks=none
while [[ $1 == --* ]]; do
    case $1 in
    --array=1-*) tasks=$(seq 1 "${1#--array=1-}") ;;
    --output=*) output=${1#--output=} ;;
    esac
    shift
done
for task in $tasks; do
    SLURM_ARRAY_TASK_ID=$task bash "$@" >"${output//%a/$task}" 2>&1
done
echo "$(wc -l <"$LOG");cluster"
"""


@pytest.fixture
def submit(tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """A battle of two shards, handed to that `sbatch`."""
    programs = tmp_path / "bin"
    programs.mkdir()
    arenaloop = f'#!/bin/bash\nexec {sys.executable} -m arenaloop "$@"\n'
    for name, text in (("sbatch", SBATCH), ("arenaloop", arenaloop)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    answers = [{"instruction": f"q {n}", "output": "x" * (n % 7 + 1)} for n in range(12)]
    for name, rows in (("a", answers), ("b", [row | {"output": "yyyy"} for row in answers])):
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    (tmp_path / "prompts.jsonl").write_text(
        "".join(json.dumps({"prompt": row["instruction"]}) + "\n" for row in answers)
    )
    (tmp_path / "battle.yaml").write_text(
        "models: [{name: a, spec: 'file:a.json'}, {name: b, spec: 'file:b.json'}]\n"
        "prompts: prompts.jsonl\njudge: builtin:longest\n"
    )
    settings = {"CONFIG": "battle.yaml", "OUT": "runs/night", "SHARDS": "2", "LOG": str(tmp_path / "log")}
    path = {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(sys.path)}
    environment = {**os.environ, **settings, **path, "sbatch_options": "--partition=gpu --account=me"}
    return subprocess.run(["bash", SCRIPT], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)


def test_an_array_of_shards_ends_in_the_whole_battle(submit: subprocess.CompletedProcess[str], tmp_path: Path) -> None:
    assert (submit.returncode, submit.stdout, submit.stderr) == (0, "2;cluster\n", "")
    array, merging = (tmp_path / "log").read_text().splitlines()
    assert array.startswith("--parsable --array=1-2 --output=runs/night/shard-%a.log --partition=gpu --account=me /")
    assert "--dependency=afterany:1 --output=runs/night/merge.log --partition=gpu" in merging
    night = tmp_path / "runs" / "night"
    assert "shard 2 of 2 of plan" in (night / "shard-2.log").read_text()
    assert "12 of 12 battles decided" in (night / "merge.log").read_text()
    battles = (night / "whole" / "battles.jsonl").read_text().splitlines()
    assert len({json.loads(line)["prompt_id"] for line in battles}) == 12


def test_it_says_what_it_lacks() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("CONFIG", "OUT")}
    for arguments, told in (([], "CONFIG: the settings of the battle"), (["odd"], "unknown step odd")):
        ended = subprocess.run(
            ["bash", SCRIPT, *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode != 0
        assert told in ended.stderr
