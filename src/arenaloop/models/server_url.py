"""The URL of a server as a user writes it: checked, bared of what was pasted too much, and by which proxy it goes."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from arenaloop.errors import ConfigError

__all__ = ["PUBLIC_PARAMETERS", "ServerUrl", "proxy_of"]

_OTHER_PATHS = ("/completions", "/models", "/responses", "/embeddings", "/messages")

PUBLIC_PARAMETERS = ("api-version", "api_version", "version")
"""Parameters of a URL that hold no secret, and so may stand in settings, which are written to disk: Azure's."""


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """Where a server is.

    Attributes:
        base: as in ``http://HOST:PORT/v1``, bare of query and pasted suffix.
        chat: where completions are asked for, query included; of an `embedding` URL, vectors.
    """

    base: str
    chat: str

    @classmethod
    def of(cls, text: str) -> ServerUrl:
        """Read a base URL; a pasted ``/chat/completions`` is taken off, a query is kept.

        Raises:
            ConfigError: it is no URL, holds a password, or is that of another interface than chat completions.
        """
        try:
            parts = urlsplit(text.strip())
            fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            fine = False
        if "@" in text.partition("://")[2].partition("/")[0]:
            host = text.partition("://")[2].partition("/")[0].rpartition("@")[2]
            raise ConfigError(f"the URL of {host} may not hold a password; name the key's variable (key_env)")
        if not fine:
            raise ConfigError(f"not the URL of a server: {text.strip()!r} (as in http://HOST:PORT/v1)")
        path = parts.path.rstrip("/").removesuffix("/chat/completions").rstrip("/")
        base = urlunsplit((parts.scheme, parts.netloc, path, "", ""))
        for other in _OTHER_PATHS:
            if path.endswith(other):
                raise ConfigError(f"{base}: give the URL without {other}, as in {base.removesuffix(other)}")
        return cls(base, urlunsplit((parts.scheme, parts.netloc, f"{path}/chat/completions", parts.query, "")))

    def embedding(self) -> ServerUrl:
        """The same server's address for vectors of texts."""
        parts = urlsplit(self.chat)
        path = f"{parts.path.removesuffix('/chat/completions')}/embeddings"
        return replace(self, chat=urlunsplit(parts._replace(path=path)))

    @property
    def query(self) -> str:
        """What follows the question mark; it may hold a key and is never shown."""
        return urlsplit(self.chat).query

    @property
    def secrets(self) -> list[str]:
        """Values of the query's parameters, but for those that are known to be public."""
        pairs = parse_qsl(self.query)
        return [value for name, value in pairs if name.lower() not in PUBLIC_PARAMETERS] or (
            [self.query] if self.query and not pairs else []
        )


def proxy_of(url: str) -> str | None:
    """The proxy that the environment names for `url`; never one for this machine itself."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    return None if local or proxy_bypass(host) else getproxies().get(parts.scheme)
