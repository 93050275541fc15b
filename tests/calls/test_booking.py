"""What is booked and given back leaves no trace: nothing of it counts as cut off at the next start."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from arenaloop.calls.booking import Booking
from arenaloop.errors import StorageError
from arenaloop.models.base import Reserve
from arenaloop.store import Store


@pytest.mark.parametrize(("booked", "given_back"), [(5, 5), (5, 3)])
def test_what_was_given_back_does_not_count(tmp_path: Path, booked: int, given_back: int) -> None:
    """Connections that could not be made, and answers that were no call (a local model that refuses a long prompt)."""

    async def play(store: Store) -> None:
        booking = Booking(store)
        for _ in range(booked):
            booking.begin(1, Reserve())
            booking.write()
        await booking.committed()  # the row stands in the file, as it would after a kill
        for _ in range(given_back):
            booking.take_back(1, Reserve())
        booking.close()

    with Store(tmp_path / "arena.db") as store:
        asyncio.run(play(store))
    with Store(tmp_path / "arena.db", readonly=True) as store:
        assert store.usage().calls_cut_off == store.usage().calls == booked - given_back


def test_a_file_that_was_moved_away_is_told_to_who_waits_alone(tmp_path: Path) -> None:
    """Calls that begin while the commit fails are told so; the event loop hears of no error that nobody awaits."""
    unheard: list[dict[str, Any]] = []

    async def play(store: Store) -> list[Any]:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
        booking = Booking(store)
        (tmp_path / "run").rename(tmp_path / "moved")
        booking.begin(3, Reserve())
        waiting = [asyncio.ensure_future(booking.committed()) for _ in range(3)]
        return await asyncio.gather(*waiting, return_exceptions=True)

    (tmp_path / "run").mkdir()
    store = Store(tmp_path / "run" / "arena.db")
    told = asyncio.run(play(store))
    with pytest.raises(StorageError, match="moved"):
        store.close()
    assert [type(error) for error in told] == [StorageError] * 3
    assert unheard == []
