"""The page of a run: everything gathered, fitted into its size, rendered (see `rendering`), written in one step."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from arenaloop.audit.suspects import Suspect, suspects
from arenaloop.audit.suspicion import REASONS
from arenaloop.data.formats.where import Where
from arenaloop.data.formats.whole_judgments import is_single_score
from arenaloop.data.result_files import check_whole
from arenaloop.errors import InputError
from arenaloop.jsonl import read_rows, replacing
from arenaloop.report.all_battles import AllBattles, Beside
from arenaloop.report.battle_file import render_file
from arenaloop.report.board_parts import caption, pairs_of
from arenaloop.report.cards import (
    Card,
    battle_card,
    final_seatings,
    undecided,
    undecided_card,
    unread_by_model,
)
from arenaloop.report.charts import forest, stage_curves
from arenaloop.report.documents import Documents, number, read_documents
from arenaloop.report.fitting import fitted
from arenaloop.report.health import benches, failures, judge_health, scores
from arenaloop.report.jury import jury_table
from arenaloop.report.learning import learned
from arenaloop.report.order import worth_of
from arenaloop.report.outcome import outcome, title
from arenaloop.report.rendering import MAX_BYTES
from arenaloop.report.run_battles import add_all
from arenaloop.report.scatter import drawn
from arenaloop.report.scope import Scope, template_labels, verdict_scope
from arenaloop.report.shown_battles import Picks, read_picks
from arenaloop.report.spending import calls
from arenaloop.report.style import style_table
from arenaloop.report.tables import table
from arenaloop.report.texts import clip, one_line
from arenaloop.report.training import is_training, render_training
from arenaloop.store import Store
from arenaloop.store.counts import verdicts_beside
from arenaloop.table_files import is_pattern
from arenaloop.tables import table_rows

__all__ = ["MAX_BYTES", "is_battle_file", "render", "write_report"]

_PEEK = 200
"""battles whose verdicts tell who judges: every battle of a run has the same judges"""
_BATTLES = 300
_KIND_SHARE = 75
"""battles of the browser that may be of one kind: undecided, flipped, largest gaps"""
_SPOTTED = 24
"""suspicious answers of which the browser shows a battle"""
_ROWS = 200
"""models and stages that are listed"""
_MATRIX = 24
"""models of the pairwise table"""
_CONFIG = 60_000
_NAMED = 8
_OF_BATTLES = frozenset({"model_a", "model_1", "generator_1", "games"})
_OF_A_RUN = ("config.yaml", "arena.db", "battles.jsonl", "leaderboard.json", "summary.json", "earlier", "rejudged")


def write_report(directory: Path, out: Path | None = None, *, where: Where | None = None) -> Path:
    """Write ``report.html`` into a run directory or a training's, or another file, and return its path.

    Args:
        directory: a finished run: ``config.yaml``, ``arena.db``, ``battles.jsonl``, ``leaderboard.json`` and
            ``summary.json``; of a recipe also ``data/``. Or a training's, which need not have finished. Or a file of
            battles, beside which ``NAME.report.html`` is written.
        out: the file to write.
        where: of a file of battles, which rows count.

    Raises:
        InputError: one of these is missing, or does not hold what it should; nothing can be written there.
        ArenaFileError: ``arena.db`` is damaged, or no arena file of this version.
        StorageError: the disk is full.
    """
    directory = Path(directory)
    of_file = is_battle_file(directory)
    documents = None if of_file or is_training(directory) else read_documents(directory)
    folder = directory.parent if of_file else directory
    if out is None and not os.access(folder, os.W_OK):
        raise InputError(f"{folder}: nothing can be written here; --out FILE names another place for the report")
    path = out or (folder / f"{bare_stem(directory)}.report.html" if of_file else directory / "report.html")
    beside = Beside(path)
    try:
        if of_file:
            page = render_file(directory, beside, where)
        else:
            page = render_training(directory) if documents is None else render(documents, beside)
        with replacing(path) as file:
            file.write(page)
    except BaseException:
        beside.forget()
        raise
    beside.tidy()
    return path


def is_battle_file(path: Path) -> bool:
    """Whether a path names battles alone: a file, a pattern of files, or a directory of tables of them, no run's."""
    if not path.is_dir():
        return path.is_file() or (not path.exists() and is_pattern(path))
    if is_training(path) or any((path / name).exists() for name in _OF_A_RUN):
        return False
    try:
        _, row = next(iter(table_rows(path)), (0, {}))
    except InputError:
        return False
    return bool(_OF_BATTLES & row.keys()) or is_single_score(row)


def bare_stem(path: Path) -> str:
    """A file's name without its endings: ``battles`` of ``battles.jsonl.gz``; ``battles`` of a pattern."""
    return "battles" if is_pattern(path) else path.name.partition(".")[0] or path.name


def render(documents: Documents, beside: Beside) -> bytes:
    """The page of a run as UTF-8 HTML of at most `MAX_BYTES`; what does not fit into it goes `beside` it."""
    with Store(documents.arena, readonly=True) as store:
        flagged = suspects(store, [str(row["model"]) for row in documents.rows])
        picks, cards, scope, everything = _browser(documents, store, flagged, beside)
        check_whole(documents.directory)
        context = _context(documents, store, picks, scope)
        context["suspicious"] = _suspicious(flagged, cards)
    return fitted("report.html.jinja", context, cards, everything)


# ---------------------------------------------------------------------- gathering


def _browser(
    documents: Documents, store: Store, flagged: Sequence[Suspect], beside: Beside
) -> tuple[Picks, list[Card], Scope, AllBattles]:
    """What one pass over the battles tells; the cards in the page: undecided, suspicious, flipped, largest gaps, a
    random rest; whose verdicts count; and all battles.
    """
    missing = int(documents.summary["battles_wanted"]) - int(documents.summary["battles_decided"])
    names = [str(row["model"]) for row in documents.rows]
    path = documents.directory / "battles.jsonl"
    keys = [str(key) for _, row in islice(read_rows(path), _PEEK) for key in row.get("verdicts") or ()]
    scope = verdict_scope(store, store.verdicts(keys).values())
    open_ = undecided(store, names, scope) if missing > 0 else []
    picks = read_picks(
        path,
        wanted=_BATTLES,
        kind_share=_KIND_SHARE,
        ask={item.key for item in open_},
        spot=list(_spotted(flagged)),
    )
    open_ = [item for item in open_ if item.key not in picks.decided][: min(missing, _KIND_SHARE)]
    seats = final_seatings(store, open_, scope)
    cards = [undecided_card(item, store, seats) for item in open_]
    chosen = picks.chosen[: _BATTLES - len(cards)]
    verdicts = store.verdicts([key for pick in chosen for key in pick.battle.verdicts])
    cards += [battle_card(pick, store, verdicts) for pick in chosen]
    everything = AllBattles(names, beside, MAX_BYTES)
    add_all(everything, documents.directory, store, cards, open_, chosen)
    return picks, cards, scope, everything


def _spotted(flagged: Sequence[Suspect]) -> Iterator[tuple[str, str]]:
    """(prompt id, model) of flagged answers, a few of each model; empty ones need no look."""
    told = [[(e.prompt_id, one.model) for e in one.examples if e.flag != "empty"] for one in flagged]
    for turn in islice(zip_longest(*told), _SPOTTED):
        yield from (item for item in turn if item is not None)


def _suspicious(flagged: Sequence[Suspect], cards: Sequence[Card]) -> dict[str, Any] | None:
    """The table of flags and their examples, each with the number of a card that shows it; None without any flag."""
    found = [one for one in flagged if one.flags][:_ROWS]
    if not found:
        return None
    shown = {
        (card.prompt_id, model): number
        for number, card in reversed(list(enumerate(cards, 1)))
        for model in (card.model_a, card.model_b)
    }
    flags = [flag for flag in REASONS if any(flag in one.flags for one in found)]
    examples = [
        (one.model, e.flag, one_line(e.clip, 200), e.prompt_id, shown.get((one_line(e.prompt_id, 40), one.model)))
        for one in found
        for e in one.examples
        if e.flag != "empty"
    ]
    return {
        "flags": [(flag, flag.replace("_", " "), REASONS[flag]) for flag in flags],
        "models": [(one.model, one.answers, one.flagged, [one.flags.get(flag, 0) for flag in flags]) for one in found],
        "clean": len(flagged) - len(found),
        "examples": examples[:_SPOTTED],
        "examples_left_out": max(0, len(examples) - _SPOTTED),
    }


def _context(documents: Documents, store: Store, picks: Picks, scope: Scope) -> dict[str, Any]:
    rows, stages = documents.rows[:_ROWS], documents.stages[:_ROWS]
    trained = {stage["name"] for stage in stages}
    curves = documents.figures("curves")
    if stages and "curves" not in documents.summary:  # a directory of the first version
        curves = stage_curves(stages, [row for row in rows if row["model"] not in trained])
    names = [str(row["model"]) for row in rows]
    met = names[:_MATRIX]
    cost = calls(documents, store, scope)
    gold = any(number(stage.get("gold_accuracy")) is not None for stage in stages)
    bench = benches(store, scope, template_labels(documents.config))
    return {
        "title": title(documents),
        "directory": documents.directory.resolve().name,
        "outcome": outcome(documents, picks, [one.name for one in bench]),
        "summary": documents.summary,
        "board": {"own_failures": 0, "undecided": 0, **documents.board},
        "caption": caption(documents.board),
        "worth": worth_of(documents.board),
        "jury": jury_table(documents.board),
        "notes": [one_line(note, 400) for note in _notes(documents)[:30]],
        "rows": rows,
        "rows_left_out": len(documents.rows) - len(rows),
        "forest": forest(rows),
        "trained": trained,
        "writing": style_table(documents),
        "stages": stages,
        "gold": gold,
        "charts": [drawn(one) for one in curves],
        "tables": [table(one) for one in documents.figures("tables")],
        "learned": learned(documents),
        "matrix_names": met,
        "matrix": pairs_of(met, picks),
        "matrix_left_out": max(0, len(documents.rows) - _MATRIX),
        "health": judge_health(documents, store, picks, scope),
        "benches": bench,
        "failures": (why := failures(store, scope)),
        "unread": unread_by_model(store, names, scope) if why and len(names) > 2 else None,
        "other_verdicts": scope.others,
        "off_board": _off_board(documents, store, scope),
        "scores": scores(store, scope),
        "calls": cost,
        "picks": picks,
        "models": names,
        "settings": clip(documents.config_text, _CONFIG),
    }


def _off_board(documents: Documents, store: Store, scope: Scope) -> tuple[int, str] | None:
    """How many readings are about answers of models that are not on a battle's board, and their names."""
    if documents.stages or not documents.rows:  # a recipe's stages have boards of their own
        return None
    count, others = verdicts_beside(store, scope.hashes, {str(row["model"]) for row in documents.rows})
    more = f" and {len(others) - _NAMED:,} more" if len(others) > _NAMED else ""
    return (count, ", ".join(one_line(name, 60) for name in others[:_NAMED]) + more) if count else None


def _notes(documents: Documents) -> list[str]:
    """What a reader should know: of the board, and of the servers' replies."""
    return [*(documents.board.get("notes") or ()), *(documents.summary.get("notices") or ())]
