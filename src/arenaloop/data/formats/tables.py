"""Tables as rows, whatever they are kept in: JSON, JSONL, CSV and Parquet, told apart by their content.

The one reader that every verb uses. JSON goes through `jsonl.user_rows`; a CSV may be separated by commas, semicolons,
tabs or bars, begin with a spreadsheet's ``sep=`` line, have blanks around the names of its columns, and be UTF-8 or
UTF-16. Text may be zipped by gzip. Every refusal names the file, and the line where there is one.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from arenaloop.errors import InputError
from arenaloop.jsonl import JsonRow, user_rows
from arenaloop.regular_files import open_regular
from arenaloop.text_files import bare_name, row_error, utf8_file

__all__ = ["CsvForm", "content_kind", "csv_form", "file_error", "line_of", "table_rows"]

_SEPARATORS = ",;\t|"
_TEXTS = frozenset({"output_1", "output_2", "response_a", "response_b", "output"})
"""Columns in which an empty cell of a CSV is a text: an empty output is an output."""


def content_kind(path: Path) -> str:
    """``"parquet"``, ``"jsonl"``, ``"array"`` (JSON) or ``"csv"``, from the first bytes of a plain or gzipped file.

    Raises:
        InputError: no such file, or it is empty or no text.
    """
    with utf8_file(path, "a table") if not _is_parquet(path) else open_regular(path) as file:
        head = file.peek(1 << 12)[: 1 << 12]
    if head.startswith(b"PAR1"):
        return "parquet"
    text = head.lstrip()
    if not text:
        raise InputError(f"{path}: the file is empty")
    return {b"{": "jsonl", b"[": "array"}.get(text[:1], "csv")


def _is_parquet(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return file.read(4) == b"PAR1"
    except (OSError, ValueError):  # said by the reader that comes next
        return False


def table_rows(path: Path) -> Iterator[tuple[int, JsonRow]]:
    """Stream the rows of a table.

    Yields:
        The line that a row starts on (of a CSV, ends on; of Parquet, its number), from 1, and the row: cells by
        column, a missing one as None.

    Raises:
        InputError: the file cannot be read; the line is named where there is one.
    """
    kind = content_kind(path)
    if kind == "parquet":
        return _parquet_rows(path)
    return _csv_rows(path) if kind == "csv" else user_rows(path)


def line_of(path: Path) -> Callable[[int], str]:
    """Where the row of a number (from 0) stands: ``line 7``. The file is read again, so ask for few."""

    def place(index: int) -> str:
        noun = "row" if _is_parquet(path) else "line"
        found = next(itertools.islice(table_rows(path), index, None), None)
        return f"{noun} {found[0] if found else index + 1}"

    return place


def file_error(path: str | Path, error: ValueError) -> InputError:
    """A reader's complaint with its file; one that begins with a place goes on from the file's name."""
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


def _parquet_rows(path: Path) -> Iterator[tuple[int, JsonRow]]:
    import polars as pl

    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"{path}: cannot be read as Parquet ({str(error).splitlines()[0]})") from None
    frame = frame.with_columns(pl.selectors.float().fill_nan(None)).rename(bare_name)
    yield from enumerate(frame.iter_rows(named=True), 1)
