"""The policy: a causal language model in training, and the log-probabilities of what it might say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from arenaloop.config import OptimSettings
from arenaloop.errors import InputError
from arenaloop.models.checkpoint import forbidden_ids
from arenaloop.models.decoding import forward_arguments
from arenaloop.train.backbone import Backbone
from arenaloop.train.batches import Batch
from arenaloop.train.head import Head, TokenScores, block_width, score_hidden, score_logits

__all__ = ["Policy", "load_policy", "refuse_grown"]

PADDED_TO = 8
"""Vocabularies that are made larger than their tokenizer, for speed, are made a multiple of this or more."""


@dataclass(slots=True)
class Policy(Backbone):
    """A causal language model. Shapes: B rows, N labelled tokens, D hidden, V vocabulary entries.

    The batches that it is given are on its device.

    Attributes:
        chunked: whether its logits are its output layer's map of its last hidden states and nothing else, so that they
            can be made a block of the vocabulary at a time (see `head`).
        forbidden: ids of tokens that it can never say, by whatever reads its probabilities (see
            `checkpoint.forbidden_ids`); None = all can be said.
    """

    chunked: bool = False
    forbidden: Tensor | None = None

    def token_scores(
        self,
        batch: Batch,
        temperature: float = 1.0,
        *,
        entropy: bool = False,
        variance: bool = False,
        reference: Policy | None = None,
        shown: Batch | None = None,
    ) -> TokenScores:
        """What is known of the labelled tokens, in nats: see `head.TokenScores`.

        Args:
            batch: the rows.
            temperature: of the distribution.
            entropy, variance: whether they are wanted.
            reference: a frozen model of the same vocabulary, from which the divergence is wanted.
            shown: the same labelled tokens after what the reference sees before them; by default the same prompts.
        """
        shown = batch if shown is None else shown
        asked: dict[str, Any] = {
            "temperature": temperature,
            "entropy": entropy,
            "variance": variance,
            "forbidden": self.forbidden,
        }
        vocabulary = self.module.get_output_embeddings().weight.shape[0] if self.chunked else 0
        if self.chunked and block_width(len(batch.at), vocabulary, self.device) < vocabulary:
            if reference is not None:
                with reference.evaluating():
                    asked["reference"] = (reference.hidden(shown), reference.head())
            with self.lower_precision():
                return score_hidden(self.hidden(batch), self.head(), batch.targets, **asked)
        if reference is not None:
            with reference.evaluating():
                asked["reference"] = reference.logits(shown)
        return score_logits(self.logits(batch), batch.targets, **asked)

    def token_logprobs(self, batch: Batch, temperature: float = 1.0) -> Tensor:
        """Log-probability of each labelled token at a temperature: (N,) float32, in nats."""
        return self.token_scores(batch, temperature).logprobs

    def answer_logprobs(self, batch: Batch) -> Tensor:
        """Log-probability of each row's labelled tokens, summed: (B,) float32."""
        each = self.token_logprobs(batch)
        return each.new_zeros(len(batch.inputs)).index_add(0, batch.row, each)

    def logits(self, batch: Batch) -> Tensor:
        """Logits at the labelled positions: (N, V)."""
        inputs = self.wide(batch.inputs)
        keep = batch.keep + inputs.shape[1] - batch.inputs.shape[1]
        # not every model can leave out the logits of leading positions
        kept = {"logits_to_keep": keep} if "logits_to_keep" in forward_arguments(self.module) else {}
        with self.lower_precision():
            logits = self.module(input_ids=inputs, use_cache=False, **kept).logits[:, -keep:][:, : batch.keep]
        return logits.flatten(0, 1).index_select(0, batch.at)

    def hidden(self, batch: Batch) -> Tensor:
        """The last hidden states at the labelled positions: (N, D)."""
        with self.lower_precision():
            states = self.module.base_model(input_ids=self.wide(batch.inputs), use_cache=False).last_hidden_state
        states = states[:, : batch.inputs.shape[1]]
        return states[:, -batch.keep :].flatten(0, 1).index_select(0, batch.at)

    def head(self) -> Head:
        """Its output layer."""
        layer = self.module.get_output_embeddings()
        if self.adapter is None:
            return Head(layer.weight, layer.bias)
        # tied to an embedding with rows that are trained; but these are of tokens that are never said
        layer = getattr(layer, "original_module", layer)
        return Head(layer.weight.detach(), layer.bias)

    def adapt(self, seed: int) -> None:
        """See `Backbone.adapt`."""
        Backbone.adapt(self, seed)
        if self.adapter is not None:
            layer = self.module.get_output_embeddings()
            self.chunked = self.chunked and type(getattr(layer, "original_module", layer)) is nn.Linear


def load_policy(model: str | Path, settings: OptimSettings, revision: str | None = None) -> Policy:
    """Load a causal language model for training; see `Backbone.load`."""
    policy = Policy.load(model, settings, revision, kind="AutoModelForCausalLM")
    policy.chunked = _is_plain(policy)
    never = forbidden_ids(policy.module)
    policy.forbidden = None if never is None else never.to(policy.device)
    return policy


def refuse_grown(policy: Policy) -> None:
    """Refuse a vocabulary of another size than its tokenizer's, unless it is padded: it could say what is no text.

    Raises:
        InputError: it is.
    """
    rows = policy.module.get_input_embeddings().weight.shape[0]
    known = max(policy.tokenizer.get_vocab().values()) + 1
    if known > rows or (rows > known and rows % PADDED_TO):
        raise InputError(
            f"the tokenizer of {policy.tokenizer.name_or_path} has {known:,} tokens, the vocabulary of its model "
            f"{rows:,}: one of them grew without the other; save the two together"
        )


_BENT = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier_scale")
"""Entries of configurations that do something to logits; small weights hide a soft cap from the probe."""


def _is_plain(policy: Policy) -> bool:
    """Whether logits are the output layer of the last hidden states and nothing else, tried on a few tokens."""
    module, config = policy.module, policy.module.config.get_text_config()
    if any(getattr(config, name, None) not in (None, 1, 1.0) for name in _BENT):
        return False
    layer = module.get_output_embeddings()
    if type(layer) is not nn.Linear or module.base_model is module:
        return False
    ids = torch.arange(8, device=module.device)[None] % layer.weight.shape[0]
    with policy.generating():
        whole = module(input_ids=ids, use_cache=False).logits
        found = layer(module.base_model(input_ids=ids, use_cache=False).last_hidden_state)
    tolerance = 1e-5 if whole.dtype == torch.float32 else 1e-2
    return found.shape == whole.shape and torch.allclose(found, whole, rtol=tolerance, atol=tolerance)
