"""Whether the scores of a run's battles are probabilities, of which win rates are made in the place of winners.

They are where the judge's verdict mode is ``logprob``: of its two labels it gives p and 1 - p, and a battle has the
mean over both seats. Grades of 1 to 10, shares of votes and the 1, 0.5 and 0 of labels are none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from arenaloop.errors import ConfigError, InputError
from arenaloop.jsonl import JsonRow
from arenaloop.table_files import table_files
from arenaloop.tables import table_rows
from arenaloop.types import Winner

__all__ = ["by_share", "gives_probabilities", "judged_share", "of_files"]

_ROUNDED = 1e-6
_LOOKED_AT = 200  # rows of a file that does not say what its scores are


def gives_probabilities(directory: Path) -> bool:
    """Whether a run directory's ``config.yaml`` says that `score_a` and `score_b` of its battles are probabilities.

    Of a jury they are where every member gives some and its rule is their mean. With ``merge: agree_or_tie`` a battle
    is what both seats agree on, not a mean. Without settings that can be read, nothing says so.
    """
    from arenaloop.config import read_yaml  # takes longer to load than all that `rank` does with a small table

    try:
        settings = read_yaml(directory / "config.yaml")
    except (ConfigError, InputError):
        return False
    judge = settings.get("judge")
    if not isinstance(judge, Mapping) or settings.get("merge", "mean") == "agree_or_tie":
        return False
    jury = judge.get("jury") or ()
    if jury and judge.get("rule") != "mean":
        return False
    return all(isinstance(one, Mapping) and one.get("verdict") == "logprob" for one in jury or (judge,))


def judged_share(row: JsonRow) -> Any:
    """What `model_a` scored in a battle, 0 to 1: the judge's probability; where the row holds none, by its winner.

    A battle lost by own failure has no verdict. A winner that is not known is given back as it stands, for the reader
    of scores to name.
    """
    one, two = row.get("score_a"), row.get("score_b")
    if row.get("own_failure") is None and _is_number(one) and _is_number(two):
        a, b = float(one), float(two)  # type: ignore[arg-type]
        if min(a, b) >= 0.0 and abs(a + b - 1.0) <= _ROUNDED:
            return a
    try:
        return Winner(str(row.get("winner"))).score
    except ValueError:
        return row.get("winner")


def of_files(path: Path | Sequence[Path], *, guess: bool = True) -> tuple[bool, str | None]:
    """Whether tables of battles hold probabilities throughout, and a note where they do, or may.

    A file does not say it. A run's ``battles.jsonl`` has the run's settings beside it; of other tables it is a guess,
    which changes nothing.

    Args:
        path: a file, a directory or a pattern of them; or the files of one table.
        guess: whether to look into files that do not say.
    """
    try:
        files = table_files(path) if isinstance(path, Path) else list(path)
        few = [row for _, row in islice(table_rows(path), _LOOKED_AT)] if guess else []
    except InputError:
        return False, None  # whoever reads it says so
    soft = sum(one.name == "battles.jsonl" and gives_probabilities(one.parent) for one in files)
    if soft == len(files):
        return True, None
    if soft:
        return False, (
            f"{soft:,} of {len(files):,} files hold a judge's probabilities (its verdict is logprob), the others do "
            "not say: winners are counted in all; by themselves they are read by their probabilities"
        )
    if any(map(_has_shares, few)):
        return False, (
            "winners are counted; if score_a is a judge's probability (its verdict is logprob), name the run "
            "directory, or its battles.jsonl with its config.yaml beside it"
        )
    return False, None


def by_share(rows: Iterable[tuple[int, JsonRow]]) -> Iterator[tuple[int, JsonRow]]:
    """Rows of battles with `judged_share` in the place of the winner."""
    for line, row in rows:
        told = {name: cell for name, cell in row.items() if name not in ("winner", "score_b", "flipped")}
        yield line, told | {"score_a": judged_share(row)}


def _has_shares(row: JsonRow) -> bool:
    """Whether both scores are between 0 and 1, and one is the rest of the other."""
    one, two = row.get("score_a"), row.get("score_b")
    if "winner" not in row or not (_is_number(one) and _is_number(two)):
        return False
    return 0.0 < one < 1.0 and one != 0.5 and abs(one + two - 1.0) <= _ROUNDED  # type: ignore[operator]


def _is_number(cell: Any) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)
