"""Judgements to learn to judge from (EFT, arXiv 2401.10020, section 2.1): files of them, and how they become rows.

A row is a conversation that ends with a judgement, as it stands; or a conversation that ends with an answer, and a
``judgement`` of it, which a rubric's template is put around when they are learned from.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from arenaloop.data.formats.training_columns import refuse_unread
from arenaloop.data.formats.training_rows import read_conversation
from arenaloop.errors import InputError
from arenaloop.jsonl import JsonRow, row_error
from arenaloop.judges.filling import Material
from arenaloop.judges.templates import JudgeTemplate, fill
from arenaloop.tables import table_rows
from arenaloop.types import Prompt, Response

__all__ = ["filled", "read_judgements"]


def read_judgements(path: str | os.PathLike[str]) -> list[JsonRow]:
    """Rows of a file of judgements, checked and else as they stand.

    Raises:
        InputError: the file cannot be read or holds no row, or a row is no conversation that ends with an assistant's
            turn, or its judgement is no text, or it has a score alone; file and line are named.
    """
    rows: list[JsonRow] = []
    for line, row in table_rows(Path(path)):
        conversation = {key: value for key, value in row.items() if key != "judgement"}
        try:
            refuse_unread(conversation, read_conversation(conversation).form)
        except ValueError as error:
            raise row_error(path, line, str(error)) from None
        if "judgement" in row and not (isinstance(row["judgement"], str) and row["judgement"].strip()):
            raise row_error(path, line, "judgement is no text")
        if "judgement" not in row and row.get("score") is not None:
            raise row_error(path, line, "a score without a judgement: there are no words to learn to judge from")
        rows.append(dict(row))
    if not rows:
        raise InputError(f"{os.fspath(path)}: no judgements in it")
    return rows


def filled(template: JudgeTemplate, rows: Sequence[JsonRow], secret: str) -> list[JsonRow]:
    """Rows as conversations that end with a judgement.

    Args:
        template: a rubric, of layout ``answer``.
        rows: of `read_judgements`.
        secret: what delimiters are made of.
    """
    out: list[JsonRow] = []
    for row in rows:
        if "judgement" not in row:
            out.append(row)
            continue
        read = read_conversation({key: value for key, value in row.items() if key != "judgement"})
        *asked, said = [*read.prompt, *read.completion]
        prompt = Prompt(tuple(dict(turn) for turn in asked))
        text = fill(template, Material.of("answer", prompt, Response(prompt.id, "", (said["content"],))), secret=secret)
        turns = [{"role": "user", "content": text}, {"role": "assistant", "content": row["judgement"]}]
        out.append({"messages": turns})
    return out
