"""What is odd about a model's replies though each by itself is fine: counted, and told once in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arenaloop.models.reply_doubts import plain_model

__all__ = ["Notices"]

_FEW = 0.5  # share of the replies from which on a block that nobody knows is told of
_SOME = 0.02  # from which on an odd form is, or lost characters: an answer that is cut off may end in half of one
_TAGS = "reasoning_tags in the model's YAML file"

_COUNTED = {
    "bill above": "were billed higher by the server than by the price table ({}): its bill is what counts; is the "
    "price right?",
    "bill below": "were billed lower by the server than by the price table ({}): the price table is what counts, to be "
    "on the safe side",
    "unread bill": "name an amount that cannot be compared with the price table ({})",
    "unknown count": "count tokens in a field that nobody knows and that the others cannot hold ({}): they are charged "
    "beside them",
    "no count": "tell of tokens in figures that are no counts ({}): their answers are charged at max_tokens",
    "unpriced": "count what no price covers ({}), so they cost more than is told here: price it by that name in "
    "units of the model's price",
    "answer uncounted": "count fewer new tokens than the answer has words ({}): it is estimated",
    "error text": "hold an error's words in the place of an answer (“{}”): they are failed calls",
    "stopped at the limit": "are called whole, though they are as long as they may be and end in the midst of a "
    "sentence (“…{}”): probably they were cut off; raise max_tokens",
    "quoted": "are a text in quotation marks with its line ends escaped (“{}”): the server encodes them twice",
    "role": "begin with a line that names a role (“{}”): the server's chat template is out of step",
}
"""What is odd about replies and their cost; each is told with its first example."""

_REASONING = {
    "tag in the text": "hold a closing tag of reasoning that is not at their start, and stay whole: if their chat "
    f'template opens the block, set {_TAGS}, as in [["", "</think>"]]',
    "thinking block": "begin with {}, and are kept as text: if it opens reasoning, name its tags in "
    f"{_TAGS} to split it off",
    "never closed": "are reasoning to their end, though the server calls them whole (“{}”): they count as empty; if "
    f"they close it, name the tags in {_TAGS}",
    "warning": "carry a warning: {}",
    "unknown ending": "tell their end by a word that is not known, {}: they count as what their finish reason says",
    "lost characters": "hold U+FFFD or half a character: the server lost bytes before they came here (“{}”)",
    "unknown block": "begin with {}, and what it encloses is taken for a part of the answer: if it is reasoning, name "
    f"the tags in {_TAGS}",
}
"""The same of what was, or was not, parted from their answers."""

_OFTEN = {"tag in the text": _FEW, "unknown block": _FEW} | dict.fromkeys(
    ("stopped at the limit", "quoted", "role", "lost characters"), _SOME
)
"""What may happen once in an honest reply: told from two replies on, and this share of all."""

_SERVED_BY = "served by "
_NAMES = 20  # models that are told apart


class Notices:
    """Counts of oddities among the replies of one model.

    Attributes:
        replies: how many were read.
    """

    def __init__(self) -> None:
        self.replies = 0
        self._counts: dict[str, int] = {}
        self._examples: dict[str, str] = {}

    def add(self, kind: str, example: str) -> None:
        """Count one; the first example is kept."""
        self._counts[kind] = self._counts.get(kind, 0) + 1
        self._examples.setdefault(kind, example)

    def answered_by(self, model: str, replies: int) -> None:
        """Count replies that bear the name of a model; names that may be one model's are counted together."""
        kind = _SERVED_BY + plain_model(model)
        if kind not in self._counts and sum(one.startswith(_SERVED_BY) for one in self._counts) >= _NAMES:
            kind = f"{_SERVED_BY}others"
        self._counts[kind] = self._counts.get(kind, 0) + replies
        self._examples.setdefault(kind, model)

    def to_json(self) -> dict[str, Any]:
        """All counts, as `merged` reads them."""
        return {"replies": self.replies, "counts": dict(self._counts), "examples": dict(self._examples)}

    def taken(self) -> dict[str, Any]:
        """The same, and counting begins anew."""
        counts = self.to_json()
        self.replies, self._counts, self._examples = 0, {}, {}
        return counts

    @classmethod
    def merged(cls, *values: Mapping[str, Any] | None) -> Notices:
        """The sum of counts that were kept as JSON; the first examples stand."""
        total = cls()
        for value in filter(None, values):
            total.include(value)
        return total

    def include(self, value: Mapping[str, Any]) -> None:
        """Add counts that somebody else has made, as JSON; the first examples stand."""
        self.replies += value["replies"]
        for kind, count in value["counts"].items():
            self._counts[kind] = self._counts.get(kind, 0) + count
            self._examples.setdefault(kind, value["examples"].get(kind, ""))

    def lines(self) -> list[str]:
        """What somebody who reads the results should know, a line for each kind."""
        count, lines = self._counts, []
        if cut := count.get("prompt cut"):
            lines.append(
                f"of {cut:,} of {self.replies:,} prompts it read a part only, by its own count "
                f"({self._examples['prompt cut']}): raise the server's context length, or its answers are about half "
                "a prompt"
            )
        lines += self._told(_COUNTED)
        lines += self._other_models()
        unclosed = count.get("cut without a tag", 0)
        if (closed := count.get("closing tag only")) and unclosed:
            lines.append(
                f"{closed:,} of {self.replies:,} replies began inside a block of reasoning, so {unclosed:,} that were "
                f"cut off and hold no tag may be reasoning that passes for an answer: set {_TAGS}, as in "
                '[["", "</think>"]]'
            )
        lines += self._told(_REASONING)
        return lines

    def _told(self, lines: Mapping[str, str]) -> list[str]:
        """The lines of the kinds that are more than chance."""
        least = {kind: max(2, share * self.replies) for kind, share in _OFTEN.items()}
        return [
            f"{count:,} of {self.replies:,} replies {line.replace('{}', self._examples[kind])}"
            for kind, line in lines.items()
            if (count := self._counts.get(kind, 0)) >= least.get(kind, 1)
        ]

    def _other_models(self) -> list[str]:
        """That some replies are another model's than most."""
        served: dict[str, int] = {}
        for kind, n in self._counts.items():
            if kind.startswith(_SERVED_BY):  # us.anthropic.claude and claude are one
                same = (one for one in served if _ends_alike(one, kind))
                known = next(same, kind)
                served[known] = served.get(known, 0) + n
        if len(served) < 2:
            return []
        most = max(served, key=lambda kind: served[kind])
        others = sorted((kind for kind in served if kind != most), key=lambda kind: (-served[kind], kind))
        names = ", ".join(f"{self._examples[kind]} ({served[kind]:,})" for kind in others[:3])
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        return [
            f"{sum(served[kind] for kind in others):,} of {self.replies:,} replies come from another model than the "
            f"others ({self._examples[most]}): {names}{more}; all count as this model's answers"
        ]


def _ends_alike(one: str, other: str) -> bool:
    """Whether the name of one model is that of the other with words before it."""
    one, other = (f"-{kind.removeprefix(_SERVED_BY)}" for kind in (one, other))
    return one.endswith(other) or other.endswith(one)
