"""An audit from settings to its tables: what can be refused, the asking, what is written, what is told."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import typer
from rich.console import Console

from arenaloop.audit.plan import AuditPlan, ask, ask_batches, audit_parts, estimate_audit, ingest
from arenaloop.audit.read import Audit, read
from arenaloop.calls.batched import check_batched
from arenaloop.calls.budget import Budget, require_prices
from arenaloop.calls.estimated import Estimate
from arenaloop.calls.shards import Claim, Shard, claim, refuse_other
from arenaloop.cli.audit_tables import audit_document, audit_tables
from arenaloop.cli.directory import ARENA, open_directory, write_settings
from arenaloop.cli.money import known_prices, settle_batches
from arenaloop.cli.progress import Watch, say_notices
from arenaloop.config import AuditSettings
from arenaloop.data.formats.labels import labelled_pairs, read_labels, split_filter
from arenaloop.errors import ConfigError, StoppedError, StorageError
from arenaloop.jsonl import encode_json, write_json
from arenaloop.judges.base import Judge, ModelJudge
from arenaloop.judges.jury import Jury
from arenaloop.judges.repeats import own_votes
from arenaloop.models.secrets import without_secrets
from arenaloop.specs import judge
from arenaloop.store import Store
from arenaloop.store.counts import commonest_error
from arenaloop.terminal import counted, say

__all__ = ["execute"]


def execute(
    settings: AuditSettings,
    out: Path,
    *,
    level: float,
    samples: int,
    dry_run: bool,
    as_json: bool,
    measure: bool = False,
    planted: float | None = None,
    forget: bool = False,
    prices: Path | None = None,
) -> None:
    """Audit judges into a directory, or resume it there; `level` and `samples` are those of the intervals.

    With `forget`, batches that are not collected are given up.

    With `planted`, biases of that size are planted into the judges' stored votes, to see whether they are found.

    With `measure`, the dry run loads local models whose speed is not known, and times a few of their calls.

    Raises:
        ConfigError, InputError: before anything is written.
        StoppedError: the budget is spent, a server is down, or batches are on their way; resumable.
        typer.Exit: with code 3, where votes stayed undecided.
    """
    messages = Console(stderr=True)
    plan, batch = _plan(settings), settings.batch is not None
    if batch:
        check_batched(plan.judges)
    claimed: Claim | None = None
    if settings.shard is not None:
        shard = Shard.parse(settings.shard)
        ids = {pair.prompt.id for pair in plan.pairs}
        claimed = claim("audit", shard, audit_parts(plan), settings.model_dump(mode="json"), ids)
        plan = replace(plan, pairs=[pair for pair in plan.pairs if shard.holds(pair.prompt.id)])
    budget = Budget(settings.budget_usd, settings.budget_calls, prices=known_prices(settings, prices))
    require_prices(budget, [judge.model for judge in plan.judges if isinstance(judge, ModelJudge)])
    if dry_run:
        arena = out / ARENA
        with Store(arena, readonly=True) if arena.exists() else nullcontext() as there:
            if there is not None:
                refuse_other(there, out, claimed, "audit", keep=False)
                budget.begin(there)
            expected = estimate_audit(plan, there, measure=measure, batch=batch)
        _print_plan(plan, out, messages, expected, claimed, _greedy(settings, plan.judges))
        for line in expected.lines():
            say(messages, line, on_screen=True)
        if as_json:
            told = {"out": str(out), "judges": [judge.name for judge in plan.judges], "pairs": len(plan.pairs)}
            sys.stdout.write(encode_json(told | {"estimate": expected.to_json()}, indent=2).decode() + "\n")
        return
    with open_directory(out) as store:
        refuse_other(store, out, claimed, "audit")
        budget.begin(store)  # refuses where it cannot count, before anything is written
        settle_batches(store, plan.judges, budget, out, batch=batch, forget=forget)
        write_settings(out, settings)
        ingest(plan, store)
        expected = estimate_audit(plan, store, batch=batch)
        _print_plan(plan, out, messages, expected, claimed, _greedy(settings, plan.judges))
        for line in expected.head():
            say(messages, line, on_screen=True)
        try:
            with Watch(messages, "audit", expected) as watch:
                if settings.batch is None:
                    ask(plan, store, watch.tally, budget=budget)
                else:
                    folder, tell = out / "batches", partial(say, messages)
                    ask_batches(plan, store, folder, settings.batch, watch.tally, budget=budget, say=tell)
        except (StoppedError, KeyboardInterrupt) as stop:
            if not isinstance(stop, StorageError):  # a disk that is full takes nothing more
                with suppress(StorageError, OSError):
                    store.flush()
                    why = without_secrets(" ".join(str(stop).split())).partition("; ")[0] or "interrupted"
                    so_far = read(plan, store, level=level, samples=samples)
                    _write(so_far, settings, store, out, level, claimed, as_json=as_json, why=why)
            raise
        result = read(plan, store, level=level, samples=samples, planted=planted)
        say_notices(messages, store)
        error = commonest_error(store) if result.undecided else None
        _write(result, settings, store, out, level, claimed, as_json=as_json)
    if result.undecided:
        failed: Counter[str] = Counter()
        for row in result.rows:
            failed.update(row.failed)
        why = ", ".join(f"{n:,} {status}" for status, n in failed.items()) or "not asked"
        say(
            messages,
            f"{counted(result.undecided, 'vote')} undecided ({why}" + (f"; most often: {error})" if error else ")"),
            on_screen=True,
        )
        raise typer.Exit(3)


def _write(
    result: Audit,
    settings: AuditSettings,
    store: Store,
    out: Path,
    level: float,
    claimed: Claim | None,
    *,
    as_json: bool,
    why: str | None = None,
) -> None:
    """Write ``audit.json``, and print it or its tables; `why` an audit is not through, in words, if it is not."""
    if why is not None:
        votes = f"{result.decided:,} of {counted(result.wanted, 'vote')} decided"
        result = replace(result, notes=(*result.notes, f"not finished: {votes} ({why})"))
    document = audit_document(result, settings.labels, level) | store.usage()._asdict()
    document |= {} if claimed is None else {"shard": claimed.summary()}
    document |= {} if why is None else {"stopped": why}
    write_json(out / "audit.json", document)
    if as_json:
        sys.stdout.write(encode_json(document, indent=2).decode() + "\n")
        return
    console = Console()
    for table in audit_tables(result, level):
        console.print(table)
    for note in result.notes:
        say(console, f"note: {note}", on_screen=True)


def _plan(settings: AuditSettings) -> AuditPlan:
    path, where = split_filter(settings.labels)
    labels = read_labels(path, where)
    pairs = labelled_pairs(labels)
    judges = []
    for one in settings.judges:
        built = judge(one.with_concurrency(settings.concurrency))
        if isinstance(built, Jury):
            raise ConfigError(f"judge {built.name}: audit its members; juries of all judges are rows of the audit")
        judges.append(built)
    for name, count in Counter(one.name for one in judges).items():
        if count > 1:
            raise ConfigError(f"{count} judges are called {name!r}: name them, as in --judge other=SPEC")
    return AuditPlan(
        pairs[: settings.limit],
        judges,
        votes=settings.seeds,
        merge=settings.merge,
        reask=[one.reask for one in settings.judges],
        seed=settings.seed,
        concurrency=settings.concurrency,
        notes=(
            *labels.notes,
            *(f"judge {one.name}: {note}" for one in judges for note in getattr(one, "notes", ())),
            *_greedy(settings, judges),
        ),
    )


def _greedy(settings: AuditSettings, judges: Sequence[Judge]) -> list[str]:
    """What to say of judges whose votes are all asked alike, and answered alike unless the server is not exact."""
    votes = settings.seeds or 1
    names = [
        built.name
        for one, built in zip(settings.judges, judges, strict=True)
        if votes > 1
        and own_votes(built) is None
        and one.sampling.temperature == 0
        and "temperature" not in {*one.drop_params, *one.extra_body}
    ]
    if not names:
        return []
    return [
        f"{', '.join(names)}: temperature 0, so that {votes} votes are paid for and can differ by the server's own "
        "noise alone: var and itself measure nothing else. Votes that differ need sampling: {temperature: 0.7} in the "
        "judge's YAML file"
    ]


def _print_plan(
    plan: AuditPlan,
    out: Path,
    console: Console,
    expected: Estimate,
    claimed: Claim | None,
    warnings: Sequence[str],
) -> None:
    if claimed is not None:
        say(console, f"{out}: {claimed.line()}", on_screen=True)
    calls = sum(2 * plan.votes_of(j) * len(plan.pairs) for j in plan.judges if isinstance(j, ModelJudge))
    names = ", ".join(judge.name for judge in plan.judges)
    say(
        console,
        f"{out}: {counted(len(plan.judges), 'judge')} ({names}) · {counted(len(plan.pairs), 'labelled pair')} · "
        + expected.ahead(f"at most {counted(calls, 'judge call')}, re-asking apart"),
        on_screen=True,
    )
    for line in warnings:
        say(console, f"warning: {line}", on_screen=True)
