"""What is booked and given back leaves no trace: nothing of it counts as cut off at the next start."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from scripted_battles import Judging, contestant, make_plan

from arenaloop.arena.battles import play
from arenaloop.calls.booking import Booking
from arenaloop.calls.budget import Budget
from arenaloop.calls.gate import Gate, Ticket
from arenaloop.calls.progress import Tally
from arenaloop.errors import EndpointDownError, StorageError
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.models.base import ADMISSION, Reserve, Spent
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.store import Store
from arenaloop.types import Prompt, Request


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


@pytest.mark.parametrize(("likely", "usd"), [(1.0, 0.25), (None, None)])
def test_a_request_that_failed_and_is_never_sent_again_has_cost_what_it_has(
    tmp_path: Path, likely: float | None, usd: float | None
) -> None:
    """The run stops while the call waits for its next try: a refusal is free, and a reply that broke off known."""

    async def play(store: Store) -> None:
        gate = Gate(Tally(budget=Budget()), store)
        for again in (False, True):
            ticket = Ticket(gate)
            await ticket.enter(lambda: Reserve(likely, 2.0))
            ticket.over(Spent(0.25, 0.25))
            if again:
                await ticket.enter(lambda: Reserve(likely, 2.0), Spent(0.25, 0.25))
                ticket.leave(2, None if likely is None else 0.75)
            else:
                ticket.lose()
        await gate.booking.committed()
        gate.booking.close()

    with Store(tmp_path / "arena.db") as store:
        asyncio.run(play(store))
        sent = store.sent
        assert (sent.calls, sent.open, sent.unknown) == (3, 1, int(usd is None))
        assert sent.usd == pytest.approx(usd or 0.0)


class Admitting:
    """An admission that only counts."""

    def __init__(self) -> None:
        self.booked = 0

    async def enter(self, reserve: object = None, lost: object = None) -> None:
        self.booked += 1

    def over(self, lost: object) -> None:
        """Counts nothing."""

    def unsent(self) -> None:
        self.booked -= 1

    def unpriced(self, model: str, what: str) -> None:
        """Counts nothing."""


@pytest.mark.parametrize(("scheme", "sent"), [("https", 0), ("http", 1)])
def test_a_call_that_is_cancelled_counts_only_if_it_had_a_connection(scheme: str, sent: int) -> None:
    """A server that accepts and says nothing: TLS is never agreed on, while plain HTTP has been sent."""

    async def main(port: int, accepted: asyncio.Event) -> int:
        admission = Admitting()
        ADMISSION.set(admission)
        model = OpenAIModel("m", "m", f"{scheme}://127.0.0.1:{port}/v1")
        call = asyncio.create_task(model.complete(Request(({"role": "user", "content": "a"},))))
        await accepted.wait()
        assert admission.booked == 1
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await model.aclose()
        return admission.booked

    async def serve() -> int:
        accepted = asyncio.Event()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)  # the first byte of a request, or of a handshake
            accepted.set()
            await reader.read()
            writer.close()

        async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
            return await main(server.sockets[0].getsockname()[1], accepted)

    assert asyncio.run(serve()) == sent


def test_siblings_that_wait_to_connect_again_were_not_sent(tmp_path: Path) -> None:
    """Nothing listens: one call gives up and stops the run, while the others still wait for their next try."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
    waiting: list[asyncio.Task[object] | None] = []

    async def sleep(seconds: float) -> None:
        task = asyncio.current_task()
        if task not in waiting:
            waiting.append(task)
        while len(waiting) < 6:
            await asyncio.sleep(0)
        if task is not waiting[0]:
            await asyncio.Event().wait()

    judging = Judging()
    judging.judge = PairwiseJudge(OpenAIModel("m", "m", url, retries=2, sleep=sleep))
    plan = make_plan(judging, [contestant("a"), contestant("b")], [Prompt.of(f"q{n}") for n in range(6)])
    with Store(tmp_path / "arena.db") as store:
        store.add_prompts([Prompt.of(f"q{n}") for n in range(6)])
        store.flush()
        with pytest.raises(EndpointDownError, match="cannot be reached"):
            play(plan, store)
        usage = store.usage()
    assert (usage.calls_cut_off, usage.calls) == (0, 12)  # the answers of contestants by script


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
