"""Replies that people have ranked, as seeds of a judge (EFT, arXiv 2401.10020, section 3.1.1).

A model judges several ranked replies to a prompt; where its scores put them in people's order, the judgements are kept
to learn from. Most have the same score, so that the commonest are thinned out. Input: Open Assistant's message trees
(arXiv 2304.07327), of which the first turn and its ranked replies are read.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from arenaloop.errors import InputError
from arenaloop.jsonl import JsonRow, row_error
from arenaloop.tables import table_rows
from arenaloop.types import Judgement, Prompt, derive_seed

__all__ = ["Agreeing", "RankedPrompt", "RankedReplies", "agreeing", "best_replies", "parted", "read_trees", "thinned"]


class RankedPrompt(NamedTuple):
    """A prompt and the replies to it, from the best to the worst."""

    prompt: Prompt
    replies: tuple[str, ...]


class RankedReplies(NamedTuple):
    """What trees hold, and how many are left out, by reason."""

    prompts: list[RankedPrompt]
    dropped: Counter[str]


def read_trees(path: str | os.PathLike[str], *, lang: str | None = "en", least: int = 2) -> RankedReplies:
    """First turns with ranked replies from a file of message trees.

    Args:
        path: JSONL, a tree a line: ``{"prompt": {"text", "lang", "replies": [{"text", "rank"}]}}``. What is marked as
            deleted, empty, or without a rank is left out, and so are the turns that follow.
        lang: of prompts and replies; None takes all.
        least: how many ranked replies a prompt must have.

    Raises:
        InputError: the file cannot be read, a line is no tree, a rank is there twice, or no prompt has ranked replies.
    """
    found: dict[str, RankedPrompt] = {}
    dropped: Counter[str] = Counter()
    for line, row in table_rows(Path(path)):
        first = row.get("prompt")
        if not isinstance(first, Mapping) or not isinstance(first.get("text"), str):
            raise row_error(path, line, "no message tree: prompt.text is missing")
        if lang is not None and first.get("lang") != lang:
            dropped["another language"] += 1
            continue
        if first.get("deleted") or not first["text"].strip():
            dropped["deleted or empty"] += 1
            continue
        said = first.get("replies") or []
        if not isinstance(said, list):
            raise row_error(path, line, "no message tree: prompt.replies is no list")
        replies = _ranked(path, line, said, lang, dropped)
        prompt = Prompt.of(first["text"])
        if len(replies) < least:
            dropped["too few ranked replies"] += 1
        elif prompt.id in found:
            dropped["prompts that repeat another one"] += 1
        else:
            found[prompt.id] = RankedPrompt(prompt, tuple(replies))
    if not found:
        told = ", ".join(f"{why}: {n:,}" for why, n in sorted(dropped.items())) or "it is empty"
        raise InputError(f"{os.fspath(path)}: no prompt with {least} ranked replies ({told})")
    return RankedReplies(list(found.values()), dropped)


def _ranked(
    path: str | os.PathLike[str], line: int, replies: Sequence[Any], lang: str | None, dropped: Counter[str]
) -> list[str]:
    """Texts of replies that have a rank, best first; the others are counted."""
    by_rank: dict[int, str] = {}
    for reply in replies:
        if not isinstance(reply, Mapping) or not isinstance(reply.get("text"), str):
            raise row_error(path, line, "a reply has no text")
        rank = reply.get("rank")
        if lang is not None and reply.get("lang", lang) != lang:
            dropped["replies in another language"] += 1
            continue
        if reply.get("deleted") or not reply["text"].strip():
            dropped["replies that are deleted or empty"] += 1
            continue
        if rank is None:
            dropped["replies without a rank"] += 1
            continue
        if isinstance(rank, float) and rank.is_integer():  # of tables, whose column of ranks has gaps
            rank = int(rank)
        if isinstance(rank, bool) or not isinstance(rank, int):
            raise row_error(path, line, f"rank {rank!r} is no whole number")
        if rank in by_rank:
            raise row_error(path, line, f"two replies have rank {rank}")
        by_rank[rank] = reply["text"]
    return [by_rank[rank] for rank in sorted(by_rank)]


def best_replies(prompts: Sequence[RankedPrompt]) -> list[JsonRow]:
    """Conversations with the best reply to each prompt, to learn to answer from (IFT)."""
    return [{"messages": one.prompt.conversation([one.replies[0]])} for one in prompts]


class Agreeing(NamedTuple):
    """Rows of `eft.read_judgements` with their scores, and how many prompts gave none, by reason."""

    rows: list[JsonRow]
    dropped: Counter[str]


def agreeing(
    prompts: Sequence[RankedPrompt], judgements: Sequence[Sequence[Judgement | None]], *, ties: bool = False
) -> Agreeing:
    """Judgements whose scores put a prompt's replies in people's order.

    Args:
        prompts: the prompts.
        judgements: one of each reply, in the same order; None, or one without a score, leaves its reply out.
        ties: take equal scores of replies that people did not rank alike; else only better ones are in order.
    """
    rows: list[JsonRow] = []
    dropped: Counter[str] = Counter()
    for one, said in zip(prompts, judgements, strict=True):
        read = [
            (reply, judgement, judgement.score)
            for reply, judgement in zip(one.replies, said, strict=True)
            if judgement is not None and judgement.score is not None
        ]
        scores = [score for _, _, score in read]
        steps = [better - worse for better, worse in pairwise(scores)]
        if len(read) < 2:
            dropped["fewer than 2 judgements with a score"] += 1
        elif not all(step > 0 or (ties and step == 0) for step in steps):
            dropped["scores in another order than people's"] += 1
        else:
            rows += [
                {"messages": one.prompt.conversation([reply]), "judgement": judgement.raw, "score": score}
                for reply, judgement, score in read
            ]
    return Agreeing(rows, dropped)


def thinned(rows: Sequence[JsonRow], most: float, seed: int) -> list[JsonRow]:
    """Rows of which no score has more than a share, drawn from those of the commonest; the order stays.

    Where there are too few different scores for that, all are made as rare as the rarest.

    Args:
        rows: each with a ``score``.
        most: the largest share of one score, at most 1.
        seed: of the draw.
    """
    counts = Counter(row["score"] for row in rows)
    if not counts:
        return []
    fits = (
        limit
        for limit in range(max(counts.values()), min(counts.values()), -1)
        if limit <= most * sum(min(n, limit) for n in counts.values()) + 1e-9
    )
    limit = next(fits, min(counts.values()))
    order = sorted(range(len(rows)), key=lambda at: derive_seed("thinned", seed, at))
    taken: Counter[float] = Counter()
    kept = set[int]()
    for at in order:
        score = rows[at]["score"]
        if taken[score] < limit:
            taken[score] += 1
            kept.add(at)
    return [row for at, row in enumerate(rows) if at in kept]


def parted(prompts: Sequence[RankedPrompt], shares: Sequence[int], seed: int) -> list[list[RankedPrompt]]:
    """Disjoint parts of so many prompts each, in a drawn order: to answer from, to judge from, to measure a judge on.

    Raises:
        InputError: there are too few; says how many are missing.
    """
    if (missing := sum(shares) - len(prompts)) > 0:
        raise InputError(
            f"{sum(shares):,} ranked prompts are needed, and there are {len(prompts):,}: {missing:,} are missing"
        )
    drawn = random.Random(derive_seed("ranked", seed)).sample(list(prompts), sum(shares))
    ends = [sum(shares[:at]) for at in range(len(shares) + 1)]
    return [drawn[start:end] for start, end in pairwise(ends)]
