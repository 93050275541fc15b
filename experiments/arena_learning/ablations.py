"""Arena Learning's ablations in the small world, beside the paper's figures (Luo et al. 2024, section 4.4 and tables).

    python experiments/arena_learning/ablations.py [--seeds 10 11 12 13 14] [--split test] [--jobs 2] [--out DIR]
                                                   [--small]

Per seed one round of the demo's recipe with PPO is run; every arm then starts from its SFT-I0 (or SFT-I1, where DPO
is looked at) and from the battles on its slices, and differs from the others in its rows alone: as many steps, the same
order of rows, the same replayed demonstrations.

    selection   a third of the slice's prompts, picked by the battles (the largest gaps; the winner's answer), at
                random, evenly over k-means clusters, by length of prompt and answer, by instruction-following
                difficulty under SFT-I0 (Li et al. 2024: the answer's perplexity with the prompt over that without;
                ratios above 1 left out); the last four with a random opponent's answer, as nobody has judged it, and
                two of them once more with the winner's, so that the choice of prompts is seen alone. `all rows`
                is the whole slice
    k           thresholds of SFT and of DPO
    mode        battles with one opponent, with a third of the prompts for each, with two, with all three in all pairs
    stronger    opponents with half the errors
    judge       the same battles by a better judge; and how far both rank all arms alike

Prints gold accuracy and rating by arm, and for each claim the paired difference with its 95 % t-interval over seeds and
whether its direction is the paper's. INSTAG is not tested: it takes a model that tags intentions, and the small world's
prompts have one each. More battle models than four are not, as the small world has no fourth opponent of that strength.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.append(str(Path(__file__).parents[1]))

from arena_learning.bench import Bench, other_judge
from gold import SMALL, arguments
from over_seeds import Figures, differences, figure, mean, over_seeds, told

from arenaloop.calls.answers import Contestant
from arenaloop.config import OptimSettings
from arenaloop.data.clusters import k_means
from arenaloop.data.embeddings import embed
from arenaloop.data.selection import PromptScores, preference_pairs, sft_row, sft_rows
from arenaloop.jsonl import JsonRow
from arenaloop.models.scripted import ScriptedModel
from arenaloop.ratings.agreement import average_ranks
from arenaloop.sandbox.players import SKILLS, Player
from arenaloop.train.batches import TokenTable
from arenaloop.train.dpo import reference_logprobs
from arenaloop.train.encoding import Encoded
from arenaloop.train.policy import load_policy
from arenaloop.types import derive_seed

ROUND = (
    "rounds=1",
    "stages=[sft,dpo,ppo]",
    "anchor=[scholar,1000]",
    "data.prompts=sandbox:prompts?n=6000&split=train",
    "rm_samples=8",
)
TINY = (*ROUND, *SMALL, "rm_samples=2", "ppo.iterations=2", "ppo.rollout_batch=32", "ppo.step_batch=32")

READ = OptimSettings(max_length=64, threads=1, micro_tokens=8192)
CLUSTERS = 50
THRESHOLDS = (0.0, 1.0, 3.0)
"""Of SFT and DPO; at 2 they are the run's own stages."""


def one_seed(seed: int, split: str, out: Path, small: bool) -> Figures:
    """All arms of one seed."""
    with Bench.opened(seed, split, out, TINY if small else ROUND) as bench:
        scored = bench.fought("SFT-I0", bench.slice("SFT-I1"))
        _selection(bench, scored, seed)
        _thresholds(bench, scored, seed)
        _modes(bench, seed)
        _stronger(bench, seed)
        other = bench.fought("SFT-I0", bench.slice("SFT-I1"), by=other_judge())
        bench.learn("judge: other", "SFT-I0", _lost(other, bench.settings.k_sft[0], seed))
        arms = list(bench.figures)
        bench.rate(arms)
        bench.rate(arms, by=other_judge(), figure="other rating")
        ratings = [np.array([bench.figures[arm][name] for arm in arms]) for name in ("rating", "other rating")]
        ranks = [average_ranks(each) for each in ratings]
        bench.figures["judges"] = {"spearman": float(np.corrcoef(ranks[0], ranks[1])[0, 1])}
        return bench.figures


def _lost(scored: Sequence[PromptScores], k: float, seed: int) -> list[JsonRow]:
    return sft_rows(scored, target="SFT-I0", k=k, seed=seed).rows


def _selection(bench: Bench, scored: Sequence[PromptScores], seed: int) -> None:
    """A third of the prompts by each rule."""
    rng = random.Random(derive_seed("selection", seed))
    names = [one.name for one in bench.recipe.opponents]
    winner = {row["prompt_id"]: row for row in _lost(scored, 0.0, seed)}
    rows = {one.prompt.id: sft_row(one.prompt, one.responses[rng.choice(names)].texts) for one in scored}
    ids = list(rows)
    count = len(ids) // 3
    gaps = sorted(ids, key=lambda one: -winner[one]["margin"] if one in winner else math.inf)
    bench.learn("selection: battles", "SFT-I0", [winner[one] for one in gaps[:count]])
    bench.learn("selection: all rows", "SFT-I0", list(rows.values()))
    by_rule = {
        "random": rng.sample(ids, count),
        "k-means": _evenly(ids, [_asked(rows[one]) for one in ids], count, seed),
        "length": sorted(ids, key=lambda one: -len(_asked(rows[one]) + _answered(rows[one])))[:count],
        "IFD": _hardest(bench, ids, [rows[one] for one in ids], count),
    }
    for rule, chosen in by_rule.items():
        bench.learn(f"selection: {rule}", "SFT-I0", [rows[one] for one in chosen])
        if rule in ("random", "IFD"):
            bench.learn(f"winners: {rule}", "SFT-I0", [winner[one] for one in chosen if one in winner])


def _asked(row: JsonRow) -> str:
    return str(row["messages"][0]["content"])


def _answered(row: JsonRow) -> str:
    return str(row["messages"][-1]["content"])


def _evenly(ids: Sequence[str], texts: Sequence[str], count: int, seed: int) -> list[str]:
    """Prompts in turn from each cluster of the built-in embeddings."""
    vectors = embed(texts, seed=seed)
    labels = k_means(vectors, min(CLUSTERS, len(texts) // 4), seed).labels
    rng = random.Random(derive_seed("clusters", seed))
    order = sorted(range(len(ids)), key=lambda _: rng.random())
    turn: dict[int, int] = {}
    places = []
    for at in order:
        turn[labels[at]] = turn.get(labels[at], 0) + 1
        places.append((turn[labels[at]], at))
    return [ids[at] for _, at in sorted(places)[:count]]


def _hardest(bench: Bench, ids: Sequence[str], rows: Sequence[JsonRow], count: int) -> list[str]:
    """Prompts whose answer the prompt helps least to foresee, but does help."""
    policy = load_policy(bench.trained["SFT-I0"], READ)
    encoder = policy.encoder(READ)

    def nats(asked: Callable[[JsonRow], str]) -> np.ndarray:
        found = []
        for row in rows:
            turns = [{"role": "user", "content": asked(row)}], [{"role": "assistant", "content": _answered(row)}]
            encoded = encoder.encode(*turns, "last", "a row")
            assert isinstance(encoded, Encoded), encoded
            found.append(encoded)
        table = TokenTable(found, policy.pad_id)
        return np.asarray(-reference_logprobs(policy, table, READ).double().numpy() / table.labelled)

    ratio = np.exp(nats(_asked) - nats(lambda _: ""))
    order = np.argsort(np.where(ratio <= 1, -ratio, ratio), kind="stable")  # those above 1 come last
    return [ids[at] for at in order[:count]]


def _thresholds(bench: Bench, scored: Sequence[PromptScores], seed: int) -> None:
    """SFT and DPO by threshold, over whole slices."""
    for k in THRESHOLDS:
        bench.learn(f"SFT: K = {k:g}", "SFT-I0", _lost(scored, k, seed))
    again = bench.fought("SFT-I1", bench.slice("DPO-I1"))
    for k in THRESHOLDS:
        pairs = preference_pairs(again, target="SFT-I1", k=k, rejected=bench.settings.rejected, seed=seed).rows
        bench.learn(f"DPO: K = {k:g}", "SFT-I1", pairs, method="dpo")


def _modes(bench: Bench, seed: int) -> None:
    """Who battles whom, at the recipe's own threshold."""
    k, ids, opponents = bench.settings.k_sft[0], bench.slice("SFT-I1"), bench.recipe.opponents
    split = bench.fought("SFT-I0", ids, mode="split")
    bench.learn("mode: a third each", "SFT-I0", _lost(split, k, seed))
    each = bench.fought("SFT-I0", ids, mode="target_vs_each")
    bench.learn("mode: target against each", "SFT-I0", _lost(each, k, seed))
    for some in (*combinations(opponents, 1), *combinations(opponents, 2)):
        rows = _lost(bench.fought("SFT-I0", ids, opponents=some), k, seed)
        bench.learn(f"mode: {' + '.join(one.name for one in some)}", "SFT-I0", rows)


def _stronger(bench: Bench, seed: int) -> None:
    """A round against opponents with half the errors."""
    opponents = []
    for one in bench.recipe.opponents:
        skills = {family: 1 - (1 - skill) / 2 for family, skill in SKILLS[one.name].items()}
        name = f"{one.name}+"
        model = ScriptedModel(name, Player(name, skills), version=skills)
        opponents.append(Contestant(name, model, one.sampling))
    s = bench.settings
    scored = bench.fought("SFT-I0", bench.slice("SFT-I1"), opponents=opponents)
    bench.learn("stronger: SFT", "SFT-I0", _lost(scored, s.k_sft[0], seed))
    again = bench.fought("stronger: SFT", bench.slice("DPO-I1"), opponents=opponents)
    pairs = preference_pairs(again, target="stronger: SFT", k=s.k_dpo[0], rejected=s.rejected, seed=seed).rows
    bench.learn("stronger: DPO", "stronger: SFT", pairs, method="dpo")


# ---------------------------------------------------------------------- what is printed

ONE = ("mode: scholar", "mode: clerk", "mode: poet")
TWO = ("mode: scholar + clerk", "mode: scholar + poet", "mode: clerk + poet")


class Claim(NamedTuple):
    """The paper has `better` above `worse`; `paper` are its ratings of both."""

    what: str
    better: str | Sequence[str]
    worse: str | Sequence[str]
    paper: str


CLAIMS = (
    Claim("battles − all rows", "selection: battles", "selection: all rows", "1108 − 1079"),
    Claim("battles − random", "selection: battles", "selection: random", "1108 − 1072"),
    Claim("battles − k-means", "selection: battles", "selection: k-means", "1108 − 1085"),
    Claim("battles − length", "selection: battles", "selection: length", "1108 − 1081"),
    Claim("battles − IFD", "selection: battles", "selection: IFD", "1108 − 1091"),
    Claim("IFD − random", "selection: IFD", "selection: random", "1091 − 1072"),
    Claim("k-means − random", "selection: k-means", "selection: random", "1085 − 1072"),
    Claim("length − random", "selection: length", "selection: random", "1081 − 1072"),
    Claim("battles − random, winner's answers", "selection: battles", "winners: random", ""),
    Claim("battles − IFD, winner's answers", "selection: battles", "winners: IFD", ""),
    Claim("SFT: K = 3 − K = 0", "SFT: K = 3", "SFT: K = 0", "1117 − 1047"),
    Claim("SFT: K = 2 − K = 0", "SFT-I1", "SFT: K = 0", ""),
    Claim("DPO: K = 2 − K = 0", "DPO-I1", "DPO: K = 0", "1187 − 1165"),
    Claim("all pairs − one opponent", "SFT-I1", ONE, "1117 − 989 (mean of 924, 1015, 1028)"),
    Claim("all pairs − the best single one", "SFT-I1", "mode: scholar", "1117 − 1028"),
    Claim("all pairs − a third each", "SFT-I1", "mode: a third each", "1117 − 1046"),
    Claim("a third each − one opponent", "mode: a third each", ONE, "1046 − 989"),
    Claim("three models − two", TWO, ONE, "1071 (mean of 1052, 1065, 1095) − 989"),
    Claim("four models − three", "SFT-I1", TWO, "1117 − 1071"),
    Claim("all pairs − target against each", "SFT-I1", "mode: target against each", ""),
    Claim("stronger opponents, SFT", "stronger: SFT", "SFT-I1", ""),
    Claim("stronger opponents, DPO", "stronger: DPO", "DPO-I1", "1232 − 1187"),
    Claim("SFT-I1 − SFT-I0", "SFT-I1", "SFT-I0", "1117 − 871"),
    Claim("+DPO", "DPO-I1", "SFT-I1", "1187 − 1117"),
    Claim("+PPO", "PPO-I1", "DPO-I1", "1214 − 1187"),
    Claim("a better judge's battles", "judge: other", "SFT-I1", ""),
)


def print_tables(seeds: Sequence[Figures]) -> None:
    """The arms, and the claims direction by direction."""
    print("\n| arm | rows | gold, % | rating on 200 prompts |\n|--|--|--|--|")
    for arm in seeds[0]:
        if arm != "judges":
            rows = figure(seeds, arm, "rows").mean()
            gold = mean(100 * figure(seeds, arm, "gold"))[3]
            print(f"| {arm} | {rows:,.0f} | {gold} | {mean(figure(seeds, arm, 'rating'), 0)[3]} |")
    print("\n| claim | paper's ratings | points of gold | rating | direction |\n|--|--|--|--|--|")
    for claim in CLAIMS:
        gained = differences(seeds, claim.better, claim.worse)
        rating = figure(seeds, claim.better, "rating") - figure(seeds, claim.worse, "rating")
        _, lower, upper, _ = mean(gained)
        word = "same" if lower > 0 else "opposite" if upper < 0 else "not shown"
        said = word if claim.paper else "not the paper's"
        print(f"| {claim.what} | {claim.paper or '–'} | {told(gained)} | {told(rating)} | {said} |")
    agreed = mean(figure(seeds, "judges", "spearman"), 3)[3]
    print(f"\nSpearman of all arms' ratings by the two judges: {agreed} (paper, against GPT-4: 0.993)")
    print("Not tested: INSTAG, more than four battle models, PPO against stronger opponents.")


if __name__ == "__main__":
    print_tables(over_seeds(one_seed, "ablations", arguments(__doc__, [10, 11, 12, 13, 14])))
