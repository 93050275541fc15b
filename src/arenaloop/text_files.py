"""Text files as UTF-8, however they were saved: the one place that opens a user's JSON, JSONL or CSV.

Unpacked is gzip, told by its magic number; a byte-order mark is taken off; UTF-16 (a spreadsheet's "Unicode text", a
shell's redirection) is recoded as it is read. What plainly is no text is refused, in one line that names the file.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import os
import unicodedata
import zlib
from collections.abc import Iterator
from typing import Any, cast

from arenaloop.errors import InputError
from arenaloop.regular_files import open_regular

__all__ = ["bare_name", "row_error", "utf8_file"]

_BLOCK = 1 << 18
_UTF32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def row_error(path: str | os.PathLike[str], line: int, what: str) -> InputError:
    """The error of one bad row, in the one form that all readers use: ``FILE, line N: what``."""
    return InputError(f"{os.fspath(path)}, line {line}: {what}")


def bare_name(name: str) -> str:
    """The name of a column without what one cannot see: blanks around it, marks of byte order, zero widths."""
    if not (name.isascii() and name.isprintable()):
        name = "".join(c for c in name if unicodedata.category(c) not in ("Cf", "Cc"))
    return name.strip()


@contextlib.contextmanager
def utf8_file(path: str | os.PathLike[str], expected: str = "text") -> Iterator[io.BufferedReader]:
    """The bytes of a text file as UTF-8, unzipped, past any byte-order mark.

    Args:
        path: the file.
        expected: what a binary file stands in the place of, for the error.

    Raises:
        InputError: the file is missing, unreadable or damaged, or no text; also while it is read.
    """
    name = os.fspath(path)
    try:
        with contextlib.ExitStack() as stack:
            yield _opened(name, stack, expected)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{name}: a damaged gzip file ({error})") from None
    except IsADirectoryError:
        raise InputError(f"{name}: a folder, where a file is expected") from None
    except FileNotFoundError:
        raise InputError(f"{name}: no such file") from None
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror or error})") from None


def _opened(name: str, stack: contextlib.ExitStack, expected: str) -> io.BufferedReader:
    try:
        file = stack.enter_context(open_regular(name, _BLOCK))
    except ValueError as error:  # a NUL in the name
        raise InputError(f"{name!r}: not a file name ({error})") from None
    if file.peek(2)[:2] == b"\x1f\x8b":
        # a GzipFile splits lines in Python; the buffer around it does so in C
        file = _buffered(stack.enter_context(gzip.GzipFile(fileobj=file)), stack)
    head = file.peek(4096)[:4096]
    if head.startswith(_UTF32):
        raise InputError(f"{name}: UTF-32 text; save it as UTF-8")
    if head.startswith(_UTF16):
        return _buffered(_Recoded(name, file), stack)
    if b"\0" in head:
        if head[:1] == b"\0" or head[1:2] == b"\0":
            raise InputError(f"{name}: UTF-16 text without a byte-order mark; save it as UTF-8")
        raise InputError(f"{name}: a binary file, where {expected} is expected")
    while file.peek(len(codecs.BOM_UTF8)).startswith(codecs.BOM_UTF8):  # more than one where it was saved so twice
        file.read(len(codecs.BOM_UTF8))
    return file


def _buffered(raw: Any, stack: contextlib.ExitStack) -> io.BufferedReader:
    return stack.enter_context(io.BufferedReader(cast(io.RawIOBase, raw), _BLOCK))


class _Recoded(io.RawIOBase):
    """UTF-16 as the UTF-8 of the same text; the mark at its head tells the order of its bytes."""

    def __init__(self, name: str, file: io.BufferedReader) -> None:
        self._name, self._file = name, file
        self._decode = codecs.getincrementaldecoder("utf-16")()
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            block = self._file.read(_BLOCK)
            try:
                self._rest = self._decode.decode(block, not block).encode("utf-8")
            except UnicodeError:
                raise InputError(f"{self._name}: damaged UTF-16 text; save it as UTF-8") from None
            if not block:
                break
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size
