"""Settings of self-instruct → what is asked, with the seeds, the writer and the test prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from arenaloop.config import ModelSettings, NewPromptSettings, RunSettings, SamplingSettings, SeededSettings
from arenaloop.data.cleaning.rows import BenchmarkItem, benchmark_items
from arenaloop.data.self_instruct.filters import KEYWORDS
from arenaloop.data.self_instruct.plan import SelfInstruct
from arenaloop.errors import ConfigError, InputError
from arenaloop.models.best_of_n import BestOfN
from arenaloop.models.recorded import RecordedModel
from arenaloop.specs.data import load_prompts
from arenaloop.specs.models import contestant
from arenaloop.types import Prompt

__all__ = ["decoded", "recipe_prompts", "self_instruct"]

PAPER = {"temperature": 0.6, "top_p": 0.9}
"""Decoding of the writer in arXiv 2401.10020, where its settings name none."""


def decoded(model: ModelSettings) -> ModelSettings:
    """A writer with the papers' decoding, where it has none of its own."""
    given = model.sampling.model_fields_set
    if given & PAPER.keys():
        return model
    values = {"max_tokens": 1024, **model.sampling.model_dump(include=given), **PAPER}
    return model.model_copy(update={"sampling": SamplingSettings(**values)})


def self_instruct(
    settings: NewPromptSettings, seeds: str, seed: int, concurrency: int | None
) -> tuple[SelfInstruct, list[str]]:
    """What is to be asked, and lines that the user should read.

    Args:
        settings: who writes, how many, which are kept.
        seeds: SPEC of people's prompts.
        seed, concurrency: of the run.

    Raises:
        ConfigError, InputError: no seeds, a file that cannot be read, or a writer that cannot be asked for samples.
    """
    loaded = load_prompts(seeds, seed)
    told = Counter[str]()
    people: dict[str, str] = {}
    for prompt in loaded:
        turns = sum(message["role"] == "user" for message in prompt.messages) + len(prompt.follow_ups)
        shown = " ".join(prompt.last_user.split())
        if turns > 1:
            told["have several turns"] += 1
        elif not shown:
            told["are empty"] += 1
        elif shown in people:
            told["repeat another one"] += 1
        else:
            people[shown] = prompt.last_user
    if not people:
        raise InputError(f"{seeds}: no prompt of one turn to begin with")
    writer = contestant(decoded(settings.model.with_concurrency(concurrency)))
    if isinstance(writer.model, RecordedModel) or writer.asked is None:
        raise ConfigError(f"SPEC {settings.model.spec!r}: recorded answers write no new prompts")
    if isinstance(writer.model, BestOfN):
        raise ConfigError(
            f"SPEC {settings.model.spec!r}: of lists of prompts no best one is chosen; take best_of_n out"
        )
    plan = SelfInstruct(
        people=list(people.values()),
        writer=writer,
        count=settings.count,
        test=[item for file in settings.against for item in benchmark_items(Path(file))],
        each=settings.each,
        calls_per_round=settings.calls_per_round,
        rouge_max=settings.rouge_max,
        least=settings.min_words,
        most=settings.max_words,
        keywords=KEYWORDS if settings.keywords is None else settings.keywords,
        stop_below=settings.stop_below,
        seed=seed,
        concurrency=concurrency,
    )
    return plan, [f"{seeds}: {n:,} prompts {why} and are no seeds" for why, n in sorted(told.items())]


def recipe_prompts(
    settings: SeededSettings, run: RunSettings, known: Sequence[Prompt], held_out: Sequence[Prompt]
) -> SelfInstruct:
    """New prompts as a part of a recipe; they are like none that it has, and none that it holds out.

    Raises:
        ConfigError, InputError: as of `self_instruct`.
    """
    plan, _ = self_instruct(settings, settings.seeds, run.seed, run.concurrency)
    own = [BenchmarkItem({}, prompt) for prompt in held_out]
    return replace(plan, test=[*plan.test, *own], known=[prompt.last_user for prompt in known])
