"""A shard of a judging again: the run that it judges is only read, and its own verdicts go into its own directory."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from arenaloop.calls.shards import Claim, Shard, refuse_other
from arenaloop.cli.directory import ARENA, open_directory
from arenaloop.cli.standing import is_under_way
from arenaloop.errors import ConfigError, InputError
from arenaloop.store import Store
from arenaloop.store.merge import merge

__all__ = ["shard_asked", "shard_store"]


def shard_asked(text: str | None, into: Path | None, directory: Path, *, asks: bool) -> Shard | None:
    """The shard that is asked for, and has all that it needs.

    Raises:
        ConfigError: one of ``--shard`` and ``--out`` without the other; nothing would be asked; no such shard.
        InputError: the run is not finished; what it lacks is completed by one process alone.
    """
    if text is None:
        if into is not None:
            raise ConfigError("--out goes with --shard; without it the results are in DIR/rejudged/NAME")
        return None
    shard = Shard.parse(text)
    if into is None:
        raise ConfigError(
            "--shard: name the shard's own directory by --out; all shards read DIR, and none writes there"
        )
    if into.resolve() == directory.resolve():
        raise ConfigError(f"--out {into}: is the run itself; a shard has a directory of its own")
    if not asks:
        raise ConfigError("--shard: nothing would be asked; --judge, --template, --verdict or --reask says what to ask")
    if is_under_way(directory):
        raise InputError(f"{directory}: the run is not through: shards judge again what is finished")
    return shard


def shard_store(out: Path, run: Store, claimed: Claim, prompt_ids: Collection[str]) -> Store:
    """A shard's own arena file, open for writing, with what the run has about its prompts, which costs nothing here.

    Raises:
        ConfigError, InputError, ArenaFileError: it holds something else, or cannot be written.
    """
    if (out / ARENA).exists():
        with Store(out / ARENA, readonly=True) as there:
            refuse_other(there, out, claimed, claimed.verb, keep=False)
    store = open_directory(out)
    try:
        refuse_other(store, out, claimed, claimed.verb)
        merge(store, run, prompts=frozenset(prompt_ids), paid=False)
    except BaseException:
        store.close()
        raise
    return store
