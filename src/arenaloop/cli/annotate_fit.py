"""`arenaloop annotate --fit`: annotators that are like the people behind a label file."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import typer
import yaml
from rich.console import Console

from arenaloop.audit.annotators import label_table, synthetic_members
from arenaloop.cli.directory import refuse_overwriting
from arenaloop.data.formats.labels import read_labels, split_filter
from arenaloop.errors import InputError
from arenaloop.jsonl import encode_json, replacing
from arenaloop.ratings.annotator_fit import AnnotatorFit, Estimate, fit_annotators, untold
from arenaloop.specs.annotators import shipped_pool
from arenaloop.specs.rewards import reward as build_reward
from arenaloop.terminal import figure, say, table

__all__ = ["execute"]

_NAMED = 8  # annotators in one note
_WIDE = 160  # columns where nobody's terminal sets them: no interval is cut


def execute(file: str, out: Path, reward: str | None, *, level: float, as_json: bool) -> None:
    """Fit annotators to the labels of `file`, print them, and write a pool that is like them into `out`.

    Raises:
        ConfigError, InputError: nothing can be read, or estimated.
        typer.Exit: with code 3, where noise cannot be estimated or told, and so no pool be written.
    """
    messages = Console(stderr=True)
    refuse_overwriting(out)
    path, where = split_filter(file)
    labels = read_labels(path, where)
    worth = None if reward is None else build_reward(reward)
    numbers, notes = label_table(labels.labels, worth)
    try:
        fit = fit_annotators(numbers, level=level)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    unknown = {who: untold(found) for who, found in fit.annotators.items()}
    known = {
        who: {what: one for what, one in found.items() if what not in unknown[who]}
        for who, found in fit.annotators.items()
        if "flip_rate" in found and "flip_rate" not in unknown[who]
    }
    # a pool of their own has who is told; one flip rate of all is theirs together, or that of people at large
    everybody = len(known) == len(fit.annotators) or "flip_rate" not in untold(fit.pooled)
    written = "noise" not in fit.missing and (everybody if reward is None else bool(known))
    vague = ({"all": untold(fit.pooled)} if len(unknown) > 1 else {}) | unknown
    unsure = [
        f"{_listed(who)}: {what.replace('_', ' ')} cannot be told from these labels: its interval is too wide"
        for what, who in _turned(vague).items()
    ]
    if written and reward is not None:
        if noiseless := [who for who in fit.annotators if who not in known]:
            unsure.append(f"left out of the pool, for want of noise: {_listed(noiseless)}")
        left_out = _turned({who: unknown[who] for who in known})
        unsure += [f"{_listed(who)}: the pool leaves {what} out" for what, who in left_out.items()]
    document = {
        "labels": sum(fit.labels.values()),
        "level": level,
        "reward": reward,
        "pooled": {name: asdict(one) for name, one in fit.pooled.items()},
        "annotators": {
            name: {"labels": fit.labels[name]} | {what: asdict(one) for what, one in found.items()}
            for name, found in fit.annotators.items()
        },
        "spread": fit.spread,
        "missing": fit.missing,
        "notes": [*labels.notes, *notes, *unsure],
        "out": str(out) if written else None,
    }
    if written:
        values: dict[str, Any]
        if reward is None:
            flips = min(0.5, fit.pooled["flip_rate"].value or 0.0)
            values = shipped_pool("alpaca_farm") | {"p_label_flip": round(flips, 4)}
        else:
            assert numbers.worth is not None
            scale = float(np.sqrt(np.mean(numbers.worth**2)))
            values = {"p_label_flip": 0.0, "members": synthetic_members(replace(fit, annotators=known), reward, scale)}
        with replacing(out) as stream:
            stream.write(f"# fitted to {document['labels']} labels of {Path(path).name}\n".encode())
            stream.write(yaml.safe_dump(values, sort_keys=False, allow_unicode=True).encode())
    if as_json:
        sys.stdout.write(encode_json(document, indent=2).decode() + "\n")
    else:
        console = Console()
        if not console.is_terminal:
            console = Console(width=_WIDE)
        console.print(_table(fit))
        say(
            console,
            f"in brackets {level * 100:g} % intervals; seat, length (a doubling) and lists in log-odds",
            style="dim",
        )
    for note in (
        *labels.notes,
        *notes,
        *unsure,
        *(f"{name} is not estimated: {why}" for name, why in fit.missing.items()),
    ):
        say(messages, f"note: {note}", fold=True)
    if not written:
        say(messages, f"{out} is not written: without noise there is nothing to simulate", fold=True)
        raise typer.Exit(3)
    how = "" if reward is not None else " --model SPEC"
    say(messages, f"{out}: a pool that is like them; arenaloop annotate FILE --pool {out}{how}", fold=True)


def _turned(names: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Of what each has, who has each."""
    who: dict[str, list[str]] = {}
    for one, has in names.items():
        for what in has:
            who.setdefault(what, []).append(one)
    return who


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} others" if more > 0 else "")


def _table(fit: AnnotatorFit) -> Any:
    """A row for all, and one for each annotator: values with their intervals."""
    rows = {"all": (sum(fit.labels.values()), fit.pooled)} if len(fit.annotators) > 1 else {}
    rows |= {name: (fit.labels[name], found) for name, found in fit.annotators.items()}
    titles = ["annotator", "labels", *(name.replace("_", " ") for name in fit.pooled)]
    return table(titles, [[who, f"{count:,}", *map(_cell, found.values())] for who, (count, found) in rows.items()])


def _cell(one: Estimate) -> str:
    """A value with its interval; an end at infinity is left open."""
    if one.value is None or one.lower is None:
        return figure(one.value, ".2f")
    return f"{one.value:.2f} [{one.lower:.2f}, {'∞' if one.upper is None else f'{one.upper:.2f}'}]"
