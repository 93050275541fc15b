"""SPEC → prompts and demonstrations: a file's, or the sandbox's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from arenaloop.errors import ConfigError, nearest
from arenaloop.types import Prompt, Response, Status

if TYPE_CHECKING:
    from arenaloop.data.prompts import PromptSet
    from arenaloop.recipes.parts import Utility

__all__ = ["load_demonstrations", "load_judgements", "load_prompts", "true_utility"]

_SANDBOX_DATA = ("prompts", "demonstrations", "evaluations", "comparisons")
_WORLDS = ("words", "notes")


def _drawn(spec: str, data: str, seed: int, n: int, *more: str) -> tuple[int, int, dict[str, str]]:
    """How many rows a SPEC of the sandbox's `data` asks for, drawn from which seed, and its options."""
    name, _, query = spec.removeprefix("sandbox:").partition("?")
    options, allowed = dict(parse_qsl(query, keep_blank_values=True)), ["n", "seed", "world", *more]
    if name not in _SANDBOX_DATA:
        raise ConfigError(f"{spec!r}: the sandbox has {', '.join(_SANDBOX_DATA)}{nearest(name, list(_SANDBOX_DATA))}")
    for key in options:
        if key not in allowed:
            raise ConfigError(f"{spec!r}: unknown option {key!r}{nearest(key, allowed)}")
    if name != data:
        raise ConfigError(f"{spec!r}: expected sandbox:{data}?n=…")
    if (world := options.setdefault("world", "words")) not in _WORLDS:
        raise ConfigError(f"{spec!r}: the worlds are {' and '.join(_WORLDS)}{nearest(world, list(_WORLDS))}")
    return _count(spec, options, "n", n), _count(spec, options, "seed", seed), options


def _count(spec: str, options: Mapping[str, str], key: str, default: int) -> int:
    text = options.get(key, str(default))
    if not (text.isascii() and text.isdigit()):
        raise ConfigError(f"{spec!r}: {key} must be a whole number, not {text!r}")
    return int(text)


def _share(spec: str, options: Mapping[str, str], key: str) -> float:
    try:
        share = float(options.get(key, "0"))
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ConfigError(f"{spec!r}: {key} must be a share from 0 to 1, not {options[key]!r}")
    return share


def load_prompts(spec: str, seed: int, *, exclude: Sequence[str] = ()) -> PromptSet:
    """Prompts of a file, or of the sandbox (``sandbox:prompts?n=500&split=test&seed=0``; the seed is the run's).

    The sandbox draws no text of `exclude`: those of demonstrations, say. With ``world=notes`` they are those of notes.
    """
    from arenaloop.data.prompts import PromptSet, read_prompts

    if spec.startswith("sandbox:"):
        from arenaloop.sandbox import notes, tasks

        n, own, options = _drawn(spec, "prompts", seed, 100, "split")
        world: Any = notes if options["world"] == "notes" else tasks
        drawn = world.draw(n, own, options.get("split", "train"), exclude=frozenset(exclude))
        return PromptSet(tuple(one.prompt for one in drawn))
    return read_prompts(spec)


def load_demonstrations(spec: str, seed: int) -> list[dict[str, Any]]:
    """Rows with ``messages`` from a file, or from the sandbox (``sandbox:demonstrations?n=3000``).

    Of the sandbox's also judgements of answers (``sandbox:evaluations?n=3000&wrong=0.1``) and verdicts on judgements
    (``sandbox:comparisons?n=3000``), from which its target learns to judge.
    """
    if spec.startswith("sandbox:"):
        from arenaloop.data.selection import sft_row
        from arenaloop.sandbox.editors import note_demonstrations
        from arenaloop.sandbox.players import demonstrations

        if (role := spec.removeprefix("sandbox:").partition("?")[0]) in ("evaluations", "comparisons"):
            return [sft_row(prompt, (text,)) for prompt, text in _judgements(spec, role, seed)]
        n, own, options = _drawn(spec, "demonstrations", seed, 1000, "habits")
        habits = _share(spec, options, "habits")
        if options["world"] == "notes":
            if habits:
                raise ConfigError(f"{spec!r}: only the world of words has habits")
            drawn = note_demonstrations(n, own)
        else:
            drawn = demonstrations(n, own, habits)
        return [sft_row(prompt, (text,)) for prompt, text in drawn]
    from arenaloop.data.demonstrations import read_demonstrations

    return read_demonstrations(spec)


def load_judgements(spec: str, seed: int) -> list[dict[str, Any]]:
    """Judgements to learn to judge from: a file's, or the sandbox's evaluations and comparisons."""
    if spec.startswith("sandbox:"):
        return load_demonstrations(spec, seed)
    from arenaloop.data.eft import read_judgements

    return read_judgements(spec)


def _judgements(spec: str, role: str, seed: int) -> Iterator[tuple[Prompt, str]]:
    from arenaloop.sandbox.roles import comparisons, evaluations

    n, own, options = _drawn(spec, role, seed, 1000, *(["wrong"] if role == "evaluations" else []))
    if options["world"] != "words":
        raise ConfigError(f"{spec!r}: only the world of words has {role}")
    return comparisons(n, own) if role == "comparisons" else evaluations(n, own, _share(spec, options, "wrong"))


def true_utility(spec: str) -> Utility | None:
    """What a response to these prompts is truly worth, in [0, 1]; None where only a judge can tell.

    Of a prompt outside the sandbox's worlds, as a model may write one, the worth is unknown: None, not 0.
    """
    if not spec.startswith("sandbox:"):
        return None
    from arenaloop.sandbox.gold import utility
    from arenaloop.sandbox.notes import parse

    def of(prompt: Prompt, response: Response) -> float | None:
        asked = prompt.last_user
        if response.status is Status.TRUNCATED and parse(asked) is not None:  # no note that was cut is finished
            return 0.0
        return utility(asked, response.texts[-1])

    return of
