"""axolotl: ``chat_template`` messages for SFT, with a mark on the turns that are learned, and its DPO form.

The DPO strategy takes one answer turn, and finds it by its text in the rendered turns of a dummy message: an answer
that is empty, or stands in the dummy or in the name of a role, is found too early, and what is learned would be the
template. Such rows are left out.
"""

from __future__ import annotations

from pathlib import Path

from arenaloop.data.export.rows import Account, Format, Kind, TrainingRow, UnfitError, require_one_turn
from arenaloop.jsonl import JsonRow
from arenaloop.normal_form import is_blank

__all__ = ["AXOLOTL", "stands_before"]

_TITLE = "axolotl"
_BEFORE = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n[[dummy_message]]<|im_end|>\n"
    "<|im_start|>assistant\n",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n[[dummy_message]]<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "<s>[INST] [[dummy_message]] [/INST] ",
    "<bos><start_of_turn>user\n[[dummy_message]]<end_of_turn>\n<start_of_turn>model\n",
)
"""What common templates put before the answer."""
_ROLES = frozenset({"system", "user", "assistant", "tool"})


def _sft(row: TrainingRow) -> JsonRow:
    turns = [turn | {"train": False} for turn in row.prompt]
    turns += [turn | {"train": turn["role"] == "assistant"} for turn in row.answers[0]]
    return {"messages": turns}


def _preference(row: TrainingRow) -> JsonRow:
    require_one_turn(row, _TITLE)
    if any(turn["role"] not in _ROLES for turn in row.turns()):
        raise UnfitError(f"a role that {_TITLE} has no name for")
    texts = [answer[0]["content"] for answer in row.answers]
    if any(map(is_blank, texts)):
        raise UnfitError(f"an empty answer, which {_TITLE} cannot find in its template")
    if any(map(stands_before, texts)):
        raise UnfitError(f"an answer that {_TITLE} would find before its place, in a role's name or its dummy message")
    return {"messages": row.prompt, "chosen": row.answers[0][0], "rejected": row.answers[1][0]}


def stands_before(text: str) -> bool:
    """Whether an answer stands in what common templates put before it, too."""
    return any(text in before for before in _BEFORE)


def _advice(path: Path, kind: Kind, account: Account) -> list[str]:
    lines = ["datasets:", f"  - path: {path}", "    ds_type: json", "    split: train"]
    if kind == "preferences":
        return [
            "rl: dpo",
            *lines,
            "    type: chat_template.default",
            "    field_messages: messages",
            "    field_chosen: chosen",
            "    field_rejected: rejected",
        ]
    return [
        *lines,
        "    type: chat_template",
        "    field_messages: messages",
        "    message_field_training: train",
        "    roles_to_train: []  # what is learned is marked turn by turn",
    ]


AXOLOTL = Format(
    _TITLE,
    (".jsonl",),
    {"sft": _sft, "preferences": _preference},
    _advice,
    beside=frozenset({"preferences"}),
)
