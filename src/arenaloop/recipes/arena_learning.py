"""Arena Learning (Luo et al. 2024, arXiv 2407.10627): the target battles stronger models and learns from what it lost.

    SFT-I0                 fine-tuned on demonstrations (D0)
    round i = 1, 2, …      the newest target battles the opponents on a new slice of prompts
        SFT-Ii             learns the winner's text where the target lost by at least k_sft
        DPO-Ii             battles again on the next slice; learns best against worst, at least k_dpo apart
        RM-Ii              battles on a third slice, and its own answers do; a reward model learns who won
        PPO-Ii             answers the prompts of that slice, and learns from what the reward model makes of them
    leaderboard            every stage and the opponents on a held-out test set, by the same judge

Where a held-out judge is named it rates every stage that answers, and rules may stop the training (`recipes.guards`).

Stages are resumable: battles are rows of the arena file, trainings continue from their last checkpoint, and a stage
that has finished with these very inputs is not repeated. The paper picks the best stage of a round by its test set;
here a separate validation set does (or the last stage is taken), so that the test set decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

from arenaloop.arena.pairings import Summary
from arenaloop.calls.answers import Contestant
from arenaloop.calls.budget import Budget
from arenaloop.data.cleaning.pipeline import Account
from arenaloop.data.selection import Selection, mean_difficulty, preference_pairs, random_rows, sft_rows
from arenaloop.errors import StoppedError
from arenaloop.jsonl import JsonRow, write_jsonl
from arenaloop.models.reward import Reward
from arenaloop.recipes.account import finish
from arenaloop.recipes.arena_learning_plan import ArenaLearning, Fights, check, cut_slices, decides, fights, inputs_key
from arenaloop.recipes.arena_learning_stages import Stage, plan_stages, slice_count, threshold
from arenaloop.recipes.held_out_judge import WATCHING, Guards, guards
from arenaloop.recipes.observer import Observer
from arenaloop.recipes.parts import Arena, answer, battle, prompt_scores, test, train, validate
from arenaloop.recipes.stage import Result, StageResult, Stages
from arenaloop.recipes.under_way import begin_part, finish_part
from arenaloop.regular_files import read_regular
from arenaloop.store import Store
from arenaloop.terminal import counted
from arenaloop.types import Prompt, derive_seed

__all__ = ["NoRowsError", "run"]


class NoRowsError(StoppedError):
    """A stage selected no training row; the message names the threshold and the gaps that there were."""


@dataclass
class _Run:
    """One invocation: the recipe, where its models battle, and what its stages came to so far."""

    recipe: ArenaLearning
    arena: Arena
    stages: Stages
    slices: list[list[str]]
    inputs: str
    guards: Guards
    done: dict[Stage, StageResult] = field(default_factory=dict)
    targets: dict[Stage, Stage] = field(default_factory=dict)
    """whose checkpoint battled for each stage"""

    def once(self, stage: Stage, work: Callable[[], StageResult]) -> bool:
        """Do a stage's work, or find it done; whether training stops here, by a rule of `recipes.guards`."""
        self.done[stage] = self.stages.once(stage.name, self.inputs, work)
        if not stage.answers:
            return False
        watching = f"{WATCHING} of {stage.name}"
        begin_part(self.arena.store, watching, watching)
        with self.stages.ledger.stage(WATCHING):
            broken = self.guards.broken_by(self.contestant(stage))
        finish_part(self.arena.store, watching, watching)
        if broken is None:
            return False
        self.arena.observer.note(f"training stops after {stage.name} (guards.{broken.rule}): {broken.why}")
        return True

    def checkpoint(self, stage: Stage) -> str:
        return str(self.stages.checkpoint(stage.name))

    def contestant(self, stage: Stage) -> Contestant:
        return self.recipe.target(stage.name, self.stages.checkpoint(stage.name))


def run(recipe: ArenaLearning, store: Store, out: Path, observer: Observer | None = None) -> Result:
    """Run or resume the whole recipe in a run directory.

    Raises:
        ConfigError, InputError: as in `check`.
        NoRowsError: a stage's battles gave no training row.
        StoppedError: the budget is spent, a server is down or the disk is full; the same call resumes.
    """
    check(recipe)
    s, told = recipe.settings, recipe.settings.model_dump(mode="json")
    stages = Stages(store, out, observer or Observer(), told, decides(recipe))
    first, *later = plan_stages(s)
    prompts = (*recipe.pool, *recipe.test, *recipe.validation, *recipe.held_out)
    arena = Arena(store, recipe.judge, s, recipe.recorded, Budget(s.budget_usd, s.budget_calls), stages.observer)
    arena.admit(prompts, recipe.opponents)
    material = recipe.material
    watching = guards(arena, s, recipe.held_out_judge, recipe.opponents, material.held_out, material.validation)
    r = _Run(recipe, arena, stages, cut_slices(recipe, slice_count(s)), inputs_key(recipe), watching)
    recipe.prepare()

    named = ({"model": "demonstrations"} | row for row in recipe.material.demonstrations)
    write_jsonl(stages.rows_file(first.name), named)
    r.once(first, partial(_learn, r, first, recipe.material.demonstrations, recipe.start))
    for round_ in range(1, s.rounds + 1):
        target = best = _best_of(r, round_ - 1)
        for stage in (stage for stage in later if stage.round == round_):
            start = _start(r, stage, best)
            r.targets[stage] = target
            work = partial(_answer_and_learn if stage.kind == "ppo" else _battle_and_learn, r, stage, start)
            if r.once(stage, work):
                return _finish(r)
            if stage.answers:
                target = stage  # what has just learned battles next
    return _finish(r)


def _battle_and_learn(r: _Run, stage: Stage, start: str) -> StageResult:
    """Let the target and its opponents battle on the stage's slice, and train on what is selected of it."""
    r.arena.observer.phase(stage.name, "battles")
    for one in _fights(r, stage):
        battle(r.arena, *one)
    judged = Summary()
    selection = _select(r, stage, judged)
    result = _learn(r, stage, _training_rows(r, stage, selection.rows), start, judged)
    return replace(result, selection=_accounted(r, stage, selection))


def _accounted(r: _Run, stage: Stage, selection: Selection) -> dict[str, Any]:
    """How the prompts of a stage's slice became rows: how many there were and how hard, the threshold, and who won."""
    assert stage.slice is not None
    ids = {*r.slices[stage.slice]}
    prompts = [prompt for prompt in r.recipe.material.pool if prompt.id in ids]
    difficulty = mean_difficulty(prompts, (row["prompt_id"] for row in selection.rows))
    return {
        "prompts": len(ids),
        "k": _threshold(r, stage),
        **({"difficulty": difficulty} if difficulty else {}),
        **selection.to_json(),
    }


def _answer_and_learn(r: _Run, stage: Stage, start: str) -> StageResult:
    """Train by the round's reward model on the prompts of its slice, and of earlier ones where they accumulate."""
    assert r.recipe.reward_of is not None
    model = next(one for one in reversed(r.done) if one.kind == "reward_model")
    earlier = [one for one in r.done if one.kind == stage.kind] if r.recipe.settings.accumulates("ppo") else []
    pool = {prompt.id: prompt for prompt in r.recipe.material.pool}
    slices = [r.slices[one.slice] for one in (*earlier, stage) if one.slice is not None]
    rows = _asked(r, stage, [pool[id_] for ids in slices for id_ in ids])
    return _learn(r, stage, rows, start, reward=r.recipe.reward_of(r.stages.checkpoint(model.name)))


def _asked(r: _Run, stage: Stage, prompts: Sequence[Prompt]) -> list[JsonRow]:
    """Prompts as they are answered in training, one row for each turn.

    Before a later turn stand the answers that the policy gave before this training; a turn after one that failed or is
    empty is left out.
    """
    several = [prompt for prompt in prompts if prompt.follow_ups]
    answers = answer(r.arena, r.contestant(r.targets[stage]), several) if several else []
    said = {one.prompt_id: one.texts for one in answers if one is not None and one.battles}
    rows: list[JsonRow] = []
    for prompt in prompts:
        texts = tuple(takewhile(str.strip, said.get(prompt.id, ())[: len(prompt.follow_ups)]))
        turns = [prompt.conversation(texts[:turn]) for turn in range(len(texts) + 1)]
        rows += [{"prompt": turn, "prompt_id": prompt.id} for turn in turns]
    if left_out := sum(prompt.turns for prompt in prompts) - len(rows):
        r.arena.observer.note(f"{stage.name}: {counted(left_out, 'later turn')} left out: the answer before it failed")
    return rows


def _fights(r: _Run, stage: Stage) -> list[Fights]:
    assert stage.slice is not None
    return fights(r.recipe, stage, r.contestant(r.targets[stage]), r.slices[stage.slice])


def _learn(
    r: _Run,
    stage: Stage,
    rows: Sequence[JsonRow],
    start: str,
    judged: Summary | None = None,
    reward: Reward | None = None,
) -> StageResult:
    """Train on rows, and measure what came of it, where it answers, on the test and the validation set."""
    s, observer, judged = r.recipe.settings, r.arena.observer, judged or Summary()
    by_kind = {"dpo": s.dpo, "reward_model": s.reward_model, "ppo": s.ppo}
    observer.phase(stage.name, "training")
    trained = train(
        stage.kind,
        start,
        rows,
        r.stages.checkpoint(stage.name),
        by_kind.get(stage.kind, s.sft if stage.round else s.sft_init_training),
        seed=derive_seed("train", s.seed, stage.name),
        observer=observer,
        by=s,
        revision=s.target.revision if start == r.recipe.start else None,
        reward=reward,
    )
    if not stage.answers:
        return replace(trained, judged=judged)
    contestant = r.contestant(stage)
    observer.phase(stage.name, "test answers")
    figures = test(r.arena, contestant, r.recipe.test, r.recipe.utility)
    figures["validation_score"] = None
    if validation := r.recipe.material.validation:
        observer.phase(stage.name, "validation")
        figures["validation_score"] = validate(r.arena, contestant, r.recipe.opponents, validation, judged)
    return replace(trained, figures=figures, judged=judged)


def _best_of(r: _Run, round_: int) -> Stage:
    """The stage of a round with the highest validation score; the last one where there is no validation set."""
    stages = [stage for stage in r.done if stage.round == round_ and stage.answers]
    scored = [(score, i) for i, s in enumerate(stages) if (score := r.done[s].figures["validation_score"]) is not None]
    return stages[max(scored)[1] if len(scored) == len(stages) else -1]


def _start(r: _Run, stage: Stage, best: Stage) -> str:
    """The checkpoint that a stage's training starts from; `best` is the best of the round before."""
    init = r.recipe.settings.sft_init
    if stage.kind == "reward_model" and r.recipe.settings.rm_init == "base":
        return r.recipe.start
    if stage.kind != "sft":
        return r.checkpoint([one for one in r.done if one.answers][-1])
    if init == "base":
        return r.recipe.start
    return r.checkpoint(best if init == "previous_best" else [one for one in r.done if one.kind == "sft"][-1])


def _finish(r: _Run) -> Result:
    """Rate every stage and the opponents on the test set, and write what the run came to."""
    for stage, result in r.done.items():
        if result.selection and (
            _line_count(r.stages.rows_file(stage.name)) != result.selection["rows"]
            or _line_count(r.stages.rows_file(f"{stage.name}.dropped")) != sum(result.selection["dropped"].values())
        ):
            _select(r, stage)  # lost or cut since then, or of a version that wrote none
    fighters = [*(r.contestant(stage) for stage in r.done if stage.answers), *r.recipe.opponents]
    results = {stage.name: result for stage, result in r.done.items()}
    material, cleaned = r.recipe.material, r.recipe.cleaned
    if cleaned is not None:
        write_jsonl(r.stages.rows_file("pool.dropped"), cleaned.dropped)
    return finish(
        r.arena,
        r.stages,
        results,
        fighters,
        r.recipe.test,
        anchor=_anchor(r, [one.name for one in fighters]),
        rating=r.recipe.settings.rating.options(r.recipe.settings.seed),
        left_out=material.left_out,
        contained=material.contained,
        tables=[] if cleaned is None else [_cleaning_table(cleaned.account)],
        guards=r.guards,
    )


def _anchor(r: _Run, fighters: Sequence[str]) -> tuple[str, float] | None:
    """Who is held at which rating; nobody, where training has stopped before that stage."""
    anchor = r.recipe.settings.anchor
    if anchor is None or anchor[0] in fighters:
        return anchor
    r.arena.observer.note(f"no contestant is anchored: training has stopped before {anchor[0]}")
    return None


def _cleaning_table(account: Account) -> dict[str, Any]:
    rows = [[one.step, one.about, one.before, one.dropped, one.after] for one in account.steps]
    return {
        "title": "Cleaning of the pool",
        "columns": ["step", "what goes", "before", "dropped", "after"],
        "rows": rows,
        "note": "Each dropped row stands in data/pool.dropped.jsonl, with the reason and what it is like.",
    }


def _line_count(path: Path) -> int:
    return read_regular(path).count(b"\n") if path.is_file() else 0


# ---------------------------------------------------------------------- battles → rows


def _select(r: _Run, stage: Stage, judged: Summary | None = None) -> Selection:
    """What a stage's stored battles come to as rows, which are also written to its file; that file is never read."""
    selection = Selection()
    for one in _fights(r, stage):
        selection.add(_selected(r, stage, one, _threshold(r, stage), judged))
    write_jsonl(r.stages.rows_file(stage.name), selection.rows)
    write_jsonl(r.stages.rows_file(f"{stage.name}.dropped"), selection.left)
    if not selection.rows:
        name, k = threshold(r.recipe.settings, stage)
        gaps = ", ".join(f"{gap}: {n}" for gap, n in sorted(selection.gaps.items())) or "none"
        raise NoRowsError(
            f"{stage.name}: no prompt gave a training row at {name} = {k:g} (gaps, by whole points: {gaps}); "
            f"with a lower {name} the run goes on from here"
        )
    return selection


def _selected(r: _Run, stage: Stage, fought: Fights, k: float, judged: Summary | None) -> Selection:
    """The rows that some stored battles of a stage give at a threshold."""
    s, target = r.recipe.settings, r.targets[stage].name
    scored = list(prompt_scores(r.arena.plan(*fought), r.arena.store, judged))
    allowed = s.allow_truncated_chosen
    if stage.kind == "sft":
        selection = sft_rows(scored, target=target, k=k, allow_truncated=allowed, seed=s.seed)
    else:
        # between two answers of the target's own, the rule that names the target has nothing to say
        rejected = s.rejected if target in {one.name for one in fought.contestants} else "worst"
        selection = preference_pairs(
            scored, target=target, k=k, rejected=rejected, allow_truncated=allowed, seed=s.seed
        )
    known = {one.prompt.id for one in scored}
    undecided = [prompt_id for prompt_id in fought.prompt_ids if prompt_id not in known]
    selection.left += [{"prompt_id": one, "reason": "battles undecided"} for one in undecided]
    if undecided:
        selection.dropped["battles undecided"] += len(undecided)
    return selection


def _threshold(r: _Run, stage: Stage) -> float:
    return threshold(r.recipe.settings, stage)[1]


def _training_rows(r: _Run, stage: Stage, new: Sequence[JsonRow]) -> list[JsonRow]:
    """This stage's rows, those of earlier rounds by their own battles and thresholds, and replayed demonstrations."""
    s = r.recipe.settings
    rows: list[JsonRow] = []
    if s.accumulate:
        for earlier in r.done:
            if earlier.kind == stage.kind and 0 < earlier.round < stage.round:
                rows += _again(r, earlier, stage) if s.accumulate == "reselect" else _select(r, earlier).rows
    rows += new
    if stage.kind == "sft" and s.sft_replay:
        replayed = round(s.sft_replay * len(rows))
        rows += random_rows(r.recipe.material.demonstrations, replayed, derive_seed("replay", s.seed, stage.name))
    return rows


def _again(r: _Run, earlier: Stage, stage: Stage) -> list[JsonRow]:
    """Rows of an earlier round's battles by a later stage's threshold."""
    k = _threshold(r, stage)
    return [row for fought in _fights(r, earlier) for row in _selected(r, earlier, fought, k, None).rows]
