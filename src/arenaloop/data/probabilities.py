"""Whether the scores of a run's battles are probabilities, of which win rates are made in the place of winners.

They are where the judge's verdict mode is ``logprob``: of its two labels it gives p and 1 - p, and a battle has the
mean over both seats. Grades of 1 to 10, shares of votes and the 1, 0.5 and 0 of labels are none.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arenaloop.errors import ConfigError, InputError
from arenaloop.jsonl import JsonRow
from arenaloop.types import Winner

__all__ = ["gives_probabilities", "judged_share"]

_ROUNDED = 1e-6


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


def _is_number(cell: Any) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)
