"""What each stage of a recipe has asked and paid, in all invocations on its run directory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from arenaloop.errors import StorageError
from arenaloop.store import Store

__all__ = ["Ledger", "Paid"]

_ROOM = "stage costs"
_REST = "beside the stages"


class Paid(NamedTuple):
    """Calls, their tokens, and US dollars; None where the price of any call is unknown."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float | None = 0.0

    def plus(self, other: Paid, sign: int = 1) -> Paid:
        """The sum of both, or with -1 the difference."""
        return Paid(
            self.calls + sign * other.calls,
            self.tokens_in + sign * other.tokens_in,
            self.tokens_out + sign * other.tokens_out,
            None if self.usd is None or other.usd is None else self.usd + sign * other.usd,
        )


class Ledger:
    """What the arena file's totals grew by while a stage was worked on, by stage.

    One stage is worked on at a time. A killed process leaves its stage open: the calls that it has stored count for
    that stage, too, as soon as the next begins. So all stages together, the leaderboard among them and what was asked
    beside them, come to what the directory has paid.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """What is asked in here is asked for this stage."""
        self._close()
        self._keep({"paid": self._kept().get("paid", {}), "open": [name, *self._total()]})
        try:
            yield
        finally:
            with suppress(StorageError):  # of a full disk is told elsewhere; the next stage closes this one
                self._close()

    def paid(self, name: str) -> Paid | None:
        """What a stage has come to; None where it was worked on before stages were counted."""
        found = self._kept().get("paid", {}).get(name)
        return None if found is None else Paid(*found)

    def rest(self, parts: Mapping[str, Paid | None]) -> dict[str, Paid]:
        """What the directory has paid beside some parts, by its name; nothing where that is nothing, or unknown.

        That is the first questions to every server, prompts that were written, stages that are no longer there, and
        what other commands asked in this directory.
        """
        if None in parts.values():
            return {}
        left = self._total()
        for part in parts.values():
            assert part is not None
            left = left.plus(part, -1)
        if opened := self._kept().get("open"):
            name, *before = opened
            if name in parts:
                left = left.plus(self._total().plus(Paid(*before), -1), -1)
        return {_REST: left} if left.calls > 0 else {}

    def _close(self) -> None:
        kept = self._kept()
        if opened := kept.pop("open", None):
            name, *before = opened
            paid = kept["paid"]
            paid[name] = Paid(*paid.get(name, ())).plus(self._total().plus(Paid(*before), -1))
            self._keep(kept)

    def _total(self) -> Paid:
        self.store.flush()
        usage = self.store.usage()
        return Paid(usage.calls, usage.tokens_in, usage.tokens_out, usage.usd)

    def _kept(self) -> dict[str, Any]:
        return self.store.note(_ROOM, "") or {}

    def _keep(self, kept: dict[str, Any]) -> None:
        self.store.put_note(_ROOM, "", kept)
