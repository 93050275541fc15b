"""Tokens that tell a model how good its answer is to be: ``<reward_0>``, the best, ``<reward_1>``, and so on.

One stands in a prompt right after the token that begins every text, or where there is none before the first character
(Dubois et al. 2023's published code). It is an instruction to the model and never one of its words: it has no
probability, in sampling as in every log-softmax, and ends no turn. A model that has learned from them is asked for the
best: its chat template writes ``<reward_0>``, so that any server answers with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import AddedToken
from torch import Tensor

from arenaloop.config import OptimSettings
from arenaloop.errors import ConfigError, InputError
from arenaloop.models.chat import ChatTokens
from arenaloop.models.checkpoint import forbidden_ids
from arenaloop.train.encoding import GENERATION_MARK, ChatEncoder, Encoded
from arenaloop.train.policy import Policy, refuse_grown
from arenaloop.types import Message, derive_seed

__all__ = ["RewardTokens", "add_reward_tokens"]


@dataclass(frozen=True, slots=True)
class RewardTokens:
    """The tokens of a policy.

    Attributes:
        ids: theirs, the best first.
        bos: the id of the token that begins every text, or None.
        template: the chat template that writes the best one.
    """

    ids: tuple[int, ...]
    bos: int | None
    template: Any

    def insert(self, ids: list[int], which: int) -> list[int]:
        """A prompt, or a text that begins with one, under the token number `which`."""
        at = int(ids[:1] == [self.bos])
        return [*ids[:at], self.ids[which], *ids[at:]]

    def condition(self, row: Encoded, which: int) -> Encoded:
        """A conversation under the token number `which`, which carries no loss."""
        ids = self.insert(row.ids, which)
        return Encoded(ids, [False, *row.labelled], row.truncated, row.spelled)  # what comes first is never labelled

    def encoder(self, policy: Policy, settings: OptimSettings) -> ChatEncoder:
        """The rules by which conversations become tokens, with room left for one of these."""
        encoder = policy.encoder(settings)
        encoder.max_length -= 1
        return encoder

    def ask_for_the_best(self, policy: Policy) -> None:
        """From here on the policy's chat template writes the best token, in what is saved too."""
        policy.tokenizer.chat_template = self.template


def add_reward_tokens(policy: Policy, count: int, seed: int) -> RewardTokens:
    """Give a policy `count` reward tokens; those that it has from an earlier training stay as they are.

    Rows of a new one, in the embedding and in the output layer, are the mean of all others' plus noise of one standard
    deviation in every dimension, since two equal rows are one function until gradients part them. Its chat template is
    left (or made) one that writes none, for tokens to be inserted where they are wanted.

    Args:
        policy: changed in place, and the generation configuration that is saved with it.
        count: how many.
        seed: decides the noise.

    Raises:
        InputError: tokenizer and vocabulary are not of one model.
        ConfigError: no chat template could be made that writes the token where it is inserted.
    """
    tokenizer, module = policy.tokenizer, policy.module
    vocabulary = tokenizer.get_vocab()
    known = max(vocabulary.values()) + 1
    refuse_grown(policy)
    never = forbidden_ids(module)
    if never is not None and int(never.max()) >= known:
        raise InputError(f"the tokenizer of {tokenizer.name_or_path} lacks tokens that its model is never to say")
    names = [f"<reward_{number}>" for number in range(count)]
    new = [name for name in names if name not in vocabulary]
    tokenizer.add_tokens([AddedToken(name, special=True, normalized=False) for name in new], special_tokens=True)
    ids = tokenizer.convert_tokens_to_ids(names)
    tokenizer.chat_template = _each(tokenizer.chat_template, lambda template: _without(template, names[0]))
    template = _each(tokenizer.chat_template, lambda template: _with(tokenizer, template, names[0], ids[0]))
    if new:
        at = torch.tensor(tokenizer.convert_tokens_to_ids(new))
        if int(at.max()) >= module.get_input_embeddings().weight.shape[0]:
            with torch.random.fork_rng():  # all of the larger matrix is drawn before the old rows are put in
                module.resize_token_embeddings(int(at.max()) + 1, mean_resizing=False)
        _begin(module, at, known, derive_seed(seed, "reward tokens"))
    before = forbidden_ids(module)
    told = set(ids) | set([] if before is None else before.tolist())
    module.generation_config.suppress_tokens = sorted(told)
    module.generation_config._from_model_config = False  # else generating makes it anew, of the configuration alone
    policy.forbidden = forbidden_ids(module)
    policy.new_tokens = tuple(ids)
    return RewardTokens(tuple(ids), tokenizer.bos_token_id, template)


def _begin(module: Any, at: Tensor, known: int, seed: int) -> None:
    """First values of new rows in the embedding and, where it is another matrix, the output layer."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    embedding, output = module.get_input_embeddings(), module.get_output_embeddings()
    with torch.no_grad():
        for weight in [embedding.weight, *([] if output.weight is embedding.weight else [output.weight])]:
            std, mean = torch.std_mean(weight[:known], dim=0)
            noise = torch.randn(len(at), weight.shape[1], generator=generator)
            weight[at.to(weight.device)] = (mean + std * noise.to(std)).to(weight)
        if getattr(output, "bias", None) is not None:
            output.bias[at.to(output.bias.device)] = output.bias[:known].mean()


# ------------------------------------------------------------------ chat templates

_CONVERSATIONS: tuple[list[Message], ...] = (
    [{"role": "user", "content": "question"}],
    [{"role": "system", "content": "rule"}, {"role": "user", "content": "question"}],
    [
        {"role": "user", "content": "question"},
        {"role": "assistant", "content": "answer"},
        {"role": "user", "content": "another question"},
    ],
    [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}],
)
"""What templates are tried on."""


def _wraps(token: str) -> list[tuple[str, str]]:
    """What may be put before and after a chat template so that it writes a token at its place.

    Templates begin on a line of their own, as they did: the line's end after a statement or a comment is not written.
    """
    found = []
    for text in (token, f"{token} "):  # vocabularies that begin a text with a blank want it behind the token
        found += [
            (f"{{{{ '{text}' }}}}{{# asks for the best answer #}}\n", ""),
            (f"{{% set bos_token = bos_token + '{text}' %}}\n", ""),
            (  # whatever writes what begins the text, and however often
                "{% set whole_conversation %}\n",
                f"{{{{ '' }}}}{{% endset %}}{{{{ bos_token + '{text}' + whole_conversation[bos_token | length:] "
                f"if bos_token and whole_conversation.startswith(bos_token) else '{text}' + whole_conversation }}}}",
            ),
        ]
    return found


def _each(templates: Any, change: Callable[[str], str]) -> Any:
    """A tokenizer's chat template, or its several by name, changed; None stays."""
    if isinstance(templates, dict):
        return {name: change(template) for name, template in templates.items()}
    return change(templates) if templates else templates


def _without(template: str, token: str) -> str:
    """The chat template as it was before it was made to write a token here."""
    for before, after in _wraps(token):
        if template.startswith(before) and template.endswith(after):
            return template[len(before) : len(template) - len(after)]
    return template


def _with(tokenizer: Any, template: str, token: str, token_id: int) -> str:
    """The chat template that writes a token where it would be inserted.

    Raises:
        ConfigError: none does.
    """
    plain = [_shown(tokenizer, template, messages) for messages in _CONVERSATIONS]
    if not any(token_id in shown[0] for shown in plain if shown):
        wanted = [shown and _inserted(shown, token_id, tokenizer.bos_token_id) for shown in plain]
        for before, after in _wraps(token):
            # a line's end at the end of a template is not written
            changed = before + (template.removesuffix("\n") if after else template) + after
            if [_shown(tokenizer, changed, messages) for messages in _CONVERSATIONS] == wanted and any(wanted):
                return changed
    raise ConfigError(
        f"the chat template of {tokenizer.name_or_path} cannot be made to write {token} right after what begins a "
        "text, as it is trained; give the model a plain template of its own first"
    )


Shown = tuple[list[int], list[str]]
"""Token ids of a conversation, and what the template marks in it as an answer."""


def _shown(tokenizer: Any, template: str, messages: list[Message]) -> Shown | None:
    """A conversation as a template shows it; None where it is refused."""
    chat, before = ChatTokens(tokenizer), tokenizer.chat_template
    tokenizer.chat_template = template
    try:
        text = chat.render(messages, prompt=messages[-1]["role"] == "user")
        marked, spans = chat.render_marks(messages) if GENERATION_MARK.search(template) else ("", [])
        return chat.tokens(text), [marked[start:end] for start, end in spans]
    except Exception:  # templates raise errors of many kinds
        return None
    finally:
        tokenizer.chat_template = before


def _inserted(shown: Shown, token_id: int, bos: int | None) -> Shown:
    return RewardTokens((token_id,), bos, None).insert(shown[0], 0), shown[1]
