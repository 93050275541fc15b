"""How the pages are rendered: templates with autoescape on, and how long their texts may be.

A page asks nothing of the network: styles and script stand in it, under a content security policy that allows exactly
those two (by their hashes) and nothing else. What models, judges and files say passes through the template's escaping
and through `texts.visible`; no text of theirs becomes markup, an attribute's name, an address or a script.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from html import escape
from importlib import resources
from typing import TYPE_CHECKING

from arenaloop.report.documents import number
from arenaloop.report.markdown import rendered
from arenaloop.report.spending import dollars, duration
from arenaloop.report.texts import Clip, one_line, visible
from arenaloop.terminal import figure

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["LIMITS", "MAX_BYTES", "environment", "first_limit", "size"]

MAX_BYTES = 10_000_000
"""no page is larger"""
LIMITS = (16_000, 8_000, 5_000, 3_000, 2_000, 1_200, 700, 400, 200, 100)
"""characters per text of a browser: the first that fits is taken"""
_BROWSER_BYTES = 7_500_000


def size(texts: Iterable[Clip]) -> int:
    """About how many bytes texts take on a page."""
    return sum(len(escape(visible(part)).encode("utf-8")) for text in texts for part in (text.head, text.tail))


def first_limit(texts: Callable[[int], Iterable[Clip]]) -> int:
    """The place in `LIMITS` of the first with which the texts of a browser fit, the last if none does.

    Args:
        texts: what is shown under a limit.
    """
    return next((i for i, limit in enumerate(LIMITS) if size(texts(limit)) <= _BROWSER_BYTES), len(LIMITS) - 1)


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates' own, with all that they may use."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    def finalize(value: object) -> object:
        # every text that the template prints, whoever wrote it; markup made by our own macros is left alone
        return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        loader=FunctionLoader(_part),
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script, browser = _part("style.css"), _part("script.js"), _part("browser.js")

    def policy(source: str, more: str = "") -> str:
        return (
            f"default-src 'none'; style-src '{_source(style)}'; script-src '{_source(source)}'{more}; img-src data:; "
            "base-uri 'none'; form-action 'none'"
        )

    def markdown(clip: Clip) -> Markup:
        parts = [rendered(part) for part in (clip.head, clip.tail)]
        return (
            Markup("")
            if not any(parts)
            else Markup("").join(
                Markup('<div class="part">{}</div>').format(part if made is None else Markup(made))  # noqa: S704
                for part, made in zip((visible(clip.head), visible(clip.tail)), parts, strict=True)
                if part
            )
        )

    environment.globals |= {
        "style": Markup(style),  # noqa: S704 - our own file
        "script": Markup(script),  # noqa: S704 - our own file
        "browser_script": Markup(browser),  # noqa: S704 - our own file
        "policy": policy(script),
        "browser_policy": policy(browser),
        # a page with files beside it: those of its own folder, and nothing from elsewhere
        "beside_policy": policy(browser, " 'self' file:"),
    }
    environment.filters |= {
        "name": one_line,
        "markdown": markdown,
        "fig": _figure,
        "cell": _cell,
        "count": _count,
        "pct": _percent,
        "dollars": dollars,
        "seconds": duration,
    }
    return environment


def _figure(value: object, form: str = ".0f") -> str:
    return figure(number(value), form)


def _cell(value: object) -> str:
    """A cell of a table whose meaning is not known here."""
    return value if isinstance(value, str) else _count(value) if isinstance(value, int) else _figure(value, ".4g")


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "–"


def _percent(value: object, digits: int = 1) -> str:
    known = number(value)
    return "–" if known is None else f"{100 * known:.{digits}f} %"


def _part(name: str) -> str:
    return resources.files("arenaloop.report").joinpath("templates", name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    """A content security policy source that allows exactly this text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
