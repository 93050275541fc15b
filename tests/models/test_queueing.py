"""Places that are taken, given back, queued for, cancelled and resized in any order."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from arenaloop.models.queueing import Deadlines, Slots


@given(st.lists(st.sampled_from(["ask", "end", "cancel", "lower", "raise"]), max_size=60))
def test_places_are_never_lost_nor_given_twice(steps):
    async def main():
        slots, waiting, held = Slots(2), [], []

        async def hold(end):
            await slots.wait()
            try:
                await end.wait()
                await slots.renew()
            finally:
                slots.give_back()

        for step in steps:
            if step == "ask":
                end = asyncio.Event()
                waiting.append((end, asyncio.create_task(hold(end))))
            elif step == "end" and waiting:
                waiting[0][0].set()
                held.append(waiting.pop(0)[1])
            elif step == "cancel" and waiting:
                waiting[len(waiting) // 2][1].cancel()
                held.append(waiting.pop(len(waiting) // 2)[1])
            elif step == "lower":
                slots.resize(max(1, slots.limit - 1))
            elif step == "raise":
                slots.resize(slots.limit + 1)
            before = slots.taken
            await asyncio.sleep(0)
            assert 0 <= slots.taken <= max(slots.limit, before)
        for end, task in waiting:
            end.set()
            held.append(task)
        await asyncio.gather(*held, return_exceptions=True)
        assert slots.taken == 0

    asyncio.run(main())


def test_first_come_first_served_and_cancelled_all_at_once():
    async def main():
        slots, order = Slots(1), []
        assert slots.take()
        assert not slots.take()

        async def call(number):
            await slots.wait()
            order.append(number)
            slots.give_back()

        tasks = [asyncio.create_task(call(number)) for number in range(6)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        slots.give_back()
        assert not slots.take()  # it is promised to whoever waits longest
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order == [0, 2, 3, 4, 5]
        assert slots.taken == 0

    asyncio.run(main())


def test_deadlines_fall_due_in_order_with_one_timer():
    async def main():
        loop = asyncio.get_running_loop()
        deadlines, ends = Deadlines(loop, 0.01), []

        async def request(number, start):
            task = deadlines.enter(start)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ends.append((number, deadlines.leave(task), task.cancelling()))

        now = loop.time()
        tasks = [asyncio.create_task(request(number, now + number / 1000)) for number in range(5)]
        await asyncio.sleep(0)
        timer = deadlines._timer
        assert timer is not None
        assert timer.when() == now + 0.01
        await asyncio.gather(*tasks)
        assert ends == [(number, True, 0) for number in range(5)]
        assert deadlines._timer is None
        again = asyncio.create_task(request(5, loop.time()))
        await asyncio.sleep(0)
        again.cancel()
        await again
        assert ends[-1] == (5, False, 1)  # cancelled by somebody else
        deadlines.close()
        assert deadlines._timer is None

    asyncio.run(main())
