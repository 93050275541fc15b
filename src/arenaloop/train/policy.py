"""The policy: a causal language model in training, and the log-probabilities of what it might say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from arenaloop.config import OptimSettings
from arenaloop.models.decoding import forward_arguments
from arenaloop.train.backbone import Backbone
from arenaloop.train.batches import Batch
from arenaloop.train.losses import token_entropy, token_logprobs

__all__ = ["Policy", "load_policy"]


@dataclass(slots=True)
class Policy(Backbone):
    """A causal language model. Shapes: B rows, N labelled tokens, V vocabulary entries.

    The batches that it is given are on its device.
    """

    def answer_logits(self, batch: Batch, temperature: float = 1.0) -> Tensor:
        """Logits at the labelled positions, divided by a temperature: (N, V)."""
        # not every model can leave out the logits of leading positions
        kept = {"logits_to_keep": batch.keep} if "logits_to_keep" in forward_arguments(self.module) else {}
        with self.lower_precision():
            logits = self.module(input_ids=batch.inputs, use_cache=False, **kept).logits[:, -batch.keep :]
        logits = logits.flatten(0, 1).index_select(0, batch.at)
        return logits if temperature == 1.0 else logits.float() / temperature

    def token_logprobs(self, batch: Batch, temperature: float = 1.0) -> Tensor:
        """Log-probability of each labelled token at a temperature: (N,) float32, in nats."""
        return token_logprobs(self.answer_logits(batch, temperature), batch.targets)

    def token_logprobs_and_entropy(self, batch: Batch, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """The same, and the entropy of the distribution at each labelled position: (N,) and (N,) float32."""
        logits = self.answer_logits(batch, temperature)
        return token_logprobs(logits, batch.targets), token_entropy(logits)

    def answer_logprobs(self, batch: Batch) -> Tensor:
        """Log-probability of each row's labelled tokens, summed: (B,) float32."""
        each = self.token_logprobs(batch)
        return each.new_zeros(len(batch.inputs)).index_add(0, batch.row, each)


def load_policy(model: str | Path, settings: OptimSettings, revision: str | None = None) -> Policy:
    """Load a causal language model for training; see `Backbone.load`."""
    return Policy.load(model, settings, revision, kind="AutoModelForCausalLM")
