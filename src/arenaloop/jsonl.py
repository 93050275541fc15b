"""Rows of JSON on disk: streamed in from a JSON array or JSONL, plain or gzip, and written atomically.

Reading looks at the content, never at the file's name: gzip by its magic number, an array by its first character.
What a user's file may have wrong (missing, a folder, binary, another encoding, a broken row) is an `InputError` of one
line that names the file and, where there is one, the line. Reading holds one row, or one block of an array, at a time.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import gzip
import io
import itertools
import json
import math
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from arenaloop.errors import InputError, StorageError
from arenaloop.text_files import bare_name, row_error, utf8_file

__all__ = ["JsonRow", "encode_json", "read_rows", "replacing", "row_error", "user_rows", "write_json", "write_jsonl"]

JsonRow = dict[str, Any]
"""One JSON object, as a row of a file."""

_BLOCK = 1 << 18


def _object(pairs: list[tuple[str, Any]]) -> JsonRow:
    """An object of JSON; ValueError where a key stands in it twice, with different values: which of them is meant?"""
    row = dict(pairs)
    if len(row) != len(pairs):
        first: JsonRow = {}
        for key, value in pairs:
            if first.setdefault(key, value) != value or type(first[key]) is not type(value):
                raise _TwiceError(f"key {key!r} stands twice, with {_short(first[key])} and {_short(value)}")
    return row


class _TwiceError(ValueError):
    """A key stands in one object twice."""


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:39]}…"


_DECODER = json.JSONDecoder(
    parse_constant=lambda word: None if word == "NaN" else float(word), object_pairs_hook=_object
)
_TEXT_COLUMNS = frozenset({"model_a", "instruction", "output", "model"})  # where no row has a list
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def read_rows(path: str | os.PathLike[str]) -> Iterator[tuple[int, JsonRow]]:
    """Stream the objects of a JSON array or of a JSONL file, plain or gzip.

    Args:
        path: the file; blank lines are skipped, and a NaN, which JSON lacks, is null.

    Yields:
        The line that the object starts on (from 1), and the object.

    Raises:
        InputError: the file is missing or unreadable, is no text in UTF-8 or UTF-16, or a row is not a JSON object.
    """
    name = os.fspath(path)
    with utf8_file(name, "JSON or JSONL text") as file:
        rows = _array_rows if file.peek(1).lstrip().startswith(b"[") else _line_rows
        yield from rows(name, file)


def user_rows(path: str | os.PathLike[str]) -> Iterator[tuple[int, JsonRow]]:
    """`read_rows` of a file that people made: keys are bare (`bare_name`), and a table of columns is refused.

    Raises:
        InputError: as `read_rows`, or the first object holds a whole table, column by column.
    """
    rows = read_rows(path)
    head = next(rows, None)
    if head is None:
        return
    _refuse_columns(os.fspath(path), *head)
    bared = any(key != bare_name(key) for key in head[1])
    for line, row in itertools.chain([head], rows):
        if bared:
            try:
                row = _object([(bare_name(key), value) for key, value in row.items()])
            except _TwiceError as error:
                raise row_error(path, line, str(error)) from None
        yield line, row


def _refuse_columns(name: str, line: int, row: JsonRow) -> None:
    """Refuse a whole table as one object: columns or rows by their index, as pandas' to_json writes unless told."""
    cells = list(row.values())
    by_index = len(cells) > 1 and all(
        isinstance(cell, dict) and cell and cell.keys() == cells[0].keys() for cell in cells
    )
    lists = all(isinstance(cell, list) for cell in cells) and not row.keys().isdisjoint(_TEXT_COLUMNS)
    split = {"columns", "data"} <= row.keys() and isinstance(row["columns"], list) and isinstance(row["data"], list)
    if by_index or split or lists:
        what = (
            "a whole table in one JSON object, column by column; save it as rows (pandas: orient='records', lines=True)"
        )
        raise row_error(name, line, what)


def _line_rows(name: str, file: io.BufferedReader) -> Iterator[tuple[int, JsonRow]]:
    """One object per line; blank lines are skipped."""
    decode = _DECODER.decode
    for number, line in enumerate(file, 1):
        try:
            row = decode(line.decode("utf-8"))
        except json.JSONDecodeError as error:
            if not line.strip():
                continue
            raise row_error(name, number, f"not a JSON object ({error.msg}, column {error.colno})") from None
        except UnicodeDecodeError as error:
            raise row_error(name, number, f"not UTF-8 text (byte {error.start + 1} of the line)") from None
        except _TwiceError as error:
            raise row_error(name, number, str(error)) from None
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
            raise row_error(name, number, f"not a JSON object ({error})") from None
        if type(row) is not dict:
            raise row_error(name, number, f"{_kind(row)}, where a JSON object is expected")
        yield number, row


def _array_rows(name: str, file: io.BufferedReader) -> Iterator[tuple[int, JsonRow]]:
    """The elements of one JSON array, decoded one by one from a buffer that grows only for an element beyond it."""
    decode_utf8 = codecs.getincrementaldecoder("utf-8")()
    text, pos, line, counted, size, ended = "", 0, 1, 0, _BLOCK, False

    def more() -> bool:
        nonlocal text, pos, line, counted, ended
        block = file.read(size)
        ended = not block
        line += text.count("\n", counted, pos)
        try:
            text, pos, counted = text[pos:] + decode_utf8.decode(block, ended), 0, 0
        except UnicodeDecodeError:
            raise row_error(name, line + text.count("\n", pos), "not UTF-8 text (here or soon after)") from None
        return not ended

    def here() -> int:
        return line + text.count("\n", counted, pos)

    def skip_to_mark() -> str:
        """Move to the next character that is not white space and return it; empty at the end of the file."""
        nonlocal pos
        while True:
            while pos < len(text) and text[pos] in " \t\r\n":
                pos += 1
            if pos < len(text):
                return text[pos]
            if not more():
                return ""

    skip_to_mark()
    pos += 1  # the opening bracket
    first = True
    while True:
        mark = skip_to_mark()
        if mark == "]":
            break
        if not first:
            if mark == ",":
                pos += 1
                mark = skip_to_mark()
            elif mark:
                raise row_error(name, here(), "a comma is missing in the JSON array")
        if not mark:
            raise row_error(name, here(), "the JSON array is not closed")
        first = False
        while True:
            try:
                row, end = _DECODER.raw_decode(text, pos)
                break
            except json.JSONDecodeError as error:
                # Only what the end of the buffer may have cut can be mended by reading on.
                cut = error.msg.startswith("Unterminated string") or error.pos >= len(text) - 16
                if not (cut and not ended and more()):
                    if cut and ended:
                        what = "the JSON array is cut short inside this element"
                    else:
                        what = f"not a JSON object ({error.msg})"
                    raise row_error(name, here(), what) from None
                size = min(2 * size, 1 << 26)  # a huge element is not scanned again for every block
            except _TwiceError as error:
                raise row_error(name, here(), str(error)) from None
            except (ValueError, RecursionError) as error:
                raise row_error(name, here(), f"not a JSON object ({error})") from None
        line, counted = here(), pos
        if type(row) is not dict:
            raise row_error(name, line, f"{_kind(row)}, where a JSON object is expected")
        pos, size = end, _BLOCK
        yield line, row
    pos += 1
    if skip_to_mark():
        raise row_error(name, here(), "text after the end of the JSON array")


def _kind(value: object) -> str:
    names: dict[type, str] = {list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def encode_json(value: Any, *, indent: int | None = None) -> bytes:
    """UTF-8 JSON of `value`: valid whatever floats and texts it holds.

    NaN and the infinities, which JSON lacks, become null (missing is null); a lone surrogate, which UTF-8 lacks, is
    written as its JSON escape; numpy scalars and arrays as the numbers that they hold.

    Raises:
        TypeError: `value` holds something that JSON cannot.
    """
    encoder = _ENCODER if indent is None else json.JSONEncoder(**_STYLE, indent=indent)
    try:
        text = encoder.encode(value)
    except ValueError:
        text = encoder.encode(_finite(value))
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(json.loads(text), indent=indent).encode("ascii")


def _plain(value: Any) -> Any:
    """What a non-JSON value stands for: a mapping, or something of numpy's that holds plain numbers."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return _finite(value.tolist())
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _finite(value: Any) -> Any:
    """A copy of `value` with null for every float that is not finite."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


_STYLE: dict[str, Any] = {"ensure_ascii": False, "allow_nan": False, "default": _plain}
_ENCODER = json.JSONEncoder(**_STYLE)  # made once: `json.dumps` with settings makes one a call


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file that takes `path`'s place in one step when the block ends, and not at all when it raises.

    The bytes go to a temporary file in the same folder (made if need be), reach the disk, and are renamed over `path`;
    a reader sees the old file or the new one. A link is followed; a pipe or device (``/dev/stdout``) is written to, but
    for a pipe that nobody reads.

    Raises:
        InputError: `path` cannot be a file, or may not be written.
        StorageError: the disk is full or failing.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise InputError(f"{os.fspath(path)}: a folder, where a file is to be written")
    direct = target.exists() and not target.is_file()
    temporary = target if direct else target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # closed below, before the rename
        file = open(temporary, "wb" if direct else "xb", opener=_pipe if direct else None)  # noqa: SIM115
    except OSError as error:
        kind = StorageError if error.errno in _FULL else InputError
        why = "a pipe that nobody reads, or a socket" if error.errno == errno.ENXIO else error.strerror or error
        raise kind(f"{os.fspath(path)}: cannot be written ({why})") from None
    try:
        with file:
            yield file
            file.flush()
            if not direct:
                os.fsync(file.fileno())
        if not direct:
            os.replace(temporary, target)
            _sync_folder(target.parent)
    except BaseException as error:
        if not direct:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _FULL:
            raise StorageError(f"{os.fspath(path)}: cannot be written ({error.strerror})") from error
        raise


def _pipe(path: str, flags: int) -> int:
    """Open a pipe or device for writing, without waiting for a reader."""
    handle = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(handle, True)
    return handle


def _sync_folder(folder: Path) -> None:
    """Make a rename durable, where the system lets a folder be synced."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Replace `path` by one indented JSON document; values and errors as in `encode_json` and `replacing`."""
    with replacing(path) as file:
        file.write(encode_json(value, indent=2) + b"\n")


def write_jsonl(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any] | bytes]) -> int:
    """Replace `path` by one JSON object per line, gzip if its name ends in ``.gz``; returns how many were written.

    Rows are drawn one at a time; bytes are written as the line that they are. Values and errors are as in
    `encode_json` and `replacing`.
    """
    count = 0
    with replacing(path) as file, contextlib.ExitStack() as stack:
        out: Any = file
        if os.fspath(path).endswith(".gz"):
            # no time stamp and no name: equal rows give equal bytes
            out = stack.enter_context(gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0))
        for row in rows:
            out.write((row if isinstance(row, bytes) else encode_json(row)) + b"\n")
            count += 1
    return count
