"""API keys: read from the environment, and taken out of every text that may be shown or stored."""

from __future__ import annotations

import json
import os
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from urllib.parse import quote

from arenaloop.errors import ConfigError

__all__ = ["Redactor", "read_key"]

_KEY_LIKE = re.compile(
    r"\b(?:sk|pk|hf|gsk|xai)[-_][\w*.-]{8,}"
    r"|\b(?:Bearer|Basic)\s+[^\s\"',]+"
    r"|\b(?:authorization|x-api-key|api-key)\b[\"']?\s*[:=]\s*[\"']?[^\s\"',]+"
    r"|[\w-]*\*{4,}[\w-]*",  # what a server has masked itself still shows both ends of a key
    re.IGNORECASE,
)


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


class Redactor:
    """Takes keys out of a text: those that it knows, in every form they are echoed in, and what looks like one.

    Args:
        secrets: keys and the like; None and empty ones are passed over.
    """

    def __init__(self, *secrets: str | None) -> None:
        patterns = sorted({p for secret in secrets if secret for p in _patterns(secret)}, key=len, reverse=True)
        self._known = re.compile("|".join(patterns), re.IGNORECASE) if patterns else None

    def __repr__(self) -> str:
        return "Redactor(…)"

    def line(self, text: str) -> str:
        """The text as one printable line without keys, cut to 200 characters."""
        text = text[:1000]
        if self._known is not None:
            text = self._known.sub("[key]", text)
        text = _KEY_LIKE.sub("[key]", text)
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= 200 else text[:199] + "…"


def _patterns(secret: str) -> Iterator[str]:
    """Patterns of a secret as it is, escaped, reversed, in hexadecimal and in base64; long ones by their ends too."""
    forms = {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], secret[::-1], secret.encode().hex()}
    for encode in (b64encode, urlsafe_b64encode):
        for pad in range(3):  # where it begins in what was encoded, such as "Bearer KEY", modulo three bytes
            coded = encode(bytes(pad) + secret.encode()).decode()
            # the characters whose six bits come from the secret alone
            forms.add(coded[-(-pad * 8 // 6) : (pad + len(secret)) * 8 // 6])
    for form in forms:
        if len(form) >= 16:
            yield re.escape(form[:8]) + r"[^\s\"',]*"
            yield r"[^\s\"',]{0,80}" + re.escape(form[-8:])
        elif len(form) >= 6:
            yield re.escape(form)
        elif form:
            yield rf"(?<!\w){re.escape(form)}(?!\w)"
