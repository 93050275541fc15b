"""A trained reward model, or a policy read as one, on labelled pairs that it did not learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arenaloop.config import DPOSettings, OptimSettings
from arenaloop.errors import InputError
from arenaloop.train.batches import TokenTable
from arenaloop.train.dpo import reference_logprobs
from arenaloop.train.encoding import encode_pairs
from arenaloop.train.gate import pair_report
from arenaloop.train.policy import load_policy
from arenaloop.train.rewards import load_reward_model
from arenaloop.train.rows import preference
from arenaloop.types import content_hash

__all__ = ["pair_figures"]


def pair_figures(
    method: str, checkpoint: str | Path, start: str | Path, rows: Sequence[Mapping[str, Any]], settings: OptimSettings
) -> dict[str, float | None]:
    """How often the better answer of a pair is scored higher, beside scores that need no training.

    A policy scores an answer by how much likelier than under the start it is, times beta: the reward that DPO has it
    stand for (Rafailov et al. 2023, section 4). Pairs that do not fit the window are left out.

    Args:
        method: ``reward_model`` or ``dpo``.
        checkpoint, start: the trained model and the language model that it started from.
        rows: labelled pairs.
        settings: of the method's training.

    Returns:
        ``held_out_pairs``, and of ``pair_accuracy``, ``pair_accuracy_likelihood`` (of the start) and
        ``pair_accuracy_longest`` the share with its 95 % interval's ends, ``…_lower`` and ``…_upper``.
    """
    policy = load_policy(start, settings)
    head = load_reward_model(checkpoint, settings) if method == "reward_model" else None
    try:
        data = encode_pairs((policy if head is None else head).encoder(settings), rows, uncut=True)
    except InputError:  # no pair is left
        return {"held_out_pairs": 0.0}
    table = TokenTable(data.rows, policy.pad_id)
    said = reference_logprobs(policy, table, settings)
    if head is not None:
        scores = head.raw(TokenTable(data.rows, head.head.pad_id), settings)
    else:
        beta = settings.beta if isinstance(settings, DPOSettings) else 1.0
        scores = beta * (reference_logprobs(load_policy(checkpoint, settings), table, settings) - said)
    report = pair_report(
        _pairs(scores),
        _pairs(torch.from_numpy(table.labelled)),
        _pairs(said / torch.from_numpy(table.labelled).sqrt()),
        [str(content_hash([dict(turn) for turn in preference(rows[at], at)[0]])) for at in data.source],
    )
    figures: dict[str, float | None] = {"held_out_pairs": report["pairs"][0]}
    for name in ("accuracy", "accuracy_likelihood", "accuracy_longest"):
        for end, value in zip(("", "_lower", "_upper"), report[name], strict=True):
            figures[f"pair_{name}{end}"] = value
    return figures


def _pairs(values: Tensor) -> np.ndarray:
    return np.stack([each.double().numpy() for each in values.chunk(2)], axis=1)
