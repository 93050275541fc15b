"""What a text is to a reader: its compatibility form (NFKC), whether there is anything to see, and its Latin look."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["PIECE", "is_blank", "latin_look", "nfkc"]

PIECE = 1_000
"""Characters that are normalised at once: a run of combining marks is sorted in quadratic time (UAX #15, 1.3)."""

_JOINS = "\uff9e\uff9f"  # half-width kana marks, which are no marks before they are normalised

_LATIN_LOOK = str.maketrans(
    "АВЕЅІЈКМНОРСТУХҮаеѕіјорсухԁԛԝһүӏвкмнтΑΒΕΖΗΙΚΜΝΟΡΤΥΧαβεζηικμνορτυχϲϳɑɡıȷ",
    "ABESIJKMHOPCTYXYaesijopcyxdqwhylbkmhtABEZHIKMNOPTYXabezhikmnoptyxcjagij",
)
"""Cyrillic, Greek and phonetic letters that are taken for a Latin one (UTS #39, confusables.txt: the single letters);
small letters as their capitals, so that case stays case."""


def latin_look(text: str) -> str:
    """A text with Latin letters in the place of those that look like one; for comparing, not for reading."""
    return text if text.isascii() else text.translate(_LATIN_LOOK)


def nfkc(text: str) -> str:
    """NFKC of a text, by pieces that are cut where nothing composes across the border.

    Only within a run of more than `PIECE` / 2 marks, which is no writing, a piece ends in the middle.
    """
    if text.isascii():
        return text
    pieces, at = [], 0
    while at < len(text):
        end = at + PIECE
        if end < len(text):
            end = next((place for place in range(end, end - PIECE // 2, -1) if _begins(text[place])), end)
        piece = text[at:end]
        pieces.append(piece if unicodedata.is_normalized("NFKC", piece) else unicodedata.normalize("NFKC", piece))
        at = end
    return "".join(pieces)


def _begins(character: str) -> bool:
    """Whether a character never joins what stands before it: no mark, no later part of a Hangul syllable."""
    if character < "\u0300":
        return True
    return not ("\u1160" <= character <= "\u11ff" or character in _JOINS or unicodedata.category(character)[0] == "M")


# Default_Ignorable_Code_Point of Unicode (DerivedCoreProperties.txt) that are letters, marks or unassigned, and the
# empty Braille pattern; other invisible characters are known by their category
_NO_INK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)


_UNSEEN = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})


def is_blank(text: str) -> bool:
    """Whether nothing of a text can be seen: it has none but white space, controls and invisible characters."""
    return all(
        character.isspace() or unicodedata.category(character) in _UNSEEN or _NO_INK.match(character)
        for character in text
    )
