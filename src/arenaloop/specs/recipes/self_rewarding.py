"""Settings of Self-Rewarding and Meta-Rewarding → the recipe, with everything it works on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from arenaloop.calls.recorded import match_recorded
from arenaloop.config import (
    JudgeSettings,
    JudgesItselfSettings,
    MetaRewardingSettings,
    MetaSettings,
    SelfJudgeSettings,
    SelfRewardingSettings,
)
from arenaloop.data.eft import filled
from arenaloop.data.labelled_answers import LabelledAnswers, read_labelled_answers
from arenaloop.data.ranked_replies import RankedPrompt, best_replies, parted, read_trees
from arenaloop.errors import ConfigError
from arenaloop.judges.filling import Layout, Material
from arenaloop.judges.jury import Decider
from arenaloop.judges.parsers import parser_for
from arenaloop.judges.templates import JudgeTemplate, fill, load_template
from arenaloop.recipes.self_rewarding import run
from arenaloop.recipes.self_rewarding_calls import outline
from arenaloop.recipes.self_rewarding_costs import estimate_costs
from arenaloop.recipes.self_rewarding_plan import SelfRewarding, check, meta_of, stage_names
from arenaloop.recipes.self_rewarding_prompts import stand_ins
from arenaloop.specs.data import load_demonstrations, load_judgements, load_prompts, true_utility
from arenaloop.specs.judges import judge, meta, pointwise, template_file
from arenaloop.specs.models import contestant
from arenaloop.specs.recipes.base import Recipe
from arenaloop.specs.rewards import reward
from arenaloop.specs.self_instruct import recipe_prompts
from arenaloop.specs.served import server_of
from arenaloop.specs.start import Start, contestant_of, judge_of, start
from arenaloop.types import Completion, Prompt, Response, content_hash

__all__ = ["META_REWARDING", "SELF_REWARDING", "build_self_rewarding"]

_TEXTS: dict[Layout, int] = {"answer": 1, "judgements": 3}
"""Of each layout, how many texts it shows beside the prompt."""


class _Asked(NamedTuple):
    """What one of the target's roles as a judge takes of its context window.

    Attributes:
        setting: of its own words' most tokens.
        words: its template's, around texts that are empty.
        own: how many tokens it may write.
        shown: how many the texts that are put to it may have, beside the prompt; `of`: the settings that say so.
    """

    setting: str
    words: str
    own: int
    shown: int
    of: str


def build_self_rewarding(settings: JudgesItselfSettings, out: Path, dry: bool = False) -> SelfRewarding:
    """Everything that either recipe works on. Writes nothing.

    Args:
        settings: the recipe's file.
        out: the run directory; a fresh sandbox target will be made below it.
        dry: only the plan is wanted: nothing is looked up on a hub.

    Raises:
        ConfigError: a template that asks for no score or no winner, a context window without room for what
            the model is to write as a judge, and as of `recipes.self_rewarding_plan.check`.
    """
    data, seed, comparing = settings.data, settings.seed, meta_of(settings)
    origin, server = start(settings.target, seed, out), server_of(settings.target)
    origin.check(dry=dry)
    rubric = _template(settings.self_judge.template, "answer")
    asking = [(rubric, "score")]
    if comparing is not None:
        asking.append((_template(comparing.template, "judgements"), "winner"))
    asked = _asked(settings, [_words(template, line) for template, line in asking])
    _refuse_window(origin, asked)
    demonstrations = [] if data.demonstrations is None else load_demonstrations(data.demonstrations, seed)
    ranked: Sequence[RankedPrompt] = ()
    unread: dict[str, Mapping[str, int]] = {}
    if data.ranked is not None:
        trees, unread["data.ranked"] = read_trees(data.ranked)
        best, ranked = parted(
            trees, [data.ranked_demonstrations, max(1, len(trees) - data.ranked_demonstrations)], seed
        )
        demonstrations = [*demonstrations, *best_replies(best)]
    shown = [row["messages"][0]["content"] for row in demonstrations] if _drawn(data.demonstrations) else []
    opponents = [contestant(one.with_concurrency(settings.concurrency)) for one in settings.opponents]
    test = load_prompts(data.test, seed).prompts
    given = () if data.prompts is None else load_prompts(data.prompts, seed, exclude=shown).prompts
    validation = () if data.validation is None else load_prompts(data.validation, seed, exclude=shown).prompts
    fresh = None
    if data.self_instruct is not None:
        fresh = recipe_prompts(data.self_instruct, settings, known=given, held_out=(*test, *validation))

    labelled = _labelled(settings.gates.labelled, rubric)
    if labelled is not None:
        unread["gates.labelled"] = labelled.dropped

    def prepare() -> None:
        origin.prepare()
        _refuse_window(origin, asked)  # of weights that were not there before

    recipe = SelfRewarding(
        settings=settings,
        start=origin.path,
        target=contestant_of(settings.target, server),
        rubric=judge_of(_own_judge(settings, settings.self_judge), pointwise, server),
        meta=None if comparing is None else judge_of(_own_judge(settings, comparing), meta, server),
        scorer=None if settings.scorer is None else pointwise(settings.scorer.with_concurrency(settings.concurrency)),
        reward=None if settings.reward is None else reward(settings.reward),
        opponents=opponents,
        judge=judge(settings.judge.with_concurrency(settings.concurrency)),
        demonstrations=demonstrations,
        ranked=ranked,
        judgements=[row for spec in data.judgements for row in load_judgements(spec, seed)],
        filled=partial(filled, rubric),
        pool=[*given, *([] if fresh is None else stand_ins(fresh))],
        fresh=fresh,
        test=test,
        validation=validation,
        utility=true_utility(data.test),
        truth=None if data.prompts is None else true_utility(data.prompts),
        labelled=labelled,
        fingerprint="" if dry else origin.fingerprint,
        judged_by=content_hash([template.hash for template, _ in asking]),
        prepare=prepare,
        size=origin.size,
        notes=_narrow(origin, asked),
        unread=unread,
        recorded=match_recorded(opponents, test, allow_missing=settings.allow_missing),
    )
    if settings.length_unit == "tokens":
        recipe = replace(recipe, length=lambda response: sum(map(origin.tokens, response.texts)))
    check(recipe)
    return recipe


def _labelled(path: str | None, rubric: JudgeTemplate) -> LabelledAnswers | None:
    """The labelled set of the gates; people's judgements are read as the model's are."""
    parser = parser_for(rubric.form, pattern=rubric.verdict_pattern)
    return None if path is None else read_labelled_answers(path, lambda text: parser.read(Completion(text)))


def _drawn(spec: str | None) -> bool:
    return spec is not None and spec.startswith("sandbox:")


def _own_judge(settings: JudgesItselfSettings, own: SelfJudgeSettings | MetaSettings) -> JudgeSettings:
    """The target as a judge: on the device and in the chunks in which it answers."""
    t = settings.target
    return JudgeSettings(
        spec="hf:to-come",
        template=own.template,
        sampling=own.sampling,
        chunk_size=t.chunk_size,
        dtype=t.dtype,
        device=t.device,
    )


def _template(name: str, layout: Layout) -> JudgeTemplate:
    return load_template(template_file(name), layout=layout)


def _words(template: JudgeTemplate, line: str) -> str:
    """A template's own words, around texts that are empty; they must ask for the last line that is read.

    It stands there with its colon, or alone on a line; a pattern of the template's own reads what it likes.

    Raises:
        ConfigError: they do not.
    """
    prompt = Prompt.of("?")
    empty = [Response(prompt.id, "", ("",)) for _ in range(_TEXTS[template.layout])]
    text = fill(template, Material.of(template.layout, prompt, *empty), secret="0")  # noqa: S106 - of no run
    asks = rf"""\b{line}["'*_`]*\s*[:=]|^\W*{line}\W*$"""
    if template.form != "pattern" and re.search(asks, text, re.IGNORECASE | re.MULTILINE) is None:
        raise ConfigError(
            f"{template.origin}: asks for no line '{line.capitalize()}: …', so no answer to it could be read"
        )
    return text


def _asked(settings: JudgesItselfSettings, words: Sequence[str]) -> list[_Asked]:
    """Of each role, by the words of its template: the rubric's, and then the one's for judgements."""
    answer, own, comparing = settings.sampling.max_tokens, settings.self_judge.sampling.max_tokens, meta_of(settings)
    found = [_Asked("self_judge.sampling.max_tokens", words[0], own, answer, "sampling.max_tokens")]
    if comparing is not None:
        shown = "sampling.max_tokens + 2 × self_judge.sampling.max_tokens"
        most = comparing.sampling.max_tokens
        found.append(_Asked("meta.sampling.max_tokens", words[1], most, answer + 2 * own, shown))
    return found


def _refuse_window(origin: Start, asked: Sequence[_Asked]) -> None:
    """Refuse weights whose context window a judge's template and its own words alone fill; a hub's are not looked up.

    Raises:
        ConfigError: they do; names the setting.
    """
    if (window := origin.window) is None:
        return
    for one in asked:
        needed = origin.tokens(one.words)
        has = f"target {origin.target.model}: its context window is {window:,} tokens, and a judge's template takes"
        if needed >= window:
            raise ConfigError(f"{has} {needed:,} without a prompt, an answer or room for its own words")
        if needed + one.own > window:
            raise ConfigError(
                f"{has} {needed:,}: {one.setting} {one.own:,} is more than the {window - needed:,} that are left, "
                "without a prompt or an answer"
            )


def _narrow(origin: Start, asked: Sequence[_Asked]) -> list[str]:
    """Where the longest texts that the settings allow would not fit in the context window; for the plan."""
    if (window := origin.window) is None:
        return []
    needs = [(one, origin.tokens(one.words) + one.shown + one.own) for one in asked]
    return [
        f"long texts may not fit: the template, {one.of} and {one.setting} come to {needed:,} tokens without a prompt, "
        f"and the context window is {window:,}"
        for one, needed in needs
        if needed > window
    ]


def judges_of(settings: JudgesItselfSettings) -> list[Decider]:
    """Who decides the battles on held-out prompts."""
    return [judge(settings.judge.with_concurrency(settings.concurrency))]


SELF_REWARDING = Recipe(
    "a model learns from the scores that it gives its own answers",
    SelfRewardingSettings,
    build_self_rewarding,
    outline,
    run,
    stage_names,
    judges_of,
    estimate_costs,
)
META_REWARDING = Recipe(
    "a model learns from its own scores, and from how it judges them",
    MetaRewardingSettings,
    build_self_rewarding,
    outline,
    run,
    stage_names,
    judges_of,
    estimate_costs,
)
