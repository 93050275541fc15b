"""Pairs of answers to be labelled: from a file of pairs, from two files of answers, from samples of one model."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from arenaloop.calls.answers import Contestant
from arenaloop.calls.recorded import match_recorded, recorded_notes
from arenaloop.data.formats.labels import label_of
from arenaloop.data.formats.training_rows import read_preference
from arenaloop.data.prompts import read_prompt
from arenaloop.errors import InputError
from arenaloop.jsonl import JsonRow, row_error
from arenaloop.judges.annotators import Pair
from arenaloop.models.recorded import RecordedModel
from arenaloop.models.recorded_rows import match_keys
from arenaloop.normal_form import is_blank
from arenaloop.ratings.cells import LeftOut
from arenaloop.tables import file_error, table_rows
from arenaloop.terminal import counted
from arenaloop.types import Prompt, Response, Status

__all__ = ["PairSet", "holds_pairs", "pair_row", "read_head_to_head", "read_pairs", "read_samples", "seed_key"]

_TWO = ("output_1", "response_a", "conversation_a", "chosen")


@dataclass(frozen=True)
class PairSet:
    """Pairs, each once.

    Attributes:
        pairs: in the order of the file.
        repeated: pairs that came again, turned or not, and were left out.
        notes: what a reader should know of the files.
    """

    pairs: tuple[Pair, ...]
    repeated: int = 0
    notes: tuple[str, ...] = ()


def holds_pairs(path: Path) -> bool:
    """Whether the rows of a file hold two answers each."""
    return any(name in next(table_rows(path), (0, {}))[1] for name in _TWO)


def seed_key(prompt: Prompt, row: JsonRow) -> str:
    """What seeds the draws of a row: instruction and input without a separator, as AlpacaFarm has them."""
    if isinstance(row.get("instruction"), str):
        return f"{row['instruction']}{row.get('input') or ''}"
    return "".join(message["content"] for message in prompt.messages)


def pair_row(prompt: Prompt, one: Response, two: Response) -> JsonRow:
    """Two answers as label files have them."""
    if prompt.follow_ups:
        return {
            "conversation_a": prompt.conversation(one.texts),
            "conversation_b": prompt.conversation(two.texts),
            "model_a": one.model,
            "model_b": two.model,
        }
    plain = len(prompt.messages) == 1
    asked: JsonRow = {"instruction": prompt.last_user} if plain else {"messages": list(prompt.messages)}
    return asked | {
        "output_1": one.texts[0],
        "output_2": two.texts[0],
        "generator_1": one.model,
        "generator_2": two.model,
    }


def read_pairs(path: Path) -> PairSet:
    """The pairs of a file in any form that label files or training rows have (see `labels` and `training_rows`).

    Preferences in it do not matter.

    Raises:
        InputError: the file cannot be read, or too many rows are no pairs.
    """
    found: list[Pair] = []
    bad, rows = LeftOut("a pair of answers"), 0
    for line, row in table_rows(path):
        rows += 1
        try:
            found.append(_preferred(row) if "chosen" in row else _labelled(line, row))
        except ValueError as error:
            bad.add(str(error), f"line {line}")
    try:
        notes = bad.notes(rows)
    except ValueError as error:
        raise file_error(path, error) from None
    return _once(path, found, notes)


def _labelled(line: int, row: JsonRow) -> Pair:
    read = label_of(line, row)
    names = (name or f"output_{at}" for at, name in enumerate(read.generators, 1))
    one, two = (_response(read.prompt, *of) for of in zip(names, read.outputs, strict=True))
    return Pair(read.prompt, one, two, seed_key(read.prompt, row))


def _preferred(row: JsonRow) -> Pair:
    """The chosen and the rejected answer of a training row."""
    read = read_preference(row)
    roles = [[turn["role"] for turn in side] for side in (read.chosen, read.rejected)]
    asked = [[turn["content"] for turn in side[1::2]] for side in (read.chosen, read.rejected)]
    if asked[0] != asked[1] or any(one != (["assistant", "user"] * len(one))[: len(one)] for one in roles):
        raise ValueError(
            "columns chosen and rejected: user and assistant do not take turns, or the user differs in them"
        )
    prompt = Prompt(tuple(read.prompt), tuple(asked[0]))
    one, two = (
        _response(prompt, str(row.get(f"{name}_model") or name), tuple(turn["content"] for turn in side[::2]))
        for name, side in (("chosen", read.chosen), ("rejected", read.rejected))
    )
    return Pair(prompt, one, two, seed_key(prompt, row))


def read_head_to_head(
    one: Contestant, two: Contestant, prompts: Path | None = None, *, allow_missing: bool = False
) -> PairSet:
    """Two models' recorded answers to the same prompts, joined by prompt.

    Args:
        one, two: contestants whose answers are recorded.
        prompts: a prompt file; by default the prompts of the first answers.
        allow_missing: leave prompts out that one of the two has not answered.

    Raises:
        InputError: a file cannot be read, or lacks answers.
    """
    models = [model for c in (one, two) if isinstance(model := c.model, RecordedModel)]
    assert len(models) == 2
    source = Path(models[0].path) if prompts is None else prompts
    asked = dict(_prompts(source))
    matched = match_recorded([one, two], [prompt for prompt, _ in asked.values()], allow_missing=allow_missing)
    if not all(matched.values()) or not asked:
        empty = next((name for name, keys in matched.items() if not keys), one.name)
        raise InputError(f"{empty}: no answer to any of the {len(asked):,} prompts of {source}")
    answers = [_answers(model.rows()) for model in models]
    found = []
    for prompt, key in asked.values():
        texts = [next((some[k] for k in match_keys(prompt) if k in some), None) for some in answers]
        if texts[0] is not None and texts[1] is not None:
            first, second = _response(prompt, one.name, texts[0]), _response(prompt, two.name, texts[1])
            found.append(Pair(prompt, first, second, key))
    lacking = len(asked) - len(found)
    notes = [f"{lacking:,} of {len(asked):,} prompts without both answers left out"] if lacking else []
    return _once(source, found, [*notes, *recorded_notes([one, two])])


def read_samples(model: RecordedModel, seed: int = 0) -> PairSet:
    """Several answers of one model to each prompt, each beside another one: a derangement of them that the seed draws.

    Raises:
        InputError: the file cannot be read, or no prompt has two answers.
    """
    path = Path(model.path)
    samples: dict[str, list[tuple[str, ...]]] = {}
    for answer in model.rows(samples=True):
        for key in answer.keys[:1]:
            samples.setdefault(key, []).append(answer.texts)
    found, alone = [], 0
    for prompt, key in dict(_prompts(path)).values():
        texts = next((samples[k] for k in match_keys(prompt) if k in samples), [])
        if len(texts) < 2:
            alone += 1
            continue
        for at, other in enumerate(deranged(len(texts), f"derangement{key}{seed}")):
            one, two = _response(prompt, model.name, texts[at]), _response(prompt, model.name, texts[other])
            found.append(Pair(prompt, one, two, key))
    if not found:
        raise InputError(f"{path}: no prompt has two answers: give a second file of answers, or samples of one model")
    notes = [f"{counted(alone, 'prompt')} with less than two answers left out"] if alone else []
    return _once(path, found, [*notes, *recorded_notes([Contestant(model.name, model)])])


def deranged(count: int, seed: str) -> list[int]:
    """The numbers below `count` in an order that leaves none in its place, each such order as likely as any other."""
    draw, order = random.Random(seed), list(range(count))
    while any(at == number for at, number in enumerate(order)):
        draw.shuffle(order)
    return order


def _prompts(path: Path) -> Iterator[tuple[str, tuple[Prompt, str]]]:
    for line, row in table_rows(path):
        try:
            prompt = read_prompt(row)
        except ValueError as error:
            raise row_error(
                path, line, f"{error}; --prompts FILE names the prompts of answers without their own"
            ) from None
        yield prompt.id, (prompt, seed_key(prompt, row))


def _answers(rows: Iterable[object]) -> Mapping[str, tuple[str, ...]]:
    return {key: row.texts for row in rows for key in row.keys}  # type: ignore[attr-defined]


def _response(prompt: Prompt, name: str, texts: tuple[str, ...]) -> Response:
    return Response(prompt.id, name, texts, Status.EMPTY if all(map(is_blank, texts)) else Status.OK)


def _once(path: Path, pairs: Sequence[Pair], notes: Sequence[str]) -> PairSet:
    """Each pair once, whichever way round it comes."""
    if not pairs:
        raise InputError(f"{path}: no pairs of answers in it")
    kept: dict[tuple[str, ...], Pair] = {}
    for pair in pairs:
        kept.setdefault((pair.prompt.id, *sorted((pair.one.text_hash, pair.two.text_hash))), pair)
    return PairSet(tuple(kept.values()), len(pairs) - len(kept), tuple(notes))
