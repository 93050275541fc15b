"""Battles as columns of small integers: what every rating method reads.

Strings are turned into codes once, here; after that nothing depends on how many letters a model's name has. Rows that
cannot be rated (an unknown outcome, a model against itself, a missing score) are dropped and counted in `skipped`,
never taken as ties.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from arenaloop.ratings.arrays import (
    NO_WEIGHT,
    BoolArray,
    FloatArray,
    IntArray,
    dense,
    encode,
    meetings,
    prompt_codes,
    relative_weights,
    tag_codes,
    tally,
)
from arenaloop.ratings.cells import Place, read_controls, read_scores, read_weights
from arenaloop.ratings.look_alikes import name_twins
from arenaloop.ratings.outcomes import ONE_HOT, one_hot_winners, read_outcomes
from arenaloop.ratings.style_features import feature_names
from arenaloop.ratings.sums import BattleSums, Rows

__all__ = ["Battles", "self_battle_notes", "weightless_notes"]


@dataclass(frozen=True, slots=True)
class Battles(BattleSums):
    """N battles among K models, one array per column.

    Attributes:
        models: K names in sorted order; a code is an index into them.
        a, b: codes of the two models, shape (N,), never equal in one row.
        score_a: what `a` scored, in [0, 1]: 1 a win, 0.5 a tie, 0 a loss; soft outcomes are allowed. Shape (N,).
        weight: how much each battle counts, finite and not negative, shape (N,); None means 1 each.
        cluster: codes of the prompts, 0 to `clusters` - 1, shape (N,); None where the battles carry no prompt ids.
        clusters: how many prompts there are (0 without ids).
        covariates: numeric columns of shape (N,), already a difference of a minus b, NaN where missing; by name.
        skipped: rows that were left out, because their outcome is unknown or a model met itself.
        notes: what a reader of the ratings should know about the rows, in plain words.
        undecided: how many battles of two models have no known outcome, symmetric, shape (K, K); None without any.
        own_failures: how many of each model's losses are failures of its own, not verdicts, shape (K,); None without
            any.
        voter: codes of who decided, 0 to `voters` - 1, shape (N,); None where the battles do not name them.
        voters: how many there are (0 without names).
        tag: index into `tags` of what the battles are sliced by, -1 where there is none, shape (N,); None where they
            are not.
        tags: its values, sorted.
        unrated: of the rows that were left out of sliced battles the two models and the tag, codes of shape (3, M), -1
            where one is not known; None without any.
        failed: of losses by own failure in sliced battles the model and the tag, codes of shape (2, M); None without
            any.
        mass: the weights in proportion (`relative_weights`), which is all that any figure sees of them.
    """

    models: tuple[str, ...]
    a: IntArray
    b: IntArray
    score_a: FloatArray
    weight: FloatArray | None = None
    cluster: IntArray | None = None
    clusters: int = 0
    covariates: Mapping[str, FloatArray] = field(default_factory=dict)
    skipped: int = 0
    notes: tuple[str, ...] = ()
    undecided: IntArray | None = None
    own_failures: IntArray | None = None
    voter: IntArray | None = None
    voters: int = 0
    tag: IntArray | None = None
    tags: tuple[str, ...] = ()
    unrated: IntArray | None = None
    failed: IntArray | None = None
    mass: FloatArray | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.weight is not None:
            object.__setattr__(self, "mass", relative_weights(self.weight))

    def __len__(self) -> int:
        return len(self.a)

    @property
    def weighted(self) -> bool:
        """Whether battles weigh differently."""
        return self.mass is not None

    @property
    def clustered(self) -> bool:
        """Whether they carry prompt ids."""
        return self.cluster is not None

    @property
    def by_people(self) -> bool:
        """Whether they name who decided."""
        return self.voter is not None

    @property
    def mean_mass(self) -> float:
        """Mean weight in proportion."""
        return 1.0 if self.mass is None or not len(self) else float(self.mass.mean())

    def parts(self) -> Iterator[Rows]:
        """All battles at once."""
        yield Rows(self.a, self.b, self.score_a, self.mass, self.cluster)

    kinds = parts

    @property
    def ties(self) -> int:
        """How many battles ended even."""
        return int(np.count_nonzero(self.score_a == 0.5))

    def cluster_sizes(self) -> FloatArray:
        """How many battles each prompt has, shape (clusters,)."""
        assert self.cluster is not None
        return tally(self.cluster, self.clusters)

    def among(self, pairs: BoolArray) -> Battles:
        """The battles of some pairs, shape (K, K), among the same models."""
        return self.rows(pairs[self.a, self.b])

    def decided(self) -> Battles:
        """The battles that somebody won."""
        return self.rows(np.asarray(self.score_a != 0.5, dtype=np.bool_))

    def unweighted(self) -> Battles:
        """The same battles, all weighing alike."""
        return replace(self, weight=None)

    @classmethod
    def of(
        cls,
        models: Sequence[str],
        a: npt.ArrayLike,
        b: npt.ArrayLike,
        score_a: npt.ArrayLike,
        *,
        weight: npt.ArrayLike | None = None,
        cluster: npt.ArrayLike | None = None,
        covariates: Mapping[str, npt.ArrayLike] | None = None,
        skipped: int = 0,
        notes: Sequence[str] = (),
        voter: npt.ArrayLike | None = None,
        tag: npt.ArrayLike | None = None,
        tags: Sequence[str] = (),
        skipped_tags: npt.ArrayLike = (),
    ) -> Battles:
        """Check and tidy coded columns: unrated rows go, models are sorted by name.

        Args:
            models: K names; `a` and `b` index them. Names that no row uses stay (they are models that met nobody).
            a, b: integer codes, shape (N,).
            score_a: in [0, 1]; NaN means an unknown outcome, which is skipped and counted.
            weight: finite and not negative, shape (N,). Only their proportions count.
            cluster: integer codes of prompts (any integers), shape (N,); negative means unknown, a cluster of its own.
            covariates: numeric columns, shape (N,).
            skipped: rows that a reader has left out already.
            notes: what a reader has to say.
            voter: integer codes of who decided, as `cluster`.
            tag: index into `tags`, -1 where there is none, shape (N,).
            tags: distinct values in any order.
            skipped_tags: indices into `tags` of those that a reader has left out, as far as they are known.

        Raises:
            ValueError: a weight that is negative or not finite, a score outside [0, 1], columns of unequal length.
        """
        first, second = np.asarray(a), np.asarray(b)
        score = np.asarray(score_a, dtype=np.float64)
        mass = None if weight is None else np.asarray(weight, dtype=np.float64)
        group = None if cluster is None else np.asarray(cluster)
        extra = {name: np.asarray(column, dtype=np.float64) for name, column in (covariates or {}).items()}
        people = None if voter is None else np.asarray(voter)
        label = None if tag is None else np.asarray(tag)
        columns: dict[str, npt.NDArray[Any] | None] = {
            "b": second, "score_a": score, "weight": mass, "cluster": group, "voter": people, "tag": label,
        }  # fmt: skip
        for name, column in {**columns, **extra}.items():
            if column is not None and column.shape != first.shape:
                raise ValueError(f"column {name!r} has {column.shape} entries where 'a' has {first.shape}")
        if mass is not None and not (np.isfinite(mass) & (mass >= 0)).all():
            row = int(np.flatnonzero(~(np.isfinite(mass) & (mass >= 0)))[0])
            raise ValueError(f"weight of row {row} is {mass[row]}: weights must be finite and not negative")
        if ((score < 0) | (score > 1)).any():
            row = int(np.flatnonzero((score < 0) | (score > 1))[0])
            raise ValueError(f"score_a of row {row} is {score[row]}: it must lie between 0 and 1")

        met = tally(first, len(models), np.ones(len(first))) + tally(second, len(models), np.ones(len(second)))
        notes = [*notes, *name_twins(dict(zip(models, map(int, met), strict=True)))]
        selfish = first == second
        unknown = np.isnan(score) & ~selfish
        keep = ~(selfish | unknown)
        undecided = meetings(first[unknown], second[unknown], len(models)) if unknown.any() else None
        notes += self_battle_notes(int(selfish.sum()))
        unrated: IntArray | None = None
        if label is not None:
            before = np.asarray(skipped_tags, dtype=np.int64)
            gone = np.stack([column[~keep].astype(np.int64) for column in (first, second, label)])
            unrated = np.concatenate([np.stack([np.full_like(before, -1), np.full_like(before, -1), before]), gone], 1)
        if not keep.all():
            skipped += int(np.count_nonzero(~keep))
            first, second, score = first[keep], second[keep], score[keep]
            mass = None if mass is None else mass[keep]
            group, people, label = (None if c is None else c[keep] for c in (group, people, label))
            extra = {name: column[keep] for name, column in extra.items()}

        if mass is not None:
            notes += weightless_notes(int(np.count_nonzero((mass > 0) & (mass < NO_WEIGHT * mass.max(initial=0.0)))))

        order = sorted(range(len(models)), key=lambda code: models[code])
        if order != list(range(len(models))):
            position = np.empty(len(models), dtype=np.int32)
            position[order] = np.arange(len(models), dtype=np.int32)
            first, second = position[first], position[second]
            undecided = None if undecided is None else undecided[np.ix_(order, order)]
            if unrated is not None:
                unrated[:2] = np.append(position, -1)[unrated[:2]]
        clusters = 0
        if group is not None:
            group, clusters = dense(group)
        voters = 0
        if people is not None:
            people, voters = dense(people)
        if label is not None:
            by_name = sorted(range(len(tags)), key=lambda code: tags[code])
            place = np.append(np.argsort(np.array(by_name, dtype=np.int64)), -1).astype(np.int32)
            label, tags = place[label], [tags[code] for code in by_name]
            if unrated is not None:
                unrated[2] = place[unrated[2]]
        return cls(
            tuple(models[code] for code in order),
            first,
            second,
            score,
            mass,
            group,
            clusters,
            extra,
            skipped,
            tuple(notes),
            undecided,
            voter=people,
            voters=voters,
            tag=label,
            tags=tuple(tags),
            unrated=unrated if unrated is not None and unrated.size else None,
        )

    @classmethod
    def from_columns(
        cls,
        columns: Mapping[str, Sequence[Any]],
        *,
        controls: Sequence[str] = (),
        by: str | None = None,
        place: Place | None = None,
    ) -> Battles:
        """Battles from a mapping of columns (a dict of lists, a data frame of either library).

        Args:
            columns: `model_a`, `model_b`, and `winner` (see `read_outcomes`) or, without it, `score_a` in [0, 1];
                optionally `prompt_id`, `voter`, `weight`, and NAME_a with NAME_b for every name in `controls`.
            controls: covariates to keep, such as ``length``.
            by: a column to slice by.
            place: where a row (from 0) stands, for errors; ``row N`` by default.

        Raises:
            ValueError: a column is missing (the message names it and the columns that were found), or holds what is
                not known in too many rows.
        """
        found = [str(name) for name in columns]
        missing = [name for name in ("model_a", "model_b") if name not in found]
        one_hot = "winner" not in found and set(ONE_HOT) <= set(found)
        if "winner" not in found and "score_a" not in found and not one_hot:
            missing.append("winner")
        missing += [f"{n}{side}" for n in feature_names(controls) for side in ("_a", "_b") if f"{n}{side}" not in found]
        missing += [by] if by is not None and by not in found else []
        if missing:
            raise ValueError(f"missing column {', '.join(missing)} (found: {', '.join(found) or 'none'})")
        names_a, names_b = list(columns["model_a"]), list(columns["model_b"])
        if "winner" in found or one_hot:
            winners = one_hot_winners(*(columns[name] for name in ONE_HOT)) if one_hot else list(columns["winner"])
            outcomes = read_outcomes(winners, names_a, names_b, place=place)
        else:
            outcomes = read_scores(list(columns["score_a"]), place=place)
        covariates, told = read_controls(
            controls, lambda name: np.asarray(columns[name], dtype=np.float64), place=place
        )
        return cls.from_names(
            names_a,
            names_b,
            outcomes.score,
            weight=read_weights(list(columns["weight"]), place=place) if "weight" in found else None,
            prompt_ids=list(columns["prompt_id"]) if "prompt_id" in found else None,
            covariates=covariates,
            notes=(*outcomes.notes, *told),
            voters=list(columns["voter"]) if "voter" in found else None,
            tags=None if by is None else list(columns[by]),
        )

    @classmethod
    def from_names(
        cls,
        names_a: Sequence[Any],
        names_b: Sequence[Any],
        score_a: FloatArray,
        *,
        weight: FloatArray | None = None,
        prompt_ids: Sequence[Any] | None = None,
        covariates: Mapping[str, FloatArray] | None = None,
        notes: Sequence[str] = (),
        voters: Sequence[Any] | None = None,
        tags: Sequence[Any] | None = None,
    ) -> Battles:
        """Battles from names instead of codes; rows without a name are left out and counted.

        Args:
            names_a, names_b: N names, texts or numbers; None, NaN and blank ones are missing.
            prompt_ids: N ids, texts or numbers.
            score_a, weight, covariates, notes: as in `of`.
            voters: N names of who decided, texts or numbers.
            tags: N values to slice by; None, NaN and blank ones are missing.

        Raises:
            ValueError: names or ids that are neither, or columns that cannot be.
        """
        try:
            codes, distinct = encode([*names_a, *names_b])
            group = None if prompt_ids is None else prompt_codes(prompt_ids)
        except TypeError:  # a list or a mapping has no hash
            raise ValueError("model names and prompt ids must be text or numbers") from None
        unnamed = np.array([name is None or name != name or not str(name).strip() for name in distinct], dtype=bool)
        # the number 1 and the text "1" are one name
        position, models = encode([str(name) for name in distinct])
        codes, nameless = position[codes], unnamed[codes]
        a, b = codes[: len(names_a)], codes[len(names_a) :]
        people = None if voters is None else prompt_codes([None if v is None else str(v) for v in voters])
        label, values = (None, []) if tags is None else tag_codes(tags)
        if not nameless.any():
            return cls.of(
                models, a, b, score_a, weight=weight, cluster=group, covariates=covariates, notes=notes, voter=people,
                tag=label, tags=values,
            )  # fmt: skip
        kept = ~(nameless[: len(a)] | nameless[len(a) :])
        used, models = encode([models[code] for code in np.concatenate([a[kept], b[kept]])])
        gone = int(np.count_nonzero(~kept))
        return cls.of(
            models,
            used[: kept.sum()],
            used[kept.sum() :],
            score_a[kept],
            weight=None if weight is None else weight[kept],
            cluster=None if group is None else group[kept],
            covariates={name: column[kept] for name, column in (covariates or {}).items()},
            skipped=gone,
            notes=[*notes, f"{gone:,} of {len(kept):,} rows without a model's name left out"],
            voter=None if people is None else people[kept],
            tag=None if label is None else label[kept],
            tags=values,
            skipped_tags=() if label is None else label[~kept],
        )

    def with_failures(
        self,
        undecided: Iterable[tuple[str, str]],
        own_failures: Mapping[str, int],
        *,
        tags: Sequence[str | None] = (),
        failed: Iterable[tuple[str, str | None]] = (),
    ) -> Battles:
        """The same battles, and what is known of those without a verdict.

        Args:
            undecided: the two models of each further battle without an outcome; it is counted in `skipped`, too.
            own_failures: how many of a model's losses are failures of its own; these battles are there already.
            tags: of the undecided battles, in the same order, where the battles are sliced and these are known.
            failed: model and tag of each such loss, likewise.
        """
        undecided = list(undecided)
        pairs = Counter(undecided)
        if not pairs and not own_failures:
            return self
        models = sorted({*self.models, *own_failures, *(name for pair in pairs for name in pair)})
        code = {name: index for index, name in enumerate(models)}
        moved = np.array([code[name] for name in self.models], dtype=np.int32)
        met = np.zeros((len(models), len(models)), dtype=np.int64)
        if self.undecided is not None:
            met[np.ix_(moved, moved)] = self.undecided
        for (one, other), n in pairs.items():
            met[[code[one], code[other]], [code[other], code[one]]] += n
        failures = np.array([own_failures.get(name, 0) for name in models], dtype=np.int64)
        value = {text: index for index, text in enumerate(self.tags)}
        further = [(code[a], code[b], value.get(tag or "", -1)) for (a, b), tag in zip(undecided, tags, strict=False)]
        unrated = np.array(further, dtype=np.int64).reshape(-1, 3).T
        if self.unrated is not None:
            before = np.vstack([np.append(moved, -1)[self.unrated[:2]], self.unrated[2:]])
            unrated = np.concatenate([before, unrated], 1)
        lost = [(code[name], value.get(tag or "", -1)) for name, tag in failed]
        return replace(
            self,
            models=tuple(models),
            unrated=unrated if unrated.size else None,
            failed=np.array(lost, dtype=np.int64).T if lost else None,
            a=moved[self.a] if len(self) else self.a,
            b=moved[self.b] if len(self) else self.b,
            skipped=self.skipped + pairs.total(),
            undecided=met if met.any() else None,
            own_failures=failures if failures.any() else None,
        )

    def rows(self, keep: BoolArray) -> Battles:
        """The battles of some rows, shape (N,), among the same models."""
        cluster, clusters = (None, 0) if self.cluster is None else dense(self.cluster[keep])
        voter, voters = (None, 0) if self.voter is None else dense(self.voter[keep])
        return replace(
            self,
            a=self.a[keep],
            b=self.b[keep],
            score_a=self.score_a[keep],
            weight=None if self.weight is None else self.weight[keep],
            cluster=cluster,
            clusters=clusters,
            voter=voter,
            voters=voters,
            tag=None if self.tag is None else self.tag[keep],
            covariates={name: column[keep] for name, column in self.covariates.items()},
        )

    def tagged(self, code: int) -> Battles:
        """The battles of one slice, by index into `tags`, with what was left out of it, among the models that it holds.

        Notes are of the whole and stay there.
        """
        assert self.tag is not None
        size = len(self.models)
        a, b, tag = np.zeros((3, 0), dtype=np.int64) if self.unrated is None else self.unrated
        here = tag == code
        known = here & (a >= 0) & (a != b)
        undecided = meetings(a[known], b[known], size)
        model, tag = np.zeros((2, 0), dtype=np.int64) if self.failed is None else self.failed
        failures = np.bincount(model[tag == code], minlength=size)
        return replace(
            self.rows(np.asarray(self.tag == code, dtype=np.bool_)),
            skipped=int(np.count_nonzero(here)),
            notes=(),
            undecided=undecided if undecided.any() else None,
            own_failures=failures if failures.any() else None,
            unrated=None,
            failed=None,
        ).met()

    def met(self) -> Battles:
        """The same battles among the models that fought them, or left some undecided."""
        used = np.unique(np.concatenate([self.a, self.b]))
        if self.undecided is not None:
            used = np.union1d(used, np.flatnonzero(self.undecided.any(axis=1)))
        if len(used) == len(self.models):
            return self
        position = np.zeros(len(self.models), dtype=np.int32)
        position[used] = np.arange(len(used), dtype=np.int32)
        return replace(
            self,
            models=tuple(self.models[code] for code in used),
            a=position[self.a],
            b=position[self.b],
            undecided=None if self.undecided is None else self.undecided[np.ix_(used, used)],
            own_failures=None if self.own_failures is None else self.own_failures[used],
            unrated=None,
            failed=None,
        )

    def of_models(self, models: Sequence[str]) -> Battles:
        """The same battles by the codes of these models; those of other models are left out."""
        place = {name: code for code, name in enumerate(models)}
        code = np.array([place.get(name, -1) for name in self.models], dtype=np.int32)
        kept = self.rows((code[self.a] >= 0) & (code[self.b] >= 0))
        return replace(
            kept,
            models=tuple(models),
            a=code[kept.a],
            b=code[kept.b],
            undecided=None,
            own_failures=None,
            skipped=0,
            unrated=None,
            failed=None,
        )

    def by_voter(self) -> Battles:
        """The same battles with voters in the place of prompts: those of one voter are no independent witnesses."""
        return replace(self, cluster=self.voter, clusters=self.voters)


def self_battle_notes(many: int) -> list[str]:
    """On battles of a model against itself."""
    return [f"{_count(many, 'battle')} of a model against itself left out"] if many else []


def weightless_notes(many: int) -> list[str]:
    """On battles that weigh next to nothing."""
    return [f"{_count(many, 'battle')} below {NO_WEIGHT:g} of the largest weight count for nothing"] if many else []


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
