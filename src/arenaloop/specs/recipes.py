"""A recipe's settings → the recipe, with everything it works on."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from arenaloop.calls.answers import Contestant
from arenaloop.calls.recorded import match_recorded
from arenaloop.config import ArenaLearningSettings
from arenaloop.errors import ConfigError, StorageError
from arenaloop.specs.data import load_demonstrations, load_prompts
from arenaloop.specs.judges import judge
from arenaloop.specs.models import contestant, local_model, shown
from arenaloop.types import Prompt, Response, content_hash

if TYPE_CHECKING:
    from arenaloop.recipes.stages import ArenaLearning

__all__ = ["build_arena_learning", "prepare_start"]


def build_arena_learning(settings: ArenaLearningSettings, out: Path, *, dry: bool = False) -> ArenaLearning:
    """Everything the Arena Learning recipe works on. Writes nothing, except a sandbox target when `out` exists.

    Args:
        settings: the recipe's file.
        out: the run directory; a fresh sandbox target is made below it by `prepare_start`.
        dry: only the plan is wanted: nothing is looked up on a hub.
    """
    from arenaloop.recipes.stages import ArenaLearning, check

    data = settings.data
    _require_start(settings, dry=dry)
    demonstrations = load_demonstrations(data.demonstrations, settings.seed)
    seen = (
        [row["messages"][0]["content"] for row in demonstrations] if data.demonstrations.startswith("sandbox:") else []
    )
    test = load_prompts(data.test, settings.seed).prompts
    pool = load_prompts(data.prompts, settings.seed, exclude=seen)
    validation = load_prompts(data.validation, settings.seed).prompts if data.validation else ()
    opponents = [contestant(one.with_concurrency(settings.concurrency)) for one in settings.opponents]
    target = settings.target

    def make(name: str, checkpoint: Path) -> Contestant:
        return Contestant(name, local_model(str(checkpoint), target, name, revision=""), target.sampling.build())

    recipe = ArenaLearning(
        settings=settings,
        start=str(_start_path(settings, out)),
        target=make,
        opponents=opponents,
        judge=judge(settings.judge.with_concurrency(settings.concurrency)),
        demonstrations=demonstrations,
        pool=pool.prompts,
        duplicates=pool.duplicates,
        test=test,
        validation=validation,
        utility=_gold if data.test.startswith("sandbox:") else None,
        fingerprint="" if dry else _start_fingerprint(settings),
        recorded=match_recorded(
            opponents,
            list({p.id: p for p in (*pool, *test, *validation)}.values()),
            allow_missing=settings.allow_missing,
        ),
    )
    check(recipe)
    return recipe


def _gold(prompt: Prompt, response: Response) -> float:
    from arenaloop.sandbox.tasks import utility

    return utility(prompt.last_user, response.texts[-1]) or 0.0


def _start_path(settings: ArenaLearningSettings, out: Path) -> Path | str:
    kind, _, rest = settings.target.model.partition(":")
    if kind == "hf" and rest:
        return rest
    if kind == "sandbox" and rest == "target":
        # named by what it is made from: a directory that is used again with another seed gets a start of its own
        return out / "checkpoints" / f"start-{_start_fingerprint(settings)[:8]}"
    raise ConfigError(f"target.model {settings.target.model!r}: expected hf:ID_OR_PATH or sandbox:target")


def _require_start(settings: ArenaLearningSettings, *, dry: bool) -> None:
    """Refuse a target that cannot be trained as a chat model, before anything is asked or written."""
    from arenaloop.errors import MissingExtraError

    if any(find_spec(name) is None for name in ("torch", "transformers", "safetensors")):
        raise MissingExtraError("training", "train")
    kind, _, rest = settings.target.model.partition(":")
    if kind == "hf" and rest:
        from arenaloop.models.checkpoint import require_chat_template

        local_model(rest, settings.target, None)
        if not dry or Path(rest).is_dir():
            require_chat_template(rest, settings.target.revision)
    elif settings.target.model == "sandbox:target":
        from arenaloop.sandbox.target import check_sizes

        try:
            check_sizes(**settings.target.options)
        except TypeError as error:
            raise ConfigError(f"target.options {shown(settings.target.options)}: {error}") from None


def _start_fingerprint(settings: ArenaLearningSettings) -> str:
    if settings.target.model == "sandbox:target":
        return content_hash("sandbox:target", settings.seed, settings.target.options)
    from arenaloop.models.checkpoint import checkpoint_fingerprint

    return checkpoint_fingerprint(settings.target.model.partition(":")[2], settings.target.revision)


def prepare_start(settings: ArenaLearningSettings, start: str) -> None:
    """Make the untrained sandbox target where the recipe starts from one and it is not there yet."""
    if settings.target.model != "sandbox:target" or Path(start).is_dir():
        return
    from safetensors import SafetensorError

    from arenaloop.sandbox.target import build_target

    temporary = Path(start).with_name(Path(start).name + ".partial")
    try:
        build_target(temporary, settings.seed, **settings.target.options)
        temporary.rename(start)
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{start}: {error}") from error
