"""Tables as rows, whatever they are kept in: JSON, JSONL, CSV, Parquet and Arrow, told apart by their content.

The one reader that every verb uses. JSON goes through `jsonl.user_rows`; a CSV may be separated by commas, semicolons,
tabs or bars, begin with a spreadsheet's ``sep=`` line, have blanks around the names of its columns, and be UTF-8 or
UTF-16. Text may be zipped by gzip. A path may stand for several files (`table_files`). Files are streamed: memory holds
a row, a block of an array, or 50,000 rows of Parquet (of Arrow, one shard). Every refusal names the file, and the
line where there is one.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from arenaloop.errors import InputError, first_line
from arenaloop.jsonl import JsonRow, user_rows
from arenaloop.regular_files import open_regular
from arenaloop.table_files import Line, class_names, classes, table_files
from arenaloop.text_files import bare_name, row_error, utf8_file

if TYPE_CHECKING:
    import polars as pl

__all__ = ["CsvForm", "class_words", "content_kind", "csv_form", "file_error", "line_of", "table_rows"]

_SEPARATORS = ",;\t|"
_STREAM = b"\xff\xff\xff\xff"  # how a stream of Arrow begins; `datasets` saves such
_BATCH = 50_000  # rows of Parquet in memory at once
_TEXTS = frozenset({"output_1", "output_2", "response_a", "response_b", "output", "response", "completion"})
"""Columns in which an empty cell of a CSV is a text: an empty output is an output."""


def content_kind(path: Path) -> str:
    """What one file holds, from the first bytes of it, plain or gzipped.

    Returns:
        ``"parquet"``, ``"arrow"`` (a stream, or a file of it), ``"jsonl"``, ``"array"`` (JSON) or ``"csv"``.

    Raises:
        InputError: no such file, or it is empty or no text.
    """
    if (kind := _binary_kind(path)) is not None:
        return kind
    with utf8_file(path, "a table") as file:
        head = file.peek(1 << 12)[: 1 << 12]
    text = head.lstrip()
    if not text:
        raise InputError(f"{path}: the file is empty")
    return {b"{": "jsonl", b"[": "array"}.get(text[:1], "csv")


def _binary_kind(path: Path) -> str | None:
    try:
        with open_regular(path) as file:
            head = file.read(6)
    except (OSError, ValueError):  # said by the reader that comes next
        return None
    if head.startswith(b"PAR1"):
        return "parquet"
    return "arrow" if head == b"ARROW1" or head.startswith(_STREAM) else None


def table_rows(path: Path | Sequence[Path]) -> Iterator[tuple[int, JsonRow]]:
    """Stream the rows of a table.

    Args:
        path: a file, or whatever `table_files` takes; or the files of one table.

    Yields:
        The line that a row starts on (of a CSV, ends on; of Parquet and Arrow, its number), from 1, and the row: cells
        by column, a missing one as None. Where there are several files, the line is a `Line` that names its own.

    Raises:
        InputError: a file cannot be read; the line is named where there is one.
    """
    if not isinstance(path, Path):
        return _rows_of_several(None, path)
    files = table_files(path)
    if len(files) == 1:
        return _file_rows(files[0])
    return _rows_of_several(path if path.is_dir() else None, files)


def _rows_of_several(folder: Path | None, files: Sequence[Path]) -> Iterator[tuple[int, JsonRow]]:
    for file in files:
        name = str(file if folder is None else file.relative_to(folder))
        yield from ((Line(line, name), row) for line, row in _file_rows(file))


def _file_rows(path: Path) -> Iterator[tuple[int, JsonRow]]:
    kind = content_kind(path)
    if kind == "csv":
        return _csv_rows(path)
    return user_rows(path) if kind in ("jsonl", "array") else _frame_rows(path, kind)


def line_of(path: Path) -> Callable[[int], str]:
    """Where the row of a number (from 0) stands: ``line 7``. The file is read again, so ask for few."""

    def place(index: int) -> str:
        noun = "line" if _binary_kind(path) is None else "row"
        found = next(itertools.islice(table_rows(path), index, None), None)
        return f"{noun} {found[0] if found else index + 1}"

    return place


def file_error(path: str | Path, error: ValueError) -> InputError:
    """A reader's complaint with its file, named once; one that begins with a place goes on from the file's name."""
    if isinstance(error, InputError) and str(error).startswith(f"{path}"):
        return error
    placed = re.match(r"(line|row) \d", str(error))
    return InputError(f"{path}{',' if placed else ':'} {error}")


@dataclass(frozen=True, slots=True)
class CsvForm:
    """How a CSV is written.

    Attributes:
        separator: of its cells.
        columns: names as they are used, blanks around them and what one cannot see taken off.
        raw: names as they stand in the file.
        skipped: lines before the header (blank ones, a ``sep=`` line).
        indented: a blank follows every separator and belongs to no cell.
        plain: other readers of CSV take it, too.
    """

    separator: str
    columns: tuple[str, ...]
    raw: tuple[str, ...]
    skipped: int
    indented: bool = False
    plain: bool = True


def csv_form(path: Path) -> CsvForm:
    """Tell the form of a CSV from its first lines.

    Raises:
        InputError: it cannot be read, has no names for its columns, or one of them twice.
    """
    try:
        with utf8_file(path, "a table") as file, io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
            skipped, header = 0, text.readline()
            while header and not header.strip():
                skipped, header = skipped + 1, text.readline()
            blank, told = skipped > 0, re.fullmatch(r'"?sep=(.)"?\s*', header, re.DOTALL)
            if told:
                skipped, header = skipped + 1, text.readline()
    except UnicodeDecodeError:
        raise _no_utf8(path) from None
    separator = told[1] if told else max(_SEPARATORS, key=re.sub(r'"[^"]*"', "", header).count)
    bare = header.rstrip("\r\n")
    indented = bool(re.match(rf"[^{re.escape(separator)}]*{re.escape(separator)} ", bare)) and separator != "\t"
    raw = next(csv.reader([bare], delimiter=separator, skipinitialspace=indented), [])
    columns = [bare_name(name) for name in raw]
    if separator == "|" and len(columns) > 2 and not columns[0] and not columns[-1]:
        raise row_error(path, skipped + 1, "a Markdown table; save it as CSV or JSONL")
    for name, count in Counter(columns).items():
        if count > 1 and name:
            raise row_error(path, skipped + 1, f"{count} columns are called {name!r}")
    return CsvForm(
        separator, tuple(columns), tuple(raw), skipped, indented, not (blank or indented or header.endswith("\r"))
    )


def _csv_rows(path: Path) -> Iterator[tuple[int, JsonRow]]:
    """Rows of a table with a header; empty cells are null. The line is the one a row ends on."""
    form = csv_form(path)
    csv.field_size_limit(1 << 30)
    with utf8_file(path, "a table") as file, io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
        reader = csv.reader(text, delimiter=form.separator, skipinitialspace=form.indented, strict=True)
        try:
            for cells in itertools.islice(reader, form.skipped + 1, None):
                if not cells:
                    continue
                if len(cells) != len(form.columns):
                    what = f"{len(cells)} cells, not as many cells as the header has ({len(form.columns)})"
                    raise row_error(path, reader.line_num, what)
                named = zip(form.columns, cells, strict=True)
                yield reader.line_num, {k: (v if v != "" or k in _TEXTS else None) for k, v in named}
        except UnicodeDecodeError:
            raise _no_utf8(path) from None
        except csv.Error as error:
            raise row_error(path, reader.line_num, f"no CSV ({error})") from None


def _no_utf8(path: Path) -> InputError:
    with utf8_file(path) as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return row_error(path, number, f"not UTF-8 text (byte {error.start + 1} of the line)")
    return InputError(f"{path}: not UTF-8 text")


def _frame_rows(path: Path, kind: str) -> Iterator[tuple[int, JsonRow]]:
    """Rows of Parquet or Arrow, from 1; numbers of classes as their words, where the file tells them."""
    import polars as pl

    said = "Parquet" if kind == "parquet" else "Arrow"
    try:
        number, words = 0, class_words(path, kind)
        for frame in _frames(path, kind):
            plain = frame.with_columns(pl.selectors.float().fill_nan(None)).rename(bare_name)
            for row in plain.iter_rows(named=True):
                number += 1
                yield number, _worded(row, words) if words else row
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise InputError(f"{path}: cannot be read as {said} ({first_line(error)})") from None


def _frames(path: Path, kind: str) -> Iterator[pl.DataFrame]:
    import polars as pl

    if kind == "parquet":
        for at in itertools.count(step=_BATCH):
            frame = pl.scan_parquet(path).slice(at, _BATCH).collect()
            yield frame
            if frame.height < _BATCH:
                return
    with open_regular(path) as file:
        stream = file.read(4) == _STREAM
    yield pl.read_ipc_stream(path) if stream else pl.read_ipc(path)


def class_words(path: Path, kind: str) -> Mapping[str, list[str]]:
    """Of columns of classes the words behind their numbers, by column; of Parquet and Arrow that `datasets` wrote.

    Args:
        path: a file. `kind`: see `content_kind`.
    """
    if kind != "parquet":
        return class_names(path)
    import polars as pl

    try:
        told = pl.read_parquet_metadata(path).get("huggingface")
    except (pl.exceptions.PolarsError, OSError):
        return {}  # whoever reads the rows says what is wrong with them
    try:
        return classes(json.loads(told)["info"]["features"]) if told else {}
    except (ValueError, KeyError, TypeError):
        return {}


def _worded(row: JsonRow, words: Mapping[str, list[str]]) -> JsonRow:
    """A row with the words of its classes; a number without a word (-1 is none) stays."""
    for name, known in words.items():
        if isinstance(value := row.get(name), int) and 0 <= value < len(known):
            row[name] = known[value]
    return row
