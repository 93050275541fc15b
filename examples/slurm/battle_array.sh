#!/bin/bash
# A battle in shards as a Slurm array, and a job that merges them when all have ended, however they ended.
#
#     export CONFIG=battle.yaml OUT=runs/night SHARDS=8
#     sbatch_options="--partition=gpu" bash battle_array.sh
#
# CONFIG is a battle's settings (the config.yaml of another battle, say). Shard I writes OUT/shard-I; OUT/whole is what
# one process would have left. The same command again resumes what was cut off, asks for what failed, and merges again.
# Keys come by the environment, which sbatch hands on. OUT must be on a file system with locks of byte ranges.

#SBATCH --job-name=battle
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --mem=4G
#SBATCH --time=08:00:00
#SBATCH --signal=B:TERM@120

set -euo pipefail

case "${1:-submit}" in
submit)
    : "${CONFIG:?the settings of the battle, a YAML file}" "${OUT:?the directory that gets shards and whole}"
    export CONFIG OUT SHARDS="${SHARDS:-8}"
    script=$(realpath "$0")
    mkdir -p "$OUT"
    read -ra options <<<"${sbatch_options:-}"
    array=$(sbatch --parsable --array="1-$SHARDS" --output="$OUT/shard-%a.log" "${options[@]}" "$script" shard)
    # afterany, not afterok: a shard ends with 3 where battles stay undecided, and merge says which shards are missing
    sbatch --parsable --dependency="afterany:${array%%;*}" --output="$OUT/merge.log" "${options[@]}" "$script" merge
    ;;
shard)
    # The settings say N themselves: SLURM_ARRAY_TASK_COUNT is another number where some tasks alone are sent again.
    # exec, so that Slurm's TERM two minutes before the end reaches the run, which stops in order.
    # A GPU of its own: start `vllm serve MODEL --port 8000 &` here, and let CONFIG name http://127.0.0.1:8000/v1#MODEL.
    exec arenaloop battle "$CONFIG" --shard "$SLURM_ARRAY_TASK_ID/$SHARDS" --out "$OUT/shard-$SLURM_ARRAY_TASK_ID"
    ;;
merge)
    exec arenaloop merge "$OUT/whole" "$OUT"/shard-*/
    ;;
*)
    echo "battle_array.sh: unknown step $1" >&2
    exit 2
    ;;
esac
