"""The results of one batch, each request's once: downloaded from a server, or from a file that somebody put there.

What is in a result file has been paid for. A connection that ends early may look like the end of the file, so one with
fewer results than there should be is downloaded again: at least those that the server counts must be there, and what it
does not count only if a second download brings them. A file that somebody put there must hold them all: it may have
been copied by half.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from arenaloop.calls.batch.requests import Line, server_of
from arenaloop.calls.judging import AskedJudge, JudgeUnit
from arenaloop.errors import StoppedError
from arenaloop.models.batch_lines import Batch, Result, read_result
from arenaloop.models.billing import Loss, token_limit
from arenaloop.models.charge import Charge
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.regular_files import open_regular
from arenaloop.types import Completion, Message, Sampling, Status

__all__ = ["charged", "file_lines", "results", "usd_most"]

_MOST_STRANGE = 1000  # lines besides a batch's results after which its file is not read on


async def results(
    source: Batch | Path,
    download: Callable[[], list[AsyncGenerator[bytes, None]]],
    wanted: Collection[str],
    done: set[str],
    model: OpenAIModel,
    asked: Callable[[str], Sequence[Message] | None],
    *,
    sleep: Callable[[float], Awaitable[object]],
    longest_pause: float,
    say: Callable[[str], object],
) -> AsyncGenerator[Result, None]:
    """The results of the requests that are wanted and not done, in whatever order lines come and however often.

    Args:
        source: the batch that has ended, or the file.
        download: begins to read its result files anew.
        wanted: keys of its requests. `done`: those whose results are known; each that is found is added.
        model: who answered.
        asked: the messages of a request by its key.
        sleep, longest_pause: how, and how long at most, to wait between downloads.
        say: is told how many lines belong to no request.

    Raises:
        StoppedError: there are fewer results than there must be, or most lines belong to no request.
    """
    needed = expected = len(wanted)
    if isinstance(source, Batch):
        needed = min(source.completed, expected)
        expected = expected if source.status == "completed" else min(needed + source.failed, expected)
    told_by = f"batch {source.id}" if isinstance(source, Batch) else str(source)
    before = -1
    for attempt in range(model.retries + 1 if isinstance(source, Batch) else 1):
        if attempt:
            await sleep(min(2.0**attempt, longest_pause))
        foreign = unreadable = 0
        for lines in download():
            async with aclosing(lines):  # an unfinished download is given up where it is left
                async for line in lines:
                    try:
                        result = read_result(line, model.reader, asked)
                    except ValueError:
                        unreadable += 1
                        continue
                    if (key := result.custom_id) not in wanted:
                        foreign += 1
                    elif key not in done:
                        done.add(key)
                        yield result
                    if foreign + unreadable > len(wanted) + _MOST_STRANGE:
                        raise StoppedError(f"{told_by}: most lines belong to no request; is it another file?")
        came = len(done) + unreadable  # a line that nobody can read is the result of some request
        if came >= expected or (came >= needed and came == before):
            break
        before = came
    else:
        if came < needed:
            what = f"the server counts {needed:,} results and gives"
            what = what if isinstance(source, Batch) else f"of {needed:,} results it holds"
            raise StoppedError(
                f"{told_by}: {what} {len(done):,}; run again to "
                "collect the others, or --forget-batches gives them up, and pays for them again"
            )
    if foreign + unreadable:
        say(f"{foreign + unreadable:,} lines of the results belong to no request")


async def file_lines(path: Path) -> AsyncGenerator[bytes, None]:
    """Lines of a result file that somebody put there. Raises StoppedError where the file is cut off."""
    with open_regular(path) as file:
        for line in file:
            if not line.endswith(b"\n"):
                try:
                    read_result(line)
                except ValueError:
                    raise StoppedError(f"{path}: the last line is cut off; run again when it is whole") from None
            if line.strip():
                yield line


# ---------------------------------------------------------------------- what they cost


def usd_most(asked: AskedJudge, size: int) -> float:
    """What a request of `size` bytes may cost in a batch, by all that is learnt of the model.

    Before the first results a token is taken for each byte: what that leaves over buys the next batch.
    """
    model = server_of(asked)
    limit = token_limit(model, getattr(asked.judge, "sampling", Sampling()))
    return 0.0 if model.price is None else model.billing.reserve(size, limit).most * model.price.batch


def charged(unit: JudgeUnit, line: Line, completion: Completion, charge: Charge | None) -> Completion:
    """A result with what it has cost: estimated where the server tells no tokens, or none can be read.

    What a server tells is learnt, for the next file.
    """
    model = server_of(unit.asked)
    if model.price is None or not completion.calls or (completion.usd == 0.0 and completion.status is Status.ERROR):
        return completion
    request = unit.request(line.sample)
    body = model.body(request)
    if completion.usd is None and completion.status is Status.ERROR:
        lost = model.billing.lost(body, token_limit(model, request.sampling), Loss.UNREAD) * model.price.batch
        return replace(completion, usd=lost, usd_estimated=lost)
    limit = token_limit(model, request.sampling)
    return model.billing.told(body, (completion,), model.price.batch, charge=charge, limit=limit)
