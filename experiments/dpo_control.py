"""What does DPO add that learning its chosen answers alone would not?

    python experiments/dpo_control.py [--seeds 10 11 12 13 14] [--split test] [--small]

From the SFT-I1 of a one-round demo, and on the pairs that its battles selected for DPO-I1, with the same optimiser,
learning rate, batch and number of steps:

    DPO-I1    the recipe's DPO stage: sigmoid loss plus cross-entropy on the chosen answers
    chosen    cross-entropy on the chosen answers alone (no rejected answer, no reference)
    dpo       the sigmoid loss alone

Prints gold accuracy per seed, and the paired differences with 95 % t-intervals over seeds. What `chosen` explains is no
merit of DPO.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gold import demo_settings, gold_accuracy, over_seeds

from arenaloop.config import SFTSettings
from arenaloop.jsonl import read_rows
from arenaloop.recipes import arena_learning
from arenaloop.specs.recipes.arena_learning import build_arena_learning
from arenaloop.store import Store
from arenaloop.train.methods import training
from arenaloop.types import derive_seed


def one_seed(seed: int, split: str, out: Path, changes: Sequence[str]) -> dict[str, float]:
    """All arms of one seed."""
    # the pool is cut as in the whole demo, so that the slices are the demo's
    s = demo_settings(seed, split, "rounds=1", "data.max_prompts_per_slice=2000", *changes)
    recipe = build_arena_learning(s, out)
    out.mkdir(parents=True)
    with Store(out / "arena.db") as store:
        result = arena_learning.run(recipe, store, out)
        figures = {stage["name"]: stage["gold_accuracy"] for stage in result.stages}
        pairs = [row for _, row in read_rows(out / "data" / "DPO-I1.jsonl")]
        start, train_seed = out / "checkpoints" / "SFT-I1", derive_seed("train", seed, "DPO-I1")
        plain = s.dpo.model_copy(update={"nll_weight": 0.0})
        training("dpo", start, pairs, out / "dpo", plain, seed=train_seed)
        shared = {k: v for k, v in s.dpo.model_dump().items() if k in SFTSettings.model_fields}
        chosen = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in pairs]
        training("sft", start, chosen, out / "chosen", SFTSettings(**shared), seed=train_seed)
        for arm in ("chosen", "dpo"):
            figures[arm] = gold_accuracy(recipe, store, arm, out / arm)
        figures["rows"] = len(pairs)
    return figures


if __name__ == "__main__":
    over_seeds(
        __doc__,
        one_seed,
        arms=("SFT-I1", "DPO-I1", "chosen", "dpo"),
        differences=(("DPO-I1", "SFT-I1"), ("DPO-I1", "chosen"), ("chosen", "SFT-I1"), ("dpo", "SFT-I1")),
    )
