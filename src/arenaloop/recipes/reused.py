"""Which stages a run would find trained, told without asking, training or writing anything.

A run knows a finished stage by its inputs, and a training by its rows, its start and its settings. A plan has not all
of these: rows come from battles, and what a hub holds is not looked up. So a stage that is worked writes beside its
weights what decides them (its settings and its material, and the weights of the stages before it), and a plan looks for
that. It finds too little rather than too much: whatever it does not find is planned anew.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from glob import escape
from pathlib import Path

from arenaloop.models.checkpoint import checkpoint_fingerprint, holds_model
from arenaloop.models.kept_checkpoint import DIGITS, RECORD, document
from arenaloop.recipes.kept import STAGE
from arenaloop.store import Store
from arenaloop.types import content_hash

__all__ = ["Decides", "Made", "Reused", "has_weights", "start_identity", "weights_of"]

Decides = Callable[[str, Mapping[str, str | None]], object]
"""(stage, weights of the stages before it by name) → what decides its weights: plain values, to be hashed."""

_ROOM = "stages as they are made"


def start_identity(start: str) -> str:
    """What identifies the model that training starts from, as far as this machine knows it."""
    return checkpoint_fingerprint(start) if Path(start).is_dir() else start


def has_weights(checkpoint: Path) -> bool:
    """Whether a model stands in a stage's directory, weights and all."""
    return holds_model(checkpoint) and any(checkpoint.glob("*.safetensors"))


def weights_of(checkpoint: Path) -> str | None:
    """What identifies a checkpoint; None where there is none."""
    return checkpoint_fingerprint(checkpoint) if holds_model(checkpoint) else None


class Made:
    """What a recipe's stages are made from, one after the other.

    Attributes:
        weights: of the stages so far, by name.
    """

    def __init__(self, decides: Decides) -> None:
        self._decides = decides
        self.weights: dict[str, str | None] = {}

    def key(self, name: str) -> str:
        """Hash of what decides the weights of the next stage."""
        return content_hash("made", name, self._decides(name, self.weights))

    def begin(self, store: Store, name: str, checkpoint: Path) -> str:
        """Its key, noted with what has been trained in its place so far: a kill may come before the stage's record."""
        key = self.key(name)
        if (store.note(_ROOM, name) or [None])[0] != key:
            store.put_note(_ROOM, name, [key, document(checkpoint / RECORD).get("key")])
        return key


class Reused:
    """Looks for the weights of a recipe's stages, in their order.

    Args:
        out: the run directory.
        store: its arena file, as far as there is one.
        decides: what decides a stage's weights.
        through: stages that are through with these very settings, and have their weights.

    Attributes:
        stages: those whose weights are there.
    """

    def __init__(self, out: Path, store: Store | None, decides: Decides, through: Collection[str] = ()) -> None:
        self._out, self._store, self._through = out, store, through
        self._made = Made(decides)
        self.stages: set[str] = set()

    def find(self, name: str, *, settled: bool = True) -> Path | None:
        """Where the weights of the next stage stand; None where it is to be trained.

        Args:
            name: of the stage.
            settled: whether all that it learns from is there; else its rows are not known.
        """
        found = self._found(name) if settled or name in self._through else None
        self._made.weights[name] = "to come" if found is None else weights_of(found)
        if found is not None:
            self.stages.add(name)
        return found

    def skip(self, name: str) -> None:
        """Pass a stage that trains nothing."""
        self._made.weights[name] = None

    def _found(self, name: str) -> Path | None:
        place = self._out / "checkpoints" / name
        if name in self._through and has_weights(place):
            return place
        key = self._made.key(name)
        for one in (place, *sorted(place.parent.glob(f"{escape(name)}.{'?' * DIGITS}"))):
            if has_weights(one) and self._key_of(one, name) == key:
                return one
        return None

    def _key_of(self, checkpoint: Path, name: str) -> object:
        """What a checkpoint was made from; of one whose stage was cut off after its training, as the stage began."""
        if (checkpoint / STAGE).is_file():
            return document(checkpoint / STAGE).get("made")
        record, begun = document(checkpoint / RECORD), None if self._store is None else self._store.note(_ROOM, name)
        if begun is None or not isinstance(record.get("result"), dict) or record.get("key") == begun[1]:
            return None
        return begun[0]
