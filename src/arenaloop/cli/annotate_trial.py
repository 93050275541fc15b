"""What a dry run of labelling finds out at no cost: whether annotators that ask nobody can label any pair."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from arenaloop.calls.annotating import AnnotationPlan
from arenaloop.judges.base import Judge
from arenaloop.terminal import counted
from arenaloop.types import Prompt, Response

__all__ = ["unable"]

_FREE = ("labels:", "synthetic:sandbox:")
"""SPECs of annotators that neither call a server nor load a model."""
_TRIED = 20  # pairs of each


def unable(plan: AnnotationPlan, specs: Sequence[str]) -> str | None:
    """One line where such annotators label none of the first pairs that they are drawn for; None where one does.

    Args:
        plan: what is to be labelled.
        specs: of the pool's members, in their order.
    """
    seated: dict[int, list[tuple[Prompt, Response, Response]]] = {}
    for draw in plan.pool.draws(plan.pairs, seed=plan.seed):
        some = seated.setdefault(draw.member, [])
        if draw.firsts and specs[draw.member].startswith(_FREE) and len(some) < _TRIED:
            pair = plan.pairs[draw.pair]
            some.append((pair.prompt, *((pair.one, pair.two) if draw.firsts[0] else (pair.two, pair.one))))
    return asyncio.run(_tried([(plan.pool.members[at], some) for at, some in seated.items() if some]))


async def _tried(asked: Sequence[tuple[Judge, Sequence[tuple[Prompt, Response, Response]]]]) -> str | None:
    silent: list[str] = []
    error, count = None, 0
    for judge, seated in asked:
        verdicts = [await judge.judge(*one, secret="", seed=0) for one in seated]
        if all(verdict.outcome is None for verdict in verdicts):
            silent.append(judge.name)
            count += len(verdicts)
            error = next((verdict.error for verdict in verdicts if verdict.error), error)
    if not silent:
        return None
    who = ", ".join(silent[:3]) + (f" and {len(silent) - 3:,} more" if len(silent) > 3 else "")
    why = f" ({error})" if error else ""
    return f"{who}: no label for any of the first {counted(count, 'pair')} that would be asked about{why}"
