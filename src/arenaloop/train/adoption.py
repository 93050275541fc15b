"""Whether another trainer's model can stand in a run: tokenizer, chat template, weights, log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from arenaloop.config import OptimSettings
from arenaloop.errors import InputError
from arenaloop.models import adapters
from arenaloop.models.checkpoint import load_checkpoint
from arenaloop.train.batches import TokenTable
from arenaloop.train.dpo import reference_logprobs
from arenaloop.train.encoded import Encoded
from arenaloop.train.policy import load_policy
from arenaloop.train.rewards import load_reward_model
from arenaloop.types import Message

__all__ = [
    "Conversation",
    "Probe",
    "compared_templates",
    "probe",
    "probe_rewards",
    "refuse_other_tokenizer",
    "refuse_weights",
]

Conversation = tuple[list[Message], list[Message]]
"""A prompt's turns and an answer's."""

_SHOWN = 5  # tokens that are named
_SPECIAL = ("bos_token_id", "eos_token_id", "unk_token_id")
_LEAST = 0.25
"""Of what the run's model knows of an answer beyond guessing among all tokens, a model that was trained on from it
keeps at least this share: less is a model of other weights, or none."""

_TRIED: list[list[Message]] = [
    [{"role": "user", "content": "What is 2 + 2?"}, {"role": "assistant", "content": "It is 4."}],
    [
        {"role": "user", "content": "Name one."},
        {"role": "assistant", "content": "Two?"},
        {"role": "user", "content": "No.\n\nOne!"},
        {"role": "assistant", "content": "One."},
    ],
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
    ],
]


class Probe(NamedTuple):
    """Mean log-probability of a token of stored answers, under the run's model and under the other one; in nats."""

    answers: int
    own: float
    other: float


def refuse_other_tokenizer(own: Any, other: Any, texts: Iterable[str], where: Path) -> None:
    """Refuse a tokenizer by which texts are other tokens than by the run's.

    Args:
        own, other: the two tokenizers.
        texts: what is tried: prompts and answers of the run.
        where: the model of the second, for the message.

    Raises:
        InputError: they differ; the message says in what.
    """
    mine, theirs = own.get_vocab(), other.get_vocab()
    told = []
    if len(mine) != len(theirs):
        told.append(f"{len(theirs):,} tokens, the run's {len(mine):,}")
    lacking = [token for token in mine if token not in theirs]
    more = [token for token in theirs if token not in mine]
    moved = [token for token, at in mine.items() if theirs.get(token, at) != at]
    for what, tokens in (("without", lacking), ("with", more), ("with other ids of", moved)):
        if tokens:
            first = ", ".join(repr(token) for token in sorted(tokens)[:_SHOWN])
            told.append(f"{what} {first}" + (f" and {len(tokens) - _SHOWN:,} more" if len(tokens) > _SHOWN else ""))
    for name in _SPECIAL:
        one, two = getattr(own, name), getattr(other, name)
        if one != two:
            told.append(f"{name} {two}, the run's {one}")
    if own.pad_token_id is not None and other.pad_token_id not in (own.pad_token_id, None):
        told.append(f"pad_token_id {other.pad_token_id}, the run's {own.pad_token_id}")
    if not told:
        split = next((text for text in texts if _ids(own, text) != _ids(other, text)), None)
        if split is not None:
            told.append(f"the same tokens, but it splits {split[:60]!r} otherwise")
    if told:
        raise InputError(f"{where}: its tokenizer is not the run's: {'; '.join(told)}")


def _ids(tokenizer: Any, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return found


def compared_templates(own: Any, other: Any, conversations: Iterable[Conversation]) -> str:
    """How a chat template is beside the run's: ``the same``, ``missing``, ``renders the same``, or ``differs: …``."""
    if not other.chat_template:
        return "missing"
    if own.chat_template == other.chat_template:
        return "the same"
    for messages in [*_TRIED, *(prompt + answer for prompt, answer in conversations)]:
        for turns, prompted in ((messages, False), (messages[:-1], True)):
            one, two = (_rendered(each, turns, prompted) for each in (own, other))
            if one != two:
                at = next(
                    (n for n, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two))
                )
                begin = max(0, at - 10)
                return f"differs: {two[begin : at + 20]!r} where the run's has {one[begin : at + 20]!r}"
    return "renders the same"


def _rendered(tokenizer: Any, messages: Sequence[Message], prompted: bool) -> str:
    try:
        text: str = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=prompted)
    except Exception as error:  # templates refuse in errors of many kinds
        return f"refused: {type(error).__name__}"
    return text


def refuse_weights(path: Path, *, kind: str = "AutoModelForCausalLM") -> None:
    """Load a model once, and refuse weights that are not all there, or are no numbers.

    Raises:
        InputError: they are not; or it cannot be loaded.
    """
    if adapters.is_adapter(path):  # its own weights alone; the model that it stands beside is the run's
        from safetensors.torch import load_file

        named = load_file(path / adapters.WEIGHTS).items()
    else:
        (module, told), _ = load_checkpoint(path, kind=kind, output_loading_info=True)
        tied = {*(getattr(module, "_tied_weights_keys", None) or ())}
        missing = sorted(name for name in told["missing_keys"] if name not in tied)
        if missing:
            raise InputError(f"{path}: {len(missing)} weights are not in its files (the first: {missing[0]})")
        named = module.state_dict().items()
    wrong = next((name for name, value in named if not bool(torch.isfinite(value.float()).all())), None)
    if wrong is not None:
        raise InputError(f"{path}: {wrong} holds values that are no finite numbers")


def probe(
    own: str | Path, other: str | Path, answers: Sequence[Conversation], revision: str | None = None
) -> Probe | None:
    """Read stored answers with both models, one after the other; None where no answer fits them.

    Raises:
        InputError: what the second one says of them is no number, or far from what a model says that was trained on
            from the first.
    """
    settings = OptimSettings(max_length=1024)
    found: list[float] = []
    count = vocabulary = 0
    for model, commit in ((own, revision), (other, None)):
        policy = load_policy(model, settings, commit)
        encoder = policy.encoder(settings)
        rows = [encoder.encode(prompt, answer, "last", "answer") for prompt, answer in answers]
        fit = [row for row in rows if isinstance(row, Encoded)]
        if not fit:
            return None
        table = TokenTable(fit, policy.pad_id)
        with torch.no_grad():
            total = float(reference_logprobs(policy, table, settings).sum())
        found.append(total / int(table.labelled.sum()))
        count, vocabulary = len(fit), int(policy.module.get_input_embeddings().weight.shape[0])
        del policy
    told = Probe(count, *found)
    guess = -math.log(vocabulary)
    words = f"mean log-probability {told.other:.3f} a token of {count} stored answers, the run's model {told.own:.3f}"
    if not math.isfinite(told.other):
        raise InputError(f"{other}: its log-probabilities of stored answers are no numbers")
    if told.other < guess + _LEAST * max(0.0, told.own - guess):
        raise InputError(f"{other}: {words}, guessing {guess:.3f}: this is no model that was trained on from the run's")
    return told


def probe_rewards(path: Path, answers: Sequence[Conversation]) -> list[float]:
    """What a reward model makes of stored answers.

    Raises:
        InputError: no numbers; or it is no reward model.
    """
    settings = OptimSettings(max_length=1024)
    scores = [each for each in load_reward_model(path, settings).score(answers, settings) if isinstance(each, float)]
    if not all(map(math.isfinite, scores)):
        raise InputError(f"{path}: its scores of stored answers are no numbers")
    return scores
