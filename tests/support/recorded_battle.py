"""What battles are called with in tests: two models' recorded answers, or the sandbox's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TEXTS = [f"question {n}" for n in range(6)]
RECORDED = ["--model", "a=file:a.json", "--model", "b=file:b.json", "--prompts", "prompts.jsonl"]
SANDBOX = ["--model", "a=sandbox:scholar", "--model", "b=sandbox:novice", "--prompts", "sandbox:prompts?n=20"]
JUDGE = ["--judge", "sandbox:judge"]


def write_files(folder: Path) -> Path:
    """A prompt file and two models' answers to it, in this folder."""
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": t}) + "\n" for t in TEXTS))
    for name, word in (("a", "short"), ("b", "rather longer")):
        rows = [{"instruction": t, "output": f"{word} answer to {t}"} for t in TEXTS]
        (folder / f"{name}.json").write_text(json.dumps(rows))
    return folder


def read(path: Path) -> Any:
    """A file of one JSON document."""
    return json.loads(path.read_text())
