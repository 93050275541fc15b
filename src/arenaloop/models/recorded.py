"""Answers from a file: a contestant that was run elsewhere.

Read are AlpacaEval's ``model_outputs.json``, rows with what was asked (``messages``, ``prompt``, ``instruction`` or
``question``) and the answer (``output``, ``response``, ``completion``, ``answer`` or ``text``; message lists as in
training rows and of `arenaloop sample`), and the ``model_answer`` files of Arena-Hard and FastChat; in whatever table
or directory (`arenaloop.tables`). They are streamed and no text is kept: a caller holds the keys of its prompts
(`match_keys`) and stores the answers that match.

A failed call's mark (FastChat's ``$ERROR$`` and what is shaped like it, see `models.failed_answer`; a column `error`
that says something; a finish reason that is an error's) and null are no answers: such rows are counted and left out.
What else a row says of its answer's end (``finish_reason``, ``stop_reason``, ``truncated``) means what it means in a
server's reply (`models.finish`). Where a file says two things of one answer (two texts in a row, two rows for one
prompt), it is in doubt, left out and counted.

An answer that has its prompt's text matches by it; those of Arena-Hard and FastChat also by source id. A prompt without
a system message matches whatever system message the other side has; two system messages must be equal.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arenaloop.jsonl import row_error
from arenaloop.messages import (
    instruction_text,
    refuse_unread,
)
from arenaloop.models.failed_answer import MANY, failed_call, like, tells_of_a_call
from arenaloop.models.finish import ending
from arenaloop.models.odd_texts import OddTexts, asked_in, writer_in
from arenaloop.models.reasoning import part_reasoning
from arenaloop.models.reasoning_tags import Tags
from arenaloop.models.recorded_ends import plain_name, recorded_ends
from arenaloop.models.recorded_rows import Form, read_answer
from arenaloop.tables import table_rows
from arenaloop.types import Status, content_hash

__all__ = ["RecordedAnswer", "RecordedModel"]


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """One answer of a file.

    Attributes:
        keys: it answers every prompt that has one of these among its `match_keys`.
        texts: one per turn, reasoning removed; they answer only a prompt of as many turns.
        line: where the row starts in the file.
        ends: of each turn the finish reason that the file gives, empty where it gives none.
    """

    keys: tuple[str, ...]
    texts: tuple[str, ...]
    line: int
    ends: tuple[str, ...] = ()

    @property
    def statuses(self) -> tuple[Status, ...]:
        """Of each turn how it ended; empty where all are whole, or no text."""
        found = tuple(ending(word).status for word in self.ends)
        return found if any(status is not Status.OK for status in found) else ()


class RecordedModel:
    """A contestant whose answers stand in a file.

    It is no `Model`: nothing can be asked of it. A runner tells it by its class and copies what matches.

    Args:
        name: what leaderboards call it.
        path: the file, or whatever `arenaloop.tables` reads.
        reasoning_tags: what opens and closes reasoning in the answers, instead of the known families' tags. Only a
            block at an answer's start is taken off: how a closing tag alone came there is not known.

    Attributes:
        fingerprint: constant for a name, since a recorded response is keyed by its own text.
        duplicates: rows that the last full pass over `rows` left out, their prompt having been answered before, alike.
        failed: rows that it left out because they hold no answer: a failed call's mark, or null.
        failures: what those rows hold, with counts, and the line of the first.
        doubts: rows that it left out because the file contradicts itself, by what is wrong: the line of each, or where
            the whole file is one line its number among the rows.
        place: what these numbers count, ``line`` or ``row``.
        cut: answers that it gave although they are not whole, by finish reason.
        read: rows that it read.
        odd: what it gave as answers, by its shape.
        writers: what the rows that it gave say of who wrote them, with counts.
    """

    def __init__(
        self, name: str, path: str | os.PathLike[str], reasoning_tags: Sequence[Sequence[str]] | None = None
    ) -> None:
        self.name = name
        self.path = os.fspath(path)
        self.fingerprint = content_hash("recorded", name)
        self.duplicates = 0
        self.failed = 0
        self.read = 0
        self.failures: Counter[str] = Counter()
        self.doubts: dict[str, list[int]] = {}
        self.place = "line"
        self.cut: Counter[str] = Counter()
        self.odd = OddTexts()
        self.writers: Counter[str] = Counter()
        self._scanned: _Scan | None = None
        self._tags = None if reasoning_tags is None else tuple(Tags(*pair) for pair in reasoning_tags)

    def __repr__(self) -> str:
        return f"RecordedModel({self.name!r}, {self.path!r})"

    def _parted(self, text: str) -> str:
        parted = part_reasoning(text, self._tags, asked=(), guess=False)
        return text if parted.reasoning and _mentioned(text, parted.reasoning) else parted.answer

    def rows(self, *, samples: bool = False) -> Iterator[RecordedAnswer]:
        """Stream the answers in file order, the first to each prompt only.

        Args:
            samples: all answers to each prompt; that they differ is no contradiction then.

        Raises:
            InputError: the file cannot be read, or a row is no answer; file and line are named.
        """
        scan = self._scan()
        seen: set[str] = set()
        duplicates = read = 0
        failures: Counter[str] = Counter()
        doubts: dict[str, list[tuple[int, int]]] = {}
        first = last = 0
        cut: Counter[str] = Counter()
        odd, writers = OddTexts(), Counter[str]()
        for line, row in self._read():
            read += 1
            first, last = first or line, line
            if (failure := scan.failure(row)) is not None:
                failures[failure] += 1
            elif row.doubt or (row.keys[0] in scan.contested and not samples):
                what = row.doubt or "a prompt has two different answers"
                doubts.setdefault(what, []).append((line, read))
            elif row.keys[0] in seen and not samples:
                duplicates += 1
            else:
                seen.add(row.keys[0])
                answer = RecordedAnswer(row.keys, tuple(self._parted(text or "") for text in row.texts), line, row.ends)
                cut.update(word for word in row.ends if ending(word).status is not Status.OK)
                for text in answer.texts:
                    odd.add(text, line, row.asked)
                writers.update(row.writer)
                yield answer
        self.duplicates, self.failed, self.read = duplicates, failures.total(), read
        one_line = first == last and read > 1
        self.place = "row" if one_line else "line"
        self.doubts = {what: [places[one_line] for places in all_of_it] for what, all_of_it in doubts.items()}
        self.failures, self.cut = failures, cut
        self.odd, self.writers = odd, writers

    def _scan(self) -> _Scan:
        """What only the whole file tells: texts that repeat, and prompts that are answered in two ways."""
        if self._scanned is None:
            scan = _Scan()
            for _, row in self._read():
                scan.add(row)
            self._scanned = scan
        return self._scanned

    def loose_rows(self, form: Form) -> Iterator[tuple[str, ...]]:
        """The keys of all answers, were their prompts written in `form` (see `loose_keys`)."""
        return (row.keys for _, row in self._read(form))

    def _read(self, form: Form = str) -> Iterator[tuple[int, _Row]]:
        for line, row in table_rows(Path(self.path)):
            try:
                refuse_unread(row)
                keys, texts = read_answer(row, form)
                if row.get("error"):  # what stands there is no answer
                    texts = [None] * len(texts)
                doubt = self._two_answers(row, texts)
                yield line, _Row(keys, texts, recorded_ends(row, len(texts)), doubt, asked_in(row), writer_in(row))
            except ValueError as error:
                raise row_error(self.path, line, str(error)) from None

    def _two_answers(self, row: Mapping[str, Any], texts: Sequence[str | None]) -> str:
        """What is wrong with a row that holds another answer besides; empty where it holds none."""
        said = self._parted(texts[-1] or "").strip()
        for column, other in row.items():
            if not isinstance(other, str) or not other or plain_name(column) not in _ANSWER_COLUMNS:
                continue
            if texts[-1] is not None and self._parted(other).strip() != said:
                return f"its answer and its column {column} differ"
        if row.get("choices") is not None and isinstance(other := row.get("output"), str) and other.strip() != said:
            return "choices and output differ"
        if isinstance(row.get("messages"), list) and isinstance(row.get("instruction"), str) and row.get("output"):
            asked = row["messages"][-1].get("content") if isinstance(row["messages"][-1], dict) else None
            if isinstance(asked, str) and asked.strip() != instruction_text(row).strip():
                return "messages and instruction differ"
        return ""


@dataclass(frozen=True, slots=True)
class _Row:
    """One row: whom it answers and how, how that ended, what is doubtful about it, what was asked, and who wrote it."""

    keys: tuple[str, ...]
    texts: list[str | None]
    ends: tuple[str, ...]
    doubt: str
    asked: str
    writer: tuple[str, ...]


class _Scan:
    """What only a whole file tells of its rows."""

    def __init__(self) -> None:
        self.contested: set[str] = set()
        self._answers: dict[str, str] = {}
        self._alike: Counter[str] = Counter()

    def add(self, row: _Row) -> None:
        """Take a row into account."""
        if self.failure(row) is not None:
            return
        given = content_hash([(text or "").strip() for text in row.texts], size=8)
        if self._answers.setdefault(row.keys[0], given) != given:
            self.contested.add(row.keys[0])
            return
        self._alike.update({like(text) for text in row.texts if text and tells_of_a_call(text)})

    def failure(self, row: _Row) -> str | None:
        """What stands in the place of a row's answer because the call for it failed; None where it is an answer."""
        for text, end in zip(row.texts, row.ends, strict=True):
            if text is None:
                return "null"
            if failed_call(text) or (tells_of_a_call(text) and self._alike[like(text)] >= MANY):
                return repr(" ".join(text.split())[:60])
            if ending(end).status is Status.ERROR:
                return f"finish reason {end!r}"
        return None


_ANSWER_COLUMNS = frozenset({
    "response", "completion", "generation", "generatedtext", "prediction", "reply", "modeloutput", "modelresponse",
    "modelanswer", "outputtext", "assistantresponse",
})  # fmt: skip
"""Other names that files have for what `output` is; a gold answer (`answer`, `reference`) is another thing."""


def _mentioned(text: str, between: str) -> bool:
    """Whether the tags around what was taken for reasoning are words of a sentence: an answer about such tags.

    Templates have a tag on a line of its own or glued to the reasoning; in a sentence there is a blank, or a mark.
    """
    before, found, after = text.partition(between)
    if not before.strip() or not found:  # no opening tag of its own, or several blocks
        return False
    opens = before[-1] not in " \t" and between[0] not in ".,;:!?)]}'\"`’”»"
    closes = after[:1] not in ("", " ", "\t") and between[-1] not in "'\"`([{‘“«"
    return not opens and not closes
