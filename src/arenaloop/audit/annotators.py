"""What people's labels say of those who gave them: a table to fit, and a pool that is like them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from arenaloop.data.formats.labels import Label
from arenaloop.judges.synthetic import doublings, holds_list
from arenaloop.models.reward import Reward
from arenaloop.ratings.annotator_fit import AnnotatorFit, LabelTable
from arenaloop.terminal import counted
from arenaloop.types import content_hash

__all__ = ["label_table", "synthetic_members"]

_SHARPEST, _DULLEST = 1e-3, 1e3  # noise in standard deviations of worth, as far as it is written


def label_table(labels: Sequence[Label], reward: Reward | None = None) -> tuple[LabelTable, list[str]]:
    """Labels as numbers, and what was left out.

    Args:
        labels: of people; those of one pair may come either way round. The first output sat first where the file does
            not tell.
        reward: what says what an output is worth.
    """
    notes: list[str] = []
    decided = [label for label in labels if label.preference is not None and label.preference != 1.5]
    if ties := sum(1 for label in labels if label.preference == 1.5):
        notes.append(f"{counted(ties, 'tie')} left out: annotators of the fitted kind choose")
    if failed := len(labels) - len(decided) - ties:
        notes.append(f"{counted(failed, 'label')} of the file left out: null")
    same = [label for label in decided if label.outputs[0] == label.outputs[1]]
    if same:
        notes.append(f"{counted(len(same), 'label')} of two equal outputs left out")
        decided = [label for label in decided if label.outputs[0] != label.outputs[1]]
    if drawn := sum(1 for label in decided if label.annotator == "noise"):  # as `annotate` names what nobody gave
        notes.append(f"{counted(drawn, 'label')} drawn by noise left out")
        decided = [label for label in decided if label.annotator != "noise"]
    worth = None if reward is None else _worth(decided, reward)
    if worth is not None and (unknown := int(np.isnan(worth).sum())):
        notes.append(f"{counted(unknown, 'label')} left out: the reward gives one of their outputs no score")
        decided = [label for label, one in zip(decided, worth, strict=True) if not np.isnan(one)]
        worth = worth[~np.isnan(worth)]
    if any(label.seat is None for label in decided):
        notes.append("the file does not tell who sat first: its first output is taken for that")
    pairs: dict[tuple[str, ...], tuple[int, list[str]]] = {}
    names: dict[str, int] = {}
    rows = []
    for label in decided:
        hashes = [content_hash(list(texts)) for texts in label.outputs]
        number, order = pairs.setdefault((label.prompt.id, *sorted(hashes)), (len(pairs), hashes))
        turned = hashes != order  # all labels of a pair as its first one is
        sign = -1.0 if turned else 1.0
        lists = [any(map(holds_list, texts)) for texts in label.outputs]
        seat = {None: 1.0, 0: 0.0, 1: 1.0, 2: -1.0}[label.seat]
        prefers = 2.0 - (label.preference or 0.0)
        rows.append((
            1.0 - prefers if turned else prefers,
            names.setdefault(label.annotator or "annotator", len(names)),
            number,
            sign * seat,
            sign * doublings(*label.outputs),
            sign * (lists[0] - lists[1]),
            sign,
        ))  # fmt: skip
    table = np.array(rows, dtype=np.float64).reshape(-1, 7)
    return LabelTable(
        prefers_first=table[:, 0],
        annotator=table[:, 1].astype(np.int64),
        pair=table[:, 2].astype(np.int64),
        seat=table[:, 3],
        doublings=table[:, 4],
        lists=table[:, 5],
        names=tuple(names),
        worth=None if worth is None else table[:, 6] * worth,
    ), notes


def _worth(labels: Sequence[Label], reward: Reward) -> np.ndarray[Any, np.dtype[np.float64]]:
    """What the first output of each label is worth more than its second; NaN where there is no score."""
    found: dict[tuple[str, tuple[str, ...]], float | None] = {}
    wanted = {(label.prompt.id, texts): label.prompt for label in labels for texts in label.outputs}
    prompts, answers = [], []
    for (_, texts), prompt in wanted.items():
        turns = prompt.conversation(texts)
        prompts.append(turns[:-1])
        answers.append(turns[-1]["content"])
    found.update(zip(wanted, reward.score(prompts, answers) if wanted else (), strict=True))
    scores = [[found[label.prompt.id, texts] for texts in label.outputs] for label in labels]
    return np.array([
        np.nan if one is None or two is None or not np.isfinite(one - two) else one - two for one, two in scores
    ], dtype=np.float64)  # fmt: skip


def synthetic_members(fit: AnnotatorFit, reward: str, scale: float) -> list[dict[str, Any]]:
    """A pool's members that are like the fitted annotators (`judges.synthetic`), a mapping each.

    Args:
        reward: SPEC of what answers are worth.
        scale: standard deviation of the worth of the labels' pairs: whoever shows no sense of it gets a thousand times
            as much noise.
    """
    return [
        {"name": name, "spec": f"synthetic:{reward}", "options": _options(found, scale)}
        for name, found in fit.annotators.items()
    ]


def _options(found: Mapping[str, Any], scale: float) -> dict[str, float]:
    noise = found["noise"].value
    kept = min(max(_DULLEST * scale if noise is None else noise, _SHARPEST * scale), _DULLEST * scale)
    return {"noise": round(kept, 6)} | {
        name: round(found[name].value, 6) for name in ("seat", "length", "lists") if name in found
    }
