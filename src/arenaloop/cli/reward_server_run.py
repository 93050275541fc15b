"""The reward server from options to its end: what is refused, what is asked once before it listens, what it says."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from arenaloop.arena.attribution import blames_server
from arenaloop.calls.budget import Budget, require_prices
from arenaloop.calls.notices import keep_notices
from arenaloop.cli.directory import open_directory
from arenaloop.cli.money import known_prices, priced
from arenaloop.cli.progress import say_notices
from arenaloop.config import RunSettings
from arenaloop.errors import BudgetSpentError, ConfigError, EndpointDownError, InputError
from arenaloop.judges.unread import UNREAD, Unread, why_unread
from arenaloop.models.advice import advice
from arenaloop.models.secrets import read_key
from arenaloop.serving.app import PATH, make_app
from arenaloop.serving.asking import Desk, DownError, OverError
from arenaloop.serving.listening import listen
from arenaloop.serving.rewarder import HELLO, Rewarder
from arenaloop.serving.service import RewardService
from arenaloop.serving.wire import Fallback, KnownPrompts
from arenaloop.specs import load_prompts
from arenaloop.specs.rewarders import rewarder
from arenaloop.store import Store
from arenaloop.terminal import counted, say
from arenaloop.types import Prompt

__all__ = ["execute"]

HEARTBEAT = 15.0
"""Seconds between lines that tell how it goes, where something was answered meanwhile."""
_LOOPBACK = ("127.", "::1", "localhost")


def execute(
    spec: str,
    out: Path,
    prompts: str | None,
    *,
    host: str,
    port: int,
    key_env: str | None,
    fallback: str,
    seconds: float,
    most_characters: int,
    settings: RunSettings,
    prices: Path | None,
) -> None:
    """Serve until interrupted.

    Raises:
        ConfigError, InputError: before anything is asked.
        StoppedError: the judge does not answer its first question, or the arena file cannot be written.
    """
    messages = Console(stderr=True)
    key, stands = read_key(key_env), Fallback(_number(fallback))
    known = KnownPrompts(_prompts(prompts))
    made = rewarder(spec, lambda one: priced(one, prices).with_concurrency(settings.concurrency))
    model = getattr(made.judge, "model", None)
    budget = Budget(settings.budget_usd, settings.budget_calls, prices=known_prices(None, prices))
    require_prices(budget, [] if model is None else [model])
    if key is None and not host.startswith(_LOOPBACK):
        say(messages, f"note: {host} may be reached from elsewhere, and no key is asked for (--key-env)", fold=True)

    async def main(store: Store) -> None:
        try:
            await serve(store)
        finally:
            await made.judge.aclose()
            keep_notices(store, [made.judge])
            store.flush()

    async def serve(store: Store) -> None:
        desk = Desk(
            store,
            made.judge,
            made.reask,
            made.several,
            budget,
            lambda line: say(messages, f"warning: {line}", fold=True),
        )
        service = RewardService(made, desk, store, stands, seconds)
        app = make_app(service, known, most_characters=most_characters, key=key)
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(_asking(desk))
            await _try(made, desk)
            runner, root = await listen(app, host, port)
            print(f"{root}{PATH}", flush=True)  # alone on stdout, for scripts that read it from a pipe
            whom = "any prompt" if known.prompts is None else counted(len(known.prompts), "prompt")
            say(messages, f"{out}: rewards by {made.judge.name} for {whom}; Ctrl-C ends", fold=True)
            beating = tasks.create_task(_beat(service, desk, messages))
            try:
                await asyncio.wait([asking])
            finally:
                beating.cancel()
                await runner.cleanup()
                say(messages, _told(service, desk), fold=True)

    with open_directory(out) as store, _one_error(), contextlib.suppress(KeyboardInterrupt):
        try:
            asyncio.run(main(store))
        finally:
            say_notices(messages, store)


async def _asking(desk: Desk) -> None:
    await desk.work()
    await asyncio.Event().wait()  # what is stored is answered on


@contextlib.contextmanager
def _one_error() -> Iterator[None]:
    """The error itself in the place of a group that holds it alone."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


def _number(fallback: str) -> float | None:
    if fallback == "mean":
        return None
    try:
        number = float(fallback)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"--fallback {fallback}: mean, or a finite number")
    return number


def _prompts(file: str | None) -> Sequence[Prompt] | None:
    if file is None:
        return None
    loaded = load_prompts(file, 0)
    if not loaded.prompts:
        raise InputError(f"{file}: no prompts in it")
    return loaded.prompts


async def _try(made: Rewarder, desk: Desk) -> None:
    """Ask once, so that a wrong key or URL is known before a training begins.

    Raises:
        EndpointDownError: the judge's server does not answer, or not so.
        BudgetSpentError: the budget does not reach for one question.
    """
    try:
        (found,) = await desk.records(made.trial(), lambda: desk.store.add_prompts([HELLO]))
    except DownError as error:
        raise EndpointDownError(str(error)) from None
    except OverError as error:
        if desk.budget is not None and desk.budget.refusal(0):
            return  # what is stored can be served
        raise BudgetSpentError(str(error)) from None
    if found is None or found.status == "ok":
        return
    if found.status in UNREAD:
        desk.say(why_unread(made.judge, [Unread(found.status, found.raw)]))
    elif blames_server(found.error):
        what = f"judge {made.judge.name}: its first call failed, and nothing else was asked: {found.error}"
        raise EndpointDownError(what + advice(found.error or ""))


async def _beat(service: RewardService, desk: Desk, console: Console) -> None:
    before = 0
    while True:
        await asyncio.sleep(HEARTBEAT)
        while desk.tally.notices:
            say(console, desk.tally.notices.popleft(), fold=True)
        if service.rows != before:
            before = service.rows
            say(console, _told(service, desk), fold=True)


def _told(service: RewardService, desk: Desk) -> str:
    """How it goes, in one line."""
    tally = desk.tally
    flags = ", ".join(f"{n:,} {flag}" for flag, n in service.flags.most_common(4))
    parts = [
        counted(service.rows, "reward"),
        f"{service.failed:,} flagged{f' ({flags})' if flags else ''}",
        counted(tally.calls, "call"),
        f"{tally.cached:,} from the arena file",
        *([f"{desk.waiting:,} waiting"] if desk.waiting else []),
        *([f"${tally.usd:,.2f}"] if tally.usd else []),
    ]
    return " · ".join(parts)
