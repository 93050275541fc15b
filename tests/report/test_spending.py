from __future__ import annotations

from pathlib import Path

import pytest

from arenaloop.report.documents import read_documents
from arenaloop.report.scope import Scope
from arenaloop.report.spending import calls, dollars, duration
from arenaloop.store import Store


def test_what_was_asked_and_stored(battle_run: Path) -> None:
    documents = read_documents(battle_run)
    with Store(documents.arena, readonly=True) as store:
        found = calls(documents, store, Scope(()))
    rows = {one.name: one for one in found.answerers}
    assert list(rows) == ["echo", "fine", "good", "referee"]
    assert [rows[name].rows for name in rows] == [40, 40, 40, 224 + 6 * 3 + 6]
    assert (rows["echo"].failed, rows["good"].failed, rows["referee"].failed) == (1, 0, 6)
    assert (rows["good"].usd, rows["echo"].usd, rows["referee"].usd) == (0.0, 0.0, None)
    facts = {name: (figure, text) for name, figure, text in found.facts}
    assert facts["Rows stored"] == ("368", "120 answers and 248 verdicts, failed attempts included")
    assert facts["Money"][0] == "unknown"
    assert facts["Tokens"][0] == "30 in · 0 out"  # six refusals of five tokens are all that was reported


def test_judges_of_other_settings_are_listed_apart(battle_run: Path) -> None:
    documents = read_documents(battle_run)
    with Store(documents.arena, readonly=True) as store:
        [(fingerprint,)] = store._reader.execute("SELECT DISTINCT judge_hash FROM verdicts")
        for scope, role in ((Scope((fingerprint,)), "judge"), (Scope(("other",)), "judge, other settings")):
            found = calls(documents, store, scope)
            assert [one.role for one in found.answerers] == ["contestant"] * 3 + [role]
            assert ("Rows stored", "368") in {fact[:2] for fact in found.facts}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "unknown"), (0.0, "0 s"), (3.2e-5, "32 µs"), (0.048, "48 ms"), (0.9994, "999 ms"), (4.84, "4.8 s"),
        (9.97, "10 s"), (48.4, "48 s"), (99.6, "1 min 40 s"), (200.0, "3 min 20 s"), (3599.8, "1 h 00 min"),
        (7512.0, "2 h 05 min"),
    ],
)  # fmt: skip
def test_durations_in_words(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("usd", "words"), [(None, "unknown"), (0.0, "0"), (1e-6, "< 0.0001"), (0.0042, "0.0042"), (1234.5, "1,234.50")]
)
def test_amounts_in_words(usd: float | None, words: str) -> None:
    assert dollars(usd) == words
