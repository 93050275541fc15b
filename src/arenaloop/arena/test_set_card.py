"""What a test set is, in figures: sizes, difficulty, categories, clusters with examples; and its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from math import fsum
from statistics import median
from typing import Any

import numpy as np

from arenaloop.arena.test_set_plan import TestSet
from arenaloop.data.prompts import prompt_row, user_text
from arenaloop.types import Prompt

__all__ = ["UNKNOWN", "card", "rows"]

UNKNOWN = "unknown"
"""The category of prompts that have none."""
_EXAMPLE = 300  # characters of a cluster's example


def rows(test: TestSet, numbers: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Rows of a prompt file, each with what the test set knows of it beside the tags that it came with."""
    diverse, hard = set(test.diverse), set(test.hard)
    for at in numbers:
        prompt = test.plan.prompts[at]
        own = {
            "prompt_id": prompt.id,
            "split": "+".join(name for name, some in (("diverse", diverse), ("hard", hard)) if at in some),
            "cluster": int(test.clusters.labels[at]),
            "difficulty": test.difficulty(at),
            "category": test.categories.get(at),
        }
        source = {"source_id": prompt.tags["source_id"]} if "source_id" in prompt.tags else {}
        tags = {name: value for name, value in prompt.tags.items() if name not in (*own, *source)}
        yield {**prompt_row(prompt), **source, **own, **({"tags": tags} if tags else {})}


def card(test: TestSet) -> dict[str, Any]:
    """The card as one JSON document; texts in it are as they stand, clipped."""
    plan, sizes = test.plan, np.bincount(test.clusters.labels, minlength=test.plan.clusters)
    sets = {"diverse": test.diverse, "hard": test.hard, "mix": test.mix}
    return {
        "pool": _about([*range(len(plan.prompts))], plan.prompts),
        "embeddings": plan.embeddings,
        "seed": plan.seed,
        "disjoint": plan.disjoint,
        "clusters": {
            "clusters": plan.clusters,
            "smallest": int(sizes.min()),
            "median": float(median(sizes.tolist())),
            "largest": int(sizes.max()),
        },
        "sets": {name: _about(some, plan.prompts) | _difficulty_of(test, some) for name, some in sets.items()},
        "wanted": {"diverse": plan.diverse, "hard": plan.hard},
        "difficulty": _difficulty(test),
        "categories": _categories(test),
        "categories_unread": test.unsorted,
        "map": _map(test, sizes.tolist()),
    }


def _about(numbers: Sequence[int], prompts: Sequence[Prompt]) -> dict[str, Any]:
    some = [prompts[at] for at in numbers]
    turns = [sum(m["role"] == "user" for m in prompt.messages) + len(prompt.follow_ups) for prompt in some]
    lengths = [len(user_text(prompt)) for prompt in some]
    return {
        "prompts": len(some),
        "multi_turn": sum(count > 1 for count in turns),
        "mean_characters": fsum(lengths) / len(lengths) if lengths else None,
    }


def _difficulty_of(test: TestSet, numbers: Sequence[int]) -> dict[str, Any]:
    scores = [test.difficulty(at) for at in numbers]
    known = [score for score in scores if score is not None]
    mean = _mean(known) if len(known) == len(scores) else None  # the diverse ones are not rated, but for chance
    return {"clusters": len({int(test.clusters.labels[at]) for at in numbers}), "mean_difficulty": mean}


def _mean(values: Sequence[float]) -> float | None:
    return fsum(values) / len(values) if values else None


def _difficulty(test: TestSet) -> dict[str, Any] | None:
    """The ratings, with how many prompts of each whole number there are; 7 holds those from 7 to below 8."""
    if test.plan.judge is None or not test.rated:
        return None
    known = {at: score for at in test.rated if (score := test.difficulty(at)) is not None}
    bins = Counter(int(score) for score in known.values())
    chosen = Counter(int(known[at]) for at in test.hard)
    cut = min((known[at] for at in test.hard), default=None)
    at_cut = sum(score == cut for score in known.values())
    return {
        "judge": test.plan.judge.name,
        "rated": len(test.rated),
        "with_score": len(known),
        "failed": dict(test.failed),
        "mean": _mean([*known.values()]),
        "cut": cut,
        "at_cut": at_cut,
        "at_cut_chosen": sum(known[at] == cut for at in test.hard),
        "histogram": [{"difficulty": one, "rated": bins[one], "hard": chosen[one]} for one in range(11)],
    }


def _categories(test: TestSet) -> list[dict[str, Any]]:
    """How many prompts of each set have a category, the most frequent first, what is unknown last."""
    of = {at: name or UNKNOWN for at, name in test.categories.items()}
    counts = {name: Counter(of[at] for at in some) for name, some in (("diverse", test.diverse), ("hard", test.hard))}
    total = counts["diverse"] + counts["hard"]
    order = sorted(total, key=lambda name: (name == UNKNOWN, -total[name], name))
    return [{"category": name, **{which: count[name] for which, count in counts.items()}} for name in order]


def _map(test: TestSet, sizes: Sequence[int]) -> list[dict[str, Any]]:
    labels = test.clusters.labels
    of = {name: Counter(labels[list(some)].tolist()) for name, some in (("diverse", test.diverse), ("hard", test.hard))}
    scores: dict[int, list[float]] = {}
    for at in test.rated:
        if (score := test.difficulty(at)) is not None:
            scores.setdefault(int(labels[at]), []).append(score)
    return [
        {
            "cluster": one,
            "prompts": sizes[one],
            "diverse": of["diverse"][one],
            "hard": of["hard"][one],
            "mean_difficulty": _mean(scores.get(one, ())),
            "x": float(test.clusters.places[one, 0]),
            "y": float(test.clusters.places[one, 1]),
            "examples": [user_text(test.plan.prompts[at])[:_EXAMPLE] for at in test.clusters.nearest[one] if at >= 0],
        }
        for one in range(test.plan.clusters)
    ]
