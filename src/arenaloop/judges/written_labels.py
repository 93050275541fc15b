"""Which of Arena-Hard's five labels a judge wrote, of whom no more than scores is kept beside its words."""

from __future__ import annotations

import json
import re

from arenaloop.judges.answer_lines import LABELS

__all__ = ["written_label"]

_BRACKETED = re.compile(r"\[\[([^\[\]\n]{0,40})\]\]")


def written_label(words: str, first: float | None) -> str | None:
    """The label that a verdict was read from, seats as they sat.

    Args:
        words: the judge's whole text: with a label as the last thing in double brackets, or one JSON object with one.
        first: what the verdict gave the first seat. A label that says something else was not the verdict: one that was
            quoted, or a token's where probabilities were read.

    Returns:
        ``A>>B``, ``A>B``, ``A=B``, ``B>A`` or ``B>>A``; None where the words hold none that fits.
    """
    label = _of_json(words) if words.lstrip().startswith("{") else _last_in_brackets(words)
    return label if label in LABELS and LABELS[label] == first else None


def _last_in_brackets(words: str) -> str | None:
    found = _BRACKETED.findall(words)
    return re.sub(r"\s", "", found[-1]) if found else None


def _of_json(words: str) -> str | None:
    try:
        told = json.loads(words)
    except ValueError:
        return None
    label = told.get("label") if isinstance(told, dict) else None
    return label if isinstance(label, str) else None
