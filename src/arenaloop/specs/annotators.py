"""SPEC → a pool of simulated annotators."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

from arenaloop.config import AnnotatorSettings, PoolSettings, read_yaml, validate
from arenaloop.errors import ConfigError, nearest
from arenaloop.judges.annotators import PairsJudge, Pool
from arenaloop.judges.base import Judge
from arenaloop.specs.judges import judge, judging_model
from arenaloop.specs.models import KINDS

__all__ = ["annotator", "pool", "pool_names", "pool_settings", "shipped_pool"]

_SHIPPED = resources.files("arenaloop.judges") / "pools"


def pool_names() -> list[str]:
    """The shipped pools."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _SHIPPED.iterdir() if entry.name.endswith(".yaml"))


def shipped_pool(name: str) -> dict[str, Any]:
    """The settings of a shipped pool, as its file has them."""
    with resources.as_file(_SHIPPED / f"{name}.yaml") as path:
        return read_yaml(path)


def pool_settings(
    text: str, model: str | Mapping[str, Any] | None = None, changed: Mapping[str, Any] | None = None
) -> PoolSettings:
    """A pool from the command line: a shipped one, a YAML file of one, or a single judge.

    Args:
        text: a name of `pool_names`, FILE.yaml, or a SPEC of a judge (a pool of one member).
        model: SPEC, FILE.yaml or settings of the model behind all members that name none.
        changed: settings that take the place of the file's; a preset takes that of its `p_label_flip` and `seat_mode`.

    Raises:
        ConfigError, InputError: no such pool or file, or unknown keys in it.
    """
    if text in pool_names():
        values = shipped_pool(text)
    elif text.endswith((".yaml", ".yml")):
        values = read_yaml(text)
        if "members" not in values:
            values = {"members": [values]}
    elif ":" in text:
        values = {"members": [{"spec": text}]}
    else:
        known = pool_names()
        hint = nearest(text, known)
        raise ConfigError(
            f"pool {text!r}{hint}: expected {', '.join(known)}, FILE.yaml or one judge: {', '.join(KINDS)}"
        )
    if model is not None:
        given: Any = read_yaml(model) if isinstance(model, str) and model.endswith((".yaml", ".yml")) else model
        if all(isinstance(one, dict) and one.get("spec") for one in values["members"]):
            raise ConfigError(f"--model {_spec(model)}: every member of the pool {text} has a spec of its own")
        values = {**values, "model": given}
    own = dict(changed or {})
    if "preset" in own:
        own = {"p_label_flip": None, "seat_mode": None} | own
    return validate(PoolSettings, values | own, f"pool {text}")


def _spec(model: str | Mapping[str, Any]) -> str:
    return model if isinstance(model, str) else str(model.get("spec"))


def pool(settings: PoolSettings, concurrency: int | None = None) -> Pool:
    """The annotators, ready to be asked.

    Raises:
        ConfigError: a member that cannot judge pairs, or two that are one and the same.
    """
    return Pool(
        [annotator(member.with_concurrency(concurrency)) for member in settings.members],
        settings.flips,
        settings.noise_model,
        settings.seats,
        [member.reask for member in settings.members],
    )


def annotator(settings: AnnotatorSettings) -> Judge:
    """One annotator: any judge of pairs, or one that takes several pairs in a call."""
    from arenaloop.judges.possible import refuse_impossible
    from arenaloop.judges.templates import layout_of, load_template

    several = settings.batch > 1
    kind = settings.spec.partition(":")[0]
    if kind in ("builtin", "labels", "reward", "synthetic"):
        if several:
            raise ConfigError(f"annotator {settings.name or settings.spec}: batch goes with a model, not with {kind}:")
    elif several or layout_of(settings.template) == "pairs":
        if settings.verdict == "logprob":
            raise ConfigError(
                f"annotator {settings.name or settings.spec}: templates of several pairs serve verdict text and json"
            )
        template = load_template(settings.template, settings.criteria, settings.parser, layout="pairs")
        built = PairsJudge(
            judging_model(settings),
            template=template,
            batch=settings.batch,
            sampling=settings.sampling.build(),
            name=settings.name,
            verdict=settings.verdict,
            prefill=settings.prefill,
        )
        refuse_impossible(built)
        return built
    found = judge(settings)
    assert not hasattr(found, "members")  # settings refuse juries
    return found
