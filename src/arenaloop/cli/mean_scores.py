"""Mean scores of single answers beside a board, as FastChat's ``show_result.py`` tells them."""

from __future__ import annotations

import sys

from rich.console import Console

from arenaloop.data.formats.single_scores import scored
from arenaloop.jsonl import JsonRow, encode_json
from arenaloop.ratings.mean_scores import Mean, MeanScore, mean_scores
from arenaloop.terminal import counted, figure, say, table

__all__ = ["MeanScores"]


class MeanScores:
    """The mean scores of a file's single scores.

    Attributes:
        rows: the scores, as `data.formats.read_battles` gives them; empty where the file has none.
    """

    def __init__(self) -> None:
        self.rows: list[tuple[int | str, JsonRow]] = []

    @property
    def alone(self) -> bool:
        """Whether all scores are of one model, so that no two can be compared."""
        return len({row["model"] for _, row in self.rows}) == 1

    def to_dict(self) -> dict[str, object]:
        """What a leaderboard's document holds of them."""
        return {"mean_scores": [row.to_dict() for row in mean_scores(scored(self.rows))]}

    def show(self, console: Console) -> None:
        """Print a table for each judge, and what no mean holds."""
        means = mean_scores(scored(self.rows))
        judges = dict.fromkeys(row.judge for row in means)
        for judge in judges:
            console.print()
            if judge is not None and len(judges) > 1:
                say(console, f"judge {judge}", style="bold")
            _show([row for row in means if row.judge == judge], console)
        say(console, "mean score ± standard error, clustered by question", style="dim", fold=True)
        if failed := sum(row.failed for row in means):
            say(console, f"{counted(failed, 'score')} empty or failed (below 0): in no mean", fold=True)

    def print_alone(self, as_json: bool) -> None:
        """Print the means of a model that there is no other of, in place of a board."""
        note = "scores of one model alone: there is nobody to rank it against"
        if as_json:
            document = {"leaderboard": [], "battles": 0, "ties": 0, "skipped": 0, "notes": [note], **self.to_dict()}
            sys.stdout.write(encode_json(document, indent=2).decode() + "\n")
            return
        console = Console()
        self.show(console)
        say(console, f"note: {note}", fold=True)


def _show(rows: list[MeanScore], console: Console) -> None:
    turns = [turn for turn in rows[0].turns if any(row.turns[turn].scores for row in rows)]
    told = turns if len(turns) > 1 else []
    titles = ["model", "mean score", *(f"turn {turn}" for turn in told), "scores", "failed"]
    cells = [
        [row.model, _of(row.mean), *(_of(row.turns[turn]) for turn in told), f"{row.mean.scores:,}", f"{row.failed:,}"]
        for row in rows
    ]
    console.print(table(titles, cells, console.width))


def _of(mean: Mean) -> str:
    error = "" if mean.standard_error is None else f" ± {mean.standard_error:.2f}"
    return f"{figure(mean.value, '.2f')}{error}"
