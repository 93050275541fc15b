"""Why a model's verdicts on its own judgements are worth so little: what they follow, and where they are asked.

    python experiments/self_rewarding/verdicts.py [--seeds 10 11 12 13 14] [--split test]
                                                  [--jobs 2] [--out DIR] [--small]

Of `full.py`'s runs of Meta-Rewarding without the gate (the same ``--out`` finds them), by model that judged. A verdict
begins with a judgement of its own, and so with a third score.

    verdicts right       of those on two scores of which one is nearer to the truth
    follow               verdicts for the score that is nearer to the third one, of those on two of which one is
    third score right    share of third scores that are what the answer is worth
    right if it is, if it is not
    scores right         of all judgements in that iteration, and of the answers whose judgements are compared:
                         those whose scores vary most
"""

from __future__ import annotations

import re
import sqlite3
import sys
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1]))

from gold import arguments
from over_seeds import Figures, over_seeds
from self_rewarding.bench import Bench
from self_rewarding.full import OPEN
from self_rewarding.tables import Shown, table

from arenaloop.sandbox import roles

_THIRD = re.compile(r"\n(\d) \d+:\d+ \d+:\d+\nWinner: ")
COLUMNS = (
    Shown("verdicts", "verdicts", 1, 0),
    Shown("right", "verdicts right, %", 100, 1),
    Shown("follow", "follow the third score, %", 100, 1),
    Shown("third right", "third score right, %", 100, 1),
    Shown("right with it", "verdicts right if it is, %", 100, 1),
    Shown("right without it", "if it is not, %", 100, 1),
    Shown("all right", "scores right: all answers, %", 100, 1),
    Shown("varied right", "compared answers, %", 100, 1),
)


def one_seed(seed: int, split: str, place: Path, small: bool) -> Figures:
    """Figures of the models whose verdicts were learned from."""
    with Bench.opened(seed, split, place, small) as bench:
        recipe = bench.recipe("open", "meta_rewarding", *OPEN)
        bench.run("open", bench.started(recipe, "M1"))
        bench.store.flush()
        found: Figures = {}
        for number, name in ((2, "M2"), (3, "M3")):
            path = bench.trained[f"open {name}"]
            assert recipe.meta is not None
            hashes = recipe.meta(name, path).fingerprint, recipe.rubric(name, path).fingerprint
            asked = {prompt.id: prompt.last_user for prompt in bench.slice(number)}
            found[name] = of_model(place / "arena.db", *hashes, asked)
        return found


def of_model(arena: Path, meta: str, rubric: str, asked: Mapping[str, str]) -> dict[str, float]:
    """Figures of one model's verdicts on its own judgements.

    Args:
        arena: the arena file.
        meta, rubric: fingerprints of the model as a judge of judgements, and of answers.
        asked: prompts of the iteration by their ids.
    """
    with closing(sqlite3.connect(f"file:{arena}?mode=ro", uri=True)) as base:
        texts = dict(base.execute("SELECT text_hash, text FROM responses"))
        query = (
            "SELECT prompt_id, response_hash, text_hash, score FROM judgements WHERE judge_hash = ? AND score NOT NULL"
        )
        said = [row for row in base.execute(query, (rubric,)) if row[0] in asked]
        query = "SELECT prompt_id, first_hash, second_hash, outcome, raw FROM verdicts WHERE judge_hash = ?"
        verdicts = [row for row in base.execute(query, (meta,)) if row[0] in asked and row[3] in ("A", "B")]
    of: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    scores: dict[tuple[str, str], list[float]] = defaultdict(list)
    for prompt, answer, judgement, score in said:
        of[prompt, judgement][answer] = score
        scores[prompt, answer].append(score)
    worth = {key: roles.score(asked[key[0]], texts[key[1]]) for key in scores}
    shares: dict[str, list[bool]] = defaultdict(list)
    compared = set()
    for prompt, first, second, outcome, raw in verdicts:
        both = [answer for answer in of[prompt, first] if answer in of[prompt, second]]
        if len(both) != 1:  # two answers of one prompt were judged in the same words
            continue
        compared.add((prompt, both[0]))
        points, third = worth[prompt, both[0]], _THIRD.search(raw)
        a, b = (of[prompt, one][both[0]] for one in (first, second))
        nearer = _nearer(a, b, points)
        if third is not None:
            shares["third right"].append(int(third[1]) == points)
            if (own := _nearer(a, b, int(third[1]))) is not None:
                shares["follow"].append(outcome == own)
        if nearer is not None:
            shares["right"].append(outcome == nearer)
            if third is not None:
                shares["right with it" if shares["third right"][-1] else "right without it"].append(outcome == nearer)
    shares["all right"] = [score == worth[key] for key, some in scores.items() for score in some]
    shares["varied right"] = [score == worth[key] for key in compared for score in scores[key]]
    return {"verdicts": float(len(verdicts))} | {key: float(np.mean(each)) for key, each in shares.items() if each}


def _nearer(a: float, b: float, points: int | None) -> str | None:
    """Which of two scores is nearer to these points, A or B."""
    if points is None or abs(a - points) == abs(b - points):
        return None
    return "A" if abs(a - points) < abs(b - points) else "B"


if __name__ == "__main__":
    seeds = over_seeds(one_seed, "verdicts", arguments(__doc__, [10, 11, 12, 13, 14]))
    table(seeds, ["M2", "M3"], COLUMNS, "judge")
