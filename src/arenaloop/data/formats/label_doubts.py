"""Labels that are in doubt beside others of their file: two rows of one, and what is odd about their outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from arenaloop.models.odd_texts import OddTexts
from arenaloop.ratings.cells import LeftOut

if TYPE_CHECKING:
    from arenaloop.data.formats.labels import Label

__all__ = ["oddities", "once"]


def once(labels: Sequence[Label]) -> tuple[list[Label], list[str]]:
    """Each label once, by its id: two rows of one are not two people who agree; and what is to be said.

    Rows of one id about another pair, or by somebody else, are other labels: the id is not theirs alone.

    Raises:
        ValueError: more than `UNKNOWN_SHARE` of the labels have rows with different preferences.
    """
    found: dict[tuple[object, ...], list[Label]] = {}
    for number, label in enumerate(labels):
        own = (label.id, label.annotator, label.prompt.id, *label.outputs) if label.id else (number,)
        found.setdefault(own, []).append(label)
    doubt = LeftOut("one preference")
    kept = []
    for rows in found.values():
        if len({label.preference for label in rows}) == 1:
            kept.append(rows[0])
        else:
            for label in rows:
                doubt.add("rows of one label differ", f"line {label.line}")
    notes = doubt.notes(len(labels))
    if count := len(labels) - len(kept) - len(doubt):
        notes.append(f"{count:,} {'row repeats' if count == 1 else 'rows repeat'} a label of this file by its id: once")
    return kept, notes


def oddities(labels: Sequence[Label]) -> list[str]:
    """What is odd about labels that are read all the same: outputs that are what a program left, or equal ones."""
    odd = OddTexts()
    for label in labels:
        for text in (text for texts in label.outputs for text in texts):
            odd.add(text, label.line, label.prompt.last_user)
    equal = [x.line for x in labels if x.outputs[0] == x.outputs[1] and x.preference not in (None, 1.5)]
    notes = odd.lines("outputs")
    if equal:
        notes.append(
            f"{len(equal):,} of {len(labels):,} labels prefer one of two equal outputs (first line {equal[0]})"
        )
    return notes
