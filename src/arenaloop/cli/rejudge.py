"""`arenaloop rejudge`: stored answers, new verdicts, and how many outcomes moved."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arenaloop.cli.money import Batch, Batches, ForgetBatches, Prices
from arenaloop.cli.options import Fields, Given
from arenaloop.errors import ConfigError, InputError, StoppedError, UserError
from arenaloop.regular_files import read_regular

if TYPE_CHECKING:
    from arenaloop.arena.matchmaking import Pair
    from arenaloop.arena.rejudge import Rejudged
    from arenaloop.calls.budget import Budget
    from arenaloop.config import JudgedSettings, JudgeSettings

__all__ = ["rejudge"]

_FORM = ("template", "criteria", "parser", "verdict", "deciding_label", "label_mass", "prefill", "reask", "sampling")
"""Settings of a judge that another judge takes over, unless its own file sets them."""
_NO_MODEL = ("builtin", "labels")


def rejudge(
    *,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The directory of a finished battle or recipe.")],
    judge: Annotated[str | None, typer.Option(metavar="SPEC", help="Another judge.")] = None,
    changed: Annotated[
        Given,
        Fields(
            "JudgeSettings",
            template={"metavar": "NAME|FILE", "help": "Another template: pairwise, score_first, labels or a file."},
            verdict={"help": "How the judge is to answer: text, json or logprob."},
            reask={"help": "How often an unreadable verdict is asked again."},
        ),
    ],
    limits: Annotated[
        Given,
        Fields(
            "BattleSettings",
            "budget_usd",
            "budget_calls",
            concurrency={"help": "Verdicts in progress at once."},
            shard={"metavar": "I/N", "help": "Judge the I-th of N parts of the prompts, into --out; DIR is only read."},
        ),
    ],
    engine: Annotated[Given, Fields("EngineSettings", "engine", "workers")],
    into: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="With --shard: the shard's own directory.", show_default=False),
    ] = None,
    prices: Prices = None,
    batch: Batch = False,
    batches: Batches,
    forget_batches: ForgetBatches = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be asked and cost, and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as one JSON document.")] = False,
) -> None:
    """Judge the stored answers of a finished run again; contestants are never asked. The same command resumes.

    With another template, judge or verdict mode the new verdicts are stored beside the old ones. Without any option the
    stored texts are read again by today's parser, which costs nothing. The results are in DIR/rejudged/NAME. Shards go
    into directories of their own, which `merge DIR SHARD…` brings together; the same command without --shard then
    writes the results.

    Examples:

        arenaloop rejudge runs/battle --template labels

        arenaloop rejudge runs/battle --judge openai:gpt-4o --dry-run

        arenaloop rejudge runs/battle

        arenaloop rejudge runs/battle --judge openai:gpt-4o --shard 3/8 --out runs/again-3
    """
    from contextlib import ExitStack
    from functools import partial

    from rich.console import Console

    from arenaloop.arena.batches import check_batches
    from arenaloop.arena.fought import plan_again, read_fought
    from arenaloop.arena.matchmaking import Schedule
    from arenaloop.arena.plan import BattlePlan
    from arenaloop.arena.planned import estimate_plan
    from arenaloop.arena.rejudge import directory_name
    from arenaloop.arena.rejudge import rejudge as judge_again
    from arenaloop.arena.shards import part_of, plan_parts
    from arenaloop.arena.standing import decided_before
    from arenaloop.calls.batch import open_batches
    from arenaloop.calls.budget import Budget, require_prices
    from arenaloop.calls.engines.chosen import using
    from arenaloop.calls.shards import claim
    from arenaloop.cli.directory import ARENA, open_directory, write_settings
    from arenaloop.cli.money import batch_settings, known_prices, priced, settle_batches
    from arenaloop.cli.progress import Watch, say_notices, say_undecided
    from arenaloop.cli.rejudge_shard import shard_asked, shard_store
    from arenaloop.cli.standing import complete, readable, write_stopped
    from arenaloop.config import EngineSettings, validate
    from arenaloop.specs import judge as build_judge
    from arenaloop.specs.models import planned_only
    from arenaloop.store import Store
    from arenaloop.store.counts import commonest_error, unread_example
    from arenaloop.terminal import counted, say

    messages = Console(stderr=True)
    ask = bool(changed) or judge is not None
    shard = shard_asked(limits.get("shard"), into, directory, asks=ask)
    with ExitStack() as opened:
        if shard is None and not dry_run:
            complete(directory)
        there = opened.enter_context(readable(directory, messages)) if dry_run else directory
        settings = _settings_of(there)
        judging = priced(_judge_settings(settings.judge, judge, changed), prices)
        concurrency = limits.get("concurrency", settings.concurrency)
        with planned_only(dry_run):
            judged_by = build_judge(judging.with_concurrency(concurrency))
        template_plan = BattlePlan(
            contestants=(),
            judge=judged_by,
            prompt_ids=(),
            schedule=Schedule(()),
            seed=settings.seed,
            merge=settings.merge,
            one_seat_failed=settings.one_seat_failed,
            reask=judging.reask,
            concurrency=concurrency,
            seats=settings.seats,
            own_failure=settings.own_failure,
        )
        allowed = {name: limits.get(name, getattr(settings, name)) for name in ("budget_usd", "budget_calls")}
        known = known_prices(settings) | known_prices(judging, prices)
        budget = Budget(allowed["budget_usd"], allowed["budget_calls"], prices=known) if ask else Budget()
        require_prices(budget, template_plan.models)
        if (batched := batch_settings(batch, batches)) is not None:
            if not ask:
                raise ConfigError(
                    "--batch: nothing would be asked; --judge, --template, --verdict or --reask says what"
                )
            check_batches(template_plan)
        names, wanted = _wanted(settings, there, messages)
        out = into or directory / "rejudged" / directory_name(*_known_by(judging, template_plan.judge.name))
        if dry_run and not ask:
            raise ConfigError(
                "--dry-run: nothing would be asked; --judge, --template, --verdict or --reask says what to ask"
            )
        opened.enter_context(using(validate(EngineSettings, engine, "rejudge") if ask and not dry_run else None))
        through = batched is not None
        reads = dry_run or shard is not None
        store = opened.enter_context(Store(directory / ARENA, readonly=True) if reads else open_directory(directory))
        if shard is not None and (waiting := open_batches(store, template_plan.judges)):
            raise ConfigError(
                f"{directory}: verdicts of this judge are on their way in batches ({len(waiting)} not collected), and "
                "would be paid again: collect them with the command that ordered them, or give them up with its "
                "--forget-batches"
            )
        if shard is None:
            budget.begin(store)  # refuses where it cannot count, before anything is written
        if not dry_run and shard is None:
            settle_batches(store, template_plan.judges, budget, directory, batch=through, forget=forget_batches)
        fought = read_fought(there, store, wanted)
        plan = plan_again(fought, names, template_plan)
        more: dict[str, Any] = {}
        if shard is not None:
            parts, told = plan_parts(plan) | {"run": store.identity}, judging.model_dump(mode="json")
            claimed = claim("rejudge", shard, parts, {"judge": told}, plan.prompt_ids)
            plan, fought, more = part_of(plan, shard), fought.on(shard.holds), {"shard": claimed.summary()}
            say(messages, f"{out}: {claimed.line()}", on_screen=True)
            if not dry_run:
                store = opened.enter_context(shard_store(out, store, claimed, plan.prompt_ids))
                budget.begin(store)
                settle_batches(store, template_plan.judges, budget, out, batch=through, forget=forget_batches)
            elif (out / ARENA).exists():
                with Store(out / ARENA, readonly=True) as earlier:
                    budget.begin(earlier)
        expected = estimate_plan(plan, store.prompt, store, stored=True, batch=batched is not None) if ask else None
        most = f"at most {counted(plan.verdicts, 'judge call')}"
        what = "stored texts are read again" if expected is None else expected.ahead(most)
        say(
            messages,
            f"{out}: {decided_before(plan, store)} on {counted(len(plan.prompt_ids), 'prompt')} · {what} · "
            f"judge {plan.judge.name}",
            on_screen=True,
        )
        for note in getattr(plan.judge, "notes", ()) if ask else ():
            say(messages, f"note: judge {plan.judge.name}: {note}", fold=True)
        if budget.limited and not limits.keys() & allowed.keys():
            say(messages, f"note: the budget of {directory} holds here, too: {_held(budget)}", fold=True)
        for line in (expected.lines() if dry_run else expected.head()) if expected is not None else ():
            say(messages, line, on_screen=True)
        if dry_run:
            if as_json and expected is not None:
                told = {"out": str(out), "judge": plan.judge.name, "battles": plan.battles}
                sys.stdout.write(json.dumps(told | {"estimate": expected.to_json()}, indent=2) + "\n")
            return
        own = {"judge": judging, **allowed, **({} if shard is None else {"shard": str(shard)})}
        write_settings(out, settings.model_copy(update=own))
        anchor, before = getattr(settings, "anchor", None), store.usage()
        try:
            with Watch(messages, "rejudge", expected) as watch:
                result = judge_again(
                    directory,
                    store,
                    fought,
                    plan,
                    out,
                    ask=ask,
                    anchor=anchor,
                    on_progress=watch.tally,
                    budget=budget,
                    batch=batched,
                    say=partial(say, messages),
                    more=more,
                )
        except (StoppedError, KeyboardInterrupt) as stop:
            write_stopped(plan, store, out, stop, messages, anchor, **more)
            raise
        say_notices(messages, store)
        spent = store.usage()
        error = commonest_error(store) if result.undecided else None
        unread = unread_example(store) if result.undecided else None
    if as_json:
        sys.stdout.write(json.dumps(result.to_json(), indent=2) + "\n")
    else:
        _print(result, spent.tokens_in + spent.tokens_out - before.tokens_in - before.tokens_out)
    if result.undecided and ask:
        say_undecided(messages, json.loads(read_regular(out / "summary.json")), error, unread)
    elif result.undecided:
        say(messages, f"{result.undecided:,} battles undecided; nothing was asked (--reask N asks)", fold=True)
    if result.undecided:
        raise typer.Exit(3)


def _held(budget: Budget) -> str:
    """What a budget that was saved with the run has left, and how to go without it."""
    told = [] if budget.usd is None else [f"{budget.money()} spent"]
    told += [] if budget.calls is None else [f"{budget.spent_calls:,} of {budget.calls:,} calls sent"]
    flags = [] if budget.usd is None else ["--budget-usd none"]
    flags += [] if budget.calls is None else ["--budget-calls none"]
    return f"{' and '.join(told)} ({' '.join(flags)} goes on without)"


def _settings_of(directory: Path) -> JudgedSettings:
    """The settings that a run directory was made with."""
    from arenaloop.config import BattleSettings, read_yaml, validate
    from arenaloop.data.result_files import EARLIER, home_of
    from arenaloop.regular_files import refuse_others
    from arenaloop.specs.recipes import recipe_named

    if not directory.is_dir():
        raise InputError(f"{directory}: no such run directory")
    if (home := home_of(directory)) != directory:
        what = "a board of earlier settings" if directory.resolve().parent.name == EARLIER else "itself rejudged"
        raise InputError(f"{directory}: is {what}; give the run directory, {home}")
    names = ("config.yaml", "battles.jsonl", "leaderboard.json")
    refuse_others(directory / name for name in names)
    for name in names:
        if not (directory / name).is_file():
            raise InputError(f"{directory}: no {name}, so no finished run of battle or of a recipe")
    path = directory / "config.yaml"
    values = read_yaml(path)
    recipe = values.get("recipe")
    return validate(recipe_named(recipe, str(path)).settings if recipe else BattleSettings, values, str(path))


def _judge_settings(old: JudgeSettings, spec: str | None, options: Mapping[str, Any]) -> JudgeSettings:
    """The old judge, or another in its place that judges in the old form, with what the options change."""
    from arenaloop.config import JudgeSettings, validate
    from arenaloop.specs import model_settings

    options = dict(options)
    if "template" in options:
        options["parser"] = None  # as the new template says
        if options["template"].endswith((".jinja", ".j2")):
            options["criteria"] = ()  # such a file has its own
    values = old.model_dump()
    if spec is not None:
        new = model_settings(spec, kind=JudgeSettings)
        assert isinstance(new, JudgeSettings)
        values = new.model_dump()
        if not new.jury and not old.jury and spec.partition(":")[0] not in _NO_MODEL:
            values |= {key: value for key, value in old.model_dump().items() if key in _FORM} | {
                key: value for key, value in new.model_dump().items() if key in new.model_fields_set
            }
    if values["jury"]:
        values["jury"] = [
            member if str(member["spec"]).partition(":")[0] in _NO_MODEL else member | options
            for member in values["jury"]
        ]
        options = {key: value for key, value in options.items() if key == "reask"}
    return validate(JudgeSettings, values | options, "rejudge")


def _known_by(judging: JudgeSettings, name: str) -> list[str]:
    """What the new directory's name says: template, verdict mode and judge."""
    if judging.jury:
        members = judging.jury
        forms = dict.fromkeys(part for member in members for part in _known_by(member, ""))
        return [*(form for form in forms if form), name]
    if judging.spec.partition(":")[0] in _NO_MODEL:
        return [name]
    template = Path(judging.template).name.removesuffix(".j2").removesuffix(".jinja")
    return [template, "" if judging.verdict == "text" else judging.verdict, name]


def _wanted(
    settings: JudgedSettings, directory: Path, messages: Any
) -> tuple[list[str], dict[str, Sequence[Pair]] | None]:
    """The models, and which pairs were to meet on which prompt; None where the settings no longer tell.

    Models of a recipe are those of its leaderboard. Where the prompts cannot be read any more, only what was decided is
    judged again, and a line says so.
    """
    from arenaloop.arena.matchmaking import schedule
    from arenaloop.calls.shards import Shard
    from arenaloop.config import BattleSettings, RecipeSettings
    from arenaloop.specs import load_prompts
    from arenaloop.terminal import say

    path = directory / "leaderboard.json"
    try:
        names = [str(row["model"]) for row in json.loads(read_regular(path))["leaderboard"]]
    except (ValueError, LookupError, TypeError):
        raise InputError(f"{path}: no leaderboard") from None
    pairs, calls = "all", 2
    prompts: str | None = None
    limit: int | None = None
    shard: Shard | None = None
    if isinstance(settings, BattleSettings):
        pairs, prompts, calls, limit = settings.pairs, settings.prompts, settings.calls_per_battle, settings.limit
        shard = None if settings.shard is None else Shard.parse(settings.shard)
        if all(one.name for one in settings.models):
            names = [str(one.name) for one in settings.models]
    elif isinstance(settings, RecipeSettings):
        prompts = settings.rated_on
    try:
        if prompts is None:
            raise InputError("the settings do not tell who was to meet on which prompt")
        ids = [prompt.id for prompt in load_prompts(prompts, settings.seed).prompts[:limit]]
        plan = schedule(pairs, names, ids, settings.seed, calls_per_battle=calls)
    except UserError as error:
        say(messages, f"note: only decided battles are judged again ({error})", on_screen=True)
        return names, None
    own = ids if shard is None else [prompt_id for prompt_id in ids if shard.holds(prompt_id)]
    return names, {prompt_id: plan.on(prompt_id) for prompt_id in own if plan.on(prompt_id)}


def _print(result: Rejudged, tokens: int) -> None:
    """The comparison; `tokens` are those that were read and written for it now."""
    from rich.console import Console

    from arenaloop.calls.costs import cost_line
    from arenaloop.terminal import counted, figure, say, table

    console = Console()
    forms = {"rank_before": "d", "rating_before": ".0f", "rank_after": "d", "rating_after": ".0f"}
    rows = [[row["model"], *(figure(row[key], form) for key, form in forms.items())] for row in result.board]
    console.print(table(["model", "rank before", "rating", "rank now", "rating"], rows))
    moved, kinds = result.moved, result.kinds
    share, lower, upper = (figure(value, ".1%") for value in (moved.value, moved.lower, moved.upper))
    known = f"{share}, 95 % interval {lower} to {upper}"
    words = ", ".join(f"{kind.replace('_to_', '→')} {count:,}" for kind, count in kinds.items())
    tally = result.tally
    cost = cost_line(tally.calls, tokens, tally.usd, tally.usd_estimated)
    reread = f" · {counted(result.reread, 'stored text')} read otherwise" if result.reread else ""
    for line in (
        f"{counted(result.compared, 'battle')} compared · {sum(kinds.values()):,} moved ({known}): {words}",
        f"decided {result.decided_before:,} → {result.decided_after:,} of {result.wanted:,} · flips between seats "
        f"{figure(result.flip_rate_before, '.1%')} → {figure(result.flip_rate_after, '.1%')}",
        f"Spearman of the ratings {figure(result.spearman, '.3f')} · largest change of rank "
        f"{figure(result.largest_rank_change, 'd')} · {cost}{reread}",
        f"{result.directory}",
    ):
        say(console, line, on_screen=True)
