"""`arenaloop rank`: a leaderboard from a file of battles."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
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
    parse_anchor,
    parse_controls,
    parse_own_failure,
    refuse_rule,
    refuse_where,
)
from arenaloop.errors import ConfigError, InputError

if TYPE_CHECKING:
    from rich.console import Console

    from arenaloop.arena.board import Leaderboard
    from arenaloop.arena.slices import Slice
    from arenaloop.cli.mean_scores import MeanScores

__all__ = ["rank"]


def rank(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE|DIR|URL…",
            help="Battles: JSONL, CSV, Parquet, parts of them, or a run directory; several directories are ranked as "
            "merged.",
        ),
    ],
    method: Annotated[str, typer.Option(help="bt (Bradley–Terry) or elo.")] = "bt",
    interval: Annotated[str, typer.Option(help="sandwich or bootstrap.")] = "sandwich",
    samples: Annotated[int, typer.Option(help="Bootstrap resamples.", min=10)] = 1000,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="prompt|voter|battle",
            help="What is independent. Default: the most cautious that the columns allow.",
        ),
    ] = None,
    ties: Annotated[
        str,
        typer.Option(
            metavar="half|davidson|rao_kupper|drop",
            help="A tie is half a win each, an outcome of its own by one of two models, or left out.",
        ),
    ] = "half",
    by: Annotated[
        str | None,
        typer.Option(metavar="TAG", help="Also a board for each value of a column, or of a tag of the prompts."),
    ] = None,
    prompts: PromptsOption = None,
    least: LeastOption = None,
    judge: JudgeOption = None,
    where: WhereOption = None,
    score: Annotated[
        str, typer.Option(help="A rating is the estimate, or the median of the bootstrap (as in Arena Learning).")
    ] = "estimate",
    anchor: Annotated[str | None, typer.Option(metavar="NAME=VALUE", help="Give one model a fixed rating.")] = None,
    control: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=COEFFICIENT:SCALE]",
            help="Rate at equal NAME (columns NAME_a, NAME_b), e.g. length; style (length, headers, lists, bold) or "
            "arena_hard (the same, as Arena-Hard has it). With numbers: freeze its effect.",
        ),
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(metavar="FILE|DIR", help="Style: the answers, where they stand in model_answer files."),
    ] = None,
    rule: Annotated[
        str | None,
        typer.Option(
            metavar="reliability|arena_hard",
            help="Of a jury: rate its members' votes, weighed by a joint fit. Of a run: each seating a game, strong "
            "labels (A>>B) three. Default: as the run's judge has it.",
        ),
    ] = None,
    own_failure: OwnFailureOption = None,
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Read the battles a block at a time. Default: where they are many, or far away."),
    ] = False,
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

        arenaloop rank arena.parquet --control style

        arenaloop rank votes.csv --cluster voter --ties davidson --by language

        arenaloop rank clean_battle.json --where anony=true --where dedup_tag.sampled=true

        arenaloop rank runs/shard-*

        arenaloop rank data/mt_bench/model_judgment/gpt-4_pair.jsonl --by category --least 15

        arenaloop rank data/arena-hard-v2.0/model_judgment --judge gpt-4.1
    """
    from contextlib import ExitStack
    from dataclasses import replace

    from rich.console import Console

    from arenaloop.arena.leaderboard import leaderboard, needs_memory
    from arenaloop.cli.mean_scores import MeanScores
    from arenaloop.cli.standing import readable
    from arenaloop.data.formats import read_battles
    from arenaloop.data.formats.prompt_tags import joined_by, refuse_unmatched
    from arenaloop.data.formats.streamed_battles import parts_streamed, read_streamed, streamed_wanted
    from arenaloop.data.formats.style_columns import read_answer_styles, unanswered
    from arenaloop.data.formats.where import parse_where
    from arenaloop.data.judged_votes import games_of_run, rated_jointly, read_judged_votes
    from arenaloop.data.result_files import refuse_unrated
    from arenaloop.data.run_battles import is_run, read_run
    from arenaloop.ratings.style_features import is_style
    from arenaloop.terminal import say

    fixed = parse_anchor(anchor)
    plain = not (control or answers or own_failure) and (method, interval, score) == ("bt", "sandwich", "estimate")
    if rule not in (None, "reliability", "arena_hard"):
        raise ConfigError(
            f"--rule must be reliability or arena_hard, not {rule!r}: other rules are those that a jury judged by"
        )
    if prompts is not None and by is None:
        raise ConfigError("--prompts goes with --by, whose values its prompts carry")
    if least is not None and by is None:
        raise ConfigError("--least goes with --by, whose parts it is about")
    if rule == "reliability" and judge:
        raise ConfigError("--rule reliability weighs all judges against each other: it goes without --judge")
    if rule == "reliability" and not plain:
        raise ConfigError("--rule reliability is rated by bt with sandwich intervals, and goes with no control")
    rows_that = parse_where(where or ())
    if rule == "reliability" and rows_that is not None:
        raise ConfigError("--rule reliability weighs all votes of a file: it goes without --where")
    controls, frozen = parse_controls(control or [])
    if answers is not None and not is_style(controls):
        raise ConfigError("--answers goes with --control style or arena_hard, which are counted in them")
    styles = None if answers is None else read_answer_styles(answers)
    needs = needs_memory(method, interval, ties, controls) or next(
        (
            name
            for name, given in (
                ("--by", by),
                ("--judge", judge),
                ("--answers", answers),
                ("--rule", rule),
                ("--own-failure", own_failure),
            )
            if given
        ),
        None,
    )
    messages, file, table, means = Console(stderr=True), files[0], None, MeanScores()
    settings: dict[str, Any] = {
        "method": method,
        "interval": interval,
        "cluster": cluster,
        "ties": ties,
        "anchor": fixed,
        "score": score,
        "samples": samples,
        "seed": seed,
        "level": level,
        "controls": controls,
        "frozen": frozen,
    }
    with ExitStack() as opened:
        if len(files) > 1:
            from arenaloop.cli.merge_run import in_one
            from arenaloop.cli.rank_files import parts_named

            if (table := parts_named(files, stream=stream)) is None:
                file = opened.enter_context(in_one(files, messages))
        if table is None:
            parts = streamed_wanted(file, stream, needs)
        else:
            parts = table if parts_streamed(table, stream, needs) else None
        if parts is not None:
            streamed = read_streamed(file if table is None else f"{file} … {files[-1]}", parts, rows_that)
            say(messages, streamed.told, style="dim", fold=True)
            _finish(leaderboard(streamed.battles, **settings), plot, as_json, where=where)
            return
        if table is not None and rule == "reliability":
            raise ConfigError("--rule reliability reads a run directory or one table, not several files")
        there = opened.enter_context(readable(file, messages))
        refuse_unrated(there, file)
        if rule == "reliability" or (plain and rule is None and table is None and rated_jointly(there)):
            from arenaloop.arena.reliability_board import reliability_board

            votes = read_judged_votes(there)
            _finish(reliability_board(votes, votes.merged, cluster=cluster, anchor=fixed, level=level), plot, as_json)
            return
        directory = there.parent if there.name == "battles.jsonl" else there
        of_run = table is None and is_run(directory) and (rows_that is None or not alone(there))
        policy = parse_own_failure(own_failure, file, in_run=of_run)
        refuse_rule(rule, file, in_run=of_run and styles is None)
        if of_run and judge:
            raise ConfigError(
                f"--judge goes with files of several judges' verdicts; {file} is a run, merged by its rule"
            )
        if of_run and rows_that is not None:
            refuse_where(file)
        weighted: Mapping[str, float] = {}
        if of_run:  # what reads settings is loaded for runs alone
            from arenaloop.data.weighed_games import read_weighed_run, strong_labels
            from arenaloop.data.weighted_rates import weighted_win_rates

            weighted = weighted_win_rates(directory, policy) if rule is None else {}
        if of_run and styles is None:  # which knows more of its battles than their file says
            parted, carried = (by, None) if prompts is None else joined_by(directory, by, prompts)
            read = read_run if rule is None else read_weighed_run
            battles = read(directory, controls=controls, own_failure=policy, by=parted)
            if rule is None:
                battles = replace(battles, notes=(*battles.notes, *strong_labels(directory)))
        else:
            named = there if table is None else [part.path for part in table if part.path is not None]
            parted, carried = joined_by(named, by, prompts)
            try:
                battles = read_battles(
                    named, controls=controls, answers=styles, by=parted, judges=judge or (), scores=means.rows,
                    where=rows_that,
                )  # fmt: skip
            except InputError:
                if not means.alone:
                    raise
                means.print_alone(as_json)
                return
            if styles is not None and answers is not None:
                battles = replace(battles, notes=(*battles.notes, *unanswered(styles, battles, answers)))
        refuse_unmatched(parted, battles.tags, carried, file)
        games = games_of_run(directory) if of_run else None
    slices: Sequence[Slice] = ()
    if by is None:
        board = leaderboard(battles, games=games, **settings)
    else:
        from arenaloop.arena.slices import THIN, board_of_all, slice_boards

        board = board_of_all(battles, games=games, **settings)
        slices = slice_boards(battles, least=THIN if least is None else least, **settings)
    _finish(board.with_probabilities(weighted), plot, as_json, by, slices, means, where=where)


def _finish(
    board: Leaderboard,
    plot: Path | None,
    as_json: bool,
    by: str | None = None,
    slices: Sequence[Slice] = (),
    means: MeanScores | None = None,
    *,
    where: Sequence[str] | None = None,
) -> None:
    """Draw and print a board and its slices; exit code 3 where its order hangs on what is undecided."""
    from rich.console import Console

    if plot is not None:
        from arenaloop.arena.forest_plot import forest_plot

        forest_plot(board, plot)
    if as_json:
        document = board.to_dict()
        document |= {"where": list(where)} if where else {}
        if by is not None:
            document["by"] = {"column": by, "boards": [part.to_dict() for part in slices]}
        if means is not None and means.rows:
            document |= means.to_dict()
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    else:
        console = Console()
        _print(console, board)
        if by is not None:
            _print_slices(console, by, slices)
        if means is not None and means.rows:
            means.show(console)
    if board.depends:
        raise typer.Exit(3)


_LEFT_OUT = 8
"""How many parts without a board are named, those with the most battles first; clusters and tags come in hundreds."""


def _print_slices(console: Console, by: str, slices: Sequence[Slice]) -> None:
    from arenaloop.terminal import say

    for part in slices:
        if part.board is not None:
            console.print()
            say(console, f"{by}: {part.value}", style="bold")
            part.board.show(console, ranks=True)
            say(console, part.board.caption(), style="dim", fold=True)
            for flag in () if part.board.worth is None else part.board.worth.flags:
                say(console, f"flag {flag.name}: {flag.text}", fold=True)
    if left_out := [part for part in slices if part.board is None]:
        console.print()
        some = left_out if len(left_out) <= _LEFT_OUT + 1 else left_out[:_LEFT_OUT]
        told = [f"{'none' if p.value is None else p.value} ({p.battles:,} battles: {p.reason})" for p in some]
        more = f"; and of {len(left_out) - len(some):,} more (--json names all)" if len(some) < len(left_out) else ""
        fewer = "; --least N takes fewer" if any("fewer than" in part.reason for part in left_out) else ""
        say(console, f"no board of {by} {'; '.join(told)}{more}{fewer}", fold=True)


def _print(console: Console, board: Leaderboard) -> None:
    from arenaloop.arena.worth_table import show_worth
    from arenaloop.terminal import say

    board.show(console, ranks=True)
    say(console, board.caption(), style="dim", fold=True)
    if board.worth is not None:
        show_worth(console, board.worth, [row.model for row in board.rows])
    _print_effects(console, board)
    for note in board.notes:
        say(console, f"note: {note}", fold=True)


def _print_effects(console: Console, board: Leaderboard) -> None:
    """What was controlled for: one in a line, several in a table; the numbers are those that freeze it."""
    from arenaloop.terminal import say, span, table

    effects = board.coefficients or {}
    if len(effects) > 1:
        rows = [
            [
                name,
                f"{effect.value:+.3f}",
                "frozen" if effect.frozen else span(effect.lower, effect.upper, "+.3f"),
                f"{effect.scale:.4g}",
            ]
            for name, effect in effects.items()
        ]
        titles = ["effect", "nats per deviation", f"{board.level * 100:g} % interval", "standard deviation"]
        console.print(table(titles, rows))
        return
    for name, effect in effects.items():
        known = "no interval" if effect.lower is None else f"{effect.lower:+.3f} … {effect.upper:+.3f}"
        ends = "frozen" if effect.frozen else known
        text = f"{name}: {effect.value:+.3f} nats per standard deviation ({effect.scale:.4g}) of its difference, {ends}"
        say(console, text, fold=True)
