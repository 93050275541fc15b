"""Recorded answers: which belongs to which prompt, and their way into the arena file before the first call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from arenaloop.calls.answers import Contestant
from arenaloop.calls.prefetch import Material, materials
from arenaloop.errors import InputError
from arenaloop.models.recorded import RecordedAnswer, RecordedModel
from arenaloop.models.recorded_rows import LOOSE_FORMS, loose_keys, match_keys
from arenaloop.normal_form import is_blank
from arenaloop.ratings.cells import SHOWN, UNKNOWN_SHARE
from arenaloop.store import Store, Turn, TurnRow, recorded_key
from arenaloop.terminal import counted
from arenaloop.types import Completion, Prompt, Response, Status, content_hash

__all__ = [
    "PackedKeys",
    "ingest_pairs",
    "ingest_recorded",
    "match_recorded",
    "materials_to_be",
    "places",
    "recorded_failures",
    "recorded_notes",
    "recorded_rows",
]

_SIZE = 16  # bytes of a content hash
_NONE = bytes(_SIZE)


def places(prompt_ids: Iterable[str]) -> dict[str, int]:
    """A number for every prompt id, counted from 0; what all `PackedKeys` of a run share."""
    return {prompt_id: number for number, prompt_id in enumerate(dict.fromkeys(prompt_ids))}


class PackedKeys(Mapping[str, str]):
    """Response keys of one contestant by prompt id, 16 bytes each (a text and its place in a dict take ten times that).

    Args:
        place: from `places`.
    """

    __slots__ = ("_count", "_keys", "_place")

    def __init__(self, place: Mapping[str, int]) -> None:
        self._place = place
        self._keys = bytearray(_SIZE * len(place))
        self._count = 0

    def add(self, prompt_id: str, key: str) -> None:
        """Keep a key of 32 hex digits; the first one of a prompt stands.

        Raises:
            KeyError: the prompt has no place.
        """
        at = _SIZE * self._place[prompt_id]
        if self._keys[at : at + _SIZE] == _NONE:
            self._keys[at : at + _SIZE] = bytes.fromhex(key)
            self._count += 1

    def __getitem__(self, prompt_id: str) -> str:
        at = _SIZE * self._place[prompt_id]
        key = self._keys[at : at + _SIZE]
        if key == _NONE:
            raise KeyError(prompt_id)
        return key.hex()

    def __iter__(self) -> Iterator[str]:
        return (prompt_id for prompt_id in self._place if prompt_id in self)

    def __len__(self) -> int:
        return self._count


def match_recorded(
    contestants: Sequence[Contestant], prompts: Iterable[Prompt], *, allow_missing: bool = False
) -> dict[str, PackedKeys]:
    """Find which recorded answer belongs to which prompt, without keeping the texts; a prompt may come repeatedly.

    Returns:
        For each recorded contestant, response keys by prompt id.

    Raises:
        InputError: a file lacks answers for some prompts (says how many), unless `allow_missing`; it is malformed, or
            contradicts itself in more than `UNKNOWN_SHARE` of its rows.
    """
    recorded = [c for c in contestants if isinstance(c.model, RecordedModel)]
    if not recorded:
        return {}
    prompts = {prompt.id: prompt for prompt in prompts}.values()
    ids_by_key = _ids_by_key(prompts)
    turns = {prompt.id: prompt.turns for prompt in prompts}
    place = places(turns)
    found: dict[str, PackedKeys] = {}
    for c in recorded:
        assert isinstance(c.model, RecordedModel)
        keys = found.setdefault(c.name, PackedKeys(place))
        unlike = Counter[tuple[int, int]]()  # turns of an answer, and of its prompt
        for answer in c.model.rows():
            for prompt_id in {i for key in answer.keys for i in ids_by_key.get(key, ())}:
                if len(answer.texts) == turns[prompt_id]:
                    keys.add(prompt_id, recorded_key(prompt_id, answer.texts, answer.statuses))
                else:
                    unlike[len(answer.texts), turns[prompt_id]] += 1
        _refuse_doubts(c.model)
        missing = len(prompts) - len(keys)
        if missing and not allow_missing:
            why = _why_missing(c.model, [prompt for prompt in prompts if prompt.id not in keys], unlike)
            raise InputError(
                f"{c.model.path}: no answer for {missing} of {len(prompts)} prompts{why} "
                f"({c.name}; --allow-missing, in a recipe allow_missing: true, goes on with the rest)"
            )
    return found


def _refuse_doubts(model: RecordedModel) -> None:
    count = sum(map(len, model.doubts.values()))
    if count > UNKNOWN_SHARE * model.read:
        rows = f"{count:,} of {model.read:,} rows"
        raise InputError(f"{model.path}: it contradicts itself in {rows}: {_doubts(model)}; keep one of them")


def _doubts(model: RecordedModel) -> str:
    return "; ".join(
        f"{what} ({len(at):,}, first {model.place}{'s' if len(at) > 1 else ''} {', '.join(map(str, at[:2]))})"
        for what, at in model.doubts.items()
    )


def _failed(model: RecordedModel) -> str:
    """What stands in the place of answers, the commonest first."""
    shown = ", ".join(f"{what} ({count:,})" for what, count in model.failures.most_common(SHOWN))
    return shown + (f" and {rest:,} others" if (rest := len(model.failures) - SHOWN) > 0 else "")


def _other_turns(unlike: Mapping[tuple[int, int], int]) -> str:
    """That answers have more or fewer turns than their prompts, and what to do, in words."""
    told = [
        f"{counted(rows, 'answer')} of {counted(said, 'turn')} to prompts of {counted(asked, 'user turn')}"
        for (said, asked), rows in sorted(unlike.items())
    ]
    more, fewer = (any(way * said > way * asked for said, asked in unlike) for way in (1, -1))
    cut = "cut the answers' turns to those of the prompts, or give the prompts all of theirs" if more else ""
    leave = "give the prompts without the later user turns, or answers to all of them" if fewer else ""
    return f"{', '.join(told)}: {'; '.join(filter(None, (cut, leave)))}"


def _why_missing(
    model: RecordedModel, prompts: Sequence[Prompt], unlike: Mapping[tuple[int, int], int] | None = None
) -> str:
    """What a user may not see in the file: calls that failed, other turns, and prompts written in another way."""
    reasons = [_other_turns(unlike)] if unlike else []
    if model.failed:
        rows = "1 row holds" if model.failed == 1 else f"{model.failed:,} rows hold"
        reasons.append(f"{rows} no answer but a failed call's mark: {_failed(model)}")
    if model.doubts:
        reasons.append(f"left out in doubt: {_doubts(model)}")
    there = {key for keys in model.loose_rows(str) for key in keys}  # those that failed or are in doubt, too
    absent = [prompt for prompt in prompts if there.isdisjoint(match_keys(prompt))]
    for what, form in LOOSE_FORMS.items() if absent else ():
        there = {key for keys in model.loose_rows(form) for key in keys}
        if alike := sum(1 for prompt in absent if loose_keys(prompt, form) & there):
            reasons.append(f"{alike:,} of them differ from a prompt of the file in {what} only")
            break
    return f": {'; '.join(reasons)}" if reasons else ""


def recorded_failures(contestants: Sequence[Contestant]) -> dict[str, int]:
    """Rows of each recorded contestant that hold a failed call's mark instead of an answer, as last read."""
    models = ((c.name, c.model) for c in contestants)
    return {name: model.failed for name, model in models if isinstance(model, RecordedModel) and model.failed}


def recorded_notes(contestants: Sequence[Contestant]) -> list[str]:
    """What a reader of results should know of the files of recorded answers, as last read: a line for each kind."""
    notes = []
    for c in contestants:
        if not isinstance(model := c.model, RecordedModel):
            continue
        if model.failed:
            notes.append(
                f"{c.name}: failed calls in the place of answers in its file: {model.failed:,}: {_failed(model)}"
            )
        if model.doubts:
            notes.append(f"{c.name}: recorded answers left out, its file contradicts itself: {_doubts(model)}")
        if model.cut:
            words = ", ".join(f"{word} ({count:,})" for word, count in model.cut.most_common(SHOWN))
            notes.append(f"{c.name}: recorded answers that are not whole, by their finish reason: {words}")
        notes += [f"{c.name}: {line}" for line in model.odd.lines("recorded answers")]
        if len(model.writers) > 1:
            names = ", ".join(f"{name} ({count:,})" for name, count in model.writers.most_common(SHOWN))
            notes.append(f"{c.name}: its file names {len(model.writers):,} models, rated as one: {names}")
    return notes


def _ids_by_key(prompts: Iterable[Prompt]) -> dict[str, list[str]]:
    """Prompt ids by match key; prompts that differ in their system message alone share the key of their text."""
    ids: dict[str, list[str]] = {}
    for prompt in prompts:
        for key in match_keys(prompt):
            ids.setdefault(key, []).append(prompt.id)
    return ids


def recorded_rows(
    store: Store | None,
    contestants: Sequence[Contestant],
    prompts: Sequence[Prompt],
    found: Mapping[str, Mapping[str, str]],
) -> Iterator[list[TurnRow]]:
    """The turns of each matched recorded answer that the arena file lacks; a file that lacks nothing is not read."""
    for c in contestants:
        if not isinstance(c.model, RecordedModel):
            continue
        keys = found.get(c.name, {})
        lacking = {p.id for p in prompts if p.id in keys and (store is None or store.turn(keys[p.id], 0) is None)}
        ids_by_key = _ids_by_key(p for p in prompts if p.id in lacking)
        for answer in c.model.rows() if lacking else ():
            for prompt_id in {i for key in answer.keys for i in ids_by_key.get(key, ())} & lacking:
                if (key := recorded_key(prompt_id, answer.texts, answer.statuses)) == keys[prompt_id]:
                    lacking.remove(prompt_id)
                    turns = range(len(answer.texts))
                    yield [_recorded_row(key, turn, prompt_id, c.name, answer) for turn in turns]


def ingest_recorded(
    store: Store, contestants: Sequence[Contestant], prompts: Sequence[Prompt], found: Mapping[str, Mapping[str, str]]
) -> None:
    """Copy the matched recorded answers into the arena file; those already there are left alone."""
    for rows in recorded_rows(store, contestants, prompts, found):
        store.add_turns(rows)
    store.flush()


def ingest_pairs(store: Store, pairs: Iterable[tuple[Prompt, Response, Response]]) -> None:
    """Put prompts and both texts of every pair into the arena file, so that verdicts can be read without their file."""
    prompts: dict[str, Prompt] = {}
    seen: set[str] = set()
    for prompt, *both in pairs:
        if prompt.id not in prompts:
            prompts[prompt.id] = prompt
            store.add_prompts([prompt])
        for response in both:
            key = recorded_key(prompt.id, response.texts)
            if key in seen or store.turn(key, 0) is not None:
                continue
            seen.add(key)
            said = [Completion(text=text, finish_reason="recorded", usd=0.0, calls=0) for text in response.texts]
            store.add_turns(
                (key, turn, prompt.id, response.model, completion, content_hash(list(response.texts[: turn + 1])))
                for turn, completion in enumerate(said)
            )
    store.flush()


def materials_to_be(
    store: Store | None,
    contestants: Sequence[Contestant],
    prompts: Sequence[Prompt],
    found: Mapping[str, Mapping[str, str]],
) -> Iterator[Material]:
    """The material of each prompt as it will be once prompts and recorded answers are in the arena file."""
    lacking: dict[str, dict[tuple[str, int], Turn]] = {}
    for rows in recorded_rows(store, contestants, prompts, found):
        for row in rows:
            turn = row.completion.text, row.completion.status, row.text_hash
            lacking.setdefault(row.prompt_id, {})[row.key, row.turn] = turn
    stored = iter(()) if store is None else materials(store, [prompt.id for prompt in prompts])
    following = next(stored, None)
    for prompt in prompts:
        material = Material(prompt)
        if following is not None and following.prompt.id == prompt.id:
            material, following = following, next(stored, None)
            if prompt.references:  # which it may lack so far
                material.prompt = prompt
        material.turns |= lacking.get(prompt.id, {})
        yield material


def _recorded_row(key: str, turn: int, prompt_id: str, name: str, answer: RecordedAnswer) -> TurnRow:
    text, whole = answer.texts[turn], Status.EMPTY if is_blank(answer.texts[turn]) else Status.OK
    told = answer.statuses[turn] if answer.statuses else Status.OK
    status, reason = (whole, "recorded") if told is Status.OK else (told, answer.ends[turn])
    completion = Completion(text=text, status=status, finish_reason=reason, usd=0.0, calls=0)
    return TurnRow(key, turn, prompt_id, name, completion, content_hash(list(answer.texts[: turn + 1])))
