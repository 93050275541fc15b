"""What a judge is shown, and how it comes into a template.

The material of one question is a row of texts in a layout, which says what variables a template gets. A template that
only puts texts where they go, and never looks into them, gives the same words around them every time: it is filled once
with marks, cut at them, and joined from then on. (Filling it anew takes Jinja longer than all else a verdict needs.)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from arenaloop.types import Prompt, Response

if TYPE_CHECKING:
    from jinja2 import nodes

__all__ = ["LISTS", "WITH_REFERENCE", "Layout", "Material", "Skeleton", "cut", "only_places_texts", "placed"]

Layout = Literal["pair", "pairs", "answer", "judgements", "prompt"]
"""What one call is about: two answers to a prompt, several such pairs, one answer, two judgements of one answer, or a
prompt alone."""

Skeleton = Callable[[Sequence[str]], str]
"""The words around the texts: joins them with texts, in the order in which these were numbered."""

_OF_TEXTS, _OF_HASH = attrgetter("texts"), attrgetter("text_hash")
_MARK = re.compile("\0([0-9]+)\0")
_SETTINGS = {"mode", "explain", "criteria", "criterion", "loop"}
"""What a template may ask about: none of it is a text of the material."""
LISTS: dict[Layout, tuple[str, ...]] = {
    "pair": ("seats",),
    "pairs": (),
    "answer": ("answer",),
    "judgements": ("answer", "judgements"),
    "prompt": (),
}
"""Variables that are lists of texts (``seats`` of two such lists), besides ``follow_ups`` and ``reference``."""
WITH_REFERENCE: tuple[Layout, ...] = ("pair", "answer")
"""Layouts whose judges may be shown reference answers."""


class Material(NamedTuple):
    """The texts of one question.

    Attributes:
        layout: what they are.
        texts: in the order of `placed`.
        sizes: how many texts each list holds, the follow-up turns and the reference answers last; of ``pairs``, the
            number of pairs.
        roles: of the given turns.
        hashes: what the texts are known by: the code of the marker lines is made of it.
    """

    layout: Layout
    texts: Sequence[str]
    sizes: tuple[int, ...]
    roles: tuple[str, ...]
    hashes: tuple[str, ...]

    @classmethod
    def of(cls, layout: Layout, prompt: Prompt, *shown: Response, references: Sequence[str] = ()) -> Material:
        """What is said about one prompt: two answers in seat order, one, an answer and two judgements of it, or none.

        Judgements sit in seat order, their texts as responses. Reference answers are those that the judge is shown.
        """
        *before, last = prompt.messages
        lists: list[tuple[str, ...]] = [*map(_OF_TEXTS, shown)]
        if layout == "judgements":
            lists[1:] = [lists[1] + lists[2]]
        lists += [prompt.follow_ups, tuple(references)]
        texts = [last["content"]]
        for one in lists:
            texts += one
        roles: tuple[str, ...] = ()
        if before:
            texts += [message["content"] for message in before]
            roles = tuple([message["role"] for message in before])
        return cls(layout, texts, tuple(map(len, lists)), roles, (prompt.id, *map(_OF_HASH, shown)))

    @classmethod
    def pairs(cls, pairs: Sequence[tuple[Prompt, Response, Response]]) -> Material:
        """Several pairs of answers to prompts of one turn.

        Raises:
            ValueError: a prompt with given or further turns; such pairs are asked about one at a time.
        """
        if any(len(prompt.messages) > 1 or prompt.follow_ups for prompt, _, _ in pairs):
            raise ValueError("pairs that are judged in one call are answers to prompts of a single turn")
        texts = [text for prompt, *seats in pairs for text in (prompt.last_user, *(seat.texts[0] for seat in seats))]
        hashes = tuple(part for prompt, one, two in pairs for part in (prompt.id, one.text_hash, two.text_hash))
        return cls("pairs", texts, (len(pairs),), (), hashes)

    def tag(self, secret: str) -> str:
        """The code of the marker lines: the same at every retry, and known to no contestant."""
        return blake2b("\n".join((secret, *self.hashes)).encode(), digest_size=8).hexdigest()


def placed(layout: Layout, sizes: Sequence[int], roles: Sequence[str], texts: Iterable[str]) -> dict[str, Any]:
    """A template's variables from a material's texts.

    Of all layouts but ``pairs``: the user's turn, the lists of the layout (answers in the first and in the second seat,
    or the answer and the judgements), the follow-up turns, the reference answers, and the given turns. Of ``pairs``,
    for each: the user's turn, the first and the second answer.
    """
    rest = iter(texts)
    if layout == "pairs":
        return {"items": [{"user": next(rest), "answers": [next(rest), next(rest)]} for _ in range(sizes[0])]}
    values: dict[str, Any] = {"user": next(rest)}
    *lists, values["follow_ups"], values["reference"] = [list(islice(rest, size)) for size in sizes]
    values["history"] = [{"role": role, "content": next(rest)} for role in roles]
    return values | ({"seats": lists} if layout == "pair" else dict(zip(LISTS[layout], lists, strict=True)))


def cut(count: int, filled: Callable[[Sequence[str]], str]) -> Skeleton | None:
    """Fill a template with `count` marks for texts and cut it.

    Returns:
        The skeleton; None where joining does not give what filling gives (a whole list of texts is printed, say).
    """
    pieces = _MARK.split(filled([f"\0{number}\0" for number in range(count)]))  # words, number of a text, words, …
    places = [(at, int(pieces[at])) for at in range(1, len(pieces), 2)]

    def joined(texts: Sequence[str]) -> str:
        out = pieces.copy()
        for at, number in places:
            out[at] = texts[number]
        return "".join(out)

    trial = [f'it\'s\n"{number}"\\' for number in range(count)]
    return joined if joined(trial) == filled(trial) else None


def only_places_texts(tree: nodes.Template, layout: Layout = "pair") -> bool:
    """Whether a template puts texts where they go and does nothing else with them.

    It may loop over turns and seats, name a turn's role and content, and ask about settings. Filters, tests,
    comparisons, calls and indices may concern settings only.
    """
    from jinja2 import nodes

    def called(node: nodes.Node, names: Iterable[str]) -> bool:
        return isinstance(node, nodes.Name) and node.name in names

    def settings_only(node: nodes.Node) -> bool:
        allowed = _SETTINGS
        if isinstance(node, nodes.Assign) and isinstance(node.target, nodes.Name):
            allowed = allowed | {node.target.name}
        names = [node] if isinstance(node, nodes.Name) else node.find_all(nodes.Name)
        return all(called(name, allowed) for name in names)

    # whether there is a reference follows from the sizes of the lists, which a skeleton is made for
    looks: list[nodes.Node] = [node.test for node in tree.find_all(nodes.If) if not called(node.test, {"reference"})]
    looks += [node.test for node in tree.find_all(nodes.CondExpr)]
    looks += tree.find_all((nodes.Filter, nodes.Test, nodes.Call, nodes.Compare, nodes.FilterBlock, nodes.Assign))
    looks += tree.find_all((nodes.AssignBlock, nodes.Macro, nodes.CallBlock, nodes.Mul, nodes.Mod))
    looks += [node.arg for node in tree.find_all(nodes.Getitem)]
    loops = list(tree.find_all(nodes.For))
    looks += [loop.test for loop in loops if loop.test is not None]
    lists = {*LISTS[layout], "follow_ups", "reference"}
    seats = {loop.target.name for loop in loops if called(loop.iter, {"seats"}) and isinstance(loop.target, nodes.Name)}
    return (
        all(map(settings_only, looks))
        and all(called(loop.iter, lists | {"history", "criteria"} | seats) for loop in loops)
        and all(called(node.node, lists) for node in tree.find_all(nodes.Getitem))
        and all(
            node.attr in ("role", "content") or called(node.node, {"loop"}) for node in tree.find_all(nodes.Getattr)
        )
    )
