"""What is odd about a model's replies though each by itself is fine: counted, and told once in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arenaloop.models.reply_doubts import plain_model

__all__ = ["Notices"]

_FEW = 0.5  # share of the replies from which on a block that nobody knows is told of
_SOME = 0.02  # from which on lost characters are: an answer that is cut off may end in half of one
_TAGS = "reasoning_tags in the model's YAML file"

_MONEY = {
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
}
"""What is odd about what a server says that its replies have cost; each is told with its first example."""

_ODD = {
    "error text": "hold an error's words in the place of an answer (“{}”): they are failed calls",
    "stopped at the limit": "are called whole, though they are as long as they may be and end in the midst of a "
    "sentence (“…{}”): probably they were cut off; raise max_tokens",
    "quoted": "are a text in quotation marks with its line ends escaped (“{}”): the server encodes them twice",
    "role": "begin with a line that names a role (“{}”): the server's chat template is out of step",
}
_OFTEN = {"stopped at the limit", "quoted", "role"}
"""Of `_ODD` what may happen once in an honest reply: told from two replies and one in fifty on."""

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
            total.replies += value["replies"]
            for kind, count in value["counts"].items():
                total._counts[kind] = total._counts.get(kind, 0) + count
                total._examples.setdefault(kind, value["examples"].get(kind, ""))
        return total

    def lines(self) -> list[str]:
        """What somebody who reads the results should know, a line for each kind."""
        count, lines = self._counts, []
        if cut := count.get("prompt cut"):
            lines.append(
                f"of {cut:,} of {self.replies:,} prompts it read a part only, by its own count "
                f"({self._examples['prompt cut']}): raise the server's context length, or its answers are about half "
                "a prompt"
            )
        lines += [
            f"{told:,} of {self.replies:,} replies {line.format(self._examples[kind])}"
            for kind, line in _MONEY.items()
            if (told := count.get(kind))
        ]
        lines += [
            f"{told:,} of {self.replies:,} replies {line.format(self._examples[kind])}"
            for kind, line in _ODD.items()
            if (told := count.get(kind, 0)) >= (max(2, _SOME * self.replies) if kind in _OFTEN else 1)
        ]
        lines += self._other_models()
        unclosed = count.get("cut without a tag", 0)
        if (closed := count.get("closing tag only")) and unclosed:
            lines.append(
                f"{closed:,} of {self.replies:,} replies began inside a block of reasoning, so {unclosed:,} that were "
                f"cut off and hold no tag may be reasoning that passes for an answer: set {_TAGS}, as in "
                '[["", "</think>"]]'
            )
        if (tagged := count.get("tag in the text", 0)) >= max(2, _FEW * self.replies):
            lines.append(
                f"{tagged:,} of {self.replies:,} replies hold a closing tag of reasoning that is not at their start, "
                f'and stay whole: if their chat template opens the block, set {_TAGS}, as in [["", "</think>"]]'
            )
        if thinking := count.get("thinking block", 0):
            lines.append(
                f"{thinking:,} of {self.replies:,} replies begin with {self._examples['thinking block']}, and "
                f"are kept as text: if it opens reasoning, name its tags in {_TAGS} to split it off"
            )
        if never := count.get("never closed", 0):
            lines.append(
                f"{never:,} of {self.replies:,} replies are reasoning to their end, though the server calls them "
                f"whole (“{self._examples['never closed']}”): they count as empty; if they close it, name the tags in "
                f"{_TAGS}"
            )
        if warned := count.get("warning", 0):
            lines.append(f"{warned:,} of {self.replies:,} replies carry a warning: {self._examples['warning']}")
        if ends := count.get("unknown ending", 0):
            lines.append(
                f"{ends:,} of {self.replies:,} replies tell their end by a word that is not known, "
                f"{self._examples['unknown ending']}: they count as what their finish reason says"
            )
        if (lost := count.get("lost characters", 0)) >= max(2, _SOME * self.replies):
            lines.append(
                f"{lost:,} of {self.replies:,} replies hold U+FFFD or half a character: the server lost bytes before "
                f"they came here (“{self._examples['lost characters']}”)"
            )
        if (unknown := count.get("unknown block", 0)) >= max(2, _FEW * self.replies):
            tag = self._examples["unknown block"]
            lines.append(
                f"{unknown:,} of {self.replies:,} replies begin with {tag}, and what it encloses is taken for a part "
                f"of the answer: if it is reasoning, name the tags in {_TAGS}"
            )
        return lines

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
