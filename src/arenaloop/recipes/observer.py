"""What a recipe tells whoever is watching; the command line turns it into progress bars."""

from __future__ import annotations

from collections.abc import Mapping

from arenaloop.calls.progress import Tally

__all__ = ["Observer"]


class Observer:
    """Hears what a recipe is doing; this one ignores it. No method may take long: they are called from its loops."""

    def phase(self, stage: str, doing: str) -> None:
        """A stage has begun something, e.g. ``phase("SFT-I1", "battles")``."""

    def tally(self, counts: Tally) -> None:
        """Battles have moved on (about four times a second)."""

    def step(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        """Training has moved on."""

    def preparing(self, what: str, done: int, total: int) -> None:
        """Before a training's first step: what is done, and how many rows of how many are through, where any count."""

    def note(self, text: str) -> None:
        """Something that who runs it should know, in one line."""

    def done(self, stage: str, result: Mapping[str, object]) -> None:
        """A stage is finished."""
