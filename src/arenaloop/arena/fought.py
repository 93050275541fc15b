"""What battled in a finished run, read back: who met whom on which prompt, with which stored answers, and who won."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from arenaloop.arena.matchmaking import Pair, Schedule
from arenaloop.arena.plan import BattlePlan
from arenaloop.calls.answers import Contestant
from arenaloop.data.result_files import check_whole
from arenaloop.errors import InputError
from arenaloop.jsonl import read_rows, row_error
from arenaloop.models.recorded import RecordedModel
from arenaloop.store import Store
from arenaloop.types import Prompt, Response, Ruling, Winner

__all__ = ["A_FIRST", "BOTH", "B_FIRST", "Fought", "Game", "plan_again", "read_fought"]

BOTH, A_FIRST, B_FIRST = 0, 1, 2


class Game(NamedTuple):
    """One row of ``battles.jsonl``: a pair, and which seats it merges (`BOTH`, or one of them)."""

    model_a: str
    model_b: str
    seats: int


@dataclass
class Fought:
    """What battled in a run directory, as its ``battles.jsonl`` and arena file say.

    Attributes:
        pairs: by prompt, in the order of the file and then of what was wanted besides, the pairs in play.
        outcomes: by prompt, who won each decided game.
        flipped: by prompt, how many decided pairs had seats that named different winners.
        responses: by contestant and prompt, the key of the answer that battled; `failed`: of the one that failed.
    """

    pairs: dict[str, list[Pair]] = field(default_factory=dict)
    outcomes: dict[str, dict[Game, Winner]] = field(default_factory=dict)
    flipped: Counter[str] = field(default_factory=Counter)
    responses: dict[str, dict[str, str]] = field(default_factory=dict)
    failed: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def decided(self) -> int:
        """Decided pairs on prompts; both seats' games of one pair count once."""
        return sum(len({game[:2] for game in games}) for games in self.outcomes.values())

    @property
    def flips(self) -> int:
        """Decided pairs whose seats named different winners."""
        return self.flipped.total()

    def on(self, holds: Callable[[str], bool]) -> Fought:
        """What battled on some of the prompts."""

        def some(by_prompt: Mapping[str, Any]) -> dict[str, Any]:
            return {prompt_id: value for prompt_id, value in by_prompt.items() if holds(prompt_id)}

        return Fought(
            some(self.pairs),
            some(self.outcomes),
            Counter(some(self.flipped)),
            {name: some(keys) for name, keys in self.responses.items()},
            {name: some(keys) for name, keys in self.failed.items()},
        )

    @property
    def both(self) -> int:
        """Pairs on prompts that were decided from both seats."""
        seats = Counter(
            (prompt_id, *game[:2])
            for prompt_id, games in self.outcomes.items()
            for game in games
            for _ in range(2 if game.seats == BOTH else 1)
        )
        return sum(n >= 2 for n in seats.values())


def read_fought(directory: Path, store: Store, wanted: Mapping[str, Sequence[Pair]] | None = None) -> Fought:
    """Find what battled in a run, and the stored answers that it battled with.

    Args:
        directory: a run directory with ``battles.jsonl``.
        wanted: by prompt, the pairs that were to meet; those that stayed undecided are added, with the latest stored
            answers of their models. Without it, only what was decided is judged again.

    Raises:
        InputError: a row is no battle, or its verdicts or answers are not in the arena file.
    """
    path = directory / "battles.jsonl"
    fought = Fought()
    for prompt_id, rows in groupby(read_rows(path), key=lambda numbered: str(numbered[1].get("prompt_id"))):
        prompt = store.prompt(prompt_id)
        if prompt is None:
            raise InputError(f"{path}: the prompt {prompt_id} is not in {store.path.name}")
        _add_prompt(fought, prompt, path, list(rows), store)
    check_whole(directory)
    for prompt_id, pairs in (wanted or {}).items():
        _add_wanted(fought, prompt_id, pairs, store)
    if wanted:  # the order of the prompts is that of the run
        order = dict.fromkeys([*(i for i in wanted if i in fought.pairs), *fought.pairs])
        fought.pairs = {prompt_id: fought.pairs[prompt_id] for prompt_id in order}
    return fought


def _add_prompt(
    fought: Fought, prompt: Prompt, path: Path, rows: Sequence[tuple[int, dict[str, Any]]], store: Store
) -> None:
    answers = store.responses_of(prompt)
    rulings = store.rulings_of(prompt.id)
    authors: dict[str, dict[str, str]] = {}
    for key, answer in answers.items():
        authors.setdefault(answer.text_hash, {})[answer.model] = key
    pairs = fought.pairs.setdefault(prompt.id, [])
    games = fought.outcomes.setdefault(prompt.id, {})
    for line, row in rows:
        if row.get("own_failure") is not None:  # no verdict is behind it
            pair = str(row.get("model_a")), str(row.get("model_b"))
            if pair not in pairs:
                pairs.append(pair)
                _add_answers(fought, prompt, [pair], store)
            continue
        try:
            a, b, outcome = str(row["model_a"]), str(row["model_b"]), Winner(row["winner"])
            keys = [str(key) for key in row["verdicts"]]
            told = [rulings[key] for key in keys]
            game = Game(a, b, _seats(row, told, authors))
        except (LookupError, TypeError, ValueError):
            raise row_error(path, line, f"no battle whose verdicts are in {store.path.name}") from None
        if game.seats == A_FIRST and game in games:  # equal texts: both seats' battles have the same one verdict
            game = game._replace(seats=B_FIRST)
        hashes = told[0].first_hash, told[0].second_hash
        for name, text_hash in zip((a, b), hashes if game.seats != B_FIRST else hashes[::-1], strict=True):
            written = authors.get(text_hash, {})
            if not written:
                raise row_error(path, line, f"the answer of {name} is not in {store.path.name}")
            # one model under two names has its answers under the first
            fought.responses.setdefault(name, {})[prompt.id] = written.get(name) or next(iter(written.values()))
        if (a, b) not in pairs:
            pairs.append((a, b))
            fought.flipped[prompt.id] += bool(row.get("flipped"))
        games[game] = outcome


def _seats(row: Mapping[str, Any], told: Sequence[Ruling], authors: Mapping[str, Mapping[str, str]]) -> int:
    """Which seats a row's verdicts are from. One seat's are all on the same two texts in the same order, each once.

    Of one seat, model_a sat first if it wrote the text there; where both models wrote both texts, the score tells.
    """
    ruling = told[0]
    if len({(r.first_hash, r.second_hash) for r in told}) > 1 or len({r.key for r in told}) < len(told):
        return BOTH
    first, second = authors.get(ruling.first_hash, {}), authors.get(ruling.second_hash, {})
    a_may = row["model_a"] in first and row["model_b"] in second
    b_may = row["model_b"] in first and row["model_a"] in second
    if a_may != b_may:
        return A_FIRST if a_may else B_FIRST
    return A_FIRST if ruling.score_first in (None, row.get("score_a")) else B_FIRST


def _add_wanted(fought: Fought, prompt_id: str, pairs: Sequence[Pair], store: Store) -> None:
    known = fought.pairs.setdefault(prompt_id, [])
    missing = [pair for pair in pairs if pair not in known and pair[::-1] not in known]
    if not missing:
        return
    if (prompt := store.prompt(prompt_id)) is not None:
        _add_answers(fought, prompt, missing, store)
    place = {pair: n for n, pair in enumerate(pairs)}
    fought.pairs[prompt_id] = sorted([*known, *missing], key=lambda pair: place.get(pair, -1))


def _add_answers(fought: Fought, prompt: Prompt, pairs: Sequence[Pair], store: Store) -> None:
    """The latest stored answers of models that met without a verdict; those that failed by themselves."""
    latest: dict[str, tuple[str, Response]] = {}
    latest |= {answer.model: (key, answer) for key, answer in store.responses_of(prompt).items()}
    for name in dict.fromkeys(name for pair in pairs for name in pair):
        mine = fought.responses.setdefault(name, {})
        if prompt.id not in mine and name in latest:
            key, answer = latest[name]
            (mine if answer.battles else fought.failed.setdefault(name, {}))[prompt.id] = key


def plan_again(fought: Fought, names: Sequence[str], template: BattlePlan) -> BattlePlan:
    """The plan of the same battles between recorded answers; judge, rule, patience and seed are those of `template`."""
    pairs = list(dict.fromkeys(pair for some in fought.pairs.values() for pair in some))
    index = {pair: n for n, pair in enumerate(pairs)}
    chosen = {prompt_id: tuple(index[pair] for pair in some) for prompt_id, some in fought.pairs.items()}
    everyone = dict.fromkeys([*names, *(name for pair in pairs for name in pair)])
    return replace(
        template,
        contestants=[Contestant(name, RecordedModel(name, "arena.db")) for name in everyone],
        prompt_ids=list(fought.pairs),
        schedule=Schedule(tuple(pairs), chosen),
        recorded={name: fought.responses.get(name, {}) for name in everyone},
        failed=fought.failed,
    )
