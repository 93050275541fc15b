"""A reader gives what the store gives, and asks it once."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

from arenaloop.report.reading import Reader
from arenaloop.store import Store


def test_each_look_up_is_made_once(battle_run: Path) -> None:
    with Store(battle_run / "arena.db", readonly=True) as store:
        spied = Mock(wraps=store)
        reader = Reader(spied)
        prompt = next(iter(store.prompts()))
        ruling = next(iter(store.rulings_of(prompt.id).values()))
        for _ in range(3):
            assert reader.prompt(prompt.id) == prompt
            assert reader.texts(ruling.first_hash) == store.texts(ruling.first_hash)
            assert reader.authors(prompt.id, ruling.first_hash) == store.authors(prompt.id, ruling.first_hash)
            assert reader.prompt("none") is None
            assert reader.texts("none") is None
        assert [spied.texts.call_count, spied.authors.call_count] == [2, 1]
