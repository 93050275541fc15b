"""What a file that holds no battles looks like by its columns, and what would make battles of it."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["looks_like"]

_ANSWERS = (
    ({"output"}, {"instruction", "prompt", "generator"}),
    ({"choices"}, {"question_id", "model_id"}),
    ({"messages"}, {"uid", "model"}),
    ({"answer"}, {"prompt", "question", "model"}),
    ({"response"}, {"prompt", "instruction", "model"}),
)
"""Columns of one model's answers: those that hold them, and some that stand beside them."""


def looks_like(columns: Collection[str]) -> str:
    """A clause behind an error about missing columns; empty where nothing is recognised."""
    found = {str(name) for name in columns}
    if {"output_1", "output_2"} <= found:
        lacks = [name for name in ("generator_1", "generator_2", "instruction", "preference") if name not in found]
        if "preference" in lacks:
            return "; these look like pairs of answers that nobody has judged: `arenaloop annotate` or `battle` does"
        return f"; these look like AlpacaEval's annotations without {', '.join(lacks)}: add " + (
            "the models' names in such columns" if any(name.startswith("generator") for name in lacks) else "them"
        )
    if {"chosen", "rejected"} <= found:
        return "; these look like training pairs, which say nothing of two models: add model_a, model_b and winner"
    if any(held <= found and beside & found for held, beside in _ANSWERS):
        return (
            "; these look like one model's answers: let it meet another by `arenaloop battle --model NAME=file:FILE "
            "--model OTHER=file:FILE --prompts FILE --judge SPEC --out DIR`"
        )
    if {"instruction", "prompt", "question", "turns"} & found and not {"model_a", "model_1", "winner"} & found:
        return "; these look like prompts: `arenaloop battle --prompts FILE` lets models answer them"
    return ""
