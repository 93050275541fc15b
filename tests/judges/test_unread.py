"""What is said of a judge that cannot be read: which of the shipped templates, or which mode, would read it."""

from __future__ import annotations

import pytest

from arenaloop.judges.parsers import VerdictMode
from arenaloop.judges.templates import load_template, template_names
from arenaloop.judges.unread import expected, fitting


@pytest.mark.parametrize(
    ("template", "mode", "text", "fits"),
    [
        ("pairwise", "text", "Both have merits.\n[[A]]", "template: fastchat"),
        ("pairwise", "text", "M", "template: alpaca_eval"),
        ("fastchat", "text", "M", "template: alpaca_eval"),
        ("fastchat", "text", "[[A>B]]", "template: labels"),
        ("alpaca_eval", "text", "Fine.\nScores: 7 5", "template: pairwise"),
        ("pairwise", "text", "I would rather not say.", None),
        ("fastchat", "text", "I would rather not say.", None),
    ],
)
def test_the_template_that_reads_such_answers(template: str, mode: VerdictMode, text: str, fits: str | None) -> None:
    assert fitting(load_template(template), mode, [text, text, "?"]) == fits


def test_every_shipped_template_says_what_it_expects() -> None:
    for name in template_names():
        assert not expected(load_template(name).form, "text").startswith("the form ")
