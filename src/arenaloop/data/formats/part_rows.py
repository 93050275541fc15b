"""The rows of one part of a table, a block of columns at a time: Parquet by its rows, JSONL by its bytes."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from arenaloop.data.formats.judgments import known_names
from arenaloop.data.formats.part_files import Part
from arenaloop.errors import InputError, first_line
from arenaloop.jsonl import user_rows
from arenaloop.tables import content_kind
from arenaloop.text_files import bare_name, utf8_file

if TYPE_CHECKING:
    import polars as pl

__all__ = ["blocks_of", "check_columns", "columns_of", "parquet_rows"]

_ROWS = 1 << 19
_BYTES = 1 << 24


def columns_of(part: Part, here: Path) -> list[str]:
    """The names of a part's columns as battles know them (of JSONL, those of its first 100 rows).

    Args:
        here: where the part is on this machine.

    Raises:
        InputError: it cannot be read.
    """
    raw = _raw_columns(part, here)
    spelled = known_names().spelled(raw)
    return [spelled.get(name, name) for name in raw]


def _raw_columns(part: Part, here: Path) -> list[str]:
    import polars as pl

    with _named_errors(part, here):
        if content_kind(here) == "parquet":
            return [bare_name(name) for name in pl.scan_parquet(here).collect_schema().names()]
        return list(dict.fromkeys(key for _, row in itertools.islice(user_rows(here), 100) for key in row))


def parquet_rows(here: Path, part: Part) -> int:
    """How many rows a part has, from its footer.

    Raises:
        InputError: it cannot be read.
    """
    import polars as pl

    with _named_errors(part, here):
        return int(pl.scan_parquet(here).select(pl.len()).collect().item())


def check_columns(
    part: Part, found: Sequence[str], first: Part, columns: Sequence[str], read: Sequence[str], *, whole: bool
) -> None:
    """Refuse a part with other columns than the first one.

    Args:
        found: its columns. columns: those of the first part, of which `read` are read.
        whole: whether all of them have to be the same (of Parquet), or those alone that are read.

    Raises:
        InputError: it names the part, and the columns.
    """
    missing = [name for name in (columns if whole else read) if name not in found]
    unknown = [name for name in found if name not in columns] if whole else []
    if missing or unknown:
        parts = [f"{word} {', '.join(names)}" for word, names in (("missing", missing), ("unknown", unknown)) if names]
        raise InputError(f"{part.name}: other columns than {first.name}: {'; '.join(parts)}")


def blocks_of(
    part: Part, here: Path, read: Sequence[str], unread: Sequence[str], looked: Sequence[str] = ()
) -> Iterator[pl.DataFrame]:
    """The columns of a part that are read, as texts but for numbers, a block at a time; the first with the others.

    Args:
        looked: columns that are given in every block besides, as they are (of JSONL, as texts).

    Raises:
        InputError: the part is cut off or damaged, or a row is no object.
    """
    with _named_errors(part, here):
        if content_kind(here) == "parquet":
            yield from _parquet(part, here, read, unread, looked)
        else:
            yield from _lines(part, here, read, [*unread, *looked])


def _parquet(
    part: Part, here: Path, read: Sequence[str], unread: Sequence[str], looked: Sequence[str]
) -> Iterator[pl.DataFrame]:
    import polars as pl

    lazy = pl.scan_parquet(here).rename(bare_name)
    schema = lazy.collect_schema()
    spelled = known_names().spelled(schema.names())
    raw = {spelled.get(name, name): name for name in schema.names()}
    numbers = ("score_a", "weight")
    for at in range(0, parquet_rows(here, part), _ROWS):
        wanted = list(dict.fromkeys([*read, *looked, *(unread if at == 0 else ())]))
        texts = [
            pl.col(raw[name]).alias(name)
            if name not in read or (name in numbers and schema[raw[name]].is_numeric())
            else pl.col(raw[name]).cast(pl.String).alias(name)
            for name in wanted
        ]
        yield lazy.slice(at, _ROWS).select(texts).collect()


def _lines(part: Part, here: Path, read: Sequence[str], unread: Sequence[str]) -> Iterator[pl.DataFrame]:
    import polars as pl

    raw = _raw_columns(part, here)
    spelled = known_names().spelled(raw)
    schema = {name: pl.String for name in raw if spelled.get(name, name) in {*read, *unread}}
    with utf8_file(here, "JSONL") as file:
        rest = b""
        while True:
            block = file.read(_BYTES)
            cut = len(block) if not block else block.rfind(b"\n") + 1
            text, rest = (rest + block[:cut], block[cut:]) if cut or not block else (b"", rest + block)
            if text.strip():
                try:
                    frame = pl.read_ndjson(io.BytesIO(text), schema=schema)
                except pl.exceptions.PolarsError:
                    for _ in user_rows(here):  # which says what is wrong, and where
                        pass
                    raise
                yield frame.rename({name: known for name, known in spelled.items() if name in schema})
            if not block:
                return


@contextmanager
def _named_errors(part: Part, here: Path) -> Iterator[None]:
    """What is wrong with a part, by its own name."""
    import polars as pl

    try:
        yield
    except InputError as error:
        raise InputError(str(error).replace(str(here), part.name)) from None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise InputError(f"{part.name}: cannot be read, cut off or damaged ({first_line(error)})") from None
