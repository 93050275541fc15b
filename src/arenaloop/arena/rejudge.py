"""Re-judging: what battled in a finished run is judged again, by another template, judge or parser.

Contestants are never asked: their answers are found in the run's arena file by the hashes that the run's verdicts hold.
New verdicts go into the same arena file under their own keys, so both judgings stay; texts that a newer parser reads
otherwise get a further attempt under their old key. What is derived goes to ``DIR/rejudged/NAME/``, and is set beside
what stood in ``DIR``.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from arenaloop.arena.batches import play_batches
from arenaloop.arena.battles import play
from arenaloop.arena.fought import A_FIRST, B_FIRST, BOTH, Fought, Game
from arenaloop.arena.pairings import pairings
from arenaloop.arena.plan import BattlePlan
from arenaloop.arena.tournament import Tournament, write_results, write_summary
from arenaloop.calls.budget import Budget
from arenaloop.calls.progress import Tally
from arenaloop.config import BatchSettings
from arenaloop.errors import InputError
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.ratings.agreement import spearman
from arenaloop.ratings.rates import Rate, clustered_rate
from arenaloop.regular_files import read_regular
from arenaloop.store import Store
from arenaloop.store.counts import judge_usage
from arenaloop.types import Winner

__all__ = ["Rejudged", "directory_name", "rejudge", "reread_verdicts"]


def reread_verdicts(plan: BattlePlan, store: Store) -> int:
    """Read the stored texts behind a plan's verdicts with today's parsers; nothing is asked.

    A verdict that comes out otherwise is appended as a further attempt under its key, at no cost.

    Returns:
        How many came out otherwise.
    """
    judges = [judge for judge in plan.judges if isinstance(judge, PairwiseJudge)]
    changed = 0
    for prompt_id in plan.prompt_ids if judges else ():
        prompt = store.prompt(prompt_id)
        if prompt is None:
            continue
        answers = store.responses_of(prompt)
        said = {name: answers[key] for name, keys in plan.recorded.items() if (key := keys.get(prompt_id)) in answers}
        seatings = plan.seatings(prompt_id, plan.schedule.on(prompt_id))
        texts = {(said[a].text_hash, said[b].text_hash): (a, b) for a, b in seatings if a in said and b in said}
        for judge in judges:
            keys = [
                judge.key(prompt, said[a], said[b], sample)
                for a, b in texts.values()
                for sample in range(plan.reask + 1)
            ]
            for verdict in store.verdicts(keys).values():
                again = judge.reread(verdict)
                if again is not verdict:
                    store.add_verdict(again)
                    changed += 1
    store.flush()
    return changed


@dataclass(frozen=True)
class Rejudged:
    """A judging set beside the one that stood in the run directory.

    Attributes:
        directory: where its files are. `judge`: who judged.
        wanted: pairs on prompts; `decided_before`, `decided_after`: of them.
        compared: games decided in both judgings. `moved`: of them, those whose outcome is another, a share with its
            interval (prompts are clusters); `kinds`: by what became of them.
        reread: stored verdicts that today's parser reads otherwise.
        board: by model, rank and rating before and after. `spearman`: of the ratings.
        largest_rank_change: of any model.
        tally: what this invocation asked.
    """

    directory: Path
    judge: str
    wanted: int
    decided_before: int
    decided_after: int
    compared: int
    moved: Rate
    kinds: Mapping[str, int]
    reread: int
    flip_rate_before: float | None
    flip_rate_after: float | None
    board: Sequence[Mapping[str, Any]]
    spearman: float | None
    largest_rank_change: int | None
    tally: Tally

    @property
    def undecided(self) -> int:
        """Wanted pairs without an outcome."""
        return self.wanted - self.decided_after

    def to_json(self) -> dict[str, Any]:
        """Shares as fractions, missing as null; `calls`, `usd` and `cached` are this invocation's."""
        return {
            "directory": str(self.directory),
            "judge": self.judge,
            "battles_wanted": self.wanted,
            "decided_before": self.decided_before,
            "decided_after": self.decided_after,
            "compared": self.compared,
            "moved": sum(self.kinds.values()),
            "moved_share": self.moved.value,
            "moved_lower": self.moved.lower,
            "moved_upper": self.moved.upper,
            "kinds": dict(self.kinds),
            "reread": self.reread,
            "flip_rate_before": self.flip_rate_before,
            "flip_rate_after": self.flip_rate_after,
            "spearman": self.spearman,
            "largest_rank_change": self.largest_rank_change,
            "leaderboard": [dict(row) for row in self.board],
            "calls": self.tally.calls,
            "usd": self.tally.usd,
            "cached": self.tally.cached,
        }


def rejudge(
    directory: Path,
    store: Store,
    fought: Fought,
    plan: BattlePlan,
    out: Path,
    *,
    ask: bool = True,
    anchor: tuple[str, float] | None = None,
    on_progress: Callable[[Tally], None] | None = None,
    budget: Budget | None = None,
    batch: BatchSettings | None = None,
    say: Callable[[str], object] = lambda line: None,
    more: Mapping[str, Any] | None = None,
) -> Rejudged:
    """Judge a run's battles again and write ``battles.jsonl``, ``leaderboard.json`` and ``summary.json`` into `out`.

    Args:
        directory: the run; its ``battles.jsonl`` and ``leaderboard.json`` are what is compared with.
        fought: what battled (`fought.read_fought`).
        plan: the battles, from `fought.plan_again`.
        ask: False only reads stored texts again with today's parser: no call is made, what is missing stays undecided.
        anchor: a model of fixed rating.
        budget: what the whole arena file may have cost, the run itself counted.
        batch, say: to judge through batches, whose files stand beside the arena file; as of `play_batches`.
        more: further fields of the summary.

    Raises:
        InputError: ``leaderboard.json`` is missing or malformed.
        StoppedError: as of `play` or `play_batches`; what was stored stays, and the same call resumes.
    """
    before = _ranks(directory / "leaderboard.json")
    reread = reread_verdicts(plan, store)
    if not ask:
        tally = Tally()
    elif batch is None:
        tally = play(plan, store, on_progress, budget=budget)
    else:
        tally = play_batches(plan, store, store.path.parent / "batches", batch, on_progress, budget=budget, say=say)
    done = write_results(plan, store, out, tally, anchor=anchor)
    done.summary.wanted = plan.battles  # also on prompts that are not in the arena file
    tally = tally if ask else replace(tally, cached=done.summary.ok + sum(done.summary.failed.values()))
    compared, result = _compared(plan, store, fought), _board(before, done)
    known = [row for row in result if None not in (row["rating_before"], row["rating_after"])]
    changes = [abs(row["rank_after"] - row["rank_before"]) for row in known]
    decided = fought.decided
    rejudged = Rejudged(
        directory=out,
        judge=plan.judge.name,
        wanted=plan.battles,
        decided_before=decided,
        decided_after=done.summary.decided,
        compared=len(compared),
        moved=_share(compared),
        kinds=_kinds(compared),
        reread=reread,
        flip_rate_before=fought.flips / fought.both if fought.both and plan.seats == "both" else None,
        flip_rate_after=done.summary.flip_rate,
        board=result,
        spearman=spearman(*([row[key] for row in known] for key in ("rating_before", "rating_after"))),
        largest_rank_change=max(changes, default=None),
        tally=tally,
    )
    told = {key: value for key, value in rejudged.to_json().items() if key not in ("calls", "usd", "cached")}
    store.flush()
    usage = judge_usage(store, [judge.fingerprint for judge in plan.judges])  # answers were paid for by the run itself
    write_summary(out, store, done.summary, tally.cached, **usage._asdict(), **(more or {}), rejudged=told)
    return rejudged


class _Compared(NamedTuple):
    """A game decided in both judgings; `prompt` numbers its prompt."""

    prompt: int
    before: Winner
    after: Winner


def _compared(plan: BattlePlan, store: Store, fought: Fought) -> list[_Compared]:
    numbers = {prompt_id: n for n, prompt_id in enumerate(plan.prompt_ids)}
    found = []
    for pairing in pairings(plan, store):
        old = fought.outcomes.get(pairing.prompt_id, {})
        sides = ((pairing.a_first, A_FIRST), (pairing.b_first, B_FIRST))
        # with two_battles each decided seat has one; else there is one, of both seats or of the one that was decided
        seats = [(side,) for told, side in sides if told is not None and told.outcome is not None]
        for battle, some in zip(
            pairing.battles, seats if plan.merge == "two_battles" else [(BOTH, A_FIRST, B_FIRST)], strict=False
        ):
            games = (Game(pairing.model_a, pairing.model_b, side) for side in some)
            before = next((old[game] for game in games if game in old), None)
            if before is not None:
                found.append(_Compared(numbers[pairing.prompt_id], before, battle.winner))
    return found


def _share(compared: Sequence[_Compared]) -> Rate:
    moved = np.array([game.before != game.after for game in compared], dtype=float)
    return clustered_rate(moved, np.ones(len(compared)), np.array([game.prompt for game in compared], dtype=np.int64))


def _kinds(compared: Sequence[_Compared]) -> dict[str, int]:
    kinds = Counter(
        "win_to_tie" if game.after is Winner.TIE else "tie_to_win" if game.before is Winner.TIE else "win_to_loss"
        for game in compared
        if game.before != game.after
    )
    return {kind: kinds[kind] for kind in ("win_to_loss", "win_to_tie", "tie_to_win")}


def _ranks(path: Path) -> dict[str, tuple[int, float | None]]:
    try:
        rows = json.loads(read_regular(path))["leaderboard"]
        return {str(row["model"]): (place, row["rating"]) for place, row in enumerate(rows, 1)}
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; the run has not finished") from None
    except (ValueError, LookupError, TypeError):
        raise InputError(f"{path}: no leaderboard") from None


def _board(before: Mapping[str, tuple[int, float | None]], done: Tournament) -> list[dict[str, Any]]:
    """Both leaderboards beside each other, in the new order; a model that one of them lacks has nulls."""
    after = {row.model: (place, row.rating) for place, row in enumerate(done.leaderboard.rows, 1)}
    nothing = (None, None)
    return [
        {
            "model": model,
            "rank_before": before.get(model, nothing)[0],
            "rating_before": before.get(model, nothing)[1],
            "rank_after": after.get(model, nothing)[0],
            "rating_after": after.get(model, nothing)[1],
        }
        for model in dict.fromkeys([*after, *before])
    ]


def directory_name(*parts: str) -> str:
    """A file-safe name of what a judging is known by, e.g. ``labels-gpt-4o``."""
    safe = [re.sub(r"[^A-Za-z0-9._+-]+", "-", part).strip("-.") for part in parts]
    return "-".join(part for part in safe if part)[:120] or "rejudged"
