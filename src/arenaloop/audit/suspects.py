"""Which of the stored answers look written for the judge: one pass over the arena file, counts by model.

Flags are reasons to look. No answer is dropped for one, and no battle.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from arenaloop.audit.suspicion import REASONS, Sameness, marks
from arenaloop.store import Store

__all__ = ["Example", "Suspect", "flag_counts", "suspects", "suspicious_line"]

_EXAMPLES = 3
"""examples kept of each flag of a model"""

_SAYS = {
    "addresses_judge": "address the judge",
    "verdict": "hold a verdict",
    "delimiters": "imitate the judge's markers",
    "role_tags": "hold chat tags",
    "hidden_characters": "hide characters",
    "padding": "are padded",
    "repeated_text": "repeat themselves",
    "empty": "are empty",
    "constant": "say the same to many prompts",
}


class Example(NamedTuple):
    """One flagged answer: which flag, under which prompt, and the words that raised it."""

    flag: str
    prompt_id: str
    clip: str


@dataclass(frozen=True, slots=True)
class Suspect:
    """One model's flags.

    Attributes:
        answers: how many were looked at (one per turn; of very many a fixed sample).
        flagged: how many of them carry a flag of their own.
        flags: answers by flag, in the order of `REASONS`; ``constant`` is counted among at most 1,000 of them.
        examples: up to three of each flag.
    """

    model: str
    answers: int
    flagged: int
    flags: Mapping[str, int]
    examples: Sequence[Example]


def suspects(store: Store, models: Collection[str], *, limit: int = 20_000) -> list[Suspect]:
    """Look at the answers that are stored under these names (committed rows), in the order of the names.

    Models without a flag are listed too, with no flags.

    Args:
        store: the arena file.
        models: whose answers to look at.
        limit: about how many answers of a model are looked at: of more, those to every n-th prompt by hash.
    """
    names = dict.fromkeys(models)
    every = {model: -(-n // limit) for model, n in store.answers_by_model().items()}
    answers: Counter[str] = Counter()
    flagged: Counter[str] = Counter()
    flags = {name: Counter[str]() for name in names}
    examples: dict[str, list[Example]] = {name: [] for name in names}
    same = {name: Sameness() for name in names}
    for prompt_id, model, text in store.answers():
        if model not in names or (every[model] > 1 and zlib.crc32(prompt_id.encode()) % every[model]):
            continue
        answers[model] += 1
        found = marks(text)
        flagged[model] += bool(found)
        for mark in found:
            flags[model][mark.flag] += 1
            if flags[model][mark.flag] <= _EXAMPLES:
                examples[model].append(Example(mark.flag, prompt_id, mark.clip))
        same[model].add(prompt_id, text)
    out = []
    for model in names:
        constant = same[model].found()
        if constant.constant:
            flags[model]["constant"] = constant.constant
            examples[model] += [Example("constant", one, constant.clip) for one in constant.prompts]
        ordered = {flag: flags[model][flag] for flag in REASONS if flags[model][flag]}
        shown = [one for flag in ordered for one in examples[model] if one.flag == flag]
        out.append(Suspect(model, answers[model], flagged[model], ordered, shown))
    return out


def flag_counts(found: Sequence[Suspect]) -> dict[str, dict[str, int]]:
    """What ``summary.json`` holds as ``suspicious``: {model: {flag: answers}}, of models that have any."""
    return {one.model: dict(one.flags) for one in found if one.flags}


def suspicious_line(found: Sequence[Suspect]) -> str:
    """One line for people; empty where nothing was flagged.

    The commonest flag of each of the three models that have most; empty answers alone are not worth the line.
    """
    told = []
    for one in found:
        counts = {flag: n for flag, n in one.flags.items() if flag != "empty"}
        if counts:
            flag = max(counts, key=lambda name: counts[name])
            told.append((counts[flag], f"{counts[flag]:,} of {one.answers:,} answers of {one.model} {_SAYS[flag]}"))
    told.sort(key=lambda item: -item[0])
    more = f"; {len(told) - 3} more models" if len(told) > 3 else ""
    return "; ".join(text for _, text in told[:3]) + more if told else ""
