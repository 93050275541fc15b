"""A judge template cut at the places where texts go, so that filling it is joining strings.

Filling a template anew takes Jinja longer than all else that a verdict needs. A template that only puts texts where
they go, and never looks into them, gives the same words around them every time: it is filled once with marks, cut at
them, and joined from then on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from jinja2 import nodes

__all__ = ["Shape", "Skeleton", "cut", "only_places_texts"]

_MARK = re.compile("\0([0-9]+)\0")
_SETTINGS = {"mode", "explain", "criteria", "criterion", "loop"}
"""What a template may ask about: none of it is a text of the material."""


class Shape(NamedTuple):
    """What the words around the texts depend on: mode, roles of the given turns, and numbers of turns."""

    mode: str
    explain: bool
    roles: tuple[str, ...]
    first: int
    second: int
    follow_ups: int


class Skeleton:
    """The words around the texts.

    Args:
        filled: the template filled with marks.
    """

    def __init__(self, filled: str) -> None:
        pieces = _MARK.split(filled)  # words, number of a text, words, …
        self._pieces = pieces
        self._places = [(at, int(pieces[at])) for at in range(1, len(pieces), 2)]

    def join(self, texts: Sequence[str]) -> str:
        """The filled template; texts in the order of `cut`."""
        pieces = self._pieces.copy()
        for at, number in self._places:
            pieces[at] = texts[number]
        return "".join(pieces)


def cut(shape: Shape, criteria: Sequence[str], fill: Callable[[dict[str, Any]], str]) -> Skeleton | None:
    """Fill a template with marks and cut it.

    The texts to be joined are, in this order: the tag, the user's turn, the answers in the first seat, those in the
    second, the follow-up turns, and the given turns.

    Returns:
        The skeleton; None where joining does not give what filling gives (a whole list of texts is printed, say).
    """
    count = 2 + shape.first + shape.second + shape.follow_ups + len(shape.roles)

    def filled(texts: Sequence[str]) -> str:
        rest = iter(texts)
        values: dict[str, Any] = {"tag": next(rest), "user": next(rest)}
        values["seats"] = [list(islice(rest, turns)) for turns in (shape.first, shape.second)]
        values["follow_ups"] = list(islice(rest, shape.follow_ups))
        values["history"] = [{"role": role, "content": next(rest)} for role in shape.roles]
        return fill(values | {"criteria": criteria, "mode": shape.mode, "explain": shape.explain})

    skeleton = Skeleton(filled([f"\0{number}\0" for number in range(count)]))
    trial = [f'it\'s\n"{number}"\\' for number in range(count)]
    return skeleton if skeleton.join(trial) == filled(trial) else None


def only_places_texts(tree: nodes.Template) -> bool:
    """Whether a template puts texts where they go and does nothing else with them.

    It may loop over turns and seats, name a turn's role and content, and ask about settings. Filters, tests,
    comparisons, calls and indices may concern settings only.
    """
    from jinja2 import nodes

    looks: list[nodes.Node] = [node.test for node in tree.find_all(nodes.If)]
    looks += [node.test for node in tree.find_all(nodes.CondExpr)]
    looks += tree.find_all((nodes.Filter, nodes.Test, nodes.Call, nodes.Compare, nodes.FilterBlock, nodes.Assign))
    looks += tree.find_all((nodes.AssignBlock, nodes.Macro, nodes.CallBlock, nodes.Mul, nodes.Mod))
    looks += [node.arg for node in tree.find_all(nodes.Getitem)]
    loops = list(tree.find_all(nodes.For))
    looks += [loop.test for loop in loops if loop.test is not None]
    seats = {loop.target.name for loop in loops if _is(loop.iter, {"seats"}) and isinstance(loop.target, nodes.Name)}
    return (
        all(_named(node, _SETTINGS | _stored(node)) for node in looks)
        and all(_is(loop.iter, {"seats", "history", "follow_ups", "criteria"} | seats) for loop in loops)
        and all(_is(node.node, {"seats", "follow_ups"}) for node in tree.find_all(nodes.Getitem))
        and all(node.attr in ("role", "content") or _is(node.node, {"loop"}) for node in tree.find_all(nodes.Getattr))
    )


def _is(node: nodes.Node, names: set[str]) -> bool:
    from jinja2 import nodes

    return isinstance(node, nodes.Name) and node.name in names


def _named(node: nodes.Node, allowed: set[str]) -> bool:
    from jinja2 import nodes

    names = {found.name for found in node.find_all(nodes.Name)}
    if isinstance(node, nodes.Name):
        names.add(node.name)
    return names <= allowed


def _stored(node: nodes.Node) -> set[str]:
    """What an assignment gives its value to."""
    from jinja2 import nodes

    return {node.target.name} if isinstance(node, nodes.Assign) and isinstance(node.target, nodes.Name) else set()
