"""Text for a terminal: contestants, judges and servers may say anything, and none of it moves the cursor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["counted", "figure", "plain", "say", "show_whole", "span", "table"]

_NAME = 16
"""characters that names in a narrow table have at least, if they are as long"""


def plain(text: str) -> str:
    """`text` with every control character spelled out, so that a model's name cannot move the cursor or colour it.

    Marks that reorder text (U+202A to U+202E, U+2066 to U+2069) count as control characters.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def say(console: Console, text: str, *, style: str | None = None, fold: bool = False, on_screen: bool = False) -> None:
    """Print one line: control characters spelled out, brackets as they stand, no colours but those of `style`.

    What a terminal's line does not hold goes on below, set in by two blanks.

    Args:
        console: where.
        text: may hold what models, servers and files say.
        style: rich's name of one, such as ``dim``.
        fold: break a long line between words; a command or a path that is to be copied is left to the terminal.
        on_screen: fold where there is a terminal; elsewhere a line stays a line, for whoever searches it.
    """
    text = plain(text)
    if not (console.is_terminal and (fold or on_screen)):
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=not fold)
        return
    for line in _folded(console, text):
        console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def _folded(console: Console, text: str) -> Iterator[str]:
    """A line broken between words, all but the first part set in."""
    from rich.text import Text

    indent = len(text) - len(text.lstrip(" ")) + 2
    first = Text(text).wrap(console, console.width)[0].plain
    yield first.rstrip()
    if rest := text[len(first) :].lstrip(" "):
        yield from (" " * indent + line.plain.rstrip() for line in Text(rest).wrap(console, console.width - indent))


def counted(n: int, what: str) -> str:
    """A number of things: ``1 stage``, ``1,500 rows``, ``2 batches``."""
    return f"{n:,} {what}" + ("" if n == 1 else "es" if what.endswith("ch") else "s")


def figure(value: float | None, form: str) -> str:
    """A number in a format; a dash where there is none."""
    return "–" if value is None else format(value, form)


def span(lower: float | None, upper: float | None, form: str) -> str:
    """An interval; a dash where neither end is known, and one that has one end says so."""
    if lower is None and upper is None:
        return "–"
    ends = ("open" if end is None else format(end, form) for end in (lower, upper))
    return " … ".join(ends)


def table(
    titles: Sequence[str], rows: Iterable[Sequence[str]], width: int | None = None, *, words: bool = False
) -> Table:
    """A table without lines, names on the left and figures, or words, beside them; cells may hold what anyone says.

    Args:
        titles: of the columns, those that matter most first.
        rows: cells.
        width: of the terminal, where the last columns are to be left out that it has no room for.
        words: whether the cells are words, which may be folded.
    """
    from rich.table import Table
    from rich.text import Text

    rows = list(rows)
    if width is not None:
        widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
        room = accumulate([min(_NAME, widths[0]), *widths[1:]], lambda taken, more: taken + 2 + more)
        titles = titles[: max(2, sum(taken <= width for taken in room))]
        rows = [row[: len(titles)] for row in rows]

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(titles[0], overflow="fold", no_wrap=words)
    for title in titles[1:]:
        if words:
            table.add_column(title, overflow="fold")
        else:
            table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    return table


def show_whole(console: Console, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table whose names are never folded where there is another way.

    Where there is no terminal it is as wide as it has to be. In one that is too narrow, the other columns go on two
    lines, intervals behind their dots, and only then a name is folded.

    Args:
        console: where.
        titles, rows: as of `table`.
    """
    from rich.console import Console
    from rich.text import Text

    rows = [[*row] for row in rows]
    widths = [max(len(plain(cell)) for cell in column) for column in zip(titles, *rows, strict=True)]
    needed = sum(widths) + 2 * (len(widths) - 1)
    if not console.is_terminal:
        Console(file=console.file, width=max(needed, console.width)).print(table(titles, rows))
        return
    made = table(titles, rows)
    if needed > console.width:
        for column in made.columns[1:]:
            column.header = Text(str(column.header).replace(" ", "\n"))
            column._cells = [Text(str(cell).replace(" … ", " …\n")) for cell in column._cells]
    console.print(made)
