"""A world in which an arena of people and an arena of an LLM judge rate the same models, as arrays.

What an answer of model i to prompt p is worth, in the points that judges give:

    Q_ip = level_p + spread_p (skill_i + bent_i[category of p] + luck_ip) + nerve_i z_p

where z_p is how hard the prompt is: hard ones lie lower and drive answers apart, easy ones are answered well by nearly
everyone. Lengths go with a model's style, a little with its skill, and a little with its luck on the prompt. Nobody in
this world prefers length as such but the judge that is told to.

People vote between two answers by a logistic law on Q, some of them at random, and call close ones a tie. Every vote is
on a prompt of its own, so that counts by pair are multinomial with the mean chances over the stream, which `chances`
integrates: millions of votes cost as much as their counts. The judge is that of `arenaloop.sandbox.judge`: an opinion
of each answer that stays, noise of each call, a lean to the first seat and to the longer answer, scores in halves from
1 to 10; it may besides favour one contestant, or not see what that one does wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from arenaloop.ratings.arrays import FloatArray, IntArray, sigmoid
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bradley_terry import fit_wins

Floats = npt.NDArray[np.float32]

CATEGORIES = 8
STREAM = np.array([0.32, 0.22, 0.15, 0.1, 0.08, 0.06, 0.04, 0.03])
"""How often people ask for what."""
HARDER = np.linspace(-0.4, 0.4, CATEGORIES)
"""By how much rarer categories are harder."""

SKILL, BENT, NERVE, LUCK = 0.8, 0.3, 0.15, 1.2
"""Standard deviations in points: between models, of a model between categories, of its way with hard prompts, and of
its answers to like prompts."""
STYLE, WORDS = 0.3, 0.35
"""Standard deviations of log lengths: between models, and between a model's answers."""
STYLE_SKILL, WORDS_LUCK = 0.4, 0.2
"""Correlations of length with skill, between models, and with luck, between answers of one model."""
LEVEL, DEPTH = 6.5, 0.8
"""Mean points, and by how many a prompt that is harder by one standard deviation lies lower."""
STEEP = 0.3
"""How fast answers part as prompts grow harder."""

VOTER_NOISE, CARELESS, TIES = 0.5, 0.08, 0.6
"""Points that are odds of e to 1 among people; share of votes at random; share of even votes that are ties."""
RATER_NOISE = 0.7
"""Of whoever rates how hard a prompt is, in standard deviations of that."""


@dataclass(frozen=True)
class World:
    """K models: `skill`, `nerve`, `style` of shape (K,), `bent` of shape (K, CATEGORIES).

    `linked` multiplies the correlations of length with what answers are worth.
    """

    skill: FloatArray
    nerve: FloatArray
    style: FloatArray
    bent: FloatArray
    linked: float = 1.0

    @classmethod
    def draw(cls, rng: np.random.Generator, models: int, spread: float = 1.0, linked: float = 1.0) -> World:
        """Models at random: skills are normal quantiles with some jitter, in random order, `spread` times as far."""
        place = (rng.permutation(models) + 0.5 + rng.uniform(-0.5, 0.5, models)) / models
        ability = np.array([NormalDist().inv_cdf(min(max(x, 0.01), 0.99)) for x in place])
        style = _correlated(STYLE_SKILL * linked, ability, rng.standard_normal(models))
        bent = rng.standard_normal((models, CATEGORIES))
        return cls(SKILL * spread * ability, NERVE * rng.standard_normal(models), STYLE * style, BENT * bent, linked)

    @property
    def models(self) -> tuple[str, ...]:
        """Names in the order of the arrays."""
        return tuple(f"m{i:02d}" for i in range(len(self.skill)))

    def worth(self, category: IntArray, hard: FloatArray) -> FloatArray:
        """Mean points of answers to such prompts, less what all have in common, shape (n, K)."""
        return _spread(hard)[:, None] * (self.skill + self.bent[:, category].T) + hard[:, None] * self.nerve


class Answers(NamedTuple):
    """What K models answer to n prompts: points, lengths (logarithms) and luck in points, all of shape (n, K)."""

    points: Floats
    length: Floats
    luck: Floats


def prompts(rng: np.random.Generator, n: int, choice: str) -> tuple[IntArray, FloatArray]:
    """Categories and difficulty of n prompts.

    They come as people ask (``stream``), of all categories alike (``diverse``), or are the tenth of the latter that is
    rated hardest (``hard``).
    """
    many = 10 * n if choice == "hard" else n
    category = rng.choice(CATEGORIES, many, p=STREAM if choice == "stream" else None)
    hard = HARDER[category] + rng.standard_normal(many)
    if choice == "hard":
        kept = np.argsort(-(hard + RATER_NOISE * rng.standard_normal(many)))[:n]
        category, hard = category[kept], hard[kept]
    return category, hard


def answered(rng: np.random.Generator, world: World, n: int, choice: str) -> Answers:
    """What the models answer to n prompts."""
    category, hard = prompts(rng, n, choice)
    shape = (n, len(world.skill))
    luck = rng.standard_normal(shape, dtype=np.float32)
    words = _correlated(WORDS_LUCK * world.linked, luck, rng.standard_normal(shape, dtype=np.float32))
    level = LEVEL - DEPTH * hard + 0.6 * rng.standard_normal(n)
    luck = luck * (LUCK * _spread(hard)[:, None]).astype(np.float32)
    points = (level[:, None] + world.worth(category, hard)).astype(np.float32) + luck
    return Answers(points, (world.style + WORDS * words).astype(np.float32), luck)


# ---------------------------------------------------------------------- people


def chances(world: World) -> FloatArray:
    """P(row wins), plus half of P(tie), of a vote on a prompt of the stream, shape (K, K)."""
    expected = np.zeros((len(world.skill), len(world.skill)))
    for gap, weight in _gaps(world):
        p, tie = vote(gap)
        expected += weight * (p * (1.0 - tie) + tie / 2.0)
    return expected


def truth(world: World) -> FloatArray:
    """Bradley–Terry strengths in nats that infinitely many votes tend to, shape (K,)."""
    expected = chances(world)
    np.fill_diagonal(expected, 0.0)
    return fit_wins(expected).theta


def voted(rng: np.random.Generator, world: World, votes: int) -> Battles:
    """Votes of people on random pairs, each on a prompt of its own."""
    models = len(world.skill)
    i, j = np.triu_indices(models, 1)
    win, even = np.zeros(len(i)), np.zeros(len(i))
    for gap, weight in _gaps(world):
        p, tie = vote(gap[i, j])
        win, even = win + weight * p * (1.0 - tie), even + weight * tie
    share = np.stack([win, even, 1.0 - win - even], axis=1)
    cast = rng.multinomial(votes, np.full(len(i), 1.0 / len(i)))
    counts = rng.multinomial(cast, share)
    pair = np.repeat(np.arange(len(i)), cast)
    score = np.repeat(np.tile([1.0, 0.5, 0.0], len(i)), counts.ravel())
    return Battles.of(world.models, i[pair], j[pair], score)


def people_agree(rng: np.random.Generator, world: World, n: int) -> tuple[float, float]:
    """Of votes with a winner on random pairs: the share that a second such vote, and that the majority, confirms."""
    points = answered(rng, world, n, "stream").points.astype(np.float64)
    i, j = np.triu_indices(points.shape[1], 1)
    p, tie = vote(points[:, i] - points[:, j])
    told = 1.0 - tie
    again = float((told**2 * (p**2 + (1.0 - p) ** 2)).sum() / (told**2).sum())
    return again, float((told * np.maximum(p, 1.0 - p)).sum() / told.sum())


def vote(gap: FloatArray) -> tuple[FloatArray, FloatArray]:
    """How often the first of two wins if anyone does, and how often a vote is a tie."""
    p = CARELESS / 2.0 + (1.0 - CARELESS) * sigmoid(gap / VOTER_NOISE)
    return p, TIES * 4.0 * p * (1.0 - p)


def _gaps(world: World, nodes: int = 16) -> list[tuple[FloatArray, float]]:
    """Differences of points (row less column), shape (K, K), and their weights: the stream as a quadrature."""
    node, weight = np.polynomial.hermite_e.hermegauss(nodes)
    weight = weight / weight.sum()
    found = []
    for category, share in enumerate(STREAM):
        for z, w in zip(HARDER[category] + node, weight, strict=True):
            worth = world.worth(np.array([category]), np.array([z]))[0]
            apart = worth[:, None] - worth[None, :]
            luck = np.sqrt(2.0) * LUCK * float(_spread(np.array([z]))[0])
            found += [(apart + luck * x, share * w * v) for x, v in zip(node, weight, strict=True)]
    return found


# ---------------------------------------------------------------------- the judge


@dataclass(frozen=True)
class Judge:
    """Points of noise, leans and favours; see `arenaloop.sandbox.judge.SandboxJudge`.

    Attributes:
        taste: standard deviation of what it thinks of a model's manner whatever the answer, in points.
        favour: points for the contestant that it is kin to. `blind`: share of that one's bad luck that it overlooks.
        step: of its scores.
        unparsed: share of its verdicts that cannot be read.
    """

    noise: float = 1.2
    seat: float = 0.6
    length: float = 0.0
    taste: float = 0.0
    favour: float = 0.0
    blind: float = 0.0
    step: float = 0.5
    unparsed: float = 0.02


class Verdicts(NamedTuple):
    """Every pair on every prompt, shape (n, P).

    `score` is what the first of the pair scored, NaN where a seat failed; `longer` how much longer its answer is,
    (a - b) / (a + b).
    """

    score: Floats
    longer: Floats


def judged(
    rng: np.random.Generator, judge: Judge, said: Answers, seats: str, kin: int, texts: IntArray | None = None
) -> Verdicts:
    """An arena without a choice of pairs.

    Args:
        seats: ``both``, one that is ``drawn`` for every battle, or ``first``, the one of the model that comes first.
        kin: the model that the judge may favour.
        texts: codes below K of what was answered, shape (n, K): equal texts get one opinion, and tie (what the seat
            shows cancels from both). Without it no two are equal.
    """
    n, models = said.points.shape
    i, j = np.triu_indices(models, 1)
    manner = rng.standard_normal(models, dtype=np.float32)
    opinion = rng.standard_normal((n, models), dtype=np.float32)
    same = None
    if texts is not None:
        opinion, same = np.take_along_axis(opinion, texts, axis=1), texts[:, i] == texts[:, j]
    view = said.points + np.float32(0.5 * judge.noise) * opinion
    view += np.float32(judge.taste) * manner
    view[:, kin] += judge.favour + judge.blind * np.maximum(-said.luck[:, kin], 0.0)
    longer = np.tanh((said.length[:, i] - said.length[:, j]) / 2.0)
    first, second = view[:, i], view[:, j]

    def call(seat: float) -> tuple[Floats, Floats]:
        noise = np.float32(judge.noise) * rng.standard_normal((2, *first.shape), dtype=np.float32)
        lean = np.float32(0.5) * (np.float32(seat) + np.float32(judge.length) * longer)
        scores = (first + noise[0] + lean, second + noise[1] - lean)
        one, two = (np.clip(np.round(x / judge.step) * judge.step, 1.0, 10.0) for x in scores)
        return one, two

    one, two = call(judge.seat)
    again_one, again_two = call(-judge.seat)
    lost = rng.random((2, *first.shape), dtype=np.float32) < judge.unparsed
    alone, other = np.sign(one - two), np.sign(again_one - again_two)
    if seats == "both":
        won, failed = np.sign(one - two + again_one - again_two), lost.any(axis=0)
    elif seats == "drawn":
        won, failed = np.where(rng.random(first.shape) < 0.5, alone, other), lost[0]
    else:
        won, failed = alone, lost[0]
    if same is not None:
        won = np.where(same, np.float32(0.0), won)
    return Verdicts(np.where(failed, np.float32(np.nan), 0.5 + 0.5 * won).astype(np.float32), longer)


def agreement(said: Answers, verdicts: Verdicts) -> float:
    """Share of battles with a winner that name the answer of more points, which most people prefer."""
    i, j = np.triu_indices(said.points.shape[1], 1)
    won = 2.0 * verdicts.score - 1.0
    told = np.abs(won) == 1.0
    return float((np.sign(said.points[:, i] - said.points[:, j]) == won)[told].mean())


def _spread(hard: FloatArray) -> FloatArray:
    return np.asarray(np.exp(STEEP * hard - STEEP**2 / 2.0))


def _correlated(share: float, one: npt.NDArray[Any], other: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Standard normal numbers of which a part is `one`."""
    return np.asarray(share * one + np.sqrt(1.0 - share**2) * other)
