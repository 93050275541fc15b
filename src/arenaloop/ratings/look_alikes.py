"""Names of models that a reader takes for one: other case, invisible characters, other scripts, a provider in front.

Names are compared by what they look like (Unicode Technical Standard 39, section 4, in small): compatibility form,
case, dashes, blanks and what one cannot see do not matter, and a letter that looks like a Latin one is that one
(`_LIKE`). Of a name that mixes scripts, any letter may be another one that the table lacks.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

__all__ = ["look_alikes", "name_twins"]

_LIKE = str.maketrans(
    dict(
        zip(
            "АВЕЅІЈКМНОРСТУХҮԌԚԜӀ" + "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ" + "ՕՍ" + "аеѕіјорсухһԁԛԝӏ" + "οανρυγικτ" + "օսոհ" + "ıɡɑɩ0|",
            "abesijkmhopctyxygqwl" + "abezhikmnoptyx" + "ou" + "aesijopcyxhdqwl" + "oavpuyikt" + "ounh" + "igaiol",
            strict=True,
        )
    )
)
"""Letters that look like Latin ones (Cyrillic, Greek, Armenian, Latin Extended), and the digit and bar that do."""
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Characters without a picture that Unicode counts among letters, marks and symbols."""
_OTHER_WRITING = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO")


def name_twins(counts: Mapping[str, int]) -> list[str]:
    """A note for each group of names that look alike, and for each name that stands with a provider and without.

    Args:
        counts: by name, how many battles (or rows) hold it.
    """
    groups = _by_look(counts)
    notes = [
        f"{_counted(group, counts)} look alike (case, blanks, Unicode form, "
        "invisible characters or letters of another script) and are rated as different models"
        for group in groups.values()
        if len(group) > 1
    ]
    provided: dict[str, list[str]] = {}
    for look, names in groups.items():
        if (bare := re.split("[/:]", look)[-1]) != look and bare in groups:
            provided.setdefault(bare, []).extend(names)
    return notes + [
        f"{_counted([*groups[bare], *names], counts)} differ by a provider alone and are rated as different models"
        for bare, names in provided.items()
    ]


def look_alikes(different: Iterable[str]) -> list[list[str]]:
    """Groups of two or more different names that look alike."""
    return [group for group in _by_look(different).values() if len(group) > 1]


def _by_look(different: Iterable[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in different:
        groups.setdefault(_look(name), []).append(name)
    for look in [look for look, names in groups.items() if _foreign(look) and re.search("[A-Za-z]", names[0])]:
        twin = next((other for other in groups if other != look and _covers(look, other)), None)
        if twin is not None:
            groups[twin] += groups.pop(look)
    return groups


def _counted(names: Sequence[str], counts: Mapping[str, int]) -> str:
    return " and ".join(f"{name!a} ({counts[name]:,})" for name in names)


def _look(name: str) -> str:
    text = unicodedata.normalize("NFKC", name)
    if not text.isascii():
        text = "".join(_seen(c) for c in _UNSEEN.sub("", text))
    text = text.translate(_LIKE).casefold().translate(_LIKE)
    return " ".join(text.split())


def _seen(character: str) -> str:
    kind = unicodedata.category(character)
    if kind == "Pd" or character == "\u2212":
        return "-"
    return "" if kind in ("Cf", "Cc") and not character.isspace() else character


def _foreign(look: str) -> list[int]:
    """Where letters stand that are not Latin, and of a writing whose letters could be mistaken for Latin ones."""
    return [
        i
        for i, c in enumerate(look)
        if not c.isascii() and c.isalpha() and not unicodedata.name(c, "").startswith(("LATIN", *_OTHER_WRITING))
    ]


def _covers(mixed: str, other: str) -> bool:
    """Whether `other` is `mixed` with Latin letters in the place of those of another script."""
    if len(mixed) != len(other):
        return False
    foreign = set(_foreign(mixed))
    return all(
        a == b or (i in foreign and b.isascii() and b.isalnum())
        for i, (a, b) in enumerate(zip(mixed, other, strict=True))
    )
