"""The pages of a SQLite file, read without SQLite: what a damaged file still holds, row by row.

Format: "Database File Format" of SQLite's documentation, sections 1.3 to 1.6 (pages, b-trees, cells, records) and 4
(the write-ahead log). Nothing is trusted: a page, cell or record that contradicts itself is counted and passed over.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["MAGIC", "Pages", "Values"]

MAGIC = b"SQLite format 3\x00"
Values = list[Any]
"""A record's values: None, int, float, str or bytes."""

_INDEX, _TABLE, _INDEX_LEAF, _TABLE_LEAF = 0x02, 0x05, 0x0A, 0x0D
_LOG_MAGIC = (0x377F0682, 0x377F0683)
_SIZES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 7: 8}  # bytes of a number by its serial type
_DEFAULT = 4096


class _BrokenError(ValueError):
    """A page or cell contradicts itself."""


class Pages:
    """A file's pages, those of its log in place of the file's own.

    Args:
        path: the file, which may be missing; `log`: its write-ahead log, likewise.

    Attributes:
        header: the first hundred bytes, or fewer.
        count: pages of the file and its log.
        broken: pages and cells that could not be read.
        seen: pages that were read as part of a tree.
    """

    def __init__(self, path: Path, log: Path) -> None:
        self._file = path.open("rb") if path.is_file() else None
        head = self._file.read(100) if self._file else b""
        self._logged: dict[int, int] = {}
        self._log = log.open("rb") if log.is_file() else None
        size = self._read_log() or _size(head)
        self.size = size
        self.count = max([path.stat().st_size // size if self._file else 0, *self._logged])
        self.header = self._page(1)[:100] if self.count else b""
        self._usable = size - (self.header[20] if self.header.startswith(MAGIC) else 0)
        self.broken = 0
        self.seen: set[int] = set()

    def close(self) -> None:
        """Close the files."""
        for file in (self._file, self._log):
            if file is not None:
                file.close()

    # ------------------------------------------------------------------ trees

    def tree(self, root: int) -> Iterator[tuple[int, Values]]:
        """(rowid, values) of all rows below a page, those of unreadable branches left out; of an index rowid is 0."""
        todo = [root]
        while todo:
            number = todo.pop()
            if number in self.seen:
                self.broken += 1
                continue
            try:
                children, rows = self._parsed(number)
            except _BrokenError:
                self.broken += 1
                continue
            self.seen.add(number)
            yield from rows
            todo += reversed(children)

    def rest(self) -> Iterator[list[tuple[int, Values]]]:
        """The rows of every page that looks like one of a tree and is part of none that was read, page by page."""
        for number in range(2, self.count + 1):
            if number in self.seen:
                continue
            page = self._page(number)
            if not page or page[0] not in (_TABLE_LEAF, _INDEX_LEAF, _INDEX):
                continue
            before = self.broken
            try:
                _, rows = self._parsed(number)
            except _BrokenError:
                rows = []
            self.broken = before  # it may have been no page of rows at all
            yield rows

    def _parsed(self, number: int) -> tuple[list[int], list[tuple[int, Values]]]:
        """Children and rows of one page."""
        page = self._page(number)
        start = 100 if number == 1 else 0
        if len(page) < self.size or (kind := page[start]) not in (_INDEX, _TABLE, _INDEX_LEAF, _TABLE_LEAF):
            raise _BrokenError
        inner = kind in (_INDEX, _TABLE)
        cells = int.from_bytes(page[start + 3 : start + 5], "big")
        first = start + (12 if inner else 8)
        if first + 2 * cells > self.size:
            raise _BrokenError
        children: list[int] = []
        rows: list[tuple[int, Values]] = []
        for at in struct.unpack_from(f">{cells}H", page, first):
            try:
                if inner:
                    children.append(int.from_bytes(page[at : at + 4], "big"))
                    at += 4
                if kind != _TABLE:
                    rows.append(self._cell(page, at, table=kind == _TABLE_LEAF))
            except (_BrokenError, IndexError):
                self.broken += 1
        if inner:
            children.append(int.from_bytes(page[start + 8 : start + 12], "big"))
        return children, rows

    def _cell(self, page: bytes, at: int, *, table: bool) -> tuple[int, Values]:
        length, at = _varint(page, at)
        rowid = 0
        if table:
            rowid, at = _varint(page, at)
        usable = self._usable
        most = usable - 35 if table else (usable - 12) * 64 // 255 - 23
        local = length
        if length > most:
            least = (usable - 12) * 32 // 255 - 23
            local = least + (length - least) % (usable - 4)
            local = local if local <= most else least
        if at + local > len(page) or length > self.count * self.size:
            raise _BrokenError
        payload = page[at : at + local]
        if local < length:
            payload += self._overflow(int.from_bytes(page[at + local : at + local + 4], "big"), length - local)
        return rowid, _record(payload)

    def _overflow(self, number: int, length: int) -> bytes:
        parts = []
        while length > 0:
            page = self._page(number)
            if len(page) < self.size:
                raise _BrokenError
            parts.append(page[4 : min(self._usable, 4 + length)])
            length -= len(parts[-1])
            number = int.from_bytes(page[:4], "big")
        return b"".join(parts)

    # ------------------------------------------------------------------ files

    def _page(self, number: int) -> bytes:
        if number < 1:
            return b""
        file, at = (
            (self._log, self._logged[number]) if number in self._logged else (self._file, (number - 1) * self.size)
        )
        if file is None:
            return b""
        file.seek(at)
        return file.read(self.size)

    def _read_log(self) -> int:
        """Where the log holds the last version of each page; gives the page size, 0 where there is no log.

        Frames up to the last commit, whose salts are those of the log's head: others are left from before. Their
        checksums are not looked at, since a row that is damaged shows as such, and SQLite would stop at the first.
        """
        head = self._log.read(32) if self._log else b""
        if self._log is None or len(head) < 32 or int.from_bytes(head[:4], "big") not in _LOG_MAGIC:
            return 0
        size, salts, waiting = int.from_bytes(head[8:12], "big"), head[16:24], {}
        if size not in (1 << n for n in range(9, 17)):
            return 0
        at = 32
        while len(frame := self._log.read(24)) == 24:
            if frame[8:16] == salts:
                waiting[int.from_bytes(frame[:4], "big")] = at + 24
                if frame[4:8] != b"\0\0\0\0":  # a commit
                    self._logged.update(waiting)
                    waiting.clear()
            at += 24 + size
            self._log.seek(at)
        return size


def _size(head: bytes) -> int:
    size = int.from_bytes(head[16:18], "big") if head.startswith(MAGIC) else 0
    size = 65536 if size == 1 else size
    return size if size in (1 << n for n in range(9, 17)) else _DEFAULT


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, and where it ends."""
    value = 0
    for n in range(9):
        byte = data[at + n]
        if n == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + n + 1
    raise _BrokenError


def _record(payload: bytes) -> Values:
    size, at = _varint(payload, 0)
    if not at <= size <= len(payload):
        raise _BrokenError
    values: Values = []
    place = size
    while at < size:
        kind, at = _varint(payload, at)
        length = (kind - 12) // 2 if kind >= 12 else _SIZES.get(kind, 0)
        data = payload[place : place + length]
        if len(data) < length or kind in (10, 11):
            raise _BrokenError
        place += length
        values.append(_value(kind, data))
    if place != len(payload):
        raise _BrokenError
    return values


def _value(kind: int, data: bytes) -> Any:
    if kind == 0:
        return None
    if kind == 7:
        return struct.unpack(">d", data)[0]
    if kind < 10:
        return kind - 8 if kind >= 8 else int.from_bytes(data, "big", signed=True)
    if kind % 2 == 0:
        return data
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise _BrokenError from None
