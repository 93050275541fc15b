"""Keys and passwords: read from the environment, and taken out of every text that may be shown or stored."""

from __future__ import annotations

import codecs
import json
import os
import re
import unicodedata
from base64 import b32encode, b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from urllib.parse import quote, unquote

from arenaloop.errors import ConfigError

__all__ = ["Redactor", "proxy_secrets", "read_headers", "read_key", "without_secrets"]

_KEY_LIKE = re.compile(
    r"\b(?:sk|pk|hf|gsk|xai|ghp|glpat|nvapi|r8)[-_][\w*.-]{8,}"
    r"|\bAIza[\w-]{20,}|\bAKIA[0-9A-Z]{12,}|\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"
    r"|\b(?:Bearer|Basic)\s+[^\s\"',]+"
    r"|\b(?:authorization|x-api-key|api-key)\b[\"']?\s*[:=]\s*[\"']?[^\s\"',]+"
    r"|[\w-]*\*{4,}[\w-]*",  # what a server has masked itself still shows both ends of a key
    re.IGNORECASE,
)
_USERINFO = re.compile(r"(?<=://)[^\s/?#\"'<>]+@")
_IN_A_QUERY = re.compile(
    r"([?&;][\w.-]*(?:key|token|secret|sig|signature|passw|pwd|auth|credential|code|session|jwt)[\w.-]*=)[^&\s\"'#<>]+",
    re.IGNORECASE,
)
_WINDOW = 8  # letters and digits of a secret in a row, in whatever form, that are too many to be shown
_LONG = 16  # characters from which on a part of a secret gives it away


def read_key(variable: str | None) -> str | None:
    """The API key that an environment variable holds; None if no variable is named.

    Raises:
        ConfigError: it is not set, or holds what cannot be a key. The message does not show it.
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(f"the environment variable {variable} is not set; it is to hold an API key")
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"the environment variable {variable} holds characters that no API key has")
    return key


_OURS = ("content-type", "content-length", "content-encoding", "host", "connection", "transfer-encoding", "upgrade")


def read_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Headers of a user's own, by name: each value is what the environment variable that is named for it holds.

    Raises:
        ConfigError: a name that is none or is not the user's to set, a variable that is not set, or a value that
            cannot stand in a header. The message does not show it.
    """
    read: dict[str, str] = {}
    for name, variable in headers:
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name) or name.lower() in _OURS:
            raise ConfigError(f"headers: {name!r} is no header that can be set")
        value = os.environ.get(variable, "").strip()
        if not value:
            raise ConfigError(
                f"headers: the environment variable {variable[:60]} is not set; it is to hold the value of {name}"
            )
        if not (value.isascii() and value.isprintable()):
            raise ConfigError(f"headers: the environment variable {variable} holds what no header may")
        read[name] = value
    return read


def proxy_secrets() -> list[str]:
    """Passwords of the proxies that the environment names, and what is sent to them, in plain letters."""
    from urllib.request import getproxies

    found: list[str] = []
    for url in getproxies().values():
        userinfo, at, _ = url.rpartition("://")[2].rpartition("@")
        if at:
            password = userinfo.partition(":")[2]
            found += [userinfo, unquote(userinfo), password, unquote(password)]
    return list(dict.fromkeys(filter(None, found)))


def without_secrets(text: str) -> str:
    """A text without what looks like a key, without passwords and keys in its URLs, and without those of proxies."""
    return _KEY_LIKE.sub("[key]", _bare_urls(Redactor(*proxy_secrets()).known(text)))


def _bare_urls(text: str) -> str:
    return _IN_A_QUERY.sub(r"\1[key]", _USERINFO.sub("[key]@", text))


class _Hidden(tuple[str, ...]):
    """Texts that no ``repr`` shows."""

    def __repr__(self) -> str:
        return "(…)"


class Redactor:
    """Takes keys out of a text: those that it knows, in every form they are echoed in, and what looks like one.

    Args:
        secrets: keys and the like; None and empty ones are passed over.

    Attributes:
        exact: those that are no word of a language, so that they may be taken out of answers, too.
    """

    def __init__(self, *secrets: str | None) -> None:
        given = list(dict.fromkeys(secret for secret in secrets if secret))
        patterns = sorted({p for secret in given for p in _patterns(secret)}, key=len, reverse=True)
        self._known = re.compile("|".join(patterns), re.IGNORECASE) if patterns else None
        windows = {window for secret in given for window in _windows(secret)}
        self._windows = {hash(window) for window in windows}  # no part of a secret stands in an attribute
        self._sizes = sorted({len(window) for window in windows})
        self.exact: tuple[str, ...] = _Hidden(secret for secret in given if _is_no_word(secret))

    def __repr__(self) -> str:
        return "Redactor(…)"

    def line(self, text: str) -> str:
        """The text as one printable line without keys, cut to 200 characters."""
        text = _KEY_LIKE.sub("[key]", _bare_urls(self.known(text[:1000])))
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= 200 else text[:199] + "…"

    def known(self, text: str) -> str:
        """The text without the secrets that are known, however they are written."""
        if self._known is not None:
            text = self._known.sub("[key]", text)
        return self._disguised(text) if self._windows else text

    def answer(self, text: str) -> str:
        """A model's own words without the secrets, as they are: what only looks like one is the model's to write."""
        for secret in self.exact:
            if secret in text:
                text = text.replace(secret, "[key]")
        return text

    def _disguised(self, text: str) -> str:
        """Take out letters and digits of a secret in a row, whatever stands between them and whatever their case."""
        letters: list[str] = []
        places: list[int] = []
        for place, c in enumerate(text):
            for letter in c if c.isascii() else unicodedata.normalize("NFKC", c):
                if letter.isascii() and letter.isalnum():
                    letters.append(letter.lower())
                    places.append(place)
        folded = "".join(letters)
        spans = [
            [places[at], places[at + size - 1] + 1]
            for size in self._sizes
            for at in range(len(folded) - size + 1)
            if hash(folded[at : at + size]) in self._windows
        ]
        if not spans:
            return text
        out, done = [], 0
        for start, end in _merged(sorted(spans), text):
            out += [text[done:start], "[key]"]
            done = end
        return "".join([*out, text[done:]])


_BORDERS = " \t\r\n\"',"


def _merged(spans: list[list[int]], text: str) -> Iterator[tuple[int, int]]:
    """Spans grown to whole words, those that meet (or have no letter between them) as one."""
    grown: list[list[int]] = []
    for start, end in spans:
        while start > 0 and text[start - 1] not in _BORDERS:
            start -= 1
        while end < len(text) and text[end] not in _BORDERS:
            end += 1
        if grown and (start <= grown[-1][1] or not any(c.isalnum() for c in text[grown[-1][1] : start])):
            grown[-1][1] = max(end, grown[-1][1])
        else:
            grown.append([start, end])
    for start, end in grown:
        yield start, end


def _is_no_word(secret: str) -> bool:
    mixed = any(c.isdigit() for c in secret) and any(c.isalpha() for c in secret)
    return len(secret) >= _LONG or (len(secret) >= _WINDOW and mixed)


def _windows(secret: str) -> Iterator[str]:
    """What gives a secret away among a text's letters and digits: parts of each form that it may have taken."""
    raw = secret.encode("utf-8", "replace")
    forms = [secret, secret[::-1], codecs.encode(secret, "rot13"), raw.hex()]
    numbers = ("{:d}", "u{:04x}", "0x{:02x}", "x{:02x}")  # entities, escapes, dumps
    forms += ["".join(number.format(byte) for byte in raw) for number in numbers]
    for encode, block, bits in ((b64encode, 3, 6), (b32encode, 5, 5)):
        for pad in range(block):
            coded = encode(bytes(pad) + raw).decode()
            forms.append(coded[-(-pad * 8 // bits) : (pad + len(raw)) * 8 // bits])
    for form in forms:
        folded = "".join(c for c in form.lower() if c.isascii() and c.isalnum())
        if len(folded) >= _LONG:
            yield from (folded[at : at + _WINDOW] for at in range(len(folded) - _WINDOW + 1))
        elif len(folded) >= _WINDOW:
            yield folded


def _patterns(secret: str) -> Iterator[str]:
    """Patterns of a secret as it is, escaped, reversed, in hexadecimal and in base64; long ones by their ends too."""
    forms = {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], secret[::-1], secret.encode().hex()}
    for encode in (b64encode, urlsafe_b64encode):
        for pad in range(3):  # where it begins in what was encoded, such as "Bearer KEY", modulo three bytes
            coded = encode(bytes(pad) + secret.encode()).decode()
            # the characters whose six bits come from the secret alone
            forms.add(coded[-(-pad * 8 // 6) : (pad + len(secret)) * 8 // 6])
    for form in forms:
        if len(form) >= _LONG:
            yield re.escape(form[:8]) + r"[^\s\"',]*"
            yield r"[^\s\"',]{0,80}" + re.escape(form[-8:])
        elif len(form) >= 6:
            yield re.escape(form)
        elif form:
            yield rf"(?<!\w){re.escape(form)}(?!\w)"
