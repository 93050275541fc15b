"""A test set from a pool of prompts to its two halves: clusters, draws, ratings, categories.

Clusters are kept in the arena file, and so is every rating, so that the same again costs what is missing.
"""

from __future__ import annotations

import base64
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arenaloop.arena.test_set import drawn, hardest
from arenaloop.calls.rating import RatingPlan, ratings
from arenaloop.calls.shards import Shard
from arenaloop.data.clusters import Clusters, k_means
from arenaloop.data.embeddings import Vectors
from arenaloop.data.prompts import user_text
from arenaloop.errors import ConfigError
from arenaloop.judges.prompts import PromptJudge, category_of
from arenaloop.store import Store
from arenaloop.types import Judgement, Prompt, content_hash, derive_seed

__all__ = ["Ask", "TestSet", "TestSetPlan", "build", "kept_clusters", "rate_shard", "test_set_parts"]

_ROOM = "clusters"  # of the notes

Ask = Callable[[str, RatingPlan], None]
"""Asks for the ratings of a plan; the text says what they are of."""


@dataclass(frozen=True)
class TestSetPlan:
    """What is to be drawn of what.

    Attributes:
        prompts: the pool, each once.
        embeddings: what identifies the vectors that the prompts are given.
        clusters, diverse, hard, rated, disjoint: as of `config.TestSetSettings`.
        judge: of difficulty; None where no prompt is to be hard.
        sorter: of categories; None where only those stand that prompts have.
        reask, seed, concurrency: as of `RatingPlan`.
        shard: whose prompts alone are rated.

    Raises:
        ConfigError: the pool has too few prompts.
    """

    __test__ = False

    prompts: Sequence[Prompt]
    embeddings: str
    clusters: int = 500
    diverse: int = 1000
    hard: int = 1000
    rated: int | None = None
    disjoint: bool = True
    judge: PromptJudge | None = None
    sorter: PromptJudge | None = None
    reask: int = 2
    seed: int = 0
    concurrency: int | None = None
    shard: Shard | None = None

    def __post_init__(self) -> None:
        pool = len(self.prompts)
        if pool < self.clusters:
            raise ConfigError(f"{pool:,} prompts cannot make {self.clusters:,} clusters: take fewer (--clusters)")
        if self.diverse > pool:
            raise ConfigError(f"{self.diverse:,} diverse prompts of {pool:,}: take fewer (--diverse)")
        left = pool - (self.diverse if self.disjoint else 0)
        without = f", less {self.diverse:,} diverse ones" if self.disjoint and self.diverse else ""
        for name, wanted in (("hard", self.hard), ("rated", self.rated or 0)):
            if wanted > left:
                raise ConfigError(f"{wanted:,} {name} prompts of {pool:,}{without}: take fewer (--{name})")

    @property
    def candidates(self) -> int:
        """How many prompts are rated."""
        left = len(self.prompts) - (self.diverse if self.disjoint else 0)
        return 0 if not self.hard else self.rated or min(left, max(self.hard, 20 * self.clusters))

    @cached_property
    def ids(self) -> list[str]:
        """Of the prompts."""
        return [prompt.id for prompt in self.prompts]

    def rating(self, judge: PromptJudge | None, numbers: Sequence[int]) -> RatingPlan | None:
        """What a judge is to rate, by number; of a shard its own part."""
        if judge is None or not numbers:
            return None
        some = [self.prompts[at] for at in numbers]
        if self.shard is not None:
            some = [prompt for prompt in some if self.shard.holds(prompt.id)]
        return RatingPlan(judge, some, self.reask, self.seed, self.concurrency)

    def drawn(self, clusters: Clusters) -> tuple[list[int], list[int]]:
        """The diverse prompts, and those that are to be rated."""
        diverse = drawn(self.ids, clusters.labels, self.diverse, self.seed, "diverse")
        without = {self.ids[at] for at in diverse} if self.disjoint else set[str]()
        return diverse, drawn(self.ids, clusters.labels, self.candidates, self.seed, "hard", without)

    def stand_ins(self) -> tuple[list[int], list[int]]:
        """As many as `drawn`, without clusters: by the seed alone, to estimate by."""
        order = sorted(
            range(len(self.ids)), key=lambda at: derive_seed("test set", "estimate", self.seed, self.ids[at])
        )
        return order[: self.diverse], order[len(order) - self.candidates :]

    def unsorted(self, numbers: Sequence[int]) -> list[int]:
        """Those of some prompts whose category is to be asked for."""
        return [at for at in numbers if category(self.prompts[at]) is None]


@dataclass(frozen=True)
class TestSet:
    """A test set and what it was drawn of.

    Attributes:
        diverse, hard: by number; the hard ones with the hardest first.
        rated: the judgement of each prompt that was to be rated, by number.
        categories: of both sets, by number; None where nobody knows it.
        unsorted: how many of them the judge was asked for and could not be read.
    """

    __test__ = False

    plan: TestSetPlan
    clusters: Clusters
    diverse: Sequence[int]
    hard: Sequence[int]
    rated: Mapping[int, Judgement | None]
    categories: Mapping[int, str | None]
    unsorted: int = 0

    @property
    def mix(self) -> list[int]:
        """Both, each prompt once, in the order of the pool."""
        return sorted({*self.diverse, *self.hard})

    def difficulty(self, at: int) -> float | None:
        """Of a prompt, if it is known."""
        judgement = self.rated.get(at)
        return None if judgement is None else judgement.score

    @property
    def failed(self) -> Counter[str]:
        """How the ratings ended that have no score."""
        ends = (
            "not asked" if one is None else one.status.value
            for one in self.rated.values()
            if one is None or one.score is None
        )
        return Counter(ends)


def build(
    plan: TestSetPlan,
    store: Store,
    embed: Callable[[Sequence[str]], Vectors],
    ask: Ask,
    note: Callable[[str], None] = lambda line: None,
) -> TestSet:
    """Draw a test set, asking for what is missing; what could not be rated is left out of the hard ones.

    Args:
        embed: vectors of texts. `ask`: asks for ratings.
        note: is told what goes on besides.

    Raises:
        ConfigError: fewer different prompts than clusters. StoppedError: as of `calls.rating.rate`.
    """
    clusters, diverse, candidates = _drawn(plan, store, embed, note)
    rated: dict[int, Judgement | None] = {}
    if (difficulty := plan.rating(plan.judge, candidates)) is not None:
        ask("difficulty", difficulty)
        found = ratings(difficulty, store)
        rated = {at: found[plan.ids[at]] for at in candidates}
    number = {plan.ids[at]: at for at in candidates}
    scores = {plan.ids[at]: None if one is None else one.score for at, one in rated.items()}
    hard = [number[prompt_id] for prompt_id in hardest(scores, plan.hard, plan.seed)]
    whole = TestSet(plan, clusters, diverse, hard, rated, {})
    categories = {at: category(plan.prompts[at]) for at in whole.mix}
    unsorted = 0
    if (sorting := plan.rating(plan.sorter, plan.unsorted(whole.mix))) is not None:
        ask("categories", sorting)
        named = {
            prompt_id: category_of(None if one is None else one.score)
            for prompt_id, one in ratings(sorting, store).items()
        }
        categories |= {at: named[plan.ids[at]] for at in whole.mix if plan.ids[at] in named}
        unsorted = sum(one is None for one in named.values())
    return replace(whole, categories=categories, unsorted=unsorted)


def rate_shard(
    plan: TestSetPlan,
    store: Store,
    embed: Callable[[Sequence[str]], Vectors],
    ask: Ask,
    note: Callable[[str], None] = lambda line: None,
) -> Counter[str]:
    """Ask for the ratings of a shard's part of the prompts that are to be rated; arguments as of `build`.

    Returns:
        How they ended, by status.
    """
    assert plan.shard is not None
    _, _, candidates = _drawn(plan, store, embed, note)
    if (difficulty := plan.rating(plan.judge, candidates)) is None:
        return Counter()
    ask("difficulty", difficulty)
    return Counter("not asked" if one is None else one.status.value for one in ratings(difficulty, store).values())


def test_set_parts(plan: TestSetPlan) -> dict[str, object]:
    """What makes a test set, by what it is called (`calls.shards.claim`)."""
    judges = {"judge": plan.judge, "judge of categories": plan.sorter}
    who = {what: None if judge is None else judge.fingerprint for what, judge in judges.items()}
    names = ("embeddings", "clusters", "diverse", "hard", "rated", "disjoint", "reask", "seed")
    return {"list of prompts": plan.ids, **who, **{name: getattr(plan, name) for name in names}}


def _drawn(
    plan: TestSetPlan, store: Store, embed: Callable[[Sequence[str]], Vectors], note: Callable[[str], None]
) -> tuple[Clusters, list[int], list[int]]:
    """The clusters, made and kept if need be, the diverse prompts, and those that are to be rated."""
    if (clusters := kept_clusters(plan, store)) is None:
        note(f"embedding {len(plan.prompts):,} prompts ({plan.embeddings}), {plan.clusters:,} clusters")
        clusters = k_means(embed([user_text(prompt) for prompt in plan.prompts]), plan.clusters, plan.seed)
        _keep(plan, store, clusters)
    return (clusters, *plan.drawn(clusters))


def category(prompt: Prompt) -> str | None:
    """The category that a prompt comes with."""
    given = prompt.tags.get("category")
    return given if isinstance(given, str) and given.strip() else None


# ---------------------------------------------------------------------- clusters that are kept


def _key(plan: TestSetPlan) -> str:
    return content_hash(_ROOM, plan.embeddings, plan.clusters, plan.seed, plan.ids)


def kept_clusters(plan: TestSetPlan, store: Store) -> Clusters | None:
    """The clusters of a plan's prompts, where they were made before."""
    note: Any = store.note(_ROOM, _key(plan))
    if note is None:
        return None
    labels, nearest = (_unpacked(note[name], np.int32) for name in ("labels", "nearest"))
    return Clusters(labels, nearest.reshape(-1, 3), _unpacked(note["places"], np.float32).reshape(-1, 2))


def _keep(plan: TestSetPlan, store: Store, clusters: Clusters) -> None:
    store.put_note(_ROOM, _key(plan), {name: _packed(array) for name, array in clusters._asdict().items()})


def _packed(array: NDArray[Any]) -> str:
    return base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes())).decode()


def _unpacked(text: str, kind: type[Any]) -> NDArray[Any]:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), kind)
