"""Plain battles in many parts, read a block at a time: `read_battles` for tables that no memory holds.

Parts are Parquet or JSONL with the columns of a table of battles (`model_a`, `model_b`, and `winner` or `score_a`;
optionally who voted, the prompt and a `weight`). Each is read once, coded, and spooled (`ratings.streamed`). The rules
are those of `read_battles`, but for what takes all rows at once: votes that stand twice are not looked for, winners are
read by their documented words, and columns that are not read are named by the first rows of each part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from arenaloop.columns import Columns
from arenaloop.data.formats import judgments
from arenaloop.data.formats.part_files import KINDS, Part, parts_of, remote_url
from arenaloop.data.formats.part_rows import blocks_of, check_columns, columns_of, parquet_rows
from arenaloop.data.formats.text_codes import TextCodes
from arenaloop.data.formats.vote_ids import vote_id
from arenaloop.data.formats.where import Chosen, Where
from arenaloop.errors import ConfigError, InputError
from arenaloop.ratings.arrays import FloatArray, IntArray
from arenaloop.ratings.cells import FAILED, LeftOut, says_nothing, shown, spelling
from arenaloop.ratings.outcomes import ONE_HOT, WINNER_SCORES
from arenaloop.ratings.streamed import Spool, StreamedBattles
from arenaloop.ratings.streamed_intake import Intake
from arenaloop.ratings.streamed_prompts import most_bytes
from arenaloop.table_files import is_pattern
from arenaloop.tables import file_error

if TYPE_CHECKING:
    import polars as pl

__all__ = ["MANY_BYTES", "MANY_ROWS", "Streamed", "parts_streamed", "read_streamed", "streamed_wanted"]

MANY_ROWS = {False: 5_000_000, True: 200_000}
"""Rows of Parquet from which on a table is streamed without being asked to: of one file, and of several parts."""
MANY_BYTES = {False: 1 << 30, True: 1 << 26}
"""The same for bytes of JSONL; a gzipped one counts eightfold."""
_KNOWN = "model_a, model_b, tie, tie (bothbad), both_bad"


@dataclass(frozen=True, slots=True)
class Streamed:
    """Attributes: battles: that were read. told: what was done, with the bound of memory, in one line."""

    battles: StreamedBattles
    told: str


def streamed_wanted(path: Path, asked: bool, needs: str | None) -> list[Part] | None:
    """The parts of a table that is to be streamed; None where it is read into memory.

    Args:
        path: a file, a directory, a pattern, or a URL.
        asked: whether streaming was asked for.
        needs: what takes all battles at once, as one would call it; None where nothing does.

    Raises:
        ConfigError: it has to be streamed, or shall be, and `needs` does not go with that.
        InputError: nothing is there, or not what can be streamed.
    """
    remote = remote_url(path)
    if needs is not None:
        _refuse_needs(remote, asked, needs)
        return None
    if remote is None and not asked and not (path.is_file() or path.is_dir() or is_pattern(path)):
        return None  # the reader says so
    if (path / "battles.jsonl").exists():
        if asked:
            raise ConfigError(
                f"--stream: {path} is a run directory, which is read whole; name its {path}/battles.jsonl"
            )
        return None
    if asked or remote is not None:
        return parts_of(path)
    try:
        parts = parts_of(path)
    except InputError:
        return None
    return parts if _large(parts) else None


def parts_streamed(parts: Sequence[Part], asked: bool, needs: str | None) -> bool:
    """Whether a table of parts that were named one by one is to be streamed; as of `streamed_wanted`.

    Raises:
        ConfigError: as of `streamed_wanted`.
    """
    remote = next((part.name for part in parts if part.path is None), None)
    if needs is not None:
        _refuse_needs(remote, asked, needs)
        return False
    return asked or remote is not None or _large(parts)


def _refuse_needs(remote: str | None, asked: bool, needs: str) -> None:
    if remote is not None:
        raise ConfigError(f"{remote}: {needs} needs all battles in memory: copy the parts here and name them")
    if asked:
        raise ConfigError(f"--stream: {needs} needs all battles in memory: leave one of the two out")


def _large(parts: Sequence[Part]) -> bool:
    """Whether a table on this machine is large, and plain enough to be streamed."""
    try:
        several = len(parts) > 1
        kinds = {KINDS.get(str(part.kind(Path(part.name)))) for part in parts if part.size}
        if len(kinds) != 1 or None in kinds:
            return False
        if kinds == {"Parquet"}:
            if sum(part.size for part in parts) < MANY_ROWS[several] // 8:  # a row is a bit or more
                return False
            large = sum(parquet_rows(Path(part.name), part) for part in parts) >= MANY_ROWS[several]
        else:
            large = sum(part.size * (8 if part.name.endswith(".gz") else 1) for part in parts) >= MANY_BYTES[several]
        if not large:
            return False
        first = next(part for part in parts if part.size)
        found = columns_of(first, Path(first.name))
        _plain(found, first)
    except InputError:
        return False
    sure = not ({"verdicts"} & set(found)) and (judgments.is_own(found) or _identity(found) is None)
    return sure and _words_known(first, found)


def _words_known(part: Part, found: Sequence[str]) -> bool:
    """Whether the first rows have winners by the documented words, or scores."""
    if "winner" not in found:
        return True
    frame = next(blocks_of(part, Path(part.name), ["winner"], []), None)
    words = [] if frame is None else frame["winner"].drop_nulls().unique().to_list()
    return all(word in WINNER_SCORES or says_nothing(word) or spelling(word) in FAILED for word in words)


def _identity(found: Sequence[str]) -> str | None:
    identity = vote_id(found, judgments.PROMPT_COLUMNS)
    return None if identity is None else ", ".join(identity.columns)


@dataclass(frozen=True, slots=True)
class _Table:
    """What a table's columns are.

    Attributes:
        outcome: ``winner`` or ``score_a``. `prompt`, `voter`: columns, None without. weighted: whether there is one.
        read: all that is read. unread: columns that are named only.
    """

    outcome: str
    prompt: str | None
    voter: str | None
    weighted: bool
    read: tuple[str, ...]
    unread: tuple[str, ...]


def _plain(found: Sequence[str], part: Part) -> _Table:
    """The columns of a table of battles.

    Raises:
        InputError: some are missing, or have to be looked at together with all others.
    """
    missing = [name for name in ("model_a", "model_b") if name not in found]
    if not {"winner", "score_a"} & set(found):
        if set(ONE_HOT) <= set(found):
            raise InputError(f"{part.name}: a winner in three columns ({', '.join(ONE_HOT)}): write one column winner")
        missing.append("winner")
    if missing:
        raise InputError(
            f"{part.name}: missing column {', '.join(missing)} (found: {', '.join(found[:20]) or 'none'}); battles are "
            "streamed from tables with model_a, model_b and winner or score_a"
        )
    unread = judgments.unread(found)
    if unread is None:
        plain = [name for name in found if judgments.unread([n for n in found if n != name]) is not None]
        some = f": leave out {' or '.join(plain)}" if plain else ""
        raise InputError(
            f"{part.name}: its columns tell more than one outcome, or change what a row means, and have to be looked "
            f"at row by row, which streaming does not{some}"
        )
    prompt = next((name for name in judgments.PROMPT_COLUMNS if name in found), None)
    voter = judgments.voter_column(found)
    outcome = "winner" if "winner" in found else "score_a"
    names = ("model_a", "model_b", outcome, prompt, voter, "weight" if "weight" in found else None)
    return _Table(
        outcome, prompt, voter, "weight" in found, tuple(name for name in names if name is not None), tuple(unread)
    )


def read_streamed(source: str | Path, parts: Sequence[Part], where: Where | None = None) -> Streamed:
    """Read the battles of some parts, those rows alone that `where` lets count; see the top of this file.

    Raises:
        InputError: a part is damaged or has other columns, values that are not known, or no room for the spool.
    """
    source = remote_url(source) or str(source)
    reading = _Reading(Chosen(where, source))
    try:
        for part in parts:
            with part.here() as here:
                reading.take(part, here)
        battles = reading.finished(source)
    except OSError as error:
        raise InputError(
            f"{source}: cannot be spooled ({error.strerror or error}): set TMPDIR to a disk with room"
        ) from None
    except ValueError as error:
        raise file_error(source, error) from None
    what = f"{len(battles):,} battles of {len(parts):,} {'part' if len(parts) == 1 else 'parts'}"
    size = f"{len(battles.models):,} models" + (f" x {battles.clusters:,} prompts" if battles.clusters else "")
    most = most_bytes(battles) + reading.names_bytes
    told = f"streamed {what}, {size}: at most {_mb(most)} of sums and names in memory, {_mb(reading.spooled)} on disk"
    return Streamed(battles, told)


def _mb(size: int) -> str:
    return f"{max(size, 1_000_000) / 1e6:,.0f} MB"


@dataclass
class _Reading:
    """A table as it is read so far; `taken` are the rows of the block at hand by their number in it, None: all."""

    chosen: Chosen
    spool: Spool = field(default_factory=Spool)
    table: _Table | None = None
    first: Part | None = None
    columns: tuple[str, ...] = ()
    rows: int = 0
    nameless: int = 0
    kinds: dict[str, str] = field(default_factory=dict)
    notes: Columns = field(default_factory=lambda: Columns(()))
    taken: IntArray | None = None

    def __post_init__(self) -> None:
        self.intake = Intake(self.spool)
        self.names, self.prompts, self.voters, self.words = TextCodes(), TextCodes(), TextCodes(), TextCodes()
        self.name_code = np.zeros(0, dtype=np.int64)  # -1 of a name that is blank
        self.models: list[str] = []
        self.empty = 0
        self.weighs = False
        self.word_score = np.zeros(0)
        self.word_count = np.zeros(0, dtype=np.int64)
        self.word_place: list[str] = []
        self.unknown = LeftOut("a score between 0 and 1", "score_a")

    @property
    def spooled(self) -> int:
        return self.spool.size

    @property
    def names_bytes(self) -> int:
        """About what texts and their codes take."""
        return 200 * sum(len(codes.texts) for codes in (self.names, self.prompts, self.voters))

    def take(self, part: Part, here: Path) -> None:
        """Read one part."""
        kind = part.kind(here)
        if kind is None:
            return
        if kind not in KINDS:
            raise InputError(f"{part.name}: {kind}, where parts are Parquet or JSONL")
        other = next((name for known, name in self.kinds.items() if known != kind), None)
        if other is not None:
            raise InputError(
                f"{part.name}: {KINDS[kind]}, where {other} is {KINDS[next(iter(self.kinds))]}: one kind only"
            )
        self.kinds.setdefault(kind, part.name)
        found = columns_of(part, here)
        if not found:
            return
        if self.table is None or self.first is None:
            self.table, self.first, self.columns = _plain(found, part), part, tuple(found)
        else:
            check_columns(part, found, self.first, self.columns, self.table.read, whole=kind == "parquet")
        at = 0
        looked = self.chosen.columns(found)
        unread = [name for name in self.table.unread if name not in looked]
        for frame in blocks_of(part, here, self.table.read, unread, looked):
            self._block(part, frame, at)
            at += frame.height

    def _block(self, part: Part, frame: pl.DataFrame, at: int) -> None:
        table = self.table
        assert table is not None
        if at == 0:
            self._unread(part, frame, [name for name in table.unread if name in frame.columns])
        counts = self.chosen.mask(frame)
        self.taken = None if counts is None else np.flatnonzero(counts)
        frame = frame if counts is None else frame.filter(counts)
        self.rows += frame.height
        a, b = (self._models(frame[name]) for name in ("model_a", "model_b"))
        score = self._winners(part, frame, at) if table.outcome == "winner" else self._scores(part, frame, at)
        weight = self._weights(part, frame, at) if table.weighted else None
        prompt = None if table.prompt is None else self.prompts.of(frame[table.prompt])
        voter = None if table.voter is None else self.voters.of(frame[table.voter])
        named = (a >= 0) & (b >= 0)
        if not named.all():
            self.nameless += int(np.count_nonzero(~named))
            a, b, score = a[named], b[named], score[named]
            weight = None if weight is None else weight[named]
            prompt, voter = (None if c is None else c[named] for c in (prompt, voter))
        self.intake.add(len(self.models), a, b, score, weight=weight, prompt=prompt, voter=voter)

    def _number(self, at: int, row: int) -> int:
        """Of a row of the block at hand its number in the part, from 1."""
        return at + 1 + (row if self.taken is None else int(self.taken[row]))

    def _models(self, column: pl.Series) -> IntArray:
        codes = self.names.of(column)
        for text in self.names.texts[len(self.name_code) :]:
            known = bool(text.strip())
            self.name_code = np.append(self.name_code, len(self.models) if known else -1)
            self.models += [text] if known else []
        return np.append(self.name_code, -1)[codes]

    def _winners(self, part: Part, frame: pl.DataFrame, at: int) -> FloatArray:
        codes = self.words.of(frame["winner"])
        for word in self.words.texts[len(self.word_score) :]:
            first = int(np.argmax(codes == len(self.word_score)))
            self.word_score = np.append(self.word_score, WINNER_SCORES.get(word, np.nan))
            self.word_place.append(f"row {self._number(at, first)} of {part.name}")
        self.word_count = np.pad(self.word_count, (0, len(self.word_score) - len(self.word_count)))
        self.word_count += np.bincount(codes[codes >= 0], minlength=len(self.word_score))
        self.empty += int(np.count_nonzero(codes < 0))
        return np.append(self.word_score, np.nan)[codes]

    def _scores(self, part: Part, frame: pl.DataFrame, at: int) -> FloatArray:
        score, empty = _numbers(frame["score_a"])
        odd = np.flatnonzero(~((score >= 0.0) & (score <= 1.0)) & ~empty)
        for row in odd.tolist():
            self.unknown.add(shown(frame["score_a"][row]), f"row {self._number(at, row)} of {part.name}")
        self.empty += int(empty.sum())
        score[odd] = np.nan
        return score

    def _weights(self, part: Part, frame: pl.DataFrame, at: int) -> FloatArray:
        weight, _ = _numbers(frame["weight"])
        bad = np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))
        if len(bad):
            cell = shown(frame["weight"][int(bad[0])])
            place = f"{part.name}, row {self._number(at, int(bad[0]))}"
            raise InputError(f"{place}: column weight: {cell}, where weights are finite and not negative")
        self.weighs = self.weighs or bool(weight.any())
        return weight

    def _unread(self, part: Part, frame: pl.DataFrame, unread: Sequence[str]) -> None:
        for name in unread:
            for row, cell in enumerate(frame[name].head(1000).to_list()):
                if cell is not None and str(cell).strip():
                    self.notes.takes({name: cell}, f"row {row + 1} of {part.name}")
                    break

    def finished(self, source: str) -> StreamedBattles:
        self.chosen.refuse_none()
        if self.table is None or not self.rows:
            raise InputError(f"{source}: no rows in it")
        if self.table.weighted and not self.weighs:
            raise ValueError("column weight: all weights are 0")
        notes = [*self.chosen.notes(), *self.notes.notes()]
        identity = None if judgments.is_own(self.columns) else _identity(self.columns)
        if identity is not None or "verdicts" in self.columns:
            notes.append(f"votes that stand twice (by {identity or 'verdicts'}) are not looked for in a streamed table")
        notes += self._outcome_notes()
        if self.nameless:
            notes.append(f"{self.nameless:,} of {self.rows:,} rows without a model's name left out")
        return self.intake.finished(self.models, notes, self.nameless)

    def _outcome_notes(self) -> list[str]:
        """As of `read_outcomes` and `read_scores`."""
        if self.table is not None and self.table.outcome == "score_a":
            notes = self.unknown.notes(self.rows)
            nothing = f"column score_a: {self.empty:,} of {self.rows:,} rows empty or failed"
            return [*notes, nothing] if self.empty else notes
        unknown, empty = LeftOut("a known winner", "winner"), self.empty
        failed: list[tuple[str, int]] = []
        for code, word in enumerate(self.words.texts):
            count, place = int(self.word_count[code]), self.word_place[code]
            if not np.isnan(self.word_score[code]):
                continue
            if says_nothing(word):
                empty += count
            elif spelling(word) in FAILED:
                failed.append((word, count))
            else:
                unknown.add(shown(word), place, count)
        notes = unknown.notes(self.rows, _KNOWN)
        if failed:
            marks = ", ".join(f"{shown(word)} {count:,}" for word, count in failed)
            notes.append(f"column winner: {sum(n for _, n in failed):,} of {self.rows:,} rows failed ({marks})")
        return [*notes, f"column winner: {empty:,} of {self.rows:,} rows empty"] if empty else notes


def _numbers(column: pl.Series) -> tuple[FloatArray, np.ndarray]:
    """Cells as numbers, NaN where they are none, and which of them hold nothing, both of shape (n,)."""
    import polars as pl

    number = column.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy().copy()
    empty = column.is_null()
    if column.dtype == pl.String:
        blank = column.str.strip_chars().str.to_lowercase().is_in(["", "nan", "null", "na", "n/a", *sorted(FAILED)])
        empty = empty | blank.fill_null(True)
    elif column.dtype.is_float():
        empty = empty | column.is_nan().fill_null(True)
    return number, empty.to_numpy()
