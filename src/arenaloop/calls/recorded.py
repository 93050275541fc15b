"""Recorded answers: which belongs to which prompt, and their way into the arena file before the first call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from arenaloop.calls.answers import Contestant
from arenaloop.errors import InputError
from arenaloop.models.recorded import RecordedModel, match_keys
from arenaloop.store import Store, recorded_key
from arenaloop.types import Completion, Prompt, Status, content_hash

__all__ = ["PackedKeys", "ingest_recorded", "match_recorded", "places"]

_SIZE = 16  # bytes of a content hash
_NONE = bytes(_SIZE)


def places(prompt_ids: Iterable[str]) -> dict[str, int]:
    """A number for every prompt id, counted from 0; what all `PackedKeys` of a run share."""
    return {prompt_id: number for number, prompt_id in enumerate(dict.fromkeys(prompt_ids))}


class PackedKeys(Mapping[str, str]):
    """Response keys of one contestant by prompt id, 16 bytes each (a text and its place in a dict take ten times that).

    Args:
        place: from `places`.
    """

    __slots__ = ("_count", "_keys", "_place")

    def __init__(self, place: Mapping[str, int]) -> None:
        self._place = place
        self._keys = bytearray(_SIZE * len(place))
        self._count = 0

    def add(self, prompt_id: str, key: str) -> None:
        """Keep a key of 32 hex digits; the first one of a prompt stands.

        Raises:
            KeyError: the prompt has no place.
        """
        at = _SIZE * self._place[prompt_id]
        if self._keys[at : at + _SIZE] == _NONE:
            self._keys[at : at + _SIZE] = bytes.fromhex(key)
            self._count += 1

    def __getitem__(self, prompt_id: str) -> str:
        at = _SIZE * self._place[prompt_id]
        key = self._keys[at : at + _SIZE]
        if key == _NONE:
            raise KeyError(prompt_id)
        return key.hex()

    def __iter__(self) -> Iterator[str]:
        return (prompt_id for prompt_id in self._place if prompt_id in self)

    def __len__(self) -> int:
        return self._count


def match_recorded(
    contestants: Sequence[Contestant], prompts: Sequence[Prompt], *, allow_missing: bool = False
) -> dict[str, PackedKeys]:
    """Find which recorded answer belongs to which prompt, without keeping the texts.

    Returns:
        For each recorded contestant, response keys by prompt id.

    Raises:
        InputError: a file lacks answers for some prompts (says how many), unless `allow_missing`; or it is malformed.
    """
    recorded = [c for c in contestants if isinstance(c.model, RecordedModel)]
    if not recorded:
        return {}
    ids_by_key = _ids_by_key(prompts)
    turns = {prompt.id: prompt.turns for prompt in prompts}
    place = places(turns)
    found: dict[str, PackedKeys] = {}
    for c in recorded:
        assert isinstance(c.model, RecordedModel)
        keys = found.setdefault(c.name, PackedKeys(place))
        for answer in c.model.rows():
            for prompt_id in {i for key in answer.keys for i in ids_by_key.get(key, ())}:
                if len(answer.texts) == turns[prompt_id]:
                    keys.add(prompt_id, recorded_key(prompt_id, answer.texts))
        missing = len(prompts) - len(keys)
        if missing and not allow_missing:
            raise InputError(
                f"{c.model.path}: no answer for {missing} of {len(prompts)} prompts "
                f"({c.name}; --allow-missing, in a recipe allow_missing: true, goes on with the rest)"
            )
    return found


def _ids_by_key(prompts: Iterable[Prompt]) -> dict[str, list[str]]:
    """Prompt ids by match key; prompts that differ in their system message alone share the key of their text."""
    ids: dict[str, list[str]] = {}
    for prompt in prompts:
        for key in match_keys(prompt):
            ids.setdefault(key, []).append(prompt.id)
    return ids


def ingest_recorded(
    store: Store, contestants: Sequence[Contestant], prompts: Sequence[Prompt], found: Mapping[str, Mapping[str, str]]
) -> None:
    """Copy the matched recorded answers into the arena file; those already there are left alone."""
    for c in contestants:
        if not isinstance(c.model, RecordedModel):
            continue
        wanted = found[c.name]
        ids_by_key = _ids_by_key(p for p in prompts if p.id in wanted)
        done: set[str] = set()
        for answer in c.model.rows():
            for prompt_id in {i for key in answer.keys for i in ids_by_key.get(key, ())} - done:
                key = recorded_key(prompt_id, answer.texts)
                if key != wanted[prompt_id]:
                    continue
                done.add(prompt_id)
                if store.turn(key, 0) is None:
                    turns = range(len(answer.texts))
                    store.add_turns([_recorded_row(key, turn, prompt_id, c.name, answer.texts) for turn in turns])
    store.flush()


def _recorded_row(
    key: str, turn: int, prompt_id: str, name: str, texts: tuple[str, ...]
) -> tuple[str, int, str, str, Completion, str]:
    text = texts[turn]
    status = Status.OK if text.strip() else Status.EMPTY
    completion = Completion(text=text, status=status, finish_reason="recorded", usd=0.0, calls=0)
    return key, turn, prompt_id, name, completion, content_hash(list(texts[: turn + 1]))
