"""Label files: pairs of outputs with somebody's preference, as people or recorded judges left it.

Read are JSON lists, JSONL and CSV (plain or gzip) and Parquet, told apart by their content:

* AlpacaEval annotations and cross-annotations: `instruction` (and `input`), `output_1`, `output_2`, `preference` (or
  `gold_preference`), optionally `generator_1`, `generator_2`, `annotator` or `annotator_index`, `price_per_example`,
  `time_per_example`;
* Chatbot Arena votes: `conversation_a`, `conversation_b`, `model_a`, `model_b`, `winner`;
* any table with a prompt (`messages`, `prompt` or `instruction`), `response_a` and `response_b` (or `output_1` and
  `output_2`), and `preference` or `winner`.

A preference is 1 (first), 2 (second), 1.5 or the legacy 0 (tie), anything between 1 and 2 (soft), or null (failed); a
winner is `model_a`, `model_b`, `tie` or `tie (bothbad)`.
"""

from __future__ import annotations

import ast
import csv
import gzip
import io
import json
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from arenaloop.data.formats.battles import content_kind
from arenaloop.data.prompts import read_prompt
from arenaloop.errors import InputError, nearest
from arenaloop.jsonl import JsonRow, read_rows, row_error
from arenaloop.messages import read_messages
from arenaloop.ratings.battles import WINNER_SCORES
from arenaloop.types import Message, Prompt, content_hash

__all__ = ["Label", "LabelledPair", "labelled_pairs", "read_labels", "split_filter"]

Texts = tuple[str, ...]

_SIDES = (("output_1", "output_2"), ("response_a", "response_b"), ("conversation_a", "conversation_b"))
_GENERATORS = (("generator_1", "generator_2"), ("model_a", "model_b"), ("generator_a", "generator_b"))
_PREFERENCES = ("preference", "gold_preference", "winner")
_ANNOTATORS = ("annotator", "annotator_index", "judge")


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
    """

    prompt: Prompt
    outputs: tuple[Texts, Texts]
    preference: float | None
    annotator: str = ""
    generators: tuple[str | None, str | None] = (None, None)
    usd: float | None = None
    seconds: float | None = None
    line: int = 0


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


def read_labels(path: str | Path, where: Mapping[str, str] | None = None) -> list[Label]:
    """Read a label file.

    Args:
        path: the file; see the module for its shapes.
        where: only rows whose columns hold these values, compared as text.

    Raises:
        InputError: the file cannot be read, a row is no label (file, line and column are named), or no row is left.
    """
    path = Path(path)
    wanted = dict(where or {})
    prompts: dict[str, Prompt] = {}  # rows repeat their prompts: one object each
    out: list[Label] = []
    values: dict[str, dict[str, None]] = {column: {} for column in wanted}
    columns: dict[str, None] = {}
    for line, row in _rows(path):
        columns.update(dict.fromkeys(row))
        for column in wanted:
            if column in row and len(values[column]) < 8:
                values[column][_text(row[column])] = None
        if any(column not in row or not _holds(row[column], value) for column, value in wanted.items()):
            continue
        label = _label(path, line, row)
        same = prompts.setdefault(label.prompt.id, label.prompt)
        out.append(label if same is label.prompt else _with_prompt(label, same))
    if out:
        return out
    for column in wanted:
        if column not in columns:
            raise InputError(f"{path}: no column {column!r}{nearest(column, list(columns))}")
    if wanted:
        asked = "&".join(f"{column}={value}" for column, value in wanted.items())
        there = "; ".join(f"{column}: {', '.join(some)}" for column, some in values.items())
        raise InputError(f"{path}: no row with {asked} (found {there})")
    raise InputError(f"{path}: no labels in it")


def _with_prompt(label: Label, prompt: Prompt) -> Label:
    return Label(
        prompt, label.outputs, label.preference, label.annotator, label.generators, label.usd, label.seconds, label.line
    )


def _rows(path: Path) -> Iterator[tuple[int, JsonRow]]:
    kind = content_kind(path)
    if kind == "csv":
        return _csv_rows(path)
    return _parquet_rows(path) if kind == "parquet" else read_rows(path)


def _csv_rows(path: Path) -> Iterator[tuple[int, JsonRow]]:
    """Rows of a table with a header; empty cells are null. The line is the one a row ends on."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as raw:
            text = io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")
            header = text.readline()
            text.seek(0)
            csv.field_size_limit(1 << 30)
            reader = csv.DictReader(text, delimiter="\t" if header.count("\t") > header.count(",") else ",")
            for row in reader:
                if None in row or None in row.values():
                    raise row_error(
                        path, reader.line_num, f"not as many cells as the header has ({len(reader.fieldnames or ())})"
                    )
                yield reader.line_num, {str(k): (v if v != "" or k in _EMPTY_IS_TEXT else None) for k, v in row.items()}
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text") from None
    except csv.Error as error:
        raise InputError(f"{path}: no CSV ({error})") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None


_EMPTY_IS_TEXT = {column for sides in _SIDES for column in sides}
"""An empty output is an output."""


def _parquet_rows(path: Path) -> Iterator[tuple[int, JsonRow]]:
    import polars as pl

    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"{path}: cannot be read as Parquet ({error})") from None
    yield from enumerate(frame.iter_rows(named=True), 1)


def _holds(value: object, wanted: str) -> bool:
    return _text(value) == wanted or (isinstance(value, float) and value.is_integer() and str(int(value)) == wanted)


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _label(path: Path, line: int, row: JsonRow) -> Label:
    try:
        outputs_in = _present(row, _SIDES, "the two outputs")
        if outputs_in == _SIDES[2]:
            prompt, outputs = _conversations(row)
        else:
            prompt, outputs = _prompt_and_outputs(row, outputs_in)
        preference = _preference(row)
    except ValueError as error:
        raise row_error(path, line, str(error)) from None
    generators = next((sides for sides in _GENERATORS if sides[0] in row and sides[1] in row), None)
    annotator = next((row[name] for name in _ANNOTATORS if row.get(name) is not None), None)
    return Label(
        prompt,
        outputs,
        preference,
        _text(annotator) if not isinstance(annotator, list | dict) else "",
        (None, None) if generators is None else (_name(row[generators[0]]), _name(row[generators[1]])),
        _number(row, "price_per_example"),
        _number(row, "time_per_example"),
        line,
    )


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


def _preference(row: JsonRow) -> float | None:
    column = next((name for name in _PREFERENCES if name in row), None)
    if column is None:
        raise ValueError(f"no column {', '.join(_PREFERENCES)} (columns found: {', '.join(list(row)[:12])})")
    value = row[column]
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str) and value in WINNER_SCORES:
        return 2.0 - WINNER_SCORES[value]
    if column == "winner":
        raise ValueError(f"column winner: {value!r} is none of {', '.join(WINNER_SCORES)}")
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if number == 0:
        return 1.5
    if not 1.0 <= number <= 2.0:
        raise ValueError(f"column {column}: {value!r} is no preference (1, 2, 1.5, anything between, or empty)")
    return number


def _number(row: JsonRow, column: str) -> float | None:
    value = row[column] if column in row else row.get(f"preference_{column}")
    try:
        number = None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number is not None and math.isfinite(number) else None


def _name(value: object) -> str | None:
    return None if value is None or value == "" else str(value)
