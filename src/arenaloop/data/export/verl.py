"""verl: Parquet, for its multi-turn SFT and for rollouts; it trains on no preferences.

Lineage stands in ``extra_info``, which a reward function is given. ``ground_truth`` is empty: battles know no right
answer, so the reward is a judge or a model of one's own (``reward.custom_reward_function``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arenaloop.data.export.rows import LINEAGE, NUMBERS, PROMPT_TOLD, Account, Format, Kind, TrainingRow
from arenaloop.jsonl import JsonRow

__all__ = ["VERL"]


def _sft(row: TrainingRow) -> JsonRow:
    return {"messages": [*row.prompt, *row.answers[0]], "extra_info": _info(row)}


def _prompt(row: TrainingRow) -> JsonRow:
    return {
        "data_source": "arenaloop",
        "prompt": row.prompt,
        "ability": "chat",
        "reward_model": {"style": "model", "ground_truth": ""},
        "extra_info": _info(row),
    }


def _info(row: TrainingRow) -> JsonRow:
    return {"split": "train"} | row.extra()


def _schema(kind: Kind) -> Mapping[str, Any]:
    import polars as pl

    turns = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
    asked = ("split", "prompt_id", *PROMPT_TOLD, "stage")
    texts = asked if kind == "prompts" else ("split", *LINEAGE.values())
    types: dict[str, Any] = {LINEAGE[name]: pl.Float64 for name in NUMBERS} | {"verdicts": pl.List(pl.String)}
    info = pl.Struct({name: types.get(name, pl.String) for name in texts})
    if kind == "sft":
        return {"messages": turns, "extra_info": info}
    return {
        "data_source": pl.String,
        "prompt": turns,
        "ability": pl.String,
        "reward_model": pl.Struct({"style": pl.String, "ground_truth": pl.String}),
        "extra_info": info,
    }


def _advice(path: Path, kind: Kind, account: Account) -> list[str]:
    lines = [
        f"data.train_files={path}" + (" data.messages_key=messages" if kind == "sft" else " data.prompt_key=prompt")
    ]
    if kind == "prompts":
        lines.append("reward.custom_reward_function.path=rewards.py  # compute_score of your own")
    elif account.given_answers:
        lines.append(f"# verl learns all answers, those too that {account.given_answers:,} rows only give")
    return lines


VERL = Format("verl", (".parquet",), {"sft": _sft, "prompts": _prompt}, _advice, schema=_schema)
