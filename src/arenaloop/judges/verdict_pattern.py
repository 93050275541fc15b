r"""A verdict pattern of a template's own: how an answer is read that has none of the shipped forms.

A template's first comment holds it, a line for each setting::

    {#
    verdict_pattern: .*\[\[(?P<verdict>[ABC])\]\].*
    verdict_labels: A = first, B = second, C = tie
    #}

* ``verdict_pattern``: a regular expression with the named group ``verdict``, whose words ``verdict_labels`` explains
  (`first`, `second`, `tie`, or the first seat's share, 0 to 1; case matters); or with ``first`` and ``second``, a score
  for each seat; or, of one answer, with ``score``.
* ``verdict_scale``: the least and the most that a score can be, ``1 10`` where nothing is said. What lies outside is no
  score.
* ``verdict_at``: ``last_line`` (the last line that is not blank, bared of markdown, must match whole; the default) or
  ``last_match`` (the last match anywhere in the answer, for judges that go on after their verdict).

Patterns are matched by the engine of Rust, which polars brings: its time is linear in the text, whatever the pattern,
so that no contestant can have a judge write what takes for ever to read. It knows no look-around and no references
back; a pattern with them is refused. The line is read up to 2,000 characters, the answer in its last 20,000.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from arenaloop.errors import ConfigError, nearest
from arenaloop.judges.answer_lines import Scores, bare, last_line

if TYPE_CHECKING:
    import polars as pl

__all__ = ["VerdictPattern", "declared_pattern"]

_SETTINGS = ("verdict_pattern", "verdict_labels", "verdict_scale", "verdict_at")
_LINE = re.compile(r"^[ \t]*(verdict_\w+)[ \t]*:[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_PLACES = ("last_line", "last_match")
_SHARES = {"first": 1.0, "tie": 0.5, "second": 0.0}
_LONGEST_LINE = 2_000
_LONGEST_TEXT = 20_000
_GROUPS = (frozenset({"verdict"}), frozenset({"first", "second"}), frozenset({"score"}))


@dataclass(frozen=True)
class VerdictPattern:
    """How the answers of one template are read.

    Attributes:
        pattern: the regular expression.
        groups: its named groups.
        labels: of the group ``verdict``, each word with the first seat's share.
        scale: of scores, the least and the most.
        at: where it must match.
    """

    pattern: str
    groups: frozenset[str]
    labels: tuple[tuple[str, float], ...] = ()
    scale: tuple[float, float] = (0.0, 1.0)
    at: Literal["last_line", "last_match"] = "last_line"

    @property
    def seat_labels(self) -> tuple[str, str] | None:
        """The labels of the first and of the second seat, where each has one and there is no other."""
        shares = dict(self.labels)
        if sorted(shares.values()) != [0.0, 1.0]:
            return None
        return max(shares, key=lambda label: shares[label]), min(shares, key=lambda label: shares[label])

    @property
    def takes_labels_alone(self) -> bool:
        """Whether a seat's label is an answer by itself, so that the words that ask for it ask for its token, too."""
        labels = self.seat_labels
        return labels is not None and [self.read(label) for label in labels] == [(1.0, 0.0), (0.0, 1.0)]

    def read(self, text: str) -> Scores | None:
        """The scores of both seats; None where the answer holds no verdict."""
        found = self._found(text)
        if found is None:
            return None
        if "verdict" in self.groups:
            share = dict(self.labels).get(found["verdict"])
            return None if share is None else Scores(share, 1.0 - share)
        first, second = self._number(found["first"]), self._number(found["second"])
        return None if first is None or second is None else Scores(first, second)

    def read_score(self, text: str) -> float | None:
        """The score of one answer; None where there is none."""
        found = self._found(text)
        return None if found is None else self._number(found["score"])

    def _found(self, text: str) -> dict[str, str] | None:
        if self.at == "last_line":
            line = bare(last_line(text), _LONGEST_LINE)
            found = _match(rf"\A(?:{self.pattern})\z", line)
        else:  # the greedy run before it leaves the last place where it matches
            found = _match(rf"(?s:\A.*)(?:{self.pattern})", text[-_LONGEST_TEXT:])
        wanted = {name: found.get(name) for name in self.groups}
        return None if None in wanted.values() else cast(dict[str, str], wanted)

    def _number(self, text: str) -> float | None:
        try:
            number = float(text)
        except ValueError:
            return None
        return number if self.scale[0] <= number <= self.scale[1] else None


def declared_pattern(comment: str, origin: str, *, seats: bool) -> VerdictPattern | None:
    """The verdict pattern that a template's first comment holds; None where it holds none.

    Args:
        comment: its text.
        origin: the template's file, for errors.
        seats: whether two answers are judged, and not one.

    Raises:
        ConfigError: an unknown setting, or a pattern that nothing can be read by.
    """
    told: dict[str, str] = {}
    for name, value in _LINE.findall(comment):
        if name not in _SETTINGS:
            raise ConfigError(f"{origin}: {name}{nearest(name, list(_SETTINGS))}; known: {', '.join(_SETTINGS)}")
        if name in told:
            raise ConfigError(f"{origin}: {name} stands in it twice")
        told[name] = value
    if not told:
        return None
    pattern = told.get("verdict_pattern", "")
    if not pattern:
        raise ConfigError(f"{origin}: verdict_pattern is missing, which {', '.join(told)} would go with")
    groups = _groups(pattern, origin)
    wanted = _GROUPS[:2] if seats else _GROUPS[2:]
    if groups not in wanted:
        named = " or ".join(" and ".join(f"(?P<{name}>…)" for name in sorted(one)) for one in wanted)
        found = ", ".join(sorted(groups)) or "none"
        raise ConfigError(f"{origin}: verdict_pattern has the named groups {found}, and needs {named}")
    at = told.get("verdict_at", "last_line")
    if at not in _PLACES:
        raise ConfigError(f"{origin}: verdict_at {at!r}{nearest(at, list(_PLACES))}; known: {', '.join(_PLACES)}")
    labels: dict[str, float] = {}
    scale = (0.0, 1.0)
    if "verdict" in groups:
        labels = _labels(told.get("verdict_labels", ""), origin)
    else:
        scale = _scale(told.get("verdict_scale", "1 10"), origin)
    useless = "verdict_scale" if "verdict" in groups else "verdict_labels"
    if useless in told:
        raise ConfigError(f"{origin}: {useless} says nothing of the named groups {', '.join(sorted(groups))}")
    return VerdictPattern(pattern, groups, tuple(labels.items()), scale, cast(Literal["last_line", "last_match"], at))


def _labels(text: str, origin: str) -> dict[str, float]:
    labels: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        word, equals, said = (one.strip() for one in part.rpartition("="))
        share = _SHARES.get(said)
        if share is None:
            try:
                share = float(said)
            except ValueError:
                share = -1.0
        if not equals or not word or not 0.0 <= share <= 1.0:
            raise ConfigError(
                f"{origin}: verdict_labels: {part!r}, where WORD = first, second, tie or a share (0 to 1) is expected"
            )
        if word in labels:
            raise ConfigError(f"{origin}: verdict_labels: {word!r} stands in it twice")
        labels[word] = share
    if not labels or max(labels.values()) <= 0.5 or min(labels.values()) >= 0.5:
        raise ConfigError(
            f"{origin}: verdict_labels must name a label of each seat, as in verdict_labels: A = first, B = second"
        )
    return labels


def _scale(text: str, origin: str) -> tuple[float, float]:
    try:
        least, most = map(float, text.split())
    except ValueError:
        least, most = 0.0, 0.0
    if not least < most < float("inf") or least == -float("inf"):
        raise ConfigError(f"{origin}: verdict_scale {text!r}: two numbers are expected, the smaller one first")
    return least, most


def _groups(pattern: str, origin: str) -> frozenset[str]:
    """The named groups of a pattern.

    Raises:
        ConfigError: the engine does not take it.
    """
    import polars as pl

    try:
        fields = _extracted(pattern, "").dtype
        _extracted(rf"\A(?:{pattern})\z", "")  # a bracket may close what it did not open
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        why = [line.strip() for line in str(error).splitlines() if line.strip()]
        told = next((line.removeprefix("error: ") for line in why if line.startswith("error: ")), why[0] if why else "")
        raise ConfigError(f"{origin}: verdict_pattern: {told}") from None
    names = [field.name for field in fields.fields] if isinstance(fields, pl.Struct) else []
    return frozenset(name for name in names if not name.isdecimal())


def _match(pattern: str, text: str) -> Mapping[str, str | None]:
    (found,) = _extracted(pattern, text).to_list()
    return found or {}


def _extracted(pattern: str, text: str) -> pl.Series:
    import polars as pl

    return pl.Series([text], dtype=pl.String).str.extract_groups(pattern)
