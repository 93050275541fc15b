"""`arenaloop annotate --fit`: annotators that are like the people behind a label file."""

from __future__ import annotations

import sys
from dataclasses import asdict
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
from arenaloop.ratings.annotator_fit import AnnotatorFit, Estimate, fit_annotators
from arenaloop.specs.annotators import shipped_pool
from arenaloop.specs.rewards import reward as build_reward
from arenaloop.terminal import figure, say, span, table

__all__ = ["execute"]

_SAID = {
    "noise": "noise (worth for odds of e)",
    "flip_rate": "flip rate",
    "seat": "first seat",
    "length": "length, a doubling",
    "lists": "list",
}


def execute(file: str, out: Path, reward: str | None, *, level: float, as_json: bool) -> None:
    """Fit annotators to the labels of `file`, print them, and write a pool that is like them into `out`.

    Raises:
        ConfigError, InputError: nothing can be read, or estimated.
        typer.Exit: with code 3, where noise cannot be estimated, and so no pool be written.
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
    written = "noise" not in fit.missing
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
        "notes": [*labels.notes, *notes],
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
            values = {"p_label_flip": 0.0, "members": synthetic_members(fit, reward, scale)}
        with replacing(out) as stream:
            stream.write(f"# fitted to {document['labels']} labels of {Path(path).name}\n".encode())
            stream.write(yaml.safe_dump(values, sort_keys=False, allow_unicode=True).encode())
    if as_json:
        sys.stdout.write(encode_json(document, indent=2).decode() + "\n")
    else:
        Console().print(_table(fit, level))
    for note in (*labels.notes, *notes, *(f"{name} is not estimated: {why}" for name, why in fit.missing.items())):
        say(messages, f"note: {note}", fold=True)
    if not written:
        say(messages, f"{out} is not written: without noise there is nothing to simulate", fold=True)
        raise typer.Exit(3)
    how = "" if reward is not None else " --model SPEC"
    say(messages, f"{out}: a pool that is like them; arenaloop annotate FILE --pool {out}{how}", fold=True)


def _table(fit: AnnotatorFit, level: float) -> Any:
    names = list(fit.pooled)
    titles = ["annotator", "labels", *(text for name in names for text in (_SAID[name], f"{level * 100:g} % interval"))]
    rows = {"all": (sum(fit.labels.values()), fit.pooled)} if len(fit.annotators) > 1 else {}
    rows |= {name: (fit.labels[name], found) for name, found in fit.annotators.items()}
    return table(titles, [[who, f"{count:,}", *_cells(found, names)] for who, (count, found) in rows.items()])


def _cells(found: dict[str, Estimate], names: list[str]) -> list[str]:
    return [cell for name in names for cell in (figure(found[name].value, ".2f"), _span(found[name]))]


def _span(one: Estimate) -> str:
    """The interval; an open end of noise is told as that."""
    if one.lower is not None and one.upper is None:
        return f"{one.lower:.2f} …"
    return span(one.lower, one.upper, ".2f")
