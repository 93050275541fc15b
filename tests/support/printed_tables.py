"""What experiments print, read again; and files of the published forms."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest


def tables(lines: list[str]) -> list[list[list[str]]]:
    """The cells of each table in Markdown, its head included."""
    found: list[list[list[str]]] = [[]]
    for line in lines:
        if not line.startswith("|"):
            found.append([])
        elif not line.startswith("|--"):
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
    return [table for table in found if table]


def packed(path: Path, rows: list[dict[str, Any]]) -> None:
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def seeds_table(lines: list[str], columns: list[str]) -> dict[str, list[float]]:
    """The figures of two seeds by column; the last row is their mean, within the rounding of what is printed."""
    head, *rows = tables(lines)[0]
    assert head == ["seed", *columns, "cpu_s"]
    assert [row[0] for row in rows] == ["1", "2", "mean"]
    found = {name: [float(row[at]) for row in rows] for at, name in enumerate(head) if at}
    assert all(mean == pytest.approx((one + two) / 2, abs=1.001e-3) for one, two, mean in found.values() if mean < 1)
    return {name: values[:2] for name, values in found.items()}


def difference(lines: list[str], what: str) -> tuple[float, float, float]:
    """A printed difference in points, and the ends of its interval."""
    [line] = [line for line in lines if line.startswith(f"{what}: ")]
    told = re.fullmatch(r".*: (\S+) points, 95 % interval (\S+) to (\S+)", line)
    assert told is not None, line
    mean, lower, upper = (float(told[i]) for i in (1, 2, 3))
    assert lower <= mean <= upper
    return mean, lower, upper
