"""`reliability_jury`, small."""

from __future__ import annotations

import re
from collections.abc import Callable

Run = Callable[..., list[str]]


def test_reliability_jury_names_every_world(run: Run) -> None:
    _, _, *rows = run("reliability_jury", "--seeds", 2, "--prompts", 6, "--models", 4)
    assert [re.split(r"\s{2,}", row)[0] for row in rows] == [
        "one coin", "all unlike", "two coins", "one turned", "equal"
    ]  # fmt: skip
    assert all(0.0 <= float(row.rsplit(" ", 1)[1]) <= 1.0 for row in rows)
