"""Training rows in one form, whatever they are kept in, and the account of those that a format cannot hold.

Nothing is cut to fit: a row goes out whole, or it is left out and counted by the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from arenaloop.data.export.described import DESCRIPTIONS, told_of
from arenaloop.data.formats import training_columns, training_rows
from arenaloop.data.formats.judgment_kinds import annotated, noise_note
from arenaloop.data.formats.labels import read_labels
from arenaloop.data.formats.training_turns import FIELDS
from arenaloop.data.prompts import read_prompt
from arenaloop.errors import InputError
from arenaloop.jsonl import JsonRow
from arenaloop.normal_form import is_blank
from arenaloop.ratings.cells import to_number
from arenaloop.tables import table_rows
from arenaloop.types import Message, content_hash

__all__ = [
    "KINDS",
    "LINEAGE",
    "NUMBERS",
    "PROMPT_TOLD",
    "Account",
    "Format",
    "Kind",
    "TrainingRow",
    "UnfitError",
    "kind_of",
    "read_rows",
    "require_alternating",
    "require_one_turn",
    "unfit_text",
]

Kind = Literal["sft", "preferences", "prompts"]
KINDS: tuple[Kind, ...] = ("sft", "preferences", "prompts")

PROMPT_TOLD = ("question_id", *DESCRIPTIONS)
"""What the prompt's own file said of it."""
NUMBERS = frozenset({"margin", "score_chosen", "score_rejected", "preference"})
"""Columns of lineage that are numbers; the others are texts, of verdicts lists of them."""
LINEAGE: Mapping[str, str] = {
    "prompt_id": "prompt_id",
    **{name: name for name in PROMPT_TOLD},
    "stage": "stage",
    "model": "model",
    "chosen_model": "chosen_model",
    "rejected_model": "rejected_model",
    "margin": "judge_margin",
    "score_chosen": "score_chosen",
    "score_rejected": "score_rejected",
    "preference": "preference",
    "verdicts": "verdicts",
}
"""Columns that say where a row comes from, and what they are called outside: trainers that find a ``margin`` subtract
it in their loss, and this one is in the judge's points."""

_LABELS = ("output_1", "response_a", "conversation_a")
_REASONS = 40  # reasons that are told apart
_SHOWN = 12  # columns in one note


class UnfitError(ValueError):
    """A row that a format cannot hold; the message is the reason under which it is counted."""


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One row.

    Attributes:
        prompt: the turns that are given.
        answers: none of a prompt, one of an SFT row, chosen and rejected of a preference; each begins and ends with an
            assistant turn, and all of its assistant turns are learned.
        lineage: columns of `LINEAGE`, under their own names.
    """

    prompt: list[Message]
    answers: tuple[list[Message], ...] = ()
    lineage: JsonRow = field(default_factory=dict)

    def extra(self) -> JsonRow:
        """The lineage as columns beside the format's own."""
        return {LINEAGE[name]: value for name, value in self.lineage.items()}

    def turns(self) -> Iterator[Message]:
        """All turns, those of every answer."""
        yield from self.prompt
        for answer in self.answers:
            yield from answer


@dataclass(slots=True)
class Account:
    """What became of the rows.

    Attributes:
        read, written: rows.
        left_out: rows by reason, each with the place of the first.
        repeated: prompts that had come before.
        follow_ups: rows whose later user turns, which follow an answer, are in no prompt.
        given_answers: rows whose prompt holds earlier answers; many_answers: rows that learn several answers.
        system: rows with a system message.
        blank: preferences whose rejected answer is blank.
        notes: what a reader of the input had to say.
    """

    read: int = 0
    written: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    repeated: int = 0
    follow_ups: int = 0
    given_answers: int = 0
    many_answers: int = 0
    system: int = 0
    blank: int = 0
    notes: list[str] = field(default_factory=list)

    def leave_out(self, reason: str, place: str) -> None:
        """Count a row that does not go out."""
        if reason not in self.left_out and len(self.left_out) >= _REASONS:
            reason = "other reasons"
        self.left_out[reason] += 1
        self.first.setdefault(reason, place)

    def count(self, row: TrainingRow) -> None:
        """Count a row that goes out."""
        self.written += 1
        self.given_answers += any(turn["role"] == "assistant" for turn in row.prompt)
        self.many_answers += any(len(answer) > 1 for answer in row.answers)
        self.system += row.prompt[0]["role"] == "system"
        self.blank += len(row.answers) > 1 and all(is_blank(turn["content"]) for turn in row.answers[1])

    def to_json(self) -> JsonRow:
        """The account as a JSON object."""
        return {
            "read": self.read,
            "written": self.written,
            "left_out": {reason: {"rows": n, "first": self.first[reason]} for reason, n in self.left_out.items()},
            "repeated": self.repeated,
            "follow_ups": self.follow_ups,
            "blank": self.blank,
            "notes": self.notes,
        }


@dataclass(frozen=True, slots=True)
class Format:
    """How one trainer wants its rows.

    Attributes:
        title: the trainer's own name.
        endings: of the files that its loader takes.
        convert: a row of each kind that it has, without the lineage unless there is a schema; raises UnfitError.
        advice: lines that tell how the file is loaded: settings, flags, a snippet to paste.
        beside: whether the lineage goes to a file of its own, since the loader does not pass over columns; by kind.
        schema: of Parquet, by kind, as polars types by column; empty for JSONL.
    """

    title: str
    endings: tuple[str, ...]
    convert: Mapping[Kind, Callable[[TrainingRow], JsonRow]]
    advice: Callable[[Path, Kind, Account], list[str]]
    beside: frozenset[Kind] = frozenset()
    schema: Callable[[Kind], Mapping[str, Any]] | None = None


# ---------------------------------------------------------------------- reading


def kind_of(row: Mapping[str, Any]) -> Kind | None:
    """What a row teaches, by its columns; None of one that is neither training row nor label."""
    if ("chosen" in row and "rejected" in row) or any(name in row for name in _LABELS):
        return "preferences"
    if any(name in row for name in ("completion", "output")) or _answered(row):
        return "sft"
    asked = ("turns", *(form[0] for form in training_rows.PROMPT_COLUMNS))
    return "prompts" if any(row.get(name) is not None for name in asked) else None


def _answered(row: Mapping[str, Any]) -> bool:
    """Whether a conversation ends with an answer."""
    turns = next((row[name] for name in ("messages", "conversations", "conversation") if row.get(name)), None)
    last = turns[-1] if isinstance(turns, list) else None
    return isinstance(last, Mapping) and (last.get("role") or last.get("from")) not in ("user", "human")


def read_rows(files: Sequence[tuple[str, Path]], kind: Kind, account: Account) -> Iterator[tuple[str, TrainingRow]]:
    """The rows of some files in one form, streamed (label files are read whole: their column is judged as one).

    Args:
        files: name of the stage, empty where there is none, and the file.
        kind: what is wanted; ``"prompts"`` are those of any rows, each once.
        account: counts what was read and left out.

    Yields:
        Where the row stands, and the row.
    """
    seen: set[str] = set()
    for stage, path in files:
        head = next(table_rows(path), None)
        if head is None:
            continue
        labels = any(name in head[1] for name in _LABELS) and "chosen" not in head[1]
        rows = _labels(path, kind, account) if labels else _training_rows(path, kind, account)
        for place, row in rows:
            if stage:
                row.lineage["stage"] = stage
            if kind == "prompts":
                account.follow_ups += any(turn["role"] == "user" for answer in row.answers for turn in answer)
                key = content_hash(row.prompt)
                if key in seen:
                    account.repeated += 1
                    continue
                seen.add(key)
                kept = {
                    name: cell for name, cell in row.lineage.items() if name in ("prompt_id", "stage", *PROMPT_TOLD)
                }
                row = TrainingRow(row.prompt, (), kept)
            yield place, row


def _training_rows(path: Path, kind: Kind, account: Account) -> Iterator[tuple[str, TrainingRow]]:
    unused: dict[str, None] = {}
    noise, before = 0, account.read
    for line, cells in table_rows(path):
        account.read += 1
        place = f"{path.name}, line {line}"
        try:
            row = _row(cells, kind)
        except ValueError as error:
            account.leave_out(str(error), place)
            continue
        except RecursionError:
            account.leave_out("hundreds of brackets within each other", place)
            continue
        unused |= dict.fromkeys(training_columns.unread([cells], _known(cells), FIELDS))
        noise += cells.get("noise") is True and bool(annotated(cells))
        yield place, row
    if kind == "preferences":
        account.notes += [f"{path.name}: {note}" for note in noise_note(noise, account.read - before)]
    if unused:
        names = ", ".join(list(unused)[:_SHOWN]) + (" …" if len(unused) > _SHOWN else "")
        account.notes.append(f"{path.name}: columns not used: {names}")


def _known(cells: JsonRow) -> set[str]:
    """The columns of a row that are read, or compared with what is."""
    forms: Sequence[Sequence[str]] = (("turns",), *training_rows.PROMPT_COLUMNS)
    if kind_of(cells) == "preferences":
        forms = training_rows.PREFERENCE_COLUMNS
    elif kind_of(cells) == "sft":
        forms = training_rows.CONVERSATION_COLUMNS
    return {name for form in forms for name in form} | set(LINEAGE) | set(training_rows.compared(cells))


def _row(cells: JsonRow, kind: Kind) -> TrainingRow:
    own = kind_of(cells)
    if kind not in (own, "prompts"):
        found = f" (its columns: {', '.join(list(map(str, cells))[:_SHOWN])})"
        raise ValueError((f"no row of {kind}" if own is None else f"a row of {own}, not of {kind}") + found)
    answers: tuple[list[Message], ...] = ()
    if own == "preferences":
        read = training_rows.read_preference(cells)
        prompt, answers = read.prompt, (read.chosen, read.rejected)
    elif own == "sft":
        conversation = training_rows.read_conversation(cells)
        prompt, completion = conversation.prompt, conversation.completion
        begins = next(at for at, turn in enumerate(completion) if turn["role"] == "assistant")
        prompt, answers = [*prompt, *completion[:begins]], (completion[begins:],)
        if kind == "sft" and is_blank(completion[-1]["content"]):
            raise ValueError("an empty answer, of which nothing is learned")
    elif cells.get("turns") is not None:
        asked = read_prompt(cells)
        prompt, later = list(asked.messages), [{"role": "user", "content": text} for text in asked.follow_ups]
        answers = (later,) if later else ()
    else:
        prompt = training_rows.read_prompt(cells)
    training_columns.refuse_unread(cells, _known(cells))
    return TrainingRow(prompt, answers, _lineage(cells))


def _lineage(cells: JsonRow) -> JsonRow:
    """What a row says of where it comes from, each column of one type, as loaders want it; what is of none is not."""
    lineage: JsonRow = {}
    for name in LINEAGE:
        cell = cells.get(name)
        if name in NUMBERS:
            number = to_number(cell)
            lineage |= {} if number is None else {name: number}
        elif name == "verdicts":
            keys = [_utf8(key) for key in cell if isinstance(key, str)] if isinstance(cell, list) else []
            lineage |= {name: keys} if keys else {}
        elif isinstance(cell, str | int):
            lineage[name] = _utf8(str(cell))
    return lineage


def _utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _labels(path: Path, kind: Kind, account: Account) -> Iterator[tuple[str, TrainingRow]]:
    """Labels as preferences: who is preferred is chosen; a soft label says by how much."""
    if kind == "sft":
        raise InputError(f"{path}: labels of pairs, which are preferences, or prompts; not SFT rows")
    labels = read_labels(path)
    account.read += len(labels) + labels.left_out
    account.notes += labels.notes
    if kind == "preferences":
        drawn = sum(label.annotator == "noise" and label.preference is not None for label in labels)
        account.notes += [f"{path.name}: {note}" for note in noise_note(drawn, len(labels))]
    if labels.left_out:
        account.left_out["no label that can be read"] += labels.left_out
        account.first.setdefault("no label that can be read", path.name)
    for label in labels:
        place, prompt = f"{path.name}, line {label.line}", label.prompt
        given = [dict(turn) for turn in prompt.messages]
        lineage = _lineage({"prompt_id": prompt.id, **told_of(prompt)})
        if kind == "prompts":
            yield place, TrainingRow(given, (prompt.conversation(label.outputs[0])[len(given) :],), lineage)
            continue
        if label.preference is None or label.preference == 1.5:
            account.leave_out("a tie" if label.preference else "a failed label", place)
            continue
        order = (0, 1) if label.preference < 1.5 else (1, 0)
        answers = tuple(prompt.conversation(label.outputs[at])[len(given) :] for at in order)
        if answers[0] == answers[1]:
            account.leave_out("equal answers", place)
            continue
        for name, at in zip(("chosen_model", "rejected_model"), order, strict=True):
            if label.generators[at] is not None:
                lineage[name] = label.generators[at]
        sure = abs(label.preference - 1.5) + 0.5
        yield place, TrainingRow(given, answers, _lineage(lineage | ({} if sure == 1.0 else {"preference": sure})))


# ---------------------------------------------------------------------- what formats refuse


def unfit_text(row: TrainingRow) -> str:
    """Why no loader takes a row's texts; empty where one does."""
    try:
        for turn in row.turns():
            turn["content"].encode("utf-8")
    except UnicodeEncodeError:
        return "half of a surrogate pair, which no loader of UTF-8 takes"
    return ""


def require_one_turn(row: TrainingRow, title: str) -> None:
    """Raise UnfitError where a preference's answers hold several turns."""
    if any(len(answer) > 1 for answer in row.answers):
        raise UnfitError(f"answers of several turns: {title} takes one turn of a preference")


def require_alternating(turns: Iterable[Message], title: str) -> None:
    """Raise UnfitError unless user and assistant take turns after at most one system message."""
    roles = [turn["role"] for turn in turns]
    spoken = roles[1:] if roles[0] == "system" else roles
    if spoken != (["user", "assistant"] * len(spoken))[: len(spoken)]:
        raise UnfitError(f"user and assistant do not take turns, which {title} skips without a word")
