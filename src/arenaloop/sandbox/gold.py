"""What an answer is truly worth in the sandbox, whichever of its two worlds the prompt is of."""

from __future__ import annotations

from arenaloop.sandbox import notes, tasks

__all__ = ["utility"]


def utility(prompt: str, answer: str) -> float | None:
    """The gold utility of an answer, in [0, 1], by `tasks.utility` or `notes.utility`; None outside both worlds."""
    found = tasks.utility(prompt, answer)
    return notes.utility(prompt, answer) if found is None else found
