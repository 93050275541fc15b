"""Lines of a file that arrives in pieces: as by hand, and bounded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.models import bounded


def read(chunks: Iterable[bytes], longest: int = 1 << 30, timeout: float = 60.0) -> list[bytes]:
    """The lines of a body that arrives in these pieces."""
    left = iter(chunks)

    async def readany() -> bytes:
        return next(left, b"")

    response: Any = SimpleNamespace(content=SimpleNamespace(readany=readany))

    async def main() -> list[bytes]:
        return [line async for line in bounded.lines(response, longest, timeout)]

    return asyncio.run(main())


@given(st.lists(st.binary(max_size=20)), st.integers(1, 7))
def test_lines_are_split_as_by_hand(parts: list[bytes], size: int) -> None:
    content = b"\n".join([*parts, b""])
    chunks = [content[start : start + size] for start in range(0, len(content), size)]
    assert read(chunks) == [line for line in content.split(b"\n") if line.strip()]


@given(st.integers(0, 40), st.booleans())
def test_a_file_that_ends_within_a_line_is_cut_off_and_without_a_newline_is_whole(cut: int, newline: bool) -> None:
    row = json.dumps({"custom_id": "x" * 20}).encode()
    assert read([row + b"\n" * newline]) == [row]
    if 0 < cut < len(row):
        with pytest.raises(aiohttp.ClientPayloadError, match="ends within a line"):
            read([row + b"\n", row[:cut]])


def test_sizes_and_pace_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "LONGEST_REPLY", 100)
    assert read([b"x" * 60, b"x" * 30 + b"\n"]) == [b"x" * 90]
    with pytest.raises(aiohttp.ClientPayloadError, match="a line is longer"):
        read([b"x" * 60] * 3)
    with pytest.raises(aiohttp.ClientPayloadError, match="the file is longer"):
        read([b"\n" * 60] * 3, longest=120)
    clock = iter(range(0, 10_000, 1))
    monkeypatch.setattr(bounded, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    assert read([b"a\n"] * 9, timeout=10) == [b"a"] * 9  # a second for each piece
    with pytest.raises(TimeoutError, match="24 bytes in 12 s"):
        read([b"a\n"] * 30, timeout=11)
    assert len(read([b"a" * 20 + b"\n"] * 3000, timeout=11 + 3000 - 6)) == 3000
