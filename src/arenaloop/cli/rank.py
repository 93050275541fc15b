"""`arenaloop rank`: a leaderboard from a file of battles."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from arenaloop.errors import ConfigError

if TYPE_CHECKING:
    from arenaloop.arena.board import Leaderboard
    from arenaloop.data.run_battles import OwnFailure

__all__ = ["OwnFailureOption", "parse_anchor", "parse_controls", "parse_own_failure", "rank"]


OwnFailureOption = Annotated[
    str | None,
    typer.Option(
        metavar="loss|drop",
        help="Battles that a contestant left undecided by its own failure, of a run directory: its losses, or dropped. "
        "Default: as the directory has it.",
    ),
]


def rank(
    file: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="Battles: JSONL, CSV, Parquet, or a run directory.")],
    method: Annotated[str, typer.Option(help="bt (Bradley–Terry) or elo.")] = "bt",
    interval: Annotated[str, typer.Option(help="sandwich or bootstrap.")] = "sandwich",
    samples: Annotated[int, typer.Option(help="Bootstrap resamples.", min=10)] = 1000,
    cluster: Annotated[
        str | None, typer.Option(help="What is independent: prompt or battle. Default: prompt where there are ids.")
    ] = None,
    score: Annotated[
        str, typer.Option(help="A rating is the estimate, or the median of the bootstrap (as in Arena Learning).")
    ] = "estimate",
    anchor: Annotated[str | None, typer.Option(metavar="NAME=VALUE", help="Give one model a fixed rating.")] = None,
    control: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=COEFFICIENT:SCALE]",
            help="Rate at equal NAME (columns NAME_a, NAME_b), e.g. length. With numbers: freeze its effect.",
        ),
    ] = None,
    own_failure: OwnFailureOption = None,
    level: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.", min=0)] = 0,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw it: .png, .svg or .pdf.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the leaderboard.json document.")] = False,
) -> None:
    """Rank models by their battles, with intervals.

    FILE holds battles (model_a, model_b, winner, and prompt_id where there is one), FastChat or Arena-Hard judgments,
    or AlpacaEval annotations. Rows with an unknown outcome are skipped and counted, never taken as ties. Where the
    order depends on them, a note says so, and the exit code is 3. A battle that is going on is ranked as it stands.

    Examples:

        arenaloop rank battles.jsonl

        arenaloop rank arena.parquet --anchor llama-2-70b-chat=1100 --json

        arenaloop rank arena.csv --interval bootstrap --samples 1000

        arenaloop rank arena.parquet --control length --plot board.svg
    """
    from rich.console import Console

    from arenaloop.arena.leaderboard import leaderboard
    from arenaloop.cli.standing import readable
    from arenaloop.data.formats import read_battles
    from arenaloop.data.run_battles import is_run, read_run

    fixed = parse_anchor(anchor)
    controls, frozen = parse_controls(control or [])
    with readable(file, Console(stderr=True)) as there:
        directory = there.parent if there.name == "battles.jsonl" else there
        policy = parse_own_failure(own_failure, file, in_run=is_run(directory))
        if is_run(directory):  # which knows more of its battles than their file says
            battles = read_run(directory, controls=controls, own_failure=policy)
        else:
            battles = read_battles(there, controls=controls)
    board = leaderboard(
        battles,
        method=method,
        interval=interval,
        cluster=cluster,
        anchor=fixed,
        score=score,
        samples=samples,
        seed=seed,
        level=level,
        controls=controls,
        frozen=frozen,
    )
    if plot is not None:
        from arenaloop.arena.forest_plot import forest_plot

        forest_plot(board, plot)
    if as_json:
        sys.stdout.write(board.to_json())
    else:
        _print(board)
    if board.depends:
        raise typer.Exit(3)


def _print(board: Leaderboard) -> None:
    from rich.console import Console

    from arenaloop.terminal import say

    console = Console()
    board.show(console)
    say(console, board.caption(), style="dim", fold=True)
    for name, effect in (board.coefficients or {}).items():
        known = "no interval" if effect.lower is None else f"{effect.lower:+.3f} … {effect.upper:+.3f}"
        ends = "frozen" if effect.frozen else known
        text = f"{name}: {effect.value:+.3f} nats per standard deviation ({effect.scale:.4g}) of its difference, {ends}"
        say(console, text, fold=True)
    for note in board.notes:
        say(console, f"note: {note}", fold=True)


def parse_own_failure(text: str | None, file: Path, *, in_run: bool) -> OwnFailure | None:
    """``loss``, ``drop``, or None where none was given.

    Raises:
        ConfigError: it is something else, or `file` is of no run.
    """
    if text is not None and text not in ("loss", "drop"):
        raise ConfigError(f"--own-failure must be loss or drop, not {text!r}")
    if text is not None and not in_run:
        raise ConfigError(f"--own-failure goes with a run directory; {file} does not tell whose failures there are")
    return cast("OwnFailure | None", text)


def parse_anchor(text: str | None) -> tuple[str, float] | None:
    """``NAME=VALUE`` as a model and its rating; the last ``=`` divides, as names may hold one.

    Raises:
        ConfigError: it is not of that form, or the value is no number.
    """
    if text is None:
        return None
    name, equals, value = text.rpartition("=")
    try:
        if not (equals and name):
            raise ValueError
        return name, float(value)
    except ValueError:
        raise ConfigError(f"--anchor wants NAME=VALUE, such as llama-2-70b-chat=1100, not {text!r}") from None


def parse_controls(texts: list[str]) -> tuple[list[str], dict[str, tuple[float, float]]]:
    """Names of covariates, and coefficient and scale of those that are frozen (``NAME=COEFFICIENT:SCALE``).

    Raises:
        ConfigError: one is not of that form, its scale is not positive, a number not finite, or a name comes twice.
    """
    names: list[str] = []
    frozen: dict[str, tuple[float, float]] = {}
    for text in texts:
        name, equals, numbers = text.partition("=")
        if not name or name in names:
            raise ConfigError(f"--control wants different names, such as length, not {text!r}")
        names.append(name)
        if equals:
            value, _, scale = numbers.partition(":")
            try:
                frozen[name] = (float(value), float(scale))
                if not (frozen[name][1] > 0 and all(map(math.isfinite, frozen[name]))):
                    raise ValueError
            except ValueError:
                raise ConfigError(
                    f"--control wants NAME=COEFFICIENT:SCALE, as rank prints them, not {text!r}"
                ) from None
    return names, frozen
