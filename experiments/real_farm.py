"""Methods that learn from feedback, on a real chat model: from where battles left it, by its own samples.

    python experiments/real_farm.py --start runs/real_model/seed-10 [--seed 30] [--only DPO] [--out DIR]

The start is SFT-I1 of a seed of `real_model.py`, trained once more from that run's SFT-I0 and rows (of the model as
shipped too few samples are right). Its samples to 96 training prompts, 4 to each, are labelled in pairs by the
synthetic annotators, a quarter of the labels turned round. A reward model, DPO and FeedME learn the pairs; best of n
and expert iteration follow the reward model, and once more, as controls, the truth. It is the recipe `alpaca_farm`.

Prints gold (the share of 160 test prompts that are answered right in every respect) with CPU seconds, and the paired
differences to the start with 95 % bootstrap intervals over topics. Gold of every answer stands in `OUT/gold.json`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from real_model import EXAMPLE, Watch, bfloat16_is_faster, difference

from arenaloop.config import AlpacaFarmSettings, override, read_yaml, validate
from arenaloop.recipes import alpaca_farm
from arenaloop.recipes.alpaca_farm_plan import AlpacaFarm
from arenaloop.specs.recipes.alpaca_farm import build_alpaca_farm
from arenaloop.store import Store

TRAINING = {"batch_size": 8, "max_length": 192, "log_every": 1}
SAMPLING = {"samples": 4, "temperature": 0.7, "max_new_tokens": 48}
EXPERT = {**TRAINING, **SAMPLING, "epochs": 1, "learning_rate": 2e-5}
METHODS: dict[str, dict[str, Any]] = {
    "DPO": {"method": "dpo", "training": {**TRAINING, "epochs": 1, "learning_rate": 5e-6, "beta": 0.1}},
    "Best of 4": {"method": "best_of_n", "n": 4},
    "Expert iteration": {"method": "expert_iteration", "training": EXPERT},
    "Best of 4, gold reward": {"method": "best_of_n", "n": 4, "reward": "sandbox:gold"},
    "Expert iteration, gold reward": {"method": "expert_iteration", "training": EXPERT, "reward": "sandbox:gold"},
    "FeedME": {"method": "feedme", "training": {**TRAINING, "epochs": 1, "learning_rate": 2e-5}},
}
REWARD_MODEL = {**TRAINING, "epochs": 1, "learning_rate": 1e-5, "readout": "mean", "prior": "policy_logprob"}


def farm(options: argparse.Namespace) -> AlpacaFarmSettings:
    """The recipe's file."""
    loop = read_yaml(EXAMPLE)
    drawn = "sandbox:prompts?world=notes&n={}&split={}"
    values: dict[str, Any] = {
        "recipe": "alpaca_farm",
        "seed": options.seed,
        "target": {**loop["target"], "model": f"hf:{options.start / 'checkpoints' / 'SFT-I0'}"},
        "judge": loop["judge"],
        "annotators": {"pool": "synthetic"},
        "data": {
            "sft": str(options.start / "data" / "SFT-I1.jsonl"),
            "preference": drawn.format(options.train, "train"),
            "unlabeled": drawn.format(options.train, "train"),
            "evaluation": drawn.format(options.prompts, options.split),
        },
        "samples": 4,
        "sampling_temperature": 0.7,
        "sft": loop["sft"],
        "reward_model": REWARD_MODEL,
        "methods": {name: METHODS[name] for name in options.only},
    }
    changes = []
    if bfloat16_is_faster():
        trained = [f"methods.{name}.training" for name, one in values["methods"].items() if "training" in one]
        changes = [f"{one}.bf16=true" for one in ("sft", "reward_model", *trained)] + ["target.dtype=bfloat16"]
    return validate(AlpacaFarmSettings, override(values, [*changes, *options.set]), "the experiment")


def right(recipe: AlpacaFarm, store: Store) -> dict[str, list[float]]:
    """By stage, which evaluation prompts it answers right in every respect; a prompt without an answer is not."""
    assert recipe.utility is not None
    gold: dict[str, list[float]] = {name: [] for name in ("SFT", *recipe.settings.methods)}
    for prompt in recipe.evaluation:
        worth = {one.model: recipe.utility(prompt, one) for one in store.responses_of(prompt).values()}
        for name, values in gold.items():
            values.append(float(worth.get(name, 0.0) == 1.0))
    return gold


def main() -> None:
    """One run of the recipe, and its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, required=True, help="a seed's directory of real_model.py")
    parser.add_argument("--seed", type=int, default=30, help="of prompts, labels and trainings")
    parser.add_argument("--train", type=int, default=96, help="preference prompts, and as many without labels")
    parser.add_argument("--prompts", type=int, default=160, help="test prompts")
    parser.add_argument("--split", choices=["dev", "test"], default="test")
    parser.add_argument("--only", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
    parser.add_argument("--out", type=Path, default=Path("runs/real_farm"))
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="a setting of the recipe")
    options = parser.parse_args()
    recipe = build_alpaca_farm(farm(options), options.out)
    options.out.mkdir(parents=True, exist_ok=True)
    with Store(options.out / "arena.db") as store:
        result = alpaca_farm.run(recipe, store, options.out, Watch())
        gold = right(recipe, store)
    found = {"gold": gold, "topic": [prompt.tags["topic"] for prompt in recipe.evaluation]}
    (options.out / "gold.json").write_text(json.dumps(found))
    labels = result.summary["labels"]
    print(f"{labels['pairs']} labelled pairs, {labels['drawn_by_noise']} labels drawn by noise")
    rated = {row["method"]: row for row in result.summary["methods"]}
    print(f"| | gold on {options.prompts} prompts | win rate against SFT, by the judge | rows | CPU s |")
    print("|--|--|--|--|--|")
    for row in result.stages:
        name, told = row["name"], rated.get(row["name"], {})
        share = f"{100 * sum(gold[name]) / len(gold[name]):.1f} %" if name in gold else "–"
        won = f"{told['win_rate']:.1f} %" if told else "–"
        seconds = f"{told['cpu_seconds']:.0f}" if told else "–"
        print(f"| {name} | {share} | {won} | {row['rows']} | {seconds} |")
    print(*(difference([found], name, "SFT") for name in options.only), sep="\n")


if __name__ == "__main__":
    main()
