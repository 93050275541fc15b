"""Battles of a run directory with what their file leaves out: which have no outcome, how long the answers were, and
whether the arena file beside it tells the same."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal

from arenaloop.data.formats.battles import read_battles
from arenaloop.data.formats.judgments import battles_from_rows
from arenaloop.data.formats.repeated import OWN_COLUMNS, once, own_frame
from arenaloop.data.probabilities import judged_share
from arenaloop.data.result_files import check_whole, not_through
from arenaloop.data.style import Style, measured, style_of
from arenaloop.errors import ArenaFileError, InputError, StorageError
from arenaloop.jsonl import JsonRow, read_rows, row_error
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.style_features import FEATURES, feature_names, is_style
from arenaloop.regular_files import open_regular, refuse_others
from arenaloop.store import Store
from arenaloop.tables import file_error
from arenaloop.types import Outcome, Ruling, Winner

__all__ = [
    "Failures",
    "OwnFailure",
    "arena_of",
    "at_odds",
    "is_run",
    "judged_hashes",
    "read_failures",
    "read_run",
    "rows_that_count",
    "rows_with_lengths",
    "run_slices",
    "with_undecided",
]

OwnFailure = Literal["loss", "drop"]

_BATCH = 2000
_WHOLE = 1 << 20  # bytes of a file whose battles are all compared with the arena file; of a longer one some are


@dataclass
class Failures:
    """Battles of a run directory that no verdict decided.

    Attributes:
        lost: how many a model lost by its own failure; these are among the battles. `lost_on`: on which prompts.
        undecided: prompt and models of those without an outcome.
        changed: whether the policy is another than that under which the directory was written.
        losses: rows of ``battles.jsonl`` that the policy adds.
    """

    lost: Counter[str] = field(default_factory=Counter)
    lost_on: list[tuple[str, str]] = field(default_factory=list)
    undecided: list[tuple[str, str, str]] = field(default_factory=list)
    changed: bool = False
    losses: list[JsonRow] = field(default_factory=list)

    def add_loss(self, prompt: object, model: object) -> None:
        """Count a model's loss by own failure."""
        self.lost[str(model)] += 1
        self.lost_on.append((str(prompt), str(model)))


def is_run(path: Path) -> bool:
    """Whether a path is a run directory with battles; raises InputError where what should be its file is none."""
    refuse_others([path / "battles.jsonl"])
    return (path / "battles.jsonl").is_file()


def read_failures(directory: Path, own_failure: OwnFailure | None = None) -> Failures:
    """What of a run directory's battles no verdict decided.

    Args:
        directory: with ``battles.jsonl``, and ``undecided.jsonl`` where anything is undecided.
        own_failure: what becomes of battles that one contestant left undecided by its own failure; None for what the
            directory was written with.

    Raises:
        InputError: a row is none of ours.
    """
    found = Failures()
    path = directory / "undecided.jsonl"
    refuse_others([path])
    if not is_run(directory):
        raise InputError(f"{directory}: no battles.jsonl here")
    seen: set[tuple[str, str, str]] = set()
    for line, row in read_rows(path) if path.is_file() else ():
        try:
            prompt, a, b, loser = str(row["prompt_id"]), str(row["model_a"]), str(row["model_b"]), row["own_failure"]
        except KeyError as error:
            raise row_error(path, line, f"no undecided battle: {error} is missing") from None
        if (prompt, a, b) in seen:  # the file was put behind itself
            continue
        seen.add((prompt, a, b))
        if loser is None or own_failure != "loss":
            found.undecided.append((prompt, a, b))
            continue
        winner = Winner.MODEL_B if loser == a else Winner.MODEL_A
        found.losses.append(row | {"winner": winner.value})
        found.add_loss(prompt, loser)
    for row in _lost_rows(directory / "battles.jsonl"):
        if own_failure == "drop":
            found.undecided.append((str(row["prompt_id"]), str(row["model_a"]), str(row["model_b"])))
            found.changed = True
        else:
            found.add_loss(row["prompt_id"], row["own_failure"])
    found.changed |= bool(found.losses)
    return found


def _lost_rows(path: Path) -> Iterator[JsonRow]:
    """Rows of battles that were lost by own failure, each once; a file without any is passed over unread."""
    with open_regular(path) as file:
        if not any(b'"own_failure"' in line for line in file):
            return
    cells: dict[str, list[Any]] = {name: [] for name in OWN_COLUMNS}
    lines: list[int] = []
    for line, row in read_rows(path):
        lines.append(line)
        for name, column in cells.items():
            column.append(row.get(name))
    try:
        kept, _ = once(own_frame(cells), lambda index: f"line {lines[index]}")
    except ValueError as error:
        raise file_error(path, error) from None
    for values in itertools.compress(
        zip(*cells.values(), strict=True), itertools.repeat(True) if kept is None else kept
    ):
        row = dict(zip(cells, values, strict=True))
        if row["own_failure"] is not None:
            yield row


def read_run(
    directory: Path,
    *,
    controls: Sequence[str] = (),
    own_failure: OwnFailure | None = None,
    by: str | Mapping[str, str] | None = None,
) -> Battles:
    """The battles of a run directory, with those that no verdict decided; arguments as of `read_failures`.

    Args:
        controls: covariates; the arena file knows ``length`` and style. A battle lost by own failure has none, and
            counts as one between equals: left out, the loss would be escaped again.
        by: a tag of the prompts, or a column of the battles, to slice by; or its value by each prompt's id.

    Raises:
        InputError: as of `read_battles`, or no prompt carries the tag.
    """
    tags = by if isinstance(by, Mapping) else run_slices(directory, by)
    failures = read_failures(directory, own_failure)
    path = directory / "battles.jsonl"
    if controls and set(feature_names(controls)) <= {*FEATURES} and arena_of(directory) is not None:
        rows = enumerate(rows_with_lengths(directory, failures, styled=is_style(controls)), start=1)
        battles = battles_from_rows(rows, str(directory), controls=controls, by=tags)
    elif failures.changed:
        battles = battles_from_rows(rows_that_count(path, failures), str(directory), controls=controls, by=tags)
        check_whole(directory)
    else:
        battles = read_battles(directory, controls=controls, by=tags)
    return with_undecided(battles, failures, tags, directory)


def with_undecided(
    battles: Battles,
    failures: Failures,
    tags: str | Mapping[str, str] | None,
    directory: Path,
    *,
    notes: Sequence[str] = (),
) -> Battles:
    """The battles of a run directory with what was decided by no verdict, and what there is to say of the directory.

    Args:
        battles: those that count. failures: what `read_failures` found. tags: what they are sliced by.
        directory: of the run. notes: what else is to be said of them, first.
    """
    value = tags.get if isinstance(tags, Mapping) else lambda _: None
    battles = battles.with_failures(
        ((a, b) for _, a, b in failures.undecided),
        failures.lost,
        tags=[value(prompt) for prompt, _, _ in failures.undecided],
        failed=[(model, value(prompt)) for prompt, model in failures.lost_on],
    )
    return replace(battles, notes=(*battles.notes, *notes, *at_odds(directory), *not_through(directory)))


def run_slices(directory: Path, by: str | None) -> str | Mapping[str, str] | None:
    """What the battles are sliced by: the value of that tag by prompt, or a column of their file.

    Raises:
        InputError: as of `read_run`.
    """
    arena = arena_of(directory)
    if by is None or arena is None:
        return by
    found: dict[str, str] = {}
    carried: set[str] = set()
    with Store(arena, readonly=True) as store:
        for prompt in store.prompts():
            carried |= prompt.tags.keys()
            if (value := prompt.tags.get(by)) is not None:
                found[prompt.id] = str(value)
    if found:
        return found
    if by in next((row for _, row in read_rows(directory / "battles.jsonl")), {}):
        return by
    known = ", ".join(sorted(carried)) or "none"
    raise InputError(f"{directory}: no prompt carries the tag {by} to slice by (they carry: {known})")


def at_odds(directory: Path) -> list[str]:
    """One line where ``battles.jsonl`` and the arena file beside it differ; of a long file some battles are compared.

    A battle is at odds with its verdicts where the arena file lacks one, or all of them name another winner.
    """
    arena, path = arena_of(directory), directory / "battles.jsonl"
    if arena is None:
        return []
    rows = [row for row in _spread(path) if row.get("own_failure") is None and isinstance(row.get("verdicts"), list)]
    rows = [row for row in rows if row["verdicts"]]
    try:
        with Store(arena, readonly=True) as store:
            rulings = store.rulings([str(key) for row in rows for key in row["verdicts"]])
            reasons = [(row, reason) for row in rows if (reason := _odds(row, rulings, store))]
    except (ArenaFileError, StorageError) as error:
        return [f"not compared with the arena file beside it: {error}"]
    if not reasons:
        return []
    first, reason = reasons[0]
    looked = "" if path.stat().st_size <= _WHOLE else " looked at"
    return [
        f"{len(reasons):,} of {len(rows):,} battles{looked} in {path.name} are at odds with {arena.name} beside it, "
        f"and count as the former has them (first {first.get('model_a')} against {first.get('model_b')} on prompt "
        f"{first.get('prompt_id')}: {reason})"
    ]


def _spread(path: Path) -> Iterator[JsonRow]:
    """The rows of a short file; of a long one some from all over it."""
    with open_regular(path) as file:
        size = path.stat().st_size
        lines: Iterable[bytes] = file
        if size > _WHOLE:
            lines = (_line_at(file, at * size // _BATCH) for at in range(_BATCH))
        for line in lines:
            with suppress(ValueError):  # a broken line is named by whoever reads them all
                if isinstance(row := json.loads(line or b"null"), dict):
                    yield row


def _line_at(file: BufferedReader, at: int) -> bytes:
    """The first line that begins behind a place."""
    file.seek(at)
    if at:
        file.readline()
    return file.readline()


def _odds(row: JsonRow, rulings: Mapping[str, Ruling], store: Store) -> str:
    """What is at odds between a battle and its verdicts; empty where nothing is."""
    told = [rulings[key] for key in map(str, row["verdicts"]) if key in rulings]
    if len(told) < len(row["verdicts"]):
        return "its verdicts are not there"
    hashes = told[0].first_hash, told[0].second_hash
    if hashes[0] == hashes[1] or any(ruling.outcome is None for ruling in told):
        return ""
    b_first = _b_is_first(row, told, store)
    winners = set[str]()
    for ruling in told:
        assert ruling.outcome is not None
        turned = b_first is ((ruling.first_hash, ruling.second_hash) == hashes)
        winners.add(Winner.of(ruling.outcome.swap() if turned else ruling.outcome).value)
    return f"its verdicts say {winners.pop()}" if len(winners) == 1 and row.get("winner") not in winners else ""


def rows_that_count(path: Path, failures: Failures, *, shares: bool = False) -> Iterator[tuple[int, JsonRow]]:
    """(line, row) of the battles that count, as the policy behind `failures` has it; `shares` as in
    `rows_with_lengths`."""
    dropped = set(failures.undecided)
    for line, row in read_rows(path):
        lost = row.get("own_failure") is not None
        if not (lost and (row.get("prompt_id"), row.get("model_a"), row.get("model_b")) in dropped):
            yield line, _alike(row, shares)
    yield from enumerate((_alike(row, shares) for row in failures.losses), start=1)


def _alike(row: JsonRow, shares: bool) -> JsonRow:
    """What ratings and lengths need of a row, the same fields whether a verdict decided it or not."""
    told = {name: row.get(name) for name in ("prompt_id", "model_a", "model_b", "winner", "verdicts", "own_failure")}
    if shares:
        told["score_a"] = judged_share(row)
        del told["winner"]
    return told


def arena_of(directory: Path) -> Path | None:
    """The arena file behind a run directory's battles: its own, or for one below ``rejudged/`` that above."""
    if not is_run(directory):
        return None
    arenas = (directory / "arena.db", directory.resolve().parent.parent / "arena.db")
    return next((path for path in arenas if path.is_file()), None)


def rows_with_lengths(
    directory: Path, failures: Failures | None = None, *, styled: bool = False, shares: bool = False
) -> Iterator[dict[str, Any]]:
    """Rows of ``battles.jsonl`` with `length_a` and `length_b`: characters of the texts that were judged, all turns.

    A battle lost by own failure has lengths of 0. `failures` is what `read_failures` found there. With `styled` there
    are the other features of style as well. With `shares`, of a run whose judge `gives_probabilities`, `score_a` is in
    the place of `winner`.

    The texts are found by the verdicts behind each battle, so that answers given under other settings, or by models of
    the same name, are not mixed in. A length is null where the arena file no longer holds the verdict.

    Raises:
        InputError: the directory has no battles, or no arena file.
    """
    path, arena = directory / "battles.jsonl", arena_of(directory)
    if arena is None:
        raise InputError(f"{directory}: no battles.jsonl with an arena.db here, which holds the answers' lengths")
    with Store(arena, readonly=True) as store:
        names = FEATURES if styled else FEATURES[:1]
        counted: dict[str, Style | None] = {}
        batch: list[dict[str, Any]] = []
        for _, row in rows_that_count(path, failures or Failures(), shares=shares):
            batch.append(row)
            if len(batch) == _BATCH:
                yield from _measured(batch, store, names, counted)
                batch = []
        yield from _measured(batch, store, names, counted)
    check_whole(directory)


def _measured(
    rows: list[dict[str, Any]], store: Store, names: Sequence[str], counted: dict[str, Style | None]
) -> Iterator[dict[str, Any]]:
    keys = [str(key) for row in rows for key in row.get("verdicts") or ()]
    rulings = store.rulings(keys)
    for row in rows:
        if row.get("own_failure") is not None:
            yield row | {f"{name}{side}": 0.0 for name in names for side in ("_a", "_b")}
            continue
        told = [rulings[key] for key in row.get("verdicts") or () if key in rulings]
        for side, text_hash in zip(("_a", "_b"), judged_hashes(row, told, store), strict=True):
            if text_hash is not None and text_hash not in counted:
                texts = store.texts(text_hash)
                counted[text_hash] = None if texts is None else style_of(texts) if len(names) > 1 else measured(texts)
            style = None if text_hash is None else counted[text_hash]
            row |= {f"{name}{side}": None if style is None else float(getattr(style, name)) for name in names}
        yield row


def judged_hashes(row: Mapping[str, Any], told: Sequence[Ruling], store: Store) -> tuple[str, str] | tuple[None, None]:
    """The `text_hash` of what `model_a` and `model_b` said in a battle; None where no verdict of it is known."""
    if not told:
        return None, None
    first, second = told[0].first_hash, told[0].second_hash
    return (second, first) if _b_is_first(row, told, store) else (first, second)


def _b_is_first(row: Mapping[str, Any], told: Sequence[Ruling], store: Store) -> bool:
    """Whether a battle of one seat has `model_b` there first: it wrote that text, or if both did, the outcome tells.

    (Battles of both seats list the verdicts that seat `model_a` first.) A tie between models that both wrote both texts
    cannot tell; which length goes with which model is then taken as it stands.
    """
    if len({(ruling.first_hash, ruling.second_hash) for ruling in told}) != 1:
        return False
    wrote = store.authors(told[0].prompt_id, told[0].first_hash)
    if (row.get("model_a") in wrote) != (row.get("model_b") in wrote):
        return row.get("model_b") in wrote
    outcome = told[0].outcome
    return outcome in (Outcome.A, Outcome.B) and row.get("winner") == Winner.of(outcome.swap())
