"""Exported rows on disk: JSONL, a JSON array or Parquet, streamed, and in a file's place only once all is written."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from arenaloop.data.export.rows import Account, Format, Kind, TrainingRow, UnfitError, unfit_text
from arenaloop.errors import InputError
from arenaloop.jsonl import JsonRow, encode_json, replacing

__all__ = ["Files", "lineage_beside", "write_training"]


def lineage_beside(out: Path) -> Path:
    """Where lineage goes that does not fit the rows: ``rows.jsonl`` has ``rows.lineage.jsonl``."""
    return out.with_name(f"{out.name.removesuffix('.gz').removesuffix('.jsonl')}.lineage.jsonl")


def write_training(
    rows: Iterable[tuple[str, TrainingRow]], form: Format, kind: Kind, out: Path, account: Account
) -> list[Path]:
    """Replace `out` by the rows that the format holds, and the file beside it by their lineage, or by nothing.

    Loaders take the columns of a file from its first megabytes, and stumble over one that comes later. So a column of
    lineage stands in JSONL where every row has it; where one lacks it, it stands in the file beside.

    Returns:
        The files that were written.

    Raises:
        InputError: not one row can be written; the files are as they were.
        StorageError: the disk is full or failing.
    """
    convert = form.convert[kind]
    schema = form.schema(kind) if form.schema is not None else None
    have: Counter[str] = Counter()
    with contextlib.ExitStack() as stack:
        file: Any = stack.enter_context(replacing(out))
        lines = stack.enter_context(tempfile.NamedTemporaryFile(suffix=".jsonl"))
        lineage = stack.enter_context(tempfile.TemporaryFile())
        for place, row in rows:
            reason = unfit_text(row)
            try:
                cells = {} if reason else convert(row)
            except UnfitError as error:
                reason = str(error)
            if reason:
                account.leave_out(reason, place)
                continue
            extra = row.extra()
            have.update(extra.keys())
            lines.write(encode_json(cells) + b"\n")
            lineage.write(encode_json({"row": account.written} | extra) + b"\n")
            account.count(row)
        if not account.written:
            raise InputError(_nothing(account))
        lines.flush()
        if schema is not None:
            _to_parquet(Path(lines.name), schema, file)
            return [out]
        common = {name for name, n in have.items() if n == account.written and kind not in form.beside}
        aside = sorted(set(have) - common)
        if aside and kind not in form.beside:
            account.notes.append(f"not every row has {', '.join(aside)}: they stand in {lineage_beside(out).name}")
        if out.name.endswith(".gz"):
            file = stack.enter_context(gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0))
        beside = stack.enter_context(replacing(lineage_beside(out))) if aside else None
        lines.seek(0)
        lineage.seek(0)
        for line, told in zip(lines, lineage, strict=True):
            columns = {name: cell for name, cell in json.loads(told).items() if name in common}
            file.write(line[:-2] + b"," + encode_json(columns)[1:] + b"\n" if columns else line)
            if beside is not None:
                beside.write(told)
        if beside is None:
            lineage_beside(out).unlink(missing_ok=True)  # of the rows that stood here before
            return [out]
        return [out, lineage_beside(out)]


def _nothing(account: Account) -> str:
    why = "; ".join(f"{n:,}: {reason}" for reason, n in account.left_out.most_common(3))
    return f"nothing to export: {account.read:,} rows read" + (f", left out {why}" if why else "")


def _to_parquet(lines: Path, schema: Mapping[str, Any], file: IO[bytes]) -> None:
    """Rows of JSON as Parquet, some at a time."""
    import polars as pl

    with tempfile.NamedTemporaryFile(suffix=".parquet") as written:
        pl.scan_ndjson(lines, schema=dict(schema)).sink_parquet(written.name)
        written.seek(0)
        shutil.copyfileobj(written, file, 1 << 20)


class Files:
    """Several files of one export, opened as rows come for them, and put in their places together at the end.

    Args:
        stack: closes them; an error within it leaves all files as they were.
        check: refuses a path that is not to be written.
    """

    def __init__(self, stack: contextlib.ExitStack, check: Callable[[Path], None]) -> None:
        self._stack, self._check = stack, check
        self._open: dict[Path, IO[bytes]] = {}
        self._names: dict[tuple[Path, str], Path] = {}

    def named(self, folder: Path, name: str, ending: str) -> Path:
        """The file of a model or judge in a folder: of its name what file systems take, and told apart from others'."""
        key = folder, name
        if key not in self._names:
            plain = re.sub(r"[^\w.+-]+", "_", name, flags=re.ASCII).strip("._")[:80] or "model"
            taken = {path.name.casefold() for path in self._names.values() if path.parent == folder}
            names = (f"{plain}{'' if n == 1 else f'-{n}'}{ending}" for n in range(1, len(taken) + 2))
            self._names[key] = folder / next(name for name in names if name.casefold() not in taken)
        return self._names[key]

    def add(self, path: Path, row: JsonRow, *, array: bool = False) -> None:
        """Write one row, as a line or as an element of an array."""
        file = self._open.get(path)
        if file is None:
            self._check(path)
            file = self._open[path] = self._stack.enter_context(replacing(path))
            file.write(b"[\n" if array else b"")
        elif array:
            file.write(b",\n")
        file.write(encode_json(row) + (b"" if array else b"\n"))

    def close_arrays(self) -> None:
        """End the arrays."""
        for path, file in self._open.items():
            if path.suffix == ".json":
                file.write(b"\n]\n")

    def __iter__(self) -> Iterator[Path]:
        return iter(self._open)
