"""What is known of battles without an outcome: facts for their attribution, and the lines in which they are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from arenaloop.arena.attribution import Attribution, FailedVerdict, Said, attribute
from arenaloop.audit.suspicion import marks
from arenaloop.models.reasoning import part_reasoning
from arenaloop.store import Store
from arenaloop.types import Prompt, Response, Ruling, Status

__all__ = ["Facts"]

_PLANTED = frozenset({"addresses_judge", "verdict", "delimiters", "role_tags"})
"""Flags of an answer that can keep a verdict from being read."""
_READ = frozenset({Status.UNPARSED, Status.TRUNCATED, Status.EMPTY})
"""Statuses of a verdict in which something was to be read."""


class Facts:
    """What the arena file says of the answers to one prompt and of verdicts on them, looked up as it is needed.

    Args:
        keys: by contestant, the key of its response; empty where it was never given.
        responses: by contestant, the response, failed ones too.
    """

    def __init__(
        self, store: Store, prompt: Prompt, keys: Mapping[str, str], responses: Mapping[str, Response]
    ) -> None:
        self._store, self._prompt, self._keys, self._responses = store, prompt, keys, responses
        self._marked: dict[str, bool] = {}

    def attribute(self, a: str, b: str, silent: Sequence[Ruling | None], seats: int) -> Attribution:
        """Whose doing it is that two contestants' battle has no outcome.

        Args:
            a, b: the pair.
            silent: verdicts without an outcome, None for those that were never asked.
            seats: how many verdicts were wanted.
        """
        errors = [ruling.key for ruling in silent if ruling is not None and ruling.status is Status.ERROR]
        found = self._store.verdicts(errors) if errors else {}
        failed = [
            FailedVerdict(None)
            if ruling is None
            else FailedVerdict(ruling.status, found[ruling.key].error if ruling.key in found else None)
            for ruling in silent
        ]
        read = any(verdict.status in _READ for verdict in failed)
        messages = [*(m["content"] for m in self._prompt.messages), *self._prompt.follow_ups]
        return attribute(
            self._said(a, read),
            self._said(b, read),
            failed,
            seats=seats,
            prompt_characters=sum(map(len, messages)),
        )

    def _said(self, name: str, look: bool) -> Said:
        response = self._responses.get(name)
        if response is None:
            return Said(None)
        if not response.battles:
            return Said(response.status, self._store.answer_error(self._keys[name]))
        text = "\n".join(response.texts)
        return Said(response.status, None, len(text.strip()), look and self._is_marked(name, text))

    def _is_marked(self, name: str, text: str) -> bool:
        if name not in self._marked:
            # a text that a reader of reasoning would cut can cut a verdict that quotes it
            planted = any(mark.flag in _PLANTED for mark in marks(text))
            self._marked[name] = planted or part_reasoning(text, asked=()).reasoning is not None
        return self._marked[name]
