"""What a run pays: price files, and the Batch API that halves the price."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from arenaloop.cli.options import Fields, Given
from arenaloop.errors import ConfigError

if TYPE_CHECKING:
    from arenaloop.calls.budget import Budget
    from arenaloop.config import BatchSettings, PriceList, PriceSettings
    from arenaloop.config.base import Settings
    from arenaloop.judges.base import Judge
    from arenaloop.models.usage import Price
    from arenaloop.store import Store

__all__ = ["Batch", "Batches", "ForgetBatches", "Prices", "batch_settings", "known_prices", "priced", "settle_batches"]

Prices = Annotated[
    Path | None,
    typer.Option("--prices", metavar="FILE", help="Prices of models, for those without their own.", show_default=False),
]
"""The option of every verb that asks models."""

Batch = Annotated[bool, typer.Option("--batch", help="Judge through the server's Batch API, mostly at half the price.")]
Batches = Annotated[
    Given,
    Fields(
        "BatchSettings",
        wait={
            "flag": "--wait/--no-wait",
            "help": "Wait for batches, or stop and collect on the next run. Default: wait.",
        },
        rest={"flag": "--batch-rest", "metavar": "batch|live"},
        folder={"flag": "--batch-files", "metavar": "DIR"},
    ),
]
ForgetBatches = Annotated[
    bool,
    typer.Option("--forget-batches", help="Give up batches that are not collected; they are paid again."),
]
"""The options of verbs that judge through batches."""


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


def known_prices(settings: Settings | None, file: Path | None = None) -> dict[str, Price]:
    """All prices that settings and a price file tell, by the names that stored rows have for their models.

    Earlier calls are counted by them that had no price yet, also of models that the settings name no more. Of two
    prices for one name the dearer one is taken.

    Raises:
        InputError, ConfigError: the file is missing, or holds unknown keys.
    """
    from arenaloop.config import PriceList, read_yaml, validate
    from arenaloop.specs.models import price_of

    found = [] if settings is None else [*_prices_in(settings)]
    if file is not None:
        found += [
            (_row_name(key), price) for key, price in validate(PriceList, read_yaml(file), str(file)).prices.items()
        ]
    known: dict[str, Price] = {}
    for name, price in found:
        old = known.get(name)
        built = price_of(price)
        if old is not None:
            built = replace(
                built, prompt=max(built.prompt, old.prompt), completion=max(built.completion, old.completion)
            )
        known[name] = built
    return known


def _prices_in(value: Any) -> Iterator[tuple[str, PriceSettings]]:
    from arenaloop.config import ModelSettings
    from arenaloop.config.base import Settings

    if isinstance(value, tuple):
        for one in value:
            yield from _prices_in(one)
    if isinstance(value, ModelSettings) and value.price is not None:
        yield value.name or _row_name(value.spec), value.price
    if isinstance(value, Settings):
        for name in type(value).model_fields:
            yield from _prices_in(getattr(value, name))


def _row_name(spec: str) -> str:
    """What a model is called that has no name of its own: the last part of its SPEC."""
    return spec.rpartition("#")[2].partition("?")[0].removeprefix("openai:")


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


def settle_batches(
    store: Store, judges: Sequence[Judge], budget: Budget, out: Path, *, batch: bool, forget: bool
) -> None:
    """Give up the batches of judges that are not collected, with `forget`; refuse to pay for their verdicts again.

    Raises:
        ConfigError: some are on their way, and nothing is to go through batches now.
    """
    from arenaloop.calls.batch import forget_batches, open_batches

    if forget and forget_batches(store, judges):
        sent = store.sent
        budget.spend(sent.calls, sent.usd, sent.usd)
    if not batch and (waiting := open_batches(store, judges)):
        raise ConfigError(
            f"{out}: judging call by call would pay again for verdicts that are on their way in batches "
            f"({len(waiting)} not collected): go on with --batch, or give them up with --forget-batches"
        )
