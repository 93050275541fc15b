"""SPEC → judges that need no model (rules, recorded labels), and juries."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from arenaloop.config import JudgeSettings, ModelSettings, OptimSettings
from arenaloop.errors import ConfigError, MissingExtraError, nearest
from arenaloop.specs.models import refuse_servers_settings
from arenaloop.types import Prompt, content_hash

if TYPE_CHECKING:
    from arenaloop.judges.base import Judge
    from arenaloop.judges.builtin import BuiltinJudge
    from arenaloop.judges.jury import Jury
    from arenaloop.judges.labels import LabelsJudge
    from arenaloop.judges.reward_model import RewardJudge
    from arenaloop.judges.synthetic import SyntheticAnnotator
    from arenaloop.train.rewards import RewardModel

__all__ = ["jury", "outside_sandbox", "self_preference", "without_model"]

_FORM = ("template", "criteria", "parser", "verdict", "deciding_label", "label_mass", "prefill")
"""What is asked of a judging model, and how its answer is read."""


def without_model(settings: JudgeSettings) -> Judge | None:
    """``builtin:RULE``, ``labels:FILE[#column=value]``, ``reward:PATH``, ``synthetic:REWARD``; None for other SPECs.

    Raises:
        ConfigError: no such rule. InputError: the label file is missing or malformed.
    """
    kind, _, rest = settings.spec.partition(":")
    if kind not in _WITHOUT_MODEL:
        return None
    refuse_servers_settings(settings)
    if asked := _form(settings):
        what = ", ".join(f"{name} {value!r}" for name, value in asked.items())
        raise ConfigError(f"judge {settings.spec}: fills no template, so {what} does nothing")
    return _WITHOUT_MODEL[kind](settings, rest)


def _rule(settings: JudgeSettings, name: str) -> BuiltinJudge:
    from arenaloop.judges.builtin import BUILTIN, BuiltinJudge

    if name not in BUILTIN:
        known = list(BUILTIN)
        raise ConfigError(f"judge {settings.spec!r}: no such rule{nearest(name, known)}; known: {', '.join(known)}")
    return BuiltinJudge(name, name=settings.name)


def _labels(settings: JudgeSettings, text: str) -> LabelsJudge:
    from arenaloop.data.formats.labels import read_labels, split_filter
    from arenaloop.judges.labels import LabelsJudge, Material, RecordedVote, material

    path, where = split_filter(text)
    if not path:
        raise ConfigError(f"judge {settings.spec!r}: expected labels:FILE or labels:FILE#column=value")
    votes: dict[Material, list[RecordedVote]] = {}
    labels = read_labels(path, where)
    for label in labels:
        key = material(label.prompt, *label.outputs)
        votes.setdefault(key, []).append(RecordedVote(label.preference, label.usd, label.seconds, label.seat or None))
    name = settings.name or ",".join(where.values()) or Path(path).name.partition(".")[0]
    return LabelsJudge(name, votes, labels.notes)


def _reward(settings: JudgeSettings, path: str) -> RewardJudge:
    from arenaloop.judges.reward_model import Conversation, RewardJudge
    from arenaloop.models.checkpoint import checkpoint_fingerprint, require_reward_model

    if not path:
        raise ConfigError(f"judge {settings.spec!r}: expected reward:PATH")
    if find_spec("torch") is None or find_spec("transformers") is None:
        raise MissingExtraError("reward models", "train")
    require_reward_model(path)

    @functools.cache
    def loaded() -> RewardModel:
        from arenaloop.train.rewards import load_reward_model

        return load_reward_model(path, OptimSettings())

    def score(conversations: Sequence[Conversation]) -> list[float | str]:
        return loaded().rewards(conversations, OptimSettings())

    name = settings.name or Path(path).resolve().name
    parts = [Path(path), Path(path) / "prior"]
    identity = content_hash(*(checkpoint_fingerprint(part) for part in parts if part.is_dir()))
    return RewardJudge(name, identity, score)


def _synthetic(settings: JudgeSettings, spec: str) -> SyntheticAnnotator:
    from arenaloop.judges.reward_model import Conversation, RewardJudge
    from arenaloop.judges.synthetic import Biases, SyntheticAnnotator
    from arenaloop.specs.rewards import reward

    if not spec:
        raise ConfigError(f"judge {settings.spec!r}: expected synthetic:REWARD, as in synthetic:sandbox:gold")
    known = ["seed", *Biases._fields]
    options = dict(settings.options)
    for name, value in options.items():
        if name not in known:
            raise ConfigError(
                f"judge {settings.spec}: no option {name!r}{nearest(name, known)}; known: {', '.join(known)}"
            )
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"judge {settings.spec}: option {name}: {value!r} is no number")
    seed = int(options.pop("seed", 0))
    worth = reward(spec)

    def score(conversations: Sequence[Conversation]) -> list[float | str]:
        found = worth.score([before for before, _ in conversations], [said[-1]["content"] for _, said in conversations])
        return ["the reward gives none" if one is None or not math.isfinite(one) else one for one in found]

    name = settings.name or "synthetic"
    return SyntheticAnnotator(name, RewardJudge(name, worth.identity, score), Biases(**options), seed)


_WITHOUT_MODEL: Mapping[str, Callable[[JudgeSettings, str], Judge]] = {
    "builtin": _rule,
    "labels": _labels,
    "reward": _reward,
    "synthetic": _synthetic,
}
"""Judges that need no model, by what their SPEC begins with; they are made of the rest of it."""


def _form(settings: JudgeSettings) -> dict[str, object]:
    """Settings of template and verdict that are not the defaults."""
    return {
        name: value for name in _FORM if (value := getattr(settings, name)) != JudgeSettings.model_fields[name].default
    }


def jury(settings: JudgeSettings, build: Callable[[JudgeSettings], Judge]) -> Jury:
    """A panel of judges; template, criteria and verdict mode of the jury are those of the members that set none.

    Raises:
        ConfigError: members that are one and the same, whose scores cannot be merged, or weights that do not fit.
    """
    from arenaloop.judges.jury import Jury

    members: list[Judge] = []
    for member in settings.jury:
        if member.spec.partition(":")[0] not in _WITHOUT_MODEL:
            member = member.model_copy(update=_form(settings) | _form(member))
        members.append(build(member))
    try:
        return Jury(members, rule=settings.rule, weights=settings.weights or None, name=settings.name)
    except ValueError as error:
        raise ConfigError(f"judge: {error}") from None


def self_preference(judge: JudgeSettings, contestants: Sequence[ModelSettings]) -> list[str]:
    """One line for each contestant that is also a judge: the same server or weights under the same id.

    A model prefers its own answers (Zheng et al. 2023, arXiv 2306.05685, section 3.3), so the rating of such a
    contestant is not to be trusted; it is no error, since a model that rewards itself is a recipe of its own.
    """
    judging = {_identity(one): one for one in (judge.jury or (judge,)) if one.spec.partition(":")[0] in _MODELS}
    return [
        f"{one.name or one.spec} judges its own answers ({one.spec}): judges prefer their own words"
        for one in contestants
        if _identity(one) in judging
    ]


def outside_sandbox(judge: JudgeSettings, prompts: Sequence[Prompt]) -> str:
    """What is to be said where the sandbox's judge is to judge prompts outside its world; empty where it knows most."""
    if not any(one.spec == "sandbox:judge" for one in (judge.jury or (judge,))):
        return ""
    from arenaloop.sandbox.gold import utility

    some = prompts[:_LOOKED_AT]
    known = sum(utility(prompt.last_user, "") is not None for prompt in some)
    if not some or 2 * known >= len(some):
        return ""
    return (
        f"sandbox:judge knows the sandbox's own prompts ({known:,} of {len(some):,} here): its verdicts on others go "
        "by length and words and chance, so this leaderboard says nothing of quality"
    )


_LOOKED_AT = 300
_MODELS = ("openai", "http", "https", "hf")


def _identity(settings: ModelSettings) -> tuple[str, str | None]:
    spec = settings.spec
    if spec.startswith(("http:", "https:")):
        url, mark, rest = spec.partition("#")
        spec = f"{url.rstrip('/')}{mark}{rest.partition('?')[0]}"
    return spec, settings.revision
