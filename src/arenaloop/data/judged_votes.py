"""Votes of several judges on the same battles, each by itself: from a run directory of a jury, or a table with judges.

What a jury's rule made of them is not looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from arenaloop.data.formats.judgments import battle_columns, is_own
from arenaloop.data.run_battles import arena_of, is_run, judged_hashes, read_failures, read_run
from arenaloop.errors import ArenaFileError, ConfigError, InputError, StorageError
from arenaloop.jsonl import read_rows
from arenaloop.ratings.arrays import BoolArray, IntArray, encode
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.outcomes import WINNER_SCORES
from arenaloop.ratings.seat_effect import between_equals
from arenaloop.regular_files import read_regular
from arenaloop.store import Store
from arenaloop.tables import file_error, table_rows
from arenaloop.types import Winner

__all__ = ["JudgedVotes", "games_of_run", "rated_jointly", "read_judged_votes", "votes_of_run"]

_BATCH = 2000


@dataclass(frozen=True, slots=True)
class JudgedVotes:
    """N votes.

    Attributes:
        battles: one a vote, with the first seat in column a.
        judge: codes into `judges`, shape (N,); their number for a battle that was lost by a failure of the model's own.
        judges: their names.
        failed: verdicts of members without an outcome, by judge.
        merged: the battles that the votes came to by the run's rule; None where each vote stands for itself.
        equal: votes between equal texts, where one verdict stands for either seat; None where that is not known.
    """

    battles: Battles
    judge: IntArray
    judges: tuple[str, ...]
    failed: dict[str, int]
    merged: Battles | None = None
    equal: BoolArray | None = None

    @property
    def games(self) -> Battles:
        """The votes that a judge gave, as games that tell of the seat (`ratings.seat_effect.between_equals`)."""
        given = self.judge < len(self.judges)
        if self.equal is None:
            return self.battles.rows(given)
        games, told = between_equals(self.battles, self.equal)
        return games.rows(given & told)


def read_judged_votes(path: Path) -> JudgedVotes:
    """The votes behind a run directory's battles, of a table with a column `judge`, or of other tools' judgments.

    Raises:
        ConfigError: there are no several judges here. InputError: what cannot be read.
    """
    directory = path.parent if path.name == "battles.jsonl" else path
    if is_run(directory) and (arena := arena_of(directory)) is not None:
        with Store(arena, readonly=True) as store:
            votes = votes_of_run(directory, store)
        votes = replace(votes, merged=read_run(directory))
    else:
        file = directory / "battles.jsonl" if is_run(directory) else path
        table = table_rows(file)
        first = list(islice(table, 1))
        if first and is_own(first[0][1]):
            raise ConfigError(f"{path}: a run's battles, merged by its rule: rule reliability wants the arena.db of it")
        told = battle_columns(chain(first, table), str(file), judged=True)
        if told.judges is None:
            raise ConfigError(f"{path}: rule reliability wants a column judge: it weighs several judges' votes")
        rows = list(zip(told.names_a, told.names_b, told.score, told.judges, strict=True))
        votes = _votes(rows, told.prompts, told.weight, {}, told.notes, str(file))
    if len(votes.judges) < 2:
        raise ConfigError(f"{path}: rule reliability weighs judges against each other; the votes here are of one")
    return votes


def rated_jointly(path: Path) -> bool:
    """Whether a path is a run whose leaderboard was rated by rule reliability."""
    directory = path.parent if path.name == "battles.jsonl" else path
    with suppress(OSError, ValueError):
        document = json.loads(read_regular(directory / "leaderboard.json"))
        return isinstance(document, dict) and document.get("rule") == "reliability" and arena_of(directory) is not None
    return False


def games_of_run(directory: Path, store: Store | None = None) -> Battles | None:
    """The verdicts behind a run directory's battles, each a game with the first seat in column a.

    Args:
        directory: with ``battles.jsonl``.
        store: its arena file; opened where it is not given.

    Returns:
        None where no arena file holds any of them.
    """
    if store is None:
        if (arena := arena_of(directory)) is None:
            return None
        try:
            with Store(arena, readonly=True) as opened:
                return games_of_run(directory, opened)
        except (ArenaFileError, StorageError):  # `read_run` says so
            return None
    try:
        return votes_of_run(directory, store).games
    except InputError:
        return None


def votes_of_run(directory: Path, store: Store) -> JudgedVotes:
    """Every member's verdict behind the battles of a run directory, as the arena file holds it.

    Raises:
        InputError: the directory's battles name no verdicts of `store`.
    """
    rows: list[tuple[Any, Any, float, Any]] = []
    prompts: list[str] = []
    equal: list[bool] = []
    failed: dict[str, int] = {}
    seen: set[tuple[str, str, str]] = set()
    for batch in _batches(directory / "battles.jsonl"):
        rulings = store.rulings([str(key) for row in batch for key in row.get("verdicts") or ()])
        for row in batch:
            if row.get("own_failure") is not None:
                rows.append((row["model_a"], row["model_b"], WINNER_SCORES[str(row["winner"])], ""))
                prompts.append(str(row.get("prompt_id")))
                equal.append(False)
                continue
            told = [rulings[key] for key in row.get("verdicts") or () if key in rulings]
            of_a, of_b = judged_hashes(row, told, store)
            for ruling in told:
                if ruling.outcome is None:
                    failed[ruling.judge] = failed.get(ruling.judge, 0) + 1
                    continue
                turned = ruling.first_hash != of_a
                if of_a == of_b:  # equal texts: one verdict stands for both seats
                    turned = False
                first, second = str(row["model_a"]), str(row["model_b"])
                if turned:
                    first, second = second, first
                if (ruling.key, first, second) in seen:
                    continue
                seen.add((ruling.key, first, second))
                score = WINNER_SCORES[Winner.of(ruling.outcome).value]
                rows.append((first, second, score, ruling.judge))
                prompts.append(str(row.get("prompt_id")))
                equal.append(of_a == of_b)
    if not any(row[3] for row in rows):
        raise InputError(f"{directory}: no verdicts behind its battles in {store.path.name}")
    notes = []
    if failed:
        told_of = ", ".join(f"{n:,} of {name}" for name, n in sorted(failed.items()))
        notes.append(f"verdicts without an outcome left out: {told_of}")
    votes = _votes(rows, prompts, None, failed, notes, str(directory), own=True, equal=equal)
    failures = read_failures(directory)
    if failures.undecided:
        notes.append(f"{len(failures.undecided):,} undecided battles: rule reliability does not bound what they change")
    battles = votes.battles.with_failures(((a, b) for _, a, b in failures.undecided), failures.lost)
    return replace(votes, battles=replace(battles, notes=tuple(dict.fromkeys([*battles.notes, *notes]))))


def _batches(path: Path) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for _, row in read_rows(path):
        batch.append(row)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    yield batch


def _votes(
    rows: Sequence[tuple[Any, Any, float, Any]],
    prompts: Sequence[Any] | None,
    weight: Any,
    failed: dict[str, int],
    notes: Sequence[str],
    source: str,
    *,
    own: bool = False,
    equal: Sequence[bool] | None = None,
) -> JudgedVotes:
    """Votes from (model in the first seat, in the second, its score, judge); with `own` some may have no judge."""
    names = ["" if row[3] is None else str(row[3]) for row in rows]
    known = np.array([bool(name.strip()) for name in names], dtype=bool)
    nameless = int(np.count_nonzero(~known))
    codes, judges = encode([name for name in names if name.strip()])
    judge = np.full(len(rows), float(len(judges)))
    judge[known] = codes
    score = np.array([row[2] for row in rows], dtype=np.float64)
    more = []
    if nameless and not own:
        score[~known] = np.nan
        more = [f"{nameless:,} of {len(rows):,} votes without a judge's name left out"]
    try:
        battles = Battles.from_names(
            [row[0] for row in rows],
            [row[1] for row in rows],
            score,
            weight=weight,
            prompt_ids=prompts,
            covariates={"judge": judge} | ({} if equal is None else {"equal": np.array(equal, dtype=np.float64)}),
            notes=(*notes, *more),
        )
    except ValueError as error:
        raise file_error(source, error) from None
    order = sorted(range(len(judges)), key=lambda code: judges[code])
    place = np.append(np.argsort(order), len(judges)).astype(np.int64)
    of = place[battles.covariates["judge"].astype(np.int64)] if len(battles) else np.zeros(0, dtype=np.int64)
    alike = None if equal is None else battles.covariates["equal"] > 0
    of_votes = tuple(judges[code] for code in order)
    return JudgedVotes(replace(battles, covariates={}), of, of_votes, failed, equal=alike)
