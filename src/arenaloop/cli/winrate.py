"""`arenaloop winrate`: win rates against a baseline, raw and length-controlled."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arenaloop.cli.rank import OwnFailureOption, parse_own_failure
from arenaloop.errors import ConfigError, InputError

if TYPE_CHECKING:
    from arenaloop.ratings.win_rate import Annotations, WinRate

__all__ = ["winrate"]

_SOFT = "rates are means of the judge's probabilities (its verdict is logprob); ratings count winners"


def winrate(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="AlpacaEval annotations, Arena-Hard or FastChat judgments, battles; a directory of them or a run's.",
        ),
    ],
    baseline: Annotated[str, typer.Option(metavar="NAME", help="The model that all are compared with.")],
    control: Annotated[str | None, typer.Option(help="length: the length-controlled win rate as well.")] = None,
    difficulty: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help='Rows {"instruction", "difficulty"}. Default: estimated from FILE.'),
    ] = None,
    own_failure: OwnFailureOption = None,
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Read the battles a block at a time. Default: where they are many, or far away."),
    ] = False,
    penalty: Annotated[float, typer.Option(help="Ridge on the length-control fit's coefficients.", min=0.0)] = 0.0,
    samples: Annotated[int, typer.Option(help="Bootstrap resamples of the prompts.", min=10)] = 1000,
    level: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Win rates against one baseline, in percent, joined by prompt.

    Where the order depends on annotations without an outcome, a note says so, and the exit code is 3.

    Models named BASELINE_verbose and BASELINE_concise, where the file has them, steady the length effect of all others.

    Examples:

        arenaloop winrate annotations.json --baseline gpt4_1106_preview

        arenaloop winrate annotations.json --baseline gpt4_1106_preview --control length --difficulty gamma.jsonl --json

        arenaloop winrate runs/old-new --baseline old --control length
    """
    from rich.console import Console

    from arenaloop.cli.standing import readable
    from arenaloop.data.formats import read_annotations, read_difficulty
    from arenaloop.data.formats.streamed_battles import read_streamed, streamed_wanted
    from arenaloop.data.probabilities import gives_probabilities
    from arenaloop.data.result_files import not_through, refuse_unrated
    from arenaloop.data.run_battles import at_odds, is_run, read_failures, rows_with_lengths
    from arenaloop.ratings.streamed_rates import streamed_win_rates
    from arenaloop.ratings.win_rate import win_rates
    from arenaloop.terminal import say
    from arenaloop.types import Prompt

    if difficulty is not None and control is None:
        raise ConfigError("--difficulty is of use with --control length only")
    if not 0.0 < level < 1.0:
        raise ConfigError(f"--level must lie strictly between 0 and 1, not {level}")
    if not math.isfinite(penalty):
        raise ConfigError(f"--penalty must be a finite number, not {penalty}")
    if control not in (None, "length"):
        raise ConfigError(f"--control must be length, not {control!r}")
    messages = Console(stderr=True)
    needs = next(
        (
            name
            for name, given in (
                ("--control length", control),
                ("--difficulty", difficulty),
                ("--own-failure", own_failure),
            )
            if given is not None
        ),
        None,
    )
    if (parts := streamed_wanted(file, stream, needs)) is not None:
        streamed = read_streamed(file, parts)
        say(messages, streamed.told, style="dim", fold=True)
        try:
            annotations, rows = streamed_win_rates(streamed.battles, baseline, level=level)
        except ValueError as error:
            raise InputError(f"{file}: {error}") from None
        _finish(annotations, rows, control, level, as_json)
        return
    with readable(file, messages) as there:
        refuse_unrated(there, file)
        in_run = is_run(there)
        policy = parse_own_failure(own_failure, file, in_run=in_run)
        if in_run:
            failures = read_failures(there, policy)
            soft = gives_probabilities(there)
            numbered = enumerate(rows_with_lengths(there, failures, shares=soft), start=1)
            annotations = read_annotations(there / "battles.jsonl", baseline, numbered)
            annotations = annotations.with_undecided((a, b) for _, a, b in failures.undecided)
            notes = (_SOFT,) * soft
            annotations = replace(annotations, notes=(*notes, *annotations.notes, *at_odds(there), *not_through(there)))
        else:
            annotations = read_annotations(file, baseline)
    gamma = None if difficulty is None else read_difficulty(difficulty)
    if gamma is not None and in_run:  # whose prompts are told by their ids
        gamma |= {Prompt.of(key).id: value for key, value in gamma.items() if isinstance(key, str)}
    if gamma is not None and not any(key in gamma for key in annotations.prompts):
        raise InputError(f"{difficulty}: none of its instructions is in {file}")
    variants = [name for name in (f"{baseline}_verbose", f"{baseline}_concise") if name in annotations.models]
    try:
        rows = win_rates(
            annotations,
            control=control,
            difficulty=gamma,
            regularizers=variants,
            samples=samples,
            seed=seed,
            level=level,
            penalty=penalty,
        )
    except ValueError as error:
        raise InputError(f"{file}: {error}") from None
    _finish(annotations, rows, control, level, as_json)


def _finish(
    annotations: Annotations, rows: Sequence[WinRate], control: str | None, level: float, as_json: bool
) -> None:
    """Print rates, with what is undecided; exit code 3 where their order hangs on it."""
    from rich.console import Console

    from arenaloop.ratings.undecided import rate_bounds

    bounds = rate_bounds(annotations, rows)
    undecided = any(one.undecided for one in bounds.values())
    lost = any(one.own_failures for one in bounds.values())
    moving = [row.model for row in rows if bounds[row.model].moves]
    if as_json:
        fields = (
            "model", "win_rate", "standard_error", "lower", "upper", "lc_win_rate", "lc_lower", "lc_upper",
            "n_wins", "n_draws", "n_total", "avg_length", "flags",
        )  # fmt: skip
        board: list[dict[str, Any]] = [{name: getattr(row, name) for name in fields} for row in rows]
        for told in board:
            one = bounds[told["model"]]
            told |= {"own_failures": one.own_failures} if lost else {}
            if undecided:
                told |= {"n_undecided": one.undecided, "undecided_share": one.share}
                told |= {"worst": one.worst, "best": one.best}
        document: dict[str, Any] = {"baseline": annotations.baseline, "leaderboard": board}
        document |= {"order_depends_on_undecided": bool(moving)} if undecided else {}
        document |= {"skipped": annotations.skipped, "notes": annotations.notes}
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        if moving:
            raise typer.Exit(3)
        return
    from arenaloop.ratings.rate_flags import FLAGS
    from arenaloop.terminal import counted, figure, say, show_whole, span

    interval = f"{level * 100:g} % interval"
    titles = ["model", "win rate", interval, *(["LC win rate", interval] if control else []), "wins", "draws", "n"]
    cells = []
    for row in rows:
        rates = [figure(row.win_rate, ".2f"), span(row.lower, row.upper, ".2f")]
        if control:
            rates += [figure(row.lc_win_rate, ".2f"), span(row.lc_lower, row.lc_upper, ".2f")]
        cells.append([row.model, *rates, str(row.n_wins), str(row.n_draws), str(row.n_total)])
    console = Console()
    show_whole(console, titles, cells)
    if undecided or lost:
        titles = ["model", "lost by own failure", "undecided", "of all", "win rate if lost … if won"]
        known = [(row.model, bounds[row.model]) for row in rows]
        rest = [
            [name, f"{b.own_failures:,}", f"{b.undecided:,}", figure(b.share, ".1%"), span(b.worst, b.best, ".2f")]
            for name, b in known
            if b.own_failures or b.undecided
        ]
        show_whole(console, titles, rest)
    skipped = f", {counted(annotations.skipped, 'row')} without it skipped" if annotations.skipped else ""
    line = f"percent against {annotations.baseline} on {counted(len(annotations.prompts), 'prompt')}{skipped}"
    say(console, line, style="dim", fold=True)
    for note in annotations.notes:
        say(console, f"note: {note}", fold=True)
    for row in rows:
        for flag in row.flags:
            if flag != "baseline":
                say(console, f"note: {row.model}: {FLAGS[flag]}", fold=True)
    for name in moving:
        one = bounds[name]
        places = f"#{one.place}, #{one.worst_place} with its {one.undecided:,} lost, #{one.best_place} if won"
        say(console, f"note: the order depends on what is undecided: {name} is {places}", fold=True)
    if moving:
        raise typer.Exit(3)
