"""A battle from settings to a leaderboard: what can be refused, the play, what is written, what is told."""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from arenaloop.arena.batches import check_batches, play_batches
from arenaloop.arena.matchmaking import schedule
from arenaloop.arena.pairings import pairings
from arenaloop.arena.plan import BattlePlan
from arenaloop.arena.planned import estimate_plan
from arenaloop.arena.preflight import preflight
from arenaloop.arena.shards import part_of, plan_parts
from arenaloop.arena.standing import decided_before, write_standing
from arenaloop.arena.tournament import Tournament, run_tournament, unasked, write_results, write_summary
from arenaloop.audit.suspects import Suspect, flag_counts, suspects, suspicious_line
from arenaloop.calls.batch import batch_seconds
from arenaloop.calls.budget import Budget, require_prices
from arenaloop.calls.costs import HumanLabel, cost_line, estimated_line, human_equivalent, human_line
from arenaloop.calls.engines.chosen import using
from arenaloop.calls.estimated import Estimate
from arenaloop.calls.progress import Tally
from arenaloop.calls.recorded import ingest_recorded, match_recorded, recorded_failures, recorded_notes
from arenaloop.calls.shards import ANCHOR, Claim, Shard, claim, refuse_other, unlike_parts
from arenaloop.cli.battle_standing import changed, refuse_leaving, undecides
from arenaloop.cli.directory import ARENA, PROGRESS, open_directory, refuse_results_alone, say_lost, write_settings
from arenaloop.cli.earlier import drop_returned, set_aside
from arenaloop.cli.merge import arena_of, refuse_unmergeable
from arenaloop.cli.money import known_prices, settle_batches
from arenaloop.cli.progress import Watch, say_notices, say_undecided
from arenaloop.cli.written_report import written_report
from arenaloop.config import BattleSettings
from arenaloop.errors import ConfigError, InputError, StoppedError, StorageError
from arenaloop.models.secrets import without_secrets
from arenaloop.specs import contestant, judge, load_prompts, outside_sandbox, self_preference
from arenaloop.store import Store, Usage
from arenaloop.store.counts import commonest_error, unread_example
from arenaloop.store.merge import merge
from arenaloop.terminal import counted, say
from arenaloop.types import Prompt

__all__ = ["execute", "plan_of", "settle"]

_LOOKED_AT = 5_000  # answers that are searched for suspicious ones at the end of a run; the report looks at more


def execute(
    settings: BattleSettings,
    out: Path,
    anchor: tuple[str, float] | None = None,
    *,
    dry_run: bool = False,
    as_json: bool = False,
    forget: bool = False,
    measure: bool = False,
    replace: bool = False,
    reuse: Sequence[Path] = (),
    ask_first: bool = True,
    prices: Path | None = None,
) -> None:
    """Run a battle into a directory, or resume it there; with `forget`, batches that are not collected are given up.

    Rows that directories of `reuse` have are taken from there, and count here as found. With `replace`, what stands on
    the directory's board and is not part of this battle may leave it.

    A budget counts earlier calls that had no price by a file of `prices`, and by those of the settings.

    With `ask_first`, every server is asked once before all others. With `measure`, the dry run loads local models whose
    speed is not known, and times a few of their calls.

    Raises:
        ConfigError, InputError: before anything is written.
        StoppedError: the budget is spent, a server is down, or batches are on their way; resumable.
        typer.Exit: with code 3, where battles stayed undecided.
    """
    run = _BattleRun(settings, out, anchor, prices=prices)
    if run.claimed is not None and (out / ARENA).exists():
        with Store(out / ARENA, readonly=True) as there:
            run.claim(there, keep=False)
    if not replace:
        refuse_leaving(out, settings, run.plan)
    for line in changed(out, settings):
        say(run.messages, f"note: {line}", fold=True)
    for directory in reuse:
        refuse_unmergeable(directory, out)
    if dry_run:
        run.rehearse(as_json=as_json, measure=measure, reuse=reuse)
        return
    with using(settings), open_directory(out) as store:
        run.claim(store)
        for directory in reuse:
            run.reuse(store, directory)
        run.begin(store, forget=forget, replace=replace)
        try:
            result = run.play(store, ask_first=ask_first)
        except (StoppedError, KeyboardInterrupt) as stop:
            run.stop(store, stop, as_json=as_json)
            raise
        run.finish(store, result, as_json=as_json)
    if result.undecided:
        raise typer.Exit(3)


def plan_of(settings: BattleSettings) -> BattlePlan:
    """The battles of some settings, without a word.

    Raises:
        ConfigError, InputError: as of `execute`.
    """
    return _BattleRun(settings, Path(), None, quiet=True).plan


def settle(
    settings: BattleSettings,
    out: Path,
    store: Store,
    why: str,
    *,
    anchor: tuple[str, float] | None = None,
    parts: Mapping[str, str] | None = None,
) -> tuple[Tournament, bool]:
    """Write all results of a battle from what is stored, those of a run that is not through if it is not; ask nothing.

    Args:
        why: it is not through, should it not be.
        anchor: as of `execute`.
        parts: what the plan is known to be made of (as of `Claim`).

    Returns:
        What was written, and whether the run is through.

    Raises:
        ConfigError, InputError: the settings do not tell from here what was to battle, or something else than `parts`.
    """
    unlimited = settings.model_copy(update={"budget_usd": None, "budget_calls": None})  # which may want prices
    run = _BattleRun(unlimited, out, anchor, quiet=True)
    if parts is not None and (odd := unlike_parts(plan_parts(run.plan), parts)):
        raise InputError(f"another {', another '.join(odd)} than the shards had")
    asked = 0 if run.plan.schedule.wanted is not None else sum(not unasked(one) for one in pairings(run.plan, store))
    if asked == run.plan.battles:
        result = write_results(run.plan, store, out, Tally(), anchor=anchor)
        run.summarise(store, result)
    else:
        result, _ = write_standing(run.plan, store, out, why, anchor=anchor, seconds=run.seconds(store))
    if (out / "report.html").is_file():  # of what was there before
        written_report(out, result.leaderboard.battles)
    return result, asked == run.plan.battles


class _BattleRun:
    """The steps of one battle run; making it refuses all that can be refused without looking into the directory."""

    def __init__(
        self,
        settings: BattleSettings,
        out: Path,
        anchor: tuple[str, float] | None,
        *,
        quiet: bool = False,
        prices: Path | None = None,
    ) -> None:
        self.settings, self.out, self.anchor = settings, out, anchor
        self.messages = Console(stderr=True, quiet=quiet)
        loaded = load_prompts(settings.prompts, settings.seed)
        self.prompts, self.duplicates = loaded.prompts[: settings.limit], loaded.duplicates
        if not self.prompts:
            raise InputError(f"{settings.prompts}: no prompts in it")
        if loaded.unknown:
            self._say(f"note: {settings.prompts}: columns not used: {', '.join(loaded.unknown)}")
        for line in loaded.odd:
            self._say(f"warning: {settings.prompts}: {line}")
        if loaded.beside:
            self._say(f"{settings.prompts}: {loaded.beside}")
        contestants = [contestant(model.with_concurrency(settings.concurrency)) for model in settings.models]
        self.names = [c.name for c in contestants]
        self._check_anchor()
        ids = [prompt.id for prompt in self.prompts]
        self.plan = BattlePlan(
            contestants=contestants,
            judge=judge(settings.judge.with_concurrency(settings.concurrency)),
            prompt_ids=ids,
            schedule=schedule(
                settings.pairs, self.names, ids, settings.seed, calls_per_battle=settings.calls_per_battle
            ),
            recorded=match_recorded(contestants, self.prompts, allow_missing=settings.allow_missing),
            seed=settings.seed,
            merge=settings.merge,
            one_seat_failed=settings.one_seat_failed,
            reask=settings.judge.reask,
            concurrency=settings.concurrency,
            seats=settings.seats,
            own_failure=settings.own_failure,
        )
        self.shard = None if settings.shard is None else Shard.parse(settings.shard)
        self.claimed: Claim | None = None
        if self.shard is not None:
            told = settings.model_dump(mode="json")
            more = {} if anchor is None else {ANCHOR: f"{anchor[0]}={anchor[1]!r}"}
            self.claimed = claim("battle", self.shard, plan_parts(self.plan) | more, told, ids)
            self.plan = part_of(self.plan, self.shard)
            self.prompts = tuple(prompt for prompt in self.prompts if self.shard.holds(prompt.id))
        self.expected: Estimate | None = None
        self.earlier: str | None = None
        self.human = HumanLabel(settings.human.usd, settings.human.seconds)
        self.budget = Budget(settings.budget_usd, settings.budget_calls, prices=known_prices(settings, prices))
        require_prices(self.budget, self.plan.models)
        self.failed_answers = recorded_failures(contestants)
        for note in recorded_notes(contestants):
            self._say(f"warning: {note}")
        for note in getattr(self.plan.judge, "notes", ()):  # of recorded labels
            self._say(f"note: judge {self.plan.judge.name}: {note}")
        for line in self_preference(settings.judge, settings.models):
            self._say(f"warning: {line}")
        self.outside = outside_sandbox(settings.judge, self.prompts)
        if settings.batch is not None:
            check_batches(self.plan)

    def _check_anchor(self) -> None:
        if self.anchor is None:
            return
        name, rating = self.anchor
        if name not in self.names:
            raise ConfigError(f"--anchor {name}: no such model; there are {', '.join(self.names)}")
        if not math.isfinite(rating):
            raise ConfigError(f"--anchor {name}={rating:g}: a rating is a finite number")

    def rehearse(self, *, as_json: bool, measure: bool = False, reuse: Sequence[Path] = ()) -> None:
        """Say what would be done; run directories that are there are read, and nothing is written to them."""
        arena = self.out / ARENA
        refuse_results_alone(self.out)
        with ExitStack() as opened:
            store = opened.enter_context(Store(arena, readonly=True)) if arena.exists() else None
            if store is not None:
                say_lost(store, self.messages)
                self.claim(store, keep=False)
                self.budget.begin(store)
            if reuse:  # what would be there is put together elsewhere
                there = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="arenaloop-")))
                whole = opened.enter_context(Store(there / ARENA))
                if store is not None:
                    merge(whole, store, prompts=frozenset(self.plan.prompt_ids))
                for directory in reuse:
                    self.reuse(whole, directory)
                store = whole
            expected = self._estimate({prompt.id: prompt for prompt in self.prompts}.get, store, measure=measure)
            self._print_plan(expected, store)
        for line in expected.lines():
            self._say(line)
        if self.outside:
            self._say(f"warning: {self.outside}")
        if as_json:
            document = {
                "out": str(self.out),
                "models": self.names,
                "judge": self.plan.judge.name,
                "prompts": len(self.plan.prompt_ids),
                "battles": self.plan.battles,
                "estimate": expected.to_json(),
            }
            sys.stdout.write(json.dumps(document, indent=2) + "\n")

    def claim(self, store: Store, *, keep: bool = True) -> None:
        """Refuse a directory that holds another shard, or rows of none; with `keep` it is this one's from then on."""
        refuse_other(store, self.out, self.claimed, "battle", keep=keep)

    def begin(self, store: Store, *, forget: bool, replace: bool = False) -> None:
        """Refuse what the directory does not allow; then the settings, prompts and recorded answers are stored.

        A board that other settings made is set aside before.
        """
        self.budget.begin(store)  # refuses where it cannot count, before anything is written
        batch = self.settings.batch is not None
        settle_batches(store, self.plan.judges, self.budget, self.out, batch=batch, forget=forget)
        if undecides(self.out, self.settings, self.plan, store, replace_=replace):
            self.earlier = set_aside(self.out, "battle")
        write_settings(self.out, self.settings)
        store.add_prompts(self.prompts)
        ingest_recorded(store, self.plan.contestants, self.prompts, self.plan.recorded)
        store.flush()
        self.prompts = ()  # from here on they are read from the arena file as they are needed
        self.expected = self._estimate(store.prompt, store)
        self._print_plan(self.expected, store)
        for line in self.expected.head():
            self._say(line)

    def reuse(self, store: Store, directory: Path) -> None:
        """Take from another run what it has about these prompts."""
        with Store(arena_of(directory), readonly=True) as other:
            merged = merge(store, other, prompts=frozenset(self.plan.prompt_ids), paid=False)
        self._say(f"{directory}: {merged.told()}")

    def play(self, store: Store, *, ask_first: bool = True) -> Tournament:
        """Ask what is missing, and write battles and leaderboard."""
        plan, anchor = self.plan, self.anchor
        if ask_first:
            live = self.settings.batch is None  # a batch's judge is tried by ordering it, which costs nothing
            for line in preflight(plan, store, self.budget, judging=live).warnings:
                self._say(f"warning: {line}")
        with Watch(self.messages, "battles", self.expected, kept=self.out / PROGRESS) as watch:
            if self.settings.batch is None:
                return run_tournament(plan, store, self.out, anchor=anchor, on_progress=watch.tally, budget=self.budget)
            folder = self.out / "batches"
            tally = play_batches(
                plan, store, folder, self.settings.batch, watch.tally, budget=self.budget, say=self._say
            )
            return write_results(plan, store, self.out, tally, anchor=anchor)

    def stop(self, store: Store, stop: BaseException, *, as_json: bool) -> None:
        """Write all result files as they stand, the report too, and print them; the stop itself is said by others.

        A disk that is full, or a file that is not there any more, takes nothing more.
        """
        if isinstance(stop, StorageError):
            return
        why = without_secrets(" ".join(str(stop).split())) or "interrupted"
        with suppress(StorageError, OSError):
            store.flush()
            more = {"seconds": self.seconds(store)} | self._of_shard()
            result, summary = write_standing(
                self.plan, store, self.out, why.partition("; ")[0], anchor=self.anchor, **more
            )
            report = written_report(self.out, result.leaderboard.battles)
            self._tell_earlier()
            if as_json:
                sys.stdout.write(json.dumps(summary, indent=2) + "\n")
            elif result.leaderboard.battles:
                _print_result(result, report, store.usage())
            else:
                say(self.messages, f"no battle decided of {self.plan.battles:,}")

    def _tell_earlier(self) -> None:
        """Say where the board of other settings is, unless it stands here again."""
        drop_returned(self.out)
        if self.earlier is not None:
            self._say(f"note: {self.earlier}")

    def _of_shard(self) -> dict[str, Any]:
        return {} if self.claimed is None else {"shard": self.claimed.summary()}

    def seconds(self, store: Store) -> float:
        """Wall time from the first call to the last stored one; waiting for batches is time, too."""
        return float(store.usage().seconds + batch_seconds(store))

    def summarise(self, store: Store, result: Tournament) -> tuple[dict[str, Any], list[Suspect]]:
        """Write ``summary.json`` of a run that is through."""
        flagged = suspects(store, self.names, limit=max(100, _LOOKED_AT // len(self.names)))
        more: dict[str, Any] = {"suspicious": counts} if (counts := flag_counts(flagged)) else {}
        usage, seconds = store.usage(), self.seconds(store)
        people = human_equivalent(result.summary.decided, usage.usd, seconds, self.human).to_json()
        more |= {"failed_answers": self.failed_answers} if self.failed_answers else {}
        more |= {"seconds": seconds, "human_equivalent": people} | self._of_shard()
        summary = write_summary(self.out, store, result.summary, result.tally.cached, **more)
        return summary, flagged

    def finish(self, store: Store, result: Tournament, *, as_json: bool) -> None:
        """Write ``summary.json``, print the result, and on stderr what its reader should know besides."""
        summary, flagged = self.summarise(store, result)
        usage, people = store.usage(), summary["human_equivalent"]
        report = written_report(self.out, result.leaderboard.battles)
        self._tell_earlier()
        if as_json:
            sys.stdout.write(json.dumps(summary, indent=2) + "\n")
        else:
            _print_result(result, report, usage, people)
        if self.outside:
            self._say(f"warning: {self.outside}")
        if line := estimated_line(usage):
            self._say(line)
        if line := suspicious_line(flagged):
            self._say(f"suspicious: {line}; see the report")
        say_notices(self.messages, store)
        if result.undecided:
            say_undecided(self.messages, summary, commonest_error(store), unread_example(store))
        elif self.settings.judge.jury and self.settings.batch is None and result.tally.failed:
            self._say(
                f"{result.tally.failed:,} verdicts of the jury's members without outcome; the others decided; run "
                "again to ask again"
            )

    def _estimate(
        self, prompt_of: Callable[[str], Prompt | None], store: Store | None, *, measure: bool = False
    ) -> Estimate:
        batch = self.settings.batch is not None
        return estimate_plan(self.plan, prompt_of, store, batch=batch, human=self.human, measure=measure)

    def _print_plan(self, expected: Estimate, store: Store | None) -> None:
        plan = self.plan
        answers = sum(1 for c in plan.contestants if c.name not in plan.recorded) * len(plan.prompt_ids)
        if self.claimed is not None:
            self._say(f"{self.out}: {self.claimed.line()}")
        repeated = f" ({self.duplicates:,} more repeat one of them)" if self.duplicates else ""
        most = f"at most {counted(plan.verdicts, 'judge call')} and {counted(answers, 'answer')}"
        self._say(
            f"{self.out}: {counted(len(plan.contestants), 'model')} · "
            f"{counted(len(plan.prompt_ids), 'prompt')}{repeated} · "
            f"{decided_before(plan, store)} · {expected.ahead(most)} · judge {plan.judge.name}"
        )

    def _say(self, line: str) -> None:
        say(self.messages, line, on_screen=True)


def _print_result(result: Tournament, report: str, usage: Usage, people: dict[str, Any] | None = None) -> None:
    """The leaderboard and what goes with it; without `people`, of a run that is not through."""
    console = Console()
    result.leaderboard.show(console)
    say(console, result.leaderboard.caption(), style="dim", fold=True)
    for note in result.leaderboard.notes:
        say(console, f"note: {note}", fold=True)
    shares = result.summary.to_json()
    rates = " · ".join(
        f"{name} {shares[key]:.1%}"
        for name, key in (("flips between seats", "flip_rate"), ("first seat wins", "first_seat_win_rate"))
        if isinstance(shares[key], float)
    )
    say(console, rates, style="dim", fold=True)
    cost = cost_line(usage.calls, usage.tokens_in + usage.tokens_out, usage.usd, usage.usd_estimated)
    say(console, f"so far {cost}" if people is None else f"this run took {cost}", style="dim", fold=True)
    if people is not None and (line := human_line(people)):
        say(console, line, style="dim", fold=True)
    say(console, report, style="dim")
