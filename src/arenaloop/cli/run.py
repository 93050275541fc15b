"""`arenaloop demo` and `arenaloop run`: recipes from nothing to a leaderboard, resumable by the same command."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arenaloop.cli.battle import NoPreflight
from arenaloop.cli.measure import Measure, measuring
from arenaloop.cli.money import Prices
from arenaloop.cli.options import Fields, Given
from arenaloop.errors import ConfigError, StoppedError, nearest

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from arenaloop.cli.recipe_standing import Before
    from arenaloop.config import RecipeSettings
    from arenaloop.judges.jury import Decider
    from arenaloop.recipes.costs import Costs
    from arenaloop.recipes.stage import Outline
    from arenaloop.store import Store
    from arenaloop.types import Prompt

__all__ = ["demo", "run", "stage_table"]

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and stop.")]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print summary.json, or with --dry-run its figures, to stdout, all else to stderr."),
]


def demo(
    recipe: Annotated[str | None, typer.Argument(metavar="[RECIPE]", help="Default: arena_learning.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The run directory. Default: runs/demo, or runs/NAME of its settings.", show_default=False),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(help="Rounds, if the recipe has any. Default: the demo's.", min=0, show_default=False)
    ] = None,
    ppo: Annotated[bool, typer.Option("--ppo", help="Each round ends with a reward model and PPO.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 0,
    split: Annotated[str, typer.Option(help="Held-out prompts to rate on: test or dev.")] = "test",
    dry_run: DryRun = False,
    measure: Measure = False,
    as_json: AsJson = False,
) -> None:
    """Watch a tiny chat model learn by a recipe: no GPU, no key, no download.

    It does so in a small world where the truth is known: a real transformers model, trained for real, scripted
    opponents, and a judge that writes text. Needs the extra `train`.

    Examples:

        arenaloop demo

        arenaloop demo --rounds 1 --out runs/short
    """
    from arenaloop.specs.recipes import RECIPES, demo_settings, recipe_named

    name = recipe if recipe is not None else next(iter(RECIPES))
    changes = [f"seed={seed}"]
    if rounds is not None:
        if "rounds" not in recipe_named(name, "demo").settings.model_fields:
            raise ConfigError(f"--rounds: the recipe {name} has no rounds")
        changes.append(f"rounds={rounds}")
    if ppo:
        if "ppo" not in recipe_named(name, "demo").settings.model_fields:
            raise ConfigError(f"--ppo: the recipe {name} has no rounds to end with it")
        changes += ["stages=[sft,dpo,ppo]", "data.prompts=sandbox:prompts?n=18000&split=train"]
    settings = demo_settings(name, *changes, split=split)
    _execute(
        settings,
        out or Path("runs") / settings.name,
        dry_run=dry_run,
        as_json=as_json,
        measure=measuring(measure, dry_run),
    )


def run(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="What to do.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, by its dotted path.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run directory. Default: runs/NAME.", show_default=False)] = None,
    *,
    budget: Annotated[Given, Fields("RunSettings", "budget_usd", "budget_calls")],
    prices: Prices = None,
    dry_run: DryRun = False,
    measure: Measure = False,
    no_preflight: NoPreflight = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print where its settings differ from its paper's code, and stop.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a recipe, or resume it: the same command goes on where it stopped.

    A battle's own config.yaml, from its run directory, is run as that battle.

    Examples:

        arenaloop run examples/arena_learning_qwen.yaml --dry-run

        arenaloop run recipe.yaml --set judge=openai:gpt-4o --set dpo.beta=0.1 --out runs/first
    """
    from arenaloop.cli.money import priced
    from arenaloop.config import BattleSettings, override, read_yaml, validate
    from arenaloop.specs.recipes import recipe_named

    values = override(read_yaml(recipe), settings or []) | budget
    if "recipe" not in values and "models" in values:
        from arenaloop.cli.battle_run import execute
        from arenaloop.specs.models import planned_only

        battle = priced(validate(BattleSettings, values, str(recipe)), prices)
        with planned_only(dry_run):
            execute(
                battle,
                out or Path("runs") / "battle",
                dry_run=dry_run,
                as_json=as_json,
                measure=measuring(measure, dry_run),
                ask_first=not no_preflight,
                prices=prices,
            )
        return
    checked = priced(validate(recipe_named(values.get("recipe"), str(recipe)).settings, values, str(recipe)), prices)
    if explain:
        _explain(checked)
        return
    _execute(
        checked,
        out or Path("runs") / checked.name,
        dry_run=dry_run,
        as_json=as_json,
        measure=measuring(measure, dry_run),
        ask_first=not no_preflight,
        prices=prices,
    )


def _explain(settings: RecipeSettings) -> None:
    from rich.console import Console

    from arenaloop.specs.recipes import RECIPES
    from arenaloop.terminal import say, table

    told = RECIPES[settings.recipe].explain
    if told is None:
        raise ConfigError(f"--explain: the recipe {settings.recipe} has no published code that it is compared with")
    console = Console()
    for one in told(settings):
        say(console, one.title)
        console.print(table(one.columns, one.rows, words=True))


def _execute(
    settings: RecipeSettings,
    out: Path,
    *,
    dry_run: bool,
    as_json: bool,
    measure: bool,
    ask_first: bool = False,
    prices: Path | None = None,
) -> None:
    from contextlib import nullcontext

    from rich.console import Console

    from arenaloop.calls.budget import Budget
    from arenaloop.calls.costs import cost_line
    from arenaloop.calls.recorded import recorded_notes
    from arenaloop.cli.directory import ARENA, PROGRESS, open_directory
    from arenaloop.cli.earlier import drop_returned
    from arenaloop.cli.money import known_prices
    from arenaloop.cli.progress import Watch, say_notices, say_undecided
    from arenaloop.cli.recipe_standing import begin_recipe, done_before, stop_recipe
    from arenaloop.cli.written_report import written_report
    from arenaloop.recipes.under_way import begun
    from arenaloop.specs.models import planned_only
    from arenaloop.specs.recipes import RECIPES
    from arenaloop.store import Store
    from arenaloop.store.counts import commonest_error, unread_example
    from arenaloop.terminal import say

    messages = Console(stderr=True)
    recipe = RECIPES[settings.recipe]
    for name in settings.elsewhere:
        if name not in (known := list(recipe.stages(settings))):
            raise ConfigError(f"elsewhere: {name!r} is no stage{nearest(name, known)}; there are {', '.join(known)}")
    with planned_only(dry_run):
        built = recipe.build(settings, out, dry_run)
    for line in recorded_notes(getattr(built, "opponents", ())):
        say(messages, f"warning: {line}", fold=True)
    budget = Budget(settings.budget_usd, settings.budget_calls, prices=known_prices(settings, prices))
    if dry_run:
        arena = out / ARENA
        with Store(arena, readonly=True) if arena.exists() else nullcontext() as there:
            if there is not None:
                budget.begin(there)
            plan = recipe.outline(built)
            before = done_before(plan, built, settings, there, out)
            costs = None if recipe.costs is None else recipe.costs(built, out, there, measure, before.through)
            _print_outline(plan, out, messages, getattr(built, "judge", None), there, before, costs)
        if as_json:
            told = {} if costs is None else costs.to_json()
            document = {"out": str(out), "stages": list(plan.stages), "facts": list(plan.facts), **told}
            document["through"] = [name for name in plan.stages if name in before.through]
            sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    with open_directory(out) as store:
        budget.begin(store)  # refuses before anything is written
        plan = recipe.outline(built)
        before = done_before(plan, built, settings, store, out)
        left = None  # of a fresh directory the outline tells all
        if recipe.costs is not None and begun(store) is not None and not before.finished:
            left = recipe.costs(built, out, store, False, before.through).calls_left()
        _print_outline(plan, out, messages, getattr(built, "judge", None), store, before, left=left)
        earlier = begin_recipe(plan, built, settings, store, out)
        try:
            if ask_first:
                for line in _asked_first(built, settings, store):
                    say(messages, f"warning: {line}", fold=True)
            with Watch(messages, kept=out / PROGRESS) as watch:
                result = recipe.run(built, store, out, watch)
        except (StoppedError, KeyboardInterrupt) as stop:
            stop_recipe(built, settings, store, out, stop, as_json=as_json)
            if earlier is not None:
                say(messages, f"note: {earlier}", fold=True)
            raise
        say_notices(messages, store)
        error, unread = commonest_error(store), unread_example(store)
    report = written_report(out, result.leaderboard.battles)
    drop_returned(out)
    if earlier is not None:
        say(messages, f"note: {earlier}", fold=True)
    if as_json:
        sys.stdout.write(json.dumps(result.summary, indent=2) + "\n")
    else:
        console = Console()
        console.print(stage_table(result.stages, console.width))
        console.print()
        if methods := result.summary.get("methods"):
            say(console, f"win rates against {result.summary['baseline']}, in percent", style="dim")
            console.print(_method_table(methods, console.width))
        else:
            result.leaderboard.show(console)
        _say_result(console, result.summary, out)
        took = result.summary
        cost = cost_line(took["calls"], took["tokens_in"] + took["tokens_out"], took["usd"], took["usd_estimated"])
        say(console, f"this run took {cost}", style="dim", fold=True)
        say(console, report)
    if result.summary["battles_decided"] < result.summary["battles_wanted"]:
        say_undecided(messages, result.summary, error, unread)
        raise typer.Exit(3)


def _asked_first(built: Any, settings: RecipeSettings, store: Store) -> list[str]:
    """Let a recipe's opponents and its judges be asked once, on a prompt that its leaderboard has; what is odd."""
    from arenaloop.arena.matchmaking import all_pairs
    from arenaloop.arena.preflight import preflight
    from arenaloop.calls.budget import Budget
    from arenaloop.recipes.parts import Arena

    opponents = built.opponents
    test: Sequence[Prompt] = getattr(built, "test", None) or built.evaluation
    lines: list[str] = []
    judges = [one for name in ("judge", "held_out_judge") if (one := getattr(built, name, None)) is not None]
    for judge in [member for one in judges for member in (one.pool.members if hasattr(one, "pool") else [one])]:
        arena = Arena(store, judge, settings, getattr(built, "recorded", {}))
        arena.admit(test, opponents)
        plan = arena.plan(opponents, [prompt.id for prompt in test], all_pairs([one.name for one in opponents]))
        lines += preflight(plan, store, Budget(settings.budget_usd, settings.budget_calls)).warnings
    return lines


def _say_result(console: Console, summary: Mapping[str, Any], out: Path) -> None:
    """Which rule stopped the training, if one did, and which checkpoint is the run's result."""
    from arenaloop.recipes.guards import LAST
    from arenaloop.terminal import say, span

    if stopped := (summary.get("guards") or {}).get("stopped"):
        say(console, f"stopped after {stopped['stage']} by guards.{stopped['rule']}: {stopped['why']}", fold=True)
    if (best := summary.get("best")) is None:
        return
    wins = ""
    if (share := best["win_rate"]) is not None:
        lower, upper = (None if best[key] is None else 100 * best[key] for key in ("lower", "upper"))
        interval = "" if lower is None and upper is None else f" ({span(lower, upper, '.1f')})"
        wins = f", {100 * share:.1f} % of battles won{interval}"
    alike = f"; cannot be told from {', '.join(best['alike'])}" if best["alike"] else ""
    if best["by"] == LAST:
        say(console, f"last: {best['stage']} (nothing held out to choose by)", fold=True)
    else:
        say(console, f"best: {best['stage']} by {best['by']}{wins}{alike}", fold=True)
    say(console, f"checkpoint: {out / best['path']}")


def _print_outline(
    outline: Outline,
    out: Path,
    console: Console,
    judge: Decider | None,
    store: Store | None,
    before: Before,
    costs: Costs | None = None,
    left: Mapping[str, int] | None = None,
) -> None:
    from arenaloop.calls.speeds import judging_time
    from arenaloop.judges.jury import Jury
    from arenaloop.terminal import counted, say, table

    say(console, f"{out}: {counted(len(outline.stages), 'stage')} ({', '.join(outline.stages)})", fold=True)
    say(console, f"  {' · '.join(outline.facts)}", fold=True)
    if before.told:
        head = "" if before.finished or costs is None else "; what is left:"
        say(console, f"  {before.told}{head}", fold=True)
    jury = None if judge is None else Jury.of(judge)
    if before.finished:  # a table of what is to come would be one of dashes
        pass
    elif costs is None:
        wanted = [(name, f"{prompts:>7,} prompts  ", n) for name, prompts, n in outline.calls]
        planned = wanted if left is None else [(name, "", n) for name, n in left.items()]
        calls = sum(n for _, _, n in planned)
        if wanted:
            what = "" if left is None else "left, "
            told = f"at most {counted(calls, 'judge call')} ({what}equal pairs of texts are asked once):"
            say(console, f"  {told if calls else 'no judge call is left'}", fold=True)
        for name, prompts, n in planned:
            say(console, f"    {name:<12} {prompts}{n:>9,} judge calls", fold=True)
        members = () if jury is None else jury.members
        for member in members if calls else ():
            if line := judging_time(store, member, calls // len(members)):
                say(console, f"  {line}", fold=True)
    else:
        console.print(table(costs.columns, costs.rows()))
        for line in costs.lines():
            say(console, line, fold=True)
    if jury is not None:
        for note in jury.notes:
            say(console, f"note: judge {jury.name}: {note}", fold=True)


def stage_table(stages: Sequence[Mapping[str, Any]], width: int) -> Table:
    """The stages as a terminal table: rating and interval, gold figures where the truth is known, rows and seconds."""
    from arenaloop.terminal import figure, span, table

    gold = ["gold accuracy"] if any(stage.get("gold_accuracy") is not None for stage in stages) else []
    cells = []
    for stage in stages:
        rated = [stage["name"], figure(stage["rating"], ".0f"), span(stage["lower"], stage["upper"], ".0f")]
        if gold:
            rated.append(figure(stage.get("gold_accuracy"), ".1%"))
        cells.append(
            [*rated, figure(stage["mean_length"], ".1f"), f"{stage['rows']:,}", figure(stage["seconds"], ".0f")]
        )
    return table(["stage", "rating", "95 % interval", *gold, "length", "rows", "seconds"], cells, width)


def _method_table(methods: Sequence[Mapping[str, Any]], width: int) -> Table:
    """Methods against a baseline; a narrow terminal gets the columns that matter most."""
    from arenaloop.terminal import figure, span, table

    def rate(row: Mapping[str, Any], start: str) -> str:
        value, lower, upper = (row.get(f"{start}{key}") for key in ("win_rate", "lower", "upper"))
        return figure(value, ".1f") + ("" if value is None or lower is None else f" ({span(lower, upper, '.1f')})")

    columns = {"simulated": [rate(row, "") for row in methods]}
    if any(row.get("gold_win_rate") is not None for row in methods):
        columns["by the truth"] = [rate(row, "gold_") for row in methods]
    columns |= {
        "controlled": [figure(row["lc_win_rate"], ".1f") for row in methods],
        "labels": [figure(row["labels"], ",") for row in methods],
        "CPU s": [figure(row["cpu_seconds"], ".0f") for row in methods],
        "rows": [figure(row["rows"], ",") for row in methods],
    }
    cells = zip(*columns.values(), strict=True)
    rows = [[str(row["method"]), *figures] for row, figures in zip(methods, cells, strict=True)]
    return table(["method", *columns], rows, width)
