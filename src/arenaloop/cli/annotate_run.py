"""Labels from settings to rows: what can be refused, the asking, what is written, what is told."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from arenaloop.calls.annotating import (
    Annotation,
    AnnotationPlan,
    annotate,
    annotation_parts,
    estimate_annotations,
    planned_calls,
    silent,
)
from arenaloop.calls.batch import batch_seconds
from arenaloop.calls.batched import check_batched
from arenaloop.calls.batched_annotations import annotate_batches
from arenaloop.calls.budget import Budget, dollars, require_prices
from arenaloop.calls.costs import HumanLabel, human_equivalent, human_line
from arenaloop.calls.estimated import Estimate
from arenaloop.calls.shards import Claim, Shard, claim, refuse_other
from arenaloop.cli.annotate_trial import unable
from arenaloop.cli.directory import open_to_write, refuse_foreign
from arenaloop.cli.money import known_prices, settle_batches
from arenaloop.cli.progress import Watch, say_notices
from arenaloop.config import AnnotateSettings, ModelSettings
from arenaloop.data.formats.pairs import PairSet, holds_pairs, pair_row, read_head_to_head, read_pairs, read_samples
from arenaloop.errors import ConfigError, InputError, UnreadJudgeError
from arenaloop.jsonl import encode_json, write_jsonl
from arenaloop.judges.annotators import Pair
from arenaloop.models.recorded import RecordedModel
from arenaloop.specs import contestant
from arenaloop.specs.annotators import pool
from arenaloop.store import Store
from arenaloop.store.counts import commonest_error
from arenaloop.terminal import counted, say

__all__ = ["execute", "labels_beside"]


def execute(
    settings: AnnotateSettings,
    files: Sequence[str],
    out: Path,
    *,
    prompts: Path | None = None,
    allow_missing: bool = False,
    dry_run: bool = False,
    as_json: bool = False,
    forget: bool = False,
    measure: bool = False,
    prices: Path | None = None,
) -> None:
    """Label the pairs of `files` into `out`; the same again asks what is missing.

    With `forget`, batches that are not collected are given up.

    Raises:
        ConfigError, InputError: before anything is asked.
        StoppedError: the budget is spent, a server is down, no annotator gave a label, or batches are on their way;
            resumable.
        typer.Exit: with code 3, where labels are missing.
    """
    messages = Console(stderr=True)
    arena = Path(f"{out}.db")
    for written in (out, labels_beside(out)):
        refuse_foreign(written, arena, [name.rpartition("=")[2] for name in files])
    annotators = pool(settings.pool, settings.concurrency)
    budget = Budget(settings.budget_usd, settings.budget_calls, prices=known_prices(settings, prices))
    require_prices(budget, [model for one in annotators.members if (model := getattr(one, "model", None)) is not None])
    found = _read(files, prompts, settings.seed, allow_missing=allow_missing)
    batch = settings.batch is not None
    plan = AnnotationPlan(found.pairs, annotators, settings.seed, settings.votes, settings.concurrency, alone=batch)
    claimed: Claim | None = None
    if settings.shard is not None:
        ids = {pair.prompt.id for pair in found.pairs}
        plan = replace(plan, shard=(shard := Shard.parse(settings.shard)))
        claimed = claim("annotate", shard, annotation_parts(plan), settings.model_dump(mode="json"), ids)
    if batch:
        check_batched(plan.pool.members)
    _refuse_later_turns(plan)
    for note in found.notes:
        say(messages, f"note: {note}", fold=True)
    human = HumanLabel(settings.human.usd, settings.human.seconds)
    saved = _saved(plan)
    if dry_run:
        with Store(arena, readonly=True) if arena.exists() else nullcontext() as there:
            if there is not None:
                refuse_other(there, arena, claimed, "annotate", keep=False)
                budget.begin(there)
            expected = estimate_annotations(plan, there, human=human, batch=batch, measure=measure)
            before = 0.0 if there is None else there.usage().usd
        say(messages, _planned(plan, found, saved, out, expected), fold=True)
        for line in expected.lines():
            say(messages, line, fold=True)
        count = len(plan.pairs) * plan.votes
        rest = expected.total("usd")
        paid = None if rest is None or before is None else before + rest
        say(messages, _beside_people(count, paid, human), fold=True)
        if trial := unable(plan, [member.spec for member in settings.pool.members]):
            say(messages, f"warning: {trial}", fold=True)
        if as_json:
            _print({"out": str(out), "labels": len(plan.pairs) * plan.votes, **saved, "estimate": expected.to_json()})
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out}: {error.strerror}") from None
    with open_to_write(arena) as store:
        refuse_other(store, arena, claimed, "annotate")
        if claimed is not None:
            say(messages, f"{out}: {claimed.line()}", on_screen=True)
        budget.begin(store)
        settle_batches(store, plan.judges, budget, out, batch=batch, forget=forget)
        expected = estimate_annotations(plan, store, human=human, batch=batch)
        say(messages, _planned(plan, found, saved, out, expected), fold=True)
        for line in expected.head():
            say(messages, line, fold=True)
        with Watch(messages, "labels", expected) as watch:
            if settings.batch is None:
                labels = annotate(plan, store, watch.tally, budget=budget)
            else:
                folder = Path(f"{out}.batches")
                labels = annotate_batches(
                    plan, store, folder, settings.batch, watch.tally, budget=budget, say=partial(say, messages)
                )
        usage, reason = store.usage(), commonest_error(store)
        seconds = usage.seconds + batch_seconds(store)  # waiting for batches is time, too
        say_notices(messages, store)
    _refuse_nobody(labels, out, reason)
    write_jsonl(labels_beside(out), (_label_row(plan.pairs[one.pair], one) for one in labels))
    rows = write_jsonl(out, _preferences(plan.pairs, labels))
    failed = Counter(one.status.value for one in labels if one.preference is None)
    given = len(labels) - failed.total()
    told = {
        "out": str(out),
        "labels": len(labels),
        "rows": rows,
        "ties": sum(1 for one in labels if one.preference == 1.5),
        "noise": sum(1 for one in labels if one.noise and one.preference is not None),
        "failed": dict(failed),
        "by_annotator": dict(Counter(one.annotator for one in labels if one.annotator is not None)),
        **saved,
        **usage._asdict(),
        **({} if claimed is None else {"shard": claimed.summary()}),
        "human_equivalent": human_equivalent(given, usage.usd, seconds, human).to_json(),
    }
    if as_json:
        _print(told)
    say(messages, _summary(told, reason), fold=True)
    for name, count in silent(labels).items():
        say(messages, f"warning: annotator {name} answered none of its {counted(count, 'pair')}", fold=True)
    if (more := _noise_line(labels, plan.pool.p_label_flip)) is not None:
        say(messages, f"warning: {more}", fold=True)
    if line := human_line(told["human_equivalent"]):
        say(messages, line, fold=True)
    if failed:
        raise typer.Exit(3)


def labels_beside(out: Path) -> Path:
    """Where every label is written, ties and failures too: ``rows.jsonl`` has ``rows.labels.jsonl``."""
    return out.with_name(f"{out.name.removesuffix('.gz').removesuffix('.jsonl')}.labels.jsonl")


# ---------------------------------------------------------------------- reading


def _read(files: Sequence[str], prompts: Path | None, seed: int, *, allow_missing: bool) -> PairSet:
    if len(files) == 2:
        one, two = (contestant(_recorded(text)) for text in files)
        if one.name == two.name:
            raise ConfigError(f"both files are called {one.name!r}: name them, as in new={files[0]}")
        return read_head_to_head(one, two, prompts, allow_missing=allow_missing)
    if prompts is not None or allow_missing:
        raise ConfigError("--prompts and --allow-missing go with two files of answers")
    settings = _recorded(files[0])
    path = Path(settings.spec.removeprefix("file:"))
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if holds_pairs(path):
        return read_pairs(path)
    model = contestant(settings).model
    assert isinstance(model, RecordedModel)
    return read_samples(model, seed)


def _recorded(text: str) -> ModelSettings:
    """``[NAME=]FILE`` as recorded answers."""
    name, equals, path = text.partition("=")
    named = bool(equals and name and path) and not set(name) & set("/.")
    return ModelSettings(spec=f"file:{path if named else text}", name=name if named else None)


def _refuse_later_turns(plan: AnnotationPlan) -> None:
    """Refuse answers of several turns where an annotator takes several pairs in a call, which show one turn each."""
    shows_one = next((one.name for one in plan.pool.members if getattr(one, "layout", "pair") == "pairs"), None)
    turns = next((pair.prompt.turns for pair in plan.pairs if pair.prompt.follow_ups), 1)
    if shows_one is not None and turns > 1:
        raise ConfigError(
            f"answers of {turns} turns: annotator {shows_one} fills a template of layout pairs, which shows one turn; "
            "take a pool whose members fill one of layout pair (pairwise, say)"
        )


# ---------------------------------------------------------------------- writing


def _label_row(pair: Pair, label: Annotation) -> dict[str, Any]:
    """One label as label files have it, with what became of it."""
    row = pair_row(pair.prompt, pair.one, pair.two)
    return {"prompt_id": pair.prompt.id, **row, "preference": label.preference, **_about(label)}


def _about(label: Annotation) -> dict[str, Any]:
    return {
        "annotator": label.annotator or ("noise" if label.noise else "equal outputs"),
        "seat": "both" if label.annotator and label.first is None else label.first,
        "noise": label.noise,
        "vote": label.vote,
        "status": label.status.value,
        **({} if label.error is None else {"error": label.error}),
    }


def _preferences(pairs: Sequence[Pair], labels: Sequence[Annotation]) -> Iterator[dict[str, Any]]:
    """Rows to train on: of every label that prefers one of the two."""
    for label in labels:
        if label.preference is None or label.preference == 1.5:
            continue
        pair = pairs[label.pair]
        chosen, rejected = (pair.one, pair.two) if label.preference < 1.5 else (pair.two, pair.one)
        given = len(pair.prompt.messages)
        yield {
            "prompt": list(pair.prompt.messages),
            "chosen": pair.prompt.conversation(chosen.texts)[given:],
            "rejected": pair.prompt.conversation(rejected.texts)[given:],
            "prompt_id": pair.prompt.id,
            "chosen_model": chosen.model,
            "rejected_model": rejected.model,
            **_about(label),
            "verdicts": list(label.verdicts),
        }


# ---------------------------------------------------------------------- telling


def _saved(plan: AnnotationPlan) -> dict[str, int]:
    """Calls that are planned, and that noise saves."""
    calls, all_of_them = planned_calls(plan), planned_calls(replace(plan, pool=replace(plan.pool, p_label_flip=0.0)))
    return {"calls_planned": calls, "calls_saved_by_noise": all_of_them - calls}


def _planned(plan: AnnotationPlan, found: PairSet, saved: dict[str, int], out: Path, expected: Estimate) -> str:
    annotators = plan.pool
    repeated = f" ({found.repeated:,} more repeat one of them)" if found.repeated else ""
    votes = f" · {plan.votes} votes each" if plan.votes > 1 else ""
    one = "; a pool of one annotator: nothing varies between annotators" if len(annotators.members) == 1 else ""
    batches = ", each pair in a request of a batch" if plan.alone else ""
    noise = f", {saved['calls_saved_by_noise']:,} saved by noise" if annotators.p_label_flip else ""
    return (
        f"{out}: {counted(len(plan.pairs), 'pair')}{repeated}{votes} · "
        f"{counted(len(annotators.members), 'annotator')} · "
        f"p_label_flip {annotators.p_label_flip:g} ({annotators.noise_model}) · seats {annotators.seat_mode} · "
        + expected.ahead(f"{counted(saved['calls_planned'], 'call')} at most, re-asking apart")
        + f"{batches}{noise}{one}"
    )


def _beside_people(labels: int, usd: float | None, human: HumanLabel) -> str:
    """What the same labels cost from people, and 1,000 of them, beside AlpacaFarm's figures."""
    people = human_line(human_equivalent(labels, None, None, human).to_json()) or counted(labels, "label")
    ours = "price unknown" if usd is None else f"${dollars(1000 * usd / labels)}"
    theirs = "" if human.usd is None else f"${1000 * human.usd:,.0f} by people, "
    return f"{people}; 1,000 labels: {theirs}{ours} here (AlpacaFarm has $300 and $6)"


def _summary(told: dict[str, Any], reason: str | None) -> str:
    usd = "price unknown" if told["usd"] is None else f"${dollars(told['usd'])}"
    why = ", ".join(f"{count:,} {status}" for status, count in told["failed"].items())
    failed = (
        f" · {sum(told['failed'].values()):,} failed ({why}" + (f"; most often: {reason})" if reason else ")")
        if why
        else ""
    )
    return (
        f"{told['out']}: {counted(told['labels'], 'label')}, {told['noise']:,} of them noise · "
        f"{counted(told['ties'], 'tie')} · "
        f"{counted(told['rows'], 'row')} to train on{failed} · {counted(told['calls'], 'call')} · {usd}"
    )


def _refuse_nobody(labels: Sequence[Annotation], out: Path, reason: str | None) -> None:
    """Raise UnreadJudgeError where annotators were asked and none gave a label: rows would be noise, or none."""
    asked = Counter(one.status.value for one in labels if one.annotator is not None)
    if not asked or any(one.annotator is not None and one.preference is not None for one in labels):
        return
    why = ", ".join(f"{count:,} {status}" for status, count in asked.items())
    often = f"; most often: {reason}" if reason else ""
    raise UnreadJudgeError(
        f"{out}: no annotator gave a label: all {asked.total():,} that were asked for failed ({why}{often}); nothing "
        "is written, and the same command asks again"
    )


def _noise_line(labels: Sequence[Annotation], p_label_flip: float) -> str | None:
    """Where failures took labels and left noise, how much of what is left is noise."""
    given = [one for one in labels if one.preference is not None]
    share = sum(one.noise for one in given) / max(1, len(given))
    if share <= 2.0 * p_label_flip + 0.05 or all(one.preference is not None for one in labels):
        return None
    return (
        f"{share:.0%} of the labels that were given are noise, where p_label_flip {p_label_flip:g} draws "
        f"{2.0 * p_label_flip:.0%}: labels failed, and noise does not"
    )


def _print(document: dict[str, Any]) -> None:
    sys.stdout.write(encode_json(document, indent=2).decode() + "\n")
