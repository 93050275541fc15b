"""Battles of a run as Parquet in parts of a bounded number of rows, without texts: what readers of tables stream.

Beside the prompt's id stands what its own file said of it (`described`), which no later tool could join otherwise.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from arenaloop.data.export.described import Described
from arenaloop.data.export.rows import Account
from arenaloop.data.result_files import check_whole
from arenaloop.data.run_battles import arena_of
from arenaloop.errors import InputError, StorageError
from arenaloop.jsonl import JsonRow, read_rows, row_error
from arenaloop.store import Store

__all__ = ["ROWS", "write_parts"]

ROWS = 1_000_000
"""Rows of one part at most."""
_TEXTS = ("prompt_id", "model_a", "model_b", "winner", "judge", "own_failure")


def write_parts(directory: Path, out: Path, account: Account, *, rows: int = ROWS) -> list[Path]:
    """Write ``battles.jsonl`` of a run, and what is undecided, as ``part-00000.parquet`` … in `out`.

    Undecided battles have no winner. Nothing stands in `out` before all of it is written.

    Args:
        directory: of the run.
        out: a folder; one that is there is replaced.
        account: counts.
        rows: of one part.

    Raises:
        InputError: there are no battles, or a row is none.
        StorageError: the disk is full or failing.
    """
    import polars as pl

    arena = arena_of(directory)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder,
            nullcontext() if arena is None else Store(arena, readonly=True) as store,
        ):
            described = Described(() if store is None else store.prompts())
            schema: dict[str, Any] = dict.fromkeys(_TEXTS, pl.String)
            schema |= {"score_a": pl.Float64, "score_b": pl.Float64, "flipped": pl.Boolean}
            schema |= {name: pl.Int64 if whole else pl.String for name, whole in described.columns.items()}
            there = Path(folder) / out.name
            there.mkdir()
            names: list[str] = []
            block: list[Mapping[str, Any]] = []

            def write() -> None:
                names.append(f"part-{len(names):05d}.parquet")
                pl.DataFrame(block, schema=schema).write_parquet(there / names[-1])
                block.clear()

            for row in _rows(directory, account, described, store):
                block.append({name: row.get(name) for name in schema})
                if len(block) == rows:
                    write()
            if block:
                write()
            if not names:
                raise InputError(f"{directory}: no battle to export")
            check_whole(directory)
            if out.is_dir():
                shutil.rmtree(out)
            there.rename(out)
    except OSError as error:
        raise StorageError(f"{out}: cannot be written ({error.strerror or error})") from None
    return [out / name for name in names]


def _rows(directory: Path, account: Account, described: Described, store: Store | None) -> Iterator[JsonRow]:
    path, undecided = directory / "battles.jsonl", directory / "undecided.jsonl"
    if not path.is_file():
        raise InputError(f"{directory}: no battles.jsonl here")
    prompt_id, cells = None, dict[str, Any]()  # of the last row: they come prompt by prompt
    for file in (path, undecided) if undecided.is_file() else (path,):
        for line, row in read_rows(file):
            account.read += 1
            missing = [name for name in ("prompt_id", "model_a", "model_b") if name not in row]
            if missing:
                raise row_error(file, line, f"no battle of a run ({missing[0]} is missing)")
            account.written += 1
            if store is not None and described.columns and row["prompt_id"] != prompt_id:
                prompt = store.prompt(prompt_id := row["prompt_id"])
                cells = {} if prompt is None else described.cells(prompt)
            yield row | cells | ({"winner": None} if file == undecided else {})
