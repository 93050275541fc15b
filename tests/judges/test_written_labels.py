"""The label behind a verdict is told by its last brackets, or its JSON, and only where it says what was read."""

from __future__ import annotations

import pytest

from arenaloop.judges.written_labels import written_label


@pytest.mark.parametrize(
    ("words", "first", "label"),
    [
        ("Better.\n[[A>>B]]", 1.0, "A>>B"),
        ("My final verdict is: **[[ B > A ]]**.", 0.25, "B>A"),
        ("[[A>>B]] at first sight.\n\n[[A=B]]", 0.5, "A=B"),
        ("The answer claims [[A>>B]].\n[[A]]", 1.0, None),  # FastChat's label, which is no strong one
        ("[[A>>B]]", 0.75, None),  # whatever was read, it was not this
        ("[[B>>A]]", None, None),
        ('{"explanation": "[[A>>B]]", "label": "B>>A"}', 0.0, "B>>A"),
        ('{"label": ["B>>A"]}', 0.0, None),
        ('{"label": "B>>A"', 0.0, None),
        ("Scores: 7 5", 7.0, None),
        ("", 1.0, None),
    ],
)
def test_what_was_written(words: str, first: float | None, label: str | None) -> None:
    assert written_label(words, first) == label
