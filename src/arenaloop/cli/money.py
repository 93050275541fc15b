"""What a battle will cost and has cost: price files, the estimate before a run, people's labels after it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arenaloop.errors import ConfigError

if TYPE_CHECKING:
    from arenaloop.arena.estimate import Estimate
    from arenaloop.arena.plan import BattlePlan
    from arenaloop.arena.tournament import Tournament
    from arenaloop.config import BatchSettings, BattleSettings
    from arenaloop.store import Store
    from arenaloop.types import Prompt

__all__ = ["batch_settings", "costs", "estimated", "estimated_dry", "priced"]


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


def batch_settings(*, batch: bool, wait: bool, rest: str | None, folder: Path | None) -> BatchSettings | None:
    """The settings that the batch flags come to; None judges call by call.

    Raises:
        ConfigError: a flag that does nothing without --batch.
    """
    from arenaloop.config import BatchSettings, validate

    if not batch and folder is None:
        for given, flag in ((not wait, "--no-wait"), (rest is not None, "--batch-rest")):
            if given:
                raise ConfigError(f"{flag} goes with --batch")
        return None
    values = {"wait": wait, "rest": rest or "batch", "folder": str(folder) if folder is not None else None}
    return validate(BatchSettings, values, "--batch")


def estimated(plan: BattlePlan, store: Store, settings: BattleSettings) -> Estimate:
    """The estimate at the head of a run, whose prompts and recorded answers are in the arena file."""
    from arenaloop.arena.costs import HumanLabel
    from arenaloop.arena.estimate import estimate

    human = HumanLabel(settings.human.usd, settings.human.seconds)
    return estimate(plan, store.prompt, store, batch=settings.batch is not None, human=human)


def estimated_dry(plan: BattlePlan, prompts: Sequence[Prompt], out: Path, settings: BattleSettings) -> Estimate:
    """The estimate of a dry run: a run directory that is there is read, and nothing is written.

    Raises:
        ArenaFileError: what is there is no arena file, or one of another version.
    """
    from contextlib import nullcontext

    from arenaloop.arena.costs import HumanLabel
    from arenaloop.arena.estimate import estimate
    from arenaloop.store import Store

    human = HumanLabel(settings.human.usd, settings.human.seconds)
    path = out / "arena.db"
    by_id = {prompt.id: prompt for prompt in prompts}
    with Store(path, readonly=True) if path.exists() else nullcontext() as store:
        return estimate(plan, by_id.get, store, batch=settings.batch is not None, human=human)


def costs(result: Tournament, store: Store, settings: BattleSettings) -> dict[str, Any]:
    """What ``summary.json`` says besides: people's labels for as many battles; waiting for batches is time, too."""
    from arenaloop.arena.costs import HumanLabel, human_equivalent
    from arenaloop.calls.batch import batch_seconds

    usage = store.usage()
    seconds = usage.seconds + batch_seconds(store)
    human = HumanLabel(settings.human.usd, settings.human.seconds)
    equivalent = human_equivalent(result.summary.decided, usage.usd, seconds, human)
    return {"seconds": seconds, "human_equivalent": equivalent.to_json()}
