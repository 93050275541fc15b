"""The card of a test set as a page: sizes, difficulty, categories, a map of its clusters, and examples of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from arenaloop.report.charts import bars, scale
from arenaloop.report.rendering import environment
from arenaloop.report.spending import dollars
from arenaloop.report.tables import table
from arenaloop.report.texts import one_line

__all__ = ["render_test_set"]

_LISTED = 500
"""clusters whose examples are listed; the map shows all"""
_MAPPED = 2_000
_HEIGHT = 520
_SHARE = 0.35
"""of the map's area, what all circles cover together, roughly"""
_SHADES = 10


class Bubble(NamedTuple):
    """A cluster on the map: x in percent, the others in pixels."""

    x: float
    y: float
    r: float
    shade: str
    title: str


def render_test_set(document: Mapping[str, Any]) -> bytes:
    """The page of a card (`arena.test_set_card.card`), with what it has cost, as UTF-8 HTML."""
    clusters = sorted(document["map"], key=lambda one: -one["prompts"])
    known = [one["mean_difficulty"] for one in clusters if one["mean_difficulty"] is not None]
    difficulty = document["difficulty"]
    page = environment().get_template("testset.html.jinja")
    return page.render(
        source=one_line(document["prompts_file"], 120),
        pool=document["pool"],
        mix=document["sets"]["mix"],
        clusters=document["clusters"],
        disjoint=document["disjoint"],
        duplicates=document["duplicates"],
        difficulty=difficulty,
        failed=[] if difficulty is None else list(difficulty["failed"].items()),
        histogram=None if difficulty is None else _histogram(difficulty["histogram"]),
        tiles=_tiles(document),
        sets=table(_sets(document)),
        categories=table(_categories(document)),
        unread=document["categories_unread"],
        easiest=min(known, default=None),
        most=max(known, default=None),
        height=_HEIGHT,
        bubbles=_bubbles(clusters[:_MAPPED]),
        listed=clusters[:_LISTED],
        left_out=max(0, len(clusters) - _LISTED),
        made=_made(document),
    ).encode("utf-8")


def _tiles(document: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    sets, wanted = document["sets"], document["wanted"]
    tiles = []
    for name in ("diverse", "hard"):
        got = sets[name]["prompts"]
        tiles.append((name.capitalize(), f"{got:,}", "" if got == wanted[name] else f"of {wanted[name]:,} wanted"))
    tiles.append(("Several turns", f"{sets['mix']['multi_turn']:,}", f"of {sets['mix']['prompts']:,}"))
    usd = document["usd"]
    tiles.append(("Judge calls", f"{document['calls']:,}", "price unknown" if usd is None else f"${dollars(usd)}"))
    return tiles


def _sets(document: Mapping[str, Any]) -> dict[str, Any]:
    rows = []
    for name, one in (("pool", document["pool"]), *document["sets"].items()):
        length, mean = one["mean_characters"], one.get("mean_difficulty")
        rows.append(
            [name, one["prompts"], one["multi_turn"], one.get("clusters", document["clusters"]["clusters"]),
             None if length is None else round(length), None if mean is None else round(mean, 2)]
        )  # fmt: skip
    columns = ["set", "prompts", "of several turns", "clusters", "mean characters", "mean difficulty"]
    return {"title": "Sets", "columns": columns, "rows": rows}


def _categories(document: Mapping[str, Any]) -> dict[str, Any]:
    rows = [[one["category"], one["diverse"], one["hard"]] for one in document["categories"]]
    return {"title": "Categories", "columns": ["category", "diverse", "hard"], "rows": rows}


def _histogram(counts: Sequence[Mapping[str, int]]) -> Any:
    labels = [str(one["difficulty"]) for one in counts]
    return bars(labels, [[one[what] for one in counts] for what in ("rated", "hard")])


def _bubbles(clusters: Sequence[Mapping[str, Any]]) -> list[Bubble]:
    x = scale([one["x"] for one in clusters], 3.0, 97.0)
    y = scale([one["y"] for one in clusters], _HEIGHT - 24.0, 24.0)
    total = sum(one["prompts"] for one in clusters) or 1
    area = _SHARE * 1100 * _HEIGHT  # of a page as wide as it gets
    known = [one["mean_difficulty"] for one in clusters if one["mean_difficulty"] is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    found = []
    for one in clusters:
        mean, shade = one["mean_difficulty"], ""
        told = f"{one['prompts']:,} prompts, {one['diverse']:,} diverse, {one['hard']:,} hard"
        if mean is not None:
            shade = f"d{round(_SHADES * (mean - low) / ((high - low) or 1.0))}"
            told += f", difficulty {mean:.2f}"
        radius = min(60.0, max(2.0, math.sqrt(area * one["prompts"] / total / math.pi)))
        example = one_line(one["examples"][0], 160) if one["examples"] else ""
        title = f"cluster {one['cluster']}: {told} · {example}"
        found.append(Bubble(x.at(one["x"]), y.at(one["y"]), round(radius, 1), shade, title))
    return found


def _made(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    sizes, difficulty = document["clusters"], document["difficulty"]
    made = [
        ("Embeddings", document["embeddings"]),
        ("Clusters", f"{sizes['clusters']:,}, of {sizes['smallest']:,} to {sizes['largest']:,} prompts"),
        ("Seed", str(document["seed"])),
    ]
    if difficulty is not None:
        made.append(("Judge of difficulty", difficulty["judge"]))
    return [(name, one_line(words, 200)) for name, words in made]
