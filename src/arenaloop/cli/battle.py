"""`arenaloop battle`: models, prompts and a judge in; a leaderboard with intervals out."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arenaloop.cli.options import BudgetCalls, BudgetUsd
from arenaloop.errors import ConfigError, InputError

if TYPE_CHECKING:
    from rich.console import Console

    from arenaloop.arena.estimate import Estimate
    from arenaloop.arena.plan import BattlePlan
    from arenaloop.arena.tournament import Tournament
    from arenaloop.config import BattleSettings

__all__ = ["battle"]

_LOOKED_AT = 5_000  # answers that are searched for suspicious ones at the end of a run; the report looks at more


def battle(
    model: Annotated[list[str], typer.Option("--model", metavar="NAME=SPEC", help="A contestant; give at least two.")],
    prompts: Annotated[str, typer.Option(metavar="FILE", help="Prompts: JSONL, or sandbox:prompts?n=500.")],
    judge: Annotated[str, typer.Option(metavar="SPEC", help="Who decides.")],
    out: Annotated[Path, typer.Option(help="The run directory.")] = Path("runs/battle"),
    pairs: Annotated[
        str, typer.Option(help="all, target:NAME, sample:N or optimal:N battles; N may be calls:N.")
    ] = "all",
    merge: Annotated[
        str, typer.Option(help="How two seats become a battle: mean, agree_or_tie or two_battles.")
    ] = "mean",
    one_seat_failed: Annotated[
        str, typer.Option(help="A pair with one seat decided: drop_battle, or use_one.")
    ] = "drop_battle",
    template: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="The judge's template: pairwise, score_first, labels or a .jinja file. Default: pairwise.",
            show_default=False,
        ),
    ] = None,
    verdict: Annotated[
        str | None,
        typer.Option(help="How the judge answers: text, json or logprob. Default: text.", show_default=False),
    ] = None,
    reask: Annotated[
        int | None,
        typer.Option(min=0, help="How often an unreadable verdict is asked again. Default: 2.", show_default=False),
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Verdicts in progress at once. Default: what the endpoints allow.")
    ] = None,
    budget_usd: BudgetUsd = None,
    budget_calls: BudgetCalls = None,
    prices: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Prices of models, for those without their own.", show_default=False),
    ] = None,
    batch: Annotated[
        bool, typer.Option("--batch", help="Judge through the server's Batch API, mostly at half the price.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait for batches, or stop and collect on the next run.")
    ] = True,
    batch_rest: Annotated[
        str | None,
        typer.Option(
            metavar="batch|live",
            help="How what batches left undecided is asked again. Default: batch.",
            show_default=False,
        ),
    ] = None,
    batch_files: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write batch files to DIR, read results put beside them.", show_default=False),
    ] = None,
    forget_batches: Annotated[
        bool,
        typer.Option("--forget-batches", help="Give up batches that are not collected; their verdicts are paid again."),
    ] = False,
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="Go on where a file lacks answers.")] = False,
    anchor: Annotated[str | None, typer.Option(metavar="NAME=VALUE", help="Give one model a fixed rating.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print summary.json to stdout.")] = False,
) -> None:
    """Let models battle on your prompts, judged from both seats; the same command resumes.

    SPEC is openai:MODEL, http://HOST:PORT/v1#MODEL, hf:ID_OR_PATH, file:ANSWERS, sandbox:NAME, or a YAML file.

    Examples:

        arenaloop battle --model a=sandbox:scholar --model b=sandbox:novice --prompts "sandbox:prompts?n=200"
        --judge sandbox:judge

        arenaloop battle --model old=file:old.json --model new=http://127.0.0.1:8000/v1#new --prompts prompts.jsonl
        --judge openai:gpt-4o --dry-run
    """
    from arenaloop.cli.money import batch_settings, priced
    from arenaloop.cli.rank import parse_anchor
    from arenaloop.config import BattleSettings, JudgeSettings, validate
    from arenaloop.specs import model_settings

    who = [_named(text) for text in model]
    if len(who) < 2:
        raise ConfigError("a battle needs at least two --model NAME=SPEC")
    for name, count in Counter(name for name, _ in who).items():
        if count > 1:
            raise ConfigError(f"--model {name}: this name is given {count} times")
    judging = model_settings(judge, kind=JudgeSettings).model_dump()
    options = {"template": template, "verdict": verdict, "reask": reask}
    judging |= {key: value for key, value in options.items() if value is not None}
    settings = validate(
        BattleSettings,
        {
            "models": [model_settings(spec, name).model_dump() for name, spec in who],
            "prompts": prompts,
            "judge": judging,
            "pairs": pairs,
            "merge": merge,
            "one_seat_failed": one_seat_failed,
            "allow_missing": allow_missing,
            "concurrency": concurrency,
            "budget_usd": budget_usd,
            "budget_calls": budget_calls,
            "batch": batch_settings(batch=batch, wait=wait, rest=batch_rest, folder=batch_files),
            "seed": seed,
        },
        "battle",
    )
    settings = priced(settings, prices)
    _execute(settings, out, parse_anchor(anchor), dry_run=dry_run, as_json=as_json, forget=forget_batches)


def _named(text: str) -> tuple[str, str]:
    name, equals, spec = text.partition("=")
    if not equals or not name or not spec or ":" in name:
        raise ConfigError(f"--model {text}: expected NAME=SPEC, as in --model mine=hf:org/model")
    return name, spec


def _execute(
    settings: BattleSettings, out: Path, anchor: tuple[str, float] | None, *, dry_run: bool, as_json: bool, forget: bool
) -> None:
    from rich.console import Console

    from arenaloop.arena.batches import check_batches, play_batches
    from arenaloop.arena.matchmaking import schedule
    from arenaloop.arena.plan import BattlePlan
    from arenaloop.arena.tournament import run_tournament, write_results, write_summary
    from arenaloop.audit.suspects import flag_counts, suspects, suspicious_line
    from arenaloop.calls.batch import forget_batches, open_batches
    from arenaloop.calls.budget import Budget, require_prices
    from arenaloop.calls.recorded import ingest_recorded, match_recorded
    from arenaloop.cli.directory import open_directory
    from arenaloop.cli.money import costs, estimated, estimated_dry
    from arenaloop.cli.progress import Watch
    from arenaloop.cli.undecided import commonest_error, say_undecided
    from arenaloop.config import dump_yaml
    from arenaloop.jsonl import replacing
    from arenaloop.specs import contestant, judge, load_prompts, self_preference
    from arenaloop.terminal import plain

    messages = Console(stderr=True)
    loaded = load_prompts(settings.prompts, settings.seed)
    prompts, duplicates = loaded.prompts, loaded.duplicates
    del loaded
    if not prompts:
        raise InputError(f"{settings.prompts}: no prompts in it")
    contestants = [contestant(one.with_concurrency(settings.concurrency)) for one in settings.models]
    names = [c.name for c in contestants]
    ids = [p.id for p in prompts]
    if anchor and anchor[0] not in names:
        raise ConfigError(f"--anchor {anchor[0]}: no such model; there are {', '.join(names)}")
    if anchor and not math.isfinite(anchor[1]):
        raise ConfigError(f"--anchor {anchor[0]}={anchor[1]:g}: a rating is a finite number")
    plan = BattlePlan(
        contestants=contestants,
        judge=judge(settings.judge.with_concurrency(settings.concurrency)),
        prompt_ids=ids,
        schedule=schedule(settings.pairs, names, ids, settings.seed, calls_per_battle=settings.calls_per_battle),
        recorded=match_recorded(contestants, prompts, allow_missing=settings.allow_missing),
        seed=settings.seed,
        merge=settings.merge,
        one_seat_failed=settings.one_seat_failed,
        reask=settings.judge.reask,
        concurrency=settings.concurrency,
    )
    budget = Budget(settings.budget_usd, settings.budget_calls)
    require_prices(budget, plan.models)
    for line in self_preference(settings.judge, settings.models):
        messages.print(f"warning: {line}", markup=False, highlight=False, soft_wrap=True)
    if settings.batch is not None:
        check_batches(plan)
    if dry_run:
        estimate = estimated_dry(plan, prompts, out, settings)
        _print_plan(plan, duplicates, out, messages)
        _print_estimate(estimate, messages, whole=True)
        if as_json:
            sys.stdout.write(json.dumps(_plan_document(plan, out, estimate), indent=2) + "\n")
        return
    with open_directory(out) as store:
        budget.begin(store)  # refuses where it cannot count, before anything is written
        if forget:
            forget_batches(store, plan.judges)
        if settings.batch is None and (waiting := open_batches(store, plan.judges)):
            raise ConfigError(
                f"{out}: judging call by call would pay again for verdicts that are on their way in batches "
                f"({len(waiting)} not collected): go on with --batch, or give them up with --forget-batches"
            )
        _print_plan(plan, duplicates, out, messages)
        with replacing(out / "config.yaml") as file:
            file.write(dump_yaml(settings).encode())
        store.add_prompts(prompts)
        ingest_recorded(store, contestants, prompts, plan.recorded)
        store.flush()
        del prompts  # from here on they are read from the arena file as they are needed
        _print_estimate(estimated(plan, store, settings), messages, whole=False)
        with Watch(messages) as watch:
            watch.phase("battles", "")
            if settings.batch is None:
                result = run_tournament(plan, store, out, anchor=anchor, on_progress=watch.tally, budget=budget)
            else:
                tally = play_batches(
                    plan,
                    store,
                    out / "batches",
                    settings.batch,
                    watch.tally,
                    budget=budget,
                    say=lambda line: messages.print(line, markup=False, highlight=False, soft_wrap=True),
                )
                result = write_results(plan, store, out, tally, anchor=anchor)
        flagged = suspects(store, names, limit=max(100, _LOOKED_AT // len(names)))
        more: dict[str, Any] = {"suspicious": counts} if (counts := flag_counts(flagged)) else {}
        more |= costs(result, store, settings)
        summary = write_summary(out, store, result.summary, result.tally.cached, **more)
        error = commonest_error(store) if result.undecided else None
    if as_json:
        sys.stdout.write(json.dumps(summary, indent=2) + "\n")
    else:
        _print_result(result, out, summary["human_equivalent"])
    if told := suspicious_line(flagged):
        messages.print(f"suspicious: {plain(told)}; see the report", markup=False, highlight=False, soft_wrap=True)
    if settings.judge.jury and settings.batch is None and result.tally.failed and not result.undecided:
        messages.print(
            f"{result.tally.failed:,} verdicts of the jury's members without outcome; the others decided; run again to "
            "ask again",
            highlight=False,
            soft_wrap=True,
        )
    if result.undecided:
        say_undecided(messages, summary, error)
        raise typer.Exit(3)


def _print_plan(plan: BattlePlan, duplicates: int, out: Path, console: Console) -> None:
    from arenaloop.terminal import plain

    answers = sum(1 for c in plan.contestants if c.name not in plan.recorded) * len(plan.prompt_ids)
    repeated = f" ({duplicates:,} more repeat one of them)" if duplicates else ""
    console.print(
        f"{out}: {len(plan.contestants)} models · {len(plan.prompt_ids):,} prompts{repeated} · "
        f"{plan.battles:,} battles · at most {2 * plan.battles * len(plan.judges):,} judge calls and "
        f"{answers:,} answers · judge {plain(plan.judge.name)}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _plan_document(plan: BattlePlan, out: Path, estimate: Estimate) -> dict[str, Any]:
    return {
        "out": str(out),
        "models": [c.name for c in plan.contestants],
        "judge": plan.judge.name,
        "prompts": len(plan.prompt_ids),
        "battles": plan.battles,
        "estimate": estimate.to_json(),
    }


def _print_estimate(estimate: Estimate, console: Console, *, whole: bool) -> None:
    from arenaloop.terminal import plain

    for line in estimate.lines() if whole else [estimate.first_line()]:
        console.print(plain(line), markup=False, highlight=False, soft_wrap=True)


def _print_result(result: Tournament, out: Path, human: dict[str, Any]) -> None:
    from rich.console import Console

    from arenaloop.arena.costs import human_line
    from arenaloop.terminal import plain

    console = Console()
    console.print(result.leaderboard.table(width=console.width))
    console.print(plain(result.leaderboard.caption()), style="dim", markup=False, highlight=False)
    for note in result.leaderboard.notes:
        console.print(f"note: {plain(note)}", markup=False, highlight=False)
    shares = result.summary.to_json()
    rates = " · ".join(
        f"{name} {shares[key]:.1%}"
        for name, key in (("flips between seats", "flip_rate"), ("first seat wins", "first_seat_win_rate"))
        if isinstance(shares[key], float)
    )
    console.print(rates, style="dim", highlight=False)
    if line := human_line(human):
        console.print(line, style="dim", highlight=False, markup=False)
    console.print(
        f"arenaloop report {out}  writes {out / 'report.html'}",
        style="dim",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
