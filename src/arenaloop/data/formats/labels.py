"""Label files: pairs of outputs with somebody's preference, as people or recorded judges left it.

Read are JSON lists, JSONL and CSV (plain or gzip) and Parquet, told apart by their content (see `tables`):

* AlpacaEval annotations and cross-annotations: `instruction` (and `input`), `output_1`, `output_2`, `preference` (or
  `gold_preference`), optionally `generator_1`, `generator_2`, `annotator` or `annotator_index`, `price_per_example`,
  `time_per_example`;
* Chatbot Arena votes: `conversation_a`, `conversation_b`, `model_a`, `model_b`, `winner`; a vote of a `turn` is about
  the conversation up to that turn (MT-Bench's human votes);
* any table with a prompt (`messages`, `prompt` or `instruction`), `response_a` and `response_b` (or `output_1` and
  `output_2`), and `preference`, `winner` or the three columns of a one-hot winner.

A preference is 1 (first), 2 (second), 1.5 or the legacy 0 (tie), anything between 1 and 2 (soft), or null (failed); a
winner is any that `ratings.outcomes.read_outcomes` knows. Where a row has both, or scores, they are compared (see
`outcome_columns`); what else it has is looked at by `arenaloop.columns`. A row that is no label (an image, a tool's
turn, a word that nobody knows) or that contradicts itself is left out and counted; more than `UNKNOWN_SHARE` of them
refuse the file.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from arenaloop.columns import Columns
from arenaloop.data.formats.judgment_kinds import annotated
from arenaloop.data.formats.judgments import ALPACA_EVAL_SAYS, ARENA_COLUMNS
from arenaloop.data.formats.label_doubts import oddities, once
from arenaloop.data.formats.outcome_columns import read_told
from arenaloop.data.prompts import DESCRIPTIONS, REFERENCES, read_prompt
from arenaloop.errors import InputError, nearest
from arenaloop.jsonl import JsonRow
from arenaloop.messages import FAILED_ANSWER, read_messages
from arenaloop.models.odd_texts import spreadsheet_error
from arenaloop.ratings.cells import LeftOut, is_missing, to_number
from arenaloop.ratings.outcomes import ONE_HOT
from arenaloop.tables import file_error, table_rows
from arenaloop.types import Message, Prompt, content_hash

__all__ = ["Label", "LabelSet", "LabelledPair", "label_of", "labelled_pairs", "read_labels", "split_filter"]

Texts = tuple[str, ...]

_SIDES = (("output_1", "output_2"), ("response_a", "response_b"), ("conversation_a", "conversation_b"))
_GENERATORS = (("generator_1", "generator_2"), ("model_a", "model_b"), ("generator_a", "generator_b"))
_PREFERENCES = ("preference", "gold_preference", "winner")
_OUTCOMES = (*_PREFERENCES, *ONE_HOT, "score_a", "score_b")
_ANNOTATORS = ("annotator", "annotator_index", "judge")

_IDS = ("label_id", "annotation_id", "vote_id", "judgment_id", "judgement_id")
"""Columns that tell one label from another; a prompt's or a battle's id may belong to many."""

_SEATS: Mapping[object, int] = {1: 1, 2: 2, "1": 1, "2": 2, "both": 0}
_ASKED = ("messages", "turns", "prompt", "instruction", "question", "input", "system", "system_prompt", "turn", "tags")
_READ = (
    *_OUTCOMES,
    *_ANNOTATORS,
    *_ASKED,
    *DESCRIPTIONS,
    *REFERENCES,
    *(name for sides in _SIDES + _GENERATORS for name in sides),
)


@dataclass(frozen=True, slots=True)
class Label:
    """One preference between two outputs.

    Attributes:
        prompt: what both outputs answer.
        outputs: both, one text per turn, in the file's order.
        preference: 1 to 2, or None where the annotation failed.
        annotator: who says so, empty where the file does not tell.
        generators: who wrote the outputs, None where unknown.
        usd, seconds: what the label cost, None where unknown.
        line: of the file (for Parquet the row, from 1).
        id: of the label, empty where the file has none.
        seat: which output sat first, 1 or 2, as `annotate` writes it; 0 of both, None where the file does not tell.
    """

    prompt: Prompt
    outputs: tuple[Texts, Texts]
    preference: float | None
    annotator: str = ""
    generators: tuple[str | None, str | None] = (None, None)
    usd: float | None = None
    seconds: float | None = None
    line: int = 0
    id: str = ""
    seat: int | None = None


@dataclass(frozen=True, slots=True)
class LabelSet:
    """The labels of a file, in its order.

    Attributes:
        labels: those that could be read.
        left_out: rows that are no labels.
        notes: what was left out, and what was read in another way, in plain words.
    """

    labels: tuple[Label, ...]
    left_out: int = 0
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Label]:
        return iter(self.labels)

    def __getitem__(self, index: int) -> Label:
        return self.labels[index]


@dataclass(slots=True)
class LabelledPair:
    """All labels of one pair of outputs, turned into the order of the pair's first row.

    Attributes:
        prompt, outputs, generators: as in `Label`.
        votes: preferences, 1 to 2. `failed`: labels without one.
    """

    prompt: Prompt
    outputs: tuple[Texts, Texts]
    generators: tuple[str | None, str | None]
    votes: list[float] = field(default_factory=list)
    failed: int = 0


def split_filter(text: str) -> tuple[str, dict[str, str]]:
    """Part ``FILE#column=value&column=value`` into the file and what its rows must hold."""
    path, mark, query = text.rpartition("#")
    if not mark or "=" not in query:
        return text, {}
    pairs = (part.partition("=") for part in query.split("&"))
    return path, {column: value for column, _, value in pairs}


def labelled_pairs(labels: Iterable[Label]) -> list[LabelledPair]:
    """Collect labels by pair, in order of first appearance; a pair that comes the other way round is turned."""
    found: dict[tuple[str, str, str], LabelledPair] = {}
    for label in labels:
        one, two = (content_hash(list(texts)) for texts in label.outputs)
        turned = found.get((label.prompt.id, two, one)) if one != two else None
        pair = turned or found.setdefault(
            (label.prompt.id, one, two), LabelledPair(label.prompt, label.outputs, label.generators)
        )
        if label.preference is None:
            pair.failed += 1
        else:
            pair.votes.append(label.preference if turned is None else 3.0 - label.preference)
    return list(found.values())


def read_labels(path: str | Path, where: Mapping[str, str] | None = None) -> LabelSet:
    """Read a label file.

    Args:
        path: the file; see the module for its shapes.
        where: only rows whose columns hold these values, compared as text.

    Raises:
        InputError: the file cannot be read, too many rows are no labels or contradict themselves (file, line and column
            are named), a column says that rows are turned or stand for unequally many, or no row is left.
    """
    path = Path(path)
    wanted = dict(where or {})
    prompts: dict[str, Prompt] = {}  # rows repeat their prompts: one object each
    labels: list[Label] = []
    cells: list[JsonRow] = []  # of each label, what tells its preference
    values: dict[str, dict[str, None]] = {column: {} for column in wanted}
    columns: dict[str, None] = {}
    bad, rows = LeftOut("what a label needs"), 0
    others = Columns((*_READ, *wanted), ARENA_COLUMNS, ALPACA_EVAL_SAYS)
    for line, row in table_rows(path):
        columns.update(dict.fromkeys(row))
        for column in wanted:
            if column in row and len(values[column]) < 8:
                values[column][_text(row[column])] = None
        if any(column not in row or not _holds(row[column], value) for column, value in wanted.items()):
            continue
        for column in annotated(row):
            others.take(column)
        try:
            if not others.takes(row, line):
                continue
        except ValueError as error:
            raise file_error(path, error) from None
        rows += 1
        try:
            told = _told(row)
            label = label_of(line, row)
        except ValueError as error:
            bad.add(str(error), f"line {line}")
            continue
        same = prompts.setdefault(label.prompt.id, label.prompt)
        labels.append(label if same is label.prompt else replace(label, prompt=same))
        cells.append(told)
    try:
        notes = [*others.notes(), *bad.notes(rows)]
        kept, told_of = _decided(labels, cells)
        kept, again = once(kept)
    except ValueError as error:
        raise file_error(path, error) from None
    if kept:
        return LabelSet(tuple(kept), rows - len(kept) + others.left_out, (*notes, *told_of, *again, *oddities(kept)))
    _refuse_nothing(path, wanted, values, columns)
    raise InputError(f"{path}: no labels in it")


def _refuse_nothing(
    path: Path, wanted: Mapping[str, str], values: Mapping[str, Mapping[str, None]], columns: Mapping[str, None]
) -> None:
    for column in wanted:
        if column not in columns:
            raise InputError(f"{path}: no column {column!r}{nearest(column, list(columns))}")
    if wanted:
        asked = "&".join(f"{column}={value}" for column, value in wanted.items())
        there = "; ".join(f"{column}: {', '.join(some)}" for column, some in values.items())
        raise InputError(f"{path}: no row with {asked} (found {there})")


def _holds(value: object, wanted: str) -> bool:
    return _text(value) == wanted or (isinstance(value, float) and value.is_integer() and str(int(value)) == wanted)


def _text(value: object) -> str:
    return "" if value is None else str(value)


def label_of(line: int, row: JsonRow) -> Label:
    """The label of a row but for its preference, which the whole column tells.

    Raises:
        ValueError: says what is wrong.
    """
    outputs_in = _present(row, _SIDES, "the two outputs")
    if outputs_in == _SIDES[2]:
        prompt, outputs = _conversations(row)
    else:
        prompt, outputs = _prompt_and_outputs(row, outputs_in)
    prompt, outputs = _up_to_turn(row.get("turn"), prompt, outputs)
    for column, texts in zip(outputs_in, outputs, strict=True):
        if FAILED_ANSWER in texts:
            raise ValueError(f"column {column}: {FAILED_ANSWER}, a failed call's mark, is no answer")
        _refuse_spreadsheet_errors(texts, f"column {column}")
    _refuse_spreadsheet_errors((*(m["content"] for m in prompt.messages), *prompt.follow_ups), "the prompt")
    generators = next((sides for sides in _GENERATORS if sides[0] in row and sides[1] in row), None)
    annotator = next((row[name] for name in _ANNOTATORS if row.get(name) is not None), None)
    if isinstance(annotator, list) and len(annotator) == 1:  # MT-Bench's ["expert_1"]
        annotator = annotator[0]
    return Label(
        prompt,
        outputs,
        None,
        _text(annotator) if not isinstance(annotator, list | dict) else "",
        (None, None) if generators is None else (_name(row[generators[0]]), _name(row[generators[1]])),
        _number(row, "price_per_example"),
        _number(row, "time_per_example"),
        line,
        next((_text(row[name]) for name in _IDS if row.get(name) is not None), ""),
        _SEATS.get(row["seat"]) if annotated(row) and isinstance(row["seat"], str | int) else None,
    )


def _refuse_spreadsheet_errors(texts: Iterable[str], where: str) -> None:
    for text in texts:
        if spreadsheet_error(text):
            raise ValueError(f"{where}: {text.strip()!r}, a spreadsheet's error, is no text")


def _up_to_turn(value: object, prompt: Prompt, outputs: tuple[Texts, Texts]) -> tuple[Prompt, tuple[Texts, Texts]]:
    """What a vote of turn n is about: the conversation up to the n-th answer."""
    if value is None or value == "":
        return prompt, outputs
    turn = to_number(value)
    if turn is None or not 1 <= turn <= prompt.turns or turn != int(turn):
        raise ValueError(f"column turn: {value!r}, where the conversation has turns 1 to {prompt.turns}")
    n = int(turn)
    if n == prompt.turns:
        return prompt, outputs
    return Prompt(prompt.messages, prompt.follow_ups[: n - 1], tags=prompt.tags), (outputs[0][:n], outputs[1][:n])


def _present(row: JsonRow, choices: Sequence[tuple[str, str]], what: str) -> tuple[str, str]:
    for one, two in choices:
        if one in row or two in row:
            for column in (one, two):
                if row.get(column) is None:
                    raise ValueError(f"column {column}: no value, where a text is expected")
            return one, two
    known = ", ".join(f"{one} and {two}" for one, two in choices)
    raise ValueError(f"no columns for {what}: {known} (columns found: {', '.join(list(row)[:12]) or 'none'})")


def _prompt_and_outputs(row: JsonRow, columns: tuple[str, str]) -> tuple[Prompt, tuple[Texts, Texts]]:
    texts = [row[column] for column in columns]
    turns = [_turns(value) for value in (row.get("prompt"), *texts)]
    if turns[0] and len({len(one or ()) for one in turns}) == 1:
        asked, first, second = (tuple(one or ()) for one in turns)
        return Prompt(({"role": "user", "content": asked[0]},), asked[1:]), (first, second)
    for column, value in zip(columns, texts, strict=True):
        if not isinstance(value, str):
            raise ValueError(f"column {column}: not a text")
    prompt = read_prompt(row)
    if prompt.turns != 1:
        raise ValueError(f"a prompt of {prompt.turns} turns wants conversation_a and conversation_b")
    return prompt, ((texts[0],), (texts[1],))


def _turns(value: object) -> list[str] | None:
    """The turns of a text that is a JSON list of texts, as some sets keep conversations; None for any other text."""
    if not isinstance(value, str) or not value.startswith('["'):
        return None
    try:
        found = json.loads(value)
    except ValueError:
        return None
    return [_text(turn) for turn in found] if all(isinstance(t, str | None) for t in found) else None


def _conversations(row: JsonRow) -> tuple[Prompt, tuple[Texts, Texts]]:
    sides: list[tuple[tuple[Message, ...], Texts, Texts]] = []
    for column in _SIDES[2]:
        value = row[column]
        if isinstance(value, str):
            value = _structure(value, column)
        messages = read_messages(value, column)
        system = messages[:1] if messages and messages[0]["role"] == "system" else ()
        spoken = messages[len(system) :]
        roles = [m["role"] for m in spoken]
        if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
            raise ValueError(f"column {column}: user and assistant do not take turns, the assistant last")
        texts = [m["content"] for m in spoken]
        sides.append((system, tuple(texts[::2]), tuple(texts[1::2])))
    (system, asked, first), (_, other, second) = sides
    if asked != other:
        raise ValueError("columns conversation_a and conversation_b: the user says different things in them")
    return Prompt((*system, {"role": "user", "content": asked[0]}), asked[1:]), (first, second)


def _structure(text: str, column: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        try:
            return ast.literal_eval(text)  # some sets were saved by Python's repr
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise ValueError(f"column {column}: neither a list of messages nor the text of one") from None


def _told(row: JsonRow) -> JsonRow:
    """The cells of a row that tell its preference."""
    told = {name: row[name] for name in _OUTCOMES if name in row}
    if "preference" in told:
        told.pop("gold_preference", None)  # what most people said, beside what this annotator did
    if told.keys().isdisjoint(_PREFERENCES) and not set(ONE_HOT) <= told.keys():
        raise ValueError(f"no column {', '.join(_PREFERENCES)} (columns found: {', '.join(list(row)[:12])})")
    return told


def _decided(labels: Sequence[Label], cells: Sequence[JsonRow]) -> tuple[list[Label], tuple[str, ...]]:
    """The labels with their preferences, without those that nobody knows; and what is to be said of the columns.

    Columns are read as a whole, since all of their values together tell what each of them means.

    Raises:
        ValueError: too many preferences are not known, or contradict each other.
    """
    names = [name for name in _OUTCOMES if any(name in told for told in cells)]
    if not names:
        return [], ()
    columns = {name: [told.get(name) for told in cells] for name in names}
    sides = [label.generators[0] for label in labels], [label.generators[1] for label in labels]
    outcomes = read_told(columns, sides, order=_OUTCOMES, place=lambda index: f"line {labels[index].line}")
    kept = []
    for label, told, score in zip(labels, cells, outcomes.score.tolist(), strict=True):
        if not math.isnan(score):
            kept.append(replace(label, preference=2.0 - score))
        elif all(is_missing(value) for value in told.values()):
            kept.append(label)
    return kept, outcomes.notes


def _number(row: JsonRow, column: str) -> float | None:
    value = row[column] if column in row else row.get(f"preference_{column}")
    try:
        number = None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number is not None and math.isfinite(number) else None


def _name(value: object) -> str | None:
    return None if value is None or value == "" else str(value)
