"""What battles are sliced by where their prompts tell it: a column of ``question.jsonl``, joined by the prompt's id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path

from arenaloop.data.formats.benchmark_folder import question_file
from arenaloop.data.formats.judgments import By
from arenaloop.data.formats.where import ABSENT, value_at
from arenaloop.errors import InputError
from arenaloop.tables import table_rows

__all__ = ["joined_by", "prompt_tags", "refuse_unmatched"]


def joined_by(path: Path | list[Path], by: str | None, prompts: Path | None) -> tuple[By, Path | None]:
    """What the battles of a file are sliced by, and the prompts that tell it, if they do.

    Where the rows have no such column it is looked for in the questions that stand beside judgments.

    Args:
        path: the battles, or their files.
        by: a column of theirs, or of their prompts.
        prompts: a file of them; None where none was named.

    Raises:
        InputError: the prompts cannot be read, or have no such column.
    """
    if by is None:
        return None, None
    if prompts is None:
        if any(value_at(row, by) is not ABSENT for _, row in islice(table_rows(path), 100)) or by == "judge":
            return by, None
        prompts = question_file(path if isinstance(path, Path) else path[0])
    return (by, None) if prompts is None else (prompt_tags(prompts, by), prompts)


def prompt_tags(path: Path, by: str) -> dict[str, str]:
    """The value of a column, or of a tag, by each prompt's ids: its own in the file, and ours.

    Raises:
        InputError: the file cannot be read, or no prompt has a value there.
    """
    from arenaloop.data.prompts import SOURCE_IDS, read_prompt  # slow to load, and few boards are sliced by prompts

    found: dict[str, str] = {}
    columns: dict[str, None] = {}
    for _, row in table_rows(path):
        tags = row.get("tags")
        own = tags if isinstance(tags, Mapping) else {}
        columns.update(dict.fromkeys([*row, *own]))
        value = row.get(by, own.get(by))
        if not isinstance(value, str | int | float) or not str(value).strip():
            continue
        ids = [str(row[name]) for name in SOURCE_IDS if isinstance(row.get(name), str | int)]
        with suppress(ValueError):  # else it is joined by its own id alone
            ids.append(read_prompt(row).id)
        found.update(dict.fromkeys(ids, str(value)))
    if not found:
        raise InputError(f"{path}: no prompt has a column {by} to slice by (found: {', '.join(columns) or 'no rows'})")
    return found


def refuse_unmatched(by: By, known: Iterable[object], prompts: Path | None, path: Path) -> None:
    """Refuse prompts of which none is a battle's.

    Args:
        by, prompts: as of `joined_by`.
        known: the tags that battles got.
        path: the battles.
    """
    if isinstance(by, Mapping) and not any(True for _ in known):
        raise InputError(
            f"{prompts}: none of its prompts is in {path}: they are joined by question_id, uid or prompt_id"
        )
