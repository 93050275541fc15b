"""What models and servers say reaches a terminal as text, and as nothing else."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from arenaloop.terminal import counted, figure, plain, say, show_whole, span, table


def said(
    text: str, *, style: str | None = None, fold: bool = False, on_screen: bool = False, colours: bool = False
) -> str:
    file = io.StringIO()
    say(Console(file=file, width=20, force_terminal=colours), text, style=style, fold=fold, on_screen=on_screen)
    return file.getvalue()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\u202egnp.exe\u2066", "\\u202egnp.exe\\u2066"),
        ("\ud800", "\\ud800"),
        ("é – 模型 ✓ [bold]", "é – 模型 ✓ [bold]"),
    ],
)
def test_control_characters_are_spelled_out(text: str, shown: str) -> None:
    assert plain(text) == shown
    assert said(text) == shown + "\n"


def test_nothing_is_markup_and_no_number_is_coloured() -> None:
    text = "[red]7[/red] of 12 'quoted' http://127.0.0.1"
    assert said(text, colours=True) == text + "\n"
    assert said("[red]7", style="dim", colours=True) == "\x1b[2m[red]7\x1b[0m\n"


def test_a_line_is_folded_only_where_asked() -> None:
    path = "one two three four five six"
    assert said(path) == path + "\n"
    assert said(path, fold=True) == "one two three four \nfive six\n"


def test_what_a_terminals_line_does_not_hold_goes_on_set_in() -> None:
    text = "  out: three models · 40 prompts · 模型模型模型模型"
    for fold in (True, False):
        lines = said(text, colours=True, fold=fold, on_screen=not fold).splitlines()
        assert lines == ["  out: three models", "    · 40 prompts ·", "    模型模型模型模型"]
    assert said(text, on_screen=True) == text + "\n"
    assert said("short", on_screen=True, colours=True) == "short\n"


def test_figures_that_are_not_known_are_dashes() -> None:
    assert (figure(None, ".1f"), figure(1234.56, ",.1f"), figure(3, "d")) == ("–", "1,234.6", "3")
    assert (span(1.0, 2.0, ".0f"), span(None, None, ".0f")) == ("1 … 2", "–")
    assert (span(None, 2.0, ".0f"), span(1.0, None, ".0f")) == ("open … 2", "1 … open")


def test_one_thing_is_one_and_others_are_many() -> None:
    things = ((1, "judge call"), (0, "stage"), (1500, "row"), (2, "batch"), (1, "batch"))
    assert [counted(*one) for one in things] == ["1 judge call", "0 stages", "1,500 rows", "2 batches", "1 batch"]


def test_a_table_shows_names_as_they_stand() -> None:
    file = io.StringIO()
    Console(file=file, width=24).print(table(["model", "rating"], [["[red]a[/red]:x:", "1,000"], ["\x1b[2J", "–"]]))
    assert [line.rstrip() for line in file.getvalue().splitlines()] == [
        "model            rating", "[red]a[/red]:x:   1,000", "\\x1b[2J               –",
    ]  # fmt: skip


def test_a_narrow_terminal_gets_the_first_columns() -> None:
    rows = [["a method with a long name", "52.9 (51.3 … 54.5)", "3,978", "16"]]
    for width, shown in ((80, 4), (60, 4), (46, 3), (38, 2), (20, 2)):
        console = Console(width=width, file=io.StringIO())
        made = table(["method", "simulated", "labels", "CPU s"], rows, width)
        assert len(made.columns) == shown
        console.print(made)
        assert console.file.getvalue().splitlines()[0].startswith("method" if width > 20 else "")  # type: ignore[attr-defined]


def test_a_name_is_folded_last() -> None:
    titles = ["model", "win rate", "95 % interval"]
    rows = [["a-model-of-a-long-name", "49.81", "48.45 … 51.17"]]
    for width, terminal, lines in ((20, False, 2), (80, True, 2), (40, True, 4), (30, True, 5)):
        file = io.StringIO()
        show_whole(Console(file=file, width=width, force_terminal=terminal, no_color=True), titles, rows)
        shown = re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())
        assert (rows[0][0] in shown) is (width != 30)
        assert ("48.45 … 51.17" in shown) is (lines == 2)
        assert max(map(len, shown.splitlines())) <= (80 if lines == 2 else width)
        assert "48.45 …" in shown
