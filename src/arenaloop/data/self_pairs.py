"""A model's own judgements to training rows (arXiv 2401.10020, section 2.4; arXiv 2407.19594, sections 2.2 and 2.3).

Actor rows prefer one of a model's answers to another one by the scores that it gave them; judge rows prefer one of its
judgements of an answer to another one by the rewards that verdicts on them came to. Pure functions. What is dropped is
counted by reason; what could not be read has no score and is in no row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from arenaloop.data.export.described import told_of
from arenaloop.data.length_tiers import Pick, pick
from arenaloop.data.selection import Selection, preference_row, random_rows, sft_row
from arenaloop.jsonl import JsonRow
from arenaloop.ratings.meta_rewards import MetaRewards
from arenaloop.types import Judgement, Message, Preference, Prompt, Response

__all__ = ["Compared", "Scored", "actor_rows", "distinct", "judge_rows", "limited", "perfect_rows"]

_TOLERANCE = 1e-9


class Scored(NamedTuple):
    """An answer, the scores that could be read of its judgements, and the keys of those."""

    response: Response
    scores: tuple[float, ...]
    keys: tuple[str, ...] = ()

    @property
    def mean(self) -> float:
        """Of the scores, of which there are some."""
        return sum(self.scores) / len(self.scores)


class Compared(NamedTuple):
    """An answer whose judgements met each other.

    Attributes:
        asked: the judge's prompt, filled with prompt and answer.
        judgements: no two with the same words.
        verdicts: keys of the verdicts on them.
    """

    prompt: Prompt
    response: Response
    asked: Sequence[Message]
    judgements: Sequence[Judgement]
    verdicts: Sequence[str]


def _usable(answers: Iterable[Scored], min_scores: int, dropped: Counter[str]) -> list[Scored]:
    """Answers with enough scores, each text once."""
    found: dict[str, Scored] = {}
    for one in answers:
        if one.response.text_hash in found:
            dropped["answers that repeat another one"] += 1
        elif len(one.scores) < min_scores:
            dropped["answers without a score"] += 1
        else:
            found[one.response.text_hash] = one
    return list(found.values())


def actor_rows(
    prompts: Iterable[tuple[Prompt, Sequence[Scored]]],
    *,
    model: str,
    rho: float | None = 0.0,
    length: Callable[[Response], int] = lambda response: sum(map(len, response.texts)),
    max_chosen: int | None = None,
    min_scores: int = 1,
    allow_overlap: bool = False,
    by_spread: bool = False,
) -> Selection:
    """Pairs of one model's answers, one of each prompt at most.

    Args:
        prompts: each with its answers.
        model: who answered.
        rho: how much of the scores' range counts as equal, so that lengths decide (`length_tiers.pick`); None is the
            best against the worst whatever their lengths.
        length: of an answer.
        max_chosen: a pair whose chosen answer is longer is dropped.
        min_scores: an answer with fewer is left out.
        allow_overlap, by_spread: as of `pick`, by the variance of scores; without a ρ they decide nothing.
    """
    selection = Selection()
    for prompt, answers in prompts:
        kept = _usable(answers, min_scores, selection.dropped)
        means = [one.mean for one in kept]
        lengths = [0 if rho is None else length(one.response) for one in kept]
        spreads = [float(np.var(one.scores)) for one in kept] if by_spread and rho is not None else None
        found = pick(means, lengths, rho or 0.0, allow_overlap=allow_overlap, spreads=spreads)
        if not isinstance(found, Pick):
            selection.dropped[found] += 1
            continue
        chosen, rejected = kept[found.chosen], kept[found.rejected]
        margin = chosen.mean - rejected.mean
        selection.gaps[int(margin + _TOLERANCE)] += 1
        if max_chosen is not None and length(chosen.response) > max_chosen:
            selection.dropped["chosen answer too long"] += 1
            continue
        texts = chosen.response.texts, rejected.response.texts
        scores = chosen.mean, rejected.mean
        pair = Preference(prompt, *texts, model, model, margin, (*chosen.keys, *rejected.keys), scores)
        selection.preferences.append(pair)
        selection.rows.append(preference_row(pair))
    return selection


def perfect_rows(
    prompts: Iterable[tuple[Prompt, Sequence[Scored]]], *, model: str, most: float, min_scores: int = 1
) -> Selection:
    """Conversations with the answers that every judgement gave the most points, to be fine-tuned on."""
    selection = Selection()
    for prompt, answers in prompts:
        kept = _usable(answers, min_scores, selection.dropped)
        perfect = [one for one in kept if one.mean >= most - _TOLERANCE]
        if not perfect:
            selection.dropped["no answer with a perfect score"] += 1
        for one in perfect:
            row = sft_row(prompt, one.response.texts) | {"model": model, "prompt_id": prompt.id, **told_of(prompt)}
            selection.rows.append(row | {"verdicts": list(one.keys)})
    return selection


def distinct(judgements: Iterable[Judgement]) -> list[Judgement]:
    """Judgements that have a score, of equal words the first."""
    found: dict[str, Judgement] = {}
    for one in judgements:
        if one.score is not None:
            found.setdefault(one.text_hash, one)
    return list(found.values())


def judge_rows(
    compared: Sequence[Compared],
    rewards: MetaRewards,
    *,
    model: str,
    max_chosen: int | None = None,
    require_score_diff: bool = False,
) -> Selection:
    """Pairs of one model's judgements: of each answer the one with the highest reward against that with the lowest.

    Args:
        compared: answers with their judgements.
        rewards: of the same answers and judgements, in the same order.
        model: who judged.
        max_chosen: characters; a pair whose chosen judgement is longer is dropped, as verdicts favour wordy ones.
        require_score_diff: drop pairs whose judgements give the same score, instead of counting them
            (`Selection.tied_best`).
    """
    selection = Selection()
    for one, values, met in zip(compared, rewards.rewards, rewards.met, strict=True):
        there = [i for i in range(len(one.judgements)) if met[i]]
        if len(one.judgements) < 2:
            selection.dropped["fewer than 2 different judgements"] += 1
            continue
        if len(there) < 2 or max(values[there]) - min(values[there]) <= _TOLERANCE:
            selection.dropped["equal rewards"] += 1
            continue
        best = one.judgements[max(there, key=lambda i: (round(values[i], 9), -i))]
        worst = one.judgements[min(there, key=lambda i: (round(values[i], 9), i))]
        if best.raw == worst.raw:
            selection.dropped["equal texts"] += 1
        elif max_chosen is not None and len(best.raw) > max_chosen:
            selection.dropped["chosen judgement too long"] += 1
        elif require_score_diff and best.score == worst.score:
            selection.dropped["equal scores"] += 1
        else:
            selection.tied_best += best.score == worst.score
            margin = float(max(values[there]) - min(values[there]))
            selection.gaps[int(margin)] += 1
            selection.rows.append(_judge_row(one, best, worst, margin, model))
    return selection


def _judge_row(one: Compared, best: Judgement, worst: Judgement, margin: float, model: str) -> dict[str, Any]:
    return {
        "prompt": [dict(message) for message in one.asked],
        "chosen": [{"role": "assistant", "content": best.raw}],
        "rejected": [{"role": "assistant", "content": worst.raw}],
        "chosen_model": model,
        "rejected_model": model,
        "margin": margin,
        "prompt_id": one.prompt.id,
        "judgements": [best.key, worst.key],
        "verdicts": list(one.verdicts),
    }


def limited(
    actor: Sequence[JsonRow], judge: Sequence[JsonRow], share: float | None, seed: int
) -> tuple[list[JsonRow], int]:
    """Judge rows that may stand beside actor rows, drawn by a seed, and how many are left out.

    Args:
        actor, judge: the rows.
        share: that judge rows may have of both at most; None is no limit.
        seed: of the draw.
    """
    rows = list(judge)
    if share is None or share >= 1:
        return rows, 0
    most = int(share * len(actor) / (1 - share) + _TOLERANCE)
    if len(rows) <= most:
        return rows, 0
    return random_rows(rows, most, seed), len(rows) - most
