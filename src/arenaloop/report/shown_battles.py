"""One pass over ``battles.jsonl``: how pairs fared, and which battles are worth a look.

Memory holds the picked battles and one count per pair, whatever the length of the file.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

from arenaloop.jsonl import read_rows, row_error
from arenaloop.types import Battle, Winner, derive_seed

__all__ = ["Pick", "Picks", "Reservoir", "battle_of", "read_picks"]

_RECORD = {Winner.MODEL_A: 0, Winner.TIE: 1, Winner.MODEL_B: 2}
"""Places of wins, ties and losses in a pair's record."""


class Reservoir:
    """A uniform sample of at most `size` items of a stream (Vitter 1985, algorithm R)."""

    def __init__(self, size: int, rng: random.Random) -> None:
        self.items: list[Any] = []
        self._size = size
        self._rng = rng
        self._seen = 0

    def add(self, item: Any) -> None:
        """Offer the next item of the stream."""
        self._seen += 1
        if len(self.items) < self._size:
            self.items.append(item)
        elif (at := int(self._rng.random() * self._seen)) < self._size:
            self.items[at] = item


@dataclass(frozen=True, slots=True)
class Pick:
    """A decided battle chosen for the browser: its place in the file, why, and what the file says.

    `kind` is ``suspicious``, ``flipped``, ``gap`` or ``random``.
    """

    index: int
    kind: str
    battle: Battle


@dataclass
class Picks:
    """What one pass found.

    Attributes:
        battles: rows in the file, those lost by own failure among them; `prompts`: how many prompts they are on.
        flipped: battles whose seats disagree. `same`: those between equal texts (both seats are one verdict);
            `same_flipped`: both.
        pairs: by (model_a, model_b), battles won by a, ties, and battles won by b.
        chosen: suspicious ones, flipped ones, largest gaps, then a random rest; each in the order of the file.
        decided: which of the battles that were asked about are in the file.
    """

    battles: int = 0
    prompts: int = 0
    flipped: int = 0
    same: int = 0
    same_flipped: int = 0
    pairs: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    chosen: list[Pick] = field(default_factory=list)
    decided: set[tuple[str, str, str]] = field(default_factory=set)

    def record(self, one: str, other: str) -> tuple[int, int, int]:
        """Wins of `one`, ties and wins of `other` in their battles, in whichever order they were listed."""
        won, ties, lost = self.pairs.get((one, other), (0, 0, 0))
        theirs, more_ties, ours = self.pairs.get((other, one), (0, 0, 0))
        return won + ours, ties + more_ties, lost + theirs


def read_picks(
    path: Path,
    *,
    wanted: int,
    kind_share: int,
    ask: set[tuple[str, str, str]],
    spot: Collection[tuple[str, str]] = (),
) -> Picks:
    """Count the battles of a file and choose some.

    Args:
        path: ``battles.jsonl``.
        wanted: how many to choose in all.
        kind_share: how many of them may be flipped ones, and how many may be largest gaps.
        ask: (prompt id, model, model) whose presence is to be told, with the models in sorted order.
        spot: (prompt id, model) of answers that are to be shown: one battle of each is chosen before all others.

    Raises:
        InputError: the file is missing or a row is no battle.
    """
    rng = random.Random(derive_seed("report"))
    picks = Picks()
    flipped, same_flipped, rest = (Reservoir(size, rng) for size in (kind_share, kind_share, wanted))
    gaps: list[tuple[float, float, int, Battle]] = []
    spotted: list[tuple[int, Battle]] = []
    unseen = set(spot)
    last_prompt = None
    for line, row in read_rows(path):
        lost = row.get("own_failure") is not None  # without a verdict: there are no scores, and no card
        battle = battle_of(path, line, row | {"score_a": 0.0, "score_b": 0.0} if lost else row)
        index = picks.battles
        picks.battles += 1
        if battle.prompt_id != last_prompt:  # the file is in the order of the prompts
            picks.prompts += 1
            last_prompt = battle.prompt_id
        counts = picks.pairs.setdefault((battle.model_a, battle.model_b), [0, 0, 0])
        counts[_RECORD[battle.winner]] += 1
        if lost:
            continue
        if ask and (key := (battle.prompt_id, *sorted((battle.model_a, battle.model_b)))) in ask:
            picks.decided.add(key)
        if unseen and (seen := unseen & {(battle.prompt_id, battle.model_a), (battle.prompt_id, battle.model_b)}):
            unseen -= seen
            spotted.append((index, battle))
        half, odd = divmod(len(battle.verdicts), 2)
        same = half > 0 and not odd and battle.verdicts[:half] == battle.verdicts[half:]
        picks.same += same
        if battle.flipped:
            picks.flipped += 1
            picks.same_flipped += same
            (same_flipped if same else flipped).add((index, battle))
        elif not gaps or len(gaps) < kind_share or battle.gap >= gaps[0][0]:
            # many gaps are equal: which of them are shown is drawn
            heapq.heappush(gaps, (battle.gap, rng.random(), index, battle))
            if len(gaps) > kind_share:
                heapq.heappop(gaps)
        rest.add((index, battle))
    # flips between different texts tell more than those between equal ones, which can only show the seat's pull
    flips = [*flipped.items, *same_flipped.items][:kind_share]
    picks.chosen = list(_choose(spotted, flips, [(i, b) for _, _, i, b in gaps], rest.items, wanted))
    return picks


def _choose(
    spotted: list[tuple[int, Battle]],
    flipped: list[tuple[int, Battle]],
    gaps: list[tuple[int, Battle]],
    rest: list[tuple[int, Battle]],
    wanted: int,
) -> Iterator[Pick]:
    taken: set[int] = set()
    gaps = sorted(gaps, key=lambda item: (-item[1].gap, item[0]))
    for kind, items in (("suspicious", spotted), ("flipped", sorted(flipped, key=itemgetter(0))), ("gap", gaps)):
        for index, battle in [item for item in items if item[0] not in taken][: wanted - len(taken)]:
            taken.add(index)
            yield Pick(index, kind, battle)
    others = [(index, battle) for index, battle in rest if index not in taken][: wanted - len(taken)]
    for index, battle in sorted(others, key=itemgetter(0)):
        yield Pick(index, "random", battle)


def battle_of(path: Path, line: int, row: Mapping[str, Any]) -> Battle:
    """A row of ``battles.jsonl`` as a battle; raises InputError where it is none."""
    try:
        if row["winner"] not in list(Winner):
            raise ValueError(f"winner {row['winner']!r} (model_a, model_b or tie)")
        return Battle(
            prompt_id=str(row["prompt_id"]),
            model_a=str(row["model_a"]),
            model_b=str(row["model_b"]),
            winner=Winner(row["winner"]),
            score_a=float(row["score_a"]),
            score_b=float(row["score_b"]),
            flipped=bool(row["flipped"]),
            judge=str(row["judge"]),
            verdicts=tuple(str(key) for key in row["verdicts"]),
        )
    except KeyError as error:
        raise row_error(str(path), line, f"no battle: {error} is missing") from None
    except (TypeError, ValueError) as error:
        raise row_error(str(path), line, f"no battle: {error}") from None
