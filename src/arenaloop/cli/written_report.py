"""Whether a run writes its report by itself: every end in order does, of a run that is not very large."""

from __future__ import annotations

from pathlib import Path

from arenaloop.errors import InputError
from arenaloop.report import write_report

__all__ = ["LARGE", "written_report"]

LARGE = 50_000
"""Battles up to which the page is written unasked: half a millisecond of one core for each, a fraction of what the run
itself takes. The demo has 22,500."""


def written_report(out: Path, battles: int) -> str:
    """Write a run's page, and say where it is; of a very large run without one, say what writes it.

    What stands in its way is said in its place: the results themselves are written.

    Raises:
        ArenaFileError, StorageError: as of `report.write_report`.
    """
    path = out / "report.html"
    if battles <= LARGE or path.is_file():  # which would be that of an earlier end
        try:
            return f"report: {write_report(out)}"
        except (InputError, OSError) as error:
            return f"no report could be written: {error}"
    return f"arenaloop report {out}  writes {path}"
