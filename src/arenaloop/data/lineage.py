"""From a training row to the verdicts behind it, and back: what stands in a run directory about one prompt.

Nothing is asked and nothing written. Rows name verdicts by their keys, verdicts name texts by their hashes, and the
arena file knows who wrote each text; so battles are put together again as they were when the row was selected.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path
from typing import Any, NamedTuple

from arenaloop.errors import InputError
from arenaloop.jsonl import JsonRow, encode_json, read_rows
from arenaloop.judges.seats import MergeRule, OneSeatFailed, merge_pair
from arenaloop.regular_files import open_regular
from arenaloop.types import Battle, Prompt, Response, Verdict, content_hash

__all__ = [
    "Meeting",
    "Merging",
    "Place",
    "RowText",
    "contestants",
    "count_lines",
    "dropped_files",
    "lines_with",
    "meetings",
    "names",
    "prompt_id_of",
    "row_at",
    "row_files",
    "row_prompt",
    "row_texts",
    "scores",
]

_NO_ROWS = frozenset({"evaluation", "truth", "validation", "pool.dropped"})  # files of data/ that nobody learns from
_DROPPED = ".dropped"


class Place(NamedTuple):
    """A line of a file, from 1, and the row in it."""

    path: Path
    line: int
    row: JsonRow

    @property
    def stage(self) -> str:
        """Whose row it is: the file's name says so, of a kept roll-out the folder's."""
        return self.path.parts[-3] if self.path.parent.name == "rollouts" else self.path.stem

    @property
    def name(self) -> str:
        """``STAGE:LINE`` of a training row; of a roll-out its file in the stage's checkpoint."""
        of_rollout = f"checkpoints/{self.stage}/rollouts/{self.path.name}"
        return f"{self.stage if self.stage == self.path.stem else of_rollout}:{self.line}"


class Merging(NamedTuple):
    """How two seats became a battle in a run; `lone`: a pair of which one seat alone was asked is decided by it."""

    rule: MergeRule = "mean"
    one_seat_failed: OneSeatFailed = "drop_battle"
    lone: bool = False


_MEAN = Merging()


@dataclass(frozen=True)
class Meeting:
    """What one judge said of two texts.

    Attributes:
        one, two: hashes of the texts; equal where two models wrote the same.
        verdicts: every call, samples that were asked again included, those with `one` in the first seat before others.
        battles: what they come to, with the hashes in the place of models; none where a seat has no outcome.
    """

    one: str
    two: str
    verdicts: tuple[Verdict, ...]
    battles: tuple[Battle, ...]

    @property
    def decisive(self) -> frozenset[str]:
        """Keys of the verdicts that the battles are made of."""
        return frozenset(key for battle in self.battles for key in battle.verdicts)


def meetings(verdicts: Iterable[Verdict], merging: Merging = _MEAN) -> list[Meeting]:
    """Verdicts on one prompt as battles of texts: one for each pair of texts, judge and template."""
    groups: dict[tuple[object, ...], list[Verdict]] = {}
    for verdict in verdicts:
        pair = frozenset({verdict.first_hash, verdict.second_hash})
        groups.setdefault((pair, verdict.judge, verdict.judge_hash, verdict.template_hash), []).append(verdict)
    found = []
    for some in groups.values():
        one, two = some[0].first_hash, some[0].second_hash
        seats = [
            sorted((v for v in some if (v.first_hash, v.second_hash) == seat), key=lambda v: v.sample)
            for seat in dict.fromkeys([(one, two), (two, one)])
        ]
        a_first, b_first = _final(seats[0]), _final(seats[-1])
        one_failed: OneSeatFailed = "use_one" if merging.lone and not all(seats) else merging.one_seat_failed
        battles = merge_pair(one, two, a_first, b_first, merging.rule, one_failed)
        found.append(Meeting(one, two, tuple(v for seat in seats for v in seat), battles))
    return found


def _final(seat: Sequence[Verdict]) -> Verdict | None:
    """The verdict that counts of those asked about a seat: the first with an outcome, else the last."""
    return next((v for v in seat if v.outcome is not None), seat[-1] if seat else None)


def contestants(row: Mapping[str, Any], hashes: Iterable[str], answers: Iterable[Response]) -> dict[str, str]:
    """Who battled for a row, and the hash of what each said.

    Samples of one model (``NAME#2``) battle among themselves: a row of such a pair is those two's.

    Args:
        row: names the authors of its texts.
        hashes: of the texts that its verdicts are over.
        answers: all answers to its prompt.
    """
    told, own = set(hashes), row_texts(row)
    named = {one.model: content_hash(list(one.texts)) for one in own if one.model}
    wrote = {one.model: one.text_hash for one in answers if one.text_hash in told}
    if any("#" in name for name in named):
        return named
    return {name: text for name, text in wrote.items() if "#" not in name} | named


def scores(
    who: Mapping[str, str], found: Sequence[Meeting], pairs: Iterable[tuple[str, str]] | None = None
) -> dict[str, tuple[float, int]]:
    """Mean score of each contestant over its battles, and how many these are; one without a battle is left out.

    Args:
        who: the contestants, and the hashes of their texts.
        found: one judge's meetings on the prompt.
        pairs: who met whom; all by default.
    """
    by_texts = {frozenset({one.one, one.two}): one for one in found}
    sums: dict[str, list[float]] = {name: [] for name in who}
    for a, b in combinations(who, 2) if pairs is None else pairs:
        meeting = by_texts.get(frozenset({who[a], who[b]}))
        for battle in () if meeting is None else meeting.battles:
            turned = battle.model_a != who[a]
            sums[a].append(battle.score_b if turned else battle.score_a)
            sums[b].append(battle.score_a if turned else battle.score_b)
    return {name: (sum(some) / len(some), len(some)) for name, some in sums.items() if some}


# ---------------------------------------------------------------------- rows and their files


class RowText(NamedTuple):
    """A text of a row: `role` is ``chosen``, ``rejected``, ``learned``, or ``sampled`` by the model in training."""

    role: str
    model: str
    texts: tuple[str, ...]


def row_texts(row: Mapping[str, Any]) -> list[RowText]:
    """The answers in a row: of a pair two, else one; of a prompt alone none. Later user turns are left out."""
    if "chosen" in row and "rejected" in row:
        pair = ("chosen", "rejected")
        return [RowText(one, str(row.get(f"{one}_model") or ""), _said(row[one])) for one in pair]
    if isinstance(row.get("text"), str) and "score" in row:
        return [RowText("sampled", "", (row["text"],))]
    asked = row_prompt(row)
    given = [*(row.get("prompt") or ()), *(row.get("completion") or ())] if "completion" in row else row.get("messages")
    said = _said((given or [])[len(asked) :]) if isinstance(given, list) else ()
    return [RowText("learned", str(row.get("model") or ""), said)] if said else []


def _said(turns: Any) -> tuple[str, ...]:
    if isinstance(turns, str):
        return (turns,)
    some = [turn for turn in turns or () if isinstance(turn, Mapping)]
    return tuple(str(turn.get("content")) for turn in some if turn.get("role") == "assistant")


def row_prompt(row: Mapping[str, Any]) -> list[JsonRow]:
    """The turns that a row's answer follows."""
    if isinstance(row.get("prompt"), list):
        return [dict(turn) for turn in row["prompt"] if isinstance(turn, Mapping)]
    if isinstance(row.get("prompt"), str):
        return [{"role": "user", "content": row["prompt"]}]
    turns = [dict(turn) for turn in row.get("messages") or () if isinstance(turn, Mapping)]
    return turns[:-1] if turns and turns[-1].get("role") == "assistant" else turns


def prompt_id_of(row: Mapping[str, Any]) -> str:
    """A row's prompt: as it says, or by the turns in it."""
    named = row.get("prompt_id")
    return str(named) if named else Prompt(tuple(row_prompt(row))).id


def row_files(directory: Path) -> dict[str, Path]:
    """The files of training rows of a run, by the stage that selected them (or ``pairs``)."""
    files = sorted((directory / "data").glob("*.jsonl"))
    return {one.stem: one for one in files if one.stem not in _NO_ROWS and not one.stem.endswith(_DROPPED)}


def dropped_files(directory: Path) -> dict[str, Path]:
    """The files of prompts that gave no row, by stage."""
    files = sorted((directory / "data").glob(f"*{_DROPPED}.jsonl"))
    return {one.stem.removesuffix(_DROPPED): one for one in files if one.stem not in _NO_ROWS}


def count_lines(path: Path) -> int:
    """How many lines a file has."""
    with open_regular(path) as file:
        return sum(1 for _ in file)


def lines_with(path: Path, words: Iterable[str]) -> Iterator[Place]:
    """The rows of a JSONL file whose line holds one of some words; others are passed over undecoded."""
    marks = [encode_json(word)[1:-1] for word in words]
    if not marks or not path.is_file():
        return
    with open_regular(path) as file:
        hits = {number: line for number, line in enumerate(file, 1) if any(mark in line for mark in marks)}
    for number, line in hits.items():
        yield Place(path, number, _row(path, number, line))


def names(row: Mapping[str, Any], word: str) -> bool:
    """Whether a row's columns name a prompt or a key; a text that quotes it does not."""
    keys = [row.get("verdicts"), row.get("judgements")]
    return row.get("prompt_id") == word or any(isinstance(some, list) and word in some for some in keys)


def row_at(path: Path, line: int) -> Place:
    """One row of a file.

    Raises:
        InputError: the file has no such line, or it holds no row.
    """
    if path.suffix == ".gz":
        for number, row in read_rows(path):
            if number == line:
                return Place(path, number, row)
        raise InputError(f"{path}: no line {line:,}")
    with open_regular(path) as file:
        found = next(islice(file, line - 1, None), None) if line > 0 else None
        if found is not None and found.strip():
            return Place(path, line, _row(path, line, found))
    raise InputError(f"{path}: no line {line:,}; it has {count_lines(path):,}")


def _row(path: Path, line: int, text: bytes) -> JsonRow:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        why = "not JSON" if isinstance(error, ValueError) else "nested too deeply"
        raise InputError(f"{path}, line {line}: {why}") from None
    if not isinstance(row, dict):
        raise InputError(f"{path}, line {line}: no JSON object")
    return row
