"""Names of columns as a reader knows them, however a file spells them: ``Prompt ID``, `promptId` and `prompt-id` alike.

Names are compared by their letters and digits in lower case. A file that has one column under two spellings must say
the same in both.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["KnownNames"]


class KnownNames:
    """The names that a reader takes.

    Args:
        names: as the reader spells them.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._by_letters = {_letters(name): name for name in sorted(self._names)}
        self._same: set[str] = set()  # names that stay as they are

    def spelled(self, names: Iterable[str]) -> dict[str, str]:
        """Those of the names that are a known one in another spelling, and which."""
        found = {}
        for name in names:
            if name in self._same:
                continue
            known = None if name in self._names else self._by_letters.get(_letters(name))
            if known is None:
                self._same.add(name)
            else:
                found[name] = known
        return found

    def row(self, row: Mapping[str, Any], spelled: Mapping[str, str], place: str) -> dict[str, Any]:
        """The row under known names.

        Args:
            row: cells by column.
            spelled: of its columns, see `spelled`.
            place: where it stands, for the error.

        Raises:
            ValueError: two columns are one by name, and hold different values.
        """
        out: dict[str, Any] = {}
        first: dict[str, str] = {}
        for name, value in row.items():
            known = spelled.get(name, name)
            if known in out and value is not None and out[known] is not None and out[known] != value:
                shown = " and ".join(json.dumps(cell, ensure_ascii=False)[:40] for cell in (out[known], value))
                columns = f"columns {first[known]!r} and {name!r}"
                raise ValueError(f"{place}: {columns} are one by their name, and hold {shown}")
            first.setdefault(known, name)
            if value is not None or known not in out:
                out[known] = value
        return out


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name)).casefold()
