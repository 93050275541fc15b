"""What a battle pays: price files, and the Batch API that halves the price."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from arenaloop.cli.options import Given
from arenaloop.errors import ConfigError

if TYPE_CHECKING:
    from arenaloop.config import BatchSettings, BattleSettings

__all__ = ["batch_settings", "priced"]


def priced(settings: BattleSettings, file: Path | None) -> BattleSettings:
    """The settings with the prices of a file where a model has none of its own.

    Raises:
        InputError, ConfigError: the file is missing, or holds unknown keys.
    """
    from arenaloop.config import PriceList, read_yaml, validate

    if file is None:
        return settings
    known = validate(PriceList, read_yaml(file), str(file))

    def with_price(model: Any) -> Any:
        own = model.price
        return model if own is not None else model.model_copy(update={"price": known.of(model.spec)})

    changes: dict[str, Any] = {
        "models": tuple(with_price(model) for model in settings.models),
        "judge": with_price(settings.judge),
    }
    if known.human is not None:
        changes["human"] = known.human
    return settings.model_copy(update=changes)


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
