"""Request files: the verdicts that a plan still lacks, as the lines that a Batch API takes.

A file's lines are exactly what the live calls would send. Which seating a line belongs to stands in the arena file
beside the batch (`Seating`), so that results can come in any order, and a file that was lost can be written again.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from arenaloop.arena.plan import BattlePlan
from arenaloop.calls.answers import Answers
from arenaloop.errors import ConfigError
from arenaloop.judges.base import Judge, ModelJudge
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.models.openai_batch import request_line
from arenaloop.store import Store
from arenaloop.types import Prompt, Response, Status, content_hash, derive_seed

__all__ = ["ASKED_AGAIN", "RequestFile", "Seating", "judging_model", "missing", "write_again", "write_files"]

ASKED_AGAIN = 2
"""How often one request is put into a batch before its errors stand; the next run asks again."""


class Seating(NamedTuple):
    """One line of a request file.

    Attributes:
        key: of the verdict; the line's custom id.
        prompt_id, first_hash, second_hash, sample: what the key stands for.
        before: attempts that were stored under the key when the line was written; with more, its result is stored.
    """

    key: str
    prompt_id: str
    first_hash: str
    second_hash: str
    sample: int
    before: int


class RequestFile(NamedTuple):
    """A request file that has been written.

    Attributes:
        tag: hash of the file and its number; what the batch is found again by.
    """

    tag: str
    judge: Judge
    path: Path
    seatings: list[Seating]
    size: int


class _Ask(NamedTuple):
    judge: Judge
    prompt: Prompt
    first: Response
    second: Response
    seating: Seating


def judging_model(judge: Judge) -> tuple[ModelJudge, OpenAIModel]:
    """A judge whose calls can stand in a batch file, and its model.

    Raises:
        ConfigError: it is no model behind an OpenAI-compatible server.
    """
    model = judge.model if isinstance(judge, ModelJudge) else None
    if not isinstance(judge, ModelJudge) or not isinstance(model, OpenAIModel):
        raise ConfigError(f"judge {judge.name}: batches are for judges on an OpenAI-style server, and it is not on one")
    return judge, model


def missing(
    plan: BattlePlan, store: Store, on_their_way: Collection[str], asked: Mapping[str, int], settled: Counter[str]
) -> Iterator[_Ask]:
    """The judge calls that the plan still lacks, one prompt at a time.

    Args:
        plan: what is to be judged; contestants have answered.
        store: the arena file, with everything committed.
        on_their_way: keys in batches that are not collected: not asked again.
        asked: how often each failed key was asked in the batches of this round of judging.
        settled: is given the counts of ``"found"`` and ``"failed"`` seatings.
    """
    answers = Answers(store, plan.contestants, plan.recorded, seed=plan.seed)
    for prompt_id in plan.prompt_ids:
        pairs = plan.schedule.on(prompt_id)
        prompt = store.prompt(prompt_id) if pairs else None
        if prompt is None:
            continue
        responses = {name: answers.stored(name, prompt) for name in {n for pair in pairs for n in pair}}
        statuses = store.statuses_of(prompt_id)
        seen: set[str] = set()  # two battles may share a verdict
        for a, b in pairs:
            for one, two in ((a, b), (b, a)):
                first, second = responses[one], responses[two]
                for judge in plan.judges:
                    if first is None or second is None or not (first.battles and second.battles):
                        settled["failed"] += 1
                        continue
                    sample = _next_sample(plan, judge, prompt, first, second, statuses, asked)
                    if sample is None or sample == plan.reask + 1:
                        settled["found" if sample is None else "failed"] += 1
                        continue
                    key = judge.key(prompt, first, second, sample)
                    if key in seen or key in on_their_way:
                        continue
                    seen.add(key)
                    before = store.attempts([key])[key] if key in statuses else 0
                    row = Seating(key, prompt_id, first.text_hash, second.text_hash, sample, before)
                    yield _Ask(judge, prompt, first, second, row)


def _next_sample(
    plan: BattlePlan,
    judge: Judge,
    prompt: Prompt,
    first: Response,
    second: Response,
    statuses: Mapping[str, Status],
    asked: Mapping[str, int],
) -> int | None:
    """Which sample is to be asked; None where there is an outcome, ``reask + 1`` where nothing is left to ask.

    As in a live run, a garbage verdict is asked again, warmer; a refusal or an error is not mended by that. What failed
    in an earlier run is asked again from the first sample on.
    """
    keys = [judge.key(prompt, first, second, sample) for sample in range(plan.reask + 1)]
    if any(statuses.get(key) is Status.OK for key in keys):
        return None
    for sample, key in enumerate(keys):
        status = statuses.get(key)
        if status is None or not asked.get(key):
            return sample
        if status is Status.ERROR:
            return sample if asked[key] < ASKED_AGAIN else plan.reask + 1
        if status is Status.REFUSED:
            return plan.reask + 1
    return plan.reask + 1


def _line(plan: BattlePlan, judge: ModelJudge, model: OpenAIModel, ask: _Ask, secret: str) -> bytes:
    sample, key = ask.seating.sample, ask.seating.key
    seed = derive_seed("verdict", plan.seed, key)
    request = judge.request(ask.prompt, ask.first, ask.second, secret=secret, seed=seed, sample=sample)
    return request_line(key, model.body(request))


def write_files(
    plan: BattlePlan,
    store: Store,
    asks: Iterator[_Ask],
    folder: Path,
    *,
    number: int,
    max_requests: int,
    max_bytes: int,
    admit: Callable[[Judge, int], bool] = lambda judge, size: True,
) -> Iterator[RequestFile]:
    """Write the lines into files of one judge each, giving each file as soon as it is full.

    Args:
        asks: what `missing` gives.
        folder: where the files go.
        number: of the next file; part of its tag, so that a file of the same lines is another batch.
        max_requests, max_bytes: of one file. A single line that is longer is a file by itself.
        admit: is asked before each line, with its bytes; the first no ends the writing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    secret = store.secret
    writing: dict[str, _Writing] = {}
    for ask in asks:
        judge, model = judging_model(ask.judge)
        line = _line(plan, judge, model, ask, secret)
        if not admit(ask.judge, len(line)):
            break
        part = writing.get(judge.fingerprint)
        if part is not None and (len(part.seatings) == max_requests or part.size + len(line) > max_bytes):
            yield writing.pop(judge.fingerprint).close(number)
            number, part = number + 1, None
        if part is None:
            part = writing[judge.fingerprint] = _Writing(judge, folder)
        part.add(line, ask.seating)
    for part in writing.values():
        yield part.close(number)
        number += 1


class _Writing:
    """A request file that is being written."""

    def __init__(self, judge: Judge, folder: Path) -> None:
        self.judge = judge
        self.path = folder / f"{judge.fingerprint[:12]}.part"
        self.file = self.path.open("wb")
        self.hash = blake2b(digest_size=16)
        self.size = 0
        self.seatings: list[Seating] = []

    def add(self, line: bytes, seating: Seating) -> None:
        self.file.write(line)
        self.hash.update(line)
        self.size += len(line)
        self.seatings.append(seating)

    def close(self, number: int) -> RequestFile:
        self.file.close()
        tag = content_hash("batch", self.hash.hexdigest(), number)
        path = self.path.with_name(f"{tag}.jsonl")
        os.replace(self.path, path)
        return RequestFile(tag, self.judge, path, self.seatings, self.size)


def write_again(plan: BattlePlan, store: Store, judge: Judge, rows: list[list[Any]], path: Path) -> None:
    """Write a request file that was lost, from the seatings that the arena file remembers."""
    asker, model = judging_model(judge)
    secret = store.secret
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    with partial.open("wb") as file:
        for row in rows:
            seating = Seating(*row)
            prompt, first, second = seated(store, seating)
            file.write(_line(plan, asker, model, _Ask(judge, prompt, first, second, seating), secret))
    os.replace(partial, path)


def seated(store: Store, seating: Seating) -> tuple[Prompt, Response, Response]:
    """The prompt and the two texts of a seating, from the arena file."""
    prompt = store.prompt(seating.prompt_id)
    texts = [store.texts(text_hash) for text_hash in (seating.first_hash, seating.second_hash)]
    if prompt is None or texts[0] is None or texts[1] is None:
        raise ValueError(f"the arena file does not hold the texts of verdict {seating.key}")
    return prompt, Response(prompt.id, "", texts[0]), Response(prompt.id, "", texts[1])
