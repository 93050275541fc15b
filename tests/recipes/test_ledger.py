"""What stages have asked and paid, over invocations that end as they may."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from arenaloop.errors import StorageError
from arenaloop.recipes.ledger import Ledger, Paid
from arenaloop.store import Store
from arenaloop.store.reads import Usage


class Bill:
    """The arena file's totals, as a test lets them grow."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = Usage(0, 0, 0, 0.0, 0.0)
        monkeypatch.setattr(Store, "usage", lambda _: self.now)

    def asks(self, calls: int, usd: float | None = 0.5) -> None:
        now = self.now
        whole = None if usd is None or now.usd is None else now.usd + usd
        self.now = Usage(now.calls + calls, now.tokens_in + 10 * calls, now.tokens_out + calls, whole, 0.0)


def broken(_: Ledger) -> None:
    raise StorageError("disk full")


def test_a_stage_has_what_was_asked_while_it_was_worked_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted, it goes on where it was; killed, what it had stored is its own; what others ask is nobody's."""
    bill = Bill(monkeypatch)
    with Store(tmp_path / "arena.db") as store:
        ledger = Ledger(store)
        assert ledger.paid("SFT-I0") is None
        with ledger.stage("SFT-I0"):
            bill.asks(3)
        with suppress(KeyboardInterrupt), ledger.stage("SFT-I1"):
            bill.asks(4)
            raise KeyboardInterrupt
        bill.asks(100)  # a verb of its own on the same directory
        with monkeypatch.context() as patch, ledger.stage("SFT-I1"):
            bill.asks(5)
            patch.setattr(Ledger, "_close", broken)  # nothing more is written, as where the process is killed
    with Store(tmp_path / "arena.db") as store:
        ledger = Ledger(store)
        with ledger.stage("DPO-I1"):
            bill.asks(7, None)
        assert ledger.paid("SFT-I0") == Paid(3, 30, 3, 0.5)
        assert ledger.paid("SFT-I1") == Paid(9, 90, 9, 1.0)
        assert ledger.paid("DPO-I1") == Paid(7, 70, 7, None)
        paid = {name: ledger.paid(name) for name in ("SFT-I0", "SFT-I1", "DPO-I1")}
        assert ledger.rest(paid) == {"beside the stages": Paid(100, 1000, 100, None)}
        assert ledger.rest(paid | {"RM-I1": None}) == {}  # of an earlier version: unknown
        paid["others"] = Paid(100, 1000, 100, 0.5)
        assert ledger.rest(paid) == {}
