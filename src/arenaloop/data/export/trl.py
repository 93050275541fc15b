"""TRL: conversational rows (its data set formats "prompt-completion", "preference" and "prompt-only")."""

from __future__ import annotations

from pathlib import Path

from arenaloop.data.export.rows import Account, Format, Kind, TrainingRow
from arenaloop.jsonl import JsonRow

__all__ = ["TRL"]


def _sft(row: TrainingRow) -> JsonRow:
    """Prompt and completion, since of ``messages`` TRL learns the prompt as well."""
    return {"prompt": row.prompt, "completion": row.answers[0]}


def _preference(row: TrainingRow) -> JsonRow:
    return {"prompt": row.prompt, "chosen": row.answers[0], "rejected": row.answers[1]}


def _prompt(row: TrainingRow) -> JsonRow:
    return {"prompt": row.prompt}


def _advice(path: Path, kind: Kind, account: Account) -> list[str]:
    trainer = {"sft": "SFTTrainer", "preferences": "DPOTrainer or RewardTrainer", "prompts": "GRPOTrainer"}[kind]
    lines = [
        f'train_dataset = datasets.load_dataset("json", data_files={str(path)!r}, split="train")  # {trainer}',
    ]
    if kind == "sft" and account.many_answers:
        lines.append(
            f"# SFTConfig(assistant_only_loss=True): {account.many_answers:,} completions hold follow-up user turns"
        )
    return lines


TRL = Format("TRL", (".jsonl", ".jsonl.gz"), {"sft": _sft, "preferences": _preference, "prompts": _prompt}, _advice)
