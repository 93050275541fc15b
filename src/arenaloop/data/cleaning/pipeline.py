"""All steps one after the other, in Arena Learning's order (arXiv 2407.10627, section 3.2), and what each came to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from arenaloop.config import CleaningSettings
from arenaloop.data.cleaning.decontamination import held_out, nearest, overlapping
from arenaloop.data.cleaning.near_duplicates import near_duplicates
from arenaloop.data.cleaning.rows import BenchmarkItem, Drop, Dropping, Row, Rows
from arenaloop.data.cleaning.steps import (
    Filter,
    check_language,
    length_in,
    other_language,
    shared_prefix,
    too_short,
    toxic,
)
from arenaloop.data.embeddings import check_local
from arenaloop.errors import InputError

__all__ = ["Account", "Cleaner", "Counted", "clean"]

_Step: TypeAlias = Callable[[Rows, Dropping], Iterator[Row]]


@dataclass
class Counted:
    """One step: its name, what it drops, and the rows before and after it."""

    step: str
    about: str
    before: int = 0
    after: int = 0

    @property
    def dropped(self) -> int:
        """Rows that it dropped."""
        return self.before - self.after


@dataclass
class Account:
    """What cleaning comes to; whole once its rows are all drawn.

    Attributes:
        steps: in order.
        notes: what is not cleaned for want of a setting, in plain words.
        equal: rows dropped because another is the same, normalised.
    """

    steps: list[Counted]
    notes: list[str] = field(default_factory=list)
    equal: int = 0

    @property
    def read(self) -> int:
        """Rows that came in."""
        return self.steps[0].before

    @property
    def kept(self) -> int:
        """Rows that stay."""
        return self.steps[-1].after

    def told(self) -> str:
        """What each step dropped, in one line."""
        return ", ".join(f"{one.dropped:,} {one.step}" for one in self.steps if one.dropped) or "none"

    def require_rows(self, what: str) -> None:
        """Raise InputError, which names the step that dropped the last rows of `what`, if none is left."""
        if self.kept:
            return
        if not self.read:
            raise InputError(f"{what}: no prompts in it")
        last = next(one for one in self.steps if one.before and not one.after)
        raise InputError(
            f"{what}: cleaning leaves none of {self.read:,} rows: step {last.step} ({last.about}) dropped the last "
            f"{last.before:,}; dropped in all: {self.told()}"
        )

    def to_json(self) -> dict[str, Any]:
        """As it is written to files."""
        steps = [{"step": one.step, "about": one.about, "before": one.before, "after": one.after} for one in self.steps]
        return {"read": self.read, "kept": self.kept, "steps": steps, "notes": self.notes}


@dataclass(frozen=True)
class Cleaner:
    """Settings, with what they name made into objects.

    Attributes:
        seed: of signatures and embeddings.
        is_toxic: a filter, where the settings name one.
        tokens: counts a text's, where the settings count tokens.
    """

    settings: CleaningSettings
    seed: int = 0
    is_toxic: Filter | None = None
    tokens: Callable[[str], int] | None = None


def clean(
    rows: Rows, cleaner: Cleaner, items: Sequence[BenchmarkItem], drop: Dropping = lambda _: None
) -> tuple[Account, Iterator[Row]]:
    """The rows that stay, in their order; a pure function of its arguments, if the filter is one.

    Args:
        rows: streamed; steps that must see all of them keep them on disk.
        cleaner: what is done.
        items: test prompts that no row may be like.
        drop: is told of each row that goes; within a step in the order of the rows, among steps in none.

    Returns:
        What it comes to, which is whole when the second is: the rows.

    Raises:
        ConfigError, InputError, MissingExtraError: some of them when rows are drawn.
    """
    steps = list(_steps(cleaner, items))
    account = Account([counted for counted, _ in steps])
    if cleaner.is_toxic is None:
        account.notes.append("no filter for illegal or toxic prompts is set (toxic): whatever is such stays")
    if not items:
        account.notes.append("no test set is given: prompts that are in one stay")

    def heard(dropped: Drop) -> None:
        account.equal += isinstance(dropped.partner, int) and dropped.similarity == 1.0
        drop(dropped)

    stream: Iterator[Row] = iter(rows)
    for counted, step in steps:
        stream = _after(step(_before(stream, counted), heard), counted)
    return account, stream


def _before(rows: Rows, counted: Counted) -> Iterator[Row]:
    for row in rows:
        counted.before += 1
        yield row


def _after(rows: Rows, counted: Counted) -> Iterator[Row]:
    for row in rows:
        counted.after += 1
        yield row


def _steps(cleaner: Cleaner, items: Sequence[BenchmarkItem]) -> Iterator[tuple[Counted, _Step]]:
    """What is done, in order; steps that are off are not among them, and there is always one that reads."""
    s = cleaner.settings
    if cleaner.is_toxic is not None:
        yield Counted("toxic", f"found so by {s.toxic}"), partial(toxic, is_toxic=cleaner.is_toxic)
    length = length_in(s.min_len_unit, cleaner.tokens)
    yield (
        Counted("min_len", f"shorter than {s.min_len} {s.min_len_unit}s"),
        partial(too_short, least=s.min_len, length=length, unit=s.min_len_unit),
    )
    if s.prefix:
        yield (
            Counted("prefix", f"the same first {s.prefix} {s.prefix_unit}s"),
            partial(shared_prefix, length=s.prefix, unit=s.prefix_unit),
        )
    if s.ngram:
        yield (
            Counted("minhash", f"{s.jaccard:g} of the {s.ngram}-word n-grams shared"),
            partial(near_duplicates, ngram=s.ngram, perms=s.perms, jaccard=s.jaccard, seed=cleaner.seed),
        )
    if items:
        many = f"{len(items):,} test prompts"
        # what is a test prompt before what is most like one: a rule of ranks takes copies, too, and would hide them
        yield Counted("held_out", f"asks or contains one of {many}"), partial(held_out, items=items)
        if s.overlap:
            yield (
                Counted("overlap", f"{s.overlap}-word runs make {s.overlap_share:g} of one of {many}"),
                partial(overlapping, items=items, n=s.overlap, share=s.overlap_share),
            )
        if s.decontam_k:
            check_local(s.embeddings)
            yield (
                Counted("nearest", f"the {s.decontam_k} nearest to each of {many}"),
                partial(nearest, items=items, k=s.decontam_k, embeddings=s.embeddings, seed=cleaner.seed),
            )
    if s.lang != "any":
        check_language(s.lang)
        yield Counted("lang", f"not {s.lang}"), partial(other_language, language=s.lang, sure=s.lang_sure)
