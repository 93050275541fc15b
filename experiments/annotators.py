"""Simulated annotators: a pool beside one annotator, the calls that noise saves, and fits that find what was planted.

    python experiments/annotators.py [--pairs N] [--simulations N] [--seed N] [--data FOLDER]

The first table is AlpacaFarm's (arXiv 2305.14387, section 4.2) in the small world: agreement with the mode of four
simulated people, bias, variance (one vote against the mode of the others) and bias towards gold, of the shipped
synthetic pool without noise (p_eval) and with a quarter of the labels turned (p_sim), of its sharpest annotator alone,
and of the same without noise of its own (greedy). With FOLDER the same on GPT-4's recorded labels
(`farm_crossannotations_gpt4`, two prompts with four seeds each, and `farm_human_labels`): each prompt alone, and a pool
of the two.

Then labels are drawn of annotators with planted noise, seat, length and list bias, and fitted; told is how often the
intervals of 95 % hold what was planted, and how often simultaneous ones (Bonferroni) hold noise, seat and length alike.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from arenaloop.calls.annotating import AnnotationPlan, annotate, planned_calls
from arenaloop.data.formats.labels import labelled_pairs, read_labels
from arenaloop.data.formats.pairs import read_pairs
from arenaloop.judges.annotators import Pair, Pool
from arenaloop.judges.reward_model import Conversation, RewardJudge
from arenaloop.judges.synthetic import Biases, SyntheticAnnotator, doublings, holds_list
from arenaloop.ratings.annotator_fit import Estimate, LabelTable, fit_annotators
from arenaloop.ratings.evaluator import Evaluation, Labels, Panel, Votes, evaluate, evaluate_humans
from arenaloop.ratings.rates import Rate
from arenaloop.sandbox.players import SKILLS, Player
from arenaloop.sandbox.tasks import draw, utility
from arenaloop.specs.annotators import pool, pool_settings
from arenaloop.store import Store
from arenaloop.types import Outcome, Prompt, Request, Response

VOTES = 4
RECORDED, HUMAN = "farm_crossannotations_gpt4.jsonl.gz", "farm_human_labels.jsonl.gz"
PEOPLE = Biases(noise=0.5, length=0.3)  # of the small world: one agrees with the mode of the others as AlpacaFarm's do


# ---------------------------------------------------------------------- the pool beside one annotator


def world_pairs(count: int, seed: int) -> list[Pair]:
    """Different answers of two drawn players to prompts of the small world."""
    players, rng = {name: Player(name) for name in SKILLS}, np.random.default_rng(seed)
    found: list[Pair] = []
    for task in draw(3 * count, seed, "dev" if 3 * count < 4000 else "train"):
        one, two = rng.choice(list(players), 2, replace=False)
        request = Request(messages=task.prompt.messages)
        texts = [players[str(name)](request) for name in (one, two)]
        if texts[0] != texts[1] and len(found) < count:
            a, b = (Response(task.prompt.id, str(n), (t,)) for n, t in zip((one, two), texts, strict=True))
            found.append(Pair(task.prompt, a, b, task.prompt.last_user))
    return found


def labels_of(pairs: Sequence[Pair], annotators: Pool, seed: int) -> tuple[list[Labels], int]:
    """Each pair's votes, and how many seatings somebody was asked about."""
    with tempfile.TemporaryDirectory() as scratch, Store(Path(scratch) / "arena.db") as store:
        found = annotate(AnnotationPlan(pairs, annotators, seed, VOTES), store)
    votes: list[list[float]] = [[] for _ in pairs]
    for label in found:
        if label.preference is not None:
            votes[label.pair].append(label.preference)
    return [tuple(some) for some in votes], sum(len(label.verdicts) for label in found)


def panel(pairs: Sequence[Pair], humans: Sequence[Labels]) -> Panel:
    """The pairs as the evaluator sees them."""
    prompts: dict[str, int] = {}
    texts = [(pair.one.texts, pair.two.texts) for pair in pairs]
    return Panel(
        np.array([prompts.setdefault(pair.prompt.id, len(prompts)) for pair in pairs]),
        humans,
        np.array([[float(sum(map(len, one))) for one in both] for both in texts]),
        np.array([[any(map(holds_list, one)) for one in both] for both in texts]),
    )


def evaluated(pairs: Sequence[Pair], humans: Sequence[Labels], votes: Sequence[Labels]) -> Evaluation:
    """Votes beside people's, or beside gold."""
    nothing: list[Labels] = [() for _ in pairs]
    return evaluate(panel(pairs, humans), Votes(votes, nothing, votes, [() for _ in pairs]), samples=100)


def cell(rate: Rate, digits: int = 1) -> str:
    """A rate with its interval."""
    if rate.value is None:
        return "–"
    if rate.lower is None or rate.upper is None:
        return f"{rate.value:.{digits}f}"
    return f"{rate.value:.{digits}f} [{rate.lower:.{digits}f}, {rate.upper:.{digits}f}]"


def row(name: str, found: Evaluation, *more: Rate, asked: int) -> str:
    """A line of a table: how far votes agree with people's, what else there is to say, how many were asked for."""
    rates = (found.agreement, found.bias, found.variance, *more)
    cells = (cell(rate, 2 if rate in (found.longer, found.lists) else 1) for rate in rates)
    return f"| {name} | {' | '.join(cells)} | {asked:,} |"


def world(count: int, seed: int) -> None:
    """The table in the small world."""
    pairs = world_pairs(count, seed)
    worth = [[utility(pair.prompt.last_user, one.texts[0]) or 0.0 for one in (pair.one, pair.two)] for pair in pairs]
    gold: list[Labels] = [() if one == two else (1.0,) if one > two else (2.0,) for one, two in worth]
    settings = pool_settings("synthetic")
    shipped = pool(settings)
    sharp = next(member for member in shipped.members if member.name == "strong_1")
    assert isinstance(sharp, SyntheticAnnotator)
    people = [SyntheticAnnotator(f"person {n}", sharp.worth, PEOPLE, n) for n in range(13)]
    arms = {
        "pool, p_eval": pool(settings.model_copy(update={"preset": "p_eval"})),
        "pool, p_sim": shipped,
        "one annotator": Pool([sharp], 0.0),
        "one annotator, greedy": Pool(
            [SyntheticAnnotator("greedy", sharp.worth, sharp.biases._replace(noise=1e-9))], 0.0
        ),
    }
    humans, _ = labels_of(pairs, Pool(people, 0.0), seed + 1000)
    ceiling = evaluate_humans(panel(pairs, humans))
    print(f"\n{len(pairs):,} pairs of the small world, {VOTES} votes each, percent (intervals of 95 %)\n")
    print("| annotator | agreement | bias | variance | bias to gold | asked |")
    print("|---|---|---|---|---|---|")
    of_people = evaluated(pairs, gold, humans)
    shown = [cell(ceiling.agreement), "0", cell(ceiling.variance), cell(of_people.bias)]
    print(f"| people | {' | '.join(shown)} | {VOTES * len(pairs):,} |")
    for name, annotators in arms.items():
        votes, asked = labels_of(pairs, annotators, seed)
        print(row(name, evaluated(pairs, humans, votes), evaluated(pairs, gold, votes).bias, asked=asked))


def recorded(folder: Path, seed: int) -> None:
    """The table on GPT-4's recorded labels."""
    known = {(pair.prompt.id, pair.outputs): pair for pair in labelled_pairs(read_labels(folder / HUMAN))}
    pairs = read_pairs(folder / RECORDED).pairs
    humans: list[Labels] = []
    for pair in pairs:
        texts = pair.one.texts, pair.two.texts
        mine, turned = (known.get((pair.prompt.id, some)) for some in (texts, texts[::-1]))
        humans.append(tuple(mine.votes) if mine else tuple(3.0 - vote for vote in turned.votes) if turned else ())
    versions = sorted({label.annotator for label in read_labels(folder / RECORDED)})
    members = [
        member
        for version in versions
        for member in pool(pool_settings(f"labels:{folder / RECORDED}#annotator={version}")).members
    ]
    arms = {f"{one.name} alone": Pool([one], 0.0) for one in members}
    arms |= {"pool of both, no noise": Pool(members, 0.0), "pool of both, p_sim": Pool(members, 0.25)}
    labelled = sum(1 for some in humans if some)
    print(f"\n{len(pairs):,} pairs with GPT-4's recorded labels, {VOTES} votes each; {labelled} with a human label\n")
    print("| annotator | agreement | bias | variance | prefers longer | lists | asked |")
    print("|---|---|---|---|---|---|---|")
    for name, annotators in arms.items():
        votes, asked = labels_of(pairs, annotators, seed)
        found = evaluated(pairs, humans, votes)
        print(row(name, found, found.longer, found.lists, asked=asked))


def saved(count: int, seed: int) -> None:
    """Calls of the shipped pool with and without noise, counted at the model."""
    pairs = world_pairs(count, seed)
    annotators = pool(pool_settings("alpaca_farm", "sandbox:judge"))
    alone = [replace(annotators, members=[annotators.members[3]], patience=[2])]
    print(f"\n{len(pairs):,} pairs, calls that reached the model\n")
    print("| pool | p_label_flip 0 | p_label_flip 0.25 | saved | label noise drawn |")
    print("|---|---|---|---|---|")
    for name, one in (("alpaca_farm", annotators), ("one pair a call", alone[0])):
        counts, noise = [], 0.0
        for p in (0.0, 0.25):
            with tempfile.TemporaryDirectory() as scratch, Store(Path(scratch) / "arena.db") as store:
                plan = AnnotationPlan(pairs, replace(one, p_label_flip=p), seed)
                labels = annotate(plan, store)
                counts.append(store.usage().calls)
                assert counts[-1] == planned_calls(plan)
                noise = sum(label.noise for label in labels) / len(labels)
        print(f"| {name} | {counts[0]:,} | {counts[1]:,} | {1 - counts[1] / counts[0]:.1%} | {noise:.1%} |")


# ---------------------------------------------------------------------- what was planted


def planted(rng: np.random.Generator, people: int) -> list[Biases]:
    """Annotators around a common kind, as different as crowd workers are."""
    noise = 1.0 / np.maximum(0.3, rng.normal(1.5, 0.4, people))
    seat, length, lists = (rng.normal(mean, spread, people) for mean, spread in ((0.3, 0.25), (0.25, 0.15), (0.2, 0.2)))
    return [Biases(*map(float, one)) for one in zip(noise, seat, length, lists, strict=True)]


def drawn_labels(rng: np.random.Generator, everyone: Sequence[Biases], each: int) -> LabelTable:
    """What `SyntheticAnnotator`s of these biases say, every pair once and from one seat."""
    total = each * len(everyone)
    worth: dict[str, float] = {}
    seated: list[tuple[Prompt, Response, Response]] = []
    for number in range(total):
        prompt = Prompt.of(f"question {number}")
        answers = []
        for side in "ab":
            head = "- item\n" if rng.random() < 0.3 else ""
            text = f"{head}{side}{number} " + "x" * int(10 * 2 ** rng.uniform(0, 3))
            worth[text] = float(rng.normal())
            answers.append(Response(prompt.id, side, (text,)))
        seated.append((prompt, answers[0], answers[1]))

    def score(conversations: Sequence[Conversation]) -> list[float | str]:
        return [worth[said[-1]["content"]] for _, said in conversations]

    scorer = RewardJudge("worth", str(rng.integers(1 << 60)), score)
    judges = [SyntheticAnnotator(f"a{n}", scorer, one, n) for n, one in enumerate(everyone)]
    who, seats = np.arange(total) % len(everyone), rng.choice([-1.0, 1.0], total)

    async def ask() -> list[float]:
        async def one(at: int) -> float:
            prompt, a, b = seated[at]
            first, second = (a, b) if seats[at] > 0 else (b, a)
            verdict = await judges[who[at]].judge(prompt, first, second, secret="", seed=0)
            return float((verdict.outcome is Outcome.A) == (seats[at] > 0))

        return await asyncio.gather(*map(one, range(total)))

    prefers = np.array(asyncio.run(ask()))
    texts = [(a.texts, b.texts) for _, a, b in seated]
    return LabelTable(
        prefers,
        who,
        np.arange(total),
        seats,
        np.array([doublings(a, b) for a, b in texts]),
        np.array([float(holds_list(a[0])) - float(holds_list(b[0])) for a, b in texts]),
        [judge.name for judge in judges],
        np.array([worth[a[0]] - worth[b[0]] for a, b in texts]),
    )


def holds(found: Estimate, value: float) -> bool:
    """Whether the interval holds a value."""
    lower = -np.inf if found.lower is None else found.lower
    return lower <= value <= (np.inf if found.upper is None else found.upper)


def recovery(simulations: int, seed: int, people: int = 5, each: int = 100) -> None:
    """How often intervals hold what was planted."""
    kinds = ("noise", "seat", "length", "lists")
    alone: dict[str, list[bool]] = {kind: [] for kind in kinds}
    errors: dict[str, list[float]] = {kind: [] for kind in kinds}
    together: list[bool] = []
    start = time.process_time()
    for number in range(simulations):
        rng = np.random.default_rng([seed, number])
        everyone = planted(rng, people)
        table = drawn_labels(rng, everyone, each)
        plain, wide = fit_annotators(table), fit_annotators(table, level=1 - 0.05 / 3)
        for name, truth in zip(table.names, everyone, strict=True):
            for kind in kinds:
                found, value = plain.annotators[name][kind], getattr(truth, kind)
                alone[kind].append(holds(found, value))
                errors[kind].append((found.value if found.value is not None else np.nan) - value)
            together.append(all(holds(wide.annotators[name][kind], getattr(truth, kind)) for kind in kinds[:3]))
    print(f"\n{simulations} simulations, {people} annotators with {each} labels each: intervals of what was planted\n")
    print("| | noise | seat | length | lists | noise, seat and length at once |")
    print("|---|---|---|---|---|---|")
    shares = " | ".join(f"{np.mean(alone[kind]):.1%}" for kind in kinds)
    print(f"| interval holds it | {shares} | {np.mean(together):.1%} |")
    print(f"| median error | {' | '.join(f'{np.nanmedian(errors[kind]):+.3f}' for kind in kinds)} | |")
    print(f"\n{time.process_time() - start:.1f} CPU seconds")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1000, metavar="N", help="pairs of the small world")
    parser.add_argument("--simulations", type=int, default=200, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--data", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    world(arguments.pairs, arguments.seed)
    saved(arguments.pairs, arguments.seed)
    if arguments.data is not None:
        recorded(arguments.data, arguments.seed)
    recovery(arguments.simulations, arguments.seed)
