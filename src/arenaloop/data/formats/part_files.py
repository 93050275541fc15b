"""The parts that a table of battles comes in: a file, a directory or a pattern of them, here or in an object store.

A URL (``s3://bucket/battles``, ``gs://…``, whatever fsspec knows) stands for a file, a folder of parts or a pattern.
Each part is fetched when its turn comes, into a file that goes again once it is read.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arenaloop.errors import InputError, MissingExtraError, UserError, first_line
from arenaloop.table_files import is_pattern, table_files
from arenaloop.tables import content_kind

__all__ = ["KINDS", "Part", "fetched", "parts_of", "remote_url"]

KINDS = {"parquet": "Parquet", "jsonl": "JSONL"}
"""Kinds of parts that are streamed (`tables.content_kind`)."""
_ENDINGS = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".arrow")
_REMOTE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/{1,2}(?=[^/])(.+)", re.DOTALL)


def remote_url(path: str | Path) -> str | None:
    """The URL that a path was meant as, whose slashes a `Path` has made one; None for a path of this machine."""
    found = _REMOTE.fullmatch(str(path))
    return None if found is None or Path(path).exists() else f"{found[1]}://{found[2]}"


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a table.

    Attributes:
        name: as errors call it.
        size: in bytes.
        path: where it is on this machine; None of one that has to be fetched.
        store: what fetches it: an fsspec file system, and its name there.
    """

    name: str
    size: int
    path: Path | None = None
    store: tuple[Any, str] | None = None

    @contextmanager
    def here(self) -> Iterator[Path]:
        """The part on this machine, as long as it is looked at.

        Raises:
            InputError: it cannot be fetched.
        """
        if self.path is not None:
            yield self.path
            return
        assert self.store is not None
        system, name = self.store
        with tempfile.TemporaryDirectory(prefix="arenaloop-") as folder:
            there = Path(folder) / Path(name).name
            with _store_errors(self.name):
                system.get_file(name, str(there))
            yield there

    def kind(self, path: Path) -> str | None:
        """What it holds (see `tables.content_kind`), given where it is; None of an empty file of JSONL.

        Raises:
            InputError: it is damaged, or of a kind that is not streamed.
        """
        try:
            if not path.stat().st_size and not self.name.endswith(".parquet"):
                return None
            return content_kind(path)
        except OSError as error:
            raise InputError(f"{self.name}: cannot be read ({error.strerror or error})") from None
        except InputError as error:
            raise InputError(str(error).replace(str(path), self.name)) from None


def parts_of(path: str | Path) -> list[Part]:
    """The parts of a table, in the order of their names; at least one.

    Raises:
        InputError: nothing is there, or it cannot be told.
        MissingExtraError: a URL, and fsspec is not installed.
    """
    url = remote_url(path)
    if url is not None:
        return _remote(url)
    path = Path(path)
    found = []
    for file in table_files(path):
        try:
            size = file.stat().st_size
        except OSError as error:
            what = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
            raise InputError(f"{file}: {what}") from None
        found.append(Part(str(file), size, file))
    if path.is_dir() or is_pattern(path):
        check_one_kind(str(path), [part.name for part in found])
    return found


def check_one_kind(source: str, names: Sequence[str], *, each: bool = False) -> None:
    """Refuse parts in Parquet beside parts in JSONL: one may be a copy of the other.

    Args:
        source: where they are from. names: theirs.
        each: whether they were named one by one, so that there is no folder of them.

    Raises:
        InputError: it says how many there are of each.
    """
    parquet = [name for name in names if name.endswith(".parquet")]
    lines = [name for name in names if name.removesuffix(".gz").endswith((".jsonl", ".ndjson"))]
    if parquet and lines:
        one = source.rstrip("/") + "/*.parquet" if not each and "*" not in source else "the parts of one kind"
        raise InputError(
            f"{source}: {len(parquet):,} parts in Parquet ({parquet[0]}) beside {len(lines):,} in JSONL ({lines[0]}), "
            f"which may hold the same battles; name one kind, such as {one!r}"
        )


def _remote(url: str) -> list[Part]:
    try:
        import fsspec
    except ImportError:
        raise MissingExtraError(f"{url}: reading from an object store", "remote") from None
    with _store_errors(url):
        system, root = fsspec.core.url_to_fs(url)
        if any(mark in root for mark in "*?["):
            names = sorted(system.glob(root))
        elif system.isdir(root):
            names = sorted(name for name in system.find(root) if name.removesuffix(".gz").endswith(_ENDINGS))
        else:
            names = [root] if system.isfile(root) else []
        if not names:
            raise InputError(f"{url}: no such file or folder of parts")
        parts = [
            Part(system.unstrip_protocol(name), int(system.size(name) or 0), store=(system, name)) for name in names
        ]
    if len(parts) > 1:
        check_one_kind(url, [part.name for part in parts])
    return parts


@contextmanager
def fetched(path: Path) -> Iterator[Path]:
    """A file that may be in an object store, on this machine as long as it is looked at; any other path as it is.

    Raises:
        InputError: a URL of no file, or of several.
    """
    if remote_url(path) is None:
        yield path
        return
    parts = parts_of(path)
    if len(parts) > 1:
        raise InputError(f"{remote_url(path)}: {len(parts):,} files, where one is expected")
    with parts[0].here() as there:
        try:
            yield there
        except UserError as error:  # it names the passing file, which nobody knows
            error.args = tuple(str(told).replace(str(there), parts[0].name) for told in error.args)
            raise


@contextmanager
def _store_errors(name: str) -> Iterator[None]:
    """Whatever an object store's library raises as one line that names what was wanted."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{name}: no such file or folder of parts") from None
    except ImportError as error:  # s3fs, gcsfs: fsspec says which
        raise InputError(f"{name}: {error}") from None
    except Exception as error:  # every store has errors of its own
        raise InputError(f"{name}: cannot be fetched ({first_line(error)})") from None
