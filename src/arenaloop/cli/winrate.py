"""`arenaloop winrate`: win rates against a baseline, raw and length-controlled."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arenaloop.cli.rate_options import (
    JudgeOption,
    LeastOption,
    OwnFailureOption,
    PromptsOption,
    WhereOption,
    alone,
    parse_own_failure,
    refuse_rule,
    refuse_where,
)
from arenaloop.errors import ConfigError, InputError

if TYPE_CHECKING:
    from arenaloop.arena.slices import RateSlice
    from arenaloop.ratings.rate_difference import RateDifference
    from arenaloop.ratings.win_rate import Annotations, WinRate

__all__ = ["winrate"]

_STREAMED = "winners are counted, as streaming does; read in memory, these battles count by their probabilities"
_SOFT = "rates are means of the judge's probabilities (its verdict is logprob); ratings count winners"


def winrate(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="AlpacaEval annotations, Arena-Hard or FastChat judgments, battles; a directory of them or a run's. "
            "Several of one kind are read as one.",
        ),
    ],
    baseline: Annotated[str, typer.Option(metavar="NAME", help="The model that all are compared with.")],
    control: Annotated[str | None, typer.Option(help="length: the length-controlled win rate as well.")] = None,
    difference: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="A B", help="Also A's rate less B's, paired over the prompts of both, with its interval."),
    ] = None,
    difficulty: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help='Rows {"instruction", "difficulty"}. Default: estimated from FILE.'),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(metavar="TAG", help="Also rates for each value of a column, or of a tag of the prompts."),
    ] = None,
    prompts: PromptsOption = None,
    least: LeastOption = None,
    judge: JudgeOption = None,
    where: WhereOption = None,
    rule: Annotated[
        str | None,
        typer.Option(
            metavar="arena_hard", help="Of a run: each seating a game, strong labels (A>>B) three. Default: as merged."
        ),
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
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the rates, as AlpacaEval's leaderboard.csv.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Win rates against one baseline, in percent, joined by prompt.

    Where the order depends on annotations without an outcome, a note says so, and the exit code is 3.

    Models named BASELINE_verbose and BASELINE_concise, where the file has them, steady the length effect of all others.

    Examples:

        arenaloop winrate annotations.json --baseline gpt4_1106_preview

        arenaloop winrate annotations.json --baseline gpt4_1106_preview --control length --difficulty gamma.jsonl --json

        arenaloop winrate runs/old-new --baseline old --control length

        arenaloop winrate runs/m1 runs/m2 --baseline base --difference m1 m2

        arenaloop winrate data/arena-hard-v2.0/model_judgment --baseline o3-mini-2025-01-31 --by category
    """
    from rich.console import Console

    from arenaloop.arena.slices import THIN, rate_slices
    from arenaloop.cli.rank_files import merged_or_first, parts_named
    from arenaloop.cli.standing import readable
    from arenaloop.data.formats import read_annotations, read_difficulty
    from arenaloop.data.formats.prompt_tags import joined_by, refuse_unmatched
    from arenaloop.data.formats.streamed_battles import parts_streamed, read_streamed, streamed_wanted
    from arenaloop.data.formats.where import parse_where
    from arenaloop.data.probabilities import by_share, gives_probabilities, of_files
    from arenaloop.data.result_files import not_through, refuse_unrated
    from arenaloop.data.run_battles import at_odds, is_run, read_failures, rows_with_lengths, run_slices
    from arenaloop.ratings.rate_difference import rate_difference
    from arenaloop.ratings.streamed_rates import streamed_win_rates
    from arenaloop.ratings.win_rate import win_rates
    from arenaloop.tables import table_rows
    from arenaloop.terminal import say
    from arenaloop.types import Prompt

    if difficulty is not None and control is None:
        raise ConfigError("--difficulty is of use with --control length only")
    if not 0.0 < level < 1.0:
        raise ConfigError(f"--level must lie strictly between 0 and 1, not {level}")
    if not math.isfinite(penalty):
        raise ConfigError(f"--penalty must be a finite number, not {penalty}")
    if control not in (None, "length"):
        style = ": rank --control style tells win rates at equal style" if control in ("style", "arena_hard") else ""
        raise ConfigError(f"--control must be length, not {control!r}{style}")
    if rule not in (None, "arena_hard"):
        raise ConfigError(f"--rule must be arena_hard, not {rule!r}")
    if prompts is not None and by is None:
        raise ConfigError("--prompts goes with --by, whose values its prompts carry")
    rows_that = parse_where(where or ())
    if least is not None and by is None:
        raise ConfigError("--least goes with --by, whose parts it is about")
    messages = Console(stderr=True)
    needs = next(
        (
            name
            for name, given in (
                ("--control length", control),
                ("--difficulty", difficulty),
                ("--own-failure", own_failure),
                ("--by", by),
                ("--judge", judge),
                ("--rule", rule),
                ("--difference", difference),
            )
            if given
        ),
        None,
    )
    file, table = files[0], None
    if len(files) == 1:
        parts = streamed_wanted(file, stream, needs)
    else:
        table = parts_named(files, stream=stream)
        parts = table if table is not None and parts_streamed(table, stream, needs) else None
    if parts is not None:
        streamed = read_streamed(file if table is None else f"{file} … {files[-1]}", parts, rows_that)
        say(messages, streamed.told, style="dim", fold=True)
        try:
            annotations, rows = streamed_win_rates(streamed.battles, baseline, level=level)
        except ValueError as error:
            raise InputError(f"{file}: {error}") from None
        if all(part.path is not None for part in parts) and of_files(file, guess=False)[0]:
            annotations = replace(annotations, notes=(*annotations.notes, _STREAMED))
        _write(csv, rows)
        _finish(annotations, rows, control, level, as_json, where=where)
        return
    with merged_or_first(files, table, messages) as file, readable(file, messages) as there:
        refuse_unrated(there, file)
        in_run = table is None and is_run(there) and (rows_that is None or not alone(there))
        policy = parse_own_failure(own_failure, file, in_run=in_run)
        refuse_rule(rule, file, in_run=in_run)
        if in_run:
            from arenaloop.data.weighed_games import WeighedGames, strong_labels  # loads the settings

            if rows_that is not None:
                refuse_where(file)
            failures = read_failures(there, policy)
            if judge:
                raise ConfigError(f"--judge goes with files of several judges' verdicts; {file} is a run's")
            soft = rule is None and gives_probabilities(there)
            games = None if rule is None else WeighedGames(there, failures)
            numbered = enumerate(games or rows_with_lengths(there, failures, shares=soft), start=1)
            tags = run_slices(there, by) if prompts is None else joined_by(there, by, prompts)[0]
            value = tags.get if isinstance(tags, Mapping) else lambda _: None
            annotations = read_annotations(there / "battles.jsonl", baseline, numbered, by=tags)
            annotations = annotations.with_undecided(
                [(a, b) for _, a, b in failures.undecided], [value(prompt) for prompt, _, _ in failures.undecided]
            )
            notes = (_SOFT,) * soft + (tuple(strong_labels(there)) if games is None else (games.note,))
            annotations = replace(annotations, notes=(*notes, *annotations.notes, *at_odds(there), *not_through(there)))
        else:
            named = file if table is None else [part.path for part in table if part.path is not None]
            tags, carried = joined_by(named, by, prompts)
            soft, doubt = of_files(named)
            told = table_rows(named) if soft or table is not None else None
            told = by_share(told) if soft and told is not None else told
            annotations = read_annotations(file, baseline, told, by=tags, judges=judge or (), where=rows_that)
            notes = (*(_SOFT,) * soft, *(() if doubt is None else (doubt,)))
            annotations = replace(annotations, notes=(*notes, *annotations.notes))
            refuse_unmatched(tags, annotations.tags, carried, file)
    gamma = None if difficulty is None else read_difficulty(difficulty)
    if gamma is not None and in_run:  # whose prompts are told by their ids
        gamma |= {Prompt.of(key).id: value for key, value in gamma.items() if isinstance(key, str)}
    if gamma is not None and not any(key in gamma for key in annotations.prompts):
        raise InputError(f"{difficulty}: none of its instructions is in {file}")

    how: dict[str, Any] = {"control": control, "difficulty": gamma, "samples": samples, "seed": seed, "level": level}
    how["penalty"] = penalty

    def variants(some: Annotations) -> list[str]:
        return [name for name in (f"{baseline}_verbose", f"{baseline}_concise") if name in some.models]

    def rated(some: Annotations) -> list[WinRate]:
        return win_rates(some, regularizers=variants(some), **how)

    try:
        rows = rated(annotations)
        slices = [] if by is None else rate_slices(annotations, rated, THIN if least is None else least)
        apart = (
            None
            if difference is None
            else rate_difference(annotations, *difference, regularizers=variants(annotations), **how)
        )
    except ValueError as error:
        raise InputError(f"{file}: {error}") from None
    _write(csv, rows)
    _finish(annotations, rows, control, level, as_json, by, slices, apart, where=where)


def _write(path: Path | None, rows: Sequence[WinRate]) -> None:
    if path is not None:
        from arenaloop.data.export.boards import rates_csv
        from arenaloop.jsonl import replacing

        with replacing(path) as file:
            file.write(rates_csv(rows).encode("utf-8", "backslashreplace"))


def _finish(
    annotations: Annotations,
    rows: Sequence[WinRate],
    control: str | None,
    level: float,
    as_json: bool,
    by: str | None = None,
    slices: Sequence[RateSlice] = (),
    apart: RateDifference | None = None,
    *,
    where: Sequence[str] | None = None,
) -> None:
    """Print rates, with what is undecided; exit code 3 where their order hangs on it."""
    from rich.console import Console

    from arenaloop.cli.rate_tables import (
        flag_notes,
        rate_rows,
        show_difference,
        show_rate_slices,
        show_rates,
        slice_document,
        weight_notes,
    )
    from arenaloop.ratings.undecided import rate_bounds
    from arenaloop.terminal import counted, say

    bounds = rate_bounds(annotations, rows)
    moving = [row.model for row in rows if bounds[row.model].moves]
    notes = [*annotations.notes, *weight_notes(annotations)]
    if as_json:
        document: dict[str, Any] = {"baseline": annotations.baseline, "leaderboard": rate_rows(rows, bounds)}
        undecided = any(one.undecided for one in bounds.values())
        document |= {"order_depends_on_undecided": bool(moving)} if undecided else {}
        document |= {"where": list(where)} if where else {}
        document |= {} if apart is None else {"difference": asdict(apart)}
        document |= {"skipped": annotations.skipped, "notes": notes}
        if by is not None:
            document["by"] = {"column": by, "boards": [slice_document(part) for part in slices]}
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        if moving:
            raise typer.Exit(3)
        return
    console = Console()
    show_rates(console, rows, bounds, control, level)
    skipped = f", {counted(annotations.skipped, 'row')} without it skipped" if annotations.skipped else ""
    line = f"percent against {annotations.baseline} on {counted(len(annotations.prompts), 'prompt')}{skipped}"
    say(console, line, style="dim", fold=True)
    if apart is not None:
        show_difference(console, apart, level)
    for note in [*notes, *flag_notes(rows, bounds)]:
        say(console, f"note: {note}", fold=True)
    for name in moving:
        one = bounds[name]
        places = f"#{one.place}, #{one.worst_place} with its {one.undecided:,} lost, #{one.best_place} if won"
        say(console, f"note: the order depends on what is undecided: {name} is {places}", fold=True)
    if by is not None:
        show_rate_slices(console, by, slices, control, level)
    if moving:
        raise typer.Exit(3)
