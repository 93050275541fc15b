"""A page of battles fitted into its size: all data in it where they fit, else beside it, and texts cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from arenaloop.report.all_battles import AllBattles
from arenaloop.report.cards import Card, shortened
from arenaloop.report.rendering import LIMITS, MAX_BYTES, environment, first_limit

__all__ = ["fitted"]

_INDEX = 1_000_000
"""bytes of the index of a page's own cards that stay in it, whatever else is shortened"""


def fitted(template: str, context: Mapping[str, Any], cards: Sequence[Card], everything: AllBattles) -> bytes:
    """A page of at most `MAX_BYTES`: all battles in it if they fit, and texts cut until the cards do."""

    from markupsafe import Markup

    def rendered(limit: int) -> bytes:
        text = (
            environment()
            .get_template(template)
            .render(
                **context,
                cards=cards,
                limit=limit,
                data=None if data is None else Markup(data),  # noqa: S704 - JSON without markup (`script_json`)
                beside=address,
                all=len(everything),
            )
        )
        return text.encode("utf-8")

    fits = first_limit(lambda limit: (text for card in cards for text in shortened(card, limit)))
    data, address = everything.embedded(), None
    page = b"" if data is None else rendered(LIMITS[fits])
    if data is not None and len(page) <= MAX_BYTES:
        return page
    if data is None or len(data) > _INDEX or len(everything) > len(cards):
        data, address = None, everything.write()
    for limit in LIMITS[fits:]:
        page = rendered(limit)
        if len(page) <= MAX_BYTES:
            break
    return page
