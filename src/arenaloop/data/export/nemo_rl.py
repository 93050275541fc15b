"""NeMo-RL: its ``PreferenceDataset`` (completions by rank), ``openai_format`` messages, and prompts as texts."""

from __future__ import annotations

from pathlib import Path

from arenaloop.data.export.rows import Account, Format, Kind, TrainingRow, UnfitError
from arenaloop.jsonl import JsonRow

__all__ = ["NEMO_RL"]


def _sft(row: TrainingRow) -> JsonRow:
    return {"messages": [*row.prompt, *row.answers[0]]}


def _preference(row: TrainingRow) -> JsonRow:
    completions = [{"rank": rank, "completion": answer} for rank, answer in enumerate(row.answers)]
    return {"context": row.prompt, "completions": completions}


def _prompt(row: TrainingRow) -> JsonRow:
    if [turn["role"] for turn in row.prompt] != ["user"]:
        raise UnfitError("a prompt of more than one user turn: NeMo-RL takes one text")
    return {"input": row.prompt[0]["content"], "output": ""}


def _advice(path: Path, kind: Kind, account: Account) -> list[str]:
    name = {"sft": "openai_format", "preferences": "PreferenceDataset", "prompts": "ResponseDataset"}[kind]
    lines = ["data:", "  train:", f"    dataset_name: {name}", f"    data_path: {path}"]
    if kind == "sft":
        lines.append("    chat_key: messages")
        if account.given_answers:
            lines.append(f"# NeMo-RL learns all answers, those too that {account.given_answers:,} rows only give")
    elif kind == "prompts":
        lines += ["    input_key: input", "    output_key: output"]
    return lines


NEMO_RL = Format("NeMo-RL", (".jsonl",), {"sft": _sft, "preferences": _preference, "prompts": _prompt}, _advice)
