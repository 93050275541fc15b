"""New prompts from settings to files: what can be refused, the asking, what is written and told."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console

from arenaloop.calls.budget import Budget, require_prices
from arenaloop.calls.estimated import Estimate
from arenaloop.cli.directory import beside, open_to_write, refuse_foreign
from arenaloop.cli.money import known_prices
from arenaloop.cli.progress import Watch, say_notices
from arenaloop.config import SelfInstructSettings
from arenaloop.data.self_instruct.asking import estimate_writing, write
from arenaloop.data.self_instruct.plan import SelfInstruct, Written
from arenaloop.errors import InputError, StoppedError
from arenaloop.jsonl import encode_json, write_json, write_jsonl
from arenaloop.specs.self_instruct import self_instruct
from arenaloop.store import Store
from arenaloop.store.counts import commonest_error
from arenaloop.terminal import counted, say, table

__all__ = ["execute"]


def execute(
    settings: SelfInstructSettings,
    out: Path,
    *,
    dry_run: bool = False,
    as_json: bool = False,
    measure: bool = False,
    prices: Path | None = None,
) -> None:
    """Have new prompts written into `out`; the same again asks what is missing.

    Raises:
        ConfigError, InputError: before anything is asked.
        StoppedError: the budget is spent, a server is down, or nothing new comes; what there is stands in the files.
    """
    messages, arena = Console(stderr=True), Path(f"{out}.db")
    gone, card = beside(out, "dropped.jsonl"), beside(out, "card.json")
    for file in (out, gone, card):
        refuse_foreign(file, arena, [settings.prompts, *settings.against])
    plan, notes = self_instruct(settings, settings.prompts, settings.seed, settings.concurrency)
    for line in notes:
        say(messages, f"note: {line}", fold=True)
    budget = Budget(settings.budget_usd, settings.budget_calls, prices=known_prices(settings, prices))
    require_prices(budget, [plan.writer.asked] if plan.writer.asked is not None else [])
    _say_plan(messages, plan, out)
    if dry_run:
        with Store(arena, readonly=True) if arena.exists() else nullcontext() as there:
            if there is not None:
                budget.begin(there)
            before, expected = estimate_writing(plan, there, measure=measure)
        _say_estimate(messages, before, expected, whole=True)
        if as_json:
            _print({"out": str(out), **before.to_json(), "estimate": expected.to_json()})
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out}: {error.strerror}") from None
    written = Written(plan)
    with open_to_write(arena) as store:
        before, expected = estimate_writing(plan, store)
        _say_estimate(messages, before, expected)
        stopped: StoppedError | None = None
        try:
            with Watch(messages, "new prompts", expected) as watch:
                write(plan, store, watch.tally, budget=budget, written=written)
        except StoppedError as why:
            stopped = why
        usage, reason = store.usage(), commonest_error(store)
        say_notices(messages, store)
    name = plan.writer.name
    write_jsonl(out, (one.row(name) for one in written.kept[: plan.count]))
    write_jsonl(gone, (one.row(name) for one in written.dropped))
    document = {"prompts_file": settings.prompts, "model": name, **written.to_json(), **usage._asdict()}
    write_json(card, document)
    if as_json:
        _print(document)
    else:
        _say_counts(document)
    _say_failures(messages, written, reason)
    kept = min(len(written.kept), plan.count)
    say(messages, f"{out}: {kept:,} of {counted(plan.count, 'new prompt')}; {gone} holds what was left out", fold=True)
    if stopped is not None:
        raise stopped


def _say_plan(messages: Console, plan: SelfInstruct, out: Path) -> None:
    test = f" · like none of {counted(len(plan.test), 'test prompt')}" if plan.test else ""
    say(
        messages,
        f"{out}: {plan.count:,} new prompts by {plan.writer.name} after {counted(len(plan.people), 'seed')}{test}",
        fold=True,
    )
    if len(plan.people) < 8:
        say(messages, f"warning: {counted(len(plan.people), 'seed')} where a call shows up to 8", fold=True)


def _say_estimate(messages: Console, before: Written, expected: Estimate, *, whole: bool = False) -> None:
    if before.done:
        kept = f"{len(before.kept):,} new prompts in them"
        say(messages, f"stored already: {counted(before.done, 'call')}, {kept}", fold=True)
    if not before.over:
        for line in expected.lines() if whole else expected.head():
            say(messages, line, fold=True)


def _say_counts(document: dict[str, Any]) -> None:
    read = max(1, document["written"])
    found = {"kept": document["kept"], **document["dropped"]}
    if document["beyond"]:
        found["new, beyond what is wanted"] = document["beyond"]
    cells = [[why, f"{n:,}", f"{n / read:.0%}"] for why, n in found.items()]
    Console().print(table(["what became of the prompts", "prompts", "share"], cells))


def _say_failures(messages: Console, written: Written, reason: str | None) -> None:
    failed = {why: n for why, n in written.calls.items() if why not in ("ok", "truncated")}
    if not failed:
        return
    told = ", ".join(f"{n:,} {why}" for why, n in failed.items())
    why = f"; most often: {reason}" if reason else ""
    say(messages, f"{sum(failed.values()):,} of {counted(written.done, 'call')} gave none ({told}{why})", fold=True)


def _print(document: dict[str, Any]) -> None:
    sys.stdout.write(encode_json(document, indent=2).decode() + "\n")
