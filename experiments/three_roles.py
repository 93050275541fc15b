"""Does one tiny model learn to answer, to judge answers, and to judge judgements?

    python experiments/three_roles.py [--seeds 0 1 2] [--split dev] [--out DIR] [--small]

For each seed: the first model of the demo of Meta-Rewarding, fine-tuned on demonstrations and on judgements made by the
truth. Measured on held-out prompts, through the judges that the recipe uses:

    accuracy, utility    gold, greedy answers
    sampled              gold utility of 4 answers at temperature 1
    spearman, pairwise   of its greedy scores of those answers with their gold: rank correlation over all answers, and
                         the share of pairs within a prompt that are in the right order, equal scores counted half
    read                 share of those judgements that could be read
    meta                 share of verdicts that are right, on two judgements of an answer at temperature 1 of which one
                         is truly better, in both orders; `pairs` is how many of these there were
    seat                 share of verdicts for the first seat
    cpu_s                CPU seconds of the training

Prints a row a seed, and the means. What is finished in DIR is not trained again.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
from gold import arguments, parsed

from arenaloop.config import MetaRewardingSettings
from arenaloop.judges.meta import seated
from arenaloop.ratings.judge_drift import gold_agreement
from arenaloop.recipes.observer import Observer
from arenaloop.recipes.parts import Arena, Question, answer, compared, judged, test, train
from arenaloop.recipes.self_rewarding_plan import SelfRewarding
from arenaloop.sandbox.roles import better
from arenaloop.specs.recipes import demo_settings
from arenaloop.specs.recipes.self_rewarding import build_self_rewarding
from arenaloop.store import Store
from arenaloop.types import Judgement, Outcome, Prompt, Response, Sampling, derive_seed

SAMPLES, VOTES = 4, 4
SMALL = (
    "target.options={layers: 1, width: 16, heads: 2}",
    "data.demonstrations=sandbox:demonstrations?n=200",
    'data.judgements=["sandbox:evaluations?n=200", "sandbox:comparisons?n=100"]',
    "data.test=sandbox:prompts?n=10&split=test",
    "sft.max_steps=4",
)
COLUMNS = {
    **dict.fromkeys(["accuracy", "utility", "sampled", "spearman", "pairwise", "read", "meta", "seat"], ".3f"),
    **dict.fromkeys(["pairs", "cpu_s"], ".0f"),
}


def first_model(recipe: SelfRewarding, store: Store, out: Path) -> tuple[Path, float]:
    """The recipe's first model, and the CPU seconds of its training."""
    material, before = recipe.material, time.process_time()
    recipe.prepare()
    rows = [*material.demonstrations, *recipe.filled(material.judgements, store.secret)]
    seed = derive_seed("train", recipe.settings.seed, "M1")
    train("sft", recipe.start, rows, out, recipe.settings.sft, seed=seed, observer=Observer())
    return out, time.process_time() - before


def one_seed(seed: int, split: str, out: Path, small: bool) -> dict[str, float]:
    """All figures of one seed; NaN where there is nothing to take one of."""
    settings = demo_settings("meta_rewarding", f"seed={seed}", *(SMALL if small else ()), split=split)
    assert isinstance(settings, MetaRewardingSettings)
    recipe = build_self_rewarding(settings, out)
    assert recipe.meta is not None
    out.mkdir(parents=True, exist_ok=True)
    with Store(out / "arena.db") as store:
        arena = Arena(store, recipe.judge, settings)
        arena.admit(recipe.test, [])
        model, seconds = first_model(recipe, store, out / "checkpoints" / "M1")
        contestant = recipe.target("M1", model)
        figures = test(arena, contestant, recipe.test, recipe.utility)
        warm = replace(contestant, sampling=Sampling(temperature=1.0, max_tokens=contestant.sampling.max_tokens))
        found = answer(arena, warm, recipe.test, samples=SAMPLES)
        answers = [
            (prompt, one)
            for at, prompt in enumerate(recipe.test)
            for one in found[at * SAMPLES : (at + 1) * SAMPLES]
            if one is not None and one.battles
        ]
        rubric = recipe.rubric("M1", model)
        cold = type(rubric)(rubric.model, rubric.template, sampling=replace(rubric.sampling, temperature=0.0))
        scores = [said[0].score for said in judged(arena, cold, answers)]
        said = list(judged(arena, rubric, answers, VOTES))
        questions = list(_questions(answers, said))
        verdicts = compared(arena, recipe.meta("M1", model), [question for question, _ in questions], 0)
    worth = [_gold(recipe, *one) for one in answers]
    read = [at for at, score in enumerate(scores) if score is not None]
    agreement = gold_agreement(
        [float(scores[at] or 0.0) for at in read], [worth[at] for at in read], [answers[at][0].id for at in read]
    )
    told = [
        (verdict.outcome is wanted, verdict.outcome is Outcome.A)
        for verdict, (_, wanted) in zip(verdicts, questions, strict=True)
        if verdict is not None and verdict.outcome is not None
    ]
    return {
        "accuracy": _number(figures["gold_accuracy"]),
        "utility": _number(figures["gold_utility"]),
        "sampled": float(np.mean(worth)),
        "spearman": _number(agreement["judge_spearman"]),
        "pairwise": _number(agreement["judge_pairwise"]),
        "read": len(read) / len(answers),
        "meta": float(np.mean([right for right, _ in told])) if told else np.nan,
        "seat": float(np.mean([first for _, first in told])) if told else np.nan,
        "pairs": len(questions) / 2,
        "cpu_s": seconds,
    }


def _questions(
    answers: list[tuple[Prompt, Response]], said: list[list[Judgement]]
) -> Iterator[tuple[Question, Outcome]]:
    """Of each answer the first two judgements of which one is truly better, in both orders, and which that is."""
    for (prompt, one), judgements in zip(answers, said, strict=True):
        readable = [judgement for judgement in judgements if judgement.score is not None]
        for a, b in combinations(readable, 2):
            winner = better(prompt.last_user, one.texts[0], a.raw, b.raw)
            if winner is not None:
                yield (prompt, one, seated(a), seated(b)), Outcome[winner]
                yield (prompt, one, seated(b), seated(a)), Outcome[winner].swap()
                break


def _gold(recipe: SelfRewarding, prompt: Prompt, response: Response) -> float:
    assert recipe.utility is not None
    worth = recipe.utility(prompt, response)
    assert worth is not None  # all its prompts are the sandbox's
    return worth


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def main() -> None:
    """Print the table."""
    parser = arguments(__doc__, [0, 1, 2])
    parser.add_argument("--out", type=Path, help="kept: what is finished there is not trained again")
    options = parsed(parser)
    with ExitStack() as stack:
        out = options.out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        print("| seed |", " | ".join(COLUMNS), "|")
        print("|--|" + "--|" * len(COLUMNS), flush=True)
        table = []
        for seed in options.seeds:
            table.append(one_seed(seed, options.split, out / str(seed), options.small))
            _print_row(seed, table[-1])
        _print_row("mean", {name: float(np.mean([each[name] for each in table])) for name in COLUMNS})


def _print_row(name: object, figures: dict[str, float]) -> None:
    print(f"| {name} |", " | ".join(format(figures[column], form) for column, form in COLUMNS.items()), "|", flush=True)


if __name__ == "__main__":
    main()
