"""A test set from settings to its files: what can be refused, the asking, what is written, what is told."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from arenaloop.arena.test_set_card import UNKNOWN, card, rows
from arenaloop.arena.test_set_plan import (
    TestSet,
    TestSetPlan,
    build,
    kept_clusters,
    rate_shard,
    test_set_parts,
)
from arenaloop.calls.batch import forget_batches, open_batches, server_of
from arenaloop.calls.budget import Budget, require_prices
from arenaloop.calls.embedding import AskedEmbedder, embedded, embedding_units
from arenaloop.calls.estimated import Estimate
from arenaloop.calls.judging import AskedJudge
from arenaloop.calls.rating import RatingPlan, estimate_ratings, rate
from arenaloop.calls.shards import Claim, Shard, claim, refuse_other
from arenaloop.cli.directory import beside, open_to_write, refuse_foreign
from arenaloop.cli.money import known_prices
from arenaloop.cli.progress import Watch, say_notices
from arenaloop.config import TestSetSettings
from arenaloop.data.clusters import require_clustering
from arenaloop.data.embeddings import BUILT_IN, Vectors, check_local, embed
from arenaloop.data.prompts import prompt_row, user_text
from arenaloop.errors import ConfigError, InputError
from arenaloop.jsonl import encode_json, replacing, write_json, write_jsonl
from arenaloop.report.test_set import render_test_set
from arenaloop.specs import load_prompts
from arenaloop.specs.judges import prompt_judge
from arenaloop.specs.models import embedding_server
from arenaloop.store import Store
from arenaloop.store.counts import commonest_error
from arenaloop.terminal import say

__all__ = ["execute"]


def execute(
    settings: TestSetSettings,
    out: Path,
    *,
    dry_run: bool = False,
    as_json: bool = False,
    forget: bool = False,
    measure: bool = False,
    prices: Path | None = None,
) -> None:
    """Draw a test set into `out`; the same again asks what is missing.

    Raises:
        ConfigError, InputError: before anything is asked.
        StoppedError: the budget is spent, a server is down, or batches are on their way; resumable.
        typer.Exit: with code 3, where prompts could not be rated.
    """
    _Run(settings, out, prices).execute(dry_run=dry_run, as_json=as_json, forget=forget, measure=measure)


class _Run:
    """The steps of one run; making it refuses all that can be refused without looking into the arena file."""

    def __init__(self, settings: TestSetSettings, out: Path, prices: Path | None) -> None:
        self.settings, self.out, self.messages = settings, out, Console(stderr=True)
        self.store: Store
        self.expected: Estimate | None = None
        self.arena = Path(f"{out}.db")
        self.files = {what: beside(out, f"{what}.jsonl") for what in ("diverse", "hard")}
        self.cards = {kind: beside(out, f"card.{kind}") for kind in ("json", "html")}
        for written in (out, *self.files.values(), *self.cards.values()):
            refuse_foreign(written, self.arena, [settings.prompts])
        require_clustering()
        self.endpoint = embedding_server(settings.embeddings.with_concurrency(settings.concurrency))
        if self.endpoint is None:
            check_local(settings.embeddings.spec)
        self.plan = self._plan()
        self.claimed = self._claim()
        self.judges = [one for one in (self.plan.judge, self.plan.sorter) if one is not None]
        self.budget = Budget(settings.budget_usd, settings.budget_calls, prices=known_prices(settings, prices))
        asked = [judge.model for judge in self.judges]
        require_prices(self.budget, [*asked, self.endpoint] if self.endpoint is not None else asked)
        if settings.batch is not None:
            for judge in self.judges:
                server_of(AskedJudge(judge, ""))

    def _plan(self) -> TestSetPlan:
        settings = self.settings
        loaded = load_prompts(settings.prompts, settings.seed)
        self.duplicates = loaded.duplicates
        if loaded.unknown:
            self._say(f"note: {settings.prompts}: columns not used: {', '.join(loaded.unknown)}")
        for line in loaded.odd:
            self._say(f"warning: {settings.prompts}: {line}")
        if loaded.beside:
            self._say(f"{settings.prompts}: {loaded.beside}")
        for prompt in loaded:
            try:
                prompt_row(prompt)
            except ValueError as error:
                raise InputError(f"{settings.prompts}: {error}") from None
        spec = settings.embeddings.spec
        if self.endpoint is not None:
            spec = f"{self.endpoint.name} at {self.endpoint.base_url}"
        judge = settings.judge and settings.judge.with_concurrency(settings.concurrency)
        return TestSetPlan(
            loaded.prompts,
            f"{spec} {settings.dimensions}" if spec == BUILT_IN else spec,
            clusters=settings.clusters,
            diverse=settings.diverse,
            hard=settings.hard,
            rated=settings.rated,
            disjoint=settings.disjoint,
            judge=prompt_judge(judge) if judge and settings.hard else None,
            sorter=prompt_judge(judge, "category") if judge and settings.categories == "judge" else None,
            reask=2 if judge is None else judge.reask,
            seed=settings.seed,
            concurrency=settings.concurrency,
        )

    def _claim(self) -> Claim | None:
        """Of a shard; the plan is its own part from then on."""
        settings = self.settings
        if settings.shard is None:
            return None
        shard = Shard.parse(settings.shard)
        if self.endpoint is not None:
            raise ConfigError(
                "--shard: every shard needs the embeddings of all prompts, and would pay a server for them: take "
                "--embeddings tfidf or st:PATH"
            )
        if not settings.hard:
            raise ConfigError("--shard: with --hard 0 nothing is rated, so that there is nothing to divide")
        claimed = claim("testset", shard, test_set_parts(self.plan), settings.model_dump(mode="json"), self.plan.ids)
        self.plan = replace(self.plan, shard=shard, sorter=None)  # what is sorted is known when all are rated
        return claimed

    def execute(self, *, dry_run: bool, as_json: bool, forget: bool, measure: bool) -> None:
        """Do it, or say what would be done."""
        self._say_plan()
        if dry_run:
            with Store(self.arena, readonly=True) if self.arena.exists() else nullcontext() as there:
                if there is not None:
                    refuse_other(there, self.arena, self.claimed, "testset", keep=False)
                    self.budget.begin(there)
                expected = self._estimate(there, measure=measure)
            for line in () if expected is None else expected.lines():
                self._say(line)
            if as_json:
                estimate = None if expected is None else expected.to_json()
                _print({"out": str(self.out), **self._sizes(), "estimate": estimate})
            return
        try:
            self.out.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--out {self.out}: {error.strerror}") from None
        with open_to_write(self.arena) as store:
            refuse_other(store, self.arena, self.claimed, "testset")
            self.budget.begin(store)
            if forget and forget_batches(store, self.judges):
                self.budget.spend(store.sent.calls, store.sent.usd, store.sent.usd)
            if self.settings.batch is None and (waiting := open_batches(store, self.judges)):
                raise ConfigError(
                    f"{self.arena}: {len(waiting)} batches are not collected, and call by call they would be paid "
                    "again: go on with --batch, or give them up with --forget-batches"
                )
            if (expected := self._estimate(store)) is not None:
                for line in expected.head():
                    self._say(line)
            self.store, self.expected = store, expected
            if self.claimed is not None:
                self._rate_shard(self.claimed, as_json=as_json)
                return
            test = build(self.plan, store, self._vectors, self._ask, self._say)
            usage, reason = store.usage(), commonest_error(store)
            say_notices(self.messages, store)
        document = card(test) | {"duplicates": self.duplicates, "prompts_file": self.settings.prompts} | usage._asdict()
        self._write(test, document)
        if as_json:
            _print(document)
        self._tell(test, document, reason)
        if test.failed or test.unsorted:
            raise typer.Exit(3)

    def _rate_shard(self, claimed: Claim, *, as_json: bool) -> None:
        """Rate a shard's part; the set is drawn where all ratings are together."""
        ends = rate_shard(self.plan, self.store, self._vectors, self._ask, self._say)
        say_notices(self.messages, self.store)
        rated, failed = ends.pop("ok", 0), ends
        if as_json:
            told = {"out": str(self.out), "rated": rated, "failed": dict(failed), "shard": claimed.summary()}
            _print(told | self.store.usage()._asdict())
        self._say(
            f"{self.arena}: {rated:,} prompts rated; once all shards are merged, the same command without --shard "
            "draws the set"
        )
        if failed:
            told_of = ", ".join(f"{count:,} {status}" for status, count in failed.items())
            self._say(f"{failed.total():,} prompts could not be rated ({told_of}); run again to ask again")
            raise typer.Exit(3)

    def _vectors(self, texts: Sequence[str]) -> Vectors:
        settings, endpoint = self.settings, self.endpoint
        if endpoint is None:
            return embed(texts, settings.embeddings.spec, dimensions=settings.dimensions, seed=settings.seed)
        with Watch(self.messages, "embeddings", self.expected) as watch:
            ask = partial(embedded, model=endpoint, store=self.store, on_progress=watch.tally, budget=self.budget)
            return embed(texts, ask)

    def _ask(self, what: str, plan: RatingPlan) -> None:
        batch, folder = self.settings.batch, Path(f"{self.out}.batches")
        with Watch(self.messages, what, self.expected) as watch:
            rate(plan, self.store, watch.tally, budget=self.budget, batch=batch, folder=folder, say=self._say)

    def _estimate(self, store: Store | None, *, measure: bool = False) -> Estimate | None:
        """What ratings come to: of the prompts that are drawn, or before there are clusters of others."""
        plan = self.plan
        clusters = None if store is None else kept_clusters(plan, store)
        diverse, candidates = plan.stand_ins() if clusters is None else plan.drawn(clusters)
        to_sort = plan.unsorted([*diverse, *candidates[: plan.hard]])
        plans = [one for one in (plan.rating(plan.judge, candidates), plan.rating(plan.sorter, to_sort)) if one]
        about = "about: other prompts of the pool stand for those that will be drawn" if clusters is None else ""
        before = None
        if self.endpoint is not None and clusters is None:
            asked = AskedEmbedder(self.endpoint)
            before = asked, embedding_units(asked, [user_text(prompt) for prompt in plan.prompts], store)
        if not plans and before is None:
            return None
        batch = self.settings.batch is not None
        return estimate_ratings(plans, store, before=before, batch=batch, measure=measure, about=about)

    def _write(self, test: TestSet, document: dict[str, Any]) -> None:
        write_jsonl(self.out, rows(test, test.mix))
        for what, numbers in (("diverse", test.diverse), ("hard", test.hard)):
            write_jsonl(self.files[what], rows(test, numbers))
        write_json(self.cards["json"], document)
        with replacing(self.cards["html"]) as file:
            file.write(render_test_set(document))

    # ------------------------------------------------------------------ telling

    def _sizes(self) -> dict[str, int]:
        plan = self.plan
        sizes = {"clusters": plan.clusters, "diverse": plan.diverse, "hard": plan.hard, "rated": plan.candidates}
        return {"prompts": len(plan.prompts), **sizes}

    def _say_plan(self) -> None:
        if self.claimed is not None:
            self._say(f"{self.out}: {self.claimed.line()}")
        plan, repeated = self.plan, f" ({self.duplicates:,} more repeat one of them)" if self.duplicates else ""
        judge = "" if plan.judge is None else f", of {plan.candidates:,} that {plan.judge.name} rates"
        self._say(
            f"{self.out}: {len(plan.prompts):,} prompts{repeated} in {plan.clusters:,} clusters · "
            f"{plan.diverse:,} diverse · {plan.hard:,} hard{judge}"
        )

    def _tell(self, test: TestSet, document: dict[str, Any], reason: str | None) -> None:
        sizes = f"{len(test.diverse):,} diverse and {len(test.hard):,} hard prompts"
        difficulty = document["difficulty"]
        if difficulty is not None and difficulty["mean"] is not None:
            sizes += f" · mean difficulty {difficulty['mean']:.2f} of those rated"
            hard = document["sets"]["hard"]["mean_difficulty"]
            sizes += "" if hard is None else f", {hard:.2f} of the hard ones"
        self._say(f"{self.out}: {sizes}")
        unknown = sum(name is None for name in test.categories.values())
        if unknown and self.plan.sorter is None:
            some = [row for row in document["categories"] if row["category"] != UNKNOWN]
            which = f"{unknown:,} of {len(test.mix):,} prompts have" if some else "no prompt has"
            self._say(f"note: {which} a category; --categories judge asks for them")
        why = f"; most often: {reason}" if reason else ""
        if test.failed:
            told = ", ".join(f"{count:,} {status}" for status, count in test.failed.items())
            self._say(
                f"{test.failed.total():,} of {len(test.rated):,} prompts could not be rated and were left out ({told}"
                f"{why}); run again to ask again"
            )
        if test.unsorted:
            self._say(f"{test.unsorted:,} categories could not be read{why}; run again to ask again")
        if len(test.hard) < self.plan.hard:
            self._say(f"warning: {len(test.hard):,} hard prompts where {self.plan.hard:,} are wanted")
        self._say(f"card: {self.cards['html']}")

    def _say(self, line: str) -> None:
        say(self.messages, line, fold=True)


def _print(document: dict[str, Any]) -> None:
    sys.stdout.write(encode_json(document, indent=2).decode() + "\n")
