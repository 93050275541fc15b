"""Cleaning from settings to files: what can be refused, the steps, what is written and told."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from rich.console import Console

from arenaloop.cli.directory import beside
from arenaloop.config import CleaningSettings
from arenaloop.data.cleaning.pipeline import Account, clean
from arenaloop.data.cleaning.rows import Drop, Row, pool_rows
from arenaloop.errors import InputError
from arenaloop.jsonl import JsonRow, encode_json, replacing, write_jsonl
from arenaloop.specs.cleaning import benchmarks, cleaner
from arenaloop.terminal import say, table

__all__ = ["execute"]


def execute(
    settings: CleaningSettings,
    prompts: Path,
    out: Path,
    *,
    seed: int,
    dry_run: bool = False,
    as_json: bool = False,
) -> None:
    """Write the rows of `prompts` that stay into `out`, and those that do not beside it.

    Raises:
        ConfigError, InputError, MissingExtraError: nothing is written.
    """
    messages = Console(stderr=True)
    gone = beside(out, "dropped.jsonl")
    _refuse_files(prompts, [Path(file) for file in settings.against], [out, gone])
    items = benchmarks(settings)
    with contextlib.ExitStack() as stack:
        dropped = None if dry_run else stack.enter_context(replacing(gone))
        by_step: dict[str, IO[bytes]] = {}  # a row may reach a late step before another reaches an early one

        def drop(one: Drop) -> None:
            if dropped is not None:
                if one.step not in by_step:
                    by_step[one.step] = stack.enter_context(tempfile.TemporaryFile())
                by_step[one.step].write(encode_json(one.to_json(lambda line: {"line": line})) + b"\n")

        account, rows = clean(pool_rows(prompts), cleaner(settings, seed), items, drop)
        kept = _kept(rows, account, prompts)
        written = sum(1 for _ in kept) if dry_run else write_jsonl(out, kept)
        if dropped is not None:
            for step in account.steps:
                if (file := by_step.get(step.step)) is not None:
                    file.seek(0)
                    shutil.copyfileobj(file, dropped)
    document = {"prompts": str(prompts), "out": str(out), "dropped": str(gone), **account.to_json()}
    if as_json:
        sys.stdout.write(encode_json(document, indent=2).decode() + "\n")
    else:
        cells = [
            [f"{one.step}: {one.about}", f"{one.before:,}", f"{one.dropped:,}", f"{one.after:,}"]
            for one in account.steps
        ]
        Console().print(table(["step: what goes", "before", "dropped", "after"], cells))
    for note in [*account.notes, *_odd(account)]:
        say(messages, f"warning: {note}", fold=True)
    what = "would stay" if dry_run else f"stay in {out}, {account.read - written:,} went to {gone}"
    say(messages, f"{prompts}: {written:,} of {account.read:,} rows {what}", fold=True)


def _refuse_files(prompts: Path, against: Sequence[Path], written: Sequence[Path]) -> None:
    pool = prompts.resolve()
    if pool in [file.resolve() for file in against]:
        raise InputError(f"--against {prompts}: that is the pool itself: nothing of it would stay")
    for file in written:
        if file.resolve() in [pool, *(one.resolve() for one in against)]:
            raise InputError(f"--out {file}: that is what is read; take another file")
        if file.is_dir():
            raise InputError(f"--out {file}: a directory, where a file is to be written")


def _kept(rows: Iterator[Row], account: Account, prompts: Path) -> Iterator[JsonRow]:
    """The cells of the rows that stay; InputError after the last, which leaves the files as they were, if none does."""
    for row in rows:
        yield row.cells
    account.require_rows(str(prompts))


def _odd(account: Account) -> list[str]:
    if account.kept == 1 and account.equal == account.read - 1 > 0:
        return [f"all {account.read:,} rows are the same when normalised; one stays"]
    return []
