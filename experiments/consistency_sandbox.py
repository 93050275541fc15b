"""Do the arrays of `consistency_world.py` say what the package's own arena says, on the sandbox's players and judge?

Players of graded skill answer prompts of the small world; the judge is `sandbox:judge`. One arena is played as
``arenaloop battle`` plays it (prompt templates, parsers, asking again, merging of seats, the arena file, the
leaderboard), one is drawn by `judged` from the same answers' utilities and lengths. People are the sandbox's, too.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from consistency_arena import Board, Setting, chosen, rated
from consistency_world import Answers, Judge, World, judged

from arenaloop.arena.matchmaking import Schedule, all_pairs
from arenaloop.arena.plan import BattlePlan
from arenaloop.arena.tournament import run_tournament
from arenaloop.calls.answers import Contestant
from arenaloop.data.formats import read_leaderboard
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.models.scripted import ScriptedModel
from arenaloop.ratings.agreement import consistency
from arenaloop.ratings.arrays import FloatArray, sigmoid
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.student import t_quantile
from arenaloop.sandbox.judge import SandboxJudge
from arenaloop.sandbox.players import Player
from arenaloop.sandbox.tasks import FAMILIES, Task, draw, utility
from arenaloop.store import Store

JUDGE = Judge(noise=1.5, seat=0.6, length=0.6, unparsed=0.0)
HUMAN_NOISE = 0.15  # of `SimulatedHuman`


def players(rng: np.random.Generator, models: int) -> list[Player]:
    """Players whose share of right answers grows from 30 to 90 %, more in some families than in others."""
    levels = np.linspace(0.3, 0.9, models)
    bent = 0.1 * rng.standard_normal((models, len(FAMILIES)))
    skills = np.clip(levels[:, None] + bent, 0.0, 1.0)
    return [Player(f"m{i:02d}", dict(zip(FAMILIES, row.tolist(), strict=True))) for i, row in enumerate(skills)]


def played(crowd: list[Player], tasks: list[Task], seed: int, out: Path) -> Board:
    """The leaderboard of the package's own arena."""
    judge = SandboxJudge(JUDGE.noise, JUDGE.seat, JUDGE.length, unparsed_rate=JUDGE.unparsed, seed=seed)
    plan = BattlePlan(
        contestants=[Contestant(player.name, ScriptedModel(player.name, player)) for player in crowd],
        judge=PairwiseJudge(ScriptedModel("judge", judge.complete, version=seed)),
        prompt_ids=[task.prompt.id for task in tasks],
        schedule=Schedule(tuple(all_pairs([player.name for player in crowd]))),
    )
    with Store(out / "arena.db") as store:
        store.add_prompts([task.prompt for task in tasks])
        store.flush()
        run_tournament(plan, store, out)
    rows = read_leaderboard(out)
    columns = np.array([(row.rating, row.lower, row.upper) for _, row in sorted(rows.items())]).T
    return Board(*(columns - columns[0].mean()))


def drawn(rng: np.random.Generator, crowd: list[Player], tasks: list[Task]) -> tuple[Board, FloatArray]:
    """The leaderboard of the arrays, and the utility of every answer, shape (n, K)."""
    texts = [[player.answer(task.prompt.last_user) for player in crowd] for task in tasks]
    value = np.array(
        [[utility(task.prompt.last_user, text) or 0.0 for text in row] for task, row in zip(tasks, texts, strict=True)]
    )
    length = np.log([[max(1, len(text)) for text in row] for row in texts]).astype(np.float32)
    points = (1.5 + 8.0 * value).astype(np.float32)
    said = Answers(points, length, np.zeros_like(points))
    code = np.array([[row.index(text) for text in row] for row in texts])
    verdicts = judged(rng, JUDGE, said, "both", 0, code)
    nothing = np.zeros(len(crowd))
    world = World(nothing, nothing, nothing, np.zeros((len(crowd), 0)))
    setting = Setting(prompts=len(tasks), models=len(crowd))
    return rated(chosen(setting, world, verdicts, 0), setting), value


def voted(rng: np.random.Generator, value: FloatArray, votes: int) -> Board:
    """People's votes on random pairs of answers to random prompts, equal ones left out."""
    n, models = value.shape
    prompt, a = rng.integers(n, size=votes), rng.integers(models, size=votes)
    b = (a + rng.integers(1, models, votes)) % models
    gap = value[prompt, a] - value[prompt, b]
    won = rng.random(votes) < sigmoid(gap / HUMAN_NOISE)
    names = [f"m{i:02d}" for i in range(models)]
    return rated(Battles.of(names, a, b, np.where(gap == 0, 0.5, won)), Setting(interval="battle"))


def compare(models: int, prompts: int, repeats: int) -> None:
    """Print ratings by both paths, and what `consistency` says of both against people on many more prompts."""
    found, figures = np.zeros((2, repeats, models, 3)), np.zeros((2, repeats, 3))
    for seed in range(repeats):
        crowd = players(np.random.default_rng([11, seed]), models)
        many = draw(prompts + 1000, seed, "dev")
        tasks = many[:prompts]
        with tempfile.TemporaryDirectory() as folder:
            boards = [played(crowd, tasks, seed, Path(folder))]
        boards.append(drawn(np.random.default_rng([12, seed]), crowd, tasks)[0])
        rng = np.random.default_rng([13, seed])
        people = voted(rng, drawn(rng, crowd, many[prompts:])[1], 1_000_000)
        names = [player.name for player in crowd]
        for path, board in enumerate(boards):
            found[path, seed] = np.stack(board, axis=1)
            one = consistency(board.scored(names), people.scored(names))
            figures[path, seed] = [
                np.nan if x is None else x for x in (one.spearman, one.human_agreement, one.differentiation)
            ]
    print(f"{repeats} arenas of the sandbox, {models} players on {prompts} prompts each: means and 95 % t-intervals\n")
    print("| figure | the package's arena | arrays | difference |\n|---|--:|--:|--:|")
    for i in range(models):
        _line(f"rating of m{i:02d}", found[0, :, i, 0], found[1, :, i, 0])
    half = (found[..., 2] - found[..., 1]).mean(axis=2) / 2.0
    _line("half width of intervals", half[0], half[1])
    for k, name in enumerate(("Spearman", "human agreement", "differentiation")):
        _line(name, figures[0, :, k], figures[1, :, k])


def _line(name: str, first: FloatArray, second: FloatArray) -> None:
    apart = first - second
    half = t_quantile(0.95, len(apart) - 1.0) * apart.std(ddof=1) / np.sqrt(len(apart))
    print(f"| {name} | {first.mean():.1f} | {second.mean():.1f} | {apart.mean():+.1f} ±{half:.1f} |")
