"""Samples from settings to rows: what can be refused, the asking, the scores, the choice, what is written and told."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from arenaloop.calls.answers import Answers, Contestant, answer, samples_of
from arenaloop.calls.budget import Budget, require_prices
from arenaloop.calls.estimate import estimate
from arenaloop.calls.estimated import Estimate
from arenaloop.calls.recorded import materials_to_be
from arenaloop.calls.units import Planned
from arenaloop.cli.directory import open_to_write, refuse_foreign
from arenaloop.cli.money import known_prices
from arenaloop.cli.progress import Watch, say_notices
from arenaloop.config import ModelSettings, RunSettings
from arenaloop.errors import ConfigError, InputError
from arenaloop.jsonl import write_jsonl
from arenaloop.models.best_of_n import choose, kl_bound, mean_curve, scores_of
from arenaloop.models.recorded import RecordedModel
from arenaloop.models.reward import Reward
from arenaloop.specs import contestant, load_prompts
from arenaloop.specs.rewards import tried
from arenaloop.store import Store
from arenaloop.store.counts import commonest_error
from arenaloop.terminal import counted, say
from arenaloop.types import Prompt, Response, Status

__all__ = ["execute"]

Scores = list[float | None]


def execute(
    model: ModelSettings,
    prompt_file: str,
    out: Path,
    samples: int,
    settings: RunSettings,
    *,
    best: bool,
    rewards: Sequence[str],
    dry_run: bool = False,
    measure: bool = False,
    as_json: bool = False,
    prices: Path | None = None,
) -> None:
    """Write `samples` answers to each prompt, or the best of them, into `out`; the same again asks what is missing.

    Raises:
        ConfigError, InputError: before anything is asked.
        StoppedError: the budget is spent or a server is down; resumable.
        typer.Exit: with code 3, where answers are missing.
    """
    messages = Console(stderr=True)
    arena = Path(f"{out}.db")
    refuse_foreign(out, arena, [prompt_file])
    if best and model.best_of_n is not None:
        raise ConfigError(f"{model.spec}: its file has best_of_n already; --best-of is one choice too many")
    loaded = load_prompts(prompt_file, settings.seed)
    if not loaded.prompts:
        raise InputError(f"{prompt_file}: no prompts in it")
    if loaded.unknown:
        say(messages, f"note: {prompt_file}: columns not used: {', '.join(loaded.unknown)}")
    asked = contestant(model.with_concurrency(settings.concurrency))
    if isinstance(asked.model, RecordedModel) or asked.asked is None:
        raise ConfigError(f"SPEC {model.spec!r}: recorded answers cannot be sampled")
    everyone = [asked] if samples == 1 else samples_of(asked, samples)
    budget = Budget(settings.budget_usd, settings.budget_calls, prices=known_prices(model, prices))
    require_prices(budget, [asked.asked])
    by_id = {prompt.id: prompt for prompt in loaded.prompts}
    if dry_run:
        with Store(arena, readonly=True) if arena.exists() else nullcontext() as there:
            if there is not None:
                budget.begin(there)
            expected = _estimate(everyone, by_id, there, settings.seed, measure=measure)
        say(
            messages,
            f"{out}: {counted(samples, 'sample')} of {asked.name} to each of {counted(len(by_id), 'prompt')}",
            fold=True,
        )
        for line in expected.lines():
            say(messages, line, fold=True)
        if rewards:
            say(messages, f"the calls of {' and '.join(rewards)} are not counted", fold=True)
        if as_json:
            _print({"out": str(out), "prompts": len(by_id), "samples": samples, "estimate": expected.to_json()})
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out}: {error.strerror}") from None
    scorers = [tried(spec, arena, budget) for spec in rewards]
    with open_to_write(arena) as store:
        store.add_prompts(loaded.prompts)
        store.flush()
        expected = _estimate(everyone, by_id, store, settings.seed)
        with Watch(messages, "samples", expected) as watch:
            answer(
                everyone,
                list(by_id),
                store,
                watch.tally,
                seed=settings.seed,
                concurrency=settings.concurrency,
                budget=budget,
            )
        usage = store.usage()
        said = _stored(store, loaded.prompts, everyone, settings.seed)
        reason = commonest_error(store)
        say_notices(messages, store)
    scored = [_scored(scorer, said) for scorer in scorers]
    taken = [choose(row) for row in scored[0]] if best else []
    written = write_jsonl(out, _rows(asked.name, said, scored, taken if best else None))
    whole = len(loaded.prompts) * (1 if best else samples)
    cut = Counter(one.status.value for _, some in said for one in some if one is not None)
    say(
        messages,
        f"{out}: {counted(written, 'best answer' if best else 'answer')} to {counted(len(said), 'prompt')}",
        fold=True,
    )
    odd = {name: n for name, n in cut.items() if name != Status.OK.value}
    if odd:
        say(messages, f"among {sum(cut.values()):,} samples: {', '.join(f'{n:,} {name}' for name, n in odd.items())}")
    told = list(_told(samples, scored, best=best))
    for line in told:
        say(messages, line, fold=True)
    if as_json:
        statuses = {status.value: cut[status.value] for status in Status if cut[status.value]}
        found = {"prompts": len(said), "rows": written, "missing": whole - written, "statuses": statuses}
        _print({"out": str(out), "model": asked.name, **found, "scores": _means(scored), **usage._asdict()})
    if written < whole:
        why = f" (most often: {reason})" if reason else ""
        say(messages, f"{whole - written:,} answers missing{why}; the same command asks again what failed", fold=True)
        raise typer.Exit(3)


def _estimate(
    everyone: Sequence[Contestant],
    by_id: Mapping[str, Prompt],
    store: Store | None,
    seed: int,
    *,
    measure: bool = False,
) -> Estimate:
    answers = Answers(store, everyone, {}, seed=seed)

    def planned(ids: Sequence[str]) -> Iterator[Planned]:
        for material in materials_to_be(store, everyone, [by_id[one] for one in ids], {}):
            for one in everyone:
                yield from answers.planned(one.name, material)

    return estimate(planned, list(by_id), everyone, store, seed=seed, measure=measure)


def _means(scored: Sequence[list[Scores]]) -> dict[str, float | None]:
    """Mean over all samples that have one, of what chooses and of what the choice is worth."""
    found = {}
    for name, values in zip(("score", "worth"), scored, strict=False):
        known = [value for row in values for value in row if value is not None and math.isfinite(value)]
        found[name] = math.fsum(known) / len(known) if known else None
    return found


def _print(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


Said = list[tuple[Prompt, list[Response | None]]]


def _stored(store: Store, prompts: Sequence[Prompt], everyone: Sequence[Contestant], seed: int) -> Said:
    """The answers to each prompt, in the order of the samples; None where there is none."""
    answers = Answers(store, everyone, {}, seed=seed)
    return [(prompt, [answers.stored(one.name, prompt) for one in everyone]) for prompt in prompts]


def _scored(scorer: Reward, said: Said) -> list[Scores]:
    """The score of each answer; None of one that failed, and where there is none."""
    fit = [(prompt, one) for prompt, some in said for one in some if one is not None and one.battles]
    found = iter(scores_of(scorer, fit))
    return [[next(found) if one is not None and one.battles else None for one in some] for _, some in said]


def _rows(
    name: str, said: Said, scored: Sequence[list[Scores]], taken: list[int | None] | None
) -> Iterator[dict[str, Any]]:
    """A row for each answer that is there, or for each prompt's best one."""
    for at, (prompt, some) in enumerate(said):
        for number, one in enumerate(some):
            if one is None or not one.battles or (taken is not None and taken[at] != number):
                continue
            turns = prompt.conversation(one.texts)
            row: dict[str, Any] = {
                "prompt": [dict(turn) for turn in turns[: len(prompt.messages)]],
                "completion": [dict(turn) for turn in turns[len(prompt.messages) :]],
                "prompt_id": prompt.id,
                "model": name,
                "sample": number,
            }
            if one.status is Status.TRUNCATED:
                row["finish_reason"] = "length"
            for column, values in zip(("score", "worth"), scored, strict=False):
                row[column] = values[at][number]
            yield row


def _told(samples: int, scored: Sequence[list[Scores]], *, best: bool) -> Iterator[str]:
    """What the scores say: their mean, and of the best what it would be with fewer samples."""
    if not scored:
        return
    known = [value for row in scored[0] for value in row if value is not None and math.isfinite(value)]
    missing = sum(map(len, scored[0])) - len(known)
    if known:
        yield f"mean score of all samples {math.fsum(known) / len(known):.4g}" + (
            f"; {missing:,} without a score" if missing else ""
        )
    if not best:
        return
    steps = sorted({min(2**power, samples) for power in range(samples.bit_length() + 1)})
    for name, values in zip(("score", "worth"), scored, strict=False):
        curve, prompts = mean_curve(list(zip(scored[0], values, strict=True)))
        if curve:
            shown = " · ".join(f"{n}: {curve[n - 1]:.4g}" for n in steps)
            yield f"{name} of the best of n (over {prompts:,} prompts whose samples all have one): {shown}"
    yield f"the best of {samples:,} is at most {kl_bound(samples):.2f} nats from the model"
