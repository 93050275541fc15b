"""A leaderboard as a picture: one line per model, a dot at the rating, a bar over its interval."""

from __future__ import annotations

from pathlib import Path

from arenaloop.arena.board import Leaderboard
from arenaloop.errors import ConfigError, MissingExtraError, StorageError
from arenaloop.terminal import plain

__all__ = ["forest_plot"]


def forest_plot(board: Leaderboard, path: str | Path) -> None:
    """Write `board` as a forest plot, PNG, SVG or PDF by the name's ending.

    Raises:
        ConfigError: another ending.
        MissingExtraError: matplotlib is not installed.
        StorageError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise ConfigError(f"{path}: a plot is .png, .svg or .pdf")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("a plot", "plot") from None

    rows = [(row, row.rating) for row in board.rows if row.rating is not None]
    figure = Figure(figsize=(7.5, 1.1 + 0.26 * max(len(rows), 1)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for place, (row, rating) in enumerate(rows):
        if row.lower is not None or row.upper is not None:
            ends = [rating if end is None else end for end in (row.lower, row.upper)]
            axes.plot(ends, [place, place], color="#3b6ea5", linewidth=2.2, solid_capstyle="round")
            for end, to in ((row.lower, -1.0), (row.upper, 1.0)):
                if end is None:  # an open end: an arrow of one length on the page, whatever the scale
                    style = {"arrowstyle": "<-", "color": "#3b6ea5", "linewidth": 2.2, "shrinkA": 0, "shrinkB": 0}
                    tail = (28.0 * to, 0.0)
                    axes.annotate("", (rating, place), tail, textcoords="offset points", arrowprops=style)
        axes.plot([rating], [place], "o", color="#16324f", markersize=5)
    # parse_math off: a model's name may hold a dollar sign
    axes.set_yticks(range(len(rows)), [plain(row.model)[:60] for row, _ in rows])
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(f"rating, with {board.level * 100:g} % interval")
    axes.set_title(board.caption(), fontsize=8, color="#555555", loc="left")
    axes.grid(axis="x", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    try:
        figure.savefig(path, dpi=160)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error}") from None
