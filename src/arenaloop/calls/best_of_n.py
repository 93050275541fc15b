"""The best of a contestant's samples becomes its answer: one more row, which says which sample won."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from arenaloop.calls.prefetch import Material
from arenaloop.errors import StoppedError, UserError
from arenaloop.models.best_of_n import BestOfN, choose
from arenaloop.store import Store, TurnRow, whole_response
from arenaloop.types import Completion, Response, Status, content_hash

__all__ = ["choose_best", "chosen"]

_ROOM = "best_of_n"
"""Room of the notes that hold, by the answer's key, which sample won and the rewards of all."""


async def choose_best(
    best: BestOfN, name: str, key: str, sample_keys: Sequence[str], material: Material, store: Store, *, sample: int = 0
) -> Response | None:
    """Choose among stored samples, and store the choice as the answer of the contestant `name`.

    The answer's `sample` is the number of the one that won, and its finish reason says of how many it is the best.
    Samples that failed or have no reward are out of the choice. Where nothing is left the answer is a failure with its
    reason; the samples that failed are asked again on the next run.

    Args:
        best: who chooses.
        key: of the answer; `sample_keys` of the samples.
        material: of the prompt; what is chosen is noted there.
        sample: which of several such answers to the prompt this one is.

    Raises:
        StoppedError: the reward fails.
    """
    prompt = material.prompt
    samples = [store.response(one, prompt, name) for one in sample_keys]
    try:
        rewards = await asyncio.to_thread(best.rewards, prompt, samples)  # a reward model computes, a function may wait
    except UserError as error:  # it had answered before the first call
        raise StoppedError(f"{name}: {error}") from error
    winner = choose(rewards)
    told = [value if value is not None and math.isfinite(value) else None for value in rewards]
    rows: list[TurnRow] = []
    before: list[str] = []
    for turn in range(prompt.turns if winner is not None else 1):
        said = None if winner is None else store.turn(sample_keys[winner], turn)
        if said is None:
            completion = _failed(samples)
        else:
            reason = f"best_of_{sum(value is not None for value in told)}"
            completion = Completion(text=said[0], status=said[1], finish_reason=reason, usd=0.0, calls=0)
        before.append(completion.text)
        text_hash = content_hash(list(before))
        number = sample if winner is None else sample * best.n + winner
        rows.append(TurnRow(key, turn, prompt.id, name, completion, text_hash, number))
        material.turns[key, turn] = completion.text, completion.status, text_hash
    store.put_note(_ROOM, key, {"sample": winner, "rewards": told}, wait=False)
    store.add_turns(rows)
    return whole_response(prompt, name, lambda turn: store.turn(key, turn))


def chosen(store: Store, key: str) -> tuple[int | None, list[float | None]]:
    """Which sample won of a stored answer, and the rewards of all; none of an answer that is no choice."""
    note = store.note(_ROOM, key)
    return (None, []) if note is None else (note["sample"], note["rewards"])


def _failed(samples: Sequence[Response | None]) -> Completion:
    """What stands for the choice where nothing can be chosen."""
    fit = sum(one is not None and one.battles for one in samples)
    refused = all(one is not None and one.status is Status.REFUSED for one in samples)
    why = f"the reward took none of the {fit:,} samples that are there" if fit else "no sample is there"
    status = Status.REFUSED if refused else Status.ERROR
    return Completion(status=status, error=f"best of {len(samples):,}: {why}", usd=0.0, calls=0)
