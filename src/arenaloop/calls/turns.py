"""One turn of a contestant's answer, as a call that is asked once and stored."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Sequence
from itertools import islice

from arenaloop.calls.contestants import Contestant
from arenaloop.calls.prefetch import Material
from arenaloop.calls.units import Asked, Earlier, Who
from arenaloop.store import AskedTurn, Store, TurnRow, response_key
from arenaloop.types import Completion, Request, Status, content_hash, derive_seed

__all__ = ["TurnUnit", "stored_turns"]


class TurnUnit:
    """One turn of a contestant's answer to a prompt.

    Args:
        key: of the whole response.
        before: texts of the earlier turns.
        seed: of the run.
    """

    __slots__ = ("asked", "before", "c", "material", "response_key", "seed")

    def __init__(
        self, c: Contestant, asked: Asked, material: Material, key: str, before: Sequence[str], seed: int
    ) -> None:
        self.c, self.asked, self.material, self.response_key = c, asked, material, key
        self.before, self.seed = before, seed

    @property
    def who(self) -> Who:
        """The contestant; of a sample, the one that it is chosen for."""
        return "contestant", self.c.part_of or self.c.name

    def key(self, sample: int = 0) -> str:
        """The response's key, and the turn."""
        return f"{self.response_key}/{len(self.before)}"

    def stored(self, sample: int) -> Status | None:
        """How the latest attempt ended."""
        found = self.material.turns.get((self.response_key, len(self.before)))
        return None if found is None else found[1]

    def request(self, sample: int = 0) -> Request:
        """The conversation so far; its seed follows from the response's key and the turn."""
        return Request(
            messages=tuple(self.material.prompt.conversation(self.before)),
            sampling=self.c.sampling,
            sample=self.c.sample,
            seed=derive_seed("answer", self.seed, self.response_key, len(self.before)),
            key=self.response_key,
        )

    def read(self, completion: Completion, sample: int = 0) -> Completion:
        """The completion itself."""
        return completion

    def ask(self, sample: int) -> Awaitable[Completion]:
        """Ask the model."""
        assert self.asked.model is not None
        return self.asked.model.complete(self.request())

    def earlier(self, store: Store, most: int) -> Iterator[Earlier]:
        """First turns of this contestant with these settings."""
        stored = stored_turns(self.c, self.asked, store)
        told = (Earlier(unit, turn.tokens_in, turn.tokens_out, turn.usd) for unit, turn in stored if turn.tokens_in)
        return islice(told, most)

    def keep(self, store: Store, records: Sequence[tuple[TurnUnit, Completion]]) -> None:
        """Store turns, and note them for whoever reads on."""
        rows = []
        for unit, completion in records:
            text_hash = content_hash([*unit.before, completion.text])
            key, turn = unit.response_key, len(unit.before)
            rows.append(TurnRow(key, turn, unit.material.prompt.id, unit.c.name, completion, text_hash, unit.c.sample))
            unit.material.turns[key, turn] = (completion.text, completion.status, text_hash)
        store.add_turns(rows)


def stored_turns(c: Contestant, asked: Asked, store: Store) -> Iterator[tuple[TurnUnit, AskedTurn]]:
    """First turns of a contestant with these settings, of those whose answer's tokens were told."""
    for one in c.drawn:
        for turn in store.asked_turns(one.name):
            mine = turn.key == response_key(turn.prompt_id, one.model.fingerprint, one.sampling.key(), one.sample)
            if mine and (prompt := store.prompt(turn.prompt_id)) is not None:
                yield TurnUnit(one, asked, Material(prompt), turn.key, (), 0), turn
