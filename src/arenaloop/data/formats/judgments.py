"""Battles out of rows: plain ones, and the judgments of other tools (FastChat, Arena-Hard, AlpacaEval).

How each tool's rows become battles stands in `judgment_kinds`, and in `whole_judgments` where that takes a whole file.

* **Plain battles**: `model_a`, `model_b`, and `winner`, the three columns of a one-hot winner, or `score_a` (see
  `outcome_columns`).

Whatever else a row holds is looked at by `arenaloop.columns`: a count of votes is read as the row's weight.

Labels that nobody knows are counted and left out while they are few (`ratings.cells.UNKNOWN_SHARE`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from arenaloop.columns import Columns, Duty, duty_of
from arenaloop.data.formats.benchmark_folder import judgments_below
from arenaloop.data.formats.column_names import KnownNames
from arenaloop.data.formats.judge_names import judge_of, of_judges
from arenaloop.data.formats.judgment_kinds import KINDS, Kind, annotated, noise_note
from arenaloop.data.formats.other_files import looks_like
from arenaloop.data.formats.outcome_columns import OUTCOME_COLUMNS, read_told
from arenaloop.data.formats.repeated import once, own_frame
from arenaloop.data.formats.style_columns import StyleByAnswer, joined_style, style_cells
from arenaloop.data.formats.vote_ids import Vote, VoteId, cell_key, counted_once, vote_id
from arenaloop.data.formats.where import Chosen, Where, holds_objects, value_at
from arenaloop.data.formats.whole_judgments import completed, is_single_score
from arenaloop.errors import InputError
from arenaloop.jsonl import JsonRow
from arenaloop.ratings.arrays import FloatArray
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.cells import (
    LeftOut,
    Place,
    is_missing,
    read_controls,
    read_games,
    read_preferences,
    read_weights,
)
from arenaloop.ratings.outcomes import ONE_HOT, read_outcomes
from arenaloop.ratings.style_features import feature_names, is_style
from arenaloop.table_files import table_files
from arenaloop.tables import file_error

__all__ = [
    "ALPACA_EVAL_SAYS",
    "ARENA_COLUMNS",
    "METADATA_LENGTHS",
    "PROMPT_COLUMNS",
    "VOTER_COLUMNS",
    "BattleColumns",
    "By",
    "battle_columns",
    "battles_from_rows",
    "is_own",
    "is_table",
    "known_names",
    "require_columns",
    "require_slices",
    "unread",
    "voter_column",
]

PROMPT_COLUMNS = ("prompt_id", "question_id")
"""Columns of plain battles that name the prompt; the first that is there does."""
VOTER_COLUMNS = (
    *("voter", "voter_id", "judge_hash", "user_id", "user", "annotator_id", "annotator", "rater_id", "rater"),
    *("worker_id", "judge_id", "judge"),
)
"""Columns of plain battles that name who decided; the first that is there does."""
By = str | Mapping[str, str] | None
"""What battles are sliced by: a column of theirs, or the value of each prompt by its id."""
METADATA_LENGTHS = {"length_a": "sum_assistant_a_tokens", "length_b": "sum_assistant_b_tokens"}
"""Where Chatbot Arena's 100k set keeps lengths: fields of the column `conv_metadata`."""
ALPACA_EVAL_SAYS = {"is_switched_outputs": "AlpacaEval turns preferences back before it saves them"}
"""Columns of its annotations that look as if they changed a row."""


@dataclass(frozen=True, slots=True)
class BattleColumns:
    """N battles as a file tells them, whatever its form.

    Attributes:
        names_a, names_b: the models, None where missing.
        score: what `model_a` scored, shape (N,), NaN without an outcome.
        weight: shape (N,), None where all count alike.
        prompts: ids, None where the file has none.
        numbers: columns of covariates, NAME_a and NAME_b.
        texts: outputs of both sides, None where the file has none.
        voters: who decided, None where the file does not say.
        tags: what the battles are sliced by, None where they are not.
        own_failures: of a run's battles, who lost by its own failure, None where a verdict decided; None without any.
        judges: who judged, where that was asked for; None without the column.
        notes: what was read in another way, or left out.
        place: where battle i (from 0) stands in the file.
    """

    names_a: list[Any]
    names_b: list[Any]
    score: FloatArray
    weight: FloatArray | None
    prompts: list[Any] | None
    numbers: Mapping[str, list[Any]]
    texts: tuple[list[Any], list[Any]] | None
    own_failures: list[Any] | None
    judges: list[Any] | None
    voters: list[Any] | None
    tags: list[Any] | None
    notes: tuple[str, ...]
    place: Place


def is_table(columns: Collection[str]) -> bool:
    """Whether rows with these columns are plain battles (rather than judgments of another tool, or nothing known)."""
    winner = {"winner", "score_a"} & set(columns) or set(ONE_HOT) <= set(columns)
    return bool(winner) and {"model_a", "model_b"} <= set(columns)


def require_columns(found: Collection[str], controls: Sequence[str] = (), *, there: Collection[str] = ()) -> None:
    """Refuse a file without the columns of any known kind, naming those that the nearest kind lacks.

    Args:
        found: the file's columns.
        controls: covariates that are wanted.
        there: columns of battles that the rows gave besides, such as an annotation's lengths.

    Raises:
        ValueError: columns are missing; the message names them and those found.
    """
    columns = set(found)
    missing: list[str] = []
    known = is_table(columns) or is_single_score(columns) or any(set(kind.keys) <= columns for kind in KINDS)
    if not known:
        near = max((kind.keys for kind in KINDS), key=lambda keys: len(columns & set(keys)))
        missing = [name for name in ("model_a", "model_b") if name not in columns]
        missing += [] if {"winner", "score_a"} & columns else ["winner"]
        if len(columns & set(near)) > 1 and len(columns & set(near)) > 3 - len(missing):
            missing = [name for name in near if name not in columns]
    wanted = [f"{name}{side}" for name in feature_names(controls) for side in ("_a", "_b")]
    missing += [name for name in wanted if name not in {*columns, *there}]
    if missing:
        hint = _NO_STYLE if "headers_a" in missing else f" (found: {', '.join(list(found)[:20]) or 'none'})"
        raise ValueError(f"missing column {', '.join(missing)}{hint}{'' if known else looks_like(columns)}")


_NO_STYLE = (
    ": style is read from these, from Chatbot Arena's conv_metadata or from the answers' texts (conversation_a, "
    "response_a, output_a and their like); where these are in files of their own, name them by --answers"
)


def battles_from_rows(
    rows: Iterable[tuple[int | str, JsonRow]],
    source: str,
    *,
    controls: Sequence[str] = (),
    answers: StyleByAnswer | None = None,
    by: By = None,
    judges: Sequence[str] = (),
    scores: list[tuple[int | str, JsonRow]] | None = None,
    where: Where | None = None,
) -> Battles:
    """Battles from rows that are all of one kind: judgments of one of the tools, or plain battles.

    Args:
        rows: (line, or another word for the place; JSON object).
        source: what to call them in an error.
        controls: covariates; AlpacaEval's outputs give ``length``, plain battles their columns.
        answers: the style of the answers, where it stands in files of its own.
        by: what to slice them by.
        judges: whose judgments to read; all where none is named.
        scores: gets the single scores among them, see `whole_judgments.completed`.
        where: which rows count; all where it is None.

    Raises:
        InputError: no rows, unknown rows or values, or mixed kinds.
    """
    columns = battle_columns(
        rows, source, controls=controls, answers=answers, by=by, judges=judges, scores=scores, where=where
    )
    try:
        covariates, told = read_controls(controls, lambda name: _numbers(columns.numbers[name]), place=columns.place)
        return Battles.from_names(
            columns.names_a,
            columns.names_b,
            columns.score,
            weight=columns.weight,
            prompt_ids=columns.prompts,
            covariates=covariates,
            notes=(*columns.notes, *told),
            voters=columns.voters,
            tags=columns.tags,
        )
    except ValueError as error:
        raise file_error(source, error) from None


def _numbers(cells: Sequence[Any]) -> FloatArray:
    return np.array([np.nan if cell is None else cell for cell in cells], dtype=np.float64)


def battle_columns(
    rows: Iterable[tuple[int | str, JsonRow]],
    source: str,
    *,
    controls: Sequence[str] = (),
    answers: StyleByAnswer | None = None,
    judged: bool = False,
    by: By = None,
    baseline: str | None = None,
    answered: Collection[str] = (),
    judges: Sequence[str] = (),
    scores: list[tuple[int | str, JsonRow]] | None = None,
    where: Where | None = None,
) -> BattleColumns:
    """The columns that ratings and win rates read; arguments and errors are those of `battles_from_rows`.

    Args:
        judged: whether battles keep who judged them.
        baseline, answered: of Arena-Hard's rows that name none, see `completed`. scores: as there.
    """
    told_first: list[str] = []
    chosen = Chosen(where, source)
    judged_rows = of_judges(chosen.rows(rows), judges, told_first)
    whole = completed(judged_rows, told_first, baseline, answered, scores)
    try:
        found = _battle_columns(whole, source, controls, told_first, answers=answers, judged=judged, by=by)
        return replace(found, notes=(*chosen.notes(), *found.notes))
    except ValueError as error:
        raise file_error(source, error) from None


def _battle_columns(
    rows: Iterable[tuple[int | str, JsonRow]],
    source: str,
    controls: Sequence[str],
    told_first: Sequence[str],
    *,
    answers: StyleByAnswer | None,
    judged: bool,
    by: By,
) -> BattleColumns:
    cells: dict[str, list[Any]] = {}
    lines: list[int | str] = []
    found: dict[str, None] = {}
    unlike = LeftOut("the shape of the rows before them")
    kind: Kind | None = None
    columns = Columns(())
    identity: VoteId | None = None
    votes: list[Vote | None] = []
    names = known_names(controls)
    styled = is_style(controls)
    voter: str | None = None
    count = noise = 0
    before: int | str = 0
    for count, (line, written) in enumerate(rows, start=1):
        if type(line) is int:  # JSON without line breaks: a row is told by its number
            again, before = line == before, line
            line = f"row {count}" if again else line
        spelled = names.spelled(written)
        try:
            row = names.row(written, spelled, _placed(line)) if spelled else written
            if kind is None:
                kind = next((one for one in KINDS if set(one.keys) <= row.keys()), None) or _plain(
                    controls, row, judged
                )
                columns = Columns(kind.read, kind.carried | annotated(row), ALPACA_EVAL_SAYS)
                identity = None if kind.judged or is_own(row) else vote_id(row, PROMPT_COLUMNS)
                voter = None if kind.judged else voter_column(row)
                for taken in (voter, by):
                    if isinstance(taken, str):
                        columns.take(taken)
            for name, known in spelled.items():
                if known in kind.read:
                    columns.take(name)
            if count <= 100:
                found.update(dict.fromkeys(row))
            if not columns.takes(written, line):
                continue
        except ValueError as error:
            raise file_error(source, error) from None
        try:
            battles = list(kind.battles(row))
            theirs = [_vote(kind, identity, row, battle, game) for game, battle in enumerate(battles)]
        except (KeyError, TypeError, AttributeError) as error:
            unlike.add(f"not like the rows before it ({error!r})", _placed(line))
            continue
        votes += theirs
        noise += row.get("noise") is True and row.get("status") == "ok" and bool(annotated(row))
        amounts = {name: row.get(name) for name in columns.counting()}
        for battle in battles:
            told = battle | amounts if amounts else battle
            if judged and kind.judged:  # a plain battle carries its own
                told = told | {"judge": judge_of(row)}
            if styled:
                told |= style_cells(told) if answers is None else joined_style(told, answers)
            if voter is not None:
                told = told | {"voter": row.get(voter)}
            if by is not None:
                tag = _tag(row, by) if isinstance(by, str) else by.get(str(battle.get("prompt_id")))
                told = told | {"tag": tag if isinstance(tag, str | int | float) else None}
            for name in told.keys() - cells.keys():
                cells[name] = [None] * len(lines)
            for name, column in cells.items():
                column.append(told.get(name))
            lines.append(line)
    if not count:
        raise InputError(f"{source}: no rows in it")

    def place(index: int) -> str:
        return _placed(lines[index])

    try:
        try:
            require_columns(found, controls, there=cells)
        except ValueError as error:
            raise ValueError(f"{error}{_judgments_at(Path(source))}") from None
        require_slices(by, found)
        weighted = list(dict.fromkeys([*(["weight"] if "weight" in cells else []), *columns.amounts()]))
        if len(weighted) == 1:
            columns.take(weighted[0])
        told_of = columns.notes() + noise_note(noise, count)
        left_out = unlike.notes(count)
        if any(isinstance(cell, list) for cell in cells.get("verdicts", ())):
            kept, repeated = once(own_frame(cells), place)
            if kept is not None:
                cells = {name: list(compress(column, kept)) for name, column in cells.items()}
                lines, left_out = list(compress(lines, kept)), [*left_out, *repeated]
        by = f"{kind.judged[0]}, prompt and models" if kind and kind.judged else ""
        by = ", ".join(identity.columns) if identity else by
        once_each = counted_once(votes, cells, place, identity=identity, column=by)
        if (kept := once_each.kept) is not None:
            cells = {name: list(compress(column, kept)) for name, column in cells.items()}
            lines = list(compress(lines, kept))
        left_out += once_each.notes
        if not lines:
            raise ValueError(f"no row is left{': ' if told_of else ''}{'; '.join(told_of)}")
        score, weight, notes = _scores(cells, place)
        if once_each.share is not None:
            weight = once_each.share if weight is None else once_each.share * weight
        if len(weighted) == 1:
            name = weighted[0]
            amounts_of = [1 if name != "weight" and is_missing(cell) else cell for cell in cells[name]]
            own = read_weights(amounts_of, column=name, place=place)
            weight = own if weight is None else own * weight
            if name != "weight":
                told_of.append(f"column {name} is read as weight: a row stands for as many")
    except ValueError as error:
        raise file_error(source, error) from None
    texts = ("output_a", "output_b")
    return BattleColumns(
        cells["model_a"],
        cells["model_b"],
        score,
        weight,
        cells.get("prompt_id"),
        {name: column for name, column in cells.items() if name[-2:] in ("_a", "_b")},
        (cells[texts[0]], cells[texts[1]]) if set(texts) <= cells.keys() else None,
        cells.get("own_failure"),
        cells.get("judge"),
        cells.get("voter"),
        cells.get("tag"),
        (*told_first, *told_of, *left_out, *notes),
        place,
    )


def _tag(row: JsonRow, by: str) -> Any:
    """A row's value of a column to slice by, or at a dotted path in one.

    Raises:
        ValueError: the column holds objects.
    """
    if by == "judge":
        return judge_of(row)
    cell = row[by] if by in row else value_at(row, by) if "." in by else None
    if isinstance(cell, str) and cell[:1] not in ("[", "{"):
        return cell
    if objects := holds_objects(by, cell):
        raise ValueError(f"--by {by}: {objects}")
    return str(cell).lower() if isinstance(cell, bool) and by not in row else cell


def _judgments_at(path: Path) -> str:
    """Of a directory whose tables are no battles: which was read first, and where judgments are as a rule."""
    if not path.is_dir():
        return ""
    there = judgments_below(path)
    told = f", in {table_files(path)[0].name}"
    return told if there is None else f"{told}; the judgments are in {there}"


def _placed(line: int | str) -> str:
    return line if isinstance(line, str) else f"line {line}"


def _vote(kind: Kind, identity: VoteId | None, row: JsonRow, battle: JsonRow, game: int) -> Vote | None:
    """Which vote a battle is; None where nothing tells."""
    if identity is not None:
        return identity.of(row, battle.get("prompt_id"), battle["model_a"], battle["model_b"])
    if not kind.judged or is_missing(row.get(kind.judged[0])):
        return None
    key = (*(cell_key(row.get(name)) for name in kind.judged), game)
    return Vote(key, key, None)


def _scores(cells: Mapping[str, list[Any]], place: Place) -> tuple[FloatArray, FloatArray | None, tuple[str, ...]]:
    """Scores of `model_a`, what the labels weigh (None: one each), and notes."""
    names = cells["model_a"], cells["model_b"]
    if "annotated" in cells:
        outcomes = read_preferences(cells["annotated"], place=place)
        return outcomes.score - 1.0, None, outcomes.notes
    if "label" in cells:
        outcomes, weight = read_games(cells["label"], column="games, score", place=place)
        return outcomes.score, weight, outcomes.notes
    if "g1" in cells:
        first, second = (read_outcomes(cells[g], *names, column=f"{g}_winner", place=place) for g in ("g1", "g2"))
        both = np.where(first.score == second.score, first.score, 0.5)
        both[np.isnan(first.score) | np.isnan(second.score)] = np.nan
        return both, None, (*first.notes, *second.notes)
    outcomes = read_told(cells, names, place=place)
    return outcomes.score, None, outcomes.notes


ARENA_COLUMNS = frozenset(
    name
    for names in (
        "conversation_a conversation_b full_conversation messages prompt instruction response response_a",
        "response_b messages_a messages_b output_a output_b text_a text_b turn turns anony is_code is_refusal",
        "dedup_tag category_tag conv_metadata openai_moderation toxic_chat_tag length_a length_b",
    )
    for name in names.split()
)
"""What Chatbot Arena's sets, MT-Bench's votes and their kin carry beside a battle's outcome."""
_OWN = frozenset({"flipped", "verdicts", "reason", "cause"})


def known_names(controls: Sequence[str] = ()) -> KnownNames:
    """Every column that a battle of any kind is read from."""
    kinds = [*KINDS, _plain(controls, ())]
    return KnownNames({"question_id", "conv_metadata", *(name for kind in kinds for name in kind.read)})


def voter_column(columns: Collection[str]) -> str | None:
    """The column of plain battles that names who decided; None where there is none, and of a run's own battles."""
    return None if is_own(columns) else next((name for name in VOTER_COLUMNS if name in columns), None)


def require_slices(by: By, found: Collection[str]) -> None:
    """Refuse a column to slice by that is not there.

    Raises:
        ValueError: the message names the columns that are.
    """
    if isinstance(by, str) and not any(by == name or by.startswith(f"{name}.") for name in found):
        raise ValueError(
            f"missing column {by} to slice by (found: {', '.join(list(found)[:20]) or 'none'}); where the prompts have "
            "it, --prompts FILE names them"
        )


def is_own(columns: Collection[str]) -> bool:
    """Whether rows are a run's own battles: their scores are a judge's grades, of which their winner came."""
    return "verdicts" in columns or {"score_a", "score_b", "flipped", "judge"} <= set(columns)


def unread(columns: Collection[str], controls: Sequence[str] = (), by: By = None) -> list[str] | None:
    """The columns of plain battles that need only be named, once each; None where rows have to be looked at one by one.

    These are where more than one column tells who won, or the name of one says that it changes its row.
    """
    kind = _plain(controls, columns)
    others = Columns(kind.read, kind.carried)
    told = [name for name in OUTCOME_COLUMNS if name in columns and name not in ONE_HOT[1:]]
    named = [name for name in columns if not others.knows(name) and name not in (by, voter_column(columns))]
    only_named = all(duty_of(name) in (Duty.MAY, Duty.NONE) for name in named)
    return named if only_named and (is_own(columns) or len(told) == 1) else None


def _plain(controls: Sequence[str], columns: Collection[str], judged: bool = False) -> Kind:
    own = is_own(columns)
    kept = {"model_a", "model_b", "weight", "prompt_id", "length_a", "length_b", "own_failure", *OUTCOME_COLUMNS}
    kept |= {"verdicts", *(["judge"] if judged else [])}
    kept |= {f"{name}{side}" for name in feature_names(controls) for side in ("_a", "_b")}
    styled = is_style(controls)
    used = kept - ({"score_a", "score_b"} if own and "winner" in columns else set())

    def battle(row: JsonRow) -> Iterable[JsonRow]:
        out = {name: value for name, value in row.items() if name in used}
        if "prompt_id" not in out and "question_id" in row:
            out["prompt_id"] = row["question_id"]
        if isinstance(out.get("prompt_id"), list | dict):
            raise TypeError("the prompt's id must be text or a number")
        if any(isinstance(out.get(name), list | dict) for name in ("model_a", "model_b")):
            raise TypeError("a model's name must be text or a number")
        metadata = row.get("conv_metadata")
        if isinstance(metadata, dict) and "length_a" not in out:
            out |= {name: metadata.get(field) for name, field in METADATA_LENGTHS.items()}
        if styled:
            out |= style_cells(row)
        yield out

    return Kind((), battle, (), frozenset(kept), ARENA_COLUMNS | _OWN if own else ARENA_COLUMNS)
