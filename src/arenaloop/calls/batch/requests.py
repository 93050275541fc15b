"""Request files: the judge calls that are still missing, as the lines that a Batch API takes.

A file's lines are exactly what the live calls would send. Which unit a line belongs to stands in the arena file beside
the batch (`Line`), so that results can come in any order, and a file that was lost can be written again.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from arenaloop.calls.judging import AskedJudge, JudgeUnit, unit_of
from arenaloop.calls.reask import next_sample
from arenaloop.errors import ConfigError, StoppedError
from arenaloop.jsonl import replacing
from arenaloop.models.batch_lines import request_line
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.store import Store
from arenaloop.types import Status, content_hash

__all__ = ["ASKED_AGAIN", "Line", "RequestFile", "missing", "server_of", "unit_of_line", "write_again", "write_files"]

ASKED_AGAIN = 2
"""How often one request is put into a batch before its errors stand; the next run asks again."""


class Line(NamedTuple):
    """One line of a request file.

    Attributes:
        key: of the verdict or judgement; the line's custom id.
        prompt_id, hashes, sample: what the key stands for; a hash for each text that the judge is shown.
        before: attempts that were stored under the key when the line was written; with more, its result is stored.
    """

    key: str
    prompt_id: str
    hashes: tuple[str, ...]
    sample: int
    before: int

    @classmethod
    def of(cls, row: Sequence[Any]) -> Line:
        """From its `row`; of a judge of one text there may be an empty second hash."""
        key, prompt_id, *hashes, sample, before = row
        return cls(key, prompt_id, tuple(text_hash for text_hash in hashes if text_hash), sample, before)

    @property
    def row(self) -> list[Any]:
        """As it stands in a note."""
        return [self.key, self.prompt_id, *self.hashes, self.sample, self.before]


class RequestFile(NamedTuple):
    """A request file that has been written.

    Attributes:
        tag: hash of the file and its number; what the batch is found again by.
    """

    tag: str
    asked: AskedJudge
    path: Path
    lines: list[Line]
    size: int


def server_of(asked: AskedJudge) -> OpenAIModel:
    """The server that a judge stands on, so that its calls can stand in a batch file.

    Raises:
        ConfigError: it is no model behind an OpenAI-compatible server.
    """
    model = asked.model
    if not isinstance(model, OpenAIModel) or not hasattr(asked.judge, "read"):
        name = asked.judge.name
        raise ConfigError(f"judge {name}: batches are for judges on an OpenAI-style server, and it is not on one")
    return model


def missing(
    units: Iterable[JudgeUnit | None],
    store: Store,
    on_their_way: Collection[str],
    asked: Mapping[str, int],
    settled: Counter[str],
) -> Iterator[tuple[JudgeUnit, Line]]:
    """The judge calls that are still to be made, in the order of the units.

    Args:
        units: everything that is wanted, equal ones near each other; None cannot be asked (an answer is missing).
        store: the arena file, with everything committed.
        on_their_way: keys in batches that are not collected.
        asked: how often each failed key was asked in the batches of this round of judging.
        settled: is given the counts of ``"found"`` and ``"failed"`` units.
    """

    def tried(unit: JudgeUnit) -> Callable[[int], int]:
        return lambda sample: asked.get(unit.key(sample), 0)

    seen: set[str] = set()  # two battles may share a verdict
    prompt_id = ""
    for unit in units:
        if unit is None:
            settled["failed"] += 1
            continue
        sample = next_sample(unit.stored, tried(unit), unit.asked.reask, times=ASKED_AGAIN)
        if sample is None:
            decided = any(unit.stored(n) is Status.OK for n in range(unit.asked.reask + 1))
            settled["found" if decided else "failed"] += 1
            continue
        if unit.material[0].id != prompt_id:
            seen, prompt_id = set(), unit.material[0].id
        key = unit.key(sample)
        if key in seen or key in on_their_way:
            continue
        seen.add(key)
        before = store.attempts([key])[key] if unit.stored(sample) is not None else 0
        hashes = tuple(response.text_hash for response in unit.material[1:])
        yield unit, Line(key, prompt_id, hashes, sample, before)


def unit_of_line(judges: Sequence[AskedJudge], line: Line, store: Store) -> JudgeUnit:
    """The unit of a line, its texts read from the arena file.

    Args:
        judges: all that share the batch's fingerprint: votes of one judge differ in nothing but their keys.

    Raises:
        StoppedError: none of them asks what the line's key stands for.
    """
    why = "its texts are not in the arena file"
    if (unit := unit_of(judges[0], line.prompt_id, line.hashes, store)) is not None:
        for asked in judges:
            found = JudgeUnit(asked, unit.material, unit.statuses)
            if found.key(line.sample) == line.key:
                return found
        why = "no vote of the judge has its key"
    raise StoppedError(
        f"judge {judges[0].judge.name}: request {line.key} of a batch is not one of this run ({why}); run again with "
        "what it was written for, or --forget-batches gives its batch up"
    )


def _bytes(unit: JudgeUnit, line: Line) -> bytes:
    return request_line(line.key, server_of(unit.asked).body(unit.request(line.sample)))


def write_files(
    asks: Iterable[tuple[JudgeUnit, Line]],
    folder: Path,
    *,
    number: int,
    max_requests: int,
    max_bytes: int,
    admit: Callable[[AskedJudge, int], bool] = lambda asked, size: True,
) -> Iterator[RequestFile]:
    """Write the lines into files of one judge each, giving each file as soon as it is full.

    Args:
        asks: what `missing` gives.
        number: of the next file; part of its tag, so that a file of the same lines is another batch.
        max_requests, max_bytes: of one file. A single line that is longer is a file by itself.
        admit: is asked before each line, with its bytes; the first no ends the writing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writing: dict[str, _Writing] = {}
    for unit, line in asks:
        if (probe := getattr(unit.asked.judge, "probe", None)) is not None:
            probe.check()  # what comes without log-probabilities is paid for nothing
        content, fingerprint = _bytes(unit, line), unit.asked.judge.fingerprint
        if not admit(unit.asked, len(content)):
            break
        part = writing.get(fingerprint)
        if part is not None and (len(part.lines) == max_requests or part.size + len(content) > max_bytes):
            yield writing.pop(fingerprint).close(number)
            number, part = number + 1, None
        if part is None:
            part = writing[fingerprint] = _Writing(unit.asked, folder)
        part.add(content, line)
    for part in writing.values():
        yield part.close(number)
        number += 1


class _Writing:
    """A request file that is being written."""

    def __init__(self, asked: AskedJudge, folder: Path) -> None:
        self.asked = asked
        self.path = folder / f"{asked.judge.fingerprint[:12]}.part"
        self.file = self.path.open("wb")
        self.hash = blake2b(digest_size=16)
        self.size = 0
        self.lines: list[Line] = []

    def add(self, content: bytes, line: Line) -> None:
        self.file.write(content)
        self.hash.update(content)
        self.size += len(content)
        self.lines.append(line)

    def close(self, number: int) -> RequestFile:
        self.file.close()
        tag = content_hash("batch", self.hash.hexdigest(), number)
        path = self.path.with_name(f"{tag}.jsonl")
        os.replace(self.path, path)
        return RequestFile(tag, self.asked, path, self.lines, self.size)


def write_again(judges: Sequence[AskedJudge], lines: Iterable[Line], store: Store, path: Path) -> None:
    """Write a request file that was lost, from the lines that the arena file remembers."""
    with replacing(path) as file:
        for line in lines:
            file.write(_bytes(unit_of_line(judges, line, store), line))
