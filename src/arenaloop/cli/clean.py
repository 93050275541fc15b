"""`arenaloop clean`: a pool of prompts without what a model should not be trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arenaloop.cli.options import Fields, Given

__all__ = ["clean"]


def clean(
    *,
    prompts: Annotated[
        Path, typer.Option(metavar="FILE", help="The pool: prompts, or conversations that end with an answer.")
    ],
    against: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="Test prompts that nothing in the pool may be like.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The rows that stay, as they stood: JSONL.")],
    settings: Annotated[
        Given,
        Fields(
            "CleaningSettings",
            *("toxic", "min_len", "min_len_unit", "tokenizer", "prefix", "prefix_unit", "ngram", "perms", "jaccard"),
            *("decontam_k", "embeddings", "overlap", "overlap_share", "lang", "lang_sure"),
        ),
    ],
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of signatures and embeddings.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Clean a pool of prompts in Arena Learning's order; rows that stay keep their order and all their columns.

    Toxic, by your own filter · too short · begins like another · near-duplicate · the same as, or like, a test prompt ·
    in another language. Conversations are compared by all their user turns, normalised. What goes stands beside --out
    (clean.dropped.jsonl for clean.jsonl), with the step, the reason, and the row or test prompt that it is like.

    Examples:

        arenaloop clean --prompts pool.jsonl --against arena_hard.jsonl --against mt_bench.jsonl --out clean.jsonl

        arenaloop clean --prompts pool.jsonl --toxic python:filter.py:is_toxic --out clean.jsonl --dry-run
    """
    from arenaloop.cli.clean_run import execute
    from arenaloop.config import CleaningSettings, validate

    checked = validate(CleaningSettings, {**settings, "against": against or []}, "clean")
    execute(checked, prompts, out, seed=seed, dry_run=dry_run, as_json=as_json)
