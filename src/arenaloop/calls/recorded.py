"""Which recorded answer belongs to which prompt, small enough to be kept for every prompt of a large run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

__all__ = ["PackedKeys", "places"]

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
