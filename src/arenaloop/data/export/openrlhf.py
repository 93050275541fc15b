"""OpenRLHF: message lists under keys that its flags name."""

from __future__ import annotations

from pathlib import Path

from arenaloop.data.export.rows import Account, Format, Kind, TrainingRow, UnfitError
from arenaloop.jsonl import JsonRow

__all__ = ["OPENRLHF"]


def _sft(row: TrainingRow) -> JsonRow:
    return {"messages": [*row.prompt, *row.answers[0]]}


def _preference(row: TrainingRow) -> JsonRow:
    return {"prompt": row.prompt, "chosen": row.answers[0], "rejected": row.answers[1]}


def _prompt(row: TrainingRow) -> JsonRow:
    if any("<image>" in turn["content"] for turn in row.prompt):
        raise UnfitError("the text <image>, which OpenRLHF takes for a picture")
    return {"input": row.prompt, "label": row.lineage.get("prompt_id", ""), "datasource": "arenaloop"}


def _advice(path: Path, kind: Kind, account: Account) -> list[str]:
    if kind == "preferences":
        return [
            f"--data.dataset {path} --data.prompt_key prompt --data.chosen_key chosen --data.rejected_key rejected "
            "--data.apply_chat_template"
        ]
    if kind == "prompts":
        return [
            f"--data.prompt_dataset {path} --data.input_key input --data.label_key label --data.apply_chat_template"
        ]
    lines = [f"--data.dataset {path} --data.input_key messages --data.apply_chat_template"]
    if account.many_answers:
        lines[0] += " --data.multiturn"
        if account.given_answers:
            lines.append(
                f"# with --data.multiturn all answers are learned, those too that {account.given_answers:,} rows only "
                "give; export rows of the two sorts apart"
            )
    return lines


OPENRLHF = Format("OpenRLHF", (".jsonl",), {"sft": _sft, "preferences": _preference, "prompts": _prompt}, _advice)
