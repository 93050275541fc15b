"""`parity: alpaca_farm`: what AlpacaFarm's published code chose where the defaults here are others.

The preset sets all of it at once, and what a file sets itself goes before it. What no setting expresses is listed, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from arenaloop.config.base import override

__all__ = ["CHOICES", "REMAINING", "Choice", "Remaining", "compared", "shown", "with_parity"]


class Choice(NamedTuple):
    """One setting that the preset changes.

    Attributes:
        path: dotted; ``METHOD: NAME`` is a setting of the training of every method of that kind.
        value: what the published code has.
        why: why the default is another.
    """

    path: str
    value: Any
    why: str


class Remaining(NamedTuple):
    """What the published code does and no setting expresses."""

    what: str
    theirs: str
    ours: str


CHOICES = (
    Choice("judge", {"spec": "annotators", "options": {"preset": "p_eval", "seat_mode": "compat"}}, "a file names one"),
    Choice("annotators.seat_mode", "compat", "with it every model has the same seat on a prompt"),
    Choice("target.sampling.temperature", 0.7, "the same answers at every evaluation"),
    Choice("target.sampling.top_p", 0.9, "the distribution that was trained; of samples, too"),
    Choice("target.sampling.max_tokens", 300, "modern models say more"),
    Choice("eval_pairs", 500, "few pairs are better learned from"),
    Choice("sft.learning_rate", 2e-5, "as Arena Learning's"),
    Choice("sft.max_length", 512, "the model's own window"),
    Choice("reward_model.max_length", 512, "the model's own window"),
    Choice("reward_model.held_out", 0.0, "the reward model is always measured; eval_pairs does it there"),
    Choice("feedme: max_length", 512, "the model's own window"),
    Choice("reward_conditioning: max_length", 512, "the model's own window"),
    Choice("dpo: max_length", 512, "the model's own window"),
    Choice("dpo: learning_rate", 1e-6, "as Arena Learning's"),
    Choice("dpo: beta", 0.1, "as Arena Learning's"),
    Choice("expert_iteration: max_length", 512, "the model's own window"),
    Choice("expert_iteration: max_new_tokens", 300, "likewise, but no more than half of max_length"),
    Choice("ppo: max_length", 492, "the window; AlpacaFarm drops prompts of more than 192 tokens"),
    Choice("ppo: max_new_tokens", 300, "likewise, but no more than half of max_length"),
    Choice("ppo: kl_estimator", "clamped", "only k1 has the gradient of the KL divergence"),
    Choice("ppo: value_start", "reward_model", "a start that needs no reward model"),
    Choice("quark: max_length", 492, "the window; AlpacaFarm drops prompts of more than 192 tokens"),
    Choice("quark: max_new_tokens", 300, "likewise, but no more than half of max_length"),
)

REMAINING = (
    Remaining(
        "rewards whitened",
        "(x − mean) / std + mean, over padding too",
        "divided by std over real tokens: a mean that is put back pays for length",
    ),
    Remaining("PPO's and Quark's losses", "means over batch × 300 positions, padding too", "means over real tokens"),
    Remaining("PPO's and Quark's first roll-out", "learning rate 0", "a fifth of the peak"),
    Remaining("Quark's answers", "without their end of turn", "with it, or the model never learns to stop"),
    Remaining("expert iteration's samples", "top_p 0.9", "top_p 1: the policy's own distribution"),
    Remaining("reward model's read-out", "the last token, none appended", "the end of turn, appended to a cut answer"),
    Remaining("reward model's head", "torch's initial weights", "normal, 1 / √(d + 1)"),
    Remaining("pairs held out", "rows drawn with seed 42", "all pairs of some prompts, by a hash with 42"),
    Remaining("seeds", "42 of training, 0 of annotators", "one, `seed`"),
    Remaining("annotators", "models that are withdrawn, their prompts", "any model, prompts of our own"),
    Remaining("an annotator's unreadable batch", "void", "split and asked again"),
    Remaining("baseline", "text-davinci-003's answers", "SFT, or an opponent: `file:` with those answers"),
)


def with_parity(values: Mapping[str, Any], methods: Mapping[str, Any]) -> dict[str, Any]:
    """A file's settings with the preset's wherever it sets none; `methods` are those of a file that names none."""
    out = override(values, ())  # a copy in which no YAML anchor's settings are shared
    named = out.setdefault("methods", dict(methods))
    for choice in CHOICES:
        kind, colon, name = choice.path.partition(": ")
        if not colon:
            *parents, leaf = choice.path.split(".")
            node: Any = out
            for part in parents:
                node = node.setdefault(part, {}) if isinstance(node, dict) else None
            if isinstance(node, dict):
                node.setdefault(leaf, choice.value)
            continue
        for method in named.values() if isinstance(named, dict) else ():
            if isinstance(method, dict) and method.get("method") == kind:
                training = method["training"] = dict(method.get("training") or {})
                training.setdefault(name, choice.value)
    return out


def compared(dumped: Mapping[str, Any], trained: Mapping[str, list[Mapping[str, Any]]]) -> Iterator[tuple[Choice, str]]:
    """Each of the preset's settings, and what stands in its place.

    Args:
        dumped: all settings of a recipe.
        trained: by kind of method, the training settings of each method of that kind.
    """
    for choice in CHOICES:
        kind, colon, name = choice.path.partition(": ")
        if colon:
            found = [shown(training[name]) for training in trained.get(kind, ())]
            yield choice, ", ".join(dict.fromkeys(found)) or "–"
            continue
        node: Any = dumped
        for part in choice.path.split("."):
            node = node[part]
        yield choice, shown(node)


def shown(value: Any) -> str:
    """A value in few words; of a judge its SPEC and options."""
    if isinstance(value, Mapping):
        options = value.get("options") or {}
        told = ", ".join(str(option) for option in options.values())
        return f"{value['spec']} ({told})" if told else str(value["spec"])
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
