"""Three newcomers' first days, unattended: what each types, and what comes of it.

    python experiments/newcomers/play.py DATA [--users alpacaeval arena post_trainer] [--first N] [--out DIR]
                                         [--json FILE]

One comes from AlpacaEval, one from Arena-Hard, FastChat and Chatbot Arena, one trains with TRL. No key is needed:
judges are rules, recorded labels and the sandbox server of this machine. DATA holds, of public repositories,

    alpacaeval_outputs/{claude-2,gpt4_1106_preview,Qwen-14B-Chat}.json.gz   tatsu-lab/alpaca_eval, results/*
    alpacaeval_instructions.jsonl.gz      its 805 instructions: instruction_index, instruction
    alpacaeval_preferences.parquet        its annotations by weighted_alpaca_eval_gpt4_turbo, one row each: model,
                                          instruction_index, preference, output_len_model, output_len_baseline
    alpacaeval_leaderboard.csv            its leaderboard of that annotator: model, win_rate, standard_error
    farm_human_labels.jsonl.gz            tatsu-lab/alpaca_eval: pairs with one human label (gold_preference)
    farm_crossannotations_gpt4.jsonl.gz   the same pairs labelled by GPT-4: annotator, seed, preference
    arena_hard/question.jsonl.gz          lmarena/arena-hard-auto, v0.1, and beside it
    arena_hard/model_answer_{gpt-3.5-turbo-0125,gpt-4-0613}.jsonl.gz
    mt_bench/question.jsonl.gz            lm-sys/FastChat, fastchat/llm_judge/data/mt_bench

All of it plain JSON, gzipped. Every command runs in a fresh directory (``--out``, or a temporary one), which keeps what
it leaves, and in ``printed/`` all that it printed. A table is printed: what was typed, the exit code that is promised
and the one that came, seconds, and whether both agree and the output holds what it must. Exits with 1 if any differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
from newcomers import alpacaeval_user, arena_user, post_trainer
from newcomers.steps import Outcome, folder_for, last_lines, ok, play, server, table

USERS = {"alpacaeval": alpacaeval_user, "arena": arena_user, "post_trainer": post_trainer}


def main() -> None:
    """The command."""
    read = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    read.add_argument("data", type=Path)
    read.add_argument("--users", nargs="+", choices=USERS, default=list(USERS))
    read.add_argument("--first", type=int, help="only so many commands of each user")
    read.add_argument("--out", type=Path)
    read.add_argument("--json", type=Path, help="all outcomes, with the last lines that each printed")
    options = read.parse_args()
    with tempfile.TemporaryDirectory() as elsewhere:
        found = {
            name: _play(name, options.data, options.out or Path(elsewhere), options.first) for name in options.users
        }
    if options.json is not None:
        told = {name: [_told(one) for one in outcomes] for name, outcomes in found.items()}
        options.json.write_text(json.dumps(told, indent=1, ensure_ascii=False))
    wrong = sum(not ok(one) for outcomes in found.values() for one in outcomes)
    print(f"{sum(map(len, found.values()))} commands, {wrong} of them not as promised")
    raise SystemExit(1 if wrong else 0)


def _play(name: str, data: Path, out: Path, first: int | None) -> list[Outcome]:
    directory, user = out / name, USERS[name]
    folder_for(directory, data)
    user.prepare(directory)
    printed = directory / "printed"
    printed.mkdir()
    outcomes = []
    with server() as address:
        for number, one in enumerate(play(user.STEPS[:first], directory, address), 1):
            outcomes.append(one)
            (printed / f"{number:02}.txt").write_text(f"$ {one.typed}\n{one.printed}")
            if not ok(one):
                print(f"{name} {number}: lacks {one.missing}" if one.missing else f"{name} {number}", file=sys.stderr)
                print(*last_lines(one), sep="\n", file=sys.stderr)
    print(f"{(user.__doc__ or '').strip()}\n", *table(outcomes), "", sep="\n", flush=True)
    return outcomes


def _told(outcome: Outcome) -> dict[str, object]:
    return {
        "typed": outcome.typed,
        "promised": outcome.step.code,
        "came": outcome.code,
        "seconds": round(outcome.seconds, 1),
        "ok": ok(outcome),
        "missing": list(outcome.missing),
        "last": last_lines(outcome),
    }


if __name__ == "__main__":
    main()
