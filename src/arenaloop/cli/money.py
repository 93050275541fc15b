"""What a run pays: price files, and the Batch API that halves the price."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from arenaloop.cli.options import Given
from arenaloop.errors import ConfigError

if TYPE_CHECKING:
    from arenaloop.config import BatchSettings, PriceList
    from arenaloop.config.base import Settings

__all__ = ["Prices", "batch_settings", "priced"]

Prices = Annotated[
    Path | None,
    typer.Option("--prices", metavar="FILE", help="Prices of models, for those without their own.", show_default=False),
]
"""The option of every verb that asks models."""


Checked = TypeVar("Checked", bound="Settings")


def priced(settings: Checked, file: Path | None) -> Checked:
    """The settings with the prices of a file for every model in them that has none: contestants, judges, a jury's
    members, a recipe's opponents.

    Raises:
        InputError, ConfigError: the file is missing, or holds unknown keys.
    """
    from arenaloop.config import PriceList, read_yaml, validate

    if file is None:
        return settings
    known = validate(PriceList, read_yaml(file), str(file))
    found: Checked = _with_prices(settings, known)
    if known.human is not None and "human" in type(found).model_fields:
        return found.model_copy(update={"human": known.human})
    return found


def _with_prices(value: Any, known: PriceList) -> Any:
    """A value of settings with prices put in; itself where there is nothing to put in."""
    from arenaloop.config import ModelSettings
    from arenaloop.config.base import Settings

    if isinstance(value, tuple):
        return tuple(_with_prices(one, known) for one in value)
    if not isinstance(value, Settings):
        return value
    fields = {name: getattr(value, name) for name in type(value).model_fields}
    changes = {name: new for name, old in fields.items() if (new := _with_prices(old, known)) is not old}
    if isinstance(value, ModelSettings) and value.price is None and (price := known.of(value.spec)) is not None:
        changes["price"] = price
    return value.model_copy(update=changes) if changes else value


def batch_settings(batch: bool, given: Given) -> BatchSettings | None:
    """The settings that the batch flags come to; None judges call by call.

    Raises:
        ConfigError: a flag that does nothing without --batch.
    """
    from arenaloop.config import BatchSettings, validate

    if batch or "folder" in given:
        return validate(BatchSettings, given, "--batch")
    if given.get("wait") is False:
        raise ConfigError("--no-wait goes with --batch")
    if "rest" in given:
        raise ConfigError("--batch-rest goes with --batch")
    return None
