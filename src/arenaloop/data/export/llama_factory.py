"""LLaMA-Factory: its ``sharegpt`` form with OpenAI's names for roles, and the entry of ``dataset_info.json``.

Its converter learns the last turn of a conversation, and with ``mask_history: false`` all of the assistant's; a
preference's answers are one message each, so answers of several turns are left out. A conversation in which user and
assistant do not take turns is skipped there without a word, so it is left out, and counted, here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from arenaloop.data.export.rows import (
    Account,
    Format,
    Kind,
    TrainingRow,
    UnfitError,
    require_alternating,
    require_one_turn,
)
from arenaloop.errors import InputError
from arenaloop.jsonl import JsonRow, encode_json
from arenaloop.regular_files import read_regular

__all__ = ["INFO", "LLAMA_FACTORY", "data_set", "info_with"]

INFO = "dataset_info.json"
_TITLE = "LLaMA-Factory"
_TAGS = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "system_tag": "system",
}


def _sft(row: TrainingRow) -> JsonRow:
    turns = [*row.prompt, *row.answers[0]]
    require_alternating(turns, _TITLE)
    return {"messages": turns}


def _preference(row: TrainingRow) -> JsonRow:
    require_one_turn(row, _TITLE)
    require_alternating([*row.prompt, *row.answers[0]], _TITLE)
    return {"messages": row.prompt, "chosen": row.answers[0][0], "rejected": row.answers[1][0]}


def _prompt(row: TrainingRow) -> JsonRow:
    """A prompt for PPO: the converter wants an answer behind it, which PPO does not read."""
    require_alternating(row.prompt, _TITLE)
    if row.prompt[-1]["role"] != "user":
        raise UnfitError("no user turn at its end")
    return {"messages": [*row.prompt, {"role": "assistant", "content": ""}]}


def data_set(path: Path, kind: Kind) -> tuple[str, dict[str, Any]]:
    """The name of a data set and its entry in ``dataset_info.json``."""
    columns = {"messages": "messages"} | ({"chosen": "chosen", "rejected": "rejected"} if kind == "preferences" else {})
    entry: dict[str, Any] = {"file_name": path.name, "formatting": "sharegpt"}
    if kind == "preferences":
        entry["ranking"] = True
    return path.stem, entry | {"columns": columns, "tags": _TAGS}


def info_with(path: Path, kind: Kind, *, force: bool) -> dict[str, Any]:
    """The ``dataset_info.json`` beside a file, with the file's data set added to those that it had.

    Raises:
        InputError: it cannot be read, or names a data set so already.
    """
    info = path.with_name(INFO)
    name, entry = data_set(path, kind)
    known: Any = {}
    if info.exists():
        try:
            known = json.loads(read_regular(info))
            encode_json(known, indent=2)  # as it is written again
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{info}: no {INFO} that can be added to ({error})") from None
        if not isinstance(known, dict):
            raise InputError(f"{info}: no {INFO} that can be added to (not an object)")
    if known.get(name, entry) != entry and not force:
        raise InputError(f"{info}: a data set {name!r} is there already; --force replaces it, or take another --out")
    return known | {name: entry}


def _advice(path: Path, kind: Kind, account: Account) -> list[str]:
    stage = {"sft": "sft", "preferences": "dpo", "prompts": "ppo"}[kind]
    lines = [f"stage: {stage}", f"dataset_dir: {path.parent}", f"dataset: {path.stem}"]
    if kind == "sft" and account.given_answers:
        lines.append(f"mask_history: true  # {account.given_answers:,} rows hold earlier answers that are not learned")
        if account.many_answers:
            lines[-1] = (
                f"# {account.given_answers:,} rows hold earlier answers that are not to be learned, "
                f"{account.many_answers:,} learn several: mask_history fits either, so export them apart"
            )
    return lines


LLAMA_FACTORY = Format(_TITLE, (".jsonl",), {"sft": _sft, "preferences": _preference, "prompts": _prompt}, _advice)
