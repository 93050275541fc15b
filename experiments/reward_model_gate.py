"""Does a reward model know more than the policy's own likelihood, and what is its choice worth?

    python experiments/reward_model_gate.py [--seeds 20 21 22 23 24] [--split test] [--jobs 2] [--out DIR] [--small]

For each seed: the policy of `own_samples`; 4 of its own samples to each of 9,000 prompts; all pairs of a prompt
whose gold differs, with gold labels; a reward model from them (the start's likelihood as prior, the mean over tokens
added, Muon, 500 steps of 32 pairs). Measured on 16 samples to each of 1,000 held-out prompts:

    rm, log p, longest    accuracy on up to 4 pairs of a prompt whose gold differs; log p is the start's, per root of
                          the tokens
    one, greedy           gold accuracy of one sample at temperature 1, and of the greedy answer
    by rm, by log p       gold accuracy of the best of 16 samples by each; `by gold` is what could be had
    length                correlation of the score with length within prompts, gold held fixed

Prints a row a seed, and the paired differences with 95 % t-intervals over seeds. The settings were chosen on the dev
prompts of seed 10; seeds 20 to 24 on the test prompts are what is reported.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from own_samples import (
    Sizes,
    fine_tuned,
    greedy,
    likelihood,
    pairs,
    prompts,
    ranked_right,
    reward_model,
    sampled,
    scores,
    study,
)

SAMPLES, PAIRS, CHOICES, MEASURED = 4, 6, 16, 4


def one_seed(seed: int, split: str, out: Path, sizes: Sizes) -> dict[str, float]:
    """All figures of one seed."""
    policy = fine_tuned(seed, out, sizes)
    rows = pairs(sampled(policy, prompts(sizes.pool, seed, "train"), SAMPLES, seed), PAIRS, seed)
    model = reward_model(policy, rows, out / "rm", sizes, seed, prior=True)
    held_out = prompts(sizes.test, seed, split)
    answered = sampled(policy, held_out, CHOICES, seed)
    gold = np.array([one.gold for one in answered])
    lengths = np.array([[len(text) for text in one.texts] for one in answered], dtype=float)
    by = {"rm": scores(model, answered), "log p": likelihood(policy, answered), "longest": lengths}
    measured = pairs(answered, MEASURED, seed)
    figures = {"trained on": float(len(rows)), "pairs": float(len(measured))}
    told = {name: ranked_right(answered, measured, values) for name, values in by.items()}
    chosen = {
        f"by {name}": float((_chosen(values, gold) == 1).mean()) for name, values in (*by.items(), ("gold", gold))
    }
    worth = {f"utility by {name}": float(_chosen(by[name], gold).mean()) for name in ("rm", "log p")}
    answers = greedy(policy, held_out)
    own = {"one": float((gold[:, 0] == 1).mean()), "greedy": float((answers == 1).mean())}
    utility = {"utility of one": float(gold[:, 0].mean()), "utility of greedy": float(answers.mean())}
    return {**figures, **told, **own, **chosen, **utility, **worth, "length": _given_gold(by["rm"], lengths, gold)}


def _chosen(values: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """The gold of the sample with the highest value: (prompts,)."""
    return gold[np.arange(len(gold)), values.argmax(axis=1)]


def _given_gold(values: np.ndarray, lengths: np.ndarray, gold: np.ndarray) -> float:
    """Correlation with length over the samples of a prompt, both less what their gold says of them linearly."""
    value, length, worth = ((each - each.mean(axis=1, keepdims=True)).ravel() for each in (values, lengths, gold))
    rest = [each - worth * float(worth @ each) / float(worth @ worth) for each in (value, length)]
    return float(np.corrcoef(*rest)[0, 1])


if __name__ == "__main__":
    study(
        __doc__,
        one_seed,
        {"trained on": ".0f", "pairs": ".0f"}
        | dict.fromkeys(["rm", "log p", "longest"], ".3f")
        | dict.fromkeys(["one", "greedy", "by rm", "by log p", "by gold"], ".3f")
        | dict.fromkeys(["utility of one", "utility of greedy", "utility by rm", "utility by log p"], ".3f")
        | {"length": "+.3f"},
        (("rm", "log p"), ("by rm", "greedy"), ("by rm", "by log p"), ("by rm", "one")),
    )
