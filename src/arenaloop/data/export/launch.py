"""What starts a training with another trainer on exported prompts: a script, a file of rewards, the server's prompts.

The scripts name flags of one version each (`VERSIONS`), which they compare with what is installed. Nothing of the
user's is written into them: paths are found from where the script lies, and the model is its first argument.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import IO

from arenaloop.data.export import reward_client
from arenaloop.data.export.rows import TrainingRow
from arenaloop.jsonl import encode_json
from arenaloop.types import Prompt

__all__ = ["DATA", "LAUNCH", "METHODS", "PROMPTS", "REWARD", "VERSIONS", "client", "numbered", "script"]

VERSIONS: Mapping[str, str] = {"openrlhf": "0.11.2", "verl": "0.9.1", "trl": "1.16.0"}
"""Trainers that are started, and whose flags these are."""

METHODS: Mapping[str, tuple[str, ...]] = {
    "openrlhf": ("ppo", "grpo", "rloo"),
    "verl": ("ppo", "grpo", "rloo"),
    "trl": ("grpo", "rloo"),
}
"""What ``METHOD`` may be; the script's default is grpo."""

DATA: Mapping[str, str] = {"openrlhf": "data/train.jsonl", "verl": "data/train.parquet", "trl": "data/train.jsonl"}
LAUNCH, REWARD, PROMPTS = "launch.sh", "reward.py", "prompts.jsonl"
"""Names within the folder."""

_HEAD = """#!/usr/bin/env bash
# Made by arenaloop for {title} {version}. Rewards come from a server that runs beside it:
#
#     arenaloop reward-server --reward SPEC --prompts prompts.jsonl --out DIR
#
# usage: [METHOD={methods}] [OUT=DIR] [GPUS=N] [SAMPLES=N] bash launch.sh MODEL [further flags, which win]
set -euo pipefail
here="$(cd -- "$(dirname -- "${{BASH_SOURCE[0]}}")" && pwd)"
model="${{1:?usage: bash launch.sh MODEL [further flags]}}"
shift
method="${{METHOD:-grpo}}"
out="${{OUT:-$here/out}}"
gpus="${{GPUS:-1}}"
samples="${{SAMPLES:-8}}"
export ARENALOOP_REWARD_URL="${{ARENALOOP_REWARD_URL:-http://127.0.0.1:8010/get_reward}}"
found="$(python3 -c 'import importlib.metadata as m; print(m.version("{package}"))' 2>/dev/null || true)"
if [ "$found" != "{version}" ] && [ -z "${{ANY_VERSION:-}}" ]; then
    echo "these flags are those of {title} {version}, and ${{found:-none}} is installed; ANY_VERSION=1 goes on" >&2
    exit 2
fi
case "$method" in
"""

_OPENRLHF = """    ppo) estimator=gae ;;
    grpo) estimator=group_norm ;;
    rloo) estimator=rloo ;;
    *) echo "METHOD=$method: one of ppo, grpo, rloo" >&2; exit 2 ;;
esac
case "$here" in
    *,*) echo "$here: OpenRLHF takes a comma for the end of a path" >&2; exit 2 ;;
esac
exec python3 -m openrlhf.cli.train_ppo_ray \\
    --actor.model_name_or_path "$model" \\
    --data.prompt_dataset "$here/data/train.jsonl" \\
    --data.input_key input \\
    --data.label_key label \\
    --data.apply_chat_template \\
    --data.max_len 3072 \\
    --rollout.max_new_tokens 1024 \\
    --reward.remote_url "$here/reward.py" \\
    --algo.advantage.estimator "$estimator" \\
    --algo.kl.init_coef 0.01 \\
    --rollout.n_samples_per_prompt "$samples" \\
    --rollout.batch_size 128 \\
    --train.batch_size 128 \\
    --actor.adam.lr 1e-6 \\
    --actor.num_gpus_per_node "$gpus" \\
    --critic.num_gpus_per_node "$gpus" \\
    --ref.num_gpus_per_node "$gpus" \\
    --vllm.num_engines "$gpus" \\
    --vllm.tensor_parallel_size 1 \\
    --vllm.gpu_memory_utilization 0.6 \\
    --train.colocate_all \\
    --vllm.enable_sleep \\
    --ds.enable_sleep \\
    --ds.param_dtype bf16 \\
    --actor.gradient_checkpointing_enable \\
    --ckpt.output_dir "$out" \\
    "$@"
"""

_VERL = """    ppo) estimator=gae ;;
    grpo) estimator=grpo ;;
    rloo) estimator=rloo ;;
    *) echo "METHOD=$method: one of ppo, grpo, rloo" >&2; exit 2 ;;
esac
# a value between quotes of Hydra's own, to which a backslash is one unless a quote follows
quoted() {
    printf "'%s'" "$(printf '%s' "$1" | sed -E "s/(\\\\\\\\*)'/\\\\1\\\\1\\\\\\\\'/g; s/(\\\\\\\\+)\\$/\\\\1\\\\1/")"
}
exec python3 -m verl.trainer.main_ppo \\
    algorithm.adv_estimator="$estimator" \\
    actor_rollout_ref.model.path="$(quoted "$model")" \\
    critic.model.path="$(quoted "$model")" \\
    data.train_files="$(quoted "$here/data/train.parquet")" \\
    data.val_files="$(quoted "$here/data/train.parquet")" \\
    data.prompt_key=prompt \\
    data.train_batch_size=128 \\
    data.max_prompt_length=2048 \\
    data.max_response_length=1024 \\
    reward.custom_reward_function.path="$(quoted "$here/reward.py")" \\
    reward.custom_reward_function.name=compute_score \\
    actor_rollout_ref.rollout.name=vllm \\
    actor_rollout_ref.rollout.n="$samples" \\
    actor_rollout_ref.rollout.tensor_model_parallel_size=1 \\
    actor_rollout_ref.rollout.gpu_memory_utilization=0.6 \\
    actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=8 \\
    actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=8 \\
    actor_rollout_ref.actor.optim.lr=1e-6 \\
    actor_rollout_ref.actor.ppo_mini_batch_size=128 \\
    actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=8 \\
    critic.ppo_micro_batch_size_per_gpu=8 \\
    trainer.n_gpus_per_node="$gpus" \\
    trainer.nnodes=1 \\
    trainer.total_epochs=1 \\
    trainer.val_before_train=False \\
    trainer.test_freq=-1 \\
    trainer.save_freq=50 \\
    trainer.project_name=arenaloop \\
    trainer.experiment_name="$method" \\
    trainer.default_local_dir="$(quoted "$out")" \\
    "$@"
"""

_TRL = """    grpo | rloo) ;;
    *) echo "METHOD=$method: one of grpo, rloo; TRL {version} has no PPO" >&2; exit 2 ;;
esac
cd -- "$here"  # from where TRL imports reward.py
command=(python3 -m "trl.scripts.$method")
if [ "$gpus" -gt 1 ]; then
    command=(accelerate launch --num_processes "$gpus" -m "trl.scripts.$method")
fi
exec "${{command[@]}}" \\
    --model_name_or_path "$model" \\
    --dataset_name "$here/data" \\
    --reward_funcs reward.arenaloop_reward \\
    --num_generations "$samples" \\
    --per_device_train_batch_size 8 \\
    --gradient_accumulation_steps 8 \\
    --max_completion_length 1024 \\
    --learning_rate 1e-6 \\
    --logging_steps 1 \\
    --report_to none \\
    --output_dir "$out" \\
    "$@"
"""

_BODIES = {"openrlhf": _OPENRLHF, "verl": _VERL, "trl": _TRL.format(version=VERSIONS["trl"])}
_TITLES = {"openrlhf": "OpenRLHF", "verl": "verl", "trl": "TRL"}


def script(to: str) -> str:
    """The text of a trainer's ``launch.sh``."""
    told = {"title": _TITLES[to], "package": to, "version": VERSIONS[to], "methods": "|".join(METHODS[to])}
    return _HEAD.format(**told) + _BODIES[to]


def client() -> str:
    """The text of ``reward.py``."""
    return inspect.getsource(reward_client)


def numbered(rows: Iterator[tuple[str, TrainingRow]], prompts: IO[bytes]) -> Iterator[tuple[str, TrainingRow]]:
    """Rows whose ``prompt_id``, all that they keep, is that by which a reward server knows them from `prompts`.

    Args:
        rows: of prompts.
        prompts: is written to: a row each, with the id that it had before.
    """
    for place, row in rows:
        name = Prompt(tuple(row.prompt)).id
        cells: dict[str, object] = {"messages": row.prompt}
        if "prompt_id" in row.lineage:
            cells["id"] = row.lineage["prompt_id"]
        prompts.write(encode_json(cells) + b"\n")
        yield place, replace(row, lineage={"prompt_id": name})
