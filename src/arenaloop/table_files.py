"""Which files a path stands for: one file, a directory of them, a pattern, or a data set that was saved to disk.

* A **pattern** (``answers/*.jsonl``, ``**`` goes into directories) is every file that it matches.
* A **data set on disk** (`save_to_disk` of Hugging Face `datasets`) is its shards in their order; of one with several
  splits the split is named, ``DIR/train``.
* A **directory** of AlpacaEval's results is every ``annotations.json`` in it; any other one all tables that it holds,
  in the order of their names, and those of its directories where it holds none itself.

A row of one file among several is told by its `Line`.
"""

from __future__ import annotations

import glob
import json
import re
from pathlib import Path
from typing import Any

from arenaloop.errors import InputError
from arenaloop.regular_files import read_text

__all__ = ["Line", "class_names", "is_pattern", "table_files"]

_ENDINGS = (".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow")
_ABOUT = frozenset({"dataset_info.json", "dataset_infos.json", "state.json", "dataset_dict.json", "leaderboard.csv"})
"""Files beside tables that hold none."""
_ANNOTATIONS = ("annotations.json", "annotations.json.gz")
_SHARD = re.compile(r"(.+?)-\d{5}-of-\d{5}(?:-[0-9a-f]+)?\.\w+")


class Line(int):
    """The number of a line, and the file in which it stands: as a text ``7 of b.jsonl``."""

    file: str

    def __new__(cls, number: int, file: str) -> Line:
        """Line `number` of `file`."""
        line = super().__new__(cls, number)
        line.file = file
        return line

    def __format__(self, spec: str) -> str:
        return f"{int(self):{spec}} of {self.file}"

    def __str__(self) -> str:
        return f"{int(self)} of {self.file}"

    def __reduce__(self) -> tuple[type[Line], tuple[int, str]]:
        return Line, (int(self), self.file)


def is_pattern(path: Path) -> bool:
    """Whether a path is a pattern of names; one that stands for a file of this very name is none."""
    return glob.has_magic(str(path)) and not path.exists()


def table_files(path: Path) -> list[Path]:
    """The files that a path stands for, at least one; a path that leads nowhere is its own file.

    Raises:
        InputError: a pattern that nothing matches, a directory without tables, or with several splits.
    """
    try:
        if is_pattern(path):
            found = [Path(name) for name in sorted(glob.glob(str(path), recursive=True)) if Path(name).is_file()]
            if not found:
                raise InputError(f"{path}: no file matches this pattern")
            return found
        return _in_directory(path) if path.is_dir() else [path]
    except InputError:
        raise
    except (OSError, ValueError) as error:  # a NUL in the name
        raise InputError(f"{str(path)!r}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _in_directory(path: Path) -> list[Path]:
    if (path / "dataset_dict.json").is_file():
        splits = _read(path / "dataset_dict.json").get("splits")
        names = [str(name) for name in splits] if isinstance(splits, list) else []
        if len(names) != 1:
            told = ", ".join(f"{path / name}" for name in names)
            raise InputError(f"{path}: a data set of {len(names)} splits; name one: {told or 'none found'}")
        return _in_directory(path / names[0])
    if (path / "state.json").is_file() and (path / "dataset_info.json").is_file():
        return _shards(path)
    there = [one for one in path.rglob("*") if one.is_file() and not any(p.startswith(".") for p in _below(one, path))]
    annotations = sorted(one for one in there if one.name in _ANNOTATIONS)
    if annotations:
        return annotations
    tables = sorted(one for one in there if one.name not in _ABOUT and _is_table(one.name))
    tables = [one for one in tables if one.parent == path] or tables
    if not tables:
        raise InputError(f"{path}: no table in this directory ({', '.join(_ENDINGS)})")
    splits = {found[1] for one in tables if (found := _SHARD.fullmatch(one.name))}
    if len(splits) > 1:
        told = ", ".join(f"{path}/**/{name}-*" for name in sorted(splits))
        raise InputError(f"{path}: files of {len(splits)} splits; name one: {told}")
    return tables


def _below(one: Path, path: Path) -> tuple[str, ...]:
    return one.relative_to(path).parts


def _is_table(name: str) -> bool:
    return name.removesuffix(".gz").endswith(_ENDINGS)


def _shards(path: Path) -> list[Path]:
    """The files of a data set that was saved to disk, in the order that it names."""
    state = _read(path / "state.json")
    if state.get("_indices_data_files"):
        raise InputError(
            f"{path}: a data set that keeps its order in a file of its own; save it again (flatten_indices)"
        )
    files = state.get("_data_files")
    names = [one.get("filename") for one in files if isinstance(one, dict)] if isinstance(files, list) else []
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise InputError(f"{path / 'state.json'}: names no files of a data set")
    return [path / str(name) for name in names]


def class_names(path: Path) -> dict[str, list[str]]:
    """Of a file of a data set that was saved to disk: the words behind the numbers of its columns of classes."""
    info = path.parent / "dataset_info.json"
    if path.suffix != ".arrow" or not info.is_file():
        return {}
    return classes(_read(info).get("features"))


def classes(features: object) -> dict[str, list[str]]:
    """Columns of classes by the `features` of Hugging Face `datasets`, and the words that their numbers stand for."""
    if not isinstance(features, dict):
        return {}
    told = {name: one for name, one in features.items() if isinstance(one, dict) and one.get("_type") == "ClassLabel"}
    return {
        name: [str(word) for word in one["names"]] for name, one in told.items() if isinstance(one.get("names"), list)
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: no JSON object")
    return value
