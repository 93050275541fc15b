"""Self-Rewarding with length control and Meta-Rewarding in the small world, four iterations each from one seed model.

    python experiments/self_rewarding/full.py [--seeds 10 11 12 13 14] [--split test] [--controls]
                                              [--jobs 2] [--out DIR] [--small]

The demos' settings, but that both recipes take five judgements of each answer, and those of `META`. Three runs: `self`,
`open` (Meta-Rewarding as the paper has it) and `meta` (behind the gate: pairs of judgements are learned from where the
model's verdicts on its judgements are shown to be better than chance). M1 is made once a seed; all start at it, on the
same slices, and what a model of the same weights answers or judges is asked once.
By model: gold accuracy and utility, length of its answers; how its scores go with the truth on its own model's answers
(own: those of the iteration) and on one set (fixed: M1's samples to the test prompts); and how it drifts.

With ``--controls``, from M1 on the samples of the first iteration:

    random answers   pairs of answers by random scores
    gold answers     by the truth
    chosen           cross-entropy on the answers that M1 itself chose, as many steps
    no control       the best against the worst, whatever their lengths
    rho 0.4          length control among scores that are near each other, as in the paper's last iteration

and from M2 of Self-Rewarding, on the samples of its second iteration, pairs of answers by its own scores and

    answers alone    nothing else
    own verdicts     pairs of judgements by its own verdicts
    random verdicts  by verdicts that are random
    gold verdicts    by the truth

With the same ``--out`` the controls find the runs that were made before. All figures are printed with 95 % t-intervals
over seeds; differences are paired. Settings were chosen on dev prompts of seeds 1 and 2.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.append(str(Path(__file__).parents[1]))

from gold import arguments
from over_seeds import Figures, mean, over_seeds
from self_rewarding.bench import Bench, random_reward, scripted_meta
from self_rewarding.tables import Shown, compared, table, told, values

from arenaloop.config import SFTSettings
from arenaloop.jsonl import read_rows
from arenaloop.recipes.observer import Observer
from arenaloop.recipes.parts import train
from arenaloop.types import derive_seed

META = ("meta.begin=2", "meta.iterations=2", "meta.pairs=all")
"""What differs from the demo of Meta-Rewarding: M1's verdicts on its own judgements are no better than chance."""

AT_ONCE = ("meta.begin=1", "meta.iterations=1", "gates.meta=null")
"""Changes with which a run of one iteration learns from judgements, whatever the verdicts on them are worth."""

CONTROL_OF_LENGTH = {"no control": "null", "rho 0.4": "0.4"}
"""Arms by the value of `rho`; that of both recipes is 0."""

MODELS = ("M1", "M2", "M3", "M4", "M5")
OPEN = (*META, "gates.meta=null")
"""As the paper has it: nothing asks what the verdicts are worth."""

RECIPES = ("self", "open", "meta")


def whole(seed: int, split: str, place: Path, small: bool) -> Figures:
    """The runs of one seed, and all their judges on one set of answers."""
    with Bench.opened(seed, split, place, small) as bench:
        for arm, changes in (("open", OPEN), ("meta", META)):
            bench.run(arm, bench.started(bench.recipe(arm, "meta_rewarding", *changes), "M1"))
        fixed, late = bench.samples("M1"), bench.samples("self M5")
        for name in (f"{arm} {model}" for arm in RECIPES for model in MODELS):
            bench.judge(name, fixed, "fixed ")
        for name in ("self M1", "self M5", "open M5"):
            bench.judge(name, late, "late ")
        return bench.figures


def controls(seed: int, split: str, place: Path, small: bool) -> Figures:
    """One iteration in other ways, from the models and samples of that seed's run."""
    with Bench.opened(seed, split, place, small) as bench:
        measured = {"M1": "self M1", "own answers": "self M2"}

        def iterate(arm: str, start: str, number: int, kind: str, *changes: str, **parts: Any) -> None:
            """An iteration from a model of the run, on the prompts that it had there."""
            asked = bench.slice(number)
            only = ("iterations=1", f"prompts_per_iteration={len(asked)}")
            recipe = bench.started(bench.recipe(arm, kind, *only, *changes), start)
            bench.run(arm, replace(recipe, pool=asked, **parts))
            measured[arm] = f"{arm} M2"

        actor, judge = ("M1", 1, "self_rewarding"), ("self M2", 2, "meta_rewarding", *META, *AT_ONCE)
        iterate("random answers", *actor, reward=random_reward(seed))
        iterate("gold answers", *actor, "reward=sandbox:gold")
        _chosen(bench, "chosen")
        measured["chosen"] = "chosen"
        for arm, rho in CONTROL_OF_LENGTH.items():
            iterate(arm, *actor, f"rho={rho}")
        iterate("answers alone", "self M2", 2, "self_rewarding")
        iterate("own verdicts", *judge)
        for name, accuracy in (("random", 0.5), ("gold", 1.0)):
            iterate(f"{name} verdicts", *judge, meta=scripted_meta(name, accuracy))
        fixed = bench.samples("M1")
        for arm, name in measured.items():
            if arm not in CONTROL_OF_LENGTH:
                bench.judge(name, fixed, "fixed ")
        return bench.figures | {arm: bench.figures[name] for arm, name in measured.items()}


def _chosen(bench: Bench, arm: str) -> None:
    """M1, fine-tuned on the answers that it chose itself in its first iteration, in as many steps."""
    s = bench.recipe("self", "self_rewarding").settings.dpo
    shared = {key: value for key, value in s.model_dump().items() if key in SFTSettings.model_fields}
    selected = [row for _, row in read_rows(bench.place / "self" / "data" / "M2.jsonl")]
    rows = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in selected]
    out, start = bench.place / "arms" / arm, str(bench.trained["M1"])
    seed = derive_seed("train", bench.seed, "M2")
    train("sft", start, rows, out, SFTSettings(**shared), seed=seed, observer=Observer())
    bench.trained[arm] = out
    bench.tested(arm)
    bench.figures[arm]["rows"] = len(rows)


# ---------------------------------------------------------------------- what is printed


ANSWERS = (
    Shown("gold_accuracy", "gold, %", 100, 1),
    Shown("gold_utility", "utility, %", 100, 1),
    Shown("mean_length", "letters"),
)
JUDGES = (
    Shown("fixed judge_spearman", "fixed: Spearman", 1, 3),
    Shown("fixed judge_pairwise", "fixed: pairs right, %", 100, 1),
    Shown("fixed off", "fixed: points off"),
    Shown("judge_spearman", "own: Spearman", 1, 3),
    Shown("judge_pairwise", "own: pairs right, %", 100, 1),
)
DRIFT = (
    Shown("own mean", "own: mean score"),
    Shown("own perfect", "own: perfect, %", 100, 1),
    Shown("own failure_rate", "own: unread, %", 100, 2),
    Shown("fixed mean", "fixed: mean score"),
    Shown("fixed perfect", "fixed: perfect, %", 100, 1),
    Shown("answer_length", "letters of samples"),
    Shown("follows_score", "follows the score, %", 100, 1),
    Shown("first_seat", "first seat, %", 100, 1),
    Shown("first_seat_equal", "of equal scores, %", 100, 1),
    Shown("gate meta right", "verdicts right, %", 100, 1),
    Shown("gate meta passed", "gate passed, %", 100, 0),
    Shown("answers right", "pairs of answers right, %", 100, 1),
    Shown("judgements pairs", "pairs of judgements", 1, 0),
    Shown("judgements right", "of these right, %", 100, 1),
)


class Claim(NamedTuple):
    """What the paper's table says of a difference, and where it is looked for here; `up`: as it should go."""

    what: str
    paper: str
    first: str
    second: str
    shown: Shown
    up: bool = True


GOLD, FIXED, LETTERS, MEAN = ANSWERS[0], JUDGES[0], ANSWERS[2], DRIFT[0]
CLAIMS = (
    *(
        Claim(f"Self-Rewarding, iteration {n}", paper, f"self M{n + 1}", f"self M{n}", GOLD)
        for n, paper in enumerate(("26.93 − 25.47", "30.38 − 26.93", "34.87 − 30.38", "35.49 − 34.87"), start=1)
    ),
    *(
        Claim(f"Meta-Rewarding, iteration {n}", paper, f"open M{n + 1}", f"open M{n}", GOLD)
        for n, paper in enumerate(("27.85 − 25.47", "32.66 − 27.85", "35.45 − 32.66", "39.44 − 35.45"), start=1)
    ),
    Claim("Meta − Self, the last model's answers", "39.44 − 35.49", "open M5", "self M5", GOLD),
    Claim("Meta − Self, judge of iteration 2", "0.382 − 0.347", "open M3", "self M3", FIXED),
    Claim("Self, judge of iteration 2 − M1", "0.347 − 0.321", "self M3", "self M1", FIXED),
    Claim("Meta, judge of iteration 2 − M1", "0.382 − 0.321", "open M3", "open M1", FIXED),
    Claim("Meta, the last judge − that of iteration 2", "falls", "open M5", "open M3", FIXED, up=False),
    Claim("Meta, mean score of the last iteration − first", "4.7 − 4.1", "open M4", "open M1", MEAN),
    Claim("Self, length of answers", "2005 − 1943 characters", "self M5", "self M1", LETTERS),
    Claim("Meta, length of answers", "2003 − 1943 characters", "open M5", "open M1", LETTERS),
)


def claims(seeds: Sequence[Figures]) -> None:
    """The paper's claims, direction by direction."""
    print("\n| claim | paper | here | direction |\n|--|--|--|--|")
    for one in CLAIMS:
        lead = values(seeds, one.first, one.shown) - values(seeds, one.second, one.shown)
        lead = lead[np.isfinite(lead)]
        word = "not shown"
        if len(lead) > 1:
            _, lower, upper, _ = mean(lead)
            word = "not shown" if lower <= 0 <= upper else "same" if (lower > 0) == one.up else "opposite"
        print(f"| {one.what} | {one.paper} | {told(lead, one.shown.digits, signed=True)} | {word} |")


def print_whole(seeds: Sequence[Figures]) -> None:
    """Both recipes side by side."""
    names = [f"{arm} {model}" for arm in RECIPES for model in MODELS]
    for columns in (ANSWERS, JUDGES, DRIFT):
        table(seeds, names, columns)
    both = [(f"{arm} {model}", f"self {model}") for arm in RECIPES[1:] for model in MODELS[1:]]
    steps = [(f"{arm} {model}", f"{arm} M1") for arm in RECIPES for model in MODELS[1:]]
    for columns in ((*ANSWERS, *JUDGES[:2]), (*JUDGES[2:], *DRIFT[:2])):
        compared(seeds, [*both, *steps], columns)
    late = tuple(Shown(f"late {key}", title, scale, digits) for key, title, scale, digits in LATE)
    table(seeds, ["self M1", "self M5", "open M5"], late, "judge of self M5's answers")
    claims(seeds)


LATE = (
    ("judge_spearman", "Spearman", 1.0, 3),
    ("judge_pairwise", "pairs right, %", 100.0, 1),
    ("off", "points off", 1.0, 2),
    ("gold_sd", "standard deviation of their worth", 1.0, 3),
)


def print_controls(seeds: Sequence[Figures]) -> None:
    """One iteration beside its controls."""
    actor = ["own answers", "random answers", "gold answers", "chosen", *CONTROL_OF_LENGTH]
    judge = ["answers alone", "own verdicts", "random verdicts", "gold verdicts"]
    rows = (Shown("rows", "rows", 1, 0), *DRIFT[-3:])
    table(seeds, ["M1", *actor, "self M2", *judge], (*rows, *ANSWERS, *JUDGES[:3]), "arm")
    pairs = [("own answers", "M1"), *(("own answers", other) for other in actor[1:])]
    pairs += [("answers alone", "self M2"), *((other, "answers alone") for other in judge[1:])]
    pairs += [("own verdicts", "random verdicts"), ("gold verdicts", "own verdicts")]
    compared(seeds, pairs, (*ANSWERS, *JUDGES[:3]))


if __name__ == "__main__":
    parser = arguments(__doc__, [10, 11, 12, 13, 14])
    parser.add_argument("--controls", action="store_true", help="an iteration in other ways, instead")
    if "--controls" in sys.argv:
        print_controls(over_seeds(controls, "controls", parser))
    else:
        print_whole(over_seeds(whole, "full", parser))
