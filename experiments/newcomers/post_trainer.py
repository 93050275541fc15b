"""Somebody who trains with TRL: rows of prompts, chosen and rejected, labels, recipes, and a small model on disk."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from newcomers.steps import Step

from arenaloop.sandbox.target import build_target

_HUMAN = "data/farm_human_labels.jsonl.gz"
_RECORDED = "data/farm_crossannotations_gpt4.jsonl.gz"
_KEY = "OPENAI_API_KEY=none"
_SMALL = "--set epochs=1 --set batch_size=8"


def prepare(directory: Path) -> None:
    """What such a user has beside the data: rows of preferences, demonstrations and prompts, and prices."""
    with gzip.open(directory / "data" / "alpacaeval_instructions.jsonl.gz", "rt") as file:
        asked = [row["instruction"] for row in map(json.loads, file)][:80]
    rows: dict[str, list[dict[str, str]]] = {
        "prompts": [{"prompt": text} for text in asked[:40]],
        "pool": [{"prompt": text} for text in asked[:40]],
        "test": [{"prompt": text} for text in asked[40:60]],
        "held": [{"prompt": text} for text in asked[60:]],
        "d0": [{"prompt": text, "completion": f"About this: {text[:40]}"} for text in asked[:40]],
        "ift": [{"prompt": text, "completion": f"In short: {text[:40]}"} for text in asked[:40]],
    }
    rows["eft"] = [
        row | {"judgement": f"Brief and on the subject.\nScore: {i % 6}"} for i, row in enumerate(rows["ift"])
    ]
    for name, told in rows.items():
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told))
    (directory / "prices.yaml").write_text("prices:\n  gpt-4o: {input: 2.5, output: 10.0}\n")
    build_target(directory / "tiny", 0, width=48, layers=1)


STEPS = [
    Step(f"{_KEY} arenaloop run examples/arena_learning_qwen.yaml --dry-run", ("calls", "$", "SFT-I1")),
    Step(f"{_KEY} arenaloop run examples/arena_learning_7b.yaml --dry-run", ("the pool has", "for 9 slices"), code=2),
    Step(f"{_KEY} arenaloop run examples/alpaca_farm_qwen.yaml --dry-run", ("data/sft.jsonl: no such file",), code=2),
    Step(f"{_KEY} arenaloop run examples/self_rewarding_llama3_8b.yaml --dry-run", ("M2",)),
    Step(
        f"{_KEY} arenaloop run examples/meta_rewarding_llama3_8b.yaml --set prompts_per_iteration=8 --dry-run",
        ("calls", "GPU memory"),
    ),
    Step("arenaloop run examples/alpaca_farm_sandbox.yaml --dry-run", ("calls",)),
    Step("arenaloop run examples/arena_learning_smollm2.yaml --dry-run", ("SmolLM2-135M-Instruct.Q4_1.gguf",), code=2),
    Step(
        f"arenaloop audit --judge 'gpt4=labels:{_RECORDED}#seed=0' --judge builtin:longest --labels {_HUMAN}"
        " --out runs/audit",
        ("agree %", "kappa", "smallest effect", "longest", "most often: no label for this pair"),
        code=3,
    ),
    Step(
        f"{_KEY} arenaloop audit --judge openai:gpt-4o --labels {_HUMAN} --prices prices.yaml --out runs/priced"
        " --dry-run",
        ("100 judge calls", "$"),
    ),
    Step(
        "arenaloop self-instruct --prompts 'sandbox:prompts?n=20' --model sandbox:author --count 20 --min-words 2"
        " --out new.jsonl",
        ("20",),
    ),
    Step("arenaloop sample --model {server}#scholar --prompts 'sandbox:prompts?n=60' --out scholar.jsonl"),
    Step("arenaloop sample --model {server}#novice --prompts 'sandbox:prompts?n=60' --out novice.jsonl"),
    Step(
        "arenaloop annotate scholar=scholar.jsonl novice=novice.jsonl --pool synthetic --out preferences.jsonl",
        ("60 pairs", "rows to train on"),
    ),
    Step("arenaloop export preferences.jsonl --to trl --kind preferences --out dpo.jsonl", ("dpo.jsonl",)),
    Step(
        "arenaloop export preferences.jsonl --to llama-factory --kind preferences --out lf/arena.jsonl",
        ("dataset_info",),
    ),
    Step("arenaloop train --help", ("METHOD", "--reward")),
    Step(
        "arenaloop train dpo --model hf:no/folder/here --data dpo.jsonl --out checkpoints/none",
        ("no/folder/here",),
        code=2,
    ),
    Step(f"arenaloop train sft --model hf:tiny --data d0.jsonl --out checkpoints/sft {_SMALL}", ("checkpoints/sft",)),
    Step(
        f"arenaloop train dpo --model hf:checkpoints/sft --data dpo.jsonl --out checkpoints/dpo {_SMALL}",
        ("checkpoints/dpo",),
    ),
    Step(
        "arenaloop battle --model sft=hf:checkpoints/sft --model dpo=hf:checkpoints/dpo --prompts 'sandbox:prompts?n=8'"
        " --judge {server}#judge --out runs/mine",
        ("8 battles",),
    ),
    Step("arenaloop report checkpoints/dpo", ("report.html",)),
]
