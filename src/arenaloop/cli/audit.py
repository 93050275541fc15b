"""`arenaloop audit`: judges against human labels, against each other and against themselves."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arenaloop.cli.options import BudgetCalls, BudgetUsd
from arenaloop.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from arenaloop.audit.plan import AuditPlan
    from arenaloop.config import AuditSettings
    from arenaloop.store import Store

__all__ = ["audit"]


def audit(
    judge: Annotated[list[str], typer.Option("--judge", metavar="SPEC", help="A judge; give as many as you like.")],
    labels: Annotated[str, typer.Option("--labels", metavar="FILE", help="Human labels: FILE or FILE#column=value.")],
    out: Annotated[Path, typer.Option(help="The run directory.")] = Path("runs/audit"),
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Votes of each judge on each pair; 4 to measure variance. Default: 1, or all that are recorded.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The first pairs of the file only.")] = None,
    merge: Annotated[str, typer.Option(help="How two seats become a vote: mean or agree_or_tie.")] = "mean",
    template: Annotated[str | None, typer.Option(help="The template of judging models.", show_default=False)] = None,
    verdict: Annotated[
        str | None, typer.Option(help="How judging models answer: text, json or logprob.", show_default=False)
    ] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Verdicts in progress at once.")] = None,
    budget_usd: BudgetUsd = None,
    budget_calls: BudgetCalls = None,
    samples: Annotated[int, typer.Option(min=10, help="Bootstrap resamples of the prompts.")] = 1000,
    level: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Audit judges on labelled pairs: agreement with people, kappa, bias, variance, seats, length, lists, cost.

    Each judge is asked about every pair from both seats; the same command resumes, and adds judges to what is stored.
    SPEC is a model as for battle, builtin:longest|shortest|random|first, labels:FILE[#column=value] (recorded labels)
    or a YAML file. NAME=SPEC gives a judge another name. Labels are AlpacaEval annotations, Chatbot Arena votes, or a
    table with a prompt, two outputs and a preference (JSON, JSONL, CSV or Parquet, plain or gzip).

    Examples:

        arenaloop audit --judge openai:gpt-4o --judge builtin:longest --labels labels.csv

        arenaloop audit --judge "labels:annotations.json#annotator=gpt4" --labels human.jsonl --json
    """
    from arenaloop.config import AuditSettings, validate

    if not 0.0 < level < 1.0:
        raise ConfigError(f"--level must lie strictly between 0 and 1, not {level}")
    settings = validate(
        AuditSettings,
        {
            "judges": [_judging(text, template, verdict) for text in judge],
            "labels": labels,
            "seeds": seeds,
            "limit": limit,
            "merge": merge,
            "concurrency": concurrency,
            "budget_usd": budget_usd,
            "budget_calls": budget_calls,
            "seed": seed,
        },
        "audit",
    )
    _execute(settings, out, level=level, samples=samples, dry_run=dry_run, as_json=as_json)


def _judging(text: str, template: str | None, verdict: str | None) -> dict[str, Any]:
    """Settings of one judge; ``NAME=`` before a SPEC names it. Template and verdict mode are those of models."""
    from arenaloop.config import JudgeSettings
    from arenaloop.specs import model_settings

    head, equals, rest = text.partition("=")
    named = bool(equals and head and rest) and not set(head) & set(":/#?")
    values = model_settings(rest if named else text, head if named else None, kind=JudgeSettings).model_dump()
    if values["spec"].partition(":")[0] not in ("builtin", "labels"):
        values |= {key: value for key, value in (("template", template), ("verdict", verdict)) if value is not None}
    return values


def _execute(settings: AuditSettings, out: Path, *, level: float, samples: int, dry_run: bool, as_json: bool) -> None:
    from rich.console import Console

    from arenaloop.audit.plan import ask, ingest
    from arenaloop.audit.read import read
    from arenaloop.calls.budget import Budget, require_prices
    from arenaloop.cli.audit_tables import audit_document, audit_tables
    from arenaloop.cli.directory import open_directory
    from arenaloop.cli.progress import Watch
    from arenaloop.cli.undecided import commonest_error
    from arenaloop.config import dump_yaml
    from arenaloop.jsonl import encode_json, replacing, write_json
    from arenaloop.judges.base import ModelJudge
    from arenaloop.terminal import plain

    messages = Console(stderr=True)
    plan = _plan(settings)
    budget = Budget(settings.budget_usd, settings.budget_calls)
    require_prices(budget, [judge.model for judge in plan.judges if isinstance(judge, ModelJudge)])
    if dry_run:
        _print_plan(plan, out, messages)
        return
    with open_directory(out) as store:
        budget.begin(store)  # refuses where it cannot count, before anything is written
        _print_plan(plan, out, messages)
        with replacing(out / "config.yaml") as file:
            file.write(dump_yaml(settings).encode())
        ingest(plan, store)
        with Watch(messages) as watch:
            watch.phase("audit", "")
            ask(plan, store, watch.tally, budget=budget)
        result = read(plan, store, level=level, samples=samples)
        error = commonest_error(store) if result.undecided else None
        document = audit_document(result, settings.labels, level) | _spent(store)
    write_json(out / "audit.json", document)
    if as_json:
        sys.stdout.write(encode_json(document, indent=2).decode() + "\n")
    else:
        console = Console()
        for table in audit_tables(result):
            console.print(table)
        for note in result.notes:
            console.print(f"note: {plain(note)}", markup=False, highlight=False, soft_wrap=True)
    if result.undecided:
        failed: Counter[str] = Counter()
        for row in result.rows:
            failed.update(row.failed)
        why = ", ".join(f"{n:,} {status}" for status, n in failed.items()) or "not asked"
        line = f"{result.undecided:,} votes undecided ({why}" + (f"; most often: {error})" if error else ")")
        messages.print(plain(line), markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(3)


def _plan(settings: AuditSettings) -> AuditPlan:
    from arenaloop.audit.plan import AuditPlan
    from arenaloop.data.formats.labels import labelled_pairs, read_labels, split_filter
    from arenaloop.judges.jury import Jury
    from arenaloop.specs import judge

    path, where = split_filter(settings.labels)
    pairs = labelled_pairs(read_labels(path, where))
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
    )


def _print_plan(plan: AuditPlan, out: Path, console: Console) -> None:
    from arenaloop.judges.base import ModelJudge
    from arenaloop.terminal import plain

    calls = sum(2 * plan.votes_of(j) * len(plan.pairs) for j in plan.judges if isinstance(j, ModelJudge))
    names = ", ".join(judge.name for judge in plan.judges)
    console.print(
        f"{out}: {len(plan.judges)} judges ({plain(names)}) · {len(plan.pairs):,} labelled pairs · "
        f"at most {calls:,} judge calls, re-asking apart",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _spent(store: Store) -> dict[str, Any]:
    usage = store.usage()
    return {
        "calls": usage.calls,
        "tokens_in": usage.tokens_in,
        "tokens_out": usage.tokens_out,
        "usd": usage.usd,
        "seconds": usage.seconds,
    }
