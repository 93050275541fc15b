"""Vectors of texts from an embeddings endpoint: some texts a call, each call asked once, stored, resumable."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from arenaloop.calls.budget import Budget
from arenaloop.calls.judging import decide
from arenaloop.calls.progress import Tally
from arenaloop.calls.units import Asked, Earlier, Who
from arenaloop.errors import StoppedError
from arenaloop.models.embedding_wire import from_text
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.normal_form import is_blank
from arenaloop.store import Store, TurnRow
from arenaloop.types import Completion, Request, Sampling, Status, content_hash

__all__ = ["EMBEDDED", "AskedEmbedder", "EmbeddingUnit", "embedded", "embedding_units"]

EMBEDDED = Sampling(max_tokens=0)
_TOGETHER = 64  # texts a call
_LONGEST = (
    8_000  # characters of a text that are sent: endpoints refuse what is beyond their window, mostly 8,192 tokens
)


class AskedEmbedder(Asked):
    """An embeddings endpoint in a run.

    Attributes:
        name: of its model.
        width: of the vectors that came first; None before any has.
        changed: why its vectors cannot be used together.
    """

    __slots__ = ("changed", "model_", "name", "width")

    def __init__(self, model: OpenAIModel) -> None:
        super().__init__(model, model.concurrency, reask=0, done=frozenset({Status.OK}))
        self.name, self.model_ = model.name, model
        self.width: int | None = None
        self.changed = ""

    @property
    def who(self) -> Who:
        """In whose name it is asked."""
        return "embeddings", self.name

    def note(self, text: str) -> None:
        """Take note of how wide the vectors of an answer are."""
        width = int(text.partition(":")[0])
        self.width = self.width or width
        if width != self.width and not self.changed:
            self.changed = (
                f"embeddings {self.name} at {self.model_.base_url}: vectors of {width:,} numbers, after some of "
                f"{self.width:,}: it does not answer with one model; mend that, and begin anew with another --out"
            )

    def check(self) -> None:
        """Raise StoppedError where vectors of two widths have come."""
        if self.changed:
            raise StoppedError(self.changed)


class EmbeddingUnit:
    """One call for the vectors of some texts."""

    __slots__ = ("_key", "asked", "store", "texts")

    def __init__(self, asked: AskedEmbedder, texts: Sequence[str], store: Store | None) -> None:
        self.asked, self.texts, self.store = asked, texts, store
        self._key = content_hash("embeddings", asked.model_.fingerprint, list(texts))

    @property
    def who(self) -> Who:
        """The endpoint's model."""
        return self.asked.who

    def key(self, sample: int = 0) -> str:
        """Of the model and all texts."""
        return self._key

    def stored(self, sample: int) -> Status | None:
        """How the latest attempt ended."""
        found = None if self.store is None else self.store.turn(self._key, 0)
        return None if found is None else found[1]

    def request(self, sample: int = 0) -> Request:
        """The texts, as messages."""
        return Request(tuple({"role": "user", "content": text} for text in self.texts), EMBEDDED, key=self._key)

    def read(self, completion: Completion, sample: int = 0) -> Completion:
        """The completion itself, which holds all vectors."""
        return completion

    def ask(self, sample: int) -> Awaitable[Completion]:
        """Ask the endpoint; raises StoppedError once it has changed the width."""
        self.asked.check()
        return self.asked.model_.complete(self.request())

    def earlier(self, store: Store, most: int) -> Iterator[Earlier]:
        """None: an answer of one call tells what they cost."""
        return iter(())

    def keep(self, store: Store, records: Sequence[tuple[EmbeddingUnit, Completion]]) -> None:
        """Store the vectors of all texts."""
        name = self.asked.name
        store.add_turns(TurnRow(u.key(), 0, "", name, one, content_hash([one.text]), 0) for u, one in records)
        for _, one in records:
            if one.status is Status.OK:
                self.asked.note(one.text)


def embedding_units(asked: AskedEmbedder, texts: Sequence[str], store: Store | None) -> list[EmbeddingUnit]:
    """Calls for the vectors of texts, each different one once, cut at `_LONGEST` characters; blank ones have none."""
    sent = [text for text in dict.fromkeys(text[:_LONGEST] for text in texts) if not is_blank(text)]
    return [EmbeddingUnit(asked, sent[at : at + _TOGETHER], store) for at in range(0, len(sent), _TOGETHER)]


def embedded(
    texts: Sequence[str],
    model: OpenAIModel,
    store: Store,
    on_progress: Callable[[Tally], None] | None = None,
    *,
    budget: Budget | None = None,
    concurrency: int | None = None,
) -> NDArray[np.float32]:
    """Vectors of texts, (n, d), as the endpoint gives them; those that are stored are not asked for again. Blocking.

    Raises:
        StoppedError: the budget is spent, the endpoint is down, refuses texts, or gives vectors of different widths.
    """
    asked = AskedEmbedder(model)
    units = embedding_units(asked, texts, store)
    for unit in units:
        found = store.turn(unit.key(), 0)
        if found is not None and found[1] is Status.OK:
            asked.note(found[0])
    asked.check()
    decide(lambda: units, store, on_progress, concurrency=concurrency, budget=budget, closing=[model])
    asked.check()
    rows: dict[str, NDArray[np.float32]] = {}
    missing = [unit for unit in units if unit.stored(0) is not Status.OK]
    if missing:
        why = store.answer_error(missing[0].key()) or "no reason given"
        raise StoppedError(
            f"embeddings {model.name} at {model.base_url}: {len(missing):,} of {len(units):,} calls failed ({why}); "
            "run again to ask again"
        )
    for unit in units:
        whole = store.turn(unit.key(), 0)
        assert whole is not None
        rows.update(zip(unit.texts, from_text(whole[0]), strict=True))
    nothing = np.zeros(asked.width or 1, np.float32)
    return np.stack([rows.get(text[:_LONGEST], nothing) for text in texts])
