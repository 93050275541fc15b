"""Every battle of a run for the browser: the chosen ones, whose cards stand in the page, and all the others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from arenaloop.jsonl import JsonRow, read_rows
from arenaloop.report.all_battles import AllBattles
from arenaloop.report.cards import Card, Undecided, battle_card, undecided_card
from arenaloop.report.reading import Reader
from arenaloop.report.shown_battles import Pick, battle_of
from arenaloop.report.texts import one_line
from arenaloop.store import Store

__all__ = ["add_all"]

_BATCH = 200
_NO_SCORES = {"score_a": 0.0, "score_b": 0.0}
_ROW = tuple[int, int, JsonRow]


def add_all(
    everything: AllBattles,
    directory: Path,
    store: Store,
    cards: Sequence[Card],
    open_: Sequence[Undecided],
    chosen: Sequence[Pick],
) -> None:
    """Add a run's battles: those of the cards, the other rows of ``battles.jsonl``, then what else is undecided.

    Args:
        everything: where they go.
        directory: the run's.
        store: its arena file.
        cards: those in the page: of `open_`, then of `chosen`.
    """
    ids = [item.prompt_id for item in open_] + [pick.battle.prompt_id for pick in chosen]
    for prompt_id, card in zip(ids, cards, strict=True):
        everything.add(card, prompt_id=prompt_id, in_page=True)
    shown = {pick.index for pick in chosen}
    path, reader = directory / "battles.jsonl", Reader(store)
    rest = ((at, line, row) for at, (line, row) in enumerate(read_rows(path)) if at not in shown)
    for some in _batches(rest):
        verdicts = store.verdicts([str(key) for _, _, row in some for key in row.get("verdicts") or ()])
        for at, line, row in some:
            lost = row.get("own_failure")
            if lost is not None:
                battle = battle_of(path, line, {"flipped": False, "judge": "", "verdicts": ()} | row | _NO_SCORES)
                card = battle_card(Pick(at, "", battle), reader, verdicts, lost=_lost(row))
            else:
                battle = battle_of(path, line, row)
                card = battle_card(Pick(at, "", battle), reader, verdicts)
            everything.add(card, prompt_id=battle.prompt_id, own_failure=lost is not None)
    _add_undecided(everything, directory, store, {item.key for item in open_})


def _batches(rows: Iterable[_ROW]) -> Iterator[list[_ROW]]:
    rows = iter(rows)
    while some := list(islice(rows, _BATCH)):
        yield some


def _lost(row: JsonRow) -> str:
    why = row.get("reason") or row.get("cause")
    return f"{one_line(row['own_failure'])} lost by its own failure{f': {one_line(why, 400)}' if why else ''}"


def _add_undecided(
    everything: AllBattles, directory: Path, store: Store, shown: Collection[tuple[str, str, str]]
) -> None:
    """What ``undecided.jsonl`` names and no card shows; battles that were lost by own failure are rows already."""
    path = directory / "undecided.jsonl"
    seen = set(shown)
    for _, row in read_rows(path) if path.is_file() else ():
        item = Undecided(
            str(row.get("prompt_id")),
            str(row.get("model_a")),
            str(row.get("model_b")),
            problem=one_line(row.get("reason") or "no verdict", 400),
        )
        if item.key in seen:
            continue
        seen.add(item.key)
        everything.add(
            undecided_card(item, store, {}), prompt_id=item.prompt_id, own_failure=row.get("own_failure") is not None
        )
